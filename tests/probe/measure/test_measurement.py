"""Whole measurements over real sockets on loopback: an origin, a censor in front of it, and a relay around it."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from proxy.detect.tls_interception import KnownRoots, Root
from proxy.detect.verdict.decision import decide
from proxy.detect.verdict.hypotheses import Hypothesis, Probe, observed_in, remaining
from proxy.model import (
    DIRECT,
    UNKNOWN_NETWORK,
    Action,
    Belief,
    Cause,
    Destination,
    Protocol,
    Route,
    State,
    StepKind,
    StepResult,
    Symptom,
)
from proxy.net.dialers.dialer import Dialer
from proxy.net.knowledge import VALID, ClassifiedAnswer, NothingKnown
from proxy.net.stream import Stream
from proxy.net.tasks import spawn
from proxy.probe.measure.inputs import MeasurementRequest
from proxy.probe.measure.measurement import measure
from proxy.wire import certificates
from proxy.wire.tls import Verdict as AnswerVerdict
from proxy.wire.tls import parse_client_hello
from tests.probe.measure.scene import CENSOR, CONTROL, CUT, ORIGIN, QUICK, SITE, Scene, judged, only, steps_of
from tests.support.censor import Behaviour, Censor
from tests.support.origin import Origin
from tests.support.outcomes import TOR
from tests.support.streams import Connections


class Scripted(NothingKnown):
    """Classifies the first answer as told, and each later one as the site's."""

    def __init__(self, first: ClassifiedAnswer) -> None:
        super().__init__()
        self._left = [first]

    def classify(self, answer: bytes, host: str, *, complete: bool) -> ClassifiedAnswer:
        return self._left.pop() if self._left else VALID


async def test_a_site_that_works(scene: Scene) -> None:
    steps = await steps_of(scene, scene.question())
    assert [step.kind for step in steps if step.route == DIRECT] == [
        StepKind.RESOLVE, StepKind.NEUTRAL, StepKind.CONNECT, StepKind.HELLO, StepKind.CERTIFICATE, StepKind.ANSWER,
    ]  # fmt: skip
    answer = only(steps, StepKind.ANSWER)
    assert answer.evidence["status"] == 200
    assert int(answer.evidence["bytes"]) >= 65_536
    assert only(steps, StepKind.ANSWER, TOR).ok
    assert only(steps, StepKind.CERTIFICATE, TOR).ok
    assert not any(step.kind is StepKind.CONTROL for step in steps)
    verdict = judged(steps)
    assert verdict.status == "works"
    assert scene.origin.targets(SITE).count("/bytes/70000") == 3  # direct, at the secure address, through the relay


async def test_a_slow_answer_is_compared_with_that_of_a_control(scene: Scene) -> None:
    """Its site is throttled, or everything is."""
    detect = replace(QUICK, measure_slow_bytes=10**12)  # each answer is slow
    means = replace(scene.means, settings=replace(scene.means.settings, detect=detect))
    steps = await steps_of(scene, scene.question(), means)
    assert only(steps, StepKind.ANSWER).ok
    assert only(steps, StepKind.CONTROL).ok


async def test_each_hello_on_a_direct_route_waits_for_its_turn(scene: Scene) -> None:
    """Those that fail, the cut ones and the neutral name as well. Within a relay's connection none is counted."""
    await scene.censor.set(Behaviour.RESET, {SITE})
    await steps_of(scene, scene.question())
    read = [parse_client_hello(flight) for flight in scene.censor.flights if flight[:1] == b"\x16"]
    said = Counter(hello.server_name for hello in read if hello is not None)
    assert said.keys() == {SITE, CONTROL}
    assert said <= Counter[str | None](scene.turns)
    by_relay = scene.origin.targets(SITE).count("/bytes/70000")
    assert said[SITE] + by_relay >= scene.turns.count(SITE) >= said[SITE]


