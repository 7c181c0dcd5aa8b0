"""Addons asked again over recorded connections: exactly what an edit changes is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.config.relays import Relay
from proxy.extend.dispatch import Addons
from proxy.extend.guard.runner import AddonRunner
from proxy.extend.guard.time_limit import TimeLimit
from proxy.extend.hooks import HOOKS
from proxy.extend.loading import loader
from proxy.extend.replay.recording_api import RecordingApi
from proxy.extend.replay.replay import REFINEMENTS_KEY, Replayed, Scene, has_same_effect, replay_connections
from proxy.model import DIRECT, Action, Inbound, NetworkId, Outcome, Plan, Protocol, Route, Symptom, as_evidence
from proxy.net.dialers.registry import Registry
from proxy.store.recording import RecordedConnection
from tests.support.outcomes import AWAY, HOME, TOR, VPS, delivered, failed, outcome, rescued, works

AT = 1_700_000_000.0
DAY_S = 86_400.0
AUTO = Plan(Action.AUTO, (DIRECT, TOR), "AUTO: nothing is known")


@pytest.fixture
def limit() -> Iterator[TimeLimit]:
    limit = TimeLimit()
    limit.start()
    yield limit
    limit.close()


class Sitting:
    """The addons of some texts, by their names."""

    def __init__(self, folder: Path, limit: TimeLimit) -> None:
        self._folder = folder
        self._limit = limit

    async def over(self, recorded: Sequence[RecordedConnection], **texts: str) -> Replayed:
        addons, apis = Addons(), []
        for name, text in texts.items():
            file = self._folder / f"{name}.py"
            file.write_text(text)
            addon = loader.load(file, name)
            runner = AddonRunner(addon, self._limit, addons.on_disabled)
            addons.put(runner)
            apis.append(RecordingApi(name, addon.options))
            for function in addon.hooks.get("start", ()):
                await runner.call(HOOKS["start"], function, apis[-1], check=lambda _: None)

        def set_scene(at: float, network: NetworkId) -> None:
            for api in apis:
                api.at(at)
                api.on(network)

        return await replay_connections(recorded, addons, Scene(set_scene, _registry(), _is_guarded, DetectTuning()))


@pytest.fixture
def sitting(tmp_path: Path, limit: TimeLimit) -> Sitting:
    return Sitting(tmp_path, limit)


def _registry() -> Registry:
    nobody: Any = object()
    relays = [Relay.parse(name, "socks5h://127.0.0.1:9") for name in ("tor", "vps")]
    return Registry(relays, direct=nobody, to_relays=nobody)


def _is_guarded(seen: Outcome) -> bool:
    return seen.plan.why == "the guard"


def kept(*seen: Outcome, network: NetworkId = HOME) -> list[RecordedConnection]:
    """As the log brings them, each with an id of its own."""
    return [
        RecordedConnection(replace(one, request=replace(one.request, id=number, client="")), network)
        for number, one in enumerate(seen, 1)
    ]


def planned(plan: Plan, host: str, *, at: float = AT) -> Outcome:
    attempts = [delivered(plan.routes[0])] if plan.routes else []
    return replace(outcome(*attempts, host=host, at=at), plan=plan)


def hosts(found: Replayed) -> list[str]:
    return [it.recorded.outcome.host for it in found.decisions]


PIN = """
def plan(request, plan):
    return plan.via("tor") if request.destination.host.endswith(%r) else None
