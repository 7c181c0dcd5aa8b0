"""A proxy as a judge of the lists that it reads: it is asked by tunnels through it.

It runs on loopback, with the list as a rule set whose hosts go to one proxy of ours and all others to another one. Each
question is a tunnel through it, which says at its other end which of the two it came to. Nothing is resolved and
nothing leaves: both proxies are ours, names are known to nobody, and only proxies are ever dialed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Protocol

from proxy.model.connection import bracketed
from tests.support.programs_running import free_port, running
from tests.support.waiting import until_read

_AT_ONCE = 50
_ANSWER_S = 60.0
"""An answer takes a millisecond; this is what a machine under load may take before it counts as failed."""


class Refused(Exception):
    """The proxy answered a CONNECT otherwise than by 200; its answer is the argument."""


class Configure(Protocol):
    """Writes what the program needs, and returns its command. It listens at `port`, sends what the list names to the
    HTTP proxy at `listed`, and all else to the one at `other`."""

    def __call__(self, *, port: int, listed: int, other: int) -> list[str]: ...


async def ask_running_proxy(configure: Configure, hosts: Collection[str], *, folder: Path) -> dict[str, bool]:
    """Returns which of the hosts the program takes for listed. It runs in `folder`, which exists."""
    listed = await asyncio.start_server(_answering(b"L"), "127.0.0.1", 0)
    other = await asyncio.start_server(_answering(b"O"), "127.0.0.1", 0)
    port = free_port()
    command = configure(port=port, listed=listed.sockets[0].getsockname()[1], other=other.sockets[0].getsockname()[1])
    async with listed, other, running(*command, port=port, folder=folder):
        await until_read(lambda: _answers(port))
        gate = asyncio.Semaphore(_AT_ONCE)
        answers = await asyncio.gather(*(_ask(port, host, gate) for host in hosts))
    return dict(zip(hosts, answers, strict=True))


def _answering(answer: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await reader.readexactly(1)  # what comes with the head is lost in mihomo
            writer.write(answer)
            await writer.drain()
        writer.close()

    return serve


async def _answers(port: int) -> bool:
    """Mihomo listens before it has read its rules, and closes or refuses what comes then."""
    try:
        return await _ask(port, "first.test", asyncio.Semaphore()) in (True, False)
    except (asyncio.IncompleteReadError, ConnectionError, Refused):
        return False


async def _ask(port: int, host: str, gate: asyncio.Semaphore) -> bool:
    async with gate, asyncio.timeout(_ANSWER_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            name = f"{bracketed(host)}:443".encode()
            writer.write(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (name, name))
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head.partition(b"\r\n")[0]:
                raise Refused(head)
            writer.write(b"?")
            answer = await reader.readexactly(1)
    return {b"L": True, b"O": False}[answer]