@pytest.mark.parametrize(
    ("behaviour", "symptom", "cause"),
    [
        (Behaviour.RESET, Symptom.RESET, "sni_reset"),
        (Behaviour.EOF, Symptom.EOF, "sni_reset"),
        (Behaviour.GARBAGE, Symptom.GARBAGE, "sni_reset"),
        (Behaviour.SILENT, Symptom.SILENT, "sni_drop"),
    ],
)
async def test_a_name_that_is_not_let_through(scene: Scene, behaviour: Behaviour, symptom: Symptom, cause: str) -> None:
    await scene.censor.set(behaviour, [SITE])
    steps = await steps_of(scene, scene.question())
    hello = only(steps, StepKind.HELLO)
    assert (hello.result, hello.symptom) == (StepResult.FAILED, symptom)
    assert only(steps, StepKind.NEUTRAL).ok
    assert only(steps, StepKind.ANSWER, TOR).ok
    verdict = judged(steps)
    assert (verdict.status, verdict.cause) == ("blocked", cause)
    assert "sni_swap" in {signal.id for signal in verdict.signals}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is acknowledged")
async def test_a_hello_that_is_never_acknowledged(scene: Scene) -> None:
    await scene.censor.set(Behaviour.DROP)
    steps = await steps_of(scene, scene.question(routes=(DIRECT, TOR)))
    assert only(steps, StepKind.HELLO).symptom is Symptom.DROPPED
    assert int(only(steps, StepKind.HELLO).evidence["retransmits"]) >= 2
    assert judged(steps).cause == "sni_drop"


@pytest.mark.parametrize("stays", [True, False])
async def test_means_are_not_blamed_for_an_address_that_is_closed(scene: Scene, stays: bool) -> None:
    """A censor that has seen the name answers nobody any more, for a while."""
    await scene.censor.set(Behaviour.RESET, [SITE])
    scene.secure_address = CENSOR
    tried: list[Route] = []

    class Closing:
        """Direct. At its third connection (a harmless name, the site's, a harmless one) the address is closed."""

        dialed = 0

        async def dial(self, destination: Destination) -> Stream:
            self.dialed += 1
            if stays and self.dialed == 3:
                await scene.censor.set(Behaviour.RESET)
            return await scene.registry.dialer(DIRECT).dial(destination)

    closing = Closing()

    def dialer(route: Route) -> Dialer:
        if route.wrap:
            tried.append(route)
        return closing

    steps = await steps_of(scene, scene.question(routes=(DIRECT, CUT)), replace(scene.means, dialer=dialer))
    assert tried == ([] if stays else [CUT])
    assert [step.result for step in steps if step.route == CUT][-1] is (
        StepResult.NOT_TESTED if stays else StepResult.FAILED
    )


class Punishing(NothingKnown):
    def cuts_are_punished(self) -> bool:
        return True


async def test_where_cut_hellos_are_punished_none_is_sent(scene: Scene) -> None:
    await scene.censor.set(Behaviour.RESET, [SITE])
    scene.secure_address = CENSOR
    steps = await steps_of(scene, scene.question(routes=(DIRECT, CUT)), replace(scene.means, knowledge=Punishing()))
    (step,) = (step for step in steps if step.route == CUT)
    assert (step.result, step.text) == (StepResult.NOT_TESTED, "this network punishes a fragmented ClientHello")


async def test_a_page_that_stops(scene: Scene) -> None:
    question = scene.question(routes=(DIRECT,))
    held = replace(question, page=replace(question.page, target="/hold"))
    steps = await steps_of(scene, held)
    assert only(steps, StepKind.ANSWER).symptom is Symptom.SILENT


async def test_without_another_route_a_harmless_name_tells(scene: Scene) -> None:
    await scene.censor.set(Behaviour.RESET, [SITE])
    steps = await steps_of(scene, scene.question(routes=(DIRECT,)))
    assert only(steps, StepKind.CONTROL).ok
    assert judged(steps).status == "likely blocked"


async def test_an_address_that_refuses(scene: Scene) -> None:
    await scene.censor.set(Behaviour.REFUSE)
    steps = await steps_of(scene, scene.question())
    assert only(steps, StepKind.CONNECT).symptom is Symptom.REFUSED
    assert judged(steps).cause == "ip"


async def test_a_certificate_of_somebody_else(scene: Scene) -> None:
    means = replace(scene.means, trust=Origin().authority.client())
    steps = await steps_of(scene, scene.question(routes=(DIRECT,)), means)
    certificate = only(steps, StepKind.CERTIFICATE)
    assert (certificate.result, certificate.symptom) == (StepResult.FAILED, Symptom.CERTIFICATE)
    assert certificate.evidence["certificate"] == "untrusted"
    assert "which this system does not trust" in certificate.text
    assert only(steps, StepKind.HELLO).ok
    assert not scene.origin.requests  # nothing is said to whom is not trusted


