from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import AsyncIterator

import pytest

from tests.support.censor import Behaviour, Censor
from tests.support.origin import Origin
from tests.support.waiting import until

ADDRESS = "127.0.0.2"
NAME = "blocked.test"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as serving:
        yield serving


@pytest.fixture
async def censor(origin: Origin) -> AsyncIterator[Censor]:
    async with Censor(ADDRESS, origin.http_port, origin="127.0.0.1") as watching:
        yield watching


async def ask(censor: Censor, name: str = NAME) -> bytes:
    """Returns all bytes that a plain client receives."""
    reader, writer = await asyncio.open_connection(censor.address, censor.port)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        return await reader.read()
    finally:
        writer.close()


async def test_resets_the_named_and_passes_the_others_until_lifted(censor: Censor, origin: Origin) -> None:
    await censor.set(Behaviour.RESET, [NAME])
    with pytest.raises(ConnectionResetError):
        await ask(censor)
    assert (censor.struck, origin.requests) == (1, [])
    assert b"other.test says hello" in await ask(censor, "other.test")
    await censor.set(Behaviour.PASS)
    assert b"blocked.test says hello" in await ask(censor)
    assert censor.connections == 3


async def test_acknowledges_and_stays_silent(censor: Censor) -> None:
    await censor.set(Behaviour.SILENT)
    reader, writer = await asyncio.open_connection(ADDRESS, censor.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: blocked.test\r\n\r\n")
    await until(lambda: censor.struck == 1)
    if sys.platform == "linux":
        assert unacknowledged(writer.get_extra_info("socket")) == 0
    assert not reader.at_eof()
    writer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="not run: a socket filter is Linux's own")
async def test_drops_every_byte_and_opens_the_connection(censor: Censor) -> None:
    await censor.set(Behaviour.DROP)
    _, writer = await asyncio.open_connection(ADDRESS, censor.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: blocked.test\r\n\r\n")
    await until(lambda: censor.connections == 1)
    assert unacknowledged(writer.get_extra_info("socket")) == 1
    assert censor.flights == []
    writer.transport.abort()
    await censor.set(Behaviour.PASS)
    assert b"hello" in await ask(censor)


def unacknowledged(sock: socket.socket) -> int:
    """Returns the count of segments that the peer's kernel has not acknowledged: tcpi_unacked."""
    (count,) = struct.unpack_from("=I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 24)
    return int(count)
