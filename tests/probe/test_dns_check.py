"""Which rescues are looked into, and what a second opinion on the name comes to: over scripted paths, under a virtual
clock, with real beliefs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from proxy.config.schema import Dns, Settings
from proxy.detect.beliefs.events import DirectDelivered
from proxy.model import (
    DIRECT,
    DOH,
    Action,
    Attempt,
    Change,
    Destination,
    DnsFinding,
    Outcome,
    Protocol,
    Route,
    SignalId,
    Stage,
    Symptom,
)
from proxy.net.race.race import Winner
from proxy.probe.dns_check import DnsCheck
from proxy.session.connection_record import ConnectionRecord
from proxy.session.events import Rescued
from proxy.wire.flight import Flight
from tests.probe.scene import BesideScene
from tests.support.clock import run as play
from tests.support.outcomes import AWAY, HOME, HOST, TOR, delivered, failed, outcome
from tests.support.rows import each_row
from tests.support.scripted import Script, ScriptedDialer
from tests.wire import hellos

HELLO = hellos.by_hand(hellos.sni(HOST.encode()), hellos.SUPPORTED_VERSIONS, hellos.KEY_SHARE)
SERVER_HELLO = b"\x16\x03\x03\x00\x7a\x02"
RESET = ConnectionResetError(104, "Connection reset by peer")
DENIED = DnsFinding(SignalId.DNS_DENIED, "the system's resolver alone says that it does not exist", 0.0)
OTHERS = DnsFinding(SignalId.DNS_MISMATCH, "the system's resolver says 192.0.2.1, a secure one 198.51.100.1", 0.0)
RESCUED = outcome(failed(Symptom.RESET), delivered(TOR))


class Scene(BesideScene):
    """A visit that was rescued, and what a second opinion on its name would be."""

    def __init__(self, finding: DnsFinding | None, secure: Script | None = None, dns: Dns | None = None) -> None:
        self.finding = finding
        self.secure = secure or Script(answer=SERVER_HELLO)
        self.compared: list[str] = []
        self.written: list[Outcome] = []
        self.changes: list[Change] = []
        super().__init__(Settings(dns=dns or Dns()), resolver=self)
        self.used = self.services(
            believe=self.changes.extend, record=lambda outcome, _network: self.written.append(outcome)
        )

    # -- the registry and the resolver of its setup

    direct = None

    def dialer(self, route: Route, *, avoid_residual: bool = True) -> ScriptedDialer:
        assert route == DOH, "what the system's resolver says is asked for no more"
        return ScriptedDialer(self.secure)

    async def compare(self, host: str) -> DnsFinding | None:
        self.compared.append(host)
        await asyncio.sleep(0.2)
        return self.finding

    @property
    def found(self) -> dict[str, Any]:
        """The evidence of the direct attempt, as it was written."""
        (visit,) = self.written
        return dict(next(a for a in visit.attempts if a.route == DIRECT).evidence)

    async def visit(self, visit: Outcome = RESCUED, flight: bytes = HELLO) -> None:
        """The visit, as a session goes through with it, and all that comes of it."""
        record = ConnectionRecord(visit.request, visit.plan, network=HOME, setup=self.setup, services=self.used)
        record.attempts = visit.attempts
        record.winner = visit.winner
        record.protocol = visit.protocol
        record.host = visit.host
        record._learn()
        self.beliefs.learn(
            DirectDelivered("other.test"), network=HOME, now=self.now()
        )  # the uplink is well, so it counts
        sent = Flight()
        sent.receive_data(flight)
        DnsCheck(self.used).on_rescued(Rescued(self.setup, record, sent, record.outcome))
        record.release()
        if self.compared:
            assert self.written == [], "it waits for what may be found yet"
        await asyncio.sleep(self.settings.detect.retest_pair_s + 1)
        assert len(self.written) == 1
        assert all(stream.closed for stream in self.secure.streams)


def test_a_name_that_only_the_system_denies_was_lied_about() -> None:
    async def story() -> None:
        scene = Scene(DENIED)
        visit = outcome(failed(Symptom.NO_NAME, Stage.RESOLVE), delivered(TOR))
        await scene.visit(visit)
        assert scene.compared == [HOST]
        assert scene.found == {"dns": SignalId.DNS_DENIED, "dns_detail": DENIED.detail}
        assert scene.held.cause == "dns"
        assert scene.secure.dialed == []

    play(story())


def test_other_addresses_explain_it_when_direct_works_there() -> None:
    async def story() -> None:
        scene = Scene(OTHERS)
        await scene.visit()
        assert scene.found["dns"] == "dns_mismatch"
        assert (scene.held.cause, scene.held.last_good) == ("dns", "direct|doh")
        (stream,) = scene.secure.streams
        assert len(stream.sent) == len(HELLO)
        assert stream.sent != HELLO, "a hello like the user's, and not the user's"

    play(story())


@each_row("secure", [Script(answer=RESET), Script(answer=None), Script(answer=b"<html>"), Script(connect=99.0)])
def test_other_addresses_that_do_no_better_are_a_cdns(secure: Script) -> None:
    async def story() -> None:
        scene = Scene(OTHERS, secure)
        await scene.visit()
        assert len(secure.dialed) == 1
        assert scene.found == {}
        assert (scene.held.cause, scene.held.last_good) == ("sni_reset", "tor")

    play(story())


SECURELY = Attempt(DOH, Stage.DONE)
SAME_THERE = failed(Symptom.RESET, route=DOH)
ON_THE_WAY = {  # what the visit tried itself → whether that explains it; nothing is tried again
    "the secure address served it": (outcome(failed(Symptom.RESET), SECURELY), True),
    "it served it in another shape": (outcome(failed(), Attempt(Route(wrap=("doh", "tlsrec")), Stage.DONE)), True),
    "the secure address failed too": (outcome(failed(Symptom.RESET), SAME_THERE, delivered(TOR)), False),
}


@pytest.mark.parametrize("case", ON_THE_WAY)
def test_what_the_visit_has_tried_is_not_tried_again(case: str) -> None:
    visit, explains = ON_THE_WAY[case]

    async def story() -> None:
        scene = Scene(OTHERS)
        await scene.visit(visit)
        assert scene.compared == [HOST]
        assert scene.secure.dialed == []
        assert ("dns" in scene.found) is explains

    play(story())


UNDER_WAY = Attempt(DIRECT, Stage.FIRST_BYTE)
HOW_IT_ENDS = {  # how direct ends that the secure address overtook → whether the name explains it
    "it answers after all": (Attempt(DIRECT, Stage.DONE), False),
    "it connects late": (failed(Symptom.ABANDONED), False),
    "it stays silent": (failed(Symptom.SILENT), True),
}


@pytest.mark.parametrize("winner", [SECURELY, delivered(TOR)], ids=["secure", "relay"])
@pytest.mark.parametrize("end", HOW_IT_ENDS)
def test_direct_that_another_route_overtook_is_judged_first(end: str, winner: Attempt) -> None:
    """`direct|doh` and relays start beside a silence that is no failure yet."""
    judged, explains = HOW_IT_ENDS[end]

    class Late:
        async def judge(self) -> Attempt:
            await asyncio.sleep(5)
            assert scenes[0].compared == []
            return judged

    class Won:
        """A race that is won, with direct under way."""

        attempts, overtaken, flight_age = (UNDER_WAY, winner), True, 0.8

        def take_overtaken(self) -> Any:
            return Late()

    async def story() -> None:
        scene = Scene(OTHERS)
        scenes.append(scene)
        visit = outcome(UNDER_WAY, winner)
        record = ConnectionRecord(visit.request, visit.plan, network=HOME, setup=scene.setup, services=scene.used)
        record.protocol, record.host = visit.protocol, visit.host
        record.on_won(cast(Any, Won()), Winner(winner.route, cast(Any, None), b"", b"", valid=True))
        sent = Flight()
        sent.receive_data(HELLO)
        DnsCheck(scene.used).on_rescued(Rescued(scene.setup, record, sent, record.outcome))
        record.release()
        await asyncio.sleep(7)
        assert (scene.compared == [HOST]) is explains
        assert ("dns" in scene.found) is explains

    scenes: list[Scene] = []
    play(story())


def test_all_is_well_with_the_name() -> None:
    async def story() -> None:
        scene = Scene(None)
        await scene.visit()
        assert scene.compared == [HOST]
        assert scene.found == {}
        assert scene.held.cause == "sni_reset"

    play(story())


def test_a_flight_of_no_known_protocol_is_not_made_up() -> None:
    async def story() -> None:
        scene = Scene(OTHERS)
        await scene.visit(flight=b"SSH-2.0-client\r\n")
        assert scene.compared == [HOST]
        assert scene.secure.dialed == []
        assert scene.found == {}

    play(story())


def test_what_is_found_on_another_network_teaches_nothing() -> None:
    async def story() -> None:
        scene = Scene(OTHERS, Script(answer=SERVER_HELLO, after=1.0))
        asyncio.get_running_loop().call_later(0.5, setattr, scene, "network", AWAY)
        await scene.visit()
        assert len(scene.secure.dialed) == 1
        assert (scene.held.cause, scene.held.last_good) == ("sni_reset", "tor")

    play(story())


def _planned(visit: Outcome, action: Action) -> Outcome:
    return replace(visit, plan=replace(visit.plan, action=action))


NO_OCCASION = {
    "direct carried it": outcome(delivered()),
    "nothing carried it": outcome(failed(), failed(Symptom.RELAY_REFUSED, Stage.RELAY, TOR)),
    "direct was not tried": outcome(delivered(TOR)),
    "a rule prefers a relay": _planned(RESCUED, Action.PREFER_RELAY),
    "a rule sends it to a relay": _planned(RESCUED, Action.RELAY),
    "the resolver has been seen to lie": outcome(
        replace(failed(), evidence={"dns": SignalId.DNS_BOGON}), delivered(TOR)
    ),
    "there is no name": replace(
        RESCUED, request=replace(RESCUED.request, destination=Destination("192.0.2.7", 443))
    ),
    **{
        f"the network had no say: {symptom}": outcome(failed(symptom, Stage.CONNECT), delivered(TOR))
        for symptom in (Symptom.OFFLINE, Symptom.LOCAL, Symptom.FORBIDDEN, Symptom.SKIPPED)
    },
}  # fmt: skip


@each_row("occasion", NO_OCCASION)
def test_other_visits_are_not_looked_into(occasion: str) -> None:
    async def story() -> None:
        scene = Scene(DENIED)
        await scene.visit(NO_OCCASION[occasion])
        assert scene.compared == []

    play(story())


@pytest.mark.parametrize("dns", [Dns(secure="never"), Dns(secure="always")])
def test_none_where_there_are_no_two_opinions(dns: Dns) -> None:
    async def story() -> None:
        scene = Scene(DENIED, dns=dns)
        await scene.visit()
        assert scene.compared == []

    play(story())


def test_a_name_that_is_nobodys_business_is_not_asked_about() -> None:
    async def story() -> None:
        scene = Scene(DENIED)
        scene.private.add(HOST)
        await scene.visit()
        assert scene.compared == []

    play(story())


def test_over_plain_http_the_page_is_asked_for_and_nothing_of_the_users() -> None:
    async def story() -> None:
        scene = Scene(OTHERS, Script(answer=b"HTTP/1.1 200 OK\r\n\r\n"))
        visit = replace(RESCUED, protocol=Protocol.HTTP)
        await scene.visit(visit, f"GET /secret HTTP/1.1\r\nHost: {HOST}\r\nCookie: a=b\r\n\r\n".encode())
        (stream,) = scene.secure.streams
        assert stream.sent == f"HEAD / HTTP/1.1\r\nHost: {HOST}:443\r\nConnection: close\r\n\r\n".encode()
        assert scene.found["dns"] == "dns_mismatch"

    play(story())
