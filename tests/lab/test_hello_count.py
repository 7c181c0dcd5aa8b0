"""The number of ClientHellos of one name that leave this computer for one address: few more than the client itself
sends.

Some networks count them and punish. The test counts them on the client's link, where such a network sees them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from proxy.detect.beliefs.hello_bursts import ONE_OUTAGE_S
from proxy.net.tasks import spawn
from tests.lab import places, rules
from tests.lab.country import NO_HEDGE, Country, Running, Site
from tests.lab.deeds import CountHellos, Reading
from tests.lab.events import Kind, NameSeen
from tests.lab.lateness import Lateness
from tests.lab.origins import Conduct
from tests.lab.scenarios import Arrange, by_address, by_name, nothing, read_by
from tests.lab.trials import limited
from tests.lab.views import View
from tests.lab.visitor import Visit
from tests.support.at_once import AtOnce, all_of
from tests.support.waiting import until, until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

PATIENCE_S = 15.0
SIZES = (1, 3, 6, 30)
HURRIED = "syn_s = 2.0\nsilent_s = 3.0\ndropped_s = 1.0\ngive_up_s = 8.0\nprobe_interval_s = 0.01\n"
PATIENT = "hello_apart_s = 2.0\n"
"""A busy lab notes a packet later than it was sent, so two packets that are a second apart may seem closer.
tests/net/race/test_sharing.py checks the effects of one second, with a virtual clock."""
UNHURRIED = f"{NO_HEDGE}hello_apart_s = 4.0\nhello_near_s = 3.0\n"
"""The same where a network counts: within 0.4 s, and by default Byway's own hello follows a burst after 0.45 s. And a
route beside one that is late would send the client's hello again."""
A_SECOND = 1.0
NONE = NameSeen(0.0, "", Kind.SNI, "", "", "", 0, "", 0, 0)

HOW: dict[str, Arrange] = {
    "healthy": nothing,
    "reset": by_name(rules.SniReset, view=View.TCP),
    "reset-whatever": by_name(rules.SniReset, view=View.RECORDS),
    "drop": by_name(rules.SniDrop, view=View.TCP),
    "dns": by_name(rules.DnsReplace, forged=(places.BOGON,)),
    "address": by_address(rules.AddressDrop),
    "interception": read_by("known_state"),
}


@dataclass(frozen=True, slots=True)
class Visited:
    """One site, requested by so many connections at once."""

    how: str
    number: int
    site: Site


def hellos(country: Country, name: str) -> list[NameSeen]:
    """Returns the hellos that left this computer with that name: the first of each connection, since TCP may send one
    again."""
    first: dict[tuple[str, int], NameSeen] = {}
    for seen in country.router.events.names_on("client", sender="client", below=name):
        if seen.kind is Kind.SNI:
            first.setdefault((seen.target, seen.source_port), seen)
    return list(first.values())


def most_within_a_second(sent: Sequence[NameSeen], lateness: Lateness) -> int:
    """Returns the largest number of hellos to one address that were certainly sent within a second: the first one may
    have waited for the lab to note it."""
    return max(
        sum(
            other.target == one.target and 0 <= other.at - one.at < A_SECOND - lateness.late_s(one.at) for other in sent
        )
        for one in [*sent, NONE]
    )


async def a_moment_later(country: Country, *sites: Site) -> None:
    """Waits until no hello of theirs was sent for a second: for a network that counts, a later hello belongs to another
    visit."""
    clock = country.router.events.clock
    await until(
        lambda: all(clock() - hello.at > A_SECOND for site in sites for hello in hellos(country, site.name)[-1:])
    )


async def visit(
    country: Country, byway: Running | None, site: Site, number: int, *, wait_s: float = PATIENCE_S
) -> list[Visit]:
    visitor = country.visitor(byway)
    if byway is None:  # a Byway resolves names itself
        visitor = replace(visitor, addresses={site.name: site.address})
    return await asyncio.gather(*(limited(visitor, site.url(), wait_s) for _ in range(number)))


