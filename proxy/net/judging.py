"""What came back to the contenders of a race: an answer to deliver, one of no use, or not enough to tell.

A valid answer wins. What a server breaks off, closes or garbles has failed; so has an HTTP page that seems somebody
else's, until another route that shares no relay with it gets the same. A direct attempt that was overtaken is watched
until the deadline of its signal. Which route is tried when is not decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from proxy.config.schema import Detect
from proxy.model import DIRECT, Destination, Protocol, Route, Stage, Symptom
from proxy.net.advice import Advice
from proxy.net.bell import Bell
from proxy.net.contender import Contender, Phase
from proxy.net.deadline import poll_again
from proxy.net.patience import Patience
from proxy.wire.flight import Flight, Verdict

ANSWER_LIMIT = 64 * 1024
"""Bytes of an answer kept while it is not yet decided whether it is valid."""

_DROPPED = "the request was never acknowledged"


class Judge:
    """Of one race to `host` over `routes`, which a plan made anew may narrow. Moves contenders, and nothing else."""

    __slots__ = ("_advice", "_bell", "_detect", "_host", "_loop", "_patience", "routes")

    def __init__(
        self, host: str, routes: Sequence[Route], patience: Patience, detect: Detect, advice: Advice, bell: Bell
    ) -> None:
        """`bell` rings when something may have come."""
        self.routes = tuple(routes)
        self._host = host
        self._patience = patience
        self._detect = detect
        self._advice = advice
        self._bell = bell
        self._loop = asyncio.get_running_loop()

    def listen(self, contender: Contender, flight: Flight, contenders: Sequence[Contender]) -> None:
        """Reads what has come to one of the contenders, and judges it."""
        assert contender.stream is not None
        while contender.phase is Phase.FLYING:
            try:
                data = contender.stream.receive_nowait()
            except OSError as error:
                self.broke(contender, error, flight)
                return
            if data is None:
                if contender.answered_at and self._now() >= self._patience.kept_back_until(contender):
                    self._judge_page(contender, flight, contenders, ended=False)
                return
            contender.answer += data
            self._judge(contender, flight, contenders, ended=not data)

    def _judge(self, contender: Contender, flight: Flight, contenders: Sequence[Contender], *, ended: bool) -> None:
        """What has come back so far: to be delivered, of no use, or not enough to tell."""
        now, answer = self._now(), contender.answer
        verdict = flight.judge(answer) if answer else Verdict.MORE
        if verdict is Verdict.VALID and flight.protocol is Protocol.HTTP and flight.replayable:
            self._judge_page(contender, flight, contenders, ended=ended)
        elif verdict is Verdict.VALID:
            contender.won(now)
        elif verdict is Verdict.ALERT:
            contender.same_as = f"alert {answer[6]}"
            contender.failed(Stage.FIRST_BYTE, Symptom.ALERT, "answered with a TLS alert", now)
            self._exonerate(contender, contenders)
        elif verdict is Verdict.GARBAGE or (answer and (ended or len(answer) > ANSWER_LIMIT)):
            contender.failed(Stage.FIRST_BYTE, Symptom.GARBAGE, f"answered {answer[:16]!r}", now)
        elif contender.reset and ended:
            self.broke(contender, ConnectionResetError(), flight)
        elif ended:
            contender.failed(Stage.FIRST_BYTE, Symptom.EOF, "closed without an answer", now)

    def _judge_page(
        self, contender: Contender, flight: Flight, contenders: Sequence[Contender], *, ended: bool
    ) -> None:
        """An HTTP answer has begun. A little of it is kept back while it may be somebody else's: a block page, or a
        redirect that no other route gets."""
        now = self._now()
        if len(self.routes) == 1:
            contender.won(now)
            return
        contender.answered_at = contender.answered_at or now
        has_page = not flight.data.startswith(b"HEAD ")  # its answer ends with the head, whatever length that gives
        patient = has_page and now < self._patience.kept_back_until(contender)
        look = self._advice.look_at(contender.answer, flight.server_name or self._host, ended or not patient)
        if look.verdict is Verdict.MORE and patient:
            return
        contender.evidence.update(look.evidence)
        contender.same_as = look.same_as
        alone = all(route.is_direct for route in self.routes)
        elsewhere = look.symptom is Symptom.ELSEWHERE and (alone or self._advice.is_portal())
        if look.symptom is Symptom.NONE or elsewhere:  # the latter: no other route to ask, or it will not say more
            contender.won(now)
        else:
            contender.failed(Stage.FIRST_BYTE, look.symptom, f"answered with {look.symptom.replace('_', ' ')}", now)
            self._exonerate(contender, contenders)

    def _exonerate(self, contender: Contender, contenders: Sequence[Contender]) -> None:
        """Two ways that share no relay were answered the same: it was the site, so the first one shall have won."""
        first = next((c for c in contenders if c.same_as and c.same_as == contender.same_as), contender)
        if first.route.relays != contender.route.relays and first.phase is Phase.FAILED:
            first.won(self._now())

    def broke(self, contender: Contender, error: OSError, flight: Flight) -> None:
        """The connection of a flight has failed."""
        if not isinstance(error, TimeoutError):
            symptom, text = Symptom.RESET, "reset after the request was sent"
        elif contender.evidence.get("acknowledged") == 0:  # the kernel gave up sending it again before we did
            symptom, text = Symptom.DROPPED, _DROPPED
        else:
            symptom, text = Symptom.TIMEOUT, str(error)
        contender.failed(Stage.FIRST_BYTE, symptom, text, self._now())
        if symptom is Symptom.RESET:
            self.troubled(contender, flight)

    def troubled(self, contender: Contender, flight: Flight | None) -> None:
        """A flight over a direct route was dropped or broken off, as a censor does who then stays watchful there."""
        if contender.route.is_direct and contender.stream is not None:
            host = (flight.server_name if flight is not None else None) or self._host
            self._advice.troubled(contender.stream.peer.rpartition(":")[0].strip("[]"), host)

    def note_syn(self, contender: Contender, destination: Destination) -> None:
        """When a direct attempt began to connect, once its name is resolved: its patience counts from then."""
        if contender.phase is Phase.DIALING and contender.route == DIRECT and not contender.syn_at:
            contender.syn_at = self._advice.connecting_since(destination)

    def note_addresses(self, contender: Contender, destination: Destination) -> None:
        """Where a direct attempt that is pending tries to connect."""
        if contender.stage is Stage.CONNECT and (addresses := self._advice.trying(destination)):
            contender.evidence["addresses"] = addresses

    def end(self, contender: Contender, destination: Destination) -> None:
        """Nothing has become of an attempt within its time."""
        now = self._now()
        if contender.phase is Phase.FLYING and self._patience.unacknowledged(contender):
            contender.failed(Stage.FIRST_BYTE, Symptom.DROPPED, _DROPPED, now)
        elif contender.phase is Phase.FLYING:
            contender.failed(Stage.FIRST_BYTE, Symptom.SILENT, "the request was not answered", now)
        elif contender.route.relays:
            waited_s = now - contender.started_at
            text = f"relay {'>'.join(contender.route.relays)} did not reach the destination within {waited_s:.0f} s"
            contender.failed(Stage.RELAY, Symptom.TIMEOUT, text, now)
        else:
            self.note_addresses(contender, destination)
            resolving = contender.stage is Stage.RESOLVE
            text = "the resolver gave no answer" if resolving else "the connection attempt was not answered"
            contender.failed(contender.stage, Symptom.TIMEOUT, text, now)

    async def watch(
        self, contender: Contender, destination: Destination, flight: Flight | None, contenders: Sequence[Contender]
    ) -> None:
        """Waits for what becomes of a direct attempt, until the deadline of its signal."""
        if contender.phase is Phase.DIALING:
            for _ in ("the lookup", "the connect"):
                self.note_syn(contender, destination)
                await self._until(contender.connecting_since + self._detect.syn_s, contender, flight, contenders)
            if contender.phase is Phase.DIALING:
                self.end(contender, destination)
        elif contender.phase is Phase.FLYING:
            await self._until(self._patience.judged_dropped_at(contender), contender, flight, contenders)
            if contender.phase is Phase.FLYING and self._patience.unacknowledged(contender):
                self.end(contender, destination)
                return
            await self._until(contender.flown_at + self._detect.silent_s, contender, flight, contenders)
            if contender.phase is Phase.FLYING:
                self.end(contender, destination)

    async def _until(
        self, deadline: float, contender: Contender, flight: Flight | None, contenders: Sequence[Contender]
    ) -> None:
        """Until the contender leaves its phase, or `deadline`. What came by then counts, however late it is read."""
        phase, is_over = contender.phase, False
        while contender.phase is phase:
            if phase is Phase.FLYING and flight is not None:
                self.listen(contender, flight, contenders)
                if contender.phase is not phase:
                    return
            if is_over:
                return
            if (left := deadline - self._now()) > 0:
                await self._bell.wait(left)
            else:
                await poll_again()
                is_over = True

    def _now(self) -> float:
        return self._loop.time()
