"""The evasion matrix of docs/detection.md, "Local strategies": Byway's own rungs, real TLS, and censors of every view.

The ladder exists, and has its order, because of the results of this matrix.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from proxy.model import Destination
from proxy.net.dialers.evasion import with_strategies
from proxy.net.dialers.tls import TlsStream
from proxy.net.poller import Poller, make_poller
from proxy.net.stream import SocketStream, Stream
from tests.lab.router import Router
from tests.lab.rules import HttpReset, SniDrop, SniReset
from tests.lab.views import View
from tests.support.authority import Authority
from tests.support.streams import listening

SITE = "203.0.113.5"
NAME = "ivanov.livejournal.test"
REQUEST = f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode()
pytestmark = pytest.mark.namespaces

_PATIENCE_S = 10.0

BLOCKED = {
    View.STRING: {"direct"},
    View.PACKET: {"direct"},
    View.PACKET_RECORDS: {"direct", "tlsrec"},
    View.TCP: {"direct", "split", "disorder"},
    View.RECORDS: {"direct", "tlsrec", "split", "tlsrec|split", "disorder"},
}
"""The routes in which a censor with each view finds the name."""

BLOCKED_HTTP = {
    View.STRING: {"direct", "hostcase"},
    View.PACKET: {"direct"},
    View.TCP: {"direct", "hostcase", "split"},
}


@dataclass
class Place:
    """A person and a site, a router between them, and Byway's dialers where the person is."""

    router: Router
    poller: Poller
    trust: ssl.SSLContext

    async def dial(self, destination: Destination) -> Stream:
        """Opens plain TCP from the person's space, as a TcpDialer does."""
        sock = self.router.ports["client"].space.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, (destination.host, destination.port))
        return SocketStream(sock, self.poller, str(destination))

    async def opens(self, way: str, port: int) -> Stream:
        """Opens a stream over one rung."""
        return await with_strategies(self, way.split("|")).dial(Destination(SITE, port))

    async def shakes_hands(self, way: str) -> bool:
        """Returns whether a verified handshake succeeds; False when it is reset."""
        stream = await self.opens(way, 443)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await TlsStream(stream, self.trust, NAME).handshake()
        except ConnectionResetError:
            return False
        finally:
            stream.abort()
        return True

    async def is_answered(self, way: str) -> bool:
        """Returns whether two plain requests, one after the other, are answered."""
        stream = await self.opens(way, 80)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                for _ in range(2):
                    await stream.send(REQUEST)
                    assert await stream.receive() == b"hello"
        except ConnectionResetError:
            return False
        finally:
            stream.abort()
        return True


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"hello")


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    authority = Authority()
    async with Router() as router, contextlib.AsyncExitStack() as stack:
        router.add_space("client", ["192.0.2.10/24"])
        net = router.add_space("net", ["198.51.100.18/28"], prefixes=["203.0.113.0/24"])
        for port, context in ((80, None), (443, authority.server(NAME))):
            sock = net.create_server(("0.0.0.0", port))
            await stack.enter_async_context(listening(_serve, sock=sock, ssl=context))
        poller = make_poller(asyncio.get_running_loop())
        stack.callback(poller.close)
        yield Place(router, poller, authority.client())


@pytest.mark.parametrize("view", View)
@pytest.mark.parametrize("way", sorted(BLOCKED[View.RECORDS]))
async def test_what_gets_past_whom(place: Place, view: View, way: str) -> None:
    assert await place.shakes_hands(way), "nobody is in the way"
    place.router.rules.set([rule := SniReset(NAME, view=view)])
    assert await place.shakes_hands(way) is (way not in BLOCKED[view])
    assert bool(rule.acts) is (way in BLOCKED[view])
    if way not in BLOCKED[view]:
        place.router.rules.set([SniDrop(NAME, view=view)])
        assert await place.shakes_hands(way), "nor is anything dropped"


@pytest.mark.parametrize("view", BLOCKED_HTTP)
@pytest.mark.parametrize("way", ["direct", "hostcase", "split"])
async def test_what_gets_past_whom_without_tls(place: Place, view: View, way: str) -> None:
    place.router.rules.set([HttpReset(NAME, view=view)])
    assert await place.is_answered(way) is (way not in BLOCKED_HTTP[view])
