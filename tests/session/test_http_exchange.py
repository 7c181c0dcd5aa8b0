"""One exchange over real loopback sockets: a browser's hand on one side, a server's on the other.

What is sent is compared byte by byte or read by h11; nothing is waited for by time, and the limits that are waited out
are set to a few milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
from collections.abc import AsyncIterator, Iterable

import h11
import pytest

from proxy.model import ClosedBy, Stage, Symptom
from proxy.model.errors import DialError, PeerError
from proxy.net.dialers.relay_handshake import PrefixedStream
from proxy.net.notify import Notify
from proxy.net.poller import EpollPoller, LoopPoller, Poller
from proxy.net.stream import CHUNK, EndedByByway, SocketStream, Stream, read_with
from proxy.net.tasks import spawn
from proxy.session import http_exchange as exchange_module
from proxy.session.http_exchange import Exchange, Exchanged
from proxy.wire import http1
from proxy.wire.reader import Reader
from tests.support import clock
from tests.support.sockets import tcp_pair
from tests.support.waiting import until

BOUND_S = 20.0  # only against hanging
GET = b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n"
ORIGIN_GET = b"GET / HTTP/1.1\r\nHost: example.org\r\nConnection: keep-alive\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
HELLO_FORWARDED = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"
DATA = random.Random(2008).randbytes(3_000_000)


def post(*lines: bytes, body: bytes = b"") -> bytes:
    head = [b"POST http://example.org/ HTTP/1.1", b"Host: example.org", *lines, b"", b""]
    return b"\r\n".join(head) + body


class Wires:
    """Four ends: the browser's and the server's are the test's, those between them belong to the exchange."""

    def __init__(self, poller: Poller) -> None:
        browser, client = tcp_pair()
        upstream, server = tcp_pair()
        self.browser, self.client = SocketStream(browser, poller, "browser"), SocketStream(client, poller, "client")
        self.upstream: Stream = SocketStream(upstream, poller, "upstream")
        self.server = SocketStream(server, poller, "server")
        self.client_reader, self.upstream_reader = Reader(), Reader()

    async def start(
        self, request: bytes, *, head_sent: int = 0, idle_timeout_s: float = BOUND_S
    ) -> asyncio.Task[Exchanged]:
        """The browser sends, we read the head, and the exchange runs."""
        if request:
            await self.browser.send(request)
        head = await read_with(self.client, self.client_reader, http1.read_request_head(self.client_reader))
        notify = Notify()
        self.client.notify = notify.set
        self.exchange = Exchange(self.client, self.client_reader, self.upstream, self.upstream_reader, head, notify)
        return spawn(self.exchange.run(head_sent=head_sent, idle_timeout_s=idle_timeout_s), name="exchange")

    def close(self) -> None:
        for end in (self.browser, self.client, self.upstream, self.server):
            end.close()


@pytest.fixture(params=[EpollPoller, LoopPoller])
async def wires(request: pytest.FixtureRequest) -> AsyncIterator[Wires]:
    poller: Poller = request.param(asyncio.get_running_loop())
    ends = Wires(poller)
    try:
        yield ends
    finally:
        ends.close()
        poller.close()


async def take(stream: Stream, size: int) -> bytes:
    """`size` bytes, or what came before the end."""
    data = b""
    async with asyncio.timeout(BOUND_S):
        while len(data) < size and (more := await stream.receive(size - len(data))):
            data += more
    return data


async def take_head(stream: Stream) -> bytes:
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        byte = await take(stream, 1)
        assert byte, f"the end came after {data!r}"
        data += byte
    return data


async def take_all(stream: Stream) -> bytes:
    """Everything until the peer ends. Raises ConnectionResetError when it breaks off."""
    data = bytearray()
    async with asyncio.timeout(BOUND_S):
        while more := await stream.receive():
            data += more
    return bytes(data)


async def nothing_more(stream: Stream) -> None:
    """After the exchange nothing is under way on loopback: what is not there now was not sent."""
    assert stream.receive_nowait() is None


# -- the usual -------------------------------------------------------------------------------------------------------


