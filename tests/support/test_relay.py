from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import socks

from tests.support.origin import Origin
from tests.support.relay import Relay

KINDS = [socks.SOCKS5, socks.SOCKS4, socks.HTTP]


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as serving:
        yield serving


def ask(relay: Relay, kind: int, port: int, *, name: str = "blocked.test", user: str = "", password: str = "") -> bytes:
    """Returns the bytes that an independent client receives through the relay."""
    with socks.socksocket() as sock:
        sock.settimeout(10)
        sock.set_proxy(kind, relay.address, relay.port, rdns=True, username=user or None, password=password or None)
        sock.connect((name, port))
        sock.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.mark.parametrize("kind", KINDS)
async def test_opens_its_own_names_in_every_protocol(origin: Origin, kind: int) -> None:
    async with Relay({"blocked.test": "127.0.0.1"}) as relay:
        assert b"blocked.test says hello" in await asyncio.to_thread(ask, relay, kind, origin.http_port)
        assert [request.peer for request in origin.requests] == [relay.address]
        assert relay.asked == [f"blocked.test:{origin.http_port}"]


@pytest.mark.parametrize("kind", KINDS)
async def test_refuses_other_names_and_closed_ports(origin: Origin, kind: int) -> None:
    async with Relay({"closed.test": "127.0.0.99"}) as relay:
        for name in ("unknown.test", "closed.test"):
            with pytest.raises(socks.ProxyError):
                await asyncio.to_thread(ask, relay, kind, origin.http_port, name=name)
        assert origin.requests == []


@pytest.mark.parametrize("kind", [socks.SOCKS5, socks.HTTP])
async def test_wants_the_right_credentials(origin: Origin, kind: int) -> None:
    async with Relay({"blocked.test": "127.0.0.1"}, user="me", password="Secret") as relay:
        answer = await asyncio.to_thread(ask, relay, kind, origin.http_port, user="me", password="Secret")
        assert b"blocked.test says hello" in answer
        for wrong in ("", "secret"):
            with pytest.raises(socks.ProxyError):
                await asyncio.to_thread(ask, relay, kind, origin.http_port, user="me", password=wrong)


async def test_stops_and_is_revived_on_its_port(origin: Origin) -> None:
    async with Relay({"blocked.test": "127.0.0.1"}) as relay:
        port = relay.port
        await relay.stop()
        with pytest.raises(socks.ProxyConnectionError):
            await asyncio.to_thread(ask, relay, socks.SOCKS5, origin.http_port)
        await relay.revive()
        assert relay.port == port
        assert b"hello" in await asyncio.to_thread(ask, relay, socks.SOCKS5, origin.http_port)
        assert relay.connections == 1


async def test_its_port_is_free_on_no_address_where_byway_listens() -> None:
    """Byway takes a relay on its own port of any loopback address for itself, and never dials it."""
    async with Relay({}) as relay:
        for _ in range(2):
            with pytest.raises(OSError, match="Address already in use"):
                socket.create_server(("127.0.0.1", relay.port))
            await relay.stop()
    socket.create_server(("127.0.0.1", relay.port)).close()
