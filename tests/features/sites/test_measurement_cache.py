"""What is remembered of measurements, and when it counts no more."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from proxy.control.site_reader import SiteReader
from proxy.detect.beliefs.events import BlockMeasured, ControlAnswered, DirectDelivered
from proxy.detect.relay_faults import RelayFault
from proxy.detect.verdict.decision import decide
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.detect.verdict.verdict import Verdict
from proxy.features.sites import measurement_cache
from proxy.features.sites.measurement_cache import Finished, Measurements, Planned, _as_found_before, as_measured
from proxy.model import (
    Action,
    Belief,
    Cause,
    ConnectivityResult,
    Destination,
    NetworkId,
    Override,
    PageDoubt,
    Plan,
    Protocol,
    Route,
    Signal,
    SignalId,
    Stage,
    State,
    Symptom,
)
from proxy.model.bounded import Bounded
from proxy.model.errors import DialError
from proxy.net.dialers.dialer import Dialer
from proxy.net.stream import Stream
from proxy.probe.target import page_of
from proxy.session.events import Learned
from proxy.store.forgetting import Forgotten
from tests.probe.measure.scene import ORIGIN, Scene, made
from tests.support.control_world import NoWay, World
from tests.support.outcomes import AWAY, HOME, TOR, delivered, failed, outcome, rescued
from tests.support.rows import each_row
from tests.support.streams import listening

PAGE = page_of("site.test")
PLAN = Plan(Action.AUTO, (Route(), Route(("tor",))), "AUTO")


def planned(host: str, network: NetworkId) -> Planned:
    async def plan(_: Destination) -> tuple[Belief, Plan]:
        return Belief(host, network), PLAN

    return plan


class Asked:
    """Measurements of a world whose network can be another one."""

    def __init__(self, world: World) -> None:
        self.network = HOME
        self.world = world
        self.measurements = Measurements(replace(world.parts, network=lambda: self.network))

    async def why(self, page: Any = PAGE, **how: Any) -> Finished:
        """The last line: the verdict."""
        lines = self.measurements.lines(page, planned(page.host, self.network), **how)
        async with asyncio.timeout(10), aclosing(lines):
            *_, last = [line async for line in lines]
        assert isinstance(last, Finished)
        return last


@pytest.fixture
async def asked(world: World) -> Asked:
    return Asked(world)


async def test_what_was_just_measured_counts(asked: Asked) -> None:
    assert (await asked.why()).measured_again
    assert not (await asked.why()).measured_again
    assert (await asked.why(skip_cache=True)).measured_again


async def test_another_path_is_another_page(asked: Asked) -> None:
    await asked.why()
    assert (await asked.why(page_of("site.test/other"))).measured_again


async def test_not_on_another_network(asked: Asked) -> None:
    await asked.why()
    asked.network = AWAY
    assert (await asked.why()).measured_again
    asked.network = HOME
    assert not (await asked.why()).measured_again


async def test_not_under_another_setup(asked: Asked) -> None:
    await asked.why()
    asked.world.parts.override("site.test", Override(Action.DIRECT))
    assert (await asked.why()).measured_again


def fails(asked: Asked, relay: str) -> None:
    asked.world.health.failed(relay, time.time(), fault=RelayFault.CONNECTION_REFUSED)


def works_again(asked: Asked, relay: str) -> None:
    asked.world.health.worked(relay, time.time())


def goes_offline(asked: Asked, _: str) -> None:
    failing = outcome(failed(Symptom.OFFLINE, Stage.CONNECT), at=time.time())
    asked.world.parts.beliefs.learn(failing, network=HOME, now=time.time())


def portal_found(asked: Asked, _: str) -> None:
    found = ControlAnswered("control.test", ConnectivityResult.PORTAL, time.time(), False)
    asked.world.parts.beliefs.learn(found, network=HOME, now=time.time())


def is_rescued(asked: Asked, _: str) -> None:
    rescue = rescued(host=PAGE.host, at=time.time())
    asked.world.parts.beliefs.learn(rescue, network=HOME, now=time.time())


@pytest.mark.parametrize(
    ("before", "change"),
    [
        pytest.param(None, is_rescued, id="a visit shows more of the site"),
        pytest.param(None, fails, id="a relay fails"),
        pytest.param(fails, works_again, id="a relay is mended"),
        pytest.param(None, goes_offline, id="the computer goes offline"),
        pytest.param(None, portal_found, id="a portal is found"),
    ],
)
async def test_not_when_what_it_rests_on_has_changed(
    asked: Asked, before: Callable[[Asked, str], None] | None, change: Callable[[Asked, str], None]
) -> None:
    if before is not None:
        before(asked, "tor")
    await asked.why()
    assert not (await asked.why()).measured_again, "the control"
    change(asked, "tor")
    assert (await asked.why()).measured_again
    assert not (await asked.why()).measured_again


async def test_what_it_shows_of_relays_itself_is_no_change(asked: Asked) -> None:
    """A measurement that finds the only relay dead rests on that."""
    dead = DialError("refused", stage=Stage.CONNECT, symptom=Symptom.RELAY_DOWN, evidence={"relay": Symptom.REFUSED})
    no_control = replace(asked.world.means, dialer=lambda _: NoWay(dead), is_troubled=lambda _: True)
    asked.world.measured_with = no_control
    await asked.why()
    assert asked.world.health.of("tor").failures
    assert not (await asked.why()).measured_again


async def test_a_portal_that_is_found_meanwhile_makes_it_count_once(asked: Asked) -> None:
    lines = asked.measurements.lines(PAGE, planned(PAGE.host, HOME))
    async with aclosing(lines):
        await anext(lines)
        portal_found(asked, "")
        *_, last = [line async for line in lines]
    assert isinstance(last, Finished)
    assert (await asked.why()).measured_again


async def test_a_brief_one_does_not_answer_why(asked: Asked) -> None:
    await asked.measurements.brief(PAGE, planned("site.test", HOME), None)
    assert (await asked.why()).measured_again
    assert len(asked.measurements.of("site.test")) == 1


async def test_a_network_that_changes_meanwhile_makes_it_worth_nothing(asked: Asked) -> None:
    def move(_: str) -> None:
        asked.network = AWAY

    asked.world.on_resolve = move
    told = await asked.why()
    assert told.measured.verdict.status is SiteStatus.NOT_TESTED
    assert "network changed" in told.measured.verdict.summary
    assert not asked.measurements.of("site.test")


async def test_of_a_measurement_that_is_going_on_nothing_is_kept_after_forgetting(asked: Asked) -> None:
    """`byway forget` deletes every visited name: it must not come back with the end of a measurement."""
    world = asked.world
    world.on_resolve = lambda _: asked.measurements.forget(Forgotten())
    assert (await asked.why()).measured.verdict.status is not SiteStatus.NOT_TESTED
    assert asked.measurements.of(PAGE.host) == ()
    assert world.beliefs.last_result(PAGE.host, network=HOME, now=time.time()) is None
    world.on_resolve = lambda _: None
    await asked.why()
    assert world.beliefs.last_result(PAGE.host, network=HOME, now=time.time()) is not None


@pytest.mark.parametrize("what", [Forgotten("other.test"), Forgotten(network=AWAY), Forgotten(since=2e11)])
async def test_what_is_forgotten_takes_no_other_measurement_along(asked: Asked, what: Forgotten) -> None:
    if what.since == 0:  # a measurement that is going on is of now
        asked.world.on_resolve = lambda _: asked.measurements.forget(what)
    await asked.why()
    asked.measurements.forget(what)
    assert len(asked.measurements.of(PAGE.host)) == 1
    asked.measurements.forget(Forgotten(PAGE.host))
    assert asked.measurements.of(PAGE.host) == ()


async def test_what_it_came_to_is_not_judged_anew(asked: Asked) -> None:
    """For a report: by the state of a network that has gone down since, it would be the network's fault."""
    first = (await asked.why()).measured.verdict
    goes_offline(asked, "")
    assert first.status is not SiteStatus.NO_NETWORK
    assert [told.verdict for told in asked.measurements.of("site.test")] == [first]