async def test_a_request_and_its_answer(wires: Wires) -> None:
    task = await wires.start(GET)
    assert await take_head(wires.server) == ORIGIN_GET
    await wires.server.send(HELLO)
    assert await task == Exchanged(
        status=200,
        bytes_up=len(ORIGIN_GET),
        bytes_down=len(HELLO_FORWARDED),
        client_reusable=True,
        upstream_reusable=True,
        upgraded=False,
        closed_by=ClosedBy.SERVER,
    )
    assert await take(wires.browser, len(HELLO_FORWARDED)) == HELLO_FORWARDED
    assert wires.upstream.notify is None


async def test_a_race_has_sent_the_head_and_holds_the_first_bytes(wires: Wires) -> None:
    wires.upstream_reader.receive_data(HELLO[:20])
    task = await wires.start(GET, head_sent=len(ORIGIN_GET))
    await wires.server.send(HELLO[20:])
    exchanged = await task
    assert exchanged.bytes_up == len(ORIGIN_GET)
    assert await take(wires.browser, len(HELLO_FORWARDED)) == HELLO_FORWARDED
    await nothing_more(wires.server)


async def test_the_whole_answer_is_there_already(wires: Wires) -> None:
    wires.upstream_reader.receive_data(HELLO)
    assert (await (await wires.start(GET, head_sent=len(ORIGIN_GET)))).upstream_reusable


async def test_a_server_that_ends_after_its_answer_is_not_asked_again(wires: Wires) -> None:
    wires.upstream_reader.receive_data(HELLO)
    wires.upstream_reader.receive_data(b"")
    exchanged = await (await wires.start(GET, head_sent=len(ORIGIN_GET)))
    assert exchanged.client_reusable
    assert not exchanged.upstream_reusable


async def test_bytes_one_at_a_time(wires: Wires) -> None:
    task = await wires.start(post(b"Transfer-Encoding: chunked"))
    for byte in b"3\r\nabc\r\n0\r\n\r\n":
        await wires.browser.send(bytes([byte]))
        await asyncio.sleep(0)
    await take_head(wires.server)
    for byte in HELLO:
        await wires.server.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await task).client_reusable
    assert await take(wires.browser, len(HELLO_FORWARDED)) == HELLO_FORWARDED


