"""Interception: by a state with a publicly known root, by a state with an unknown root, and by an office.

A real Byway in the country. The forbidden traffic is counted on the wire: once Byway knows of the interception, neither
the site's name nor a connection to its address leaves except through the relay; and behind an office's box, which the
computer trusts, nothing is relayed unless a rule demands it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.lab import leaks, places, rules
from tests.lab.country import NO_HEDGE, RELAY, Country, Running, Site
from tests.lab.stories import in_country, with_byway
from tests.lab.visitor import Visit
from tests.support.at_once import AtOnce
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

at_once = AtOnce(most=4)

READS = "TLS interception detected for"
INSPECTS = "TLS is intercepted here"
WITHIN_S = 30.0

HURRIED = (
    f"{NO_HEDGE}"
    "signal_interval_s = 1.0\nepisode_gap_s = 1.0\nretest_suspect_s = 1.0\nretest_jitter = 0.0\n"
    "probe_again_s = 1.0\ncontrol_interval_s = 0.5\nprobe_interval_s = 0.1\nhello_apart_s = 0.02\n"
)
"""A minute of real time in a second or less, and so a second in 0.02: a check waits until no hello of the name was
sent for `hello_apart_s`, and sites are visited again and again. Only a failure starts another route."""


async def visit(country: Country, byway: Running, site: Site, *, office: bool = False) -> Visit:
    """Makes one visit, which ends once its row is written."""
    before = len(await byway.rows(site.name))
    seen = await country.visitor(byway, office=office).visit(site.url())

    async def written() -> bool:
        return len(await byway.rows(site.name)) > before

    await until_read(written, within_s=WITHIN_S)
    return seen


async def winners(byway: Running, site: Site) -> list[str | None]:
    return [row["winner"] for row in await byway.rows(site.name)]


async def held_to_be(byway: Running, site: Site, state: str) -> dict[str, Any]:
    """Returns the belief, once it is of this state."""
    held: dict[str, Any] = {}

    async def is_so() -> bool:
        held.update(await byway.belief(site.name))
        return bool(held["state"] == state)

    await until_read(is_so, within_s=WITHIN_S)
    return held


async def problems(byway: Running) -> str:
    """Returns the problems that `byway status` reports to a program that reads lines."""
    lines = (await byway.command("status")).stdout.splitlines()
    return "\n".join(line for line in lines if line.startswith("problem"))


def went_direct(country: Country, site: Site, since: float) -> list[str]:
    """Returns everything of the site that the provider could see: the name anywhere except within the relay's tunnel,
    data sent to the site, and new connections; an earlier connection may end."""
    events = country.router.events
    begun = events.connections(site.address, since=since)
    return [
        *leaks.names_beside_relays(events, site, since=since),
        *leaks.said_again(events, site, since=since),
        *([f"began {begun} connections to {site.name}"] if begun else []),
    ]


async def is_read_by_nobody_any_more(country: Country, byway: Running, site: Site) -> None:
    """Checks that the relay serves from now on, and nothing goes direct. The packets of the probe that proved it may
    still be on their way over the link."""
    since = await country.caught_up()
    for _ in range(3):
        assert (await visit(country, byway, site)).genuine
    assert (await winners(byway, site))[-3:] == [RELAY] * 3
    assert went_direct(country, site, since) == []
    assert byway.warned(READS) == 1
    assert f"TLS interception: {site.name}. Using relays only." in await problems(byway)


@at_once
@with_byway(HURRIED)
async def test_a_root_that_is_known_for_it_is_recognised_at_the_first_probe(country: Country, byway: Running) -> None:
    site = country.add_site("blog.test")
    country.readers[site.name] = country.known_state
    country.rules.set([rules.Intercept(site.address)])

    first = await visit(country, byway, site)
    assert "CERTIFICATE_VERIFY_FAILED" in first.error
    held = await held_to_be(byway, site, "blocked")
    assert held["cause"] == "interception"
    assert "known interception root" in held["evidence"]
    assert len([name for name, _ in country.middlebox.seen if name == site.name]) <= 3  # the visit, and one probe's two
    await is_read_by_nobody_any_more(country, byway, site)


@pytest.mark.slow
@at_once
@with_byway(HURRIED)
async def test_a_root_that_nobody_knows_is_believed_in_after_two(country: Country, byway: Running) -> None:
    site, other = country.add_site("blog.test"), country.add_site("healthy.test")
    country.readers[site.name] = country.state
    country.rules.set([rules.Intercept(site.address)])

    assert (await visit(country, byway, other)).genuine
    first = await visit(country, byway, site)
    assert "CERTIFICATE_VERIFY_FAILED" in first.error
    held = await held_to_be(byway, site, "suspect")
    assert (held["cause"], held["episodes"]) == ("interception", 1)
    assert "an unknown issuer" in held["evidence"]
    assert byway.warned(READS) == 0

    async def blocked() -> bool:
        assert (await visit(country, byway, other)).genuine  # the uplink is well
        await visit(country, byway, site)
        return bool((await byway.belief(site.name))["state"] == "blocked")

    await until_read(blocked, within_s=WITHIN_S)
    held = await byway.belief(site.name)
    assert (held["cause"], held["episodes"]) == ("interception", 2)
    await is_read_by_nobody_any_more(country, byway, site)
    assert (await winners(byway, other))[-1] == "direct"


@pytest.mark.slow
@at_once
@in_country
async def test_an_office_is_warned_of_once_and_nothing_is_relayed_by_itself(country: Country, folder: Path) -> None:
    sites = [country.add_site(f"site{number}.test") for number in range(4)]
    blocked, wanted = country.add_site("blocked.test"), country.add_site("wanted.test")
    config = country.config(detect=HURRIED)
    texts = "DOMAIN,wanted.test,RELAY\nMATCH,AUTO\n"
    async with country.byway(folder / "byway", config=config, rules=texts, office=True) as byway:
        country.readers[""] = country.office
        country.rules.set(
            [rules.AddressDrop(blocked.address), rules.Intercept(places.SITES, places.SITES6, places.SERVICES)]
        )

        async def inspected() -> bool:
            for site in sites:
                assert (await visit(country, byway, site, office=True)).genuine
            return await byway.network_state() == "inspected"

        await until_read(inspected, within_s=WITHIN_S)
        for site in sites:
            assert set(await winners(byway, site)) == {"direct"}
            assert (await byway.belief(site.name))["state"] in ("works", "unknown")
        assert byway.warned(INSPECTS) == 1
        assert byway.warned(READS) == 0
        assert INSPECTS in await problems(byway)

        relayed = country.router.events.connections(places.SOCKS_RELAY)
        failed = await visit(country, byway, blocked, office=True)
        assert not failed.genuine, "what the office blocks stays blocked, until its user says otherwise"
        assert country.router.events.connections(places.SOCKS_RELAY) == relayed
        assert (await visit(country, byway, wanted, office=True)).genuine
        assert await winners(byway, wanted) == [RELAY]
        assert byway.warned(INSPECTS) == 1


@pytest.mark.slow
@at_once
@with_byway(HURRIED)
async def test_where_nobody_reads_nobody_is_suspected(country: Country, byway: Running) -> None:
    sites = [country.add_site(f"site{number}.test") for number in range(4)]
    for site in sites * 2:
        assert (await visit(country, byway, site)).genuine
    for site in sites:
        assert set(await winners(byway, site)) == {"direct"}
    assert await byway.network_state() == "ok"
    assert await problems(byway) == ""
    assert (byway.warned(READS), byway.warned(INSPECTS)) == (0, 0)