@pytest.mark.parametrize("learns", [True, False])
async def test_what_it_proves_is_learned_at_once_unless_nothing_may_be(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, learns: bool
) -> None:
    def proven(host: str, protocol: Protocol, _steps: object, _verdict: object, at: float) -> BlockMeasured:
        signal = Signal(SignalId.FROZEN, 2.0, Cause.FROZEN, at)
        return BlockMeasured(host, signal, Route(("tor",)), protocol, "", "stalls after 16 KB")

    told: list[str] = []
    asked.world.events.on(Learned, lambda learned: told.extend(change.scope for change in learned.changes))
    monkeypatch.setattr(measurement_cache, "block_measured", proven)
    monkeypatch.setattr(sys.modules[__name__], "PLAN", replace(PLAN, learns=learns))
    await asked.why()
    held = asked.world.parts.beliefs.lookup(PAGE.host, network=HOME, now=time.time())
    assert (held.state, told) == ((State.SUSPECT, [PAGE.host]) if learns else (State.UNKNOWN, []))
    await asked.why()
    assert told == [PAGE.host] * learns, "not of an answer from the cache"


def test_dns_tampering_that_a_measurement_proved_is_not_less_sure_the_next_time() -> None:
    """The system's resolver is not asked again for a suspicious name."""
    suspect = Belief(PAGE.host, HOME, State.SUSPECT, Cause.DNS)
    proven = LastResult(SiteStatus.BLOCKED, 1000.0, Source.MEASUREMENT, Cause.DNS)
    assert as_measured(suspect, proven).state is State.BLOCKED
    for last in (
        None,
        replace(proven, source=Source.CONNECTION),
        replace(proven, status=SiteStatus.LIKELY_BLOCKED),
        replace(proven, status=SiteStatus.WORKS),
    ):
        assert as_measured(suspect, last) == suspect
    other = replace(suspect, cause=Cause.SNI_RESET)
    assert as_measured(other, proven) == other, "that is measured anew each time"


