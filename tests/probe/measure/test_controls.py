"""Which controls a measurement asks, and what their answers are good for."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from proxy.config.schema import Auto
from proxy.model import DIRECT, Destination, StepKind, StepResult
from tests.probe.measure.scene import CONTROL, FILTERED, SITE, Scene, judged, only, steps_of
from tests.support.censor import Behaviour
from tests.support.environment import FakeEnvironment
from tests.support.outcomes import TOR


async def test_no_control_is_asked_that_a_rule_keeps_to_relays(scene: Scene) -> None:
    async def may(place: Destination) -> bool:
        return place.host != CONTROL

    await scene.censor.set(Behaviour.RESET, [SITE])
    means = replace(scene.means, may_go_direct=may)
    steps = await steps_of(scene, scene.question(routes=(DIRECT,)), means)
    assert only(steps, StepKind.CONTROL).result is StepResult.NOT_TESTED
    assert not any(step.kind is StepKind.NEUTRAL for step in steps)  # nor is its name said anywhere
    assert CONTROL not in scene.asked


def with_filtered_control(scene: Scene) -> FakeEnvironment:
    """The first control that is asked is one that the censor resets too."""
    means, port = scene.means, scene.origin.https_port
    controls = (f"https://{FILTERED}:{port}/", f"https://{CONTROL}:{port}/")
    return replace(means, settings=replace(means.settings, auto=Auto(controls=controls)))


async def test_one_control_that_is_blocked_itself_decides_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "shuffle", lambda pages: None)
    await scene.censor.set(Behaviour.RESET, [SITE, FILTERED])
    steps = await steps_of(scene, scene.question(routes=(DIRECT, TOR)), with_filtered_control(scene))
    asked = [(step.evidence["host"], step.result) for step in steps if step.kind is StepKind.CONTROL]
    assert asked == [(FILTERED, StepResult.FAILED), (CONTROL, StepResult.OK)]
    verdict = judged(steps)
    assert verdict.control is StepResult.OK
    assert f"{CONTROL} answered" in " ".join(verdict.reasons)


async def test_a_control_in_trouble_is_not_asked(scene: Scene) -> None:
    await scene.censor.set(Behaviour.RESET, [SITE, FILTERED])
    means = replace(with_filtered_control(scene), is_troubled=lambda host: host == FILTERED)
    steps = await steps_of(scene, scene.question(routes=(DIRECT,)), means)
    assert only(steps, StepKind.CONTROL).evidence["host"] == CONTROL
    assert only(steps, StepKind.NEUTRAL).ok  # nor is its name the harmless one
