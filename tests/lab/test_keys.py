"""Keys as relays, behind a censor: pages come through each protocol, and each fault is told as docs/guide.md says.

The servers are mihomo, wireguard-go and sshd, on a host abroad (tests/lab/key_relays.py). The site's page says who
asked for it, so it tells that the key carried it. A fault of a key blames no site, whether the site is blocked or
well.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from proxy.detect.relay_faults import RelayFault
from tests.lab import places, rules
from tests.lab.country import Country, Running
from tests.lab.deeds import Drop, Reset
from tests.lab.key_relays import ADDRESS, NEEDED, PROTOCOLS, SSH, WIREGUARD, KeyRelays, came_through, one_each
from tests.lab.matches import BySni
from tests.lab.origins import Conduct
from tests.lab.rules import Rule, When
from tests.lab.views import Names
from tests.support.at_once import AtOnce
from tests.support.key_server import COVER
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.needs("mihomo"), pytest.mark.waits]

at_once = AtOnce(most=4)

IMPATIENT = "relay_retry_s = [0.1]\n"
"""A visit tries a relay that fails once more, and not for 15 s."""

PATIENCE_S = 12.0
"""The patience with a page that no key brings: longer than the engine tries to reach a server."""

OF_TLS = ("trojan", "vless", "vless-ws", "vless-xhttp", "anytls")
"""Protocols over TCP whose handshake has the name of the key."""

Said = Mapping[str, RelayFault]


def each(fault: RelayFault, *names: str) -> dict[str, RelayFault]:
    return dict.fromkeys(names or PROTOCOLS, fault)


# -- keys that work ----------------------------------------------------------------------------------------------------


async def blocked_page(folder: Path, protocol: str) -> None:
    """A censored site under AUTO: the first visit finds the key, and Byway believes the site blocked by its name."""
    async with Country(folder) as country, KeyRelays(country, folder, only=[protocol]) as keys:
        site = country.add_site("blocked.test")
        country.rules.set([rules.SniReset(site.name), rules.HttpReset(site.name)])
        async with keys.byway("byway", keys.relays(), rules="MATCH,AUTO\n") as byway:
            visitor = country.visitor(byway)
            for secure in (True, False):
                page = await visitor.visit(site.url(secure=secure))
                assert page.genuine, page
                assert came_through(protocol) in page.body.decode()

            async def is_held() -> bool:
                return (await byway.belief(site.name))["state"] in ("suspect", "blocked")

            await until_read(is_held)
            assert (await byway.belief(site.name))["last_good"] == protocol


@at_once
async def test_a_blocked_page_comes_through_a_key_of_vless_with_reality(folder: Path) -> None:
    await blocked_page(folder, "vless")


@pytest.mark.slow
@pytest.mark.needs(*NEEDED)
@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "vless"])
@at_once
async def test_a_blocked_page_comes_through_a_key(folder: Path, *, protocol: str) -> None:
    await blocked_page(folder, protocol)


# -- keys that do not --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """A fault of keys, or of the way to their server. `says` has what is said of each protocol; the others work."""

    name: str
    says: Said
    relays: Callable[[KeyRelays], Sequence[tuple[str, str]]] = KeyRelays.relays
    censor: Callable[[KeyRelays], Sequence[Rule]] = lambda keys: ()
    is_down: bool = False


def named(keys: KeyRelays) -> BySni:
    """Returns the hellos to the key's server that have its name."""
    return BySni(Names(COVER), ports=tuple(keys.server.ports.values()))


FAULTS = (
    Fault(
        "wrong",
        {
            **each(RelayFault.KEY_CLOSED, *OF_TLS, "tuic"),
            **each(RelayFault.KEY_CLOSED_OR_CLOCK, "ss", "vmess"),
            **each(RelayFault.KEY_REFUSED, "hysteria2", SSH),
            WIREGUARD: RelayFault.KEY_UNANSWERED,
        },
        relays=lambda keys: keys.relays(wrong=True),
    ),
    Fault(
        "another server",
        {**each(RelayFault.KEY_CERTIFICATE, *OF_TLS, "hysteria2", "tuic"), SSH: RelayFault.KEY_HOST_KEY},
        relays=KeyRelays.links_of_others,
    ),
    Fault(
        "down",
        {
            **each(RelayFault.CONNECTION_REFUSED),
            **each(RelayFault.SILENT, "hysteria2", "tuic"),
            WIREGUARD: RelayFault.KEY_UNANSWERED,
        },
        is_down=True,
    ),
    Fault(
        "dropped",
        {**each(RelayFault.SILENT), WIREGUARD: RelayFault.KEY_UNANSWERED},
        censor=lambda keys: [rules.AddressDrop(f"{ADDRESS}/32")],
    ),
    Fault("name dropped", each(RelayFault.SILENT, *OF_TLS), censor=lambda keys: [When(named(keys), Drop())]),
    Fault("name reset", each(RelayFault.KEY_CUT, *OF_TLS), censor=lambda keys: [When(named(keys), Reset())]),
)


