"""How much a route brings on one connection: pages of every size, flows that stop, servers that hang up. Over scripted
paths under a virtual clock, and over TLS on loopback."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from proxy.model import Destination, Protocol, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers import tls
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.stream import Stream
from proxy.probe.throughput import REQUESTS_MAX, measure_throughput
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
