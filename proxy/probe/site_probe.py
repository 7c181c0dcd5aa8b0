"""Probes a site over one route, step by step: connection, ClientHello, certificate, answer.

A probe speaks TLS and HTTP itself, requests one page at most, and closes. A Dialer opens the path, so direct, a local
strategy and a chain of relays are probed alike. Each step is emitted when it ends; what the steps mean is decided in
`detect.verdict`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import field

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.signals import NOT_JUDGED
from proxy.detect.tls_interception import CertificateKind, ClassifiedChain, KnownRoots, classify_chain
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
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext, pgettext
from proxy.net.deadline import deadline
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tls import TlsStream, clock_may_be_wrong, context_trusting, handshake_symptom, trusting_all
from proxy.net.kernel.tcp_info import Snapshot, TcpInfo
from proxy.net.knowledge import NOTHING_KNOWN, Knowledge
from proxy.net.race.hello_ledger import HelloTurn, no_turn
from proxy.net.stream import Stream
from proxy.probe.certificate_chain import fetch_chain, load_certificate_reader
from proxy.probe.target import ProbeTarget

HEAD_LIMIT = 64 * 1024
"""Bytes of an answer without the end of its head, after which it is not HTTP."""

_DIGEST = 16
"""Hexadecimal digits of a page's digest."""

_RATE_BYTES = 8192
"""Fewer bytes show no speed."""


@frozen_dataclass
class SiteProbe:
    """Makes probes, each on a connection of its own."""

    emit: Callable[[MeasurementStep], None]
    """Gets each step as it ends."""
    detect: DetectTuning
    tcp_info: TcpInfo
    knowledge: Knowledge = NOTHING_KNOWN
    """Knows block pages and redirects in plain HTTP."""
    roots: KnownRoots = field(default_factory=KnownRoots)
    """The roots that are known to intercept."""
    trust: ssl.SSLContext | None = None
    """Verifies certificates; None: with the system's roots."""
    hello_turn: HelloTurn = no_turn
    """Is waited for before each ClientHello on a direct route."""

    async def visit(
        self, route: Route, dialer: Dialer, destination: Destination, target: ProbeTarget, *, connect_s: float
    ) -> bool:
        """Requests `target` from `destination`, which is its host or one of the host's addresses. Returns whether an
        answer came. Closes what it opened, also when it is cancelled."""
        visit = _Visit(self, route, dialer, destination)
        if target.protocol is Protocol.TLS:
            await self.turn(route)(target.host)
        stream = await visit.connect(connect_s)
        if stream is None:
            return False
        path = stream
        try:
            if target.protocol is Protocol.TLS:
                try:
                    trust = self.trust or context_trusting(None)
                    tls = await visit.handshake(stream, target.host, StepKind.HELLO, trust)
                except ssl.SSLCertVerificationError as error:
                    await visit.report_untrusted(target.host, error)
                    return False
                if tls is None:
                    return False
                path = tls
                await load_certificate_reader()
                if not visit.check_trusted_chain(tls.presented_chain(), target.host):
                    return False
            return await visit.fetch_page(path, target)
        finally:
            self._abort(path)

    async def neutral(
        self, route: Route, dialer: Dialer, destination: Destination, name: str, *, connect_s: float
    ) -> bool | None:
        """Sends a ClientHello with the SNI `name`, of a control site, to the address of the site under test. Any answer
        shows that the address itself is not blocked. Returns whether one came; None: the connection failed, which is a
        step of its own."""
        visit = _Visit(self, route, dialer, destination)
        await self.turn(route)(name)
        stream = await visit.connect(connect_s, emit_success=False)  # the site's own visit emits that it connected
        if stream is None:
            return None
        path: Stream = stream
        try:
            tls = await visit.handshake(stream, name, StepKind.NEUTRAL, trusting_all())
            path = tls or stream
            return tls is not None
        finally:
            self._abort(path)

    def turn(self, route: Route) -> HelloTurn:
        """What is waited for before a ClientHello on `route`: no network counts those within a relay's connection."""
        return self.hello_turn if route.is_direct else no_turn

    def _abort(self, path: Stream) -> None:
        # Else the kernel goes on retransmitting a name that was not answered.
        with contextlib.suppress(OSError):
            self.tcp_info.silence_retransmits(path.lowest_socket)
            path.abort()