@pytest.mark.parametrize("installed", [False, True])
async def test_a_root_that_is_known_to_intercept(scene: Scene, installed: bool) -> None:
    """Whether the user has been made to trust it or not."""
    root = ssl.PEM_cert_to_DER_cert(scene.origin.authority.pem)
    digest = hashlib.sha256(root).hexdigest()
    known = KnownRoots([Root(digest, digest, "of a test", certificates.public_key(root))])
    trusted = scene.origin.authority if installed else Origin().authority
    means = replace(scene.means, trust=trusted.client(), roots=known)
    steps = await steps_of(scene, scene.question(routes=(DIRECT,)), means)
    assert only(steps, StepKind.CERTIFICATE).evidence["known_root"] == digest
    verdict = judged(steps)
    assert (verdict.status, verdict.cause, verdict.confirmed) == ("intercepted", "interception", True)
    assert not scene.origin.requests


async def test_an_address_that_is_let_past_for_its_name_is_dialed_by_it(scene: Scene) -> None:
    """As a fake address of another proxy's is."""
    dialed: list[str] = []

    class ByName:
        async def dial(self, destination: Destination) -> Stream:
            dialed.append(destination.host)
            return await scene.registry.dialer(DIRECT).dial(Destination(CENSOR, destination.port))

    means = replace(
        scene.means,
        refuses=lambda destination, _: None if destination.address is None else "no literal",
        dialer=lambda _: ByName(),
    )
    steps = await steps_of(scene, scene.question(routes=(DIRECT,)), means)
    assert only(steps, StepKind.ANSWER).ok
    assert set(dialed) == {SITE}


@pytest.mark.parametrize(
    ("look", "word", "cause"),
    [
        (ClassifiedAnswer(AnswerVerdict.GARBAGE, Symptom.BLOCK_PAGE, {"page": "kz-1"}), "blocked", "block_page"),
        (
            ClassifiedAnswer(AnswerVerdict.VALID, Symptom.REDIRECTED, answer_fingerprint="blocked.test"),
            "likely blocked",
            "block_page",
        ),
    ],
)
async def test_plain_answers_are_looked_at(scene: Scene, look: ClassifiedAnswer, word: str, cause: str) -> None:
    async with Censor(CENSOR, scene.origin.http_port, origin=ORIGIN):
        means = replace(scene.means, knowledge=Scripted(look))
        question = scene.question(protocol=Protocol.HTTP, routes=(DIRECT,))
        steps = await steps_of(scene, question, means)
        steps += await steps_of(scene, scene.question(protocol=Protocol.HTTP, routes=(TOR,)))
    verdict = judged(steps)
    assert (verdict.status, verdict.cause) == (word, cause)


async def test_under_a_relay_rule_nothing_goes_elsewhere(scene: Scene) -> None:
    steps = await steps_of(scene, scene.question(action=Action.RELAY))
    assert scene.asked == scene.asked_securely == []
    assert scene.censor.connections == 0
    assert {request.peer for request in scene.origin.requests} == {"127.0.0.9"}
    assert all(step.result is StepResult.NOT_TESTED for step in steps if step.route.is_direct)
    assert judged(steps).status == "works"


async def test_under_a_direct_rule_no_relay_hears_of_it(scene: Scene) -> None:
    steps = await steps_of(scene, scene.question(action=Action.DIRECT))
    assert scene.relay.connections == 0
    assert only(steps, StepKind.RELAY, TOR).result is StepResult.NOT_TESTED


@pytest.mark.parametrize(("site", "action"), [("private.test", Action.AUTO), (SITE, Action.BLOCK)])
async def test_what_may_not_be_asked_is_not_tested(scene: Scene, site: str, action: Action) -> None:
    steps = await steps_of(scene, scene.question(site=site, action=action))
    assert {step.result for step in steps} == {StepResult.NOT_TESTED}
    assert scene.asked == scene.asked_securely == []
    assert scene.relay.connections == scene.censor.connections == 0
    verdict = judged(steps)
    assert verdict.status == "not tested"
    assert not verdict.anomaly


