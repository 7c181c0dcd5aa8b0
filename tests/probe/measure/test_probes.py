"""Single probes over real sockets on loopback: the ClientHello of a visit, and a connection that is used for long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proxy.detect.verdict.decision import decide
from proxy.model import DIRECT, Cause, MeasurementStep, Protocol, Route, StepKind, StepResult, Symptom
from tests.probe.measure.scene import CENSOR, ORIGIN, QUICK, SITE, Scene, judged, only, steps_of
from tests.probe.measure.test_measurement import FROZEN, freezing, small_page
from tests.support.censor import Behaviour, Censor
from tests.support.environment import FakeEnvironment
from tests.support.outcomes import TOR
from tests.wire.hellos import KEY_SHARE, SUPPORTED_VERSIONS, by_hand, real, sni


def with_hello(scene: Scene, hello: bytes | None = None) -> FakeEnvironment:
    return replace(scene.means, hello_of=lambda host: (hello or real(host)) if host == SITE else None)


def hellos(steps: Sequence[MeasurementStep]) -> list[tuple[Route, StepResult, Symptom]]:
    return [(step.route, step.result, step.symptom) for step in steps if step.kind is StepKind.SHAPE]


async def test_the_hello_of_a_visit_is_sent_beside_our_own(scene: Scene) -> None:
    steps = await steps_of(scene, scene.question(), with_hello(scene))
    assert hellos(steps) == [(DIRECT, StepResult.OK, Symptom.NONE)]
    verdict = judged(steps)
    assert (verdict.status, verdict.cause) == ("works", Cause.NONE)


async def test_it_waits_for_its_turn_like_our_own(scene: Scene) -> None:
    await steps_of(scene, scene.question(routes=(DIRECT,)), with_hello(scene))
    assert scene.turns.count(SITE) == 2


async def test_where_both_are_filtered_it_is_the_name(scene: Scene) -> None:
    await scene.censor.set(Behaviour.RESET, [SITE])
    steps = await steps_of(scene, scene.question(), with_hello(scene))
    assert (DIRECT, StepResult.FAILED, Symptom.RESET) in hellos(steps)
    assert judged(steps).cause == Cause.SNI_RESET


async def test_a_hello_that_the_server_rejects_is_sent_through_the_relay_as_well(scene: Scene) -> None:
    bare = by_hand(sni(SITE.encode()), SUPPORTED_VERSIONS, KEY_SHARE)  # it names no signature that it could verify
    steps = await steps_of(scene, scene.question(routes=(DIRECT, TOR)), with_hello(scene, bare))
    assert {route for route, *_ in hellos(steps)} == {DIRECT, TOR}
    verdict = judged(steps)
    assert verdict.status == "works"
    assert "too old" in verdict.reasons[0]


async def test_without_a_kept_hello_it_is_said_where_one_would_tell(scene: Scene) -> None:
    assert hellos(await steps_of(scene, scene.question())) == []
    await scene.censor.set(Behaviour.RESET, [SITE])
    steps = await steps_of(scene, scene.question())
    assert hellos(steps) == [(DIRECT, StepResult.NOT_TESTED, Symptom.SKIPPED)]
    assert "no ClientHello of a visit is kept" in judged(steps).reasons[-1]


async def test_a_brief_measurement_and_plain_http_send_none(scene: Scene) -> None:
    await scene.censor.set(Behaviour.RESET, [SITE])
    assert hellos(await steps_of(scene, scene.question(thorough=False), with_hello(scene))) == []
    async with Censor(CENSOR, scene.origin.http_port, origin=ORIGIN) as censor:
        await censor.set(Behaviour.RESET, [SITE])
        assert hellos(await steps_of(scene, scene.question(protocol=Protocol.HTTP), with_hello(scene))) == []


async def test_a_connection_is_used_for_long_where_transfers_froze_before(scene: Scene) -> None:
    async with freezing(scene, 10_000_000):
        steps = await steps_of(scene, small_page(scene, FROZEN))
    assert only(steps, StepKind.PAUSE).ok
    assert only(steps, StepKind.PAUSE, TOR).ok
    assert decide(steps, FROZEN, detect=QUICK, relays=["tor"]).status == "works"
