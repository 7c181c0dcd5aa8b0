from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import socket
import ssl
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import trustme

from proxy.model import Destination, Stage, Symptom
from proxy.model.errors import ConfigError, DialError
from proxy.net.dialers.http_connect import HttpConnectDialer
from proxy.net.dialers.tls import TlsDialer, TlsStream, context_trusting, public_key_sha256
from proxy.net.poller import Poller
from proxy.net.stream import CHUNK, SocketStream, Stream, WrappedStream
from proxy.net.tasks import spawn
from proxy.wire.relay_url import parse
from tests.support.sockets import reset, tcp_pair
from tests.support.tls_objects import none_left_behind
from tests.support.waiting import until

RELAY = Destination("relay.test", 443)
PLENTY = os.urandom(12 << 20)  # more than kernel and stream take at once
Script = Callable[[socket.socket], bytes]
"""What the server does with its socket, in a thread; returns what it has received."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("relay.test", "127.0.0.1")


class Inner(SocketStream):
    """A socket whose kernel takes no more while it is `full`. A real one that took no more may a moment later: what it
    sent is then with the other end, whose buffer had room."""

    __slots__ = ("full",)

    def __init__(self, sock: socket.socket, poller: Poller) -> None:
        super().__init__(sock, poller, "127.0.0.1:443")
        self.full = False

    def send_nowait(self, data: bytes | memoryview) -> int:
        if self.full:
            self.want_write()
            return 0
        return super().send_nowait(data)


class Server:
    """One accepted connection, served by a script in a thread: blocking sockets, and another implementation than ours.
    It is itself the way to the server."""

    def __init__(self, poller: Poller, script: Script) -> None:
        self._poller = poller
        near, self.sock = tcp_pair()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)  # the kernel would let it grow meanwhile
        self.sock.setblocking(True)
        self.sock.settimeout(20)
        self.inner = Inner(near, poller)
        self.done = spawn(asyncio.to_thread(self._run, script), name="server")

    def _run(self, script: Script) -> bytes:
        with self.sock:
            return script(self.sock)

    async def dial(self, destination: Destination) -> Stream:
        return self.inner


def server_context(certificate: trustme.LeafCert, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if version is not None:
        context.maximum_version = version
    return context


def shaking(context: ssl.SSLContext, script: Callable[[ssl.SSLSocket], bytes]) -> Script:
    """The script behind a TLS handshake; a handshake that the client gives up leaves b""."""

    def run(sock: socket.socket) -> bytes:
        try:
            with context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False) as secure:
                return script(secure)
        except OSError:
            return b""

    return run


class Shared(WrappedStream):
    """A stream whose socket is that of others as well, as in an HTTP/2 connection."""

    __slots__ = ("socket_of_all",)

    socket_of_all: socket.socket

    @property
    def plain_socket(self) -> None:
        return None

    @property
    def lowest_socket(self) -> socket.socket:
        return self.socket_of_all


class Unproven(WrappedStream):
    """A stream through a relay that says "connected" too early."""

    is_answer_needed = True


async def test_a_handshake_is_the_answer_that_the_stream_below_needs(
    poller: Poller, ca: str, pair: tuple[socket.socket, socket.socket]
) -> None:
    below = Unproven(SocketStream(pair[0], poller, "relay", connected=True))
    stream = TlsStream(below, context_trusting(ca), "relay.test")
    assert below.is_answer_needed
    assert not stream.is_answer_needed
    stream.abort()


async def test_closing_leaves_the_bytes_of_others_in_a_shared_socket(
    poller: Poller, certificate: trustme.LeafCert, ca: str, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    server = Server(poller, shaking(server_context(certificate), receive_all))
    inner = Shared(server.inner)
    inner.socket_of_all = near
    far.sendall(b"of others")
    stream = TlsStream(inner, context_trusting(ca), "relay.test")
    await stream.handshake()
    stream.close()
    await server.done
    assert near.recv(100) == b"of others"


def receive_all(secure: ssl.SSLSocket) -> bytes:
    """Until close_notify; a cut connection raises OSError."""
    pieces = []
    with contextlib.suppress(ssl.SSLZeroReturnError):  # how Python says "the end" once we have said it ourselves
        while piece := secure.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def say_end(secure: ssl.SSLSocket) -> None:
    """Sends close_notify and does not wait for the other one, as SSLSocket.unwrap would."""
    secure.setblocking(False)
    with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLSyscallError):
        secure._sslobj.shutdown()  # type: ignore[attr-defined]  # the only way to half a close
    secure.settimeout(20)


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
def dial(
    request: pytest.FixtureRequest, poller: Poller, certificate: trustme.LeafCert, ca: str
) -> Callable[[Callable[[ssl.SSLSocket], bytes]], asyncio.Future[tuple[Stream, Server]]]:
    """dial(script) → the stream and the server at its other end."""

    async def make(script: Callable[[ssl.SSLSocket], bytes]) -> tuple[Stream, Server]:
        server = Server(poller, shaking(server_context(certificate, request.param), script))
        return await TlsDialer(server, ca=ca, relay="r").dial(RELAY), server

    return lambda script: asyncio.ensure_future(make(script))  # noqa: TID251  awaited at once by the test


Dial = Callable[[Callable[[ssl.SSLSocket], bytes]], "asyncio.Future[tuple[Stream, Server]]"]


async def stream_all(stream: Stream) -> bytes:
    pieces = []
    while piece := await stream.receive():
        pieces.append(piece)
    return b"".join(pieces)


class OtherPython:
    """The SSLObject of a Python that has not all that this one has."""

    def __init__(self, tls: ssl.SSLObject, lacks: tuple[str, ...]) -> None:
        self._tls = tls
        self._lacks = lacks

    def __getattr__(self, name: str) -> Any:
        if name in self._lacks:
            raise AttributeError(name)
        return getattr(self._tls, name)


@pytest.mark.parametrize(
    ("lacks", "told"),
    [
        pytest.param((), 2, id="this Python"),
        pytest.param(("get_unverified_chain",), 2, id="before 3.13"),
        pytest.param(("get_unverified_chain", "_sslobj"), 1, id="one that tells no chain"),
    ],
)
async def test_the_chain_is_what_the_server_sent(
    poller: Poller, authority: trustme.CA, ca: str, lacks: tuple[str, ...], told: int
) -> None:
    certificate = authority.create_child_ca().issue_cert("relay.test")
    server = Server(poller, shaking(server_context(certificate), receive_all))
    sent = tuple(ssl.PEM_cert_to_DER_cert(pem.bytes().decode()) for pem in certificate.cert_chain_pems)
    async with asyncio.timeout(30):
        stream = TlsStream(server.inner, context_trusting(ca), "relay.test")
        stream._tls = cast(ssl.SSLObject, OtherPython(stream._tls, lacks))
        await stream.handshake()
        assert stream.presented_chain() == sent[:told]
        stream.close()
        await server.done
    assert len(sent) == 2


# -- the stream --------------------------------------------------------------------------------------------------------


async def test_bytes_go_both_ways_and_each_way_ends_by_itself(dial: Dial) -> None:
    def script(secure: ssl.SSLSocket) -> bytes:
        got = receive_all(secure)  # until the client's close_notify
        secure.sendall(PLENTY)
        secure.sendall(b"the last")
        say_end(secure)
        return got

    async with asyncio.timeout(30):
        stream, server = await dial(script)
        await stream.send(PLENTY)
        stream.send_eof()
        stream.send_eof()
        assert await stream_all(stream) == PLENTY + b"the last"
        assert await server.done == PLENTY
        with pytest.raises(BrokenPipeError):
            await stream.send(b"x")
        stream.close()


async def test_the_servers_end_leaves_our_way_open(dial: Dial) -> None:
    ended = threading.Event()

    def script(secure: ssl.SSLSocket) -> bytes:
        secure.sendall(b"all I have")
        say_end(secure)
        ended.set()
        return receive_all(secure)

    async with asyncio.timeout(30):
        stream, server = await dial(script)
        assert await stream_all(stream) == b"all I have"
        assert await stream.receive() == b""
        await asyncio.to_thread(ended.wait, 20)  # OpenSSL, in the server, takes it ill when data comes before
        await stream.send(PLENTY)
        stream.send_eof()
        assert await server.done == PLENTY
        stream.close()


async def test_what_came_before_our_end_is_not_lost(dial: Dial) -> None:
    """OpenSSL refuses to go on when data waits behind our close_notify: it must be read ahead."""
    sent = threading.Event()

    def script(secure: ssl.SSLSocket) -> bytes:
        secure.sendall(bytes(40_000))
        sent.set()
        got = receive_all(secure)
        secure.sendall(b"and more")
        return got

    async with asyncio.timeout(30):
        stream, server = await dial(script)
        await asyncio.to_thread(sent.wait, 20)
        first = await stream.receive(1)  # the rest lies decrypted, or nearly
        stream.send_eof()
        received = first
        while len(received) < 40_008:
            piece = await stream.receive(1000)
            assert 0 < len(piece) <= 1000
            received += piece
        assert received == bytes(40_000) + b"and more"
        assert await stream.receive() == b""  # it answers close_notify by closing: tolerated
        assert await server.done == b""
        stream.close()


async def test_an_end_without_close_notify_is_no_end(dial: Dial) -> None:
    def script(secure: ssl.SSLSocket) -> bytes:
        secure.sendall(b"half a pa")
        secure.shutdown(socket.SHUT_RDWR)
        return b""

    async with asyncio.timeout(30):
        stream, _ = await dial(script)
        assert await stream.receive() == b"half a pa"
        for _ in range(2):
            with pytest.raises(ConnectionAbortedError, match="without close_notify"):
                await stream.receive()
        stream.close()


@pytest.mark.parametrize("ended", [False, True])
async def test_a_broken_record_is_no_end(dial: Dial, ended: bool) -> None:
    """OpenSSL tells it once, and then the end of the connection. Here it comes with a good one."""
    sent = threading.Event()

    def script(secure: ssl.SSLSocket) -> bytes:
        secure.sendall(b"good")
        os.write(secure.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
        sent.set()
        return b""

    async with asyncio.timeout(30):
        stream, _ = await dial(script)
        await asyncio.to_thread(sent.wait, 20)
        assert await stream.receive(1) == b"g"
        if ended:
            stream.send_eof()
        assert await stream.receive(2) == b"oo"
        assert await stream.receive() == b"d"
        for _ in range(2):
            with pytest.raises(ssl.SSLError, match=r"(?i)bad|failure"):
                await stream.receive()
        stream.close()


async def test_a_reset_is_a_reset(dial: Dial) -> None:
    go = threading.Event()

    def script(secure: ssl.SSLSocket) -> bytes:
        go.wait(20)
        reset(secure)
        return b""

    async with asyncio.timeout(30):
        stream, _ = await dial(script)
        receiving = spawn(stream.receive(), name="receive")
        go.set()
        with pytest.raises(ConnectionResetError):
            await receiving
        stream.close()


async def test_close_hands_over_what_was_taken(dial: Dial) -> None:
    """The kernel takes no more, the stream holds the rest, and is closed: as with a socket, nothing is lost."""
    shaken, go = threading.Event(), threading.Event()

    def script(secure: ssl.SSLSocket) -> bytes:
        shaken.set()
        go.wait(20)
        return receive_all(secure)

    async with asyncio.timeout(30):
        stream, server = await dial(script)
        await asyncio.to_thread(shaken.wait, 20)  # its session tickets are on their way
        sent = 0
        while taken := stream.send_nowait(PLENTY[sent : sent + CHUNK]):
            sent += taken
        server.inner.full = True
        stream.close()
        stream.close()
        assert server.inner.fileno() >= 0
        server.inner.full = False
        go.set()
        assert await server.done == PLENTY[:sent]
        await until(lambda: server.inner.fileno() < 0)


@pytest.mark.parametrize("end", ["abort", "close"])
async def test_a_stream_that_has_ended_is_not_left_to_the_collection_of_garbage(dial: Dial, end: str) -> None:
    def script(secure: ssl.SSLSocket) -> bytes:
        with contextlib.suppress(OSError):
            receive_all(secure)
        return b""

    async with asyncio.timeout(30):
        with none_left_behind():
            stream, server = await dial(script)
            getattr(stream, end)()
            await server.done
            await until(lambda: server.inner.fileno() < 0)
            del stream


async def test_abort_loses_everything_at_once(dial: Dial) -> None:
    shaken, go = threading.Event(), threading.Event()

    def script(secure: ssl.SSLSocket) -> bytes:
        shaken.set()
        go.wait(20)
        with pytest.raises(ConnectionResetError):  # below TLS, which before Python 3.12.3 tells no reset from an end
            b"".join(iter(lambda: socket.socket.recv(secure, 65536), b""))
        return b"cut"

    async with asyncio.timeout(30):
        stream, server = await dial(script)
        await asyncio.to_thread(shaken.wait, 20)  # with TLS 1.3 its handshake ends after ours
        while stream.send_nowait(PLENTY[:CHUNK]):
            pass
        server.inner.full = True
        stream.close()
        stream.abort()
        stream.abort()
        assert server.inner.fileno() < 0
        go.set()
        assert await server.done == b"cut"


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_ending_wakes_who_waits_and_ends_all_use(dial: Dial, end: str) -> None:
    async with asyncio.timeout(30):
        stream, _ = await dial(receive_all)
        receiving = spawn(stream.receive(), name="receive")
        await asyncio.sleep(0)
        getattr(stream, end)()
        with pytest.raises(OSError, match="Bad file descriptor"):
            await receiving
        with pytest.raises(OSError, match="Bad file descriptor"):
            stream.send_nowait(b"x")
        stream.send_eof()


async def test_nowait_calls_and_their_wakes(dial: Dial) -> None:
    def script(secure: ssl.SSLSocket) -> bytes:
        for _ in range(50):
            secure.sendall(secure.recv(100))
        return receive_all(secure)

    async with asyncio.timeout(30):
        stream, server = await dial(script)
        woken = asyncio.Event()
        stream.notify = woken.set
        for number in range(50):
            assert stream.send_nowait(b"%d" % number) == len(b"%d" % number)
            while (data := stream.receive_nowait()) is None:
                woken.clear()
                await woken.wait()
            assert data == b"%d" % number
        assert stream.send_nowait(b"") == 0
        sent = 0
        while sent < len(PLENTY):
            taken = stream.send_nowait(memoryview(PLENTY)[sent:])
            assert taken <= CHUNK
            sent += taken
            if not taken:
                woken.clear()
                await woken.wait()
        stream.send_eof()
        assert await server.done == PLENTY
        stream.close()


class Memory(Stream):
    """The way to a server in memory, which shows how much was asked for at once."""

    __slots__ = ("asked", "incoming", "outgoing", "server")

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__("127.0.0.1:443")
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.asked: list[int] = []

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        self.asked.append(limit)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.server.do_handshake()
        return self.outgoing.read(limit) or None

    def send_nowait(self, data: bytes | memoryview) -> int:
        return self.incoming.write(data)

    def send_eof(self) -> None:
        self.incoming.write_eof()

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass

    @property
    def plain_socket(self) -> None:
        return None

    @property
    def lowest_socket(self) -> socket.SocketType:
        raise AssertionError("there is none")


@pytest.mark.parametrize(("limit", "most"), [(CHUNK, CHUNK), (2 * CHUNK, 8 * (16 * 1024 + 22))])
async def test_full_records_are_taken_whole_and_given_out_together(
    certificate: trustme.LeafCert, ca: str, limit: int, most: int
) -> None:
    size = 16 * CHUNK
    inner = Memory(server_context(certificate))
    stream = TlsStream(inner, context_trusting(ca), "relay.test")
    await stream.handshake()
    assert stream.receive_nowait() is None, "its session tickets"
    sent = 0
    while sent < size:
        sent += inner.server.write(memoryview(PLENTY)[sent:size])
    inner.asked.clear()
    pieces = []
    while piece := stream.receive_nowait(limit):
        pieces.append(piece)
    assert b"".join(pieces) == PLENTY[:size]
    assert set(inner.asked) == {most}
    if limit > CHUNK:
        assert [len(piece) for piece in pieces] == [2 * CHUNK] * 8
        assert len(inner.asked) == 8 + 1, "once for each piece, and once for nothing more"


async def test_it_carries_the_peer_but_is_no_plain_socket(dial: Dial) -> None:
    stream, server = await dial(receive_all)
    assert stream.peer == "127.0.0.1:443"
    assert stream.plain_socket is None
    assert stream.lowest_socket is server.inner.lowest_socket
    stream.close()
    await server.done


async def test_tls_runs_in_tls(poller: Poller, certificate: trustme.LeafCert, ca: str) -> None:
    """As for an https relay reached through another."""
    context = server_context(certificate)

    def script(outer: ssl.SSLSocket) -> bytes:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        inner = context.wrap_bio(incoming, outgoing, server_side=True)

        def pump(call: Callable[[], object]) -> object:
            while True:
                try:
                    return call()
                except ssl.SSLWantReadError:
                    if outgoing.pending:
                        outer.sendall(outgoing.read())
                    incoming.write(outer.recv(65536))
                finally:
                    if outgoing.pending:
                        outer.sendall(outgoing.read())

        pump(inner.do_handshake)
        got = b""
        while piece := pump(lambda: inner.read(65536)):
            assert isinstance(piece, bytes)
            got += piece
        inner.write(got[-1000:])
        pump(lambda: None)
        return got

    async with asyncio.timeout(30):
        server = Server(poller, shaking(context, script))
        outer = TlsDialer(server, ca=ca)
        stream = await TlsDialer(outer, ca=ca).dial(RELAY)
        assert isinstance(stream, TlsStream)
        await stream.send(PLENTY)
        stream.send_eof()
        assert await stream.receive() == PLENTY[-1000:]
        assert await server.done == PLENTY
        stream.close()


# -- E27: whom we let in -----------------------------------------------------------------------------------------------


async def refusal(server: Server, **options: object) -> tuple[Symptom, str]:
    """Through the whole https dialer, with credentials, which must not arrive."""
    secure = TlsDialer(server, relay="vps", **options)  # type: ignore[arg-type]
    dialer = HttpConnectDialer(secure, parse("https://me:secret@relay.test"), name="vps")
    async with asyncio.timeout(20):
        with pytest.raises(DialError) as caught:
            await dialer.dial(Destination("blocked.test", 443))
        assert await server.done == b""  # no credentials, nothing at all
    assert caught.value.stage is Stage.RELAY
    assert str(caught.value).startswith("relay vps")
    assert server.inner.fileno() < 0
    return caught.value.symptom, str(caught.value)


def days(number: int) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=number)


async def test_E27_E35_an_expired_certificate_or_a_wrong_clock(poller: Poller, authority: trustme.CA, ca: str) -> None:
    for from_day, to_day, word in ((-90, -1, "expired"), (1, 90, "not yet valid")):
        leaf = authority.issue_cert("relay.test", not_before=days(from_day), not_after=days(to_day))
        server = Server(poller, shaking(server_context(leaf), receive_all))
        symptom, text = await refusal(server, ca=ca)
        assert symptom is Symptom.RELAY_AUTH
        assert word in text
        assert "clock" in text


async def test_E27_an_unknown_issuer(poller: Poller, certificate: trustme.LeafCert, ca: str) -> None:
    other = server_context(trustme.CA().issue_cert("relay.test"))
    symptom, text = await refusal(Server(poller, shaking(other, receive_all)), ca=ca)
    assert symptom is Symptom.RELAY_AUTH
    assert "certificate was refused" in text
    ours = server_context(certificate)
    symptom, _ = await refusal(Server(poller, shaking(ours, receive_all)))  # the system does not know our authority
    assert symptom is Symptom.RELAY_AUTH


async def test_E27_another_hosts_certificate(poller: Poller, authority: trustme.CA, ca: str) -> None:
    leaf = authority.issue_cert("other.test", "192.0.2.1")
    symptom, text = await refusal(Server(poller, shaking(server_context(leaf), receive_all)), ca=ca)
    assert (symptom, "relay.test" in text) == (Symptom.RELAY_AUTH, True)
    assert not text.endswith(".")  # OpenSSL ends this sentence and no other


async def test_E27_a_pin_is_asked_for_on_top(poller: Poller, certificate: trustme.LeafCert, ca: str) -> None:
    right = public_key_sha256(ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode()))
    context = server_context(certificate)
    symptom, text = await refusal(Server(poller, shaking(context, receive_all)), ca=ca, pin=bytes(32))
    assert symptom is Symptom.RELAY_AUTH
    assert f"it is sha256:{right.hex()}" in text
    symptom, _ = await refusal(Server(poller, shaking(context, receive_all)), pin=right)
    assert symptom is Symptom.RELAY_AUTH  # a pin does not stand in for a certificate that is not good
    server = Server(poller, shaking(context, receive_all))
    (await TlsDialer(server, ca=ca, pin=right).dial(RELAY)).close()
    await server.done


async def test_E27_old_tls_is_refused(poller: Poller, certificate: trustme.LeafCert, ca: str) -> None:
    context = server_context(certificate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    symptom, text = await refusal(Server(poller, shaking(context, receive_all)), ca=ca)
    assert symptom is Symptom.RELAY_GARBAGE
    assert "TLS handshake with the relay failed" in text


async def test_E27_a_server_that_is_silent(poller: Poller, ca: str) -> None:
    def script(sock: socket.socket) -> bytes:
        while sock.recv(65536):
            pass
        return b""

    def tolerant(sock: socket.socket) -> bytes:
        try:
            return script(sock)
        except ConnectionResetError:
            return b""

    symptom, text = await refusal(Server(poller, tolerant), ca=ca, timeout_s=0.1)
    assert symptom is Symptom.RELAY_DOWN
    assert "within 0.1 s" in text


@pytest.mark.parametrize(
    ("answer", "symptom"),
    [
        (b"", Symptom.RELAY_DOWN),
        (b"\x16\x03\x03\x00\x7a\x02\x00", Symptom.RELAY_DOWN),  # a ServerHello that breaks off
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Symptom.RELAY_GARBAGE),
        (b"\x05\xff" * 100, Symptom.RELAY_GARBAGE),
        (b"\x15\x03\x03\x00\x02\x02\x28", Symptom.RELAY_GARBAGE),  # alert: handshake_failure
    ],
    ids=["nothing", "half a record", "http", "socks", "alert"],
)
async def test_E27_a_server_that_speaks_no_tls(poller: Poller, ca: str, answer: bytes, symptom: Symptom) -> None:
    def script(sock: socket.socket) -> bytes:
        sock.recv(65536)
        sock.sendall(answer)
        return b""

    assert (await refusal(Server(poller, script), ca=ca))[0] is symptom


async def test_E27_a_reset_in_the_handshake(poller: Poller, ca: str) -> None:
    def script(sock: socket.socket) -> bytes:
        sock.recv(1)
        reset(sock)
        return b""

    assert (await refusal(Server(poller, script), ca=ca))[0] is Symptom.RELAY_DOWN


async def test_credentials_go_through_what_was_verified(poller: Poller, certificate: trustme.LeafCert, ca: str) -> None:
    names = []
    context = server_context(certificate)
    context.sni_callback = lambda _sock, name, _context: names.append(name)

    def script(secure: ssl.SSLSocket) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += secure.recv(1000)
        secure.sendall(b"HTTP/1.1 200 OK\r\n\r\ntunnel")
        return head

    async with asyncio.timeout(20):
        server = Server(poller, shaking(context, script))
        secure = TlsDialer(server, server_name="relay.test", ca=ca)
        dialer = HttpConnectDialer(secure, parse("https://me:secret@192.0.2.1"))
        stream = await dialer.dial(Destination("blocked.test", 443))
        assert await stream.receive() == b"tunnel"
        assert b"Proxy-Authorization: Basic" in await server.done
        assert names == ["relay.test"]
        stream.close()


async def test_an_address_is_verified_as_an_address(poller: Poller, certificate: trustme.LeafCert, ca: str) -> None:
    server = Server(poller, shaking(server_context(certificate), receive_all))
    (await TlsDialer(server, ca=ca).dial(Destination("127.0.0.1", 443))).close()
    await server.done


def test_an_authority_that_cannot_be_read(poller: Poller, tmp_path: Path) -> None:
    class Nowhere:
        async def dial(self, destination: Destination) -> Stream:
            raise AssertionError

    (tmp_path / "empty.pem").write_text("no certificate")
    for name in ("missing.pem", "empty.pem", "."):
        with pytest.raises(ConfigError, match="no certificates can be read from"):
            TlsDialer(Nowhere(), ca=str(tmp_path / name))