@pytest.mark.slow
@pytest.mark.parametrize("relay", [False, True], ids=["alone", "relay"])
async def test_it_is_never_more_than_the_clients_and_one_within_a_second(tmp_path: Path, relay: bool) -> None:
    async with Country(tmp_path) as country:
        visited = [Visited(how, number, country.add_site(f"{how}-{number}.test")) for how in HOW for number in SIZES]
        config = country.config(detect=HURRIED + PATIENT, no_relay=not relay)
        async with country.byway(tmp_path / "byway", config=config) as byway:
            country.rules.set(
                rule
                for how, arrange in HOW.items()
                for rule in arrange(country, [one.site for one in visited if one.how == how])
            )
            for _ in range(2):
                await asyncio.gather(*(visit(country, byway, one.site, one.number) for one in visited))
                await a_moment_later(country, *(one.site for one in visited))
            asked = [one.site for one in visited if one.number == 3]
            await asyncio.gather(*(byway.read("why", site.url()) for site in asked))
            # One after the other is checked for interception as well, when its own hellos are over.
            await until(lambda: any(_is_checked(country, one) for one in visited))
        sent = {(one.how, one.number): hellos(country, one.site.name) for one in visited}
        most = {key: most_within_a_second(seen, country.lateness) for key, seen in sent.items()}
        too_many = {key: [(hello.at, hello.target) for hello in sent[key]] for key in most if most[key] > key[1] + 1}
        assert not too_many, most


def _is_checked(country: Country, one: Visited) -> bool:
    return one.how in ("healthy", "interception") and len(hellos(country, one.site.name)) > 2 * one.number


# -- a network that counts ---------------------------------------------------------------------------------------------


at_once = AtOnce(most=5)


class Counting:
    """A network with a censor of each kind, both of which see every hello. As long as neither punishes, neither is
    disturbed by the other."""

    def __init__(self, country: Country) -> None:
        self._censors = {reading: rules.HelloCount("*", reading=reading) for reading in Reading}
        country.rules.set(self._censors.values())

    @property
    def punished(self) -> dict[Reading, list[tuple[str, float]]]:
        """The names that each of them punished, with the times."""
        deeds = {reading: rule.deed for reading, rule in self._censors.items()}
        return {
            reading: deed.punished for reading, deed in deeds.items() if isinstance(deed, CountHellos) and deed.punished
        }


@pytest.mark.slow
async def test_a_client_without_byway_is_punished_for_six_at_once(country: Country) -> None:
    async def story(reading: Reading, number: int, punished: int) -> None:
        site = country.add_site(f"{reading}-{number}.test")
        rule = rules.HelloCount(site.name, reading=reading)
        country.rules.add(rule)
        seen = await visit(country, None, site, number)
        assert isinstance(rule.deed, CountHellos)
        assert len(rule.deed.punished) == punished
        assert all(one.genuine for one in seen) is not bool(punished)

    cases = ((1, 0), (3, 0), (6, 1))
    await all_of(
        {f"{reading}, {number}": story(reading, number, most) for reading in Reading for number, most in cases}
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 3])
@at_once
async def test_a_client_with_byway_is_not_punished_for_less(folder: Path, *, number: int) -> None:
    """A first visit, which is checked for interception; then a second one."""
    async with Country(folder) as country:
        censors, site = Counting(country), country.add_site("site.test")
        async with country.byway(folder / "byway", config=country.config(detect=UNHURRIED)) as byway:
            for sent in (number + 1, 2 * number + 1):
                assert all(one.genuine for one in await visit(country, byway, site, number))
                await until(lambda sent=sent: len(hellos(country, site.name)) >= sent)  # type: ignore[misc]  # a default
                await a_moment_later(country, site)
            assert censors.punished == {}
            assert (await byway.belief(site.name))["state"] == "works"


@pytest.mark.parametrize("number", [1, 2, 3])
@at_once
async def test_nor_for_a_site_that_is_blocked_by_name(folder: Path, *, number: int) -> None:
    """Without a relay, where a cut hello passes: one connection learns this, and the others use it."""
    async with Country(folder) as country:
        censors, site = Counting(country), country.add_site("site.test")
        country.rules.add(rules.SniReset(site.name, view=View.PACKET))
        config = country.config(detect=UNHURRIED, no_relay=True)
        async with country.byway(folder / "byway", config=config) as byway:
            for _ in range(2):
                seen = await visit(country, byway, site, number)
                assert all(one.genuine for one in seen), seen
                await a_moment_later(country, site)
            assert censors.punished == {}