@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_both_ways_at_the_same_time(wires: Wires, chunked: bool) -> None:
    """A server that sends back what it reads, while it reads."""
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(DATA)
    sent = http1.encode_chunk(DATA) + http1.LAST_CHUNK if chunked else DATA
    browser = spawn(wires.browser.send(post(framing) + sent), name="upload")
    task = await wires.start(b"")
    echo = spawn(echo_body(wires.server, framing), name="echo")
    answer = h11.Connection(h11.CLIENT)
    answer.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
    content = bytearray()
    while not isinstance(event := answer.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            answer.receive_data(await wires.browser.receive())
        elif isinstance(event, h11.Data):
            content += event.data
    assert content == DATA
    exchanged = await task
    await browser
    await echo
    assert exchanged.upstream_reusable
    assert not exchanged.error


async def echo_body(server: Stream, framing: bytes) -> None:
    """Reads a request with h11, and sends its content as it comes."""
    judge = h11.Connection(h11.SERVER)
    while not isinstance(event := judge.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            judge.receive_data(await server.receive())
        elif isinstance(event, h11.Request):
            await server.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        elif isinstance(event, h11.Data):
            content = bytes(event.data)
            await server.send(http1.encode_chunk(content) if b"chunked" in framing else content)
    if b"chunked" in framing:
        await server.send(http1.LAST_CHUNK)


# -- the server fails before it answers ------------------------------------------------------------------------------


async def failed(task: asyncio.Task[Exchanged], symptom: Symptom) -> None:
    with pytest.raises(DialError) as fault:
        await task
    assert (fault.value.stage, fault.value.symptom) == (Stage.FIRST_BYTE, symptom)


async def test_the_server_ends_without_a_byte(wires: Wires) -> None:
    task = await wires.start(GET)
    await take_head(wires.server)
    wires.server.close()
    await failed(task, Symptom.EOF)
    await nothing_more(wires.browser)


async def test_the_server_resets(wires: Wires) -> None:
    task = await wires.start(GET)
    await take_head(wires.server)
    wires.server.abort()
    await failed(task, Symptom.RESET)
    await nothing_more(wires.browser)


async def test_the_server_has_reset_an_idle_connection(wires: Wires) -> None:
    wires.server.abort()
    await failed(await wires.start(post(b"Content-Length: 5", body=b"hello")), Symptom.RESET)


async def test_the_server_is_silent(wires: Wires) -> None:
    await failed(await wires.start(GET, idle_timeout_s=0.02), Symptom.SILENT)


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>Blocked\r\n\r\n",
        b"HTTP/1.1 302 X\r\nLocation: /\r\nsplit\r\n\r\n",  # A38
        b"HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic\r\n\r\n",  # A33
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",  # A37
        b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 5000 + b"\r\n",  # A39
        b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",  # A35: nobody asked
        b"HTTP/1.1 100 X\r\n\r\n" * 40,  # A35
    ],
)
async def test_A33_A35_A37_A38_A39_what_is_no_answer(wires: Wires, answer: bytes) -> None:
    task = await wires.start(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
    await wires.server.send(answer)
    await failed(task, Symptom.GARBAGE)
    await nothing_more(wires.browser)


async def test_A39_a_head_that_never_ends(wires: Wires) -> None:
    task = await wires.start(GET)

    async def endless() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await wires.server.send(b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 1000)

    sending = spawn(endless(), name="endless head")
    await failed(task, Symptom.GARBAGE)
    wires.upstream.abort()
    await sending


# -- the server fails in the middle of its answer --------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
async def test_A37_a_broken_answer_does_not_look_complete(wires: Wires, start: bytes) -> None:
    task = await wires.start(GET)
    await wires.server.send(start)
    begun = await take_head(wires.browser)
    wires.server.close()
    exchanged = await task
    assert (exchanged.status, exchanged.closed_by) == (200, ClosedBy.SERVER)
    assert exchanged.error
    assert not exchanged.client_reusable
    assert not exchanged.upstream_reusable
    assert begun.startswith(b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(ConnectionResetError):
        await take_all(wires.browser)


async def test_A37_a_broken_answer_of_which_nothing_went_out_can_still_be_told(wires: Wires) -> None:
    task = await wires.start(GET)
    await wires.server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n")
    await failed(task, Symptom.GARBAGE)
    await nothing_more(wires.browser)


async def test_A37_a_reset_is_not_taken_for_the_end(wires: Wires) -> None:
    task = await wires.start(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
    await wires.server.send(b"HTTP/1.0 200 OK\r\n\r\nhello")
    assert (await take_head(wires.browser)).endswith(b"Connection: close\r\n\r\n")
    wires.server.abort()
    assert (await task).error
    with pytest.raises(ConnectionResetError):
        await take_all(wires.browser)


async def test_an_answer_that_byway_itself_ends_is_blamed_on_no_server(wires: Wires) -> None:
    class Ended(PrefixedStream):
        """Its end is Byway's own, as that of an engine for keys may be."""

        def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
            data = super().receive_nowait(limit)
            if data == b"":
                raise EndedByByway("Byway ended what carried it")
            return data

    wires.upstream = Ended(wires.upstream, b"")
    task = await wires.start(GET)
    await take_head(wires.server)
    await wires.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhello")
    await take(wires.browser, len(HELLO_FORWARDED))
    wires.server.close()
    exchanged = await task
    assert exchanged.closed_by is ClosedBy.BYWAY
    assert "Byway ended what carried it" in exchanged.error


async def test_an_answer_that_is_broken_off_from_outside_does_not_look_complete(wires: Wires) -> None:
    running = await wires.start(GET)
    await take_head(wires.server)
    await wires.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhello")
    await take(wires.browser, len(HELLO_FORWARDED))
    assert not wires.exchange.client_is_slow
    wires.exchange.break_off("the relay was silent")
    exchanged = await running
    assert (exchanged.error, exchanged.closed_by) == ("the relay was silent", ClosedBy.SERVER)
    with pytest.raises(ConnectionResetError):
        await take_all(wires.browser)


async def test_one_that_is_broken_off_before_the_answer_can_still_be_told(wires: Wires) -> None:
    running = await wires.start(GET)
    await take_head(wires.server)
    wires.exchange.break_off("the relay was silent")
    with pytest.raises(DialError, match="the relay was silent") as caught:
        await running
    assert (caught.value.stage, caught.value.symptom) == (Stage.FIRST_BYTE, Symptom.SILENT)


async def test_A17_an_answer_that_stops(wires: Wires) -> None:
    task = await wires.start(GET, idle_timeout_s=0.05)
    await wires.server.send(HELLO[:-1])
    exchanged = await task
    assert exchanged.closed_by is ClosedBy.IDLE
    assert exchanged.error


# -- the client ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", [b"5;ext\n", b"5_0\r\n", b"10000000000000000\r\n", b"5\r\nhello!!", b"5;" + b"e" * 999]
)
async def test_A11_malformed_chunks(wires: Wires, line: bytes) -> None:
    task = await wires.start(post(b"Transfer-Encoding: chunked", body=b"2\r\nok\r\n" + line))
    with pytest.raises(PeerError) as fault:
        await task
    assert fault.value.reply.startswith(b"HTTP/1.1 400 ")
    wires.upstream.abort()  # as the caller does
    with contextlib.suppress(ConnectionResetError):
        assert http1.LAST_CHUNK not in await take_all(wires.server)


async def test_A12_trailers_are_dropped_both_ways(wires: Wires) -> None:
    trailed = b"5\r\nhello\r\n0\r\nHost: evil.example\r\nContent-Length: 7\r\n\r\n"
    clean = b"5\r\nhello\r\n0\r\n\r\n"
    task = await wires.start(post(b"Transfer-Encoding: chunked", body=trailed))
    await take_head(wires.server)
    assert await take(wires.server, len(clean)) == clean
    await wires.server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + trailed)
    assert (await task).client_reusable
    await take_head(wires.browser)
    assert await take(wires.browser, len(clean)) == clean
    await nothing_more(wires.browser)


async def test_A17_a_request_that_stops(wires: Wires) -> None:
    task = await wires.start(post(b"Content-Length: 5", body=b"hell"), idle_timeout_s=0.05)
    with pytest.raises(PeerError) as fault:
        await task
    assert fault.value.reply.startswith(b"HTTP/1.1 408 ")


async def test_a_request_that_ends_too_early(wires: Wires) -> None:
    task = await wires.start(post(b"Content-Length: 5", body=b"hell"))
    wires.browser.send_eof()
    with pytest.raises(PeerError):
        await task


async def test_A20_a_client_may_close_its_side_after_the_request(wires: Wires) -> None:
    await wires.browser.send(GET)
    wires.browser.send_eof()
    task = await wires.start(b"")
    await take_head(wires.server)
    body = DATA[:1_000_000]
    sending = spawn(wires.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + body), name="answer")
    assert b"Connection: close\r\n" in await take_head(wires.browser)
    assert await take(wires.browser, len(body)) == body
    await sending
    exchanged = await task
    assert not exchanged.error
    assert not exchanged.client_reusable
    assert exchanged.upstream_reusable


