"""What a measurement is made with."""

from __future__ import annotations

import asyncio
import math
from typing import Any, cast
from unittest.mock import MagicMock

from proxy.config.detect_tuning import DetectTuning
from proxy.config.schema import RelayConfig, Settings
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.model import DIRECT, DOH, Action, Belief, MeasurementStep, Plan, Route, State, StepKind, StepResult
from proxy.probe.measure.controls import SharedControls
from proxy.probe.measure.inputs import SetupEnvironment, measured_routes
from proxy.probe.target import page_of
from proxy.session.setup import Setup
from tests.probe.measure.scene import CONTROL, FILTERED
from tests.support.outcomes import HOME, TOR, failed, outcome
from tests.support.services import services


async def test_what_is_believed_says_who_is_in_trouble() -> None:
    held = Belief(FILTERED, HOME, State.BLOCKED, "sni_reset", until=math.inf)
    setup = cast(Any, MagicMock(spec=Setup))
    env = SetupEnvironment(setup, services(beliefs=Beliefs(DetectTuning(), [held])))
    assert not await env.may_be_control(page_of(FILTERED))
    assert await env.may_be_control(page_of(CONTROL))


async def test_what_direct_alone_has_just_failed_to_open_is_no_control() -> None:
    known = services()
    known.beliefs.learn(outcome(failed(), host=CONTROL), network=HOME, now=known.now())
    env = SetupEnvironment(cast(Any, MagicMock(spec=Setup)), known)
    assert not await env.may_be_control(page_of(CONTROL))


async def test_few_ask_a_control() -> None:
    asked = 0

    async def ask() -> MeasurementStep:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return MeasurementStep(StepKind.CONTROL, DIRECT, StepResult.OK, text=str(asked))

    shared, page, other = SharedControls(), page_of(CONTROL), page_of(FILTERED)
    steps = await asyncio.gather(*(shared.check(page, ask, keep_s=60) for _ in range(5)))
    assert {step.text for step in steps} == {"1"}
    assert (await shared.check(page, ask, keep_s=0)).text == "2"
    assert (await shared.check(other, ask, keep_s=60)).text == "3"  # what one said is no word of another


def test_all_routes_are_looked_at() -> None:
    settings = Settings(relay=(RelayConfig(name="tor", url="socks5h://127.0.0.1:9050"),))
    assert measured_routes(settings)[:2] == (DIRECT, DOH)
    assert measured_routes(settings)[-1] == TOR


def test_the_strategy_by_which_a_site_is_visited_is_looked_at_first() -> None:
    found = Route((), ("tlsrec-by-4",))
    usual = measured_routes(Settings())
    for routes, looked_at in (
        ((found, DIRECT), (DIRECT, found, *usual[1:])),
        ((usual[2], DIRECT), (DIRECT, usual[2], usual[1], *usual[3:])),
        ((DOH, DIRECT), usual),
        ((DIRECT, found), usual),
        ((TOR, DIRECT), usual),
        ((), usual),
    ):
        assert measured_routes(Settings(), Plan(Action.AUTO, routes, "")) == looked_at, routes
