"""Beliefs with a clock that the test moves, fed with outcomes that began when they say: the control gate is shut unless
the test lets another host deliver."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import ControlAnswered
from proxy.detect.beliefs.state import Refine, unrefined
from proxy.model import (
    Attempt,
    Belief,
    Change,
    ConnectivityResult,
    IPAddress,
    NetworkId,
    Outcome,
    Protocol,
    Route,
    Stage,
    State,
    Symptom,
    as_evidence,
)
from tests.support.outcomes import HOME, HOST, TOR, delivered, failed, outcome, works

OTHER = "www.news.example"
CONTROL = "control.example.com"


class NoJitter(random.Random):
    def random(self) -> float:
        return 0.0


class Seen:
    """What one visitor has seen so far."""

    def __init__(
        self,
        settings: DetectTuning | None = None,
        known: Iterable[Belief] = (),
        *,
        listed: Iterable[str] = (),
        near: Iterable[str] = (),
        refine: Refine = unrefined,
    ) -> None:
        self.beliefs = Beliefs(
            settings or DetectTuning(),
            known,
            rng=NoJitter(),
            listed=frozenset(listed).__contains__,
            near=frozenset(near).__contains__,
            addresses=lambda host: self._addresses,
            refine=refine,
        )
        self._addresses: Iterable[IPAddress] = ()
        self.now = 1_700_000_000.0
        self.changes: list[Change] = []

    def after(self, seconds: float) -> Seen:
        self.now += seconds
        return self

    def learn(self, seen: Outcome, *, network: NetworkId = HOME, addresses: Iterable[IPAddress] = ()) -> list[Change]:
        self._addresses = addresses
        changes = self.beliefs.learn(seen, network=network, now=self.now)
        self.changes += changes
        return changes

    def works(self, host: str = OTHER, *, network: NetworkId = HOME, address: str = "") -> list[Change]:
        seen = works(host, at=self.now - 0.1)
        if address:
            seen = replace(seen, attempts=(replace(seen.attempts[0], address=address),))
        return self.learn(seen, network=network)

    def rescued(
        self,
        host: str = HOST,
        symptom: Symptom = Symptom.RESET,
        stage: Stage = Stage.FIRST_BYTE,
        *,
        address: str = "",
        evidence: Mapping[str, str | int | float] | None = None,
        by: Route = TOR,
        protocol: Protocol = Protocol.TLS,
        others: Iterable[Attempt] = (),
        network: NetworkId = HOME,
    ) -> Outcome:
        """Direct failed just now, and another route delivered."""
        attempt = replace(failed(symptom, stage), address=address, evidence=as_evidence(evidence or {}))
        seen = outcome(attempt, *others, delivered(by), host=host, at=self.now - 0.2, protocol=protocol)
        self.learn(seen, network=network)
        return seen

    def blocked(self, host: str = HOST, symptom: Symptom = Symptom.RESET) -> Seen:
        """Two rescues that count."""
        for _ in range(2):
            self.after(61).rescued(host, symptom)
            self.works()
        assert self.state(host) is State.BLOCKED
        return self

    def on_control_answer(
        self, what: ConnectivityResult, host: str = CONTROL, *, domestic: bool = False, issuer: str = ""
    ) -> list[Change]:
        changes = self.beliefs.learn(
            ControlAnswered(host, what, started=self.now - 0.5, domestic=domestic, issuer=issuer),
            network=HOME,
            now=self.now,
        )
        self.changes += changes
        return changes

    def held(self, host: str = HOST, *, network: NetworkId = HOME, addresses: Iterable[IPAddress] = ()) -> Belief:
        return self.beliefs.lookup(host, network=network, now=self.now, addresses=addresses)

    def state(self, host: str = HOST) -> State:
        return self.held(host).state

    def wants_a_control(self) -> bool:
        return self.beliefs.control_wanted(HOME, self.now)