async def test_A20_a_client_may_close_its_side_during_the_answer(wires: Wires) -> None:
    task = await wires.start(GET)
    await wires.server.send(HELLO[:-1])
    assert b"Connection: keep-alive\r\n" in await take_head(wires.browser)
    wires.browser.send_eof()
    await until(lambda: wires.client_reader.ended)
    await wires.server.send(HELLO[-1:])
    exchanged = await task
    assert not exchanged.error
    assert not exchanged.client_reusable


async def test_A21_the_client_resets_while_it_waits(wires: Wires) -> None:
    task = await wires.start(GET)
    await take_head(wires.server)
    wires.browser.abort()
    with pytest.raises(OSError):  # noqa: PT011  any kind: the client has left
        await task


async def test_A21_the_client_resets_in_the_middle(wires: Wires) -> None:
    task = await wires.start(GET)
    await wires.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhello")
    await take_head(wires.browser)
    wires.browser.abort()
    exchanged = await task
    assert exchanged.closed_by is ClosedBy.CLIENT
    assert not exchanged.upstream_reusable


async def test_A22_A23_pipelined_requests_wait_their_turn(wires: Wires) -> None:
    other = GET.replace(b"example.org", b"other.example")
    task = await wires.start(GET + other + other)
    assert await take_head(wires.server) == ORIGIN_GET
    await nothing_more(wires.server)
    await wires.server.send(HELLO)
    assert (await task).client_reusable
    assert len(wires.client_reader) == 2 * len(other)
    again = await wires.start(b"")
    assert await take_head(wires.server) == ORIGIN_GET.replace(b"example.org", b"other.example")
    await wires.server.send(HELLO)
    assert (await again).client_reusable
    assert await take(wires.browser, 2 * len(HELLO_FORWARDED)) == 2 * HELLO_FORWARDED
    assert len(wires.client_reader) == len(other)