async def test_a_brief_measurement_makes_one_visit_a_route(scene: Scene) -> None:
    steps = await steps_of(scene, scene.question(thorough=False))
    assert not any(step.kind is StepKind.NEUTRAL for step in steps)
    assert scene.asked_securely == []
    assert len(scene.origin.requests) == 2


async def test_plain_http(scene: Scene) -> None:
    async with Censor(CENSOR, scene.origin.http_port, origin=ORIGIN) as censor:
        await censor.set(Behaviour.RESET, [SITE])
        steps = await steps_of(scene, scene.question(protocol=Protocol.HTTP))
    answer = only(steps, StepKind.ANSWER)
    assert (answer.result, answer.symptom) == (StepResult.FAILED, Symptom.RESET)
    assert only(steps, StepKind.ANSWER, TOR).ok
    assert judged(steps).cause == "http_host"


async def test_who_leaves_early_leaves_nothing_behind(scene: Scene) -> None:
    class Never:
        cancelled = False

        async def dial(self, destination: Destination) -> Stream:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled = True
            raise AssertionError

    never = Never()
    coming = measure(replace(scene.means, dialer=lambda _: never), scene.question(routes=(DIRECT,), thorough=False))
    async with asyncio.timeout(10):
        assert (await anext(coming)).kind is StepKind.RESOLVE
        await asyncio.sleep(0)
        await coming.aclose()
    assert never.cancelled
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("measure ")]


async def test_a_measurement_takes_no_longer_than_it_may(scene: Scene) -> None:
    await scene.censor.set(Behaviour.SILENT, [SITE])
    detect = replace(QUICK, measure_site_s=0.3, silent_s=1000)
    means = replace(scene.means, settings=replace(scene.means.settings, detect=detect))
    steps = await steps_of(scene, scene.question(routes=(DIRECT,)), means)
    assert not any(step.kind is StepKind.HELLO for step in steps)  # what had come by then is told


