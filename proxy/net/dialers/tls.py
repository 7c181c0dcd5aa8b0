"""TLS to a relay, over any stream.

It uses `ssl.SSLObject` on memory buffers, since asyncio's transports cannot half-close. Each direction ends with its
own close_notify, and TLS runs in TLS as well as on a socket. Certificates are always verified against the system's
roots or the relay's own `ca`; a `pin` is checked in addition. EOF without close_notify is an error, so that a cut
connection is not taken for the end of an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import hashlib
import os
import socket
import ssl
from datetime import UTC, datetime

from proxy.model import NO_EVIDENCE, Destination, Evidence, Stage, Symptom, frozen_evidence
from proxy.model.errors import ConfigError, DialError
from proxy.net.dialers.dialer import HANDSHAKE_TIMEOUT_S, Dialer
from proxy.net.dialers.relay_handshake import Handshake, dial_relay
from proxy.net.stream import BULK_RECORDS, CHUNK, LENT, Stream, WrappedStream

LINGER_S = 5.0
"""Seconds for which a closed stream goes on handing its last bytes to the kernel."""

_UNSENT_LIMIT = 2 * CHUNK
_DISCARDED_CHUNKS = 4
_DER = 2  # _ssl.ENCODING_DER
_ALERT = 0x15  # the record type of alerts
_CERTIFICATE = frozen_evidence({"relay": Symptom.CERTIFICATE})
_NOT_YET_VALID, _EXPIRED = 9, 10  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


class TlsStream(WrappedStream):
    """The client's side of TLS over `inner`, which it owns from now on. Holds at most 64 KiB each way beside a record
    or two; 128 KiB in a call with a `limit` above CHUNK."""

    __slots__ = (
        "_all_decrypted", "_closed", "_decrypted", "_eof_sent", "_failure", "_incoming", "_linger", "_outgoing",
        "_tls", "_unsent",
    )  # fmt: skip

    is_answer_needed = False  # its handshake is one

    def __init__(self, inner: Stream, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(inner)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._all_decrypted = False  # OpenSSL has no whole record, so a read would only raise
        self._decrypted = b""  # bytes that were decrypted before our close_notify
        self._failure: ssl.SSLError | None = None  # the error that ended reading: OpenSSL raises it only once
        self._unsent: bytes | memoryview = b""  # records that the inner stream has not taken yet
        self._eof_sent = False
        self._closed = False
        self._linger: asyncio.TimerHandle | None = None

    async def handshake(self) -> None:
        """Runs the handshake. Raises OSError; ssl.SSLCertVerificationError when the certificate is not valid for the
        server's name."""
        while True:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            except ssl.SSLError:
                with contextlib.suppress(OSError):  # sending the alert must not hide the error
                    self._flush()
                raise
            while not self._flush():
                await self._sendable()
            if done:
                return
            self._take_in(await self._inner.receive())

    @property
    def alpn(self) -> str | None:
        """The protocol that the peer selected among those that the context offers (RFC 7301)."""
        return self._tls.selected_alpn_protocol()

    def certificate(self) -> bytes:
        """The peer's certificate, DER."""
        return self._tls.getpeercert(binary_form=True) or b""

    def presented_chain(self) -> tuple[bytes, ...]:
        """All certificates of the peer's handshake, DER, its own first, verified or not. Its own alone where Python
        does not give the others."""
        chain = getattr(self._tls, "get_unverified_chain", None)
        if chain is not None:  # public from Python 3.13 on
            return tuple(chain())
        chain = getattr(getattr(self._tls, "_sslobj", None), "get_unverified_chain", None)
        if chain is not None:  # the same, before it was public
            return tuple(certificate.public_bytes(_DER) for certificate in chain() or ())
        own = self.certificate()
        return (own,) if own else ()

    @property
    def plain_socket(self) -> socket.SocketType | None:
        return None

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        data = self.lend_nowait(limit)
        return bytes(data) if isinstance(data, memoryview) else data

    def lend_nowait(self, limit: int = CHUNK) -> bytes | memoryview | None:
        self._check_open()
        if self._decrypted:
            data, self._decrypted = self._decrypted[:limit], self._decrypted[limit:]
            return data
        room, size = LENT[:limit], 0
        while self._failure is None:
            if self._all_decrypted:
                records = self._inner.lend_nowait(BULK_RECORDS if limit > CHUNK else CHUNK)
                if records is None:
                    self.drained = self._inner.drained
                    return None
                self._take_in(records)  # so that LENT is free again
            try:
                while size < len(room) and (read := self._tls.read(len(room) - size, room[size:])):
                    size += read  # type: ignore[operator]  # with a buffer it is a count
                    if not self._incoming.pending and not (size == len(room) and self._tls.pending()):
                        self._all_decrypted = True
                        self.drained = self._inner.drained
                        break
                return room[:size]  # if close_notify has come, the next call meets it again
            except ssl.SSLWantReadError:
                self._all_decrypted = True
            except ssl.SSLError as error:
                self._failure = error
            finally:
                if self._outgoing.pending:  # a read may cause a record: an alert, or the answer to a key update
                    self._flush()
            if size:
                return room[:size]
        if isinstance(self._failure, ssl.SSLZeroReturnError):  # close_notify, after ours
            return b""
        if not isinstance(self._failure, ssl.SSLEOFError):
            raise self._failure
        if self._eof_sent:  # the peer answers close_notify by closing, as many do
            return b""
        raise ConnectionAbortedError(errno.ECONNABORTED, "closed without close_notify") from self._failure

    def _take_in(self, data: bytes | memoryview) -> None:
        self._all_decrypted = False
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def send_nowait(self, data: bytes | memoryview) -> int:
        self._check_open()
        if self._eof_sent:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if (self._unsent or self._outgoing.pending) and not self._flush():
            return 0
        view = memoryview(data)[:CHUNK]
        taken = 0
        while taken < len(view):  # one record at a time
            taken += self._tls.write(view[taken:])
        self._flush()
        return taken

    def _flush(self) -> bool:
        """Hands records to the inner stream; True when it has taken all of them."""
        if self._outgoing.pending:
            records = self._outgoing.read()
            self._unsent = b"".join((self._unsent, records)) if self._unsent else records
        while self._unsent:
            if len(self._unsent) > _UNSENT_LIMIT:  # only if a peer requests key updates and reads no answer
                raise ConnectionAbortedError(
                    errno.ECONNABORTED, "the peer sends TLS records that need answers and reads none"
                )
            sent = self._inner.send_nowait(self._unsent)
            if not sent:
                return False
            self._unsent = memoryview(self._unsent)[sent:]
        if self._eof_sent:
            self._inner.send_eof()
        return True

    def send_eof(self) -> None:
        if self._eof_sent:
            return
        self._eof_sent = True
        self.drained = False  # OpenSSL may report the end at once
        self._read_ahead()
        with contextlib.suppress(ssl.SSLError):  # SSLWantReadError: ours is sent, and the peer's has not come
            self._tls.unwrap()
        with contextlib.suppress(OSError):  # broken: the next receive raises the error
            self._flush()

    def _read_ahead(self) -> None:
        """Decrypts the bytes that have come, at most 64 KiB: OpenSSL fails if data waits after our close_notify."""
        pieces = [self._decrypted]
        try:
            while piece := self._tls.read(CHUNK):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._failure = error
        self._decrypted = b"".join(pieces)

    def close(self) -> None:
        if self._closed:
            return
        self.send_eof()
        self._closed = True
        self.drained = False
        self._decrypted = b""
        if not self._finish():
            self._linger = asyncio.get_running_loop().call_later(LINGER_S, self.abort)
        self._resume(receiver=True, sender=True)

    def abort(self) -> None:
        self._closed = True
        self.drained = False
        self._decrypted = b""
        self._unsent = b""
        if self._linger is not None:
            self._linger.cancel()
        self._inner.abort()
        self._inner.notify = None  # as in `_finish`
        self._resume(receiver=True, sender=True)

    def _inner_ready(self) -> None:
        if self._closed:
            self._finish()
            return
        self.drained = False
        if self._unsent:
            with contextlib.suppress(OSError):  # the owner's next call meets it again
                self._flush()
        if self._receiver is not None or self._sender is not None:
            self._resume(receiver=True, sender=True)
        if self.notify is not None:  # as `_wake` does: a download comes here for each record
            self.notify()

    def _finish(self) -> bool:
        """Continues to close: unsent bytes go out, the socket is read empty, and closed. Returns whether closing is
        over, also by an error. Closing with unread bytes sends a reset, which would destroy our last bytes at the other
        end. With TLS 1.3 there are always such bytes: the session tickets."""
        try:
            if not self._flush():
                return False
        except OSError:
            self.abort()
            return True
        if self._linger is not None:
            self._linger.cancel()
        plain = self._inner.plain_socket  # another layer below may share its socket, and reads it itself
        with contextlib.suppress(OSError):  # BlockingIOError: it is empty
            for _ in range(_DISCARDED_CHUNKS):
                if not (self._inner.receive_nowait() if plain is None else plain.recv(CHUNK)):
                    break
        self._inner.close()
        # The cycle between both streams would live until the next garbage collection, with 100 KiB of OpenSSL for each
        # connection.
        self._inner.notify = None
        return True

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))