@pytest.mark.slow
@pytest.mark.needs(*NEEDED)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@at_once
async def test_a_fault_of_a_key_is_told_in_its_words_and_blames_no_site(folder: Path, *, fault: Fault) -> None:
    async with Country(folder) as country, KeyRelays(country, folder) as keys:
        for name in PROTOCOLS:
            country.add_site(f"{name}.test")
        relays = fault.relays(keys)
        ruled = f"{one_each()}MATCH,AUTO\n"
        async with keys.byway("byway", relays, rules=ruled, detect=IMPATIENT) as byway:
            country.rules.set(fault.censor(keys))
            if fault.is_down:
                keys.stop()
            assert await pages(country, byway) == set(PROTOCOLS) - fault.says.keys()
            assert await told(byway) == {name: fault.text for name, fault in fault.says.items()}
            assert await found_in_visits(byway, fault.says) == fault.says
            if fault.says.keys() == set(PROTOCOLS):
                await blames_no_site_of_auto(country, byway)
            for name in PROTOCOLS:
                belief = await byway.belief(f"{name}.test")
                assert (belief["state"], belief["score"]) == ("unknown", 0.0), belief


async def pages(country: Country, byway: Running) -> set[str]:
    """Returns the keys by which a page came, each of its own site."""
    visits = {name: country.visitor(byway).visit(f"https://{name}.test/") for name in PROTOCOLS}
    came = dict(zip(visits, await asyncio.gather(*visits.values()), strict=True))
    return {name for name, visit in came.items() if visit.genuine and came_through(name) in visit.body.decode()}


async def told(byway: Running) -> dict[str, str]:
    """Returns what `relay test` says of each key that does not work."""
    ran = await byway.command("relay", "test", "--json", "--to", "ss.test:443", check=False)
    return {result["relay"]: result["fault"] for result in json.loads(ran.stdout)["results"] if not result["ok"]}


async def found_in_visits(byway: Running, expected: Said) -> dict[str, str]:
    """Returns the last fault of each key, once there are as many as are expected."""
    found: dict[str, str] = {}

    async def read() -> bool:
        relays = (await byway.ask("/v1/relays"))["relays"]
        found.update((relay["name"], relay["last_fault"]["fault"]) for relay in relays if relay["last_fault"])
        return len(found) >= len(expected)

    await until_read(read)
    return found


async def blames_no_site_of_auto(country: Country, byway: Running) -> None:
    """A site that is well opens direct, and one that the censor blocks stays unknown while each key fails."""
    well, blocked = country.add_site("well.example"), country.add_site("blocked.example")
    country.rules.add(rules.SniReset(blocked.name))
    visitor = country.visitor(byway)
    opened, failed = await asyncio.gather(visitor.visit(well.url()), visitor.visit(blocked.url(), limit_s=PATIENCE_S))
    assert opened.genuine
    assert ADDRESS not in opened.body.decode()
    assert not failed.genuine
    for site in (well, blocked):
        belief = await byway.belief(site.name)
        assert belief["state"] in ("works", "unknown"), belief
        assert belief["score"] == 0.0, belief


# -- the clock ---------------------------------------------------------------------------------------------------------

AHEAD = timedelta(days=400)


@pytest.mark.slow
@pytest.mark.needs(*NEEDED)
@at_once
async def test_a_wrong_clock_is_named_by_byway_and_by_keys_that_have_the_time(folder: Path) -> None:
    """All hosts of the lab share one clock, so the world is 400 days behind: the server of the keys, the control pages
    and their certificates. Keys whose protocol has no time in it work."""
    async with Country(folder) as country, KeyRelays(country, folder, ahead_s=-AHEAD.total_seconds()) as keys:
        date = format_datetime(datetime.now(UTC) - AHEAD, usegmt=True)
        for name in places.CONTROLS:
            country.origins.conducts[name] = Conduct(certificate=country.public.server(name, expired=True), date=date)
        for name in PROTOCOLS:
            country.add_site(f"{name}.test")
        async with keys.byway("byway", keys.relays(), rules=f"{one_each()}MATCH,AUTO\n") as byway:
            assert await pages(country, byway) == set(PROTOCOLS) - {"ss"}
            assert await told(byway) == {"ss": RelayFault.KEY_CLOSED_OR_CLOCK.text}
            doctor = await byway.command("doctor", "--json", check=False)
            problems = (await byway.read("status"))["problems"]
            assert "clock is 400 days ahead" in doctor.stdout
            assert "clock is 400 days ahead" in " ".join(problem["text"] for problem in problems)
            for name in PROTOCOLS:
                belief = await byway.belief(f"{name}.test")
                assert (belief["state"], belief["score"]) == ("unknown", 0.0), belief
