"""Streams that shape what names the host: what leaves, in which segments, and that they then get out of the way."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from proxy.model import Destination, IPAddress, Route, Stage, Symptom
from proxy.model.errors import DialError
from proxy.model.strategy import parse_word
from proxy.net.dialers import evasion as shape
from proxy.net.dialers.evasion import DisorderedStream, FragmentingStream, PacedStream, honours_ttl, with_strategies
from proxy.net.dialers.registry import Registry
from proxy.net.dialers.tcp import AddressLookup, TcpDialer
from proxy.net.poller import Poller
from proxy.net.stream import CHUNK, SocketStream, Stream
from proxy.net.tunnel.pump import Pump
from tests.support.authority import Authority
from tests.support.clock import run
from tests.support.programs import require
from tests.support.programs_running import free_port, running
from tests.support.rows import each_row
from tests.support.sockets import tcp_pair
from tests.wire import hellos

HELLO = hellos.real("ivanov.livejournal.test")
GET = b"GET / HTTP/1.1\r\nHost: ivanov.livejournal.test\r\n\r\n"
CASED = GET.replace(b"Host", b"hOSt")
POST = GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n")


class Below(Stream):
    """The stream under a shaped one: takes `room` bytes in all, and notes each piece."""

    def __init__(self, room: int = 1 << 20) -> None:
        super().__init__("192.0.2.1:443")
        self.room = room
        self.pieces: list[tuple[bytes, bool]] = []  # and whether it was to stay apart
        self.inbox: list[bytes] = []
        self.ended = self.closed = self.aborted = self.is_paused = False
        self.fault: OSError | None = None

    @property
    def sent(self) -> list[bytes]:
        return [piece for piece, _ in self.pieces]

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        return self.inbox.pop(0) if self.inbox else None

    def send_nowait(self, data: bytes | memoryview) -> int:
        return self._take(data, apart=False)

    def send_apart_nowait(self, data: bytes | memoryview) -> int:
        return self._take(data, apart=True)

    def _take(self, data: bytes | memoryview, *, apart: bool) -> int:
        if self.fault is not None:
            raise self.fault
        taken = bytes(data[: self.room])
        self.room -= len(taken)
        if taken:
            self.pieces.append((taken, apart))
        return len(taken)

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def send_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    @property
    def plain_socket(self) -> socket.socket | None:
        return SOCK

    @property
    def lowest_socket(self) -> socket.socket:
        return SOCK


SOCK = socket.socket.__new__(socket.socket)  # none: to be recognised only


TLSREC, SPLIT, DISORDER = map(parse_word, ("tlsrec", "split", "disorder"))


def shaped(below: Stream, word: str = "split") -> FragmentingStream:
    return FragmentingStream(below, parse_word(word))


def out_of_the_way(stream: FragmentingStream) -> bool:
    """Whether the kernel may move what comes now."""
    return stream.plain_socket is SOCK


# -- what leaves -------------------------------------------------------------------------------------------------------


@each_row("sizes", [(len(HELLO),), (1, 1, 1), (5,), (100, 200)])
def test_a_hello_is_held_until_it_is_whole(sizes: Sequence[int]) -> None:
    below = Below()
    stream = shaped(below)
    left = HELLO
    for size in sizes:
        assert stream.send_nowait(left[:size]) == len(left[:size]), "the owner's own bytes are counted"
        left = left[size:]
        if left:
            assert below.pieces == []
            assert not out_of_the_way(stream)
    if left:
        assert stream.send_nowait(memoryview(left)) == len(left)
    assert len(below.sent[0]) == 1
    assert b"".join(below.sent) == HELLO
    assert [apart for _, apart in below.pieces] == [True, True, False]
    assert out_of_the_way(stream)
    assert stream.send_nowait(b"more") == 4
    assert below.pieces[-1] == (b"more", False)


def test_tlsrec_sends_more_than_it_was_given_and_does_not_say_so() -> None:
    below = Below()
    assert shaped(below, "tlsrec").send_nowait(HELLO + b"\x14early") == len(HELLO) + 6
    (sent,) = below.sent
    assert sent.endswith(b"\x14early")
    assert len(sent) == len(HELLO) + 6 + 5


def test_two_shapes_are_one_around_the_other() -> None:
    below = Below()
    stream = FragmentingStream(shaped(below), TLSREC)
    stream.send_nowait(HELLO[:300])
    stream.send_nowait(HELLO[300:])
    one, to_cut, rest = below.sent
    assert len(one) == 1
    assert to_cut.endswith(b"livejo\x16\x03\x01" + rest_length(one + to_cut, len(HELLO))), "records and segments"
    assert rest.startswith(b"urnal")
    assert out_of_the_way(stream)


def rest_length(until_cut: bytes, size: int) -> bytes:
    """The length field of the second record."""
    return struct.pack("!H", size - (len(until_cut) - 5))


def test_each_request_is_shaped_up_to_the_first_with_a_body() -> None:
    below = Below()
    stream = shaped(below, "hostcase")
    stream.send_nowait(GET)
    assert not out_of_the_way(stream), "the next request names the host too"
    stream.send_nowait(GET[:20])
    stream.send_nowait(GET[20:])
    stream.send_nowait(POST + b"hello")
    assert below.sent == [CASED, CASED, CASED.replace(b"GET", b"POST")[:-2] + b"Content-Length: 5\r\n\r\nhello"]
    assert out_of_the_way(stream)
    stream.send_nowait(GET)
    assert below.sent[-1] == GET, "nobody knows any more where a head begins"


@each_row("data", [b"SSH-2.0-x\r\n", b"\x81\x05hello", hellos.real(None), b"\x16\x03\x01\x00\x00"])
def test_what_names_nobody_goes_as_it_came(data: bytes) -> None:
    for name in ("tlsrec", "split", "hostcase"):
        below = Below()
        stream = shaped(below, name)
        stream.send_nowait(data)
        assert below.pieces == [(data, False)]
        assert out_of_the_way(stream)


def test_a_websocket_behind_its_request_is_left_alone() -> None:
    below = Below()
    stream = shaped(below, "hostcase")
    stream.send_nowait(GET)
    stream.send_nowait(b"\x81\x05Host:")
    assert below.sent == [CASED, b"\x81\x05Host:"]
    assert out_of_the_way(stream)


# -- when the path is full, ends or breaks -----------------------------------------------------------------------------


def test_what_the_path_does_not_take_waits_for_it() -> None:
    rung = []
    below = Below(room=1)
    stream = shaped(below)
    stream.notify = lambda: rung.append(1)
    assert stream.send_nowait(HELLO) == len(HELLO)
    assert below.sent == [HELLO[:1]]
    assert not out_of_the_way(stream)
    assert stream.send_nowait(b"more") == 0, "order is kept"
    below.room = 10
    assert below.notify is not None
    below.notify()
    assert rung == [1]
    below.room = 1 << 20
    assert stream.send_nowait(b"more") == 4
    assert b"".join(below.sent) == HELLO + b"more"
    assert out_of_the_way(stream)


def test_an_end_comes_after_what_is_held() -> None:
    for data, room in ((b"", 100), (HELLO[:50], 100), (HELLO, 1)):
        below = Below(room)
        stream = shaped(below)
        stream.send_nowait(data)
        stream.send_eof()
        if room == 1:
            assert not below.ended
            below.room = 1 << 20
            assert below.notify is not None
            below.notify()
        assert b"".join(below.sent) == data
        assert below.ended


def test_a_broken_path_is_told_by_each_call_that_sends() -> None:
    below = Below(room=1)
    stream = shaped(below)
    stream.send_nowait(HELLO)
    below.fault = ConnectionResetError(errno.ECONNRESET, "reset")
    assert below.notify is not None
    below.notify()  # nobody to be told
    with pytest.raises(ConnectionResetError):
        stream.send_nowait(HELLO)
    stream.send_eof()
    below.inbox.append(b"answer")
    assert stream.receive_nowait() == b"answer"


async def test_closing_ends_whoever_waits() -> None:
    for end in ("close", "abort"):
        below = Below(room=0)
        stream = shaped(below)
        stream.send_nowait(HELLO)
        getattr(stream, end)()
        assert below.closed or below.aborted
        below.room = 1 << 20
        assert below.notify is not None
        below.notify()
        assert below.sent == [], "nothing goes out any more"


def test_a_pause_in_reading_is_one_of_the_stream_below() -> None:
    below = Below()
    stream = shaped(below)
    stream.pause_reading()
    assert below.is_paused
    stream.resume_reading()
    assert not below.is_paused


def test_it_says_where_it_leads() -> None:
    stream = shaped(Below())
    assert stream.peer == "192.0.2.1:443"
    assert stream.lowest_socket is SOCK
    assert repr(stream) == "<FragmentingStream 192.0.2.1:443>"


# -- pieces that wait for each other -----------------------------------------------------------------------------------


def test_each_piece_waits_for_the_one_before_it() -> None:
    async def story() -> None:
        below, rung = Below(), list[float]()
        loop = asyncio.get_running_loop()
        stream = shaped(PacedStream(below, 0.2))
        began_at = loop.time()
        stream.notify = lambda: rung.append(round(loop.time() - began_at, 3))
        assert stream.send_nowait(HELLO) == len(HELLO)
        sent = []
        for _ in range(5):  # at 0, 0.15, 0.3 s …
            sent.append(len(below.pieces))
            assert out_of_the_way(stream) is (sent[-1] == 3)
            await asyncio.sleep(0.15)
        assert sent == [1, 1, 2, 3, 3]
        assert rung == [0.2, 0.4]
        assert b"".join(below.sent) == HELLO
        assert stream.send_nowait(b"more") == 4, "nothing else is paced"

    run(story())


def test_a_pause_ends_with_the_stream() -> None:
    async def story() -> None:
        for end in ("close", "abort"):
            below = Below()
            stream = shaped(PacedStream(below, 0.2))
            stream.send_nowait(HELLO)
            getattr(stream, end)()
            await asyncio.sleep(1)
            assert len(below.pieces) == 1
            assert below.closed or below.aborted

    run(story())


def test_an_end_waits_for_the_pieces() -> None:
    async def story() -> None:
        below = Below()
        stream = shaped(PacedStream(below, 0.2))
        stream.send_nowait(HELLO)
        stream.send_eof()
        assert not below.ended
        await asyncio.sleep(1)
        assert b"".join(below.sent) == HELLO
        assert below.ended

    run(story())


# -- segments ----------------------------------------------------------------------------------------------------------

_DATA_SEGMENTS_IN = struct.Struct("=152xI")  # tcpi_data_segs_in (Linux 4.6)

FILLING = 200_000  # bytes: more than a window on loopback at its start
PIECES = 100

linux = pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="TCP_INFO counts segments")


def segments(sock: socket.socket) -> int:
    """Segments with data that the kernel has taken in on a socket."""
    count: int = _DATA_SEGMENTS_IN.unpack_from(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256))[0]
    return count


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = tcp_pair()
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    yield near, far
    near.close()
    far.close()


@linux
@pytest.mark.parametrize(("name", "count"), [("tlsrec", 1), ("split", 3), ("disorder", 2)])
async def test_each_piece_is_a_segment(
    name: str, count: int, pair: tuple[socket.socket, socket.socket], best_poller: Poller
) -> None:
    near, far = pair
    below = SocketStream(near, best_poller, "test")
    stream = DisorderedStream(below, DISORDER) if name == "disorder" else shaped(below, name)
    await stream.send(HELLO)
    size = len(HELLO) + 5 * (name == "tlsrec")
    got = await asyncio.get_running_loop().sock_recv(far, 65536)
    while len(got) < size:
        got += await asyncio.get_running_loop().sock_recv(far, 65536)
    assert segments(far) == count
    assert near.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) > 1
    stream.close()


@linux
@pytest.mark.parametrize("apart", [True, False])
async def test_pieces_that_wait_for_the_network_are_not_joined(
    apart: bool, pair: tuple[socket.socket, socket.socket], best_poller: Poller
) -> None:
    """While the other side's window is shut, pieces stand in the kernel's queue together, and small ones are joined."""
    near, far = pair
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    below = SocketStream(near, best_poller, "test")
    await below.send(bytes(FILLING))
    send = below.send_apart_nowait if apart else below.send_nowait
    assert [send(b"x") for _ in range(PIECES)] == [1] * PIECES
    got = 0
    while got < FILLING + PIECES:
        got += len(await asyncio.get_running_loop().sock_recv(far, 65536))
    assert (segments(far) > PIECES) is apart
    below.close()


def test_the_ttl_of_a_packet_is_the_one_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert honours_ttl.__wrapped__() is hasattr(socket, "TCP_INFO")
    monkeypatch.setattr(shape, "_ttl_1", lambda _sock: contextlib.nullcontext())
    assert honours_ttl.__wrapped__() is False, "the usual one arrives"
    monkeypatch.setattr(shape, "_RECEIVED_TTL", None)
    assert honours_ttl.__wrapped__() is False


class Opens:
    """A dialer that gives out one stream, and says so."""

    def __init__(self, stream: Stream) -> None:
        self.stream: Stream | None = stream

    async def dial(self, destination: Destination) -> Stream:
        stream, self.stream = self.stream, None
        assert stream is not None
        return stream


async def test_disorder_is_skipped_where_it_would_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    below = Opens(Below())
    monkeypatch.setattr(shape, "honours_ttl", lambda: False)
    with pytest.raises(DialError, match="TTL") as caught:
        await with_strategies(below, ["disorder"]).dial(Destination("site.test", 443))
    assert (caught.value.stage, caught.value.symptom) == (Stage.CONNECT, Symptom.SKIPPED)
    assert below.stream is not None
    monkeypatch.setattr(shape, "honours_ttl", lambda: True)
    assert isinstance(await with_strategies(below, ["disorder"]).dial(Destination("site.test", 443)), DisorderedStream)


def test_a_dialer_says_what_it_does() -> None:
    below = Opens(Below())
    assert repr(with_strategies(below, ["doh", "tlsrec"])).startswith("<FragmentingDialer tlsrec ")
    assert repr(with_strategies(below, ["disorder"])).startswith("<DisorderDialer ")
    assert repr(with_strategies(below, ["split", "pace-200"])).startswith("<FragmentingDialer split <PaceDialer 0.2 s ")


# -- real servers ------------------------------------------------------------------------------------------------------


class Names(AddressLookup):
    async def resolve(self, host: str) -> Sequence[IPAddress]:
        return [ipaddress.ip_address("127.0.0.1")]


@pytest.fixture
def registry(best_poller: Poller) -> Registry:
    direct = TcpDialer(best_poller, Names(), lambda *_: None)
    return Registry([], direct=direct, secure=direct, to_relays=direct)


CUTS = ("tlsrec", "split", "tlsrec|split", "disorder", "doh|tlsrec")


@pytest.fixture
def authority() -> Authority:
    return Authority()


async def fetched(registry: Registry, cut: str, port: int, authority: Authority, tls: str) -> bytes:
    """The first bytes of a page, by TLS through a rung's stream."""
    dialer = registry.dialer(Route.parse(f"direct|{cut}"))
    stream = await dialer.dial(Destination("site.livejournal.test", port))
    try:
        context = authority.client()
        context.maximum_version = context.minimum_version = ssl.TLSVersion[tls]
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname="site.livejournal.test")
        async with asyncio.timeout(20):
            return await _page(stream, client, incoming, outgoing)
    finally:
        stream.abort()


