"""Replays logged connections through addons and compares their decisions with the logged ones.

A logged connection has the plan that addons received and the plan that was used; its failed attempts yield the same
signals again. Hooks run in the order, with the clock and on the network of that time, through the usual runner. No name
is resolved and no connection is opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.signals import observe
from proxy.extend.dispatch import Addons, read_only
from proxy.extend.hooks import HOOKS
from proxy.model import Action, Attempt, Inbound, NetworkId, Outcome, Plan
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.dialers.registry import Registry
from proxy.store.recording import RecordedConnection

REPLAYED = ("admit", "plan", "signal", "attempt", "outcome")
"""The hooks that are called again. The others would open connections, or need data that the log lacks."""


@frozen_dataclass
class Decision:
    """A connection with another plan than the logged one."""

    recorded: RecordedConnection
    would_be: Plan

    @property
    def was(self) -> Plan:
        return self.recorded.outcome.plan


@frozen_dataclass
class Weighing:
    """A connection whose signals addons would change differently; `was` and `would_be` describe the changes."""

    recorded: RecordedConnection
    was: tuple[str, ...]
    would_be: tuple[str, ...]


@dataclass(slots=True)
class Replayed:
    plans: int = 0  # connections whose plan was decided again
    signals: int = 0
    refused_by_guard: int = 0  # refused by the address guard, before any addon was called
    unclear: int = 0  # signals whose weight depended on others at the time; it was not logged
    decisions: list[Decision] = field(default_factory=list)
    weighings: list[Weighing] = field(default_factory=list)


class _Kind(IntEnum):
    """The order of events with the same time."""

    PLANNED = 0
    TRIED = 1
    WEIGHED = 2
    ENDED = 3


@frozen_dataclass
class _Event:
    at: float
    kind: _Kind
    recorded: RecordedConnection
    attempt: Attempt | None = None


@frozen_dataclass
class Scene:
    """The surroundings of a replay."""

    set: Callable[[float, NetworkId], None]
    """Sets the time (seconds since the epoch) and the network that addons see."""
    registry: Registry
    """The relays that a plan may name."""
    is_guarded: Callable[[Outcome], bool]
    """Whether the address guard refused a connection, before any addon was called."""
    detect: DetectTuning


async def replay_connections(connections: Sequence[RecordedConnection], addons: Addons, scene: Scene) -> Replayed:
    """Calls the hooks of `addons` for all connections. Raises nothing for their faults, which the runners count."""
    result = Replayed()
    for event in sorted(_events(connections), key=lambda event: (event.at, event.kind)):
        outcome = event.recorded.outcome
        scene.set(event.at, event.recorded.network)
        match event.kind:
            case _Kind.PLANNED if scene.is_guarded(outcome):
                result.refused_by_guard += 1
            case _Kind.PLANNED:
                was = outcome.plan
                received = was if was.before is None else was.before
                would_be = await addons.decide(outcome.request, received, scene.registry)
                result.plans += 1
                if not has_same_effect(was, would_be):
                    result.decisions.append(Decision(event.recorded, would_be))
            case _Kind.TRIED:
                await _notify(addons, "attempt", outcome.request, event.attempt)
            case _Kind.WEIGHED if addons.refines or _logged_refinements(outcome):
                _replay_signals(event.recorded, addons, scene.detect, result)
            case _Kind.ENDED:
                await _notify(addons, "outcome", outcome)
    return result


def _events(connections: Sequence[RecordedConnection]) -> Iterator[_Event]:
    for recorded in connections:
        outcome = recorded.outcome
        if outcome.request.inbound is Inbound.RETEST:
            continue  # Byway's own re-test, which addons do not decide
        yield _Event(outcome.at, _Kind.PLANNED, recorded)
        judged_at = outcome.at
        for attempt in read_only(outcome).attempts:
            at = outcome.at + attempt.started + attempt.elapsed
            judged_at = max(judged_at, at)
            yield _Event(at, _Kind.TRIED, recorded, attempt)
        yield _Event(judged_at, _Kind.WEIGHED, recorded)
        yield _Event(max(judged_at, outcome.at + outcome.duration), _Kind.ENDED, recorded)


def has_same_effect(one: Plan, other: Plan) -> bool:
    """Whether two plans do the same; their reasons may differ."""
    if Action.BLOCK in (one.action, other.action):
        return one.action is other.action
    return (one.action, one.routes, one.intercept) == (other.action, other.routes, other.intercept)


def _replay_signals(recorded: RecordedConnection, addons: Addons, detect: DetectTuning, result: Replayed) -> None:
    """Replays the signals of a connection. Compares texts: the log has the changes that addons made as text only."""
    outcome = recorded.outcome
    observed_signals = observe(outcome, detect.weights, gave_up_s=detect.gave_up_s)
    # Redirects of unrelated sites to one place weigh more together; the log does not say how much.
    clear = [observed for observed in observed_signals if not observed.leads_to]
    result.signals += len(clear)
    result.unclear += len(observed_signals) - len(clear)
    for observed in clear:
        addons.refine(read_only(outcome), observed.signal)
    would_be = _split_refinements(addons.take_refinements(outcome.request.id))
    was = _logged_refinements(outcome)
    if len(clear) == len(observed_signals) and Counter(was) != Counter(would_be):
        result.weighings.append(Weighing(recorded, was, would_be))


def _logged_refinements(outcome: Outcome) -> tuple[str, ...]:
    attempt = outcome.direct_attempt
    return () if attempt is None else _split_refinements(str(attempt.evidence.get(REFINEMENTS_KEY, "")))


REFINEMENTS_KEY = "addons"
"""The key of an attempt's evidence with the changes of addons to its signals."""


def _split_refinements(text: str) -> tuple[str, ...]:
    return tuple(text.split("; ")) if text else ()


async def _notify(addons: Addons, hook: str, *args: Any) -> None:
    """Calls the hook at once instead of queueing it, so that it counts for the addon's next plan."""
    for runner in addons.running:
        for function in runner.addon.hooks.get(hook, ()):
            await runner.call(HOOKS[hook], function, *args, check=lambda _: None)
