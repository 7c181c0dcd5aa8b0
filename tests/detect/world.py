"""Beliefs under a clock that the test moves."""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import partial
from types import ModuleType
from typing import Any, Self

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import Retested
from proxy.detect.beliefs.state import BeliefState
from proxy.model import Belief, Change, NetworkId, Outcome, State
from tests.support.outcomes import (
    HOME,
    HOST,
    open_uplink,
    rescued,
)

T0 = 1_700_000_000.0
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


class NoJitter(random.Random):
    def random(self) -> float:
        return 0.0


class World:
    """Beliefs, with a clock that the test moves and the changes that came of it."""

    def __init__(self, settings: DetectTuning | None = None, known: list[Belief] | None = None) -> None:
        self.beliefs = Beliefs(settings or DetectTuning(), known or (), rng=NoJitter())
        self.now = T0
        self.changes: list[Change] = []

    def learn(self, seen: Outcome, *, network: NetworkId = HOME) -> list[Change]:
        """With the uplink well: other tests of other modules close that gate."""
        changes = open_uplink(self.beliefs, network, now=self.now)
        changes += self.beliefs.learn(seen, network=network, now=self.now)
        self.changes += changes
        return changes

    def after(self, seconds: float) -> Self:
        self.now += seconds
        return self

    def held(self, host: str = HOST, *, network: NetworkId = HOME) -> Belief:
        return self.beliefs.lookup(host, network=network, now=self.now)

    def state(self, host: str = HOST, *, network: NetworkId = HOME) -> State:
        return self.held(host, network=network).state

    def due(self, host: str = HOST) -> bool:
        return self.beliefs.retest_due(host, network=HOME, now=self.now)

    def retested(self, *, direct_ok: bool, other_ok: bool = True, host: str = HOST) -> list[Change]:
        changes = open_uplink(self.beliefs, now=self.now)
        changes += self.beliefs.learn(
            Retested(host, direct_ok=direct_ok, other_ok=other_ok), network=HOME, now=self.now
        )
        self.changes += changes
        return changes

    def block(self) -> World:
        """Two rescues, more than a minute apart. Whoever calls it starts at the second one."""
        self.learn(rescued())
        self.after(61).learn(rescued())
        assert self.state() is State.BLOCKED
        return self

    @property
    def transitions(self) -> list[tuple[State, State]]:
        return [(change.before, change.after) for change in self.changes if change.before is not change.after]


class Over:
    """Functions of the beliefs over one state, which a test calls like methods; other names are fields of the state."""

    def __init__(self, *modules: ModuleType, state: BeliefState) -> None:
        self._modules = modules
        self.state = state

    def __getattr__(self, name: str) -> Any:
        for module in self._modules:
            if callable(found := getattr(module, name, None)):
                return partial(found, self.state)
        return getattr(self.state, name)


def over(
    *modules: ModuleType,
    settings: DetectTuning | None = None,
    known: Iterable[Belief] = (),
    rng: random.Random | None = None,
) -> Over:
    """The functions of these modules over a state of their own."""
    return Over(*modules, state=BeliefState(settings or DetectTuning(), known, rng=rng or NoJitter()))