class TlsDialer:
    """Dials a relay through `via` and speaks TLS to it."""

    def __init__(
        self,
        via: Dialer,
        *,
        server_name: str | None = None,
        ca: str | None = None,
        pin: bytes | None = None,
        alpn: tuple[str, ...] = (),
        relay: str = "",
        timeout_s: float = HANDSHAKE_TIMEOUT_S,
    ) -> None:
        """`server_name` is the name in the certificate and the SNI (None: the host that is dialed); `ca` a PEM file
        that is trusted in place of the system's roots; `pin` the SHA-256 of the certificate's public key
        (SubjectPublicKeyInfo); `alpn` the protocols to offer; `relay` the name in messages. Raises ConfigError when
        `ca` cannot be used."""
        self._via = via
        self.server_name = server_name or ""
        self._context = context_trusting(ca, alpn=alpn)
        self._pin = pin
        self._relay = relay
        self._timeout_s = timeout_s

    async def dial(self, destination: Destination) -> Stream:
        """See Dialer. A refused certificate is RELAY_AUTH, an answer that is not TLS is RELAY_GARBAGE."""
        return await self.secure(await dial_relay(self._via, destination, self._relay or str(destination)), destination)

    async def secure(self, inner: Stream, destination: Destination) -> TlsStream:
        """Runs the TLS handshake over `inner`, which leads to `destination`, and aborts it on failure. Raises as
        `dial`."""
        relay = self._relay or str(destination)
        with Handshake(inner, relay, self._timeout_s):
            stream = TlsStream(inner, self._context, self.server_name or destination.host)
            try:
                await stream.handshake()
            except ssl.SSLError as error:
                raise _refused(error) from error
            if self._pin is not None and (key := public_key_sha256(stream.certificate())) != self._pin:
                text = f"the public key of the relay's certificate is not the pinned one (it is sha256:{key.hex()})"
                raise DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_AUTH, evidence=_CERTIFICATE)
        return stream

    def __repr__(self) -> str:
        return f"<TlsDialer {self._relay} via {self._via!r}>"


