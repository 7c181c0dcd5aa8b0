"""How much a route brings on one connection: pages of every size, flows that stop, servers that hang up. Over scripted
paths under a virtual clock, and over TLS on loopback."""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.model import DIRECT, Destination, Protocol, Route, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers import tls
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.stream import CHUNK, Stream
from proxy.probe.throughput import REQUESTS_MAX, measure_lifetime, measure_speeds, measure_throughput
from tests.lab.authorities import Authority
from tests.support.answering import answering, babbling
from tests.support.clock import run as play
from tests.support.late import stall
from tests.support.rows import each_row
from tests.support.scripted import Script, ScriptedStream
from tests.support.streams import listening

HOST = "www.example.test"
SITE = Destination(HOST, 80)
ENOUGH = 64 * 1024
REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n".encode()


@dataclass
class Server:
    """A dialer to a server that answers each request with a page, `takes_s` later; it stops for good at `limit` bytes
    of a connection, or hangs up after `pages`."""

    page: int
    takes_s: float = 0.1
    limit: int = 1 << 30
    pages: int = 1 << 30
    refuses: DialError | None = None
    streams: list[Answering] = field(default_factory=list)

    async def dial(self, destination: Destination) -> Stream:
        assert destination == SITE
        if self.refuses is not None:
            raise self.refuses
        self.streams.append(Answering(self))
        return self.streams[-1]


class Answering(ScriptedStream):
    def __init__(self, server: Server) -> None:
        super().__init__(Script())
        self.server = server
        self.requests = 0
        self._left = server.limit

    def send_nowait(self, data: bytes | memoryview) -> int:
        count, rest = divmod(len(data), len(REQUEST))
        assert rest == 0
        assert bytes(data) == REQUEST * count, "no cookies, and no path of the user"
        for _ in range(count):
            self._answer()
        return len(data)

    def _answer(self) -> None:
        self.requests += 1
        loop = asyncio.get_running_loop()
        size = min(self.server.page, self._left)
        self._left -= size
        if self.requests <= self.server.pages:
            loop.call_later(self.server.takes_s, self._bring, bytes(size))
        if self.requests == self.server.pages:
            loop.call_later(self.server.takes_s, self._bring, None)

    def _bring(self, page: bytes | None) -> None:
        if self.closed:
            return
        if page is None:
            self._arrive(b"")
        for start in range(0, len(page or b""), 4096):
            self._arrive((page or b"")[start : start + 4096])


CASES: dict[str, tuple[Server, int, int]] = {  # → the bytes that count, and how many requests it takes at most
    "one large page": (Server(200_000), ENOUGH, 1),
    "a page that just suffices": (Server(ENOUGH), ENOUGH, 1),
    "several pages": (Server(20_000), ENOUGH, 4),
    "pages that come late": (Server(20_000, takes_s=2.5), ENOUGH, 9),
    "many small pages": (Server(math.ceil(ENOUGH / REQUESTS_MAX)), ENOUGH, REQUESTS_MAX),
    "pages that are too small": (Server(400), 400 * REQUESTS_MAX, REQUESTS_MAX),
    "a flow that freezes": (Server(200_000, limit=16_000), 0, REQUESTS_MAX),
    "a flow that freezes at the second page": (Server(20_000, limit=22_000), 0, REQUESTS_MAX),
    "small pages that freeze": (Server(400, limit=16_000), 16_000, REQUESTS_MAX),
    "nothing": (Server(0), 0, REQUESTS_MAX),
    "a server that hangs up": (Server(20_000, pages=2), 40_000, 4),
    "a server that hangs up at once": (Server(0, pages=0), 0, 1),
    "a server that hangs up with enough said": (Server(200_000, pages=1), ENOUGH, 1),
    "no connection": (
        Server(1, refuses=DialError("no way there", stage=Stage.CONNECT, symptom=Symptom.UNREACHABLE)), 0, 0
    ),
}  # fmt: skip


@each_row("name", CASES)
def test_what_a_connection_brings(name: str) -> None:
    server, count, requests = CASES[name]

    async def story() -> None:
        brought = await measure_throughput(server, SITE, HOST, Protocol.HTTP, enough=ENOUGH, within_s=60)
        assert min(brought, ENOUGH) == count
        assert len(server.streams) == (server.refuses is None)
        for stream in server.streams:
            assert stream.closed
            assert stream.requests <= requests

    play(story())


def test_a_flow_that_crawls_does_not_bring_it_in_time() -> None:
    async def story() -> None:
        server = Server(8_000, takes_s=3.0)
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert not await measure_throughput(server, SITE, HOST, Protocol.HTTP, enough=ENOUGH, within_s=5)
        assert loop.time() - started == pytest.approx(5)
        assert [stream.closed for stream in server.streams] == [True]
        assert await measure_throughput(server, SITE, HOST, Protocol.HTTP, enough=ENOUGH, within_s=60)

    play(story())