@asynccontextmanager
async def freezing(scene: Scene, after: int) -> AsyncIterator[None]:
    """A censor in front of the site that lets so many bytes of each answer pass, and then nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_site, to_site = await asyncio.open_connection(ORIGIN, scene.origin.https_port)

        async def forward() -> None:
            while data := await reader.read(65536):
                to_site.write(data)

        asking = spawn(forward(), name="requests")
        try:
            left = after
            while left > 0 and (data := await from_site.read(min(left, 4096))):
                writer.write(data)
                left -= len(data)
            await asking
        finally:
            asking.cancel()
            to_site.close()
            writer.close()

    connections = Connections(serve)
    server = await asyncio.start_server(connections, FREEZER, scene.origin.https_port)
    scene.secure_address = FREEZER  # a suspicious name is asked of encrypted DNS alone
    try:
        yield
    finally:
        server.close()
        await connections.stop()


FREEZER = "127.0.0.3"
FROZEN = replace(Belief(SITE, UNKNOWN_NETWORK), state=State.SUSPECT, cause=Cause.FROZEN, score=2.0, why="stopped")


def small_page(scene: Scene, belief: Belief, *, thorough: bool = True) -> MeasurementRequest:
    question = scene.question(routes=(DIRECT, TOR), thorough=thorough)
    return replace(question, page=replace(question.page, target="/bytes/900"), belief=belief)


@pytest.mark.parametrize(("after", "word"), [(16_000, "slow"), (10_000_000, "works")])
async def test_a_site_whose_transfers_stalled_is_measured_at_their_size(scene: Scene, after: int, word: str) -> None:
    """Its first page is small, and passes in any case."""
    detect = replace(QUICK, measure_answer_s=5) if word == "slow" else QUICK  # it ends what stopped
    means = replace(scene.means, settings=replace(scene.means.settings, detect=detect))
    async with freezing(scene, after):
        steps = await steps_of(scene, small_page(scene, FROZEN), means)
    verdict = decide(steps, FROZEN, detect=QUICK, relays=["tor"])
    assert only(steps, StepKind.ANSWER).ok
    assert only(steps, StepKind.TRANSFER).ok is (word == "works")
    assert only(steps, StepKind.TRANSFER, TOR).evidence["bytes"] >= QUICK.measure_bytes
    assert (verdict.status, verdict.cause) == (word, "frozen" if word == "slow" else ""), verdict


async def test_a_brief_measurement_of_such_a_site_says_that_its_page_is_too_small(scene: Scene) -> None:
    async with freezing(scene, 16_000):
        steps = await steps_of(scene, small_page(scene, FROZEN, thorough=False))
    assert not any(step.kind is StepKind.TRANSFER for step in steps)
    assert decide(steps, FROZEN, detect=QUICK, relays=["tor"]).status == "slow"


async def test_other_sites_are_asked_for_one_page(scene: Scene) -> None:
    scene.addresses[SITE] = [ORIGIN]
    steps = await steps_of(scene, small_page(scene, replace(FROZEN, cause=Cause.SNI_RESET)))
    assert not any(step.kind is StepKind.TRANSFER for step in steps)
    assert len(scene.origin.requests) == 2


# -- the choice of probes ----------------------------------------------------------------------------------------------


async def test_a_site_that_works_is_not_asked_more(scene: Scene) -> None:
    """Another name, the page, and nothing to explain."""
    await steps_of(scene, scene.question(routes=(DIRECT,)))
    assert scene.censor.connections == 2
    assert scene.turns == [CONTROL, SITE]


async def test_the_relay_is_waited_for_where_it_tells_most(scene: Scene) -> None:
    """Of an address that refuses each connection: whether the site is down, the relay tells."""
    await scene.censor.set(Behaviour.REFUSE)
    steps = await steps_of(scene, scene.question(routes=(DIRECT, TOR)))
    observed = observed_in(steps, slow_bytes=1.0)
    assert {each.probe for each in observed} == {Probe.VISIT, Probe.RELAY, Probe.CONTROL}
    assert set(remaining(observed)) == {Hypothesis.ADDRESS, Hypothesis.BOTH}, "it has one address"


async def test_a_strategy_is_tried_before_a_control_where_the_name_is_filtered(scene: Scene) -> None:
    await scene.censor.set(Behaviour.RESET, [SITE])
    scene.secure_address = CENSOR
    steps = await steps_of(scene, scene.question(routes=(DIRECT, CUT, TOR)))
    kinds = [step.kind if step.route != CUT else CUT for step in steps]
    assert kinds.index(CUT) < kinds.index(StepKind.CONTROL)


@pytest.mark.parametrize("restarts", [True, False])
async def test_after_a_silence_a_strategy_that_delivers_is_compared_with_direct(scene: Scene, restarts: bool) -> None:
    """A server that restarts was silent for everybody."""
    await scene.censor.set(Behaviour.SILENT, [SITE])
    scene.secure_address = CENSOR

    class Passing:
        """A strategy that passes the censor, or comes once the server is there again."""

        async def dial(self, destination: Destination) -> Stream:
            if restarts:
                await scene.censor.set(Behaviour.PASS)
                return await scene.registry.dialer(DIRECT).dial(destination)
            return await scene.registry.dialer(DIRECT).dial(Destination(ORIGIN, destination.port))

    def dialer(route: Route) -> Dialer:
        return Passing() if route.wrap else scene.registry.dialer(route)

    split = Route(wrap=("split",))
    steps = await steps_of(scene, scene.question(routes=(DIRECT, CUT, split)), replace(scene.means, dialer=dialer))
    hellos = [step.ok for step in steps if step.route == DIRECT and step.kind is StepKind.HELLO]
    assert hellos == [False, restarts]
    assert (judged(steps).status == "works") is restarts
    if restarts:
        (step,) = (step for step in steps if step.route == split)
        assert (step.result, step.text) == (StepResult.NOT_TESTED, "not needed: direct works")


async def test_no_further_strategy_is_tried_where_the_server_fails_for_all(scene: Scene) -> None:
    """No name is answered, and the relay, which comes to the same server, gets no answer either."""
    await scene.censor.set(Behaviour.SILENT)
    scene.relay.names = {SITE: CENSOR}
    scene.secure_address = CENSOR
    split = Route(wrap=("split",))
    steps = await steps_of(scene, scene.question(routes=(DIRECT, CUT, split, TOR)))
    assert remaining(observed_in(steps, slow_bytes=1.0))[0] is Hypothesis.DOWN
    (step,) = (step for step in steps if step.route == split)
    assert (step.result, step.text) == (StepResult.NOT_TESTED, "the failure does not depend on the ClientHello")
    assert judged(steps).status == "site down"
