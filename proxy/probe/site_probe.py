"""Probes a site over one route, step by step: connection, ClientHello, certificate, answer.

A probe speaks TLS and HTTP itself, requests one page at most, and closes. A Dialer opens the path, so direct, a local
strategy and a chain of relays are probed alike. Each step is emitted when it ends; `detect.verdict` decides what the
steps mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
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
from proxy.wire.tls import RANDOMNESS, is_server_answer, refreshed
from proxy.wire.tls import Verdict as HelloVerdict

HEAD_LIMIT = 64 * 1024
"""Bytes without the end of a head after which an answer is not HTTP."""

_DIGEST = 16
"""Hexadecimal digits of a page's digest."""

_RATE_BYTES = 8192
"""The least bytes that show a speed."""


@frozen_dataclass
class SiteProbe:
    """Makes probes, each on its own connection."""

    emit: Callable[[MeasurementStep], None]
    """Gets each step as it ends."""
    detect: DetectTuning
    tcp_info: TcpInfo
    knowledge: Knowledge = NOTHING_KNOWN
    """Recognises block pages and redirects in plain HTTP."""
    roots: KnownRoots = field(default_factory=KnownRoots)
    """The roots that are known to intercept."""
    trust: ssl.SSLContext | None = None
    """Verifies certificates; None: with the system's roots."""
    hello_turn: HelloTurn = no_turn
    """Awaited before each ClientHello on a direct route."""

    async def visit(
        self, route: Route, dialer: Dialer, destination: Destination, target: ProbeTarget, *, connect_s: float
    ) -> bool:
        """Requests `target` from `destination`, which is its host or one of the host's addresses. Returns whether an
        answer came. Closes the connection, also when it is cancelled."""
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

    async def neutral(self, route: Route, dialer: Dialer, destination: Destination, name: str) -> bool | None:
        """Sends a ClientHello with the SNI `name`, of a control site, to the address of the site under test. Any answer
        shows that the address itself is not blocked. Returns whether an answer came; None when the connection failed,
        which is emitted as a step."""
        visit = _Visit(self, route, dialer, destination)
        await self.turn(route)(name)
        # The site's own visit emits that it connected.
        stream = await visit.connect(self.detect.syn_s, emit_success=False)
        if stream is None:
            return None
        path: Stream = stream
        try:
            tls = await visit.handshake(stream, name, StepKind.NEUTRAL, trusting_all())
            path = tls or stream
            return tls is not None
        finally:
            self._abort(path)

    async def other_hello(
        self, route: Route, dialer: Dialer, destination: Destination, name: str, hello: bytes, *, connect_s: float
    ) -> None:
        """Sends a ClientHello that was recorded at a visit, with new random values, and the SNI `name` that it has
        already. Emits whether an answer came. An alert is an answer too; nothing is emitted without a connection."""
        visit = _Visit(self, route, dialer, destination)
        await self.turn(route)(name)
        stream = await visit.connect(connect_s, emit_success=False, emit_failure=False)
        if stream is not None:
            try:
                await visit.send_hello(stream, refreshed(hello, os.urandom(RANDOMNESS)))
            finally:
                self._abort(stream)

    def turn(self, route: Route) -> HelloTurn:
        """Returns the wait before a ClientHello on `route`. Networks do not count hellos within a relay's
        connection."""
        return self.hello_turn if route.is_direct else no_turn

    def _abort(self, path: Stream) -> None:
        # Without this, the kernel would go on retransmitting an unanswered ClientHello with its name.
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
        self._is_by_slow_relay = False

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

    async def connect(self, connect_s: float, *, emit_success: bool = True, emit_failure: bool = True) -> Stream | None:
        """Opens the path. Returns None when that fails."""
        began = _now()
        kind = StepKind.CONNECT if self._route.is_direct else StepKind.RELAY
        try:
            with deadline(connect_s):
                stream = await self._dial(began)
        except DialError as error:
            if not emit_failure:
                return None
            result = StepResult.NOT_TESTED if error.symptom in NOT_JUDGED else StepResult.FAILED
            kind = StepKind.RESOLVE if error.stage is Stage.RESOLVE and self._route.is_direct else kind
            self._emit(kind, result, error.symptom, str(error), began, error.evidence)
            return None
        except TimeoutError:
            if not emit_failure:
                return None
            if self._route.is_direct:
                text = _("no answer to the connection attempt within {limit:g} s", limit=connect_s)
                self._address = str(self._destination) if self._destination.address is not None else ""
            else:
                relay = ">".join(self._route.relays)
                text = _("relay {relay} did not reach the destination within {limit:g} s", relay=relay, limit=connect_s)
            self._emit(kind, StepResult.FAILED, Symptom.TIMEOUT, text, began)
            return None
        self._address = stream.peer
        self._is_by_slow_relay = not self._route.is_direct and _now() - began > self._detect.hedge_relay_s
        if emit_success:
            text = pgettext("step", "connected") if self._route.is_direct else _("the relay opened the path")
            self._emit(kind, StepResult.OK, text=text, began=began)
        return stream

    async def _dial(self, began: float) -> Stream:
        """Opens the path. A relay that cannot be reached is tried again while `hedge_relay_s` is not over, with the
        pauses of a race: it may restart. Raises DialError."""
        pauses = iter(() if self._route.is_direct else self._detect.relay_retry_s)
        while True:
            try:
                return await self._dialer.dial(self._destination)
            except DialError as error:
                pause_s = next(pauses, math.inf)
                is_over = _now() + pause_s >= began + self._detect.hedge_relay_s
                if error.symptom is not Symptom.RELAY_DOWN or is_over:
                    raise
            await asyncio.sleep(pause_s)

    # -- TLS -------------------------------------------------------------------------------------------------------

    async def handshake(self, stream: Stream, name: str, kind: StepKind, context: ssl.SSLContext) -> TlsStream | None:
        """Sends a ClientHello with the SNI `name`. Returns None when the handshake fails; in a NEUTRAL step an alert
        counts as an answer. Raises ssl.SSLCertVerificationError."""
        began = _now()
        snapshot = self._snapshot(stream)
        tls = _CountingTls(stream, context, name)
        evidence: Evidence = {}
        try:
            with self._limited(self._detect.silent_s, stream, snapshot, lambda: tls.received, evidence):
                await tls.handshake()
        except TimeoutError:
            symptom, text = self._handshake_timeout(stream, tls.received, snapshot, evidence)
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

    async def send_hello(self, stream: Stream, hello: bytes) -> None:
        """Sends the recorded `hello`, and emits the answer as its step."""
        began, snapshot, answer = _now(), self._snapshot(stream), bytearray()
        evidence: Evidence = {"recorded": 1}
        symptom = Symptom.NONE
        text: str = pgettext("step", "answered")
        try:
            with self._limited(self._detect.silent_s, stream, snapshot, answer.__len__, evidence):
                await stream.send(hello)
                while is_server_answer(answer) is HelloVerdict.MORE and (data := await stream.receive()):
                    answer += data
        except TimeoutError:
            symptom, text = self._handshake_timeout(stream, len(answer), snapshot, evidence)
        except OSError as error:
            symptom = Symptom.RESET
            text = _handshake_text(symptom, error, len(answer))
        else:
            match is_server_answer(answer):
                case HelloVerdict.ALERT:
                    symptom, text = Symptom.ALERT, _("answered with the alert {reason}", reason=_alert(answer))
                case HelloVerdict.MORE:
                    symptom = Symptom.EOF
                    text = _handshake_text(symptom, OSError(), len(answer))
                case HelloVerdict.GARBAGE:
                    symptom, text = Symptom.GARBAGE, _("answered {bytes}", bytes=repr(bytes(answer[:16])))
        result = StepResult.OK if symptom in (Symptom.NONE, Symptom.ALERT) else StepResult.FAILED
        self._emit(StepKind.SHAPE, result, symptom, text, began, evidence)

    def _handshake_timeout(
        self, stream: Stream, received: int, snapshot: Snapshot | None, evidence: Evidence
    ) -> tuple[Symptom, str]:
        """Returns the symptom of a handshake that was not completed in time, and a sentence. Adds to `evidence`."""
        if received:
            evidence["bytes"] = received
            return Symptom.FROZEN, _("stopped after {count} bytes of its handshake", count=received)
        if snapshot is None or not self._route.is_direct:  # through a relay, acknowledgements are the relay's
            return Symptom.SILENT, _("no answer to the ClientHello")
        reading = self._probe.tcp_info.since(stream.lowest_socket, snapshot)
        evidence |= {"retransmits": reading.retransmits, "acknowledged": int(reading.acked)}
        if reading.out_of_order:
            evidence["out_of_order"] = reading.out_of_order
        if reading.acked:
            return Symptom.SILENT, _("ClientHello acknowledged, but not answered")
        said = ngettext(
            "ClientHello not acknowledged, sent {count} times",
            "ClientHello not acknowledged, sent {count} times",
            reading.retransmits + 1,
        )
        return Symptom.DROPPED, said

    def check_trusted_chain(self, chain: tuple[bytes, ...], host: str) -> bool:
        """Whether a certificate that the system trusts is the site's own. It is not if its root is known to intercept:
        some states made people install one."""
        classified = classify_chain(chain, host, verified=True, expired=False, roots=self._probe.roots)
        if classified.kind is not CertificateKind.KNOWN_ROOT:
            self._emit(StepKind.CERTIFICATE, StepResult.OK, text=_("valid for the host name"))
            return True
        evidence = _certificate_evidence(classified)
        self._emit(StepKind.CERTIFICATE, StepResult.FAILED, Symptom.CERTIFICATE, classified.detail, evidence=evidence)
        return False

    async def report_untrusted(self, host: str, error: ssl.SSLCertVerificationError) -> None:
        """Emits that the certificate was refused, with its issuer."""
        began = _now()
        text: str = _("certificate not trusted: {reason}", reason=error.verify_message.rstrip("."))
        evidence: Evidence = {"verify_code": error.verify_code}
        if clock_may_be_wrong(error):
            text = _("{reason}; or this computer's clock is wrong", reason=text)
            evidence["clock"] = 1
        # OpenSSL keeps no chain that it refused, so this needs another connection.
        timeout_s, turn = self._detect.silent_s, self._probe.turn(self._route)
        fetched = await fetch_chain(
            self._dialer, self._destination, host, timeout_s=timeout_s, trust=self._probe.trust, turn=turn
        )
        classified = fetched.classified(host, self._probe.roots)
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

        try:
            with deadline(self._detect.measure_answer_s * (2 if self._is_by_slow_relay else 1)):
                await path.send(target.request())
                while len(answer) < self._detect.measure_bytes and not _is_complete(answer):
                    wait_s = self._detect.measure_stall_s if answer else self._detect.silent_s
                    with self._limited(wait_s, path, snapshot, answer.__len__, drop_evidence):
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
            # A connection that breaks after the answer began has still delivered an answer.
            symptom = Symptom.NONE if answer else Symptom.RESET
            text = _("connection failed: {error}", error=str(error.strerror or error))
        if not answer and symptom is Symptom.NONE:
            symptom, text = Symptom.EOF, _("closed without an answer")
        head = _parse_answer(bytes(answer))
        if head is None and symptom is Symptom.NONE:
            symptom, text = Symptom.GARBAGE, _("answered {bytes}", bytes=repr(bytes(answer[:16])))
        evidence: Evidence = {"bytes": len(answer), **(head or {}), **drop_evidence}
        # Inside verified TLS only the site itself can send a block page.
        if head is not None and symptom is Symptom.NONE and target.protocol is Protocol.HTTP:
            if head.get("status") == 200:  # pages of other statuses are the same for all sites of a server program
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
        """Returns the symptom of an answer that stopped, or took too long as a whole, and a sentence. A slow answer
        with a pause is slow; a fast answer that stopped is frozen. `answered` bytes of HTTP came in `received` bytes,
        which may end in an incomplete TLS record."""
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
        self, seconds: float, stream: Stream, snapshot: Snapshot | None, received: Callable[[], int], evidence: Evidence
    ) -> Iterator[None]:
        """Limits the wait for an answer. Raises TimeoutError after `seconds`; or after `dropped_s`, as in a race, when
        the kernel has retransmitted and got no acknowledgement. `evidence` then gets the count. Through a relay that
        took longer than `hedge_relay_s` to open the path, the limit is half of `give_up_s` at least: its round trips
        are long, and a lost packet takes several of them."""
        if self._is_by_slow_relay:
            seconds = max(seconds, self._detect.give_up_s / 2)
        loop = asyncio.get_running_loop()

        def check() -> None:
            if snapshot is None or received():
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
    """TLS that counts the bytes received."""

    __slots__ = ("first_byte", "received")

    def __init__(self, inner: Stream, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(inner, context, server_name)
        self.received = 0  # bytes, including those of incomplete records
        self.first_byte = -1

    def _take_in(self, data: bytes | memoryview) -> None:
        if data and not self.received:
            self.first_byte = data[0]
        self.received += len(data)
        super()._take_in(data)

    @property
    def version(self) -> str:
        return self._tls.version() or "TLS"


_ALERTS: Mapping[int, str] = {
    40: "handshake failure",
    70: "protocol version",
    71: "insufficient security",
    80: "internal error",
    109: "missing extension",
    112: "unrecognized name",
    120: "no application protocol",
}
"""The alerts that answer a ClientHello (RFC 8446 section 6.2)."""


def _alert(answer: bytearray) -> str:
    """Returns the name of the alert at the start of `answer`, or its number."""
    return _ALERTS.get(answer[6], str(answer[6]))  # after the record's header of 5 bytes, and the level


def _handshake_text(symptom: Symptom, error: OSError, received: int) -> str:
    """Returns a sentence about the end of a handshake."""
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
    """Returns a digest that is equal for other sites with the same page: block pages often differ only in the host's
    name, which is left out."""
    _, _, body = answer.partition(b"\r\n\r\n")
    if not body:
        return ""
    return hashlib.sha256(body.lower().replace(host.encode(), b"")).hexdigest()[:_DIGEST]


def _rate(answer: bytearray, seconds: float) -> float | None:
    """Returns the bytes a second up to the last byte; None when there are too few."""
    return len(answer) / seconds if seconds > 0 and len(answer) >= _RATE_BYTES else None


def _is_complete(answer: bytearray) -> bool:
    """Whether the whole answer has come, by its Content-Length, or it is not HTTP by its size."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return len(answer) > HEAD_LIMIT
    length = _field(bytes(answer[:end]), b"content-length")
    return length is not None and length.isdigit() and len(answer) - end - 4 >= int(length[:12])


_TITLE = re.compile(rb"<title[^<>]{0,200}>([^<]{1,1000})", re.IGNORECASE)
_TITLE_LIMIT = 200


def _parse_answer(answer: bytes) -> Evidence | None:
    """Returns the status, the Location field and the title of an answer; None when it is not HTTP. An answer that is
    cut off, or breaks the rules of `wire.http1_response`, is parsed as far as possible: a censor's answer is evidence
    too."""
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
