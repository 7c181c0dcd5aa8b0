from __future__ import annotations

import asyncio
import socket

import pytest

from proxy.net.tasks import spawn
from tests.support.streams import close, listening, shut


async def test_whoever_is_cancelled_while_a_connection_closes_is_cancelled() -> None:
    async def hold(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(hold, "127.0.0.1", 0) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        closing = spawn(close(writer), name="close")
        await asyncio.sleep(0)  # it waits for the end of the connection
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing


async def test_a_server_that_shuts_in_the_pass_in_which_it_accepts_leaves_no_connection_open() -> None:
    loop, shutting = asyncio.get_running_loop(), asyncio.Event()
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    ours, theirs = socket.socketpair()
    shut_server: list[asyncio.Task[None]] = []

    def begin() -> None:
        loop.remove_reader(ours)
        shut_server.append(spawn(shut(server), name="shut", eager=True))
        shutting.set()

    with ours, theirs, socket.create_connection(server.sockets[0].getsockname()) as client:
        theirs.send(b"x")
        loop.add_reader(ours, begin)  # both are ready in the next pass, the server first
        await shutting.wait()
        await shut_server[0]
        client.setblocking(False)
        async with asyncio.timeout(10):
            assert await loop.sock_recv(client, 1) == b"", "accepted, and closed by who serves"