def public_key_sha256(certificate: bytes) -> bytes:
    """Returns the SHA-256 of the SubjectPublicKeyInfo of a DER certificate (RFC 7469 section 2.4)."""
    from cryptography import x509  # 50 ms to import, and only pins need it
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_der_x509_certificate(certificate).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def context_trusting(ca: str | None, *, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
    """Returns a client's context that trusts the PEM file `ca`, or the system's roots (None), and offers the protocols
    `alpn` (RFC 7301). Raises ConfigError."""
    return _context(ca, alpn) if ca else _system_context(alpn)


@functools.cache
def _system_context(alpn: tuple[str, ...]) -> ssl.SSLContext:
    """The context that all share: making one costs 5 ms and a copy of all roots."""
    return _context(None, alpn)


@functools.cache
def trusting_all() -> ssl.SSLContext:
    """Returns a context that verifies nothing, for probes that test only whether something answers. No user data may
    go over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def handshake_symptom(error: OSError, *, first_byte: int = -1) -> Symptom:
    """Returns the symptom of a client's failed handshake: CERTIFICATE, EOF, ALERT, GARBAGE (the answer is not TLS),
    DROPPED (the kernel got no acknowledgement) or RESET. `first_byte` is the first byte received; -1: not known."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Symptom.CERTIFICATE
    if isinstance(error, ssl.SSLEOFError):
        return Symptom.EOF
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        # OpenSSL names an alert by the version that defined it, not always with ALERT: TLSV1_UNRECOGNIZED_NAME.
        is_alert = first_byte == _ALERT or "ALERT" in reason or reason.startswith(("TLSV1_", "TLSV13_"))
        return Symptom.ALERT if is_alert else Symptom.GARBAGE
    return Symptom.DROPPED if isinstance(error, TimeoutError) else Symptom.RESET


def clock_may_be_wrong(error: ssl.SSLCertVerificationError) -> bool:
    """Whether the certificate was refused for its dates alone, as every one is while this computer's clock is wrong."""
    return error.verify_code in (_EXPIRED, _NOT_YET_VALID)


def _context(ca: str | None, alpn: tuple[str, ...]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no certificates can be read from {ca or 'the system'}: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def _refused(error: ssl.SSLError) -> DialError:
    symptom = Symptom.RELAY_GARBAGE
    evidence: Evidence = NO_EVIDENCE
    if isinstance(error, ssl.SSLCertVerificationError):
        evidence = _CERTIFICATE
        symptom, text = Symptom.RELAY_AUTH, f"the relay's certificate was refused: {error.verify_message.rstrip('.')}"
        if clock_may_be_wrong(error):
            text += f"; or this computer's clock is wrong: it shows {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
            evidence = {**_CERTIFICATE, "clock": 1}
    elif isinstance(error, ssl.SSLEOFError):
        evidence = {"relay": Symptom.EOF}
        symptom, text = Symptom.RELAY_DOWN, "the relay closed during the TLS handshake"
    else:
        text = f"TLS handshake with the relay failed ({error.reason or error})"
    return DialError(text, stage=Stage.RELAY, symptom=symptom, evidence=evidence)