class _Visit:
    """One connection of a probe, and its steps."""

    def __init__(self, probe: SiteProbe, route: Route, dialer: Dialer, destination: Destination) -> None:
        self._probe = probe
        self._detect = probe.detect
        self._route = route
        self._dialer = dialer
        self._destination = destination
        self._address = ""  # of the peer, once connected

    def _emit(
        self,
        kind: StepKind,
        result: StepResult,
        symptom: Symptom = Symptom.NONE,
        text: str = "",
        began: float | None = None,
        evidence: Evidence = NO_EVIDENCE,
    ) -> None:
        elapsed = 0.0 if began is None else round(_now() - began, 4)
        step = MeasurementStep(kind, self._route, result, symptom, text, self._address, elapsed, evidence.copy())
        self._probe.emit(step)

    # -- connection ------------------------------------------------------------------------------------------------

    async def connect(self, connect_s: float, *, emit_success: bool = True) -> Stream | None:
        """Opens the path. Returns None when that fails."""
        began = _now()
        kind = StepKind.CONNECT if self._route.is_direct else StepKind.RELAY
        try:
            with deadline(connect_s):
                stream = await self._dialer.dial(self._destination)
        except DialError as error:
            result = StepResult.NOT_TESTED if error.symptom in NOT_JUDGED else StepResult.FAILED
            kind = StepKind.RESOLVE if error.stage is Stage.RESOLVE and self._route.is_direct else kind
            self._emit(kind, result, error.symptom, str(error), began, error.evidence)
            return None
        except TimeoutError:
            if self._route.is_direct:
                text = _("no answer to the connection attempt within {limit:g} s", limit=connect_s)
                self._address = str(self._destination) if self._destination.address is not None else ""
            else:
                relay = ">".join(self._route.relays)
                text = _("relay {relay} did not reach the destination within {limit:g} s", relay=relay, limit=connect_s)
            self._emit(kind, StepResult.FAILED, Symptom.TIMEOUT, text, began)
            return None
        self._address = stream.peer
        if emit_success:
            text = pgettext("step", "connected") if self._route.is_direct else _("the relay opened the path")
            self._emit(kind, StepResult.OK, text=text, began=began)
        return stream

    # -- TLS -------------------------------------------------------------------------------------------------------

    async def handshake(self, stream: Stream, name: str, kind: StepKind, context: ssl.SSLContext) -> TlsStream | None:
        """Sends a ClientHello with the SNI `name`. Returns None when the handshake fails; of a NEUTRAL step an alert is
        an answer, too. Raises ssl.SSLCertVerificationError."""
        began = _now()
        snapshot = self._snapshot(stream)
        tls = _CountingTls(stream, context, name)
        evidence: Evidence = {}
        try:
            with self._limited(self._detect.silent_s, stream, snapshot, lambda: tls.received > 0, evidence):
                await tls.handshake()
        except TimeoutError:
            symptom, text = self._handshake_timeout(stream, tls, snapshot, evidence)
        except ssl.SSLCertVerificationError:
            self._emit(kind, StepResult.OK, text=pgettext("step", "answered"), began=began)
            raise
        except OSError as error:
            symptom = handshake_symptom(error, first_byte=tls.first_byte)
            text = _handshake_text(symptom, error, tls.received)
        else:
            self._emit(kind, StepResult.OK, text=_("answered with {version}", version=tls.version), began=began)
            return tls
        is_answered = kind is StepKind.NEUTRAL and symptom is Symptom.ALERT
        self._emit(kind, StepResult.OK if is_answered else StepResult.FAILED, symptom, text, began, evidence)
        return tls if is_answered else None

    def _handshake_timeout(
        self, stream: Stream, tls: _CountingTls, snapshot: Snapshot | None, evidence: Evidence
    ) -> tuple[Symptom, str]:
        """The symptom of a handshake that was not completed in time, in words too; adds to `evidence`."""
        if tls.received:
            evidence["bytes"] = tls.received
            return Symptom.FROZEN, _("stopped after {count} bytes of its handshake", count=tls.received)
        if snapshot is None or not self._route.is_direct:  # a relay acknowledges for itself
            return Symptom.SILENT, _("no answer to the ClientHello")
        reading = self._probe.tcp_info.since(stream.lowest_socket, snapshot)
        evidence |= {"retransmits": reading.retransmits, "acknowledged": int(reading.acked)}
        if reading.acked:
            return Symptom.SILENT, _("ClientHello acknowledged, but not answered")
        said = ngettext(
            "ClientHello not acknowledged, sent {count} times",
            "ClientHello not acknowledged, sent {count} times",
            reading.retransmits + 1,
        )
        return Symptom.DROPPED, said

    def check_trusted_chain(self, chain: tuple[bytes, ...], host: str) -> bool:
        """Whether a certificate that the system trusts is the site's own. It is not when a root signed it that is known
        to intercept: some states made people install one."""
        classified = classify_chain(chain, host, verified=True, expired=False, roots=self._probe.roots)
        if classified.kind is not CertificateKind.KNOWN_ROOT:
            self._emit(StepKind.CERTIFICATE, StepResult.OK, text=_("valid for the host name"))
            return True
        evidence = _certificate_evidence(classified)
        self._emit(StepKind.CERTIFICATE, StepResult.FAILED, Symptom.CERTIFICATE, classified.detail, evidence=evidence)
        return False

    async def report_untrusted(self, host: str, error: ssl.SSLCertVerificationError) -> None:
        """Emits that the certificate was refused, and who issued it."""
        began = _now()
        text: str = _("certificate not trusted: {reason}", reason=error.verify_message.rstrip("."))
        evidence: Evidence = {"verify_code": error.verify_code}
        if clock_may_be_wrong(error):
            text = _("{reason}; or this computer's clock is wrong", reason=text)
            evidence["clock"] = 1
        # OpenSSL keeps no chain that it refused: it takes another connection.
        fetched = await fetch_chain(
            self._dialer,
            self._destination,
            host,
            timeout_s=self._detect.silent_s,
            trust=self._probe.trust,
            turn=self._probe.turn(self._route),
        )
        classified = classify_chain(
            fetched.chain, host, verified=fetched.verified, expired=fetched.expired, roots=self._probe.roots
        )
        text, evidence = classified.detail or text, evidence | _certificate_evidence(classified)
        self._emit(StepKind.CERTIFICATE, StepResult.FAILED, Symptom.CERTIFICATE, text, began, evidence)

    # -- the page --------------------------------------------------------------------------------------------------

    async def fetch_page(self, path: Stream, target: ProbeTarget) -> bool:
        """Requests the page, and reads as much of it as a measurement needs. Returns whether an HTTP answer came."""
        began = received_at = _now()
        answer = bytearray()
        symptom = Symptom.NONE
        text: str = ""
        drop_evidence: Evidence = {}
        snapshot = self._snapshot(path) if self._route.is_direct else None

        def is_answered() -> bool:
            return bool(answer)

        try:
            with deadline(self._detect.measure_answer_s):
                await path.send(target.request())
                while len(answer) < self._detect.measure_bytes and not _is_complete(answer):
                    wait_s = self._detect.measure_stall_s if answer else self._detect.silent_s
                    with self._limited(wait_s, path, snapshot, is_answered, drop_evidence):
                        data = await path.receive()
                    if not data:
                        break
                    answer += data
                    received_at = _now()
        except TimeoutError:
            rate = _rate(answer, received_at - began)
            received = path.received if isinstance(path, _CountingTls) else len(answer)
            symptom, text = self._answer_timeout(len(answer), received, rate, began, dropped=bool(drop_evidence))
        except OSError as error:
            # A connection that breaks off late has delivered an answer all the same.
            symptom = Symptom.NONE if answer else Symptom.RESET
            text = _("connection failed: {error}", error=str(error.strerror or error))
        if not answer and symptom is Symptom.NONE:
            symptom, text = Symptom.EOF, _("closed without an answer")
        head = _parse_answer(bytes(answer))
        if head is None and symptom is Symptom.NONE:
            symptom, text = Symptom.GARBAGE, _("answered {bytes}", bytes=repr(bytes(answer[:16])))
        evidence: Evidence = {"bytes": len(answer), **(head or {}), **drop_evidence}
        # Inside verified TLS nobody but the site can send a block page.
        if head is not None and symptom is Symptom.NONE and target.protocol is Protocol.HTTP:
            if head.get("status") == 200:  # the pages of other statuses are those of the server's program
                evidence["body"] = _body_digest(bytes(answer), target.host)
            classified = self._probe.knowledge.classify(bytes(answer), target.host, complete=True)
            evidence |= classified.evidence
            if classified.symptom is Symptom.BLOCK_PAGE:
                symptom = classified.symptom
                page = classified.evidence.get("page")
                text = _("known block page ({name})", name=str(page)) if page else _("known block page")
            elif classified.symptom is Symptom.REDIRECTED:  # the site moved, if other routes are redirected as well
                evidence["elsewhere"] = classified.answer_fingerprint or str(head.get("location", ""))
        if (rate := _rate(answer, received_at - began)) is not None:
            evidence["bytes_per_s"] = round(rate)
        result = StepResult.FAILED if symptom is not Symptom.NONE else StepResult.OK
        text = text or _("{status} with {count} bytes", status=str((head or {}).get("status", "")), count=len(answer))
        self._emit(StepKind.ANSWER, result, symptom, text, began, evidence)
        return result is StepResult.OK

    def _answer_timeout(
        self, answered: int, received: int, rate: float | None, began: float, *, dropped: bool
    ) -> tuple[Symptom, str]:
        """The symptom of an answer that stopped, or took too long as a whole, in words too. What came slowly and then
        paused is slow; what came fast and stopped is frozen. `answered` bytes of HTTP came in `received` bytes, which
        may end in an incomplete TLS record."""
        if dropped:
            return Symptom.DROPPED, _("the request was never acknowledged")
        if not answered:
            return Symptom.SILENT, _("the request was not answered")
        is_slow = rate is not None and rate < self._detect.measure_slow_bytes
        if is_slow or _now() - began >= self._detect.measure_answer_s:
            return Symptom.NONE, _("{count} bytes arrived in {time:.0f} s", count=answered, time=_now() - began)
        return Symptom.FROZEN, _("stopped after {count} bytes", count=received)

    # -- both ------------------------------------------------------------------------------------------------------

    def _snapshot(self, stream: Stream) -> Snapshot | None:
        tcp_info = self._probe.tcp_info
        return tcp_info.snapshot(stream.lowest_socket) if tcp_info.usable else None

    @contextlib.contextmanager
    def _limited(
        self,
        seconds: float,
        stream: Stream,
        snapshot: Snapshot | None,
        is_answered: Callable[[], bool],
        evidence: Evidence,
    ) -> Iterator[None]:
        """Limits the wait for an answer. Raises TimeoutError after `seconds`, or after `dropped_s` when the kernel has
        retransmitted and got no acknowledgement, as a race does for a client; then `evidence` gets the count."""
        loop = asyncio.get_running_loop()

        def check() -> None:
            if snapshot is None or is_answered():
                return
            reading = self._probe.tcp_info.since(stream.lowest_socket, snapshot)
            if not reading.acked and reading.unacked > 0 and reading.retransmits >= self._detect.hedge_retransmits:
                evidence["retransmits"] = reading.retransmits
                limit.reschedule(loop.time())

        with deadline(seconds) as limit:
            timer = loop.call_later(self._detect.dropped_s, check)
            try:
                yield
            finally:
                timer.cancel()


