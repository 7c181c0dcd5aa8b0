"""The names that the provider must not see: the packets of a real Byway, over the whole scenario table.

Each promise is checked against all traffic on the client's link, by the questions of `lab.leaks`; each question is also
asked about a configuration that leaks, and has to find the leak.

An idle Byway is watched for some seconds. With BYWAY_TEST_IDLE_S=120 in the environment it is watched for two minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.model import State
from proxy.net.tasks import spawn
from tests.lab import leaks, places, rules
from tests.lab.all_scenarios import BY_NAME, SCENARIOS
from tests.lab.country import Country, Running, Site
from tests.lab.events import Events
from tests.lab.name_servers import Addresses
from tests.lab.origins import GOOD
from tests.lab.relays import Manner
from tests.lab.rules import Rule
from tests.lab.scenarios import TROUBLED, Kind, Reach, Scenario
from tests.lab.sockets import connect
from tests.lab.trials import limited
from tests.lab.views import View
from tests.lab.visitor import Visit
from tests.support.at_once import AtOnce
from tests.support.streams import close
from tests.support.waiting import until, until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.alone, pytest.mark.slow]

_LOOK_S = 0.1
SUSPECT_S = 60.0
"""The time until the first visits to all sites are made and judged: a sign may wait 7 s for its counterpart, and a
visit to a site that drops its packets takes some seconds as well. It ends early when all sites are suspect."""
IDLE_S = float(os.environ.get("BYWAY_TEST_IDLE_S", "3"))

AT_ONCE = DetectTuning().relay_handshakes_max
"""Pages opened at once: Byway opens no more paths at once through one relay, and none may wait for its turn here."""
PATIENCE_S = 30.0
"""The patience for a page that has to come: Byway itself tries as long. Only a failing page waits so long."""
IMPATIENCE_S = 1.5
"""The patience with sites that answer nobody, or late: by then every packet has been sent."""
FAULTY_S = 4.0
"""The patience for a page with a faulty relay: twice the limits of QUICK, so that every reaction to the relay's failure
has begun."""
at_once = AtOnce(most=4)
"""Each country takes up to a quarter of a core: with more, each would make the others late."""
OF_NAMES = tuple(row for row in SCENARIOS if row.reach is Reach.NAMES)
OF_NETWORKS = ("portal", "offline", "allow-list", "office", "terminator", "fake-dns", "dns64", "doh-blocked",
               "resolver-down", "relay-down")  # fmt: skip
_NOBODY = ip_network(places.NOBODY)
DOORS = ("https", "http", "socks5h")

FORGETFUL = "[limits]\nresolve_keep_s = 1.0\n"
"""Names are resolved again and again, so that there are queries to see. All other limits are the defaults: a healthy
relay behind a late lab is not faulty."""

QUICK = f"{FORGETFUL}handshake_timeout_s = 2.0\nconnect_timeout_s = 2.0\n"
"""The limits with faulty relays: no visit waits for an answer that will not come."""

HURRIED = (
    "signal_interval_s = 0.5\nepisode_gap_s = 0.5\nretest_suspect_s = 1.0\nretest_blocked_s = [1.0]\n"
    "retest_jitter = 0.0\nretest_per_hour = 100000\nretest_pair_s = 2.0\nresidual_s = 1.0\n"
    "syn_s = 2.0\nsilent_s = 3.0\ndropped_s = 1.0\n"
)
"""Re-tests are always due; a suspect site stays suspect as long as by default."""


def settled(country: Country, rows: Iterable[Scenario]) -> Mapping[Scenario, Site]:
    """Returns a site for each row."""
    return {row: row.add_site(country, f"{row.name}.test") for row in rows}


def arranged(country: Country, sites: Mapping[Scenario, Site]) -> list[Rule]:
    return [rule for row, site in sites.items() for rule in row.arrange(country, [site])]


def sealed(sites: Iterable[Site], action: str = "RELAY") -> str:
    """Returns rules that keep the sites to relays."""
    return "".join(f"DOMAIN-SUFFIX,{site.name},{action}\n" for site in sites) + "MATCH,AUTO\n"


async def visit(country: Country, byway: Running, site: Site, door: str, *, patience_s: float = PATIENCE_S) -> Visit:
    visitor = replace(country.visitor(byway), socks=door == "socks5h")
    if not is_honest(country, site):
        patience_s = min(patience_s, IMPATIENCE_S)
    return await limited(visitor, site.url(secure=door != "http"), patience_s)


def is_honest(country: Country, site: Site) -> bool:
    """Returns whether the site answers every client that reaches it with a whole hello."""
    conduct = replace(country.origins.conduct(site.name), cut_hello_fails=False)
    return conduct == GOOD and ip_address(site.address) not in _NOBODY


async def visit_all(
    country: Country, byway: Running, sites: Iterable[Site], *doors: str, patience_s: float = PATIENCE_S
) -> list[Visit]:
    """Visits each site by each door, some at once."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(site: Site, door: str) -> Visit:
        async with room:
            return await visit(country, byway, site, door, patience_s=patience_s)

    return await asyncio.gather(*(one(site, door) for site in sites for door in doors))