async def test_A22_a_body_ends_where_the_next_request_begins(wires: Wires) -> None:
    task = await wires.start(post(b"Content-Length: 5", body=b"hello" + GET))
    await take_head(wires.server)
    assert await take(wires.server, 5) == b"hello"
    await nothing_more(wires.server)
    await wires.server.send(HELLO)
    await task
    assert wires.client_reader.rest() == GET


async def test_a_flood_of_pipelined_requests_is_bounded(wires: Wires) -> None:
    task = await wires.start(GET)
    flood = spawn(wires.browser.send(GET * 100_000), name="flood")
    await take_head(wires.server)
    while len(wires.client_reader) < exchange_module.AHEAD_LIMIT:  # noqa: ASYNC110  the reader announces nothing
        await asyncio.sleep(0)
    await wires.server.send(HELLO)
    assert (await task).client_reusable
    assert len(wires.client_reader) < exchange_module.AHEAD_LIMIT + CHUNK
    flood.cancel()
    await asyncio.wait([flood])


# -- A34: 100-continue -----------------------------------------------------------------------------------------------

EXPECTING = post(b"Content-Length: 5", b"Expect: 100-continue")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def test_A34_the_servers_100_passes(wires: Wires) -> None:
    task = await wires.start(EXPECTING)
    assert b"Expect: 100-continue\r\n" in await take_head(wires.server)
    await wires.server.send(CONTINUE)
    assert await take_head(wires.browser) == CONTINUE
    await wires.browser.send(b"hello")
    assert await take(wires.server, 5) == b"hello"
    await wires.server.send(HELLO)
    assert (await task).client_reusable
    assert await take(wires.browser, len(HELLO_FORWARDED)) == HELLO_FORWARDED


async def test_A34_a_server_that_knows_nothing_of_100(wires: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "CONTINUE_AFTER_S", 0.01)
    task = await wires.start(EXPECTING)
    await take_head(wires.server)
    assert await take_head(wires.browser) == CONTINUE
    await wires.browser.send(b"hello")
    assert await take(wires.server, 5) == b"hello"
    await wires.server.send(CONTINUE + HELLO)  # too late: one is enough
    assert (await task).client_reusable
    assert await take(wires.browser, len(HELLO_FORWARDED)) == HELLO_FORWARDED


async def test_A34_a_client_that_did_not_wait_needs_no_100(wires: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "CONTINUE_AFTER_S", 0.0)
    task = await wires.start(EXPECTING + b"hello")
    await take_head(wires.server)
    assert await take(wires.server, 5) == b"hello"
    await wires.server.send(HELLO)
    assert (await task).client_reusable
    assert await take(wires.browser, len(HELLO_FORWARDED)) == HELLO_FORWARDED


