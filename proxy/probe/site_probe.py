"""One visit to a site over one route, told step by step: connect, hello, certificate, answer.

A measurement, not a proxy: it speaks TLS and HTTP itself, asks for one page at most, and closes. Whatever opens the
path is a Dialer, so direct, a local means and a chain of relays are visited alike. What was seen is told through a
callback the moment it is seen; what it means is the business of `detect`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Awaitable, Callable, Sequence

from proxy.config.schema import Detect
from proxy.detect.signals import NOT_JUDGED
from proxy.model import (
    NO_EVIDENCE,
    Destination,
    Evidence,
    MeasurementStep,
    Protocol,
    Route,
    Stage,
    StepKind,
    StepResult,
    Symptom,
)
from proxy.model.errors import DialError
from proxy.net.deadline import Deadline, deadline
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tls import TlsStream, clock_may_be_wrong, context_trusting, trusting_all
from proxy.net.kernel.tcp_info import Snapshot, TcpInfo
from proxy.net.race.policy import NO_POLICY, AnswerClassifier
from proxy.net.stream import Stream
from proxy.probe.target import ProbeTarget

HEAD_LIMIT = 64 * 1024
"""Bytes of an answer without the end of its head, after which it is no HTTP."""

_ALERT = 0x15


IdentifyIssuer = Callable[[Dialer, Destination, str], Awaitable[tuple[str, Evidence]]]
"""Who made the certificate that a host is answered with: in words, empty when they add nothing, and as evidence."""

FindKnownInterceptor = Callable[[Sequence[bytes], str], tuple[str, Evidence] | None]
"""The same of a chain that is trusted, when a root made it that is known to intercept; None: it is the site's own."""


