"""Whose certificate direct brings: which hosts are looked at and when, and what is learned; on real TLS over loopback,
with real beliefs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from proxy.config.bundled import bundled
from proxy.config.detect_tuning import DetectTuning
from proxy.config.load import Loaded
from proxy.config.schema import Settings
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.state import NETWORKS_MAX
from proxy.detect.tls_interception import KnownRoots
from proxy.extend.dispatch import Addons
from proxy.extend.guard.runner import AddonRunner
from proxy.extend.guard.time_limit import TimeLimit
from proxy.model import DIRECT, Action, Belief, Change, ClosedBy, Destination, NetworkId, Outcome, Protocol, Route
from proxy.net.dialers import tls
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.dns.resolver import Resolver
from proxy.net.poller import make_poller
from proxy.probe import certificate_chain, interception_check
from proxy.probe.certificate_chain import FetchedChain, fetch_chain
from proxy.probe.interception_check import CHECKS_AT_ONCE, InterceptionCheck
from proxy.routing.router import Router
from proxy.routing.rule_parser import parse_rules
from proxy.routing.rules import Rules
from proxy.session.events import HostsForgotten, TunnelEnded
from proxy.session.setup import Setup
from proxy.wire.flight import Flight
from proxy.wire.tls import CertificateReply
from tests.extend.making import made
from tests.lab.authorities import STATE_ROOT, Authority
from tests.support.answering import LeadsTo, answering
from tests.support.clock import Clock
from tests.support.outcomes import AWAY, HOME, TOR, delivered, outcome, rescued
from tests.support.services import NO_PAGES, NO_RESOLVER, services, visit_of
from tests.support.waiting import until

HOST = "www.example.test"
APART_S = 0.05
"""Between two hellos of one name, of Byway's own."""
WHOLE: dict[str, Any] = {
    "bytes_up": 2000,
    "bytes_down": 9000,
    "flight_bytes": 517,
    "duration": 3.0,
    "closed_by": ClosedBy.CLIENT,
}


@dataclass
class World:
    """Whose certificates come direct and through the relay, and what was learned."""

    ways: dict[Route, Dialer]
    network: NetworkId = HOME
    clock: Clock = field(default_factory=Clock)
    moves: bool = False  # to another network, once its check dials
    private: set[str] = field(default_factory=set)
    controls: int = 0  # how often a control page was asked
    changes: list[Change] = field(default_factory=list)
    beliefs: Beliefs = field(default_factory=lambda: Beliefs(Settings().detect))
    relay_names: tuple[str, ...] = ("tor",)
    router: Router = field(default_factory=lambda: Router(Rules(), {}, [], Settings()))
    addons: Addons = field(default_factory=Addons)

    def __post_init__(self) -> None:
        unused = cast(Any, None)
        settings = Settings(detect=DetectTuning(hello_apart_s=APART_S))
        setup = Setup(Loaded(settings), unused, unused, self.router, cast(Any, self), NO_RESOLVER, pages=NO_PAGES)
        roots = KnownRoots.parse(bundled("certs/known_roots.json").read_text("utf-8"), "known_roots.json")
        shared = services(
            setup=lambda: replace(setup, router=self.router),
            beliefs=self.beliefs,
            network=lambda: self.network,
            now=self.clock,
            believe=self.changes.extend,
            is_private=self.private.__contains__,
            roots=lambda: roots,
            addons=self.addons,
        )
        self.hellos = shared.findings.hellos
        self.certificates = InterceptionCheck(shared, self._ask)

    async def _ask(self, setup: Setup) -> None:
        self.controls += 1

    # -- the registry of its setup

    def dialer(self, route: Route) -> Dialer:
        if self.moves:
            self.network = AWAY
        return self.ways[route]

    def carries(self, route: Route, destination: Destination) -> bool:
        return route in self.ways

    def dialed(self, route: Route) -> list[str]:
        return [destination.host for destination in cast(LeadsTo, self.ways[route]).dialed]

    def held(self, host: str = HOST) -> Belief:
        return self.beliefs.lookup(host, network=HOME, now=self.clock())

    def deliver(self, visit: Outcome) -> None:
        flight = Flight()
        flight.protocol = visit.protocol
        self.certificates.on_delivered(visit_of(None, visit, flight))

    async def look(self, visit: Outcome) -> None:
        """A tunnel has been answered; returns once all that comes of it has."""
        self.deliver(visit)
        await until(lambda: not self.certificates._under_way)

    async def end(self, visit: Outcome, reply: CertificateReply = CertificateReply.REJECTED) -> None:
        """The same when it has ended."""
        self.certificates.on_tunnel_ended(TunnelEnded(visit, reply))
        await until(lambda: not self.certificates._under_way)


