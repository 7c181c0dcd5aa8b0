"""Shared parts of the servers of this folder: tasks that end with their server, and copying both ways."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LINGER_0 = struct.pack("ii", 1, 0)


class Connections:
    """Serves connections until `stop`, which ends all of them."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._running: set[asyncio.Task[None]] = set()
        self.count = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The callback for asyncio.start_server."""
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self.count += 1
        try:
            await self._serve(reader, writer)
            await close(writer)  # waits until the peer has taken what was written, or for `stop` where it has gone
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            await close(writer)
            self._running.discard(task)

    async def stop(self) -> None:
        """Breaks off every connection."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@contextlib.asynccontextmanager
async def listening(serve: Serve, *where: Any, **how: Any) -> AsyncIterator[asyncio.Server]:
    """Runs a server of asyncio.start_server for the block, and breaks off open connections at the end. From Python 3.12
    on, the end of a server waits for them, and a connection that a censor has cut never closes."""
    connections = Connections(serve)
    server = await asyncio.start_server(connections, *where, **how)
    try:
        yield server
    finally:
        await shut(server)
        await connections.stop()


async def shut(*servers: asyncio.Server) -> None:
    """Closes servers one pass of the loop later. If a server is closed in the pass in which it accepted a connection,
    it never closes that one, and another test gets the blame."""
    loop = asyncio.get_running_loop()
    for server in servers:
        for sock in server.sockets:
            loop.remove_reader(sock.fileno())
    await asyncio.sleep(0)
    for server in servers:
        server.close()


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends the connection with an RST, if it has not ended."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None:  # within TLS it is gone with the connection
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    writer.transport.abort()


async def splice(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    host: str,
    port: int,
    *,
    source: str,
    granted: bytes = b"",
    first: bytes = b"",
) -> None:
    """Connects to host and port from the address `source`, sends the client `granted`, sends on `first`, and copies
    both ways, with half-closes, until both sides have ended. Raises OSError when it cannot connect."""
    far_reader, far_writer = await asyncio.open_connection(sock=await _connected(host, port, source))
    try:
        writer.write(granted)
        far_writer.write(first)
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(reader, far_writer))
            both.create_task(_copy(far_reader, writer))
    except* (OSError, asyncio.IncompleteReadError):
        reset(writer)
        reset(far_writer)
    finally:
        await close(far_writer)


async def _connected(host: str, port: int, source: str) -> socket.socket:
    """Its port may also be that of a listener at the same address, or of a later test while this one lingers in
    TIME_WAIT."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