@pytest.mark.parametrize("status", [b"417 Expectation Failed", b"401 Unauthorized", b"200 OK"])
async def test_A34_a_final_answer_instead_of_100(wires: Wires, status: bytes) -> None:
    task = await wires.start(EXPECTING)
    await take_head(wires.server)
    await wires.server.send(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
    assert b"Connection: close\r\n" in await take_head(wires.browser)
    wires.browser.send_eof()  # it keeps its body
    exchanged = await task
    assert exchanged.status == int(status[:3])
    assert not exchanged.client_reusable
    assert not exchanged.upstream_reusable


# -- answers before the request is complete --------------------------------------------------------------------------


@pytest.mark.parametrize("server_ends", [False, True])
async def test_an_early_answer_reaches_a_client_that_still_sends(wires: Wires, server_ends: bool) -> None:
    size = 50_000_000
    task = await wires.start(post(b"Content-Length: %d" % size))
    upload = spawn(wires.browser.send(bytes(size)), name="upload")
    await take_head(wires.server)
    await wires.server.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge")
    if server_ends:
        wires.server.send_eof()
    answer = await take_all(wires.browser)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"large")
    upload.cancel()
    await asyncio.wait([upload])
    wires.browser.close()
    exchanged = await task
    assert exchanged.status == 413
    assert not exchanged.client_reusable
    assert not exchanged.upstream_reusable
    assert not exchanged.error


async def test_a_server_that_answers_and_reads_on_gets_the_rest(wires: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "LINGER_S", 100 * BOUND_S)  # it ends with the request, not with the limit
    task = await wires.start(post(b"Content-Length: 10", body=b"first"))
    await take_head(wires.server)
    await wires.server.send(HELLO)
    await take_head(wires.browser)
    await wires.browser.send(b"later")
    assert await take(wires.server, 10) == b"firstlater"
    async with asyncio.timeout(BOUND_S):
        exchanged = await task
    assert not exchanged.client_reusable  # as its head has said
    assert exchanged.bytes_up > 10


async def test_a_client_that_lingers_is_left(wires: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "LINGER_S", 0.02)
    task = await wires.start(post(b"Content-Length: 10", body=b"first"))
    await wires.server.send(HELLO)
    assert not (await task).client_reusable


# -- A35, A36: interim answers and upgrades --------------------------------------------------------------------------


async def test_A35_interim_answers_pass(wires: Wires) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    task = await wires.start(GET)
    await wires.server.send(CONTINUE + hints + b"HTTP/1.1 102 Processing\r\n\r\n" + HELLO)
    assert (await task).status == 200
    expected = CONTINUE + hints + b"HTTP/1.1 102 Processing\r\n\r\n" + HELLO_FORWARDED
    assert await take(wires.browser, len(expected)) == expected


async def test_A35_http_1_0_has_no_interim_answers(wires: Wires) -> None:
    task = await wires.start(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
    await wires.server.send(CONTINUE * 3 + HELLO)
    assert (await task).status == 200
    assert (await take_head(wires.browser)).startswith(b"HTTP/1.1 200 ")


async def test_A35_a_failure_after_an_interim_answer_can_still_be_told(wires: Wires) -> None:
    task = await wires.start(GET)
    await take_head(wires.server)
    await wires.server.send(CONTINUE)
    assert await take_head(wires.browser) == CONTINUE
    wires.server.close()
    await failed(task, Symptom.EOF)


UPGRADE = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"


async def test_A36_websocket(wires: Wires) -> None:
    task = await wires.start(UPGRADE + b"early frame")
    assert b"Upgrade: websocket\r\n" in await take_head(wires.server)
    await nothing_more(wires.server)
    await wires.server.send(UPGRADED + b"first frame")
    exchanged = await task
    assert exchanged.upgraded
    assert not exchanged.client_reusable
    assert not exchanged.upstream_reusable
    assert await take_head(wires.browser) == UPGRADED
    assert wires.client_reader.rest() == b"early frame"
    assert wires.upstream_reader.rest() == b"first frame"


async def test_A36_a_refused_upgrade_is_an_answer(wires: Wires) -> None:
    task = await wires.start(UPGRADE)
    await wires.server.send(HELLO)
    exchanged = await task
    assert not exchanged.upgraded
    assert exchanged.client_reusable


async def test_A36_another_protocol_than_the_one_asked_for(wires: Wires) -> None:
    task = await wires.start(UPGRADE)
    await wires.server.send(UPGRADED.replace(b"WebSocket", b"h2c"))
    await failed(task, Symptom.GARBAGE)


# -- A37: no bytes of one answer in the next -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "answer", "body"),
    [
        (b"HEAD", HELLO, b""),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\nhello", b""),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", b""),
        (b"GET", HELLO + b"more than it said", b"hello"),
        (b"GET", HELLO + HELLO, b"hello"),
    ],
)
async def test_A37_more_bytes_than_the_answer_has(wires: Wires, method: bytes, answer: bytes, body: bytes) -> None:
    task = await wires.start(method + GET.removeprefix(b"GET"))
    await wires.server.send(answer)
    exchanged = await task
    assert exchanged.client_reusable
    assert not exchanged.upstream_reusable
    await take_head(wires.browser)
    assert await take(wires.browser, len(body)) == body
    await nothing_more(wires.browser)