def visited(host: str = HOST, **facts: Any) -> Outcome:
    """Direct served it, and the client took what came."""
    return replace(outcome(delivered(), host=host), **{**WHOLE, **facts})


def hung_up(host: str = HOST) -> Outcome:
    """The client left once it had seen the certificate."""
    return visited(host, bytes_up=517 + 7, duration=0.2)


def rejected(host: str) -> TunnelEnded:
    return TunnelEnded(hung_up(host), CertificateReply.REJECTED)


@pytest.fixture(scope="module")
def authorities() -> Iterator[dict[str, Authority]]:
    with (
        Authority("Public", logged=True) as public,
        Authority("State", shown=(STATE_ROOT,)) as state,
        Authority("Unknown") as unknown,
        Authority("Office") as office,
    ):
        yield {"public": public, "state": state, "unknown": unknown, "office": office}


@pytest.fixture(autouse=True)
def trust(authorities: dict[str, Authority], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This system trusts the public authority and the office's."""
    bundle = tmp_path / "trust.pem"
    bundle.write_text(authorities["public"].pem + authorities["office"].pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    tls._system_context.cache_clear()
    yield
    tls._system_context.cache_clear()


@contextlib.asynccontextmanager
async def world(
    authorities: dict[str, Authority], direct: str = "public", relay: str | None = "public"
) -> AsyncIterator[World]:
    """Direct is answered by the certificate of one authority, the relay by another's."""
    async with contextlib.AsyncExitStack() as opened:
        poller = make_poller(asyncio.get_running_loop())
        opened.callback(poller.close)
        via = TcpDialer(poller, Resolver(), lambda *_: None)
        ways: dict[Route, Dialer] = {
            DIRECT: await opened.enter_async_context(answering(via, b"", authorities[direct].server()))
        }
        if relay is not None:
            ways[TOR] = await opened.enter_async_context(answering(via, b"", authorities[relay].server()))
        yield World(ways)


# -- what is learned ---------------------------------------------------------------------------------------------------


async def test_the_sites_own_teaches_nothing(authorities: dict[str, Authority]) -> None:
    async with world(authorities) as scene:
        await scene.look(visited())
        assert scene.dialed(DIRECT) == [HOST]
        assert scene.dialed(TOR) == []
        assert scene.changes == []


async def test_a_known_root_is_believed_at_once(authorities: dict[str, Authority]) -> None:
    async with world(authorities, "state") as scene:
        await scene.look(visited())
        assert (scene.held().state, scene.held().cause) == ("blocked", "interception")
        assert scene.dialed(TOR) == []


async def test_an_unknown_issuer_is_suspect_where_a_relay_brings_the_sites_own(
    authorities: dict[str, Authority],
) -> None:
    async with world(authorities, "unknown") as scene:
        await scene.look(visited())
        assert (scene.held().state, scene.held().cause) == ("suspect", "interception")
        assert scene.dialed(TOR) == [HOST]


@pytest.mark.parametrize("relay", ["unknown", "office", None])
async def test_a_site_that_signs_for_itself_is_left_alone(authorities: dict[str, Authority], relay: str | None) -> None:
    async with world(authorities, "unknown", relay) as scene:
        await scene.look(visited())
        assert set(scene.dialed(DIRECT)) == {HOST}
        assert scene.changes == []
        assert scene.controls == 0


async def test_an_issuer_that_this_system_trusts_is_looked_for_at_a_control(
    authorities: dict[str, Authority],
) -> None:
    async with world(authorities, "office") as scene:
        await scene.look(visited())
        assert scene.controls == 1
        assert scene.dialed(TOR) == []
        assert scene.held().state == "unknown"


async def test_what_came_on_another_network_teaches_nothing(authorities: dict[str, Authority]) -> None:
    async with world(authorities, "state") as scene:
        scene.moves = True
        await scene.look(visited())
        assert scene.dialed(DIRECT) != []
        assert scene.changes == []


async def test_nothing_is_sent_on_another_network_than_the_visits(authorities: dict[str, Authority]) -> None:
    async with world(authorities, "state") as scene:
        scene.deliver(visited())
        scene.network = AWAY
        await until(lambda: not scene.certificates._under_way)
        assert scene.dialed(DIRECT) == []


# -- which are looked at, and when -------------------------------------------------------------------------------------

NO_OCCASION = {
    "a relay carried it": replace(outcome(delivered(TOR)), **WHOLE),
    "nothing carried it": visited(winner=None),
    "it was plain HTTP": visited(protocol=Protocol.HTTP),
    "a rule said direct": visited(plan=replace(visited().plan, action=Action.DIRECT)),
    "there is no name": visited(request=replace(visited().request, destination=Destination("192.0.2.7", 443))),
}


@pytest.mark.parametrize("occasion", NO_OCCASION)
async def test_others_are_not_looked_at(authorities: dict[str, Authority], occasion: str) -> None:
    async with world(authorities) as scene:
        await scene.look(NO_OCCASION[occasion])
        assert scene.dialed(DIRECT) == []
        await scene.look(visited())
        assert scene.dialed(DIRECT) == [HOST]  # the control


async def test_nor_is_what_is_nobodys_business(authorities: dict[str, Authority]) -> None:
    async with world(authorities) as scene:
        scene.private.add(HOST)
        await scene.look(visited())
        await scene.end(hung_up())
        assert scene.dialed(DIRECT) == []


async def test_nor_is_one_that_a_rule_keeps_to_relays_by_then(authorities: dict[str, Authority]) -> None:
    """The tunnel was opened before the user said so, and its end must not open another one."""
    async with world(authorities) as scene:
        scene.router = Router(parse_rules(f"DOMAIN,{HOST},RELAY", source="rules.txt"), {}, [], Settings())
        await scene.look(visited())
        await scene.end(hung_up())
        assert scene.dialed(DIRECT) == []
        await scene.look(visited("other.example.test"))
        assert scene.dialed(DIRECT) == ["other.example.test"]


async def test_nor_is_one_that_an_addon_keeps_to_relays_by_then(
    authorities: dict[str, Authority], tmp_path: Path
) -> None:
    async with world(authorities) as scene:
        hook = (
            f"def plan(request, plan):\n    return plan.block('no') if request.destination.host == '{HOST}' else None\n"
        )
        scene.addons.put(AddonRunner(made(tmp_path / "addons", hook), TimeLimit()))
        await scene.end(hung_up())
        assert scene.dialed(DIRECT) == []
        await scene.end(hung_up("other.example.test"))
        assert scene.dialed(DIRECT) == ["other.example.test"]


async def test_nor_is_one_that_has_become_suspect(authorities: dict[str, Authority]) -> None:
    """Its name is not asked for in clear any more, and a look would do that."""
    async with world(authorities) as scene:
        scene.beliefs.learn(rescued(host=HOST), network=HOME, now=scene.clock())
        await scene.look(visited())
        await scene.end(hung_up())
        assert scene.dialed(DIRECT) == []


@pytest.mark.parametrize("reply", [CertificateReply.ACCEPTED, CertificateReply.NONE])
async def test_the_end_of_a_tunnel_is_no_visit(authorities: dict[str, Authority], reply: CertificateReply) -> None:
    """Short or long, if the client did not reject the certificate."""
    async with world(authorities) as scene:
        await scene.end(hung_up(), reply)
        await scene.end(visited(duration=7200.0), reply)
        assert scene.dialed(DIRECT) == []


HANGING_UP: dict[str, tuple[dict[str, Any], bool]] = {
    "once the certificate had come": ({}, True),
    "much later": ({"duration": 60.0}, False),
    "before anything came": ({"bytes_down": 0}, False),
    "no, the server did": ({"closed_by": ClosedBy.SERVER}, False),
}


@pytest.mark.parametrize("how", HANGING_UP)
async def test_a_client_may_close_without_a_word(authorities: dict[str, Authority], how: str) -> None:
    facts, counts = HANGING_UP[how]
    async with world(authorities) as scene:
        await scene.end(replace(hung_up(), **facts), CertificateReply.NOTHING_SENT)
        assert (HOST in scene.dialed(DIRECT)) is counts


async def test_one_a_minute_and_each_once_a_day(authorities: dict[str, Authority]) -> None:
    async with world(authorities) as scene:
        for host, after_s in (("a.test", 0), ("b.test", 59), ("b.test", 1), ("a.test", 3600), ("a.test", 86_400)):
            scene.clock.advance(after_s)
            await scene.look(visited(host))
        assert scene.dialed(DIRECT) == ["a.test", "b.test", "a.test"]


async def test_what_is_forgotten_is_checked_as_if_it_were_new(authorities: dict[str, Authority]) -> None:
    """Also one that is forgotten while its check is under way: that ends, and its name does not come back."""
    async with world(authorities) as scene:
        await scene.look(visited())
        scene.certificates.on_hosts_forgotten(HostsForgotten())
        scene.clock.advance(60)
        scene.deliver(visited())
        scene.certificates.on_hosts_forgotten(HostsForgotten())
        await until(lambda: not scene.certificates._under_way)
        assert scene.dialed(DIRECT) == [HOST]
        assert not scene.certificates._checked
        scene.clock.advance(60)
        await scene.look(visited())
        assert scene.dialed(DIRECT) == [HOST, HOST]


async def test_what_is_forgotten_during_its_check_is_not_believed(authorities: dict[str, Authority]) -> None:
    """It would be stored by name."""
    async with world(authorities, "state") as scene:
        scene.deliver(visited())
        scene.certificates.on_tunnel_ended(rejected(HOST))
        scene.certificates.on_hosts_forgotten(HostsForgotten())
        await until(lambda: not scene.certificates._under_way)
        assert scene.held().state == "unknown"
        scene.clock.advance(60)
        await scene.look(visited())
        assert scene.held().state == "blocked"


async def test_the_last_check_of_many_networks_is_kept_within_a_bound(authorities: dict[str, Authority]) -> None:
    networks = [NetworkId(f"network-{number}") for number in range(NETWORKS_MAX + 5)]
    async with world(authorities) as scene:
        for scene.network in networks:
            scene.deliver(visited())
            scene.certificates.on_hosts_forgotten(HostsForgotten())  # ends the check, so that the next one may begin
        assert [*scene.certificates._last] == networks[5:]


async def test_a_relay_has_longer_for_its_answer_than_direct(
    authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over round trips of 2 s its handshake and one with the site take 12 s, and without an answer nothing is found."""
    limits: dict[Dialer, float] = {}

    async def noted(dialer: Dialer, *given: Any, timeout_s: float, **more: Any) -> FetchedChain:
        limits[dialer] = timeout_s
        return await fetch_chain(dialer, *given, timeout_s=timeout_s, **more)

    monkeypatch.setattr(certificate_chain, "fetch_chain", noted)
    async with world(authorities, "unknown") as scene:
        await scene.look(visited())
        assert limits == {scene.ways[DIRECT]: DetectTuning().retest_pair_s, scene.ways[TOR]: DetectTuning().give_up_s}
        assert scene.held().state == "suspect"


async def test_networks_have_days_of_their_own(authorities: dict[str, Authority]) -> None:
    async with world(authorities) as scene:
        await scene.look(visited())
        scene.network = AWAY
        await scene.look(visited())
        assert scene.dialed(DIRECT) == [HOST, HOST]


async def test_a_client_that_hangs_up_is_asked_why_within_the_minute(authorities: dict[str, Authority]) -> None:
    async with world(authorities) as scene:
        await scene.look(visited("a.test"))
        await scene.end(hung_up("b.test"))
        scene.clock.advance(59)
        await scene.end(hung_up("b.test"))
        scene.clock.advance(1)
        await scene.end(hung_up("b.test"))
        assert scene.dialed(DIRECT) == ["a.test", "b.test", "b.test"]


async def test_a_client_that_hangs_up_soon_after_a_sound_certificate_is_asked_why_once(
    authorities: dict[str, Authority],
) -> None:
    """A censor may have begun since. Who rejects the site's own causes one check a minute."""
    async with world(authorities) as scene:
        await scene.look(visited())
        for _ in range(3):
            scene.clock.advance(1)
            await scene.end(hung_up())
        assert scene.dialed(DIRECT) == [HOST, HOST]


async def test_one_whose_hello_names_another_host_than_its_request_is_asked_why_too(
    authorities: dict[str, Authority],
) -> None:
    async with world(authorities) as scene:
        await scene.look(replace(visited(), host="named.test"))
        scene.clock.advance(1)
        await scene.end(replace(hung_up(), host="named.test"))
        assert scene.dialed(DIRECT) == [HOST, HOST]


async def test_an_unknown_issuer_is_not_looked_at_twice_within_the_minute(authorities: dict[str, Authority]) -> None:
    async with world(authorities, direct="unknown", relay=None) as scene:
        await scene.look(visited())
        before = scene.dialed(DIRECT)
        scene.clock.advance(59)
        await scene.end(hung_up())
        assert scene.dialed(DIRECT) == before


async def test_where_certificates_are_rejected_together_each_is_checked(authorities: dict[str, Authority]) -> None:
    """A page has many hosts. A few are checked at once, and the others wait for the end of one."""
    hosts = [f"{number}.test" for number in range(3 * CHECKS_AT_ONCE)]
    async with world(authorities) as scene:
        for host in hosts:
            scene.certificates.on_tunnel_ended(rejected(host))
            scene.certificates.on_tunnel_ended(rejected(host))  # of another connection
            assert len(scene.certificates._under_way) <= CHECKS_AT_ONCE
        await until(lambda: not scene.certificates._under_way)
        assert sorted(scene.dialed(DIRECT)) == sorted(hosts)


async def test_without_a_rejection_one_is_checked_at_a_time(authorities: dict[str, Authority]) -> None:
    async with world(authorities) as scene:
        scene.deliver(visited("a.test"))
        scene.clock.advance(60)
        scene.deliver(visited("b.test"))
        await until(lambda: not scene.certificates._under_way)
        assert scene.dialed(DIRECT) == ["a.test"]


# -- when its hello is sent --------------------------------------------------------------------------------------------


async def test_it_waits_until_the_visits_hellos_are_over(authorities: dict[str, Authority]) -> None:
    """Networks count hellos of one name. The visit's other connections come while it waits."""
    async with world(authorities) as scene:
        now = asyncio.get_running_loop().time()
        scene.hellos.append((now, HOST, "192.0.2.7:443", False))
        scene.deliver(visited())
        scene.hellos.extend((now + at, HOST, "192.0.2.7:443", False) for at in (APART_S / 2, APART_S))
        await until(lambda: not scene.certificates._under_way)
        *visits, check = scene.hellos
        assert (check[1], check[3]) == (HOST, True)
        assert check[0] - max(at for at, *_ in visits) >= APART_S
        assert scene.dialed(DIRECT) == [HOST]


async def test_both_of_its_hellos_are_apart(authorities: dict[str, Authority]) -> None:
    async with world(authorities, "unknown") as scene:
        await scene.look(visited())
        first, second = scene.hellos
        assert second[0] - first[0] >= APART_S
        assert scene.dialed(TOR) == [HOST], "nobody counts what is said within a relay's connection"


async def test_a_host_that_is_never_quiet_is_checked_at_another_visit(
    authorities: dict[str, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interception_check, "QUIET_WITHIN_S", APART_S / 2)
    async with world(authorities) as scene:
        scene.hellos.append((asyncio.get_running_loop().time() + 60, HOST, "192.0.2.7:443", False))
        await scene.look(visited())
        assert scene.dialed(DIRECT) == []
        scene.hellos.clear()
        scene.clock.advance(60)
        await scene.look(visited())
        assert scene.dialed(DIRECT) == [HOST]


async def test_what_came_to_be_suspect_while_it_waited_is_not_checked(authorities: dict[str, Authority]) -> None:
    async with world(authorities) as scene:
        scene.hellos.append((asyncio.get_running_loop().time(), HOST, "192.0.2.7:443", False))
        scene.deliver(visited())
        scene.beliefs.learn(rescued(host=HOST), network=HOME, now=scene.clock())
        await until(lambda: not scene.certificates._under_way)
        assert scene.dialed(DIRECT) == []