@each_row(
    ("server", "lasted_s", "symptom", "requests"),
    [
        (Server(100), 32.0, Symptom.NONE, 8),
        (Server(100, takes_s=5.0), 40.0, Symptom.NONE, 8),  # slower than requests are sent
        (Server(100, pages=3), 8.1, Symptom.EOF, 3),
        (Server(100, limit=300), 12.0, Symptom.SILENT, 4),
    ],
)
def test_how_long_a_connection_lasts(server: Server, lasted_s: float, symptom: Symptom, requests: int) -> None:
    async def story() -> None:
        found = await measure_lifetime(server, SITE, HOST, Protocol.HTTP, lasts_s=32.0, answer_s=7.0, request=REQUEST)
        assert found[0] == pytest.approx(lasted_s)
        assert found[1] is symptom
        assert [(stream.requests, stream.closed) for stream in server.streams] == [(requests, True)]

    play(story())


def test_without_a_connection_there_is_no_lifetime() -> None:
    server = Server(1, refuses=DialError("no way there", stage=Stage.CONNECT, symptom=Symptom.UNREACHABLE))

    async def story() -> None:
        with pytest.raises(DialError):
            await measure_lifetime(server, SITE, HOST, Protocol.HTTP, lasts_s=1.0, answer_s=1.0, request=REQUEST)

    play(story())


# -- how fast ----------------------------------------------------------------------------------------------------------

KB = 1000


@dataclass
class Line:
    """A dialer to a server whose pages come in a first burst, and then in pieces at a rate."""

    rate: float  # bytes a second
    page: int = 1_000_000
    burst: int = 0
    piece: int = 4 * KB
    silent_at: int = 1 << 30  # bytes after which nothing more comes
    status: int = 200
    trip_s: float = 0.02  # a round trip; at its start TCP sends 15 KB in the first one, and twice as many in each next
    streams: list[Paced] = field(default_factory=list)

    async def dial(self, destination: Destination) -> Stream:
        self.streams.append(Paced(self))
        return self.streams[-1]


class Paced(ScriptedStream):
    def __init__(self, line: Line) -> None:
        super().__init__(Script())
        self.line = line
        self.requests = self.came = self.read = 0
        self.began_at = self.free_at = 0.0
        self.has_begun = False
        self.options: list[tuple[int, ...]] = []

    def setsockopt(self, *option: int) -> None:
        self.options.append(option)

    def send_nowait(self, data: bytes | memoryview) -> int:
        loop, line, count = asyncio.get_running_loop(), self.line, bytes(data).count(b"GET ")
        self.requests += count
        self.free_at = max(self.free_at, loop.time() + line.trip_s)
        self.began_at = self.began_at or loop.time()
        for _ in range(count):
            for start in range(0, line.page, line.piece):
                size = min(line.piece, line.page - start)
                if self.came >= line.burst:
                    self.free_at += size / line.rate
                self.came += size
                if self.came > line.silent_at:
                    break
                trips = math.ceil(math.log2(self.came / (15 * KB) + 1))
                self.free_at = max(self.free_at, self.began_at + trips * line.trip_s)
                loop.call_at(self.free_at, self._bring, size)
        return len(data)

    def _bring(self, size: int) -> None:
        head = b"" if self.has_begun else b"HTTP/1.1 %d X\r\n\r\n" % self.line.status
        self.has_begun = True
        if not self.closed:
            self._arrive(head.ljust(size))

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        data = super().receive_nowait(limit)
        self.read += len(data or b"")
        return data


def speeds(
    direct: Line, relay: Line, protocol: Protocol = Protocol.HTTP, stalled: tuple[float, float] = (0.0, 0.0)
) -> tuple[float | None, float | None] | None:
    """Measures them beside a visit. `stalled`: when the loop is late, and by how many seconds."""
    by_relay = Route(("vps",))
    turns: list[str] = []

    async def turn(name: str) -> None:
        turns.append(name)

    async def story() -> tuple[float | None, float | None] | None:
        setup: Any = SimpleNamespace(
            registry=SimpleNamespace(dialer={DIRECT: direct, by_relay: relay}.__getitem__),
            settings=SimpleNamespace(detect=SimpleNamespace(retest_pair_s=10.0)),
        )
        visit: Any = SimpleNamespace(request=SimpleNamespace(destination=SITE), host=HOST, protocol=protocol)
        asyncio.get_running_loop().call_later(stalled[0], stall, stalled[1])
        return await measure_speeds(setup, turn, visit, by_relay)

    found = play(story())
    assert all(stream.closed for line in (direct, relay) for stream in line.streams)
    assert turns == ([HOST] if protocol is Protocol.TLS else [])
    return found


def test_the_speeds_of_two_routes_are_those_of_what_comes_last() -> None:
    """A policer lets a first burst pass."""
    direct, relay = Line(130 * KB, burst=16 * KB), Line(900 * KB)
    found = speeds(direct, relay)
    assert found == pytest.approx((130 * KB, 900 * KB), rel=0.02)
    assert [stream.requests for line in (direct, relay) for stream in line.streams] == [1, 1]