class _CountingTls(TlsStream):
    """TLS that counts what it received."""

    __slots__ = ("first_byte", "received")

    def __init__(self, inner: Stream, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(inner, context, server_name)
        self.received = 0  # bytes, with those of records that are not complete
        self.first_byte = -1

    def _take_in(self, data: bytes | memoryview) -> None:
        if data and not self.received:
            self.first_byte = data[0]
        self.received += len(data)
        super()._take_in(data)

    @property
    def version(self) -> str:
        return self._tls.version() or "TLS"


def _handshake_text(symptom: Symptom, error: OSError, received: int) -> str:
    """What ended a handshake, in words."""
    if symptom is Symptom.EOF:
        after = _("closed after {count} bytes", count=received)
        return after if received else _("connection closed after the ClientHello")
    if isinstance(error, ConnectionResetError):
        after = _("reset after {count} bytes", count=received)
        return after if received else _("connection reset after the ClientHello")
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "unknown").lower().replace("_", " ")
        said = (
            _("answered with the alert {reason}") if symptom is Symptom.ALERT else _("the answer is not TLS ({reason})")
        )
        return said.given(reason=reason)
    return _("connection failed: {error}", error=str(error.strerror or error))


def _certificate_evidence(classified: ClassifiedChain) -> Evidence:
    evidence: Evidence = {"certificate": str(classified.kind)}
    if classified.kind is CertificateKind.KNOWN_ROOT:
        evidence["known_root"] = classified.fingerprint
    return evidence