async def measure(byway: Running, site: Site) -> None:
    """Measures a site as `byway why --fresh` does."""
    async with (
        byway.api() as session,
        session.post("/v1/why", json={"site": site.url(), "fresh": True}) as answer,
    ):
        await answer.read()


async def survey(byway: Running, folder: Path, sites: Iterable[Site]) -> None:
    """Tests the sites as `byway test` does."""
    listed = folder / "sites.txt"
    listed.write_text("".join(f"{site.url()}\n" for site in sites))
    await byway.command("test", "--file", str(listed), "-c", "16", "--jitter", "0", "--json", check=False)


def of_all(ask: Callable[..., list[str]], events: Events, sites: Iterable[Site], **how: float) -> list[str]:
    return [leak for site in sites for leak in ask(events, site, **how)]


# -- RELAY ------------------------------------------------------------------------------------------------------------


def refuse(country: Country) -> Sequence[Rule]:
    return (rules.SynReset(places.RELAYS),)


def lose(country: Country) -> Sequence[Rule]:
    return (rules.AddressDrop(places.RELAYS),)


def deafen(country: Country) -> Sequence[Rule]:
    country.relay.manner = Manner.DEAF
    return ()


@at_once
async def test_under_a_relay_rule_the_name_and_its_packets_stay_with_the_relay(folder: Path) -> None:
    """Over the whole table at once: every site by every door while relays work, and by one of the doors when they do
    not."""
    async with Country(folder) as country:
        sites, events = settled(country, OF_NAMES), country.router.events
        for site in sites.values():
            events.watch(site.name)
        about_names, ruled = arranged(country, sites), sealed(sites.values())
        country.rules.set(about_names)
        async with country.byway(folder / "byway", config=country.config(extra=FORGETFUL), rules=ruled) as byway:
            shown = await visit_all(country, byway, sites.values(), *DOORS)
            honest = tuple(f"/{site.name}/" for site in sites.values() if is_honest(country, site))
            assert [seen for seen in shown if not seen.genuine and seen.url.endswith(honest)] == []
            assert of_all(leaks.beside_relays, events, sites.values()) == []
            await measure(byway, sites[BY_NAME["healthy"]])
            await survey(byway, folder, list(sites.values())[:8])
            assert of_all(leaks.beside_relays, events, sites.values()) == []
        async with country.byway(folder / "faulty", config=country.config(extra=QUICK), rules=ruled) as byway:
            for n, fault in enumerate((refuse, lose, deafen)):
                country.rules.set([*about_names, *fault(country)])
                some = list(sites.values())[n::3]
                shown = await visit_all(country, byway, some, DOORS[n], patience_s=FAULTY_S)
                assert [seen for seen in shown if seen.genuine] == [], f"{fault.__name__}: by which way?"
                assert of_all(leaks.beside_relays, events, sites.values()) == [], fault.__name__
            country.rules.set(about_names)
            country.relay.manner = Manner.HONEST
            await measure(byway, sites[BY_NAME["healthy"]])
            assert of_all(leaks.beside_relays, events, sites.values()) == []
        async with country.byway(folder / "byway", config=country.config(extra=FORGETFUL), rules=ruled) as byway:
            healthy = sites[BY_NAME["healthy"]]
            assert places.SOCKS_RELAY in await page_by_address(country, byway, healthy)
            assert leaks.names_beside_relays(events, healthy) == []