class SiteProbe:
    """Makes visits, each on a connection of its own, and tells what it sees."""

    def __init__(
        self,
        emit: Callable[[MeasurementStep], None],
        *,
        detect: Detect,
        tcp_info: TcpInfo,
        classifier: AnswerClassifier = NO_POLICY,
        identify_issuer: IdentifyIssuer | None = None,
        find_known_interceptor: FindKnownInterceptor = lambda chain, host: None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """`emit` gets each step as it ends. `classifier` knows block pages and redirects in plain HTTP.
        `identify_issuer` names the issuer of an untrusted certificate, `find_known_interceptor` says whether a trusted
        one was issued by an interception root. `trust` verifies certificates (None: the system's roots)."""
        self._emit = emit
        self._detect = detect
        self._tcp_info = tcp_info
        self._classifier = classifier
        self._identify_issuer = identify_issuer
        self._find_known_interceptor = find_known_interceptor
        self._trust = trust

    async def visit(
        self, route: Route, dialer: Dialer, destination: Destination, page: ProbeTarget, *, connect_s: float
    ) -> bool:
        """The whole visit; True when an answer came. `destination` is what is dialed: the host, or one of its
        addresses. Closes what it opened, also when it is cancelled."""
        stream = await self._connect(route, dialer, destination, connect_s)
        if stream is None:
            return False
        path = stream
        try:
            if page.protocol is Protocol.TLS:
                trust = self._trust or context_trusting(None)
                try:
                    tls = await self._handshake(route, stream, page.host, StepKind.HELLO, trust)
                except ssl.SSLCertVerificationError as error:
                    await self._report_untrusted(route, dialer, destination, page.host, error, stream.peer)
                    return False
                if tls is None:
                    return False
                path = tls
                if not self._check_trusted_chain(route, tls, page.host, stream.peer):
                    return False
            return await self._fetch_page(route, path, stream.peer, page)
        finally:
            self._abort(path)

    async def neutral(
        self, route: Route, dialer: Dialer, destination: Destination, name: str, *, connect_s: float
    ) -> bool | None:
        """A hello that names somebody harmless at the same address: whoever answers it, be it with an alert, shows that
        the address itself is let through. None: the connection could not be opened, which is told."""
        stream = await self._connect(route, dialer, destination, connect_s, quiet=True)
        if stream is None:
            return None
        path: Stream = stream
        try:
            tls = await self._handshake(route, stream, name, StepKind.NEUTRAL, trusting_all())
            path = tls or stream
            return tls is not None
        finally:
            self._abort(path)

    # -- connect ---------------------------------------------------------------------------------------------------

    async def _connect(
        self, route: Route, dialer: Dialer, destination: Destination, connect_s: float, *, quiet: bool = False
    ) -> Stream | None:
        """`quiet`: that it went well is not told, since another connection will tell it."""
        began = self._now()
        part = StepKind.CONNECT if route.is_direct else StepKind.RELAY
        try:
            with deadline(connect_s):
                stream = await dialer.dial(destination)
        except DialError as error:
            found = StepResult.NOT_TESTED if error.symptom in NOT_JUDGED else StepResult.FAILED
            part = StepKind.RESOLVE if error.stage is Stage.RESOLVE and route.is_direct else part
            self._emit_step(part, route, found, error.symptom, str(error), began, evidence=error.evidence)
            return None
        except TimeoutError:
            if route.relays:
                text = f"relay {'>'.join(route.relays)} did not reach the destination within {connect_s:g} s"
            else:
                text = f"no answer to the connection attempt within {connect_s:g} s"
            address = str(destination) if destination.address is not None and route.is_direct else ""
            self._emit_step(part, route, StepResult.FAILED, Symptom.TIMEOUT, text, began, address=address)
            return None
        text = "connected" if route.is_direct else "the relay opened the path"
        if not quiet:
            self._emit_step(part, route, StepResult.OK, Symptom.NONE, text, began, address=stream.peer)
        return stream

    # -- TLS -------------------------------------------------------------------------------------------------------

    async def _handshake(
        self, route: Route, stream: Stream, name: str, part: StepKind, context: ssl.SSLContext
    ) -> TlsStream | None:
        """Shakes hands, and tells of the hello; None: it went no further. An alert in answer to a neutral name is as
        good as an answer. Raises ssl.SSLCertVerificationError."""
        began = self._now()
        snapshot = self._tcp_info.snapshot(stream.lowest_socket) if self._tcp_info.usable else None
        tls = _CountingTls(stream, context, name)
        evidence: Evidence = {}
        try:
            with deadline(self._detect.silent_s) as limit:
                watching = self._watch_for_drop(stream, lambda: tls.received > 0, snapshot, evidence, limit)
                try:
                    await tls.handshake()
                finally:
                    watching.cancel()
        except TimeoutError:
            self._timed_out(route, part, stream, tls, snapshot, evidence, began)
        except ssl.SSLCertVerificationError:
            self._emit_step(part, route, StepResult.OK, Symptom.NONE, "answered", began, stream.peer)
            raise
        except (OSError, ssl.SSLError) as error:
            symptom, text = _handshake_failure(error, tls)
            answered = part is StepKind.NEUTRAL and symptom is Symptom.ALERT
            self._emit_step(
                part,
                route,
                StepResult.OK if answered else StepResult.FAILED,
                symptom,
                text,
                began,
                stream.peer,
                evidence,
            )
            return tls if answered else None
        else:
            self._emit_step(
                part, route, StepResult.OK, Symptom.NONE, f"answered with {tls.version}", began, stream.peer
            )
            return tls
        return None

    def _watch_for_drop(
        self,
        stream: Stream,
        is_answered: Callable[[], bool],
        snapshot: Snapshot | None,
        evidence: Evidence,
        limit: Deadline,
    ) -> asyncio.TimerHandle:
        """A flight that was never acknowledged is judged sooner than one that was, as for a user's own connection."""
        loop = asyncio.get_running_loop()

        def look() -> None:
            if snapshot is None or is_answered():
                return
            reading = self._tcp_info.since(stream.lowest_socket, snapshot)
            if not reading.acked and reading.unacked > 0 and reading.retransmits >= self._detect.hedge_retransmits:
                evidence["retransmits"] = reading.retransmits
                limit.reschedule(loop.time())

        return loop.call_later(self._detect.dropped_s, look)

    def _timed_out(
        self,
        route: Route,
        part: StepKind,
        stream: Stream,
        tls: _CountingTls,
        snapshot: Snapshot | None,
        evidence: Evidence,
        began: float,
    ) -> None:
        symptom, text = Symptom.SILENT, "no answer to the ClientHello"
        if tls.received:
            symptom, text = Symptom.FROZEN, f"stopped after {tls.received} bytes of its handshake"
            evidence["bytes"] = tls.received
        elif snapshot is not None and route.is_direct:
            reading = self._tcp_info.since(stream.lowest_socket, snapshot)
            evidence |= {"retransmits": reading.retransmits, "acknowledged": int(reading.acked)}
            if not reading.acked:
                symptom = Symptom.DROPPED
                text = f"ClientHello not acknowledged, sent {reading.retransmits + 1} times"
            else:
                text = "ClientHello acknowledged, but not answered"
        self._emit_step(part, route, StepResult.FAILED, symptom, text, began, stream.peer, evidence)

    def _check_trusted_chain(self, route: Route, tls: TlsStream, host: str, address: str) -> bool:
        """Tells of a certificate that is trusted. Some states have told their people to install the root that they
        intercept with, so it may be somebody else's all the same."""
        made_by = self._find_known_interceptor(tls.presented_chain(), host)
        if made_by is None:
            self._emit_step(StepKind.CERTIFICATE, route, StepResult.OK, text="valid for the host name", address=address)
            return True
        text, evidence = made_by
        found, symptom = StepResult.FAILED, Symptom.CERTIFICATE
        self._emit_step(StepKind.CERTIFICATE, route, found, symptom, text, address=address, evidence=evidence)
        return False

    async def _report_untrusted(
        self,
        route: Route,
        dialer: Dialer,
        destination: Destination,
        host: str,
        error: ssl.SSLCertVerificationError,
        address: str,
    ) -> None:
        began = self._now()
        text = f"certificate not trusted: {error.verify_message.rstrip('.')}"
        evidence: Evidence = {"verify_code": error.verify_code}
        if clock_may_be_wrong(error):
            text += "; or this computer's clock is wrong"
            evidence["clock"] = 1
        if self._identify_issuer is not None:
            said, more = await self._identify_issuer(dialer, destination, host)
            text, evidence = said or text, evidence | more
        self._emit_step(
            StepKind.CERTIFICATE, route, StepResult.FAILED, Symptom.CERTIFICATE, text, began, address, evidence
        )

    # -- the page --------------------------------------------------------------------------------------------------

    async def _fetch_page(self, route: Route, path: Stream, address: str, page: ProbeTarget) -> bool:
        """Asks for the page and reads as much of it as a measurement needs. True when an HTTP answer came."""
        began = came_at = self._now()
        answer = bytearray()
        symptom, text = Symptom.NONE, ""
        drop_evidence: Evidence = {}
        snapshot = self._tcp_info.snapshot(path.lowest_socket) if route.is_direct and self._tcp_info.usable else None
        try:
            with deadline(self._detect.measure_answer_s):
                await path.send(page.request())
                while len(answer) < self._detect.measure_bytes and not _is_whole(answer):
                    data = await self._receive(path, answer, snapshot, drop_evidence)
                    if not data:
                        break
                    answer += data
                    came_at = self._now()
        except TimeoutError:
            symptom, text = self._timeout_result(answer, path, began, came_at, dropped=bool(drop_evidence))
        except OSError as error:
            symptom = (
                Symptom.RESET if not answer else Symptom.NONE
            )  # one that breaks off late has answered all the same
            text = f"connection failed: {error.strerror or error}"
        if not answer and symptom is Symptom.NONE:
            symptom, text = Symptom.EOF, "closed without an answer"
        seen = _parse_answer(bytes(answer))
        if seen is None and symptom is Symptom.NONE:
            symptom, text = Symptom.GARBAGE, f"answered {bytes(answer[:16])!r}"
        evidence: Evidence = {"bytes": len(answer), **(seen or {}), **drop_evidence}
        if seen is not None and symptom is Symptom.NONE and page.protocol is Protocol.HTTP:
            classified = self._classifier.classify(bytes(answer), page.host, complete=True)
            evidence |= classified.evidence
            if classified.symptom is Symptom.BLOCK_PAGE:
                symptom, text = classified.symptom, f"known block page ({classified.evidence.get('page', 'no name')})"
            elif classified.symptom is Symptom.REDIRECTED:  # a move, if other routes say the same: not for us to say
                evidence["elsewhere"] = classified.answer_fingerprint or str(seen.get("location", ""))
        if (rate := _rate(answer, came_at - began)) is not None:
            evidence["bytes_per_s"] = round(rate)
        found = StepResult.FAILED if symptom is not Symptom.NONE else StepResult.OK
        said = text or f"{(seen or {}).get('status', '')} with {len(answer)} bytes"
        self._emit_step(StepKind.ANSWER, route, found, symptom, said, began, address, evidence)
        return found is StepResult.OK

    async def _receive(
        self, path: Stream, answer: bytearray, snapshot: Snapshot | None, drop_evidence: Evidence
    ) -> bytes:
        """The next bytes of an answer. Raises TimeoutError, with `drop_evidence` filled if the request was not
        acknowledged."""
        with deadline(self._detect.measure_stall_s if answer else self._detect.silent_s) as limit:
            watching = self._watch_for_drop(path, lambda: bool(answer), snapshot, drop_evidence, limit)
            try:
                return await path.receive()
            finally:
                watching.cancel()

    def _timeout_result(
        self, answer: bytearray, path: Stream, began: float, came_at: float, *, dropped: bool
    ) -> tuple[Symptom, str]:
        """No byte for too long, or a page that took too long as a whole. What came slowly, and then paused, is slow;
        what came fast and stopped is frozen."""
        if dropped:
            return Symptom.DROPPED, "the request was never acknowledged"
        if not answer:
            return Symptom.SILENT, "the request was not answered"
        rate = _rate(answer, came_at - began)
        is_slow = rate is not None and rate < self._detect.measure_slow_bytes
        if is_slow or self._now() - began >= self._detect.measure_answer_s:
            return Symptom.NONE, f"{len(answer)} bytes arrived in {self._now() - began:.0f} s"
        came = (
            path.received if isinstance(path, _CountingTls) else len(answer)
        )  # a record that is not whole shows nothing
        return Symptom.FROZEN, f"stopped after {came} bytes"

    # -- all of them -----------------------------------------------------------------------------------------------

    def _abort(self, path: Stream) -> None:
        """Sends no more of a name that was not answered; see TcpInfo.silence_retransmits."""
        with contextlib.suppress(OSError):
            self._tcp_info.silence_retransmits(path.lowest_socket)
            path.abort()

    def _emit_step(
        self,
        part: StepKind,
        route: Route,
        found: StepResult,
        symptom: Symptom = Symptom.NONE,
        text: str = "",
        began: float | None = None,
        address: str = "",
        evidence: Evidence = NO_EVIDENCE,
    ) -> None:
        elapsed = 0.0 if began is None else round(self._now() - began, 4)
        self._emit(MeasurementStep(part, route, found, symptom, text, address, elapsed, evidence.copy()))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


_TITLE = re.compile(rb"<title[^<>]{0,200}>([^<]{1,1000})", re.IGNORECASE)
_TITLE_LIMIT = 200

_RATED = 8192
"""Bytes from which a speed means anything."""


class _CountingTls(TlsStream):
    """TLS that remembers how it was answered."""

    __slots__ = ("first_byte", "received")

    def __init__(self, inner: Stream, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(inner, context, server_name)
        self.received = 0  # bytes that came
        self.first_byte = -1  # the first of them

    def _take_in(self, data: bytes) -> None:
        if data and not self.received:
            self.first_byte = data[0]
        self.received += len(data)
        super()._take_in(data)

    @property
    def version(self) -> str:
        return self._tls.version() or "TLS"


def _handshake_failure(error: OSError, tls: _CountingTls) -> tuple[Symptom, str]:
    """What ended a handshake."""
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        if tls.first_byte == _ALERT or "ALERT" in (error.reason or ""):
            return Symptom.ALERT, f"answered with the alert {_words(error.reason)}"
        if tls.received:
            return Symptom.GARBAGE, f"the answer is not TLS ({_words(error.reason)})"
    if isinstance(error, ConnectionResetError):
        return (
            Symptom.RESET,
            "connection reset after the ClientHello" if not tls.received else f"reset after {tls.received} bytes",
        )
    if isinstance(error, ssl.SSLEOFError):
        return (
            Symptom.EOF,
            "connection closed after the ClientHello" if not tls.received else f"closed after {tls.received} bytes",
        )
    return Symptom.RESET, f"connection failed: {error.strerror or error}"


def _rate(answer: bytearray, seconds: float) -> float | None:
    """Bytes a second until the last one came; None when too few came to tell."""
    return len(answer) / seconds if seconds > 0 and len(answer) >= _RATED else None


def _words(reason: str | None) -> str:
    return (reason or "unknown").lower().replace("_", " ")


def _is_whole(answer: bytearray) -> bool:
    """The answer's length says that all of it is there."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return len(answer) > HEAD_LIMIT
    length = _field(bytes(answer[:end]), b"content-length")
    return length is not None and length.isdigit() and len(answer) - end - 4 >= int(length[:12])


def _parse_answer(answer: bytes) -> Evidence | None:
    """Status, and where it points to, of the head; None when this is no HTTP."""
    head, _, _ = answer.partition(b"\r\n\r\n")
    status_line = head.split(b"\r\n", 1)[0]
    if not status_line.startswith(b"HTTP/1.") or not status_line[9:12].isdigit():
        return None
    seen: Evidence = {"status": int(status_line[9:12])}
    if title := _TITLE.search(answer):
        seen["title"] = " ".join(title[1].decode("utf-8", "replace").split())[:_TITLE_LIMIT]
    location = _field(head, b"location")
    if location is not None:
        seen["location"] = location[:500].decode("latin-1")
    return seen


def _field(head: bytes, name: bytes) -> bytes | None:
    for line in head.split(b"\r\n")[1:]:
        key, colon, value = line.partition(b":")
        if colon and key.strip().lower() == name:
            return value.strip()
    return None