"""

PINNED = replace(AUTO.via("tor"), why="addon pin: RELAY by tor; it was AUTO", before=AUTO)

WEEK = kept(
    *(planned(PINNED, f"{n}.pinned.example", at=AT + n * DAY_S) for n in range(7)),
    *(planned(AUTO, f"{n}.free.example", at=AT + n * DAY_S) for n in range(7)),
)


async def test_nothing_is_told_when_nothing_changed(sitting: Sitting) -> None:
    found = await sitting.over(WEEK, pin=PIN % ".pinned.example")
    assert (found.plans, found.decisions, found.weighings) == (14, [], [])


async def test_exactly_what_an_edit_changes_is_told(sitting: Sitting) -> None:
    found = await sitting.over(WEEK, pin=PIN % ((".pinned.example", "3.free.example"),))
    assert hosts(found) == ["3.free.example"]
    assert (found.decisions[0].was, found.decisions[0].would_be.routes) == (AUTO, (TOR,))

    found = await sitting.over(WEEK, pin=PIN % (("2.pinned.example", "5.pinned.example"),))
    assert hosts(found) == [f"{n}.pinned.example" for n in (0, 1, 3, 4, 6)]
    assert {it.would_be for it in found.decisions} == {AUTO}  # what rules and beliefs had made of it


async def test_clock_and_network_are_those_of_that_time(sitting: Sitting) -> None:
    text = """
class Pin:
    def start(self, api):
        self.api = api
    def plan(self, request, plan):
        return plan.via("tor") if self.api.now() == %r and self.api.network() == %r else None
addons = [Pin()]
"""
    recorded = [*kept(planned(AUTO, "a.example"), planned(AUTO, "b.example", at=AT + 5))]
    recorded += [replace(it, network=AWAY) for it in recorded]
    found = await sitting.over(recorded, pin=text % (AT + 5, AWAY))
    assert [(it.recorded.outcome.host, it.recorded.network) for it in found.decisions] == [("b.example", AWAY)]


async def test_a_refusal_is_a_decision(sitting: Sitting) -> None:
    refuse = "def admit(request):\n    return 'no' if request.destination.host == 'a.example' else None\n"
    refused = replace(AUTO.block("addon refuse: no"), before=AUTO)
    recorded = kept(planned(refused, "a.example"), planned(AUTO, "b.example"))
    assert hosts(await sitting.over(recorded, refuse=refuse)) == []
    found = await sitting.over(recorded, refuse=refuse.replace("a.ex", "b.ex"))
    assert [(it.recorded.outcome.host, it.would_be.action) for it in found.decisions] == [
        ("a.example", Action.AUTO),
        ("b.example", Action.BLOCK),
    ]


async def test_the_others_take_part(sitting: Sitting) -> None:
    """What one makes of it, the next may change back."""
    last = "def plan(request, plan):\n    return plan.via('vps')\n"
    recorded = kept(planned(replace(AUTO.via("vps"), before=AUTO), "a.example"))
    assert hosts(await sitting.over(recorded, a=PIN % "", z=last)) == []
    assert hosts(await sitting.over(recorded, a=PIN % "")) == ["a.example"]


async def test_what_was_never_an_addons_to_decide_is_left_out(sitting: Sitting) -> None:
    recorded = kept(
        planned(Plan(Action.BLOCK, (), "the guard"), "127.0.0.1"),
        replace(outcome(delivered(), inbound=Inbound.RETEST), plan=AUTO),
    )
    found = await sitting.over(recorded, pin=PIN % "")
    assert (found.plans, found.refused_by_guard, found.decisions) == (0, 1, [])


FASTEST = """
class Fastest:
    times = {}
    def plan(self, request, plan):
        return plan.via(*sorted(("tor", "vps"), key=lambda name: self.times.get(name, 1.0)))
    def attempt(self, request, attempt):
        self.times[str(attempt.route)] = attempt.elapsed
    def outcome(self, outcome):
        if outcome.bytes_down:
            self.times["tor"] = 0.0
addons = [Fastest()]
"""


async def test_what_it_learns_on_the_way_counts(sitting: Sitting) -> None:
    """Attempts are told when they were judged, which is before or after the next plan as it was then."""

    def went(first: Route, then: Route, *, at: float, took: float = 0.5, down: int = 0) -> Outcome:
        plan = replace(AUTO.via(str(first), str(then)), before=AUTO)
        seen = outcome(delivered(first, elapsed=took), at=at, bytes_down=down)
        return replace(seen, plan=plan, duration=10.0)

    recorded = kept(
        went(TOR, VPS, at=AT, took=3.0),
        went(TOR, VPS, at=AT + 2.9, took=5.0),  # the first was not judged yet
        went(VPS, TOR, at=AT + 4, took=0.5, down=1),
        went(TOR, VPS, at=AT + 15),
    )
    assert hosts(await sitting.over(recorded, fastest=FASTEST)) == []
    slower = FASTEST.replace("attempt.elapsed", "-attempt.elapsed")
    assert len((await sitting.over(recorded, fastest=slower)).decisions) == 2


LOSSY = """
from dataclasses import replace
def signal(request, signal):
    return replace(signal, weight=%s) if signal.id == "tls_reset" else None