@at_once
async def test_on_no_network_a_relay_rule_sends_anything_beside_the_relay(folder: Path) -> None:
    async with Country(folder) as country:
        sites = settled(country, (BY_NAME[name] for name in OF_NETWORKS))
        config = country.config(extra=FORGETFUL, detect="relay_backoff_s = 0.1\nrelay_backoff_max_s = 0.2\n")
        async with country.byway(folder / "byway", config=config, rules=sealed(sites.values())) as byway:
            events = country.router.events
            for row, site in sites.items():
                events.watch(site.name)
                country.rules.set(row.arrange(country, [site]))
                reaches = row.name not in ("portal", "offline", "relay-down")
                patience_s = PATIENCE_S if reaches else FAULTY_S
                shown = await visit_all(country, byway, [site], *DOORS, patience_s=patience_s)
                assert leaks.beside_relays(events, site) == [], row.name
                assert all(seen.genuine for seen in shown) is reaches, (row.name, shown)
                country.lift()


@at_once
async def test_the_control_for_that_a_direct_rule_is_found_to_leak(folder: Path) -> None:
    """The same questions about a configuration that lets everything out."""
    async with Country(folder) as country:
        names = ("healthy", "sni-reset-tcp", "sni-drop-packet", "http-reset", "dns-nxdomain")
        sites = settled(country, (BY_NAME[name] for name in names))
        config = country.config(extra=FORGETFUL, dns='secure = "never"')
        async with country.byway(folder / "byway", config=config, rules=sealed(sites.values(), "DIRECT")) as byway:
            events = country.router.events
            for site in sites.values():
                events.watch(site.name)
            country.rules.set(arranged(country, sites))
            for door in DOORS:
                since = events.clock()
                visiting = [
                    spawn(visit(country, byway, site, door), name="a visitor of a leak") for site in sites.values()
                ]

                def have_leaked(since: float = since) -> bool:
                    return all(leaks.names_beside_relays(events, site, since=since) for site in sites.values())

                with contextlib.suppress(TimeoutError):
                    await until(have_leaked, every_s=_LOOK_S)
                for one in visiting:
                    one.cancel()
                await asyncio.wait(visiting)
                for site in sites.values():
                    assert leaks.beside_relays(events, site, since=since), (door, site.name)
                    assert leaks.names_beside_relays(events, site, since=since), (door, site.name)
        assert leaks.in_clear(events)
        assert leaks.anything(events, since=0.0)


async def page_by_address(country: Country, byway: Running, site: Site) -> str:
    """Returns the page as a program that resolves names by itself gets it: the request to the proxy has the address,
    and only the hello has the name."""
    async with tunnel(country, byway, site, to=site.address) as (reader, writer):
        writer.write(f"GET / HTTP/1.1\r\nHost: {site.name}\r\nConnection: close\r\n\r\n".encode())
        return (await reader.read()).decode()