def _body_digest(answer: bytes, host: str) -> str:
    """What tells whether other sites got the same page: block pages often name the host, and nothing else of it."""
    _, _, body = answer.partition(b"\r\n\r\n")
    if not body:
        return ""
    return hashlib.sha256(body.lower().replace(host.encode(), b"")).hexdigest()[:_DIGEST]


def _rate(answer: bytearray, seconds: float) -> float | None:
    """Bytes a second until the last one came; None when too few came to tell."""
    return len(answer) / seconds if seconds > 0 and len(answer) >= _RATE_BYTES else None


def _is_complete(answer: bytearray) -> bool:
    """Whether all of the answer has come, by its Content-Length, or a head never will."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return len(answer) > HEAD_LIMIT
    length = _field(bytes(answer[:end]), b"content-length")
    return length is not None and length.isdigit() and len(answer) - end - 4 >= int(length[:12])


_TITLE = re.compile(rb"<title[^<>]{0,200}>([^<]{1,1000})", re.IGNORECASE)
_TITLE_LIMIT = 200


def _parse_answer(answer: bytes) -> Evidence | None:
    """The status, the Location field and the title of an answer; None when it is not HTTP. What was cut off, or breaks
    the rules of `wire.http1_response`, is read as far as it goes: a censor's answer is evidence too."""
    head, _, _ = answer.partition(b"\r\n\r\n")
    status_line = head.split(b"\r\n", 1)[0]
    if not status_line.startswith(b"HTTP/1.") or not status_line[9:12].isdigit():
        return None
    evidence: Evidence = {"status": int(status_line[9:12])}
    if title := _TITLE.search(answer):
        evidence["title"] = " ".join(title[1].decode("utf-8", "replace").split())[:_TITLE_LIMIT]
    location = _field(head, b"location")
    if location is not None:
        evidence["location"] = location[:500].decode("latin-1")
    return evidence


def _field(head: bytes, name: bytes) -> bytes | None:
    for line in head.split(b"\r\n")[1:]:
        key, colon, value = line.partition(b":")
        if colon and key.strip().lower() == name:
            return value.strip()
    return None


def _now() -> float:
    return asyncio.get_running_loop().time()