async def test_a_proof_is_of_the_host_also_where_its_domain_is_suspect(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = LastResult(SiteStatus.BLOCKED, time.time() - 5, Source.MEASUREMENT, Cause.DNS)
    asked.world.beliefs.measured(PAGE.host, proven, network=HOME)
    decided = list[Belief]()

    def noted(steps: Any, belief: Belief, **how: Any) -> Verdict:
        decided.append(belief)
        return decide(steps, belief, **how)

    async def plan(_: Destination) -> tuple[Belief, Plan]:
        return Belief("*.site.test", HOME, State.SUSPECT, Cause.DNS), PLAN

    monkeypatch.setattr(measurement_cache, "decide", noted)
    await asked.measurements.brief(PAGE, plan, None)
    assert [belief.state for belief in decided] == [State.BLOCKED]


async def test_the_memory_is_bounded(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked.measurements, "_cache", Bounded(2))
    for number in range(3):
        await asked.why(page_of(f"s{number}.test"))
    assert (await asked.why(page_of("s0.test"))).measured_again
    assert not (await asked.why(page_of("s2.test"))).measured_again


class OnPort80:
    """Leads to the origin's plain port, and is refused at any other."""

    def __init__(self, scene: Scene, route: Route) -> None:
        self._scene = scene
        self._dialer = scene.registry.dialer(route)
        self._refused = (
            DialError("refused", stage=Stage.CONNECT, symptom=Symptom.REFUSED)
            if route.is_direct
            else DialError("the relay cannot reach it", stage=Stage.RELAY, symptom=Symptom.RELAY_REFUSED)
        )

    async def dial(self, destination: Destination) -> Stream:
        if destination.port != 80:
            raise self._refused
        return await self._dialer.dial(replace(destination, port=self._scene.origin.http_port))


@pytest.mark.parametrize("served", [True, False])
async def test_what_nobody_serves_over_https_is_measured_over_http(asked: Asked, served: bool) -> None:
    async with made() as scene:
        scene.addresses["site.test"] = [ORIGIN]
        means = replace(scene.means, dialer=lambda route: OnPort80(scene, route), carries=lambda *_: True)
        asked.world.measured_with = means if served else asked.world.means
        told = await asked.why(otherwise=page_of("http://site.test/"))
        control = await asked.why(skip_cache=True)
    assert told.measured.page.url == ("http://site.test/" if served else "https://site.test/")
    assert told.measured.verdict.status == ("works" if served else "site down"), told.measured.verdict
    assert control.measured.page.url == "https://site.test/", "the error is that of the only page there is"


@pytest.mark.parametrize("learns", [True, False])
async def test_a_guess_that_a_measurement_refuted_does_not_come_back_with_a_visit_by_the_relay(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, learns: bool
) -> None:
    """Nor is it forgotten where nothing may be learned: what was measured stands until direct fails."""
    world, now, host = asked.world, time.time(), PAGE.host
    world.beliefs.learn(DirectDelivered("uplink.example"), network=HOME, now=now)
    by_http: dict[str, Any] = {"host": host, "at": now, "protocol": Protocol.HTTP, "port": 80}
    world.see(outcome(failed(), delivered(TOR), **by_http))
    reader = SiteReader(world.parts)

    async def plan(to: Destination) -> tuple[Belief, Plan]:
        made_ = await world.parts.plan(to)
        return reader.states(time.time()).belief(to.host), replace(made_, learns=learns)

    def said() -> tuple[str, str, float]:
        state = reader.states(time.time()).host(host).state
        return state.status, state.works_by, state.since

    assert said()[:2] == ("likely blocked", "tor")
    async with made() as scene:
        scene.addresses[host] = [ORIGIN]
        world.measured_with = replace(scene.means, dialer=lambda _: ToOrigin(scene), carries=lambda *_: True)
        lines = asked.measurements.lines(page_of(f"http://{host}/bytes/500"), plan)
        async with aclosing(lines):
            *_, last = [line async for line in lines]
    assert isinstance(last, Finished)
    assert last.measured.verdict.status == "works"
    works, opened_by, since = said()
    assert (works, since > now) == ("works", True)
    world.see(outcome(delivered(TOR), **by_http))
    assert said() == (works, opened_by, since)
    state = world.beliefs.lookup(host, network=HOME, now=time.time()).state
    assert state is (State.WORKS if learns else State.SUSPECT)
    world.see(outcome(failed(), delivered(TOR), **{**by_http, "at": time.time()}))
    assert said()[0] == "likely blocked"


@pytest.mark.parametrize("relay_gets_it_too", [False, True])
async def test_one_page_for_three_unrelated_names_may_be_a_block_page(asked: Asked, relay_gets_it_too: bool) -> None:
    """The third name shows it. What a relay gets as well is the sites' own, such as the page of a server's program."""
    async with made() as scene:

        def dialer(route: Route) -> Dialer:
            if route.relays and not relay_gets_it_too:
                return NoWay(DialError("not reached", stage=Stage.RELAY, symptom=Symptom.RELAY_REFUSED))
            return ToOrigin(scene)

        asked.world.measured_with = replace(scene.means, dialer=dialer, carries=lambda *_: True)
        confidences = []
        for name in ("one.test", "www.one.test", "two.test", "three.test"):
            scene.addresses[name] = [ORIGIN]
            confidences.append((await asked.why(page_of(f"http://{name}/bytes/500"))).measured.verdict.confidence)
        asked.measurements.forget(Forgotten())
        confidences.append((await asked.why(page_of("http://two.test/bytes/500"))).measured.verdict.confidence)
    assert confidences == ["high", "high", "high", "high" if relay_gets_it_too else "low", "high"]


@pytest.mark.parametrize("relay_gets_it_too", [False, True])
async def test_a_page_that_a_relay_shows_otherwise_is_doubted_at_the_next_visit(
    asked: Asked, relay_gets_it_too: bool
) -> None:
    async def another_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + bytes(5000))

    async with made() as scene, listening(another_page, ORIGIN, 0) as server:
        port = server.sockets[0].getsockname()[1]

        def dialer(route: Route) -> Dialer:
            return ToOrigin(scene, port if route.relays and not relay_gets_it_too else 0)

        asked.world.measured_with = replace(scene.means, dialer=dialer, carries=lambda *_: True)
        scene.addresses["one.test"] = [ORIGIN]
        await asked.why(page_of("http://one.test/bytes/500"))
    doubt = asked.world.beliefs.page_doubt("one.test", 7, "192.0.2.1:80", network=HOME, now=time.time())
    assert doubt is (None if relay_gets_it_too else PageDoubt.UNLIKE)