def test_the_bytes_of_a_measurement_have_a_bound() -> None:
    direct, relay = Line(130 * KB), Line(900 * KB)
    speeds(direct, relay)
    streams = [stream for line in (direct, relay) for stream in line.streams]
    assert sum(stream.read for stream in streams) <= 120 * 1024 + 2 * 4 * KB
    assert [stream.options for stream in streams] == [[(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)]] * 2, (
        "so much more may be on the way"
    )


@each_row("page", [100 * KB, 30 * KB, 9 * KB])
def test_small_pages_are_asked_for_again(page: int) -> None:
    direct, relay = Line(130 * KB, page), Line(900 * KB, page)
    assert speeds(direct, relay) == pytest.approx((130 * KB, 900 * KB), rel=0.05)
    assert all(stream.requests <= 8 for line in (direct, relay) for stream in line.streams)


@each_row("direct", [Line(130 * KB, 8 * KB), Line(130 * KB, 200, piece=200), Line(130 * KB, status=404)])
def test_a_page_that_is_too_small_or_none_tells_no_speed_at_the_first_request(direct: Line) -> None:
    relay, direct = Line(900 * KB), replace(direct, streams=[])
    assert speeds(direct, relay) is None
    assert [stream.requests for line in (direct, relay) for stream in line.streams] == [1]


def test_pages_that_are_late_tell_no_speed() -> None:
    assert speeds(Line(2 * KB, piece=KB), Line(900 * KB, silent_at=30 * KB)) == (None, None)


def test_a_small_page_by_relay_tells_no_speed() -> None:
    found = speeds(Line(130 * KB), Line(900 * KB, 4 * KB))
    assert found is not None
    assert found[0] == pytest.approx(130 * KB, rel=0.05)
    assert found[1] is None


@each_row(
    ("at", "seconds", "tells"),
    [(0.3, 0.09, (True, True)), (0.3, 0.2, (False, True)), (0.6, 0.2, (True, False)), (2.0, 0.2, (True, True))],
)
def test_a_process_that_is_late_tells_no_speed(at: float, seconds: float, tells: tuple[bool, bool]) -> None:
    """What came meanwhile seems to come at once."""
    found = speeds(Line(130 * KB), Line(130 * KB), stalled=(at, seconds))
    assert found is not None
    assert tuple(speed is not None for speed in found) == tells


def test_direct_that_only_its_round_trips_slow_down_is_as_fast_as_can_be() -> None:
    """As over a long way: a relay that is nearer starts sooner."""
    for rate, found in ((10_000 * KB, math.inf), (40 * KB, 40 * KB)):
        both = speeds(Line(rate, trip_s=0.1), Line(900 * KB))
        assert both is not None
        assert both[0] == pytest.approx(found, rel=0.1)


def test_over_tls_a_measurement_waits_for_its_turn() -> None:
    assert speeds(Line(130 * KB), Line(130 * KB), Protocol.TLS) == (None, None), "the server speaks no TLS"


# -- over TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    """An authority that this system trusts, and no other."""
    with Authority("Public") as authority:
        bundle = tmp_path / "trust.pem"
        bundle.write_text(authority.pem)
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        tls._system_context.cache_clear()
        yield authority
        tls._system_context.cache_clear()


async def _brings(dialer: Dialer) -> bool:
    brought = await measure_throughput(dialer, Destination(HOST, 443), HOST, Protocol.TLS, enough=ENOUGH, within_s=10)
    return brought >= ENOUGH


async def _over_tls(via: TcpDialer, context: ssl.SSLContext, size: int) -> bool:
    async with answering(via, bytes(size), context) as dialer:
        return await _brings(dialer)


@pytest.mark.usefixtures("home")
async def test_over_tls(to_relays: TcpDialer, trusted: Authority) -> None:
    assert await _over_tls(to_relays, trusted.server(), ENOUGH)
    assert not await _over_tls(to_relays, trusted.server(), ENOUGH - 1)


@pytest.mark.usefixtures("home", "trusted")
async def test_what_somebody_else_brings_does_not_count(to_relays: TcpDialer) -> None:
    with Authority("Another") as another:
        assert not await _over_tls(to_relays, another.server(), ENOUGH)
    async with babbling(to_relays, bytes(ENOUGH)) as dialer:
        assert not await _brings(dialer)


def test_small_pages_bring_it_within_the_time_of_a_retest() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert await measure_throughput(Server(1024), SITE, HOST, Protocol.HTTP, enough=ENOUGH, within_s=10)
        assert loop.time() == pytest.approx(0.1 + 1.0 + 0.1)
        frozen = Server(1024, limit=16_000)
        assert not await measure_throughput(frozen, SITE, HOST, Protocol.HTTP, enough=ENOUGH, within_s=10)

    play(story())


async def test_bytes_that_came_while_the_loop_was_late_count(to_relays: TcpDialer) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        stall(1000)
        writer.write(bytes(ENOUGH // 4))
        writer.close()

    async with listening(serve, "127.0.0.1", 0) as server:
        place = Destination("127.0.0.1", server.sockets[0].getsockname()[1])
        assert (
            await measure_throughput(to_relays, place, HOST, Protocol.HTTP, enough=ENOUGH // 4, within_s=60)
            == ENOUGH // 4
        )
