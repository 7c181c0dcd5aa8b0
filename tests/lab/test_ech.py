"""Encrypted ClientHellos: a censor drops those with a certain outer name, as in Russia since November 2024.

No library here encrypts a hello, so the client sends recorded ones (`recorded_hellos`). It cannot read beyond the
ServerHello that answers them: no page comes, so this is no row of the table. Browsers send the same extension in every
hello (GREASE); with the name of the site itself it is innocent.
"""

from __future__ import annotations

import asyncio

import pytest

from proxy.model import State
from tests.lab.conditions import Conditions
from tests.lab.country import RELAY, Country, Running, Site
from tests.lab.recorded_hellos import COVER, ENCRYPTED, GREASE, OWN
from tests.lab.rules import SniReset
from tests.lab.rules_2025 import EchDrop
from tests.lab.scenarios import FINE
from tests.lab.stories import with_byway
from tests.support.at_once import AtOnce
from tests.support.streams import close
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

at_once = AtOnce(most=4)

HIDDEN = "hidden.test"
DOH = "direct|doh"  # tried beside a slow relay: encrypted DNS knows no other address, so it is skipped
PATIENCE_S = Conditions.in_force().limit_s(20)
HURRIED = (
    "signal_interval_s = 1.0\nepisode_gap_s = 1.0\ncontrol_interval_s = 1.0\n"
    "dropped_s = 1.0\nretest_suspect_s = 1.0\nretest_jitter = 0.0\n"
)


async def is_answered(byway: Running, site: Site, hello: bytes) -> bool:
    """Whether a ServerHello comes in answer to the hello, in a tunnel to the site."""
    reader, writer = await byway.dial(*byway.proxy)
    try:
        async with asyncio.timeout(PATIENCE_S):
            writer.write(f"CONNECT {site.name}:443 HTTP/1.1\r\nHost: {site.name}:443\r\n\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            writer.write(hello)
            answer = await reader.read(4096)
    finally:
        await close(writer)
    return answer[:1] == b"\x16" and answer[5:6] == b"\x02"  # a handshake record; server_hello


async def until_suspected(byway: Running, site: Site, cause: str) -> None:
    """Returns once the site is suspect for this cause, after its failed attempt was judged."""

    async def suspected() -> bool:
        held = await byway.belief(site.name)
        return (held["state"], held["cause"]) == (State.SUSPECT, cause)

    await until_read(suspected)


async def routes(byway: Running, site: Site, visits: int) -> list[list[str]]:
    """Returns the routes that each visit tried."""
    return [[attempt["route"] for attempt in row["attempts"]] for row in await byway.rows(site.name, visits)]


async def state(byway: Running, site: Site) -> State:
    return State((await byway.belief(site.name))["state"])


@at_once
@with_byway(HURRIED)
async def test_the_outer_name_is_filtered_and_a_relay_passes_it(country: Country, byway: Running) -> None:
    site, cover = country.add_site(HIDDEN), country.add_site(COVER)
    country.rules.set([EchDrop(COVER)])
    assert await is_answered(byway, site, ENCRYPTED)
    await until_suspected(byway, site, "ech")
    assert await is_answered(byway, site, ENCRYPTED)
    assert [row["winner"] for row in await byway.rows(site.name, 2)] == [RELAY, RELAY]
    tried = {route for visit in await routes(byway, site, 2) for route in visit}
    assert tried <= {"direct", DOH, RELAY}, "no hello was cut: that would not help"
    assert (await country.visitor(byway).visit(cover.url())).genuine, "a hello that is not encrypted passes"
    assert await routes(byway, cover, 1) == [["direct"]]
    assert await state(byway, cover) in FINE

    async with asyncio.timeout(2 * PATIENCE_S):  # each visit that may is re-tested beside it
        while await state(byway, site) is not State.BLOCKED:
            assert await is_answered(byway, site, ENCRYPTED)
            await asyncio.sleep(0.5)
    assert await state(byway, cover) in FINE


@at_once
@with_byway(HURRIED)
async def test_an_encrypted_hello_that_nobody_filters_goes_direct(country: Country, byway: Running) -> None:
    site = country.add_site(HIDDEN)
    country.rules.set([EchDrop("other-cover.test")])
    assert await is_answered(byway, site, ENCRYPTED)
    assert await routes(byway, site, 1) == [["direct"]]
    assert await state(byway, site) in FINE


@at_once
@with_byway(HURRIED)
async def test_grease_is_innocent(country: Country, byway: Running) -> None:
    site = country.add_site(OWN)
    country.rules.set([EchDrop(COVER)])
    assert await is_answered(byway, site, GREASE)
    assert await routes(byway, site, 1) == [["direct"]]
    assert await state(byway, site) in FINE


@at_once
@with_byway(HURRIED)
async def test_grease_of_a_blocked_name_is_no_ech(country: Country, byway: Running) -> None:
    site = country.add_site(OWN)
    country.rules.set([SniReset(OWN)])
    assert await is_answered(byway, site, GREASE)
    await until_suspected(byway, site, "sni_reset")
