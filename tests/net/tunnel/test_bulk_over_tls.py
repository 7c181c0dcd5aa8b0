"""What a download over TLS costs a tunnel, for each record that comes alone and for many at once.

Calls and memory are counted, since they do not depend on the machine; timings are in tests/bench."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import FrameType

import pytest
import trustme

from proxy.net.dialers.tls import TlsStream
from proxy.net.poller import EpollPoller
from proxy.net.stream import CHUNK, SocketStream
from proxy.net.tunnel.pump import Pump
from tests.support.sockets import tcp_pair
from tests.support.waiting import GIVEN_UP_S, until

RECORD = 16 * 1024
CALLS = 11
"""Calls of Python functions for a record that comes alone: three of the poller and the socket below TLS, two of the
pump, four of TLS with what `ssl` adds to each, one to send."""


@dataclass
class Download:
    """A tunnel whose server speaks TLS. The test is the server, and reads what the client gets."""

    poller: EpollPoller
    upstream: socket.socket  # the near end, to see whether something has come
    server: ssl.SSLObject
    outgoing: ssl.MemoryBIO
    server_sock: socket.socket
    client: socket.socket

    def send(self, size: int) -> int:
        """Sends so many bytes at most. Returns how many bytes of records the kernel has taken."""
        if size:
            self.server.write(memoryview(bytes(size)))
        records = self.outgoing.read()
        return self.server_sock.send(records)

    def carry(self) -> None:
        """Lets the poller tell of what has come."""
        assert select.select([self.upstream], [], [], GIVEN_UP_S)[0]
        self.poller.wait(0.0)

    def received(self, size: int) -> int:
        """Reads so many bytes as the client, or fewer when no more come. On a busy machine some come later."""
        count, gives_up_at = 0, time.monotonic() + GIVEN_UP_S
        while count < size and time.monotonic() < gives_up_at:
            if select.select([self.client], [], [], 0)[0]:
                count += len(self.client.recv(size - count))
            else:
                self.poller.wait(0.0)
        return count


@pytest.fixture
async def download() -> AsyncIterator[Download]:
    authority = trustme.CA()
    client_context, server_context = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(client_context)
    authority.issue_cert("relay.example").configure_cert(server_context)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(incoming, outgoing, server_side=True)
    poller = EpollPoller(asyncio.get_running_loop())
    pump = Pump(idle_timeout_s=600, half_open_timeout_s=60)
    (near_client, client), (near_upstream, server_sock) = tcp_pair(), tcp_pair()
    for sock in (near_client, near_upstream, client, server_sock):
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, buffer, 1 << 20)
    upstream = TlsStream(SocketStream(near_upstream, poller, "upstream"), client_context, "relay.example")

    def answer() -> bool:
        try:
            incoming.write(server_sock.recv(CHUNK))
            server.do_handshake()
        except BlockingIOError:
            return False
        except ssl.SSLWantReadError:
            server_sock.sendall(outgoing.read())
            return False
        server_sock.sendall(outgoing.read())
        return True

    with client, server_sock:
        shaking = asyncio.ensure_future(upstream.handshake())  # noqa: TID251  awaited below
        await until(answer)
        await shaking
        pump.start(SocketStream(near_client, poller, "client", connected=True), upstream, lambda _: None)
        yield Download(poller, near_upstream, server, outgoing, server_sock, client)
        await pump.close(0)
    poller.close()


async def test_calls_for_a_record_that_comes_alone(download: Download) -> None:
    for _ in range(5):  # the first one finds session tickets
        download.send(RECORD)
        download.carry()
        assert download.received(RECORD) == RECORD
    calls: Counter[str] = Counter()
    raised: list[str] = []

    def count(frame: FrameType, event: str, function: object) -> None:
        module = frame.f_globals["__name__"]
        if event == "call" and module.startswith(("proxy.", "ssl")):
            calls[f"{module}.{frame.f_code.co_qualname}"] += 1
        elif event == "c_exception":
            raised.append(str(function))

    download.send(RECORD)
    await until(lambda: bool(select.select([download.upstream], [], [], 0)[0]))
    sys.setprofile(count)
    try:
        download.poller.wait(0.0)
    finally:
        sys.setprofile(None)
    assert download.received(RECORD) == RECORD
    assert calls.total() <= CALLS, calls
    assert raised == []


async def test_bulk_takes_no_memory_for_what_it_carries(download: Download) -> None:
    """What has come lies in one place that all tunnels share, and is sent on from there."""
    sent = download.send(4 * CHUNK)
    assert sent > 4 * CHUNK, "the kernel has taken all records"
    download.carry()
    assert download.received(4 * CHUNK) == 4 * CHUNK
    download.send(4 * CHUNK)
    await until(lambda: bool(select.select([download.upstream], [], [], 0)[0]))
    tracemalloc.start()
    try:
        download.poller.wait(0.0)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert download.received(4 * CHUNK) == 4 * CHUNK
    assert most < RECORD
