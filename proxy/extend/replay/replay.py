"""What addons would have decided: their hooks are asked again over what was written down.

Each recorded connection has the plan that addons were given, and the one that was gone by; each failed attempt shows
the signals that were weighed. Hooks are asked in the order of that time, with the clock and the network of that time,
behind the same guard as ever, and what they say now is held against what was done then. Nothing is looked up, and
nobody is reached.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from proxy.config.schema import Detect
from proxy.detect.signals import Observed, observe
from proxy.extend.dispatch import Addons, read_only
from proxy.extend.hooks import HOOKS
from proxy.model import Action, Attempt, Inbound, NetworkId, Outcome, Plan
from proxy.net.dialers.registry import Registry
from proxy.store.recording import RecordedConnection

REPLAYED = ("admit", "plan", "signal", "attempt", "outcome")
"""The hooks that are asked or told again. What the others need was not kept, or they would reach out."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A connection that would go otherwise."""

    recorded: RecordedConnection
    would_be: Plan

    @property
    def was(self) -> Plan:
        return self.recorded.outcome.plan


@dataclass(frozen=True, slots=True)
class Weighing:
    """Signs of blocking, of one connection, that addons would weigh otherwise: what they made of them, in words."""

    recorded: RecordedConnection
    was: tuple[str, ...]
    would_be: tuple[str, ...]


@dataclass(slots=True)
class Replayed:
    """What came of it."""

    plans: int = 0  # connections whose plan was gone over
    signals: int = 0
    refused_by_guard: int = 0  # refused by the address guard, which no addon is asked about
    unclear: int = 0  # signals that weigh more when they come together; how much they weighed was not kept
    decisions: list[Decision] = field(default_factory=list)
    weighings: list[Weighing] = field(default_factory=list)


class _Kind(IntEnum):
    """In which order things of the same moment happened."""

    PLANNED = 0
    TRIED = 1
    WEIGHED = 2
    ENDED = 3


@dataclass(frozen=True, slots=True)
class _Event:
    at: float
    kind: _Kind
    recorded: RecordedConnection
    attempt: Attempt | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """What addons are told of the world around them."""

    set: Callable[[float, NetworkId], None]
    """Sets the time and the network."""
    registry: Registry
    """The relays that a plan may name."""
    is_guarded: Callable[[Outcome], bool]
    """Whether the address guard refused it: then it was never theirs to decide."""
    detect: Detect


async def go_over(connections: Sequence[RecordedConnection], addons: Addons, scene: Scene) -> Replayed:
    """Asks `addons` again. Never raises for what they do: see their faults."""
    found = Replayed()
    for event in sorted(_events(connections), key=lambda event: (event.at, event.kind)):
        outcome = event.recorded.outcome
        scene.set(event.at, event.recorded.network)
        match event.kind:
            case _Kind.PLANNED if scene.is_guarded(outcome):
                found.refused_by_guard += 1
            case _Kind.PLANNED:
                await _decide_again(event.recorded, addons, scene.registry, found)
            case _Kind.TRIED:
                await _tell(addons, "attempt", outcome.request, event.attempt)
            case _Kind.WEIGHED if addons.refines or _kept(outcome):
                _weigh_again(event.recorded, addons, scene.detect, found)
            case _Kind.ENDED:
                await _tell(addons, "outcome", outcome)
    return found


def _events(connections: Sequence[RecordedConnection]) -> Iterator[_Event]:
    for recorded in connections:
        outcome = recorded.outcome
        if outcome.request.inbound is Inbound.RETEST:
            continue  # our own: no addon was asked
        yield _Event(outcome.at, _Kind.PLANNED, recorded)
        judged_at = outcome.at
        for attempt in read_only(outcome).attempts:
            at = outcome.at + attempt.started + attempt.elapsed
            judged_at = max(judged_at, at)
            yield _Event(at, _Kind.TRIED, recorded, attempt)
        yield _Event(judged_at, _Kind.WEIGHED, recorded)
        yield _Event(max(judged_at, outcome.at + outcome.duration), _Kind.ENDED, recorded)


async def _decide_again(recorded: RecordedConnection, addons: Addons, registry: Registry, found: Replayed) -> None:
    was = recorded.outcome.plan
    given = was if was.before is None else was.before
    would_be = await addons.decide(recorded.outcome.request, given, registry)
    found.plans += 1
    if not does_the_same(was, would_be):
        found.decisions.append(Decision(recorded, would_be))


def does_the_same(one: Plan, other: Plan) -> bool:
    """Whatever the plans say of themselves."""
    if Action.BLOCK in (one.action, other.action):
        return one.action is other.action
    return (one.action, one.routes, one.intercept) == (other.action, other.routes, other.intercept)


def _weigh_again(recorded: RecordedConnection, addons: Addons, detect: Detect, found: Replayed) -> None:
    """What addons make of signals is kept in words, so words are compared."""
    outcome = recorded.outcome
    seen = observe(outcome, detect.weights, gave_up_s=detect.gave_up_s)
    clear = [observed for observed in seen if not _may_have_weighed_more(observed)]
    found.signals += len(clear)
    found.unclear += len(seen) - len(clear)
    for observed in clear:
        addons.refine(read_only(outcome), observed.signal)
    would_be = _words(addons.take_refinements(outcome.request.id))
    was = _kept(outcome)
    if len(clear) == len(seen) and Counter(was) != Counter(would_be):
        found.weighings.append(Weighing(recorded, was, would_be))


def _may_have_weighed_more(observed: Observed) -> bool:
    """Where unrelated sites are led to one place, each weighs more than it does alone."""
    return bool(observed.leads_to)


def _kept(outcome: Outcome) -> tuple[str, ...]:
    """What addons made of its signals then."""
    attempt = outcome.direct_attempt
    return () if attempt is None else _words(str(attempt.evidence.get(KEPT_AS, "")))


KEPT_AS = "addons"
"""The evidence of an attempt that says what addons made of its signals."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split("; ")) if text else ()


async def _tell(addons: Addons, hook: str, *args: Any) -> None:
    """At once, and not when its turn comes: what it learns from that counts for the next plan."""
    for runner in addons.running:
        for function in runner.addon.hooks.get(hook, ()):
            await runner.call(HOOKS[hook], function, *args, check=lambda _: None)