async def test_A37_an_answer_without_a_length(wires: Wires) -> None:
    task = await wires.start(GET)
    await wires.server.send(b"HTTP/1.0 200 OK\r\n\r\nhello")
    head = await take_head(wires.browser)
    assert b"Transfer-Encoding: chunked\r\n" in head
    await wires.server.send(b" world")
    wires.server.send_eof()
    exchanged = await task
    assert exchanged.client_reusable
    assert not exchanged.upstream_reusable
    reader = Reader(await take(wires.browser, exchanged.bytes_down - len(head)))
    content = b"".join(piece or b"" for piece in http1.read_body(reader, http1.Framing(http1.BodyKind.CHUNKED)))
    assert content == b"hello world"


async def test_A37_chunks_to_an_old_client(wires: Wires) -> None:
    task = await wires.start(
        GET.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n")
    )
    assert b"HTTP/1.1\r\n" in await take_head(wires.server)
    await wires.server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    exchanged = await task
    assert not exchanged.client_reusable
    assert exchanged.upstream_reusable
    head = await take_head(wires.browser)
    assert b"chunked" not in head
    assert b"Connection: close\r\n" in head
    wires.client.close()
    assert await take_all(wires.browser) == b"hello"


async def test_an_old_client_may_keep_its_connection(wires: Wires) -> None:
    task = await wires.start(
        GET.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n")
    )
    await wires.server.send(HELLO)
    assert (await task).client_reusable
    assert b"Connection: keep-alive\r\n" in await take_head(wires.browser)


@pytest.mark.parametrize("closing", ["client", "server"])
async def test_either_side_may_say_that_it_closes(wires: Wires, closing: str) -> None:
    close = b"\r\nConnection: close\r\n\r\n"
    task = await wires.start(GET.replace(b"\r\n\r\n", close) if closing == "client" else GET)
    await wires.server.send(HELLO.replace(b"\r\n\r\n", close) if closing == "server" else HELLO)
    exchanged = await task
    assert (exchanged.client_reusable, exchanged.upstream_reusable) == (closing == "server", closing == "client")


# -- bounds, told by streams that are made for it --------------------------------------------------------------------


