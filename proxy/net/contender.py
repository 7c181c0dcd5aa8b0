"""One route under way in a race, and the bell that whatever happens to it rings.

A Contender is the one mutable thing of a race: it moves from dialing through an open path and a flight to its end, and
`attempt` says as a value how far it has come.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from proxy.model import NO_EVIDENCE, Attempt, Route, Stage, Symptom
from proxy.net.oracle import Snapshot
from proxy.net.stream import Stream


class Bell:
    """Rung by whatever may have changed something; one coroutine waits for it."""

    __slots__ = ("_rung", "_waiter")

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, timeout_s: float | None) -> None:
        """Returns when rung (also when it was since the last wait), or after `timeout_s`."""
        if not self._rung:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            alarm = None if timeout_s is None else loop.call_later(max(0.0, timeout_s), self.ring)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if alarm is not None:
                    alarm.cancel()
        self._rung = False


class Phase(Enum):
    """Where a contender is."""

    DIALING = auto()
    OPEN = auto()  # connected, no flight sent
    FLYING = auto()  # flight sent, answer awaited
    FAILED = auto()
    WON = auto()


class Contender:
    """One route under way."""

    __slots__ = (
        "answer",
        "connected_at",
        "ended_at",
        "eof_sent",
        "error",
        "evidence",
        "flown_at",
        "phase",
        "route",
        "sent",
        "snapshot",
        "stage",
        "started_at",
        "stream",
        "symptom",
        "task",
    )

    def __init__(self, route: Route, now: float) -> None:
        self.route = route
        self.phase = Phase.DIALING
        self.stage = Stage.CONNECT
        self.symptom = Symptom.NONE
        self.error = ""
        self.evidence: dict[str, str | int | float] = {}
        self.started_at = now
        self.connected_at = 0.0
        self.flown_at = 0.0
        self.ended_at = 0.0
        self.stream: Stream | None = None
        self.task: asyncio.Task[None] | None = None
        self.sent = 0
        self.eof_sent = False
        self.answer = b""
        self.snapshot: Snapshot | None = None

    @property
    def live(self) -> bool:
        """It may still deliver."""
        return self.phase in (Phase.DIALING, Phase.OPEN, Phase.FLYING)

    def failed(self, stage: Stage, symptom: Symptom, error: str, now: float) -> None:
        """Its end, and why. The stream is broken off, unless what it answered may yet be shown to the client."""
        self.phase = Phase.FAILED
        self.stage, self.symptom, self.error, self.ended_at = stage, symptom, error, now
        if self.stream is not None and symptom is not Symptom.GARBAGE:
            self.stream.abort()

    def attempt(self, race_started_at: float, now: float) -> Attempt:
        return Attempt(
            route=self.route,
            stage=self.stage,
            symptom=self.symptom,
            error=self.error,
            started=round(self.started_at - race_started_at, 4),
            elapsed=round((self.ended_at or now) - self.started_at, 4),
            address=self.stream.peer if self.stream is not None else "",
            evidence=dict(self.evidence) if self.evidence else NO_EVIDENCE,
        )