async def _page(stream: Stream, client: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> bytes:
    asked = False
    while True:
        try:
            client.do_handshake()
            if not asked:
                client.write(b"GET / HTTP/1.0\r\nHost: site.livejournal.test\r\n\r\n")
                asked = True
            await stream.send(outgoing.read())
            return client.read(200)
        except ssl.SSLWantReadError:
            if outgoing.pending:
                await stream.send(outgoing.read())
            incoming.write(await stream.receive())


VERSIONS = ("TLSv1_2", "TLSv1_3")


@pytest.mark.parametrize("tls", VERSIONS)
@pytest.mark.parametrize("cut", CUTS)
async def test_python_reads_a_cut_hello(registry: Registry, authority: Authority, cut: str, tls: str) -> None:
    asked: list[str | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello")
        writer.close()

    context = authority.server_for_all(asked.append, "127.0.0.1")
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        page = await fetched(registry, cut, server.sockets[0].getsockname()[1], authority, tls)
    assert page.startswith(b"HTTP/1.0 200 OK")
    assert asked == ["site.livejournal.test"]


NGINX = """
daemon off; master_process off; pid nginx.pid; error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port} ssl; server_name site.livejournal.test;
        ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {chain}; ssl_certificate_key {key};
        location / {{ return 200 hello; }}
    }}
}}
"""
NODE = """
const fs = require("fs");
require("https").createServer({{cert: fs.readFileSync("{chain}"), key: fs.readFileSync("{key}")}},
    (request, answer) => answer.end("hello")).listen({port}, "127.0.0.1");
"""


async def serves_all(registry: Registry, authority: Authority, port: int, tls: str) -> None:
    for cut in CUTS:
        assert (await fetched(registry, cut, port, authority, tls)).startswith(b"HTTP/1."), cut


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("tls", VERSIONS)
async def test_openssl_reads_a_cut_hello(registry: Registry, authority: Authority, tmp_path: Path, tls: str) -> None:
    chain, key = authority.write_server(tmp_path, "site.livejournal.test")
    port = free_port()
    command = ("s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(chain), "-cert_chain", str(chain), "-key")
    async with running(require("openssl"), *command, str(key), "-www", "-quiet", port=port, folder=tmp_path):
        await serves_all(registry, authority, port, tls)


@pytest.mark.needs("nginx")
@pytest.mark.parametrize("tls", VERSIONS)
async def test_nginx_reads_a_cut_hello(registry: Registry, authority: Authority, tmp_path: Path, tls: str) -> None:
    chain, key = authority.write_server(tmp_path, "site.livejournal.test")
    port = free_port()
    (tmp_path / "nginx.conf").write_text(NGINX.format(port=port, chain=chain, key=key))
    command = (require("nginx"), "-p", str(tmp_path), "-c", "nginx.conf", "-e", "stderr")
    async with running(*command, port=port, folder=tmp_path):
        await serves_all(registry, authority, port, tls)


@pytest.mark.needs("node")
@pytest.mark.parametrize("tls", VERSIONS)
async def test_node_reads_a_cut_hello(registry: Registry, authority: Authority, tmp_path: Path, tls: str) -> None:
    chain, key = authority.write_server(tmp_path, "site.livejournal.test")
    port = free_port()
    (tmp_path / "server.js").write_text(NODE.format(port=port, chain=chain, key=key))
    async with running(require("node"), "server.js", port=port, folder=tmp_path):
        await serves_all(registry, authority, port, tls)


@pytest.mark.needs("gnutls-serv")
@pytest.mark.parametrize("tls", VERSIONS)
async def test_gnutls_reads_a_cut_hello(registry: Registry, authority: Authority, tmp_path: Path, tls: str) -> None:
    chain, key = authority.write_server(tmp_path, "site.livejournal.test")
    port = free_port()
    command = ("--http", "--port", str(port), "--x509certfile", str(chain), "--x509keyfile", str(key), "--noticket")
    async with running(require("gnutls-serv"), *command, port=port, folder=tmp_path):
        await serves_all(registry, authority, port, tls)


# -- out of the way ----------------------------------------------------------------------------------------------------


@linux
async def test_behind_its_flight_a_tunnel_is_spliced(best_poller: Poller) -> None:
    ours, client = tcp_pair()
    near, site = tcp_pair()
    loop = asyncio.get_running_loop()
    payload = os.urandom(4 << 20)
    stream = FragmentingStream(SocketStream(near, best_poller, "site"), SPLIT)
    await stream.send(HELLO)
    pump = Pump(idle_timeout_s=3600, half_open_timeout_s=3600)
    over = asyncio.Event()
    pump.start(SocketStream(ours, best_poller, "client"), stream, lambda _: over.set(), to_client=b"first")
    got = b""
    async with asyncio.TaskGroup() as both:
        both.create_task(loop.sock_sendall(site, payload))
        while len(got) < len(payload) + 5:
            got += await loop.sock_recv(client, 1 << 20)
    assert got == b"first" + payload
    assert pump.pipes.lent + pump.pipes.idle > 0
    site.close()
    client.close()
    await over.wait()
    await pump.close(0)