class Made(Stream):
    """Brings what it is given, and takes as many bytes as it may; then it takes none, or breaks."""

    __slots__ = ("brings", "brought", "largest", "limit", "taken", "then_breaks")

    def __init__(self, brings: Iterable[bytes | None] = (), *, limit: int = 1 << 40, then_breaks: bool = False) -> None:
        super().__init__("made")
        self.brings = iter(brings)
        self.limit = limit
        self.then_breaks = then_breaks
        self.brought = self.taken = self.largest = 0

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        data = next(self.brings, None)
        self.brought += len(data or b"")
        return data

    def send_nowait(self, data: bytes | memoryview) -> int:
        if self.then_breaks and self.taken == self.limit:
            raise ConnectionResetError
        self.largest = max(self.largest, len(data))
        taken = min(len(data), self.limit - self.taken)
        self.taken += taken
        return taken

    def send_eof(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...

    @property
    def plain_socket(self) -> socket.socket | None:
        return None

    @property
    def lowest_socket(self) -> socket.socket:
        raise AssertionError("nobody has to ask")


async def exchanged_between(
    client: Stream, upstream: Stream, request: bytes = GET, *, idle_timeout_s: float = BOUND_S
) -> Exchanged:
    """The client's reader holds what follows the head."""
    reader = Reader(request)
    with pytest.raises(StopIteration) as stop:
        next(http1.read_request_head(reader))
    notify = Notify()
    client.notify = notify.set
    exchange = Exchange(client, reader, upstream, Reader(), stop.value.value, notify)
    return await exchange.run(idle_timeout_s=idle_timeout_s)


PIECES = [bytes(CHUNK)] * 1600
BIG = CHUNK * len(PIECES)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG
UPLOAD = post(b"Content-Length: %d" % BIG)


async def test_B13_at_most_128_KiB_are_held_for_a_client_that_does_not_read() -> None:
    client, upstream = Made(limit=100_000), Made([ANSWER, *PIECES])
    exchanged = await exchanged_between(client, upstream, idle_timeout_s=0.02)
    assert exchanged.closed_by is ClosedBy.IDLE
    assert client.taken == 100_000
    assert upstream.brought - client.taken <= 2 * CHUNK


async def test_B13_at_most_128_KiB_are_held_for_a_server_that_does_not_read() -> None:
    client, upstream = Made(PIECES), Made(limit=100_000)
    with pytest.raises(DialError):
        await exchanged_between(client, upstream, UPLOAD, idle_timeout_s=0.02)
    assert client.brought - upstream.taken <= 2 * CHUNK


async def test_B13_what_had_come_already_goes_out_in_bounded_pieces() -> None:
    client, upstream = Made(), Made([HELLO])
    request = post(b"Content-Length: 1000000", body=bytes(1_000_000))
    assert (await exchanged_between(client, upstream, request)).bytes_up > 1_000_000
    assert upstream.largest <= 2 * CHUNK


async def test_a_fast_download_gives_others_their_turn() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = spawn(others(), name="others")
    exchanged = await exchanged_between(Made(), Made([ANSWER, *PIECES]))
    assert exchanged.bytes_down > BIG
    assert turns >= BIG // exchange_module.TURN
    beside.cancel()
    await asyncio.wait([beside])


async def test_a_server_that_breaks_off_the_upload_may_still_have_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "LINGER_S", 0.02)
    client = Made(itertools.repeat(bytes(CHUNK)))  # sends as fast as it may, for ever
    async with asyncio.timeout(BOUND_S):
        exchanged = await exchanged_between(client, Made([HELLO], limit=1000, then_breaks=True), UPLOAD)
    assert exchanged.status == 200
    assert exchanged.bytes_down == client.taken
    assert not exchanged.error
    assert not exchanged.client_reusable
    assert not exchanged.upstream_reusable


async def test_a_stream_may_have_news_while_it_is_asked() -> None:
    """As TLS does, which reads more from below than it hands out."""

    class Rings(Made):
        def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
            data = super().receive_nowait(limit)
            if data is None and self.notify is not None and self.brought == 0:
                self.notify()
            return data

    async with asyncio.timeout(BOUND_S):
        assert (await exchanged_between(Made(), Rings([None, HELLO]), idle_timeout_s=10 * BOUND_S)).status == 200


def test_A34_one_100_is_enough() -> None:
    """The server's came at once; ours would be due a second later, when the client is still thinking."""
    client = Made()

    async def main() -> None:
        with pytest.raises(PeerError) as fault:
            await exchanged_between(client, Made([CONTINUE]), EXPECTING, idle_timeout_s=5.0)
        assert fault.value.reply.startswith(b"HTTP/1.1 408 ")

    clock.run(main())
    assert client.taken == len(CONTINUE)


async def test_an_exchange_that_is_cancelled_lets_go_of_its_streams() -> None:
    client, upstream = Made(), Made()
    task = spawn(exchanged_between(client, upstream), name="exchange")
    await asyncio.sleep(0)
    assert client.notify is not None
    task.cancel()
    await asyncio.wait([task])
    assert upstream.notify is None