class ToOrigin:
    """Leads to the origin's plain port, or to another one, whatever it is asked for."""

    def __init__(self, scene: Scene, port: int = 0) -> None:
        self._scene = scene
        self._port = port or scene.origin.http_port

    async def dial(self, _: Destination) -> Stream:
        to = Destination(ORIGIN, self._port)
        return await self._scene.registry.dialer(Route()).dial(to)


@each_row(
    ("before", "brief", "kept"),
    [
        (SiteStatus.BLOCKED, SiteStatus.LIKELY_BLOCKED, True),
        (SiteStatus.LIKELY_BLOCKED, SiteStatus.DOES_NOT_OPEN, True),
        (SiteStatus.LIKELY_BLOCKED, SiteStatus.WORKS, False),
        (SiteStatus.WORKS, SiteStatus.DOES_NOT_OPEN, False),
    ],
)
def test_a_brief_measurement_does_not_take_back_what_a_thorough_one_has_found(
    before: SiteStatus, brief: SiteStatus, kept: bool
) -> None:
    found = LastResult(before, 1000.0, Source.MEASUREMENT, "sni_reset", "another SNI is answered there")
    verdict = Verdict(brief, State.DOWN, "hello_reset", "direct: reset")
    shown = _as_found_before(found, verdict, 1060.0)
    assert (shown.status, shown.cause) == ((before, "sni_reset") if kept else (brief, "hello_reset"))
    assert _as_found_before(found, verdict, 1400.0) is verdict, "an old one says nothing of now"
    assert _as_found_before(replace(found, source=Source.CONNECTION), verdict, 1060.0) is verdict


async def test_what_was_measured_before_a_portal_was_found_is_no_result(asked: Asked) -> None:
    """The network answered in place of the site, and nobody knew yet."""
    await asked.why()
    beliefs = asked.world.parts.beliefs
    beliefs.measured(PAGE.host, LastResult(SiteStatus.BLOCKED, time.time(), Source.MEASUREMENT), network=HOME)
    assert beliefs.last_result(PAGE.host, network=HOME, now=time.time()) is not None, "the control"
    portal_found(asked, "")
    assert beliefs.last_result(PAGE.host, network=HOME, now=time.time()) is None
    beliefs.measured(PAGE.host, LastResult(SiteStatus.PORTAL, time.time(), Source.MEASUREMENT), network=HOME)
    portal_found(asked, "")  # again: the portal is still there
    result = beliefs.last_result(PAGE.host, network=HOME, now=time.time())
    assert result is not None, "what was found behind the portal stays"
    assert result.status is SiteStatus.PORTAL