# -- after it has punished once ----------------------------------------------------------------------------------------

punished_at_once = AtOnce(most=5)

FROZEN_S = 12.0
LEAVES_S = 10.0
"""The freeze is longer than `give_up_s` of HURRIED, and than a visitor waits, as in true time: no hello of a burst is
answered late. One that was acknowledged before the freeze would be, and Byway gives up none of these."""
RETESTED = f"{HURRIED}rescue_suspect_s = 10.0\nretest_suspect_s = 1.0\nretest_jitter = 0.0\n"
LIMITS = Conduct(at_most=3, silent_beyond=True, delay_s=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("by_prefix", [False, True], ids=["address", "prefix"])
@pytest.mark.parametrize("reading", Reading)
@pytest.mark.parametrize("relay", [False, True], ids=["alone", "relay"])
@punished_at_once
async def test_a_network_that_punished_two_sites_punishes_no_third(
    folder: Path, *, reading: Reading, by_prefix: bool, relay: bool
) -> None:
    """What it taught about the two is withdrawn."""
    async with Country(folder) as country:
        first = [country.add_site(f"site.{name}.test", wide=True) for name in ("a", "b")]
        third = country.add_site("site.c.test", wide=True)
        config = country.config(detect=RETESTED, no_relay=not relay)
        async with country.byway(folder / "byway", config=config) as byway:
            names = (site.name for site in (*first, third))  # others are visited again and again
            rule = rules.HelloCount(*names, reading=reading, by_prefix=by_prefix, frozen_s=FROZEN_S)
            country.rules.set([rule])
            assert isinstance(rule.deed, CountHellos)
            await _punished(country, byway, first)
            assert {name for name, _ in rule.deed.punished} == {site.name for site in first}
            await asyncio.sleep(FROZEN_S)
            for site in first:
                await _until_it_comes_direct(country, byway, site)
            seen = await visit(country, byway, third, 6)
            assert all(one.genuine for one in seen), seen
            assert {name for name, _ in rule.deed.punished} == {site.name for site in first}
            assert (await byway.belief(third.name))["state"] == "works"
            said = "".join((await byway.read("status"))["notices"])
            assert "punishes more than three TLS connections" in said
            for site in first:
                belief = await byway.belief(site.name)
                assert (belief["state"], belief["score"]) == ("works", 0.0), belief


@pytest.mark.slow
@punished_at_once
async def test_the_twin_a_server_that_limits_connections_is_not_such_a_network(folder: Path) -> None:
    async with Country(folder) as country:
        site, other = country.add_site("site.a.test", conduct=LIMITS), country.add_site("site.b.test")
        async with country.byway(folder / "byway", config=country.config(detect=RETESTED)) as byway:
            await _punished(country, byway, [site])
            await _until_it_comes_direct(country, byway, site)
            before = country.router.events.clock()
            await visit(country, byway, other, 6)
            sent = [hello.at for hello in hellos(country, other.name)]
            assert len([at for at in sent if at - before < 0.45]) >= 6, "nobody waits"


async def _punished(country: Country, byway: Running, sites: Sequence[Site]) -> None:
    """Visits each of these sites by six connections at once, while another person opens a healthy page every moment."""
    neighbour = country.add_site("healthy-neighbour.test")
    stop = asyncio.Event()

    async def walk() -> None:
        while not stop.is_set():
            await visit(country, byway, neighbour, 1)
            await asyncio.sleep(0.3)

    walking = spawn(walk(), name="neighbour")
    for number, site in enumerate(sites):
        await asyncio.sleep(ONE_OUTAGE_S if number else 0.0)  # at once they may be stopped by an outage
        await visit(country, byway, site, 6, wait_s=LEAVES_S)
    stop.set()
    await walking


async def _until_it_comes_direct(country: Country, byway: Running, site: Site) -> None:
    async def is_direct() -> bool:
        await visit(country, byway, site, 1)
        await a_moment_later(country, site)
        return bool([row["winner"] for row in await byway.rows(site.name)][-1] == "direct")

    await until_read(is_direct, within_s=30.0)
