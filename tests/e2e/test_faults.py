"""The catalogue's HTTP faults, said to a real Byway over real sockets.

Parsers have their own tests; here the question is what the whole program does: what the client sees, what reaches the
origin, and what is left behind. After each test Byway must be as it was: no fault in what it said, no socket held.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.watched import PATIENCE_S, Watched, break_off, connection, say, status
from tests.lab.ear import Ear
from tests.support.client import fetch
from tests.support.origin import Origin, pattern
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTS = '[dns.hosts]\n"one.test" = "127.0.0.1"\n"two.test" = "127.0.0.2"\n'
PATIENT = "[limits]\nlinger_s = 30\n"
"""A client that is late with what it sends on gets its answer all the same. It leaves once it has it."""
HASTE = f"{PATIENT}head_timeout_s = 0.7\nexchange_timeout_s = 0.7\n"
PASSWORD = '[listen]\nuser = "alice"\npassword_cmd = "echo opensesame"\n'
BASIC = b"Proxy-Authorization: Basic YWxpY2U6b3BlbnNlc2FtZQ==\r\n"  # alice:opensesame


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as it:
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    async with Watched(tmp_path_factory.mktemp("plain"), config=HOSTS + PATIENT, forked=False) as it:  # for its memory
        await it.settle_in()
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def in_haste(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    async with Watched(tmp_path_factory.mktemp("hasty"), config=HOSTS + HASTE) as it:
        await it.settle_in()
        yield it


@pytest_asyncio.fixture(loop_scope="module")
async def byway(running: Watched, origin: Origin) -> AsyncIterator[Watched]:
    origin.requests.clear()
    yield running
    await running.is_unharmed()


@pytest_asyncio.fixture(loop_scope="module")
async def hasty(in_haste: Watched) -> AsyncIterator[Watched]:
    yield in_haste
    await in_haste.is_unharmed()


def get(url: str, *lines: bytes, method: str = "GET", host: bytes = b"one.test", body: bytes = b"") -> bytes:
    fields = b"".join(line + b"\r\n" for line in (b"Host: " + host, *lines))
    return f"{method} {url} HTTP/1.1\r\n".encode() + fields + b"\r\n" + body


BAD_HEADS = [  # the target's port is filled in
    ("A1", 400, b"POST http://one.test:%d/ HTTP/1.1\r\nHost: one.test\r\nContent-Length: 5\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("A2", 400, b"POST http://one.test:%d/ HTTP/1.1\r\nHost: one.test\r\nContent-Length: 5\r\n"
                b"Content-Length: 6\r\n\r\n"),
    ("A7-space", 400, b"GET http://one.test:%d/ HTTP/1.1\r\nHost : one.test\r\n\r\n"),
    ("A7-tab", 400, b"GET http://one.test:%d/ HTTP/1.1\r\nHost: one.test\r\nX-A\t: b\r\n\r\n"),
    ("A8", 400, b"GET http://one.test:%d/ HTTP/1.1\r\nHost: one.test\r\nX-A: b\r\n c\r\n\r\n"),
    ("A9-lf", 400, b"GET http://one.test:%d/ HTTP/1.1\nHost: one.test\n\n"),
    ("A9-lf-inside", 400, b"GET http://one.test:%d/ HTTP/1.1\r\nHost: one.test\nX-A: b\r\n\r\n"),
    ("A9-cr", 400, b"GET http://one.test:%d/ HTTP/1.1\r\nHost: one.test\r\nX-A: b\rX-B: c\r\n\r\n"),
    ("A9-nul-in-value", 400, b"GET http://one.test:%d/ HTTP/1.1\r\nHost: one.test\r\nX-A: b\0c\r\n\r\n"),
    ("A9-nul-in-name", 400, b"GET http://one.test:%d/ HTTP/1.1\r\nHost: one.test\r\nX\0A: b\r\n\r\n"),
    ("A13-version", 505, b"GET http://one.test:%d/ HTTP/9.9\r\nHost: one.test\r\n\r\n"),
    ("A25-none", 400, b"GET http://one.test:%d/ HTTP/1.1\r\n\r\n"),
    ("A25-two", 400, b"GET http://one.test:%d/ HTTP/1.1\r\nHost: one.test\r\nHost: two.test\r\n\r\n"),
    ("A26", 400, b"GET http://hidden-user:hidden-word@one.test:%d/ HTTP/1.1\r\nHost: one.test\r\n\r\n"),
    ("A27-fragment", 400, b"GET http://one.test:%d/#a HTTP/1.1\r\nHost: one.test\r\n\r\n"),
    ("A27-ftp", 400, b"GET ftp://one.test:%d/ HTTP/1.1\r\nHost: one.test\r\n\r\n"),
    ("A28", 400, b"GET https://one.test:%d/ HTTP/1.1\r\nHost: one.test\r\n\r\n"),
    ("A30-options", 501, b"OPTIONS * HTTP/1.1\r\nHost: one.test:%d\r\n\r\n"),
    ("A30-trace", 501, b"TRACE http://one.test:%d/ HTTP/1.1\r\nHost: one.test\r\n\r\n"),
    ("A30-max-forwards", 501, b"OPTIONS http://one.test:%d/ HTTP/1.1\r\nHost: one.test\r\nMax-Forwards: 0\r\n\r\n"),
    ("A31-length", 400, b"GET http://one.test:%d/ HTTP/1.1\r\nHost: one.test\r\nConnection: content-length\r\n\r\n"),
    ("A31-host", 400, b"GET http://one.test:%d/ HTTP/1.1\r\nHost: one.test\r\nConnection: Host\r\n\r\n"),
    ("A29-not-ours", 421, b"GET / HTTP/1.1\r\nHost: one.test:%d\r\n\r\n"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "head"), [pytest.param(*rest, id=name) for name, *rest in BAD_HEADS])
async def test_A1_A2_A7_A8_A9_A13_A25_to_A31_a_bad_head_is_refused_and_the_connection_closed(
    byway: Watched, origin: Origin, wanted: int, head: bytes
) -> None:
    before = origin.connections
    good = get(f"http://one.test:{origin.http_port}/smuggled")
    answer = await say(byway.proxy, head % origin.http_port + good)
    assert status(answer) == wanted
    assert len(re.findall(rb"^HTTP/1.1 \d", answer, re.MULTILINE)) == 1, (
        "what follows a head that was refused is not read"
    )
    assert origin.connections == before


async def test_A1_to_A31_the_same_client_is_served_when_its_head_is_good(byway: Watched, origin: Origin) -> None:
    """The control of the test before."""
    answer = await say(byway.proxy, get(f"http://one.test:{origin.http_port}/good", b"Connection: close"))
    assert status(answer) == 200
    assert origin.targets() == ["/good"]


async def test_A28_https_in_the_clear_is_told_how_to_ask(byway: Watched) -> None:
    assert b"CONNECT" in await say(byway.proxy, get("https://one.test/"))


async def test_A29_a_stranger_learns_nothing(byway: Watched) -> None:
    answer = await say(byway.proxy, b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert answer == b"HTTP/1.1 421 Misdirected Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def test_A26_user_information_is_written_nowhere(byway: Watched, origin: Origin) -> None:
    url = f"http://hidden-user:hidden-word@one.test:{origin.http_port}/"
    answer = await say(byway.proxy, get(url))
    logged = (await byway.command("log", "--json")).stdout
    for where in (answer.decode(), logged, byway.said.read_text()):
        assert "hidden-" not in where


LARGE_HEADS = {
    "a line of 64 KiB": get("http://one.test/", b"X-A: " + b"a" * 65536),
    "a head of 2 MB": get("http://one.test/", *(b"X-%d: " % n + b"a" * 4000 for n in range(500))),
    "a line of 2 MB": get("http://one.test/", b"X-A: " + b"a" * 2_000_000),
    "2,000 headers": get("http://one.test/", *(b"X-%d: a" % n for n in range(2000))),
}


@pytest.mark.parametrize("head", [pytest.param(head, id=name) for name, head in LARGE_HEADS.items()])
async def test_A15_431_is_seen_by_a_client_that_sends_on(byway: Watched, head: bytes) -> None:
    answer = await say(byway.proxy, head)
    assert status(answer) == 431


async def test_A15_memory_stays_bounded_when_many_do_it(byway: Watched) -> None:
    clients, size = 40, 2_000_000
    head = LARGE_HEADS["a line of 2 MB"]
    await say(byway.proxy, head)
    byway.forget_peak()
    before = byway.memory()
    answers = await asyncio.gather(*(say(byway.proxy, head) for _ in range(clients)))
    assert {status(answer) for answer in answers} == {431}
    assert byway.memory("VmHWM") - before < clients * size / 4, "64 KiB each would be 3 % of what was sent"


async def test_A16_a_head_that_comes_byte_by_byte_ends_with_408(hasty: Watched) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            for byte in get("http://one.test/", b"X-A: " + b"a" * 10_000):
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(0.02)

    async with connection(hasty.proxy) as (reader, writer), asyncio.TaskGroup() as both:
        dripping = both.create_task(drip(writer))
        answer = await reader.read()
        dripping.cancel()
    assert status(answer) == 408


async def test_A17_a_body_that_stops_ends_the_exchange_on_both_sides(hasty: Watched) -> None:
    ended = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(65536):
                pass
        ended.set()

    async with Ear(socket.socket, ("127.0.0.1", 0), listen) as ear:
        head = get(f"http://one.test:{ear.port}/", b"Content-Length: 100", method="POST")
        answer = await say(hasty.proxy, head + b"ten bytes.")
        await asyncio.wait_for(ended.wait(), PATIENCE_S)
    assert ear.heard[0].endswith(b"ten bytes.")
    assert status(answer) in (408, 502, 504)


async def test_A18_a_client_that_says_nothing_is_sent_away_in_silence(hasty: Watched) -> None:
    assert await say(hasty.proxy) == b""


async def test_A19_half_a_head_and_then_the_end(byway: Watched) -> None:
    for half in (b"G", b"GET http://one.te", b"GET http://one.test/ HTTP/1.1\r\nHost: o", b"\x05", b"\x04\x01\x00"):
        assert await say(byway.proxy, half, finish=True) == b""


async def test_A19_half_a_head_and_then_a_reset(byway: Watched) -> None:
    for half in (b"G", b"GET http://one.test/ HTTP/1.1\r\nHost: o", b"\x05\x01", b"\x04\x01\x00"):
        async with connection(byway.proxy) as (_, writer):
            writer.write(half)
            await asyncio.sleep(0.02)
            break_off(writer)


async def test_A20_a_client_that_has_finished_gets_its_whole_answer(byway: Watched, origin: Origin) -> None:
    size = 5_000_000
    url = f"http://one.test:{origin.http_port}/bytes/{size}"
    answer = await say(byway.proxy, get(url), finish=True)
    assert answer.partition(b"\r\n\r\n")[2] == pattern(size)


async def test_A21_the_origins_side_ends_when_a_client_resets_in_a_download(byway: Watched) -> None:
    left = asyncio.Event()

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            while True:
                writer.write(bytes(65536))
                await writer.drain()
        except OSError:
            left.set()

    async with await asyncio.start_server(pour, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for opening, ask in (
            (b"", get(f"http://one.test:{port}/")),
            (get(f"one.test:{port}", method="CONNECT"), get("/")),
        ):
            left.clear()
            async with connection(byway.proxy) as (reader, writer):
                if opening:
                    writer.write(opening)
                    await reader.readuntil(b"\r\n\r\n")
                writer.write(ask)
                await reader.readexactly(200_000)
                break_off(writer)
            await asyncio.wait_for(left.wait(), PATIENCE_S)


async def test_A22_fifty_pipelined_requests_to_two_hosts_are_answered_in_order(byway: Watched, origin: Origin) -> None:
    async with Origin(addresses=("127.0.0.2", "127.0.0.1")) as other:
        hosts = [(f"one.test:{origin.http_port}", origin), (f"two.test:{other.http_port}", other)]
        sent = [(*hosts[n % 2], f"/{n}") for n in range(50)]
        requests = b"".join(
            get(f"http://{host}{path}", b"Connection: close" if path == "/49" else b"X: a", host=host.encode())
            for host, _, path in sent
        )
        answers = await say(byway.proxy, requests)
        bodies = re.findall(r"^(\S+) says hello$", answers.decode(), re.MULTILINE)
        assert bodies == [host for host, _, _ in sent]
        for host, site in hosts:
            assert [(r.host, r.target) for r in site.requests] == [(h, path) for h, _, path in sent if h == host]


async def test_A23_each_request_on_a_kept_connection_goes_to_its_own_host(byway: Watched, origin: Origin) -> None:
    async with Origin(addresses=("127.0.0.2", "127.0.0.1")) as other, connection(byway.proxy) as (reader, writer):
        for host, site in (("one.test", origin), ("two.test", other), ("two.test", other), ("one.test", origin)):
            writer.write(get(f"http://{host}:{site.http_port}/", host=host.encode()))
            head = await reader.readuntil(b"\r\n\r\n")
            assert status(head) == 200
            assert (await reader.readline()).startswith(host.encode())
        assert {r.host for r in origin.requests} == {f"one.test:{origin.http_port}"}
        assert {r.host for r in other.requests} == {f"two.test:{other.http_port}"}
        assert len(origin.requests) == len(other.requests) == 2


async def test_A24_the_address_wins_over_host(byway: Watched, origin: Origin) -> None:
    url = f"http://one.test:{origin.http_port}/"
    assert status(await say(byway.proxy, get(url, b"Connection: close", host=b"evil.example"))) == 200
    assert [r.host for r in origin.requests] == [f"one.test:{origin.http_port}"]


async def test_A31_hop_by_hop_fields_end_here(byway: Watched, origin: Origin) -> None:
    fields = (b"Connection: close, x-secret", b"X-Secret: 1", b"Proxy-Connection: keep-alive", b"Keep-Alive: 5",
              b"TE: trailers", b"Trailer: X", b"Upgrade: h2c", b"Proxy: evil", b"X-Kept: 1")  # fmt: skip
    assert status(await say(byway.proxy, get(f"http://one.test:{origin.http_port}/", *fields))) == 200
    assert {name for name, _ in origin.requests[0].headers} == {"host", "connection", "x-kept"}


async def test_A32_proxy_authorization_reaches_neither_origin_nor_relay(
    tmp_path_factory: pytest.TempPathFactory, origin: Origin
) -> None:
    """With good credentials, with ones that nobody asked for, and on a connection where they were checked before."""
    heard = bytearray()

    async def overhear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        heard.extend(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(overhear, "127.0.0.1", 0) as server:
        config = (
            HOSTS
            + PASSWORD
            + f'[[relay]]\nname = "ear"\nurl = "http://127.0.0.1:{server.sockets[0].getsockname()[1]}"\n'
        )
        folder = tmp_path_factory.mktemp("locked")
        async with Watched(folder, config=config, rules="DOMAIN,two.test,RELAY\nMATCH,DIRECT\n") as byway:
            await byway.settle_in()
            origin.requests.clear()
            url = f"http://one.test:{origin.http_port}/"
            assert status(await say(byway.proxy, get(url))) == 407
            assert status(await say(byway.proxy, get(url, BASIC[:-4] + b"x="))) == 407
            assert origin.requests == []
            for _ in range(2):
                direct = await say(byway.proxy, get(url, BASIC.strip(), b"Connection: close"))
                assert status(direct) == 200
            relayed = await say(byway.proxy, get("http://two.test/", BASIC.strip(), b"Connection: close"))
            assert status(relayed) == 200
            kept = get(url, BASIC.strip()) + get(url, b"Connection: close")
            assert (await say(byway.proxy, kept)).count(b"HTTP/1.1 407 ") == 1, "checked on each request"
            await byway.is_unharmed()
            assert "opensesame" not in byway.said.read_text()
    assert b"CONNECT two.test:80 HTTP/1.1\r\n" in heard
    assert b"GET / HTTP/1.1\r\n" in heard
    assert b"authorization" not in heard.lower()
    assert len(origin.requests) == 3
    assert not any(name == "proxy-authorization" for r in origin.requests for name, _ in r.headers)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Sign in\r\nProxy-Authenticate: Basic realm=evil\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nProxy-Authenticate: Basic realm=evil\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_A33_an_origin_cannot_ask_for_the_proxys_password(byway: Watched, answer: bytes) -> None:
    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(ask, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        seen = await say(byway.proxy, get(f"http://one.test:{port}/", b"Connection: close"))
    assert status(seen) in (200, 401, 502)
    assert status(seen) == (502 if b" 407 " in answer else status(answer))
    assert b"proxy-auth" not in seen.lower()


async def test_A1_to_A33_a_tunnel_stands_through_all_of_it(byway: Watched, origin: Origin) -> None:
    """One that is open while others misbehave."""
    async with connection(byway.proxy) as (reader, writer):
        writer.write(get(f"one.test:{origin.http_port}", method="CONNECT"))
        await reader.readuntil(b"\r\n\r\n")
        heads = [head % origin.http_port for _, _, head in BAD_HEADS]
        await asyncio.gather(*(say(byway.proxy, head) for head in (*heads, *LARGE_HEADS.values())))
        writer.write(get("/", b"Connection: close"))
        assert status(await reader.read()) == 200


async def test_a_watched_byway_that_holds_a_socket_is_noticed(byway: Watched, origin: Origin) -> None:
    """The control of what is looked at after each test."""
    async with connection(byway.proxy) as (reader, writer):
        writer.write(get(f"one.test:{origin.http_port}", method="CONNECT"))
        await reader.readuntil(b"\r\n\r\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await byway.is_unharmed()
    await until(lambda: byway.faults() == [])
    assert (await fetch(f"http://one.test:{origin.http_port}/", via=byway.proxy)).status == 200