"""


def weighed(text: str, symptom: Symptom = Symptom.RESET) -> Outcome:
    attempt = failed(symptom)
    if text:
        attempt = replace(attempt, evidence=as_evidence({REFINEMENTS_KEY: text}))
    return replace(outcome(attempt, delivered(TOR)), plan=AUTO)


async def test_signals_are_weighed_again(sitting: Sitting) -> None:
    recorded = kept(weighed("lossy: tls_reset weighs 0.5 in place of 2"), weighed("", Symptom.EOF))
    found = await sitting.over(recorded, lossy=LOSSY % "0.5")
    assert (found.signals, found.weighings) == (2, [])

    (changed,) = (await sitting.over(recorded, lossy=LOSSY % "1")).weighings
    assert changed.was == ("lossy: tls_reset weighs 0.5 in place of 2",)
    assert changed.would_be == ("lossy: tls_reset weighs 1 in place of 2",)
    (changed,) = (await sitting.over(recorded, pin=PIN % "x")).weighings  # no addon weighs any more
    assert changed.would_be == ()
    found = await sitting.over(recorded, lossy=(LOSSY % "0.5").replace("tls_reset", "tls_eof"))
    assert [(it.was, it.would_be) for it in found.weighings] == [
        (("lossy: tls_reset weighs 0.5 in place of 2",), ()),
        ((), ("lossy: tls_eof weighs 0.5 in place of 1.5",)),
    ]


async def test_signs_that_weigh_more_together_are_not_guessed_at(sitting: Sitting) -> None:
    attempt = replace(failed(Symptom.REDIRECTED), evidence={"elsewhere": "block.example"})
    seen = replace(outcome(attempt, delivered(TOR), protocol=Protocol.HTTP), plan=AUTO)
    found = await sitting.over(kept(seen), lossy=(LOSSY % "0").replace("tls_reset", "http_redirect"))
    assert (found.signals, found.unclear, found.weighings) == (0, 1, [])


async def test_a_fault_leaves_the_plan_and_three_switch_it_off(sitting: Sitting) -> None:
    faulty = "def plan(request, plan):\n    if request.id < 4:\n        1 / 0\n    return plan.via('tor')\n"
    recorded = kept(*(planned(AUTO, f"{n}.example", at=AT + n) for n in range(6)))
    assert hosts(await sitting.over(recorded, pin=faulty)) == []
    assert len((await sitting.over(recorded, pin=faulty.replace("4", "3"))).decisions) == 4


async def test_nothing_that_is_handed_out_can_be_written_to(sitting: Sitting) -> None:
    text = "def attempt(request, attempt):\n    attempt.evidence['x'] = 1\n"
    seen = kept(rescued(), works())
    await sitting.over(seen, pin=text)
    assert all("x" not in attempt.evidence for it in seen for attempt in it.outcome.attempts)


def test_what_plans_say_of_themselves_does_not_count() -> None:
    assert has_same_effect(AUTO, replace(AUTO, why="else", before=AUTO))
    assert has_same_effect(AUTO.block("a"), AUTO.block("b"))
    assert not has_same_effect(AUTO, AUTO.inspect())
    assert not has_same_effect(AUTO, replace(AUTO, routes=(TOR, DIRECT)))
    assert not has_same_effect(AUTO.direct(), replace(AUTO, routes=(DIRECT,)))
    assert not has_same_effect(AUTO.via("tor"), AUTO.via("vps").block("x"))
    assert VPS not in AUTO.routes
