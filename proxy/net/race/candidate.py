"""One route under way in a race.

A Candidate is the one mutable thing of a race: it moves from dialing through an open path and a flight to its end, and
`attempt` says as a value how far it has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from enum import Enum, auto

from proxy.model import NO_EVIDENCE, Attempt, Evidence, Route, Stage, Symptom
from proxy.net.kernel.tcp_info import Snapshot
from proxy.net.stream import Stream

_SHOWABLE = (Symptom.GARBAGE, Symptom.ALERT, Symptom.BLOCK_PAGE, Symptom.REDIRECTED)
"""What was answered may yet be shown to the client, when no route does better."""


_ON_THE_WAY = (Stage.RESOLVE, Stage.CONNECT, Stage.RELAY)
_TRANSIENT = (Symptom.RELAY_DOWN, Symptom.TIMEOUT)
"""What a relay that restarts or loses its network shows. A password, a certificate, a destination that it refuses and
an answer of another protocol are its last word."""


class Phase(Enum):
    """Where a candidate is."""

    DIALING = auto()
    OPEN = auto()  # connected, no flight sent
    AWAITING_ANSWER = auto()  # flight sent, answer awaited
    FAILED = auto()
    WON = auto()


class Candidate:
    """One route under way."""

    __slots__ = (
        "answer",
        "answer_fingerprint",
        "answered_at",
        "avoids_residual",
        "connected_at",
        "connected_late",
        "ended_at",
        "eof_sent",
        "error",
        "evidence",
        "flight_sent_at",
        "hedged_at",
        "phase",
        "reset",
        "route",
        "sent",
        "snapshot",
        "stage",
        "started_at",
        "stream",
        "symptom",
        "syn_at",
        "syn_s",
        "task",
    )

    def __init__(self, route: Route, now: float) -> None:
        self.route = route
        self.phase = Phase.DIALING
        self.stage = Stage.CONNECT
        self.symptom = Symptom.NONE
        self.error = ""
        self.evidence: Evidence = {}
        self.started_at = now
        self.syn_at = 0.0  # when it began to connect, its name resolved; 0: not known
        self.connected_at = 0.0
        self.flight_sent_at = 0.0
        self.ended_at = 0.0
        self.stream: Stream | None = None
        self.task: asyncio.Task[None] | None = None
        self.sent = 0
        self.eof_sent = False
        self.reset = False
        self.answer = b""
        self.answered_at = 0.0  # when an HTTP answer began that is not judged yet
        self.answer_fingerprint = ""  # see advice.Look
        self.avoids_residual = False  # a relay may serve instead, so a censor's residual blocking is not risked
        self.connected_late = False  # it looked dropped before it connected
        self.hedged_at = 0.0  # when it first looked dropped; 0: it did not
        self.snapshot: Snapshot | None = None  # to ask the kernel by
        self.syn_s = 0.0  # the round trip of its SYN, as the kernel saw it; 0: not known

    @property
    def active(self) -> bool:
        """It may still deliver."""
        return self.phase in (Phase.DIALING, Phase.OPEN, Phase.AWAITING_ANSWER)

    @property
    def hedged(self) -> bool:
        """It looked dropped, so that the next route was started beside it."""
        return self.hedged_at > 0

    @property
    def failed_on_its_way(self) -> bool:
        """Its relay could not be reached or broke off before it opened a path, without refusing anything."""
        return (
            self.phase is Phase.FAILED
            and bool(self.route.relays)
            and self.stage in _ON_THE_WAY
            and self.symptom in _TRANSIENT
        )

    @property
    def connecting_since(self) -> float:
        """The time of the lookup is the resolver's, and says nothing of how far the host is or whether it answers."""
        return self.syn_at or self.started_at

    def failed(self, stage: Stage, symptom: Symptom, error: str, now: float) -> None:
        """Its end, and why. The stream is broken off, unless what it answered may yet be shown to the client."""
        self.phase = Phase.FAILED
        self.stage, self.symptom, self.error, self.ended_at = stage, symptom, error, now
        if self.stream is not None and symptom not in _SHOWABLE:
            self.stream.abort()

    def won(self, now: float) -> None:
        """A valid answer has come on it."""
        self.phase, self.stage, self.symptom, self.error, self.ended_at = Phase.WON, Stage.DONE, Symptom.NONE, "", now

    def presumed_attempt(self, raced: Callable[[float], float], now: float) -> Attempt:
        """The attempt, and what an overdue one would have failed with."""
        attempt = self.attempt(raced, now)
        if not self.hedged or not self.active:
            return attempt
        if self.phase is Phase.DIALING:
            return replace(attempt, symptom=Symptom.TIMEOUT)
        return replace(attempt, symptom=Symptom.SILENT if attempt.evidence.get("acknowledged") else Symptom.DROPPED)

    def attempt(self, raced: Callable[[float], float], now: float) -> Attempt:
        """How far it has come. `raced` turns a time into seconds of the race."""
        started = raced(self.started_at)
        return Attempt(
            route=self.route,
            stage=self.stage,
            symptom=self.symptom,
            error=self.error,
            started=round(started, 4),
            elapsed=round(raced(self.ended_at or now) - started, 4),
            address=self.stream.peer if self.stream is not None else "",
            evidence=self.evidence.copy() if self.evidence else NO_EVIDENCE,
        )
