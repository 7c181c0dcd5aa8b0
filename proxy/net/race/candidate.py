"""One route under way in a race.

A Candidate is the mutable part of a race: it goes from dialing to an open path, to a sent flight, to its end. `attempt`
returns its state as a value.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from enum import Enum, auto

from proxy.model import NO_EVIDENCE, Attempt, Evidence, Route, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.tcp import Connecting
from proxy.net.kernel.tcp_info import Snapshot
from proxy.net.notify import Notify
from proxy.net.stream import Stream

_DELIVERABLE = (Symptom.GARBAGE, Symptom.ALERT, Symptom.BLOCK_PAGE, Symptom.REDIRECTED)
"""Failures with an answer. The client may still get it when no route has a better one."""

_BEFORE_PATH = (Stage.RESOLVE, Stage.CONNECT, Stage.RELAY)
_TRANSIENT = (Symptom.RELAY_DOWN, Symptom.TIMEOUT)
"""Symptoms of a relay that restarts or loses its network. A wrong password or certificate, a refused destination and an
answer in another protocol are final: a retry would only repeat them."""

Pause = tuple[float, float]
"""Begin and end, by the loop's clock, of the wait of an open path for the client's flight. The times of attempts do not
include it: browsers open tunnels ahead of need, which makes no route slow."""


class Phase(Enum):
    DIALING = auto()
    OPEN = auto()  # connected, no flight sent
    AWAITING_ANSWER = auto()  # flight sent, answer awaited
    FAILED = auto()
    WON = auto()


class Candidate:
    __slots__ = (
        "answer", "answer_due_at", "answer_fingerprint", "avoids_residual", "connected_at", "connected_late",
        "connecting", "direct", "ended_at", "eof_sent", "error", "evidence", "flight_sent_at", "hedged_at", "is_beside",
        "is_retry", "is_shared", "phase", "reset", "route", "sent", "snapshot", "stage", "started_at", "stream",
        "symptom", "syn_at", "syn_s", "task",
    )  # fmt: skip

    def __init__(self, route: Route, now: float) -> None:
        self.route = route
        self.direct = not (route.relays or route.wrap)
        self.evidence: Evidence = {}
        self.started_at = now
        self.phase = Phase.DIALING
        self.stage = Stage.CONNECT
        self.symptom = Symptom.NONE
        self.error = ""
        self.syn_at = 0.0  # the time when it began to connect, after the lookup; 0: not known
        self.connected_at = 0.0
        self.flight_sent_at = 0.0
        self.ended_at = 0.0
        self.stream: Stream | None = None
        self.task: asyncio.Task[None] | None = None
        self.connecting: Connecting | None = None  # of a direct candidate, which needs no task
        self.sent = 0
        self.eof_sent = False
        self.reset = False
        self.answer = b""
        self.answer_due_at = 0.0  # the time when a part of an HTTP answer is classified as it is; 0: no answer began
        self.answer_fingerprint = ""  # see knowledge.ClassifiedAnswer
        self.avoids_residual = False  # a relay may deliver instead, so this strategy stays out of a residual window
        self.is_retry = False  # its route was tried before in this race: a relay, or plain direct
        self.is_shared = False  # it tries a strategy for all races to the host, which wait for the result
        self.is_beside = False  # it was started beside direct, by a second opinion on the name: nothing waits for it
        self.connected_late = False  # it was hedged before it connected
        self.hedged_at = 0.0  # the time from which the next route may start beside it; 0: not yet
        self.snapshot: Snapshot | None = None  # TCP_INFO just before the flight; None: not readable
        self.syn_s = 0.0  # the round trip of its SYN, as the kernel saw it; 0: not known

    @property
    def active(self) -> bool:
        """Whether it may still deliver."""
        return self.phase in (Phase.DIALING, Phase.OPEN, Phase.AWAITING_ANSWER)

    @property
    def hedged(self) -> bool:
        """Whether it looked dropped, so that the next route may start beside it."""
        return self.hedged_at > 0

    @property
    def failed_on_its_way(self) -> bool:
        """Whether its relay failed before a path was open, in a way that may pass, so that a retry may help. A relay
        that closes in place of its reply restarts, or refuses the destination. After a second time it counts as a
        refusal."""
        return (
            self.phase is Phase.FAILED
            and bool(self.route.relays)
            and self.stage in _BEFORE_PATH
            and (
                self.symptom in _TRANSIENT
                or (
                    self.symptom is Symptom.RELAY_REFUSED
                    and self.evidence.get("relay") == Symptom.EOF
                    and not self.is_retry
                )
            )
        )

    @property
    def broke_off(self) -> bool:
        """Whether its relay had opened a path, and the path ended before a byte of the answer, for the first time in
        this race: the relay may have restarted, or the site has ended it."""
        return (
            self.phase is Phase.FAILED
            and bool(self.route.relays)
            and self.stage is Stage.FIRST_BYTE
            and self.symptom in (Symptom.EOF, Symptom.RESET)
            and not (self.answer or self.is_retry)
        )

    def poll_connect(self, connecting: Connecting, notify: Notify, now: float) -> None:
        """Takes the result of the connect that is under way, if there is one."""
        try:
            stream = connecting.poll()
        except DialError as error:
            self.dial_failed(error, now)
        else:
            if stream is None:
                self.syn_at = connecting.began_at
                self.stage = Stage.CONNECT if self.syn_at else Stage.RESOLVE
                return
            self.opened(stream, notify, now)
        self.connecting = None

    def note_addresses(self) -> None:
        """Notes the addresses to which it is connecting, if it is direct."""
        if self.connecting is not None and (addresses := self.connecting.unanswered()):
            self.evidence["addresses"] = addresses

    def opened(self, stream: Stream, notify: Notify, now: float) -> None:
        """The path is open. `notify` is set whenever something comes on it."""
        self.stream = stream
        self.syn_at = self.syn_at or stream.syn_at
        if stream.held_s:
            self.started_at += stream.held_s
            self.syn_at = self.syn_at and self.syn_at + stream.held_s
            self.evidence["held_s"] = round(stream.held_s, 4)
        self.connected_at = now
        if self.route.relays:
            self.evidence["opened_s"] = round(now - self.started_at, 4)
        self.phase, self.stage = Phase.OPEN, Stage.FIRST_BYTE
        self.connected_late, self.hedged_at = self.hedged_at > 0, 0.0
        stream.notify = notify.set

    def dial_failed(self, error: DialError, now: float) -> None:
        """No path was opened."""
        self.evidence.update(error.evidence)
        self.failed(error.stage, error.symptom, str(error), now)

    def failed(self, stage: Stage, symptom: Symptom, error: str, now: float) -> None:
        """Ends the candidate. Resets its stream, unless the client may still get its answer."""
        is_unanswered = self.phase is Phase.AWAITING_ANSWER and not self.answer
        fault = self.stream.fault_before_answer(symptom) if is_unanswered and self.stream is not None else None
        if fault is not None:
            stage, symptom, error = fault.stage, fault.symptom, str(fault)
            self.evidence.update(fault.evidence)
        self.phase = Phase.FAILED
        self.stage, self.symptom, self.error, self.ended_at = stage, symptom, error, now
        if self.stream is not None and symptom not in _DELIVERABLE:
            self.stream.abort()

    def won(self, now: float) -> None:
        """Ends the candidate with a valid answer."""
        self.phase, self.stage, self.symptom, self.error, self.ended_at = Phase.WON, Stage.DONE, Symptom.NONE, "", now

    def drop(self, now: float) -> None:
        """Ends its dial, and resets its stream. A candidate that is still active becomes ABANDONED; if its silence is
        its relay's fault, it came no further than the relay."""
        if self.task is not None and not self.task.done():
            self.task.cancel()
        if self.connecting is not None:
            self.connecting.close()
            self.connecting = None
        if self.stream is not None:
            is_silent = self.phase is Phase.AWAITING_ANSWER and not self.answer
            if is_silent and self.stream.fault_before_answer(Symptom.SILENT) is not None:
                self.stage = Stage.RELAY
            self.stream.notify = None
            self.stream.abort()
        if self.active:
            self.phase, self.symptom, self.ended_at = Phase.FAILED, Symptom.ABANDONED, now

    def presumed_attempt(self, began_at: float, pause: Pause, now: float) -> Attempt:
        """Returns the attempt. A hedged candidate that is still active gets the symptom with which it would fail
        now."""
        attempt = self.attempt(began_at, pause, now)
        if not self.hedged or not self.active:
            return attempt
        if self.phase is Phase.DIALING:
            return replace(attempt, symptom=Symptom.TIMEOUT)
        return replace(attempt, symptom=Symptom.SILENT if attempt.evidence.get("acknowledged") else Symptom.DROPPED)

    def attempt(self, began_at: float, pause: Pause, now: float) -> Attempt:
        """Returns its state as a value. The race began at the loop time `began_at`, and had a `pause`."""
        paused_at, resumed_at = pause
        ended_at = self.ended_at or now
        started = self.started_at - began_at - max(0.0, min(self.started_at, resumed_at) - paused_at)
        ended = ended_at - began_at - max(0.0, min(ended_at, resumed_at) - paused_at)
        return Attempt(
            route=self.route,
            stage=self.stage,
            symptom=self.symptom,
            error=self.error,
            started=round(started, 4) if started else 0.0,  # most attempts share this one float
            elapsed=round(ended - started, 4),
            address=self.stream.peer if self.stream is not None else "",
            evidence=self.evidence.copy() if self.evidence else NO_EVIDENCE,
        )