@asynccontextmanager
async def tunnel(
    country: Country, byway: Running, site: Site, *, to: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Yields TLS with the site, over a tunnel to `to`."""
    reader, writer = await connect(country.client.socket, byway.proxy)
    try:
        async with asyncio.timeout(PATIENCE_S):
            writer.write(f"CONNECT {to}:443 HTTP/1.1\r\nHost: {to}:443\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            await writer.start_tls(country.visitor().trust, server_hostname=site.name)
            yield reader, writer
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def certificate_unanswered(country: Country, byway: Running, site: Site) -> AsyncIterator[None]:
    """Opens a tunnel to a site whose client receives its certificate and leaves without another byte, as some do that
    reject it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = country.visitor().trust.wrap_bio(incoming, outgoing, server_hostname=site.name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    reader, writer = await connect(country.client.socket, byway.proxy)
    try:
        async with asyncio.timeout(PATIENCE_S):
            writer.write(f"CONNECT {site.name}:443 HTTP/1.1\r\nHost: {site.name}:443\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            writer.write(outgoing.read())
            await reader.readexactly(1)
            yield
    finally:
        writer.close()


@at_once
async def test_control_pages_are_no_exception_from_a_rule(folder: Path) -> None:
    """The requests of Byway's own, beside a visit and on demand: they contain no name that a rule keeps to relays."""
    async with Country(folder) as country:
        sites = settled(country, (BY_NAME[name] for name in ("sni-reset-tcp", "sni-drop-packet", "dns-nxdomain")))
        controls = [Site(name, address) for name, address in places.CONTROLS.items()]
        config = country.config(extra=FORGETFUL, detect=HURRIED + "control_interval_s = 0.5\ncontrol_after_s = 0.1\n")
        async with country.byway(folder / "byway", config=config, rules=sealed(controls)) as byway:
            events = country.router.events
            country.rules.set(arranged(country, sites))
            for _ in range(2):
                await visit_all(country, byway, sites.values(), "https")
                await asyncio.sleep(1.2)  # a sign waits, and no other site has answered
            await asyncio.gather(*(measure(byway, site) for site in sites.values()))
            country.provider.fake = places.FAKE  # to know another proxy's answers, controls would be asked for
            await visit(country, byway, country.add_site("fake.test"), "https")
            assert of_all(leaks.beside_relays, events, controls) == []


@at_once
async def test_a_rule_that_comes_while_a_tunnel_is_open_holds_for_all_that_comes_after(folder: Path) -> None:
    """An open tunnel stays open; but at its end Byway checks no certificate on a route that the rule forbids by
    then."""
    async with Country(folder) as country:
        site, other = country.add_site("changed.test"), country.add_site("unchanged.test")
        # A certificate is looked at once there was no hello of the name for so long: a second in life.
        config = country.config(extra=FORGETFUL, detect="hello_apart_s = 0.02\n")
        async with country.byway(folder / "byway", config=config) as byway:
            events = country.router.events
            for name, action in ((site, "relay"), (other, "auto")):
                async with certificate_unanswered(country, byway, name):
                    await byway.command("site", "set", name.name, action)
                    begun = events.connections(name.address)
                await judged(byway, name, 1)

                def has_looked(name: Site = name, begun: int = begun) -> bool:
                    return events.connections(name.address) > begun

                if name is other:
                    await until(has_looked)
                else:
                    await asyncio.sleep(0.5)
                    assert not has_looked()
                assert (await visit(country, byway, name, "https")).genuine


# -- port 53 ----------------------------------------------------------------------------------------------------------


@at_once
async def test_with_secure_always_nothing_is_asked_in_clear(folder: Path) -> None:
    """Sites of all kinds, a relay that is known by its name, measurements and a survey; then secure DNS is lost."""
    async with Country(folder) as country:
        sites = settled(country, OF_NAMES)
        country.zone.names["relay.test"] = Addresses((places.SOCKS_RELAY,))
        relay = ("abroad", f"socks5h://relay.test:{places.SOCKS_PORT}")
        config = country.config(extra=FORGETFUL, dns='secure = "always"', relays=(relay,), detect=HURRIED)
        async with country.byway(folder / "byway", config=config) as byway:
            events = country.router.events
            country.rules.set(arranged(country, sites))
            shown = await visit_all(country, byway, sites.values(), "https", "http")
            assert sum(seen.genuine for seen in shown) > len(shown) / 2
            assert "relay.test" in country.resolver.names()
            await asyncio.gather(*(measure(byway, sites[BY_NAME[name]]) for name in ("healthy", "sni-reset-tcp")))
            await survey(byway, folder, list(sites.values())[:8])
            for name in ("portal", "fake-dns", "dns64", "office"):
                country.lift()
                country.rules.set(BY_NAME[name].arrange(country, list(sites.values())))
                await visit_all(country, byway, list(sites.values())[:6], "https", "http")
            country.lift()
            country.rules.set([rules.AddressDrop(places.DOH, places.DOT)])
            country.change_network()  # nothing is remembered here
            await visit_all(country, byway, list(sites.values())[:8], "https")
            assert leaks.in_clear(events) == []


# -- what was suspect once --------------------------------------------------------------------------------------------


@dataclass
class Suspects:
    """The sites of blocking rows, the time from which each is suspect, and the queries for them all the while."""

    country: Country
    byway: Running
    sites: Mapping[Scenario, Site]
    since: dict[Site, float] = field(default_factory=dict)

    @property
    def events(self) -> Events:
        return self.country.router.events

    async def meet(self) -> None:
        """Makes first visits, until each is suspect. A site that never becomes suspect ends the story."""

        async def all_are_suspect() -> bool:
            await asyncio.sleep(_LOOK_S)
            for site in self.sites.values():
                if site not in self.since and State((await self.byway.belief(site.name))["state"]) in TROUBLED:
                    self.since[site] = self.events.clock()
            return len(self.since) == len(self.sites)

        with contextlib.suppress(TimeoutError):
            await asyncio.gather(self.go_again(), until_read(all_are_suspect, within_s=SUSPECT_S))
        assert [site.name for site in self.sites.values() if site not in self.since] == []

    async def go_again(self) -> None:
        room = asyncio.Semaphore(AT_ONCE)

        async def one(row: Scenario, site: Site) -> None:
            async with room:
                await visit(self.country, self.byway, site, "https" if row.secure else "http")

        await asyncio.gather(*(one(row, site) for row, site in self.sites.items()))

    def told(self) -> list[str]:
        """Returns the places where a query for one was in clear after that."""
        return [
            leak for site, since in self.since.items() for leak in leaks.asked_in_clear(self.events, site, since=since)
        ]


BLOCKED = tuple(
    row for row in OF_NAMES if row.kind is Kind.BLOCKING and not row.spoiled and row.path == "/" and row.named_by == 1
)


@asynccontextmanager
async def suspects(
    folder: Path, *, dns: str = "", detect: str = "", rows: Sequence[str] = ()
) -> AsyncIterator[Suspects]:
    async with Country(folder) as country:
        sites = settled(country, [BY_NAME[name] for name in rows] or BLOCKED)
        neighbour = country.add_site("healthy-neighbour.test")
        config = country.config(extra=FORGETFUL, detect=HURRIED + detect, dns=f"{dns}\nsecure_idle_s = 1.0\n")
        async with country.byway(folder / "byway", config=config) as byway:
            country.rules.set(arranged(country, sites))
            await visit(country, byway, neighbour, "https")
            yield Suspects(country, byway, sites)


@at_once
async def test_a_name_once_suspect_is_never_again_asked_in_clear(folder: Path) -> None:
    """This holds for visits, the re-tests and the diagnoses beside them, for measurements on demand, and for the next
    Byway. Then, while a re-test of each one is due, nobody visits anything, and Byway sends nothing at all."""
    async with suspects(folder) as here:
        await here.meet()
        dropped = here.sites[BY_NAME["sni-drop-records"]]
        tried = here.events.connections(dropped.address, 443, since=here.since[dropped])
        for _ in range(3):
            await here.go_again()
            await asyncio.sleep(1.2)  # the next re-test is due
        assert here.events.connections(dropped.address, 443) > tried, "no re-test was made: this test would be empty"
        assert here.told() == []
        await survey(here.byway, folder, here.sites.values())
        await asyncio.gather(*(measure(here.byway, site) for site in list(here.sites.values())[:8]))
        assert here.told() == []
        await here.byway.stop()
        await here.byway.start()
        await here.go_again()
        assert here.told() == []

        await until(lambda: not leaks.anything(here.events, since=here.events.clock() - 1.5), within_s=20)
        began = here.events.clock()
        await asyncio.sleep(IDLE_S)
        assert leaks.anything(here.events, since=began) == []


@at_once
async def test_a_suspicion_that_has_lapsed_keeps_the_name_all_the_same(folder: Path) -> None:
    """Signs too weak to last: Byway tries direct again after a while, and still never sends the name in a clear
    query."""
    weak = ("syn-reset", "icmp-unreachable")
    async with suspects(folder, rows=weak, detect="rescue_suspect_s = 1.0\n") as here:
        await here.meet()

        async def has_lapsed() -> bool:
            await asyncio.sleep(0.1)
            held = [await here.byway.belief(site.name) for site in here.sites.values()]
            return all(State(belief["state"]) is State.UNKNOWN for belief in held)

        await until_read(has_lapsed)
        for site in here.sites.values():
            await measure(here.byway, site)
        await here.go_again()
        tried = [here.events.connections(site.address, 443) for site in here.sites.values()]
        assert min(tried) > 1, "direct was not tried again"
        assert here.told() == []


@at_once
async def test_the_control_for_that_a_suspect_is_asked_in_clear_with_secure_never(folder: Path) -> None:
    async with suspects(folder, dns='secure = "never"', rows=("sni-reset-tcp", "sni-drop-packet")) as here:
        await here.meet()

        async def are_told() -> bool:
            await asyncio.sleep(1.1)  # no answer is kept any more
            await here.go_again()
            return len(here.told()) >= len(here.sites)

        await until_read(are_told)


# -- attempts that are given up ---------------------------------------------------------------------------------------

RESENT_S = 4.0
"""The kernel sends a hello again after 0.2, 0.6, 1.4, 3 and 6.2 s: at least once in this time after Byway gives up."""


@asynccontextmanager
async def dropping(folder: Path, *, no_relay: bool) -> AsyncIterator[tuple[Country, Running, Site]]:
    """Yields a country that drops every packet that names a site, however it is cut."""
    async with Country(folder) as country:
        site = country.add_site("dropped.test")
        config = country.config(extra=FORGETFUL, detect=HURRIED, no_relay=no_relay)
        async with country.byway(folder / "byway", config=config) as byway:
            country.rules.set([rules.SniDrop(site.name, view=View.RECORDS), rules.HttpDrop(site.name)])
            yield country, byway, site


async def judged(byway: Running, site: Site, rows: int) -> None:
    """Waits for the rows: a row is written when all of its attempts have ended."""

    async def written() -> bool:
        return len(await byway.rows(site.name)) >= rows

    await until_read(written, within_s=20)


async def all_are_broken_off(events: Events, site: Site) -> None:
    """Checks that all connections end with a reset. The resets may be on their way when the row is written: the lab
    reads packets when its loop comes to them."""
    with contextlib.suppress(TimeoutError):
        await until(lambda: not leaks.not_broken_off(events, site))
    assert leaks.not_broken_off(events, site) == []


@at_once
async def test_an_attempt_that_a_relay_overtook_says_the_name_no_more(folder: Path) -> None:
    async with dropping(folder, no_relay=False) as (country, byway, site):
        await overtaken(country, byway, site, secure=True)


@at_once
async def test_nor_does_one_without_tls(folder: Path) -> None:
    async with dropping(folder, no_relay=False) as (country, byway, site):
        await overtaken(country, byway, site, secure=False)


async def overtaken(country: Country, byway: Running, site: Site, *, secure: bool) -> None:
    events = country.router.events
    assert (await country.visitor(byway).visit(site.url(secure=secure))).genuine
    await judged(byway, site, 1)
    assert leaks.said_again(events, site, since=0.0), "nothing was tried"
    await all_are_broken_off(events, site)
    given_up = events.clock()
    await asyncio.sleep(RESENT_S)
    assert leaks.said_again(events, site, since=given_up) == []


@at_once
async def test_cut_hellos_and_a_visitor_who_leaves_say_the_name_no_more(folder: Path) -> None:
    """Without a relay each rung is tried, and none gets through; then a visitor closes the page at once."""
    async with dropping(folder, no_relay=True) as (country, byway, site):
        events = country.router.events
        assert not (await limited(country.visitor(byway), site.url(), 9)).genuine
        await judged(byway, site, 1)
        tried = {attempt["route"] for row in await byway.rows(site.name) for attempt in row["attempts"]}
        assert {"direct", "direct|tlsrec", "direct|split"} <= tried
        began = events.clock()
        visiting = spawn(country.visitor(byway).visit(site.url()), name="somebody who leaves")
        await until(lambda: bool(leaks.said_again(events, site, since=began)))
        visiting.cancel()
        await judged(byway, site, 2)
        await all_are_broken_off(events, site)
        given_up = events.clock()
        await asyncio.sleep(RESENT_S)
        assert leaks.said_again(events, site, since=given_up) == []


@at_once
async def test_the_control_for_that_a_plain_close_says_the_name_again(folder: Path) -> None:
    async with dropping(folder, no_relay=True) as (country, _, site):
        events = country.router.events
        _, writer = await connect(country.client.socket, (site.address, 80))
        writer.write(f"GET / HTTP/1.1\r\nHost: {site.name}\r\n\r\n".encode())
        await writer.drain()
        await until(lambda: bool(leaks.said_again(events, site, since=0.0)))
        await close(writer)
        given_up = events.clock()
        assert leaks.not_broken_off(events, site)
        await until(lambda: bool(leaks.said_again(events, site, since=given_up)), within_s=RESENT_S)
