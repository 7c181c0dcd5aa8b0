"""Many tunnels at once through a real Byway, while its rules are edited: nothing is lost, dropped or piled up.

Three thousand tunnels are opened and left alone. Then hundreds of downloads run side by side, one half direct, where
the kernel moves the bytes, the other half through a relay over TLS, where we do. Every byte is compared. The edits come
as the downloads get on, good and bad ones in turn. At the end the tunnels that were left alone are spoken through.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from proxy.net.tunnel.pipes import PIPE_LIMIT
from tests.support.authority import Authority
from tests.support.byway import Byway
from tests.support.client import fetch
from tests.support.descriptors import descriptors
from tests.support.origin import pattern
from tests.support.relay import Relay
from tests.support.streams import Connections
from tests.support.waiting import until, until_read

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="not run: what a process holds is read from /proc"),
    pytest.mark.alone,
    pytest.mark.slow,
]

IDLE = 3_000
DOWNLOADS = 200
"""By each of the two ways."""
SIZE = 5_000_000
EDITS = 10
_OPEN_AT_ONCE = 100
_DESCRIPTORS = 3 * IDLE + 8 * DOWNLOADS
"""Ours at most: both ends of the idle tunnels, and of a download the client's, the origin's and two of the relay."""
_BLOCK = pattern(251 * 256)
"""What an origin sends again and again: `pattern` repeats itself after 251 bytes."""
_BUFFERED = 2 * 128 * 1024
"""What may wait for one tunnel outside the kernel, both directions together."""
_IDLE_TUNNEL = 8 * 1024
_MORE_RULES = 32 * 1024 * 1024
"""For all else: sets of rules that were replaced, and the log."""
_ALL_S = 150


@pytest.fixture(autouse=True)
def enough_descriptors() -> Iterator[None]:
    with descriptors(_DESCRIPTORS) as limit:
        if limit < _DESCRIPTORS:
            pytest.skip(f"not run: this machine lets a process open {limit} files, and this takes {_DESCRIPTORS}")
        yield


async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1024):
        writer.write(data)
        await writer.drain()


async def send_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers one request with SIZE bytes, and holds no more of them than a block."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n".encode())
    for place in range(0, SIZE, len(_BLOCK)):
        writer.write(_BLOCK[: SIZE - place])
        await writer.drain()


@contextlib.asynccontextmanager
async def server(serve: Connections) -> AsyncIterator[int]:
    """Its port."""
    async with await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024) as listening:
        yield listening.sockets[0].getsockname()[1]
        await serve.stop()


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(authority: str, byway: Byway) -> Ends:
    """A tunnel that was granted. Fails when it was not."""
    reader, writer = await asyncio.open_connection(*byway.proxy)
    writer.write(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"200", head
    return reader, writer


class Idle:
    """Tunnels that are open and silent."""

    def __init__(self) -> None:
        self._ends: list[Ends] = []

    async def open(self, byway: Byway, port: int, count: int) -> None:
        """Opens so many. Each is spoken through once."""
        gate = asyncio.Semaphore(_OPEN_AT_ONCE)

        async def one() -> None:
            async with gate:
                ends = await connect(f"idle.test:{port}", byway)
                self._ends.append(ends)
                assert await _echo(*ends)

        async with asyncio.TaskGroup() as opening:
            for _ in range(count):
                opening.create_task(one())

    async def alive(self) -> int:
        """How many still carry a word there and back."""
        return sum(await asyncio.gather(*(_echo(*ends) for ends in self._ends)))

    async def close(self) -> None:
        for _, writer in self._ends:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in self._ends), return_exceptions=True)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    word = os.urandom(8)
    try:
        writer.write(word)
        async with asyncio.timeout(30):
            return await reader.readexactly(len(word)) == word
    except (OSError, EOFError, TimeoutError):
        return False


async def download(authority: str, byway: Byway, all_there: asyncio.Barrier | None = None) -> int:
    """How many bytes came that are as they were sent, up to the first that is not. With `all_there`, none goes on from
    the answer's head before all have theirs."""
    reader, writer = await connect(authority, byway)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        if all_there is not None:
            await all_there.wait()
        for place in range(0, SIZE, len(_BLOCK)):
            wanted = _BLOCK[: SIZE - place]
            if await reader.readexactly(len(wanted)) != wanted:
                return place
        return SIZE
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Process:
    """What the kernel says of a process."""

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")

    def descriptors(self, kind: str) -> int:
        """How many it has open: `socket`, `pipe`, …"""
        found = 0
        for entry in os.scandir(self._proc / "fd"):
            with contextlib.suppress(FileNotFoundError):
                found += os.readlink(entry.path).startswith(f"{kind}:")
        return found

    def memory(self, line: str) -> int:
        """Bytes: `VmRSS` now, `VmHWM` at most so far."""
        status = (self._proc / "status").read_text()
        return next(int(text.split()[1]) * 1024 for text in status.splitlines() if text.startswith(f"{line}:"))


async def edit(byway: Byway, number: int) -> None:
    """A good edit acts before this returns; a bad one has been said."""
    good = number % 2 == 0
    byway.rules.write_text(f"{RULES}DOMAIN,edit-{number}.test,BLOCK\n{'' if good else f'nonsense-{number}'}\n")
    byway.reload()
    if good:

        async def taken() -> bool:
            return (await fetch(f"http://edit-{number}.test/", via=byway.proxy)).status == 403

        await until_read(taken, within_s=30)
    else:
        await until(lambda: f"nonsense-{number}" in byway.said.read_text(), within_s=30)


RULES = "DOMAIN,far.test,RELAY:tls\n"
_PATIENT = "[detect]\nrelay_silent_s = 100\n[limits]\nhandshake_timeout_s = 120\n"
"""A busy machine lets the relay's handshakes wait for longer than by default: it would be asked once more for each."""
_NAMES = ("near.test", "idle.test", *(f"edit-{number}.test" for number in range(EDITS)))
_HOSTS = "[dns.hosts]\n" + "".join(f'"{name}" = "127.0.0.1"\n' for name in _NAMES)


async def edit_as_downloads_get_on(byway: Byway, done: list[int], all_there: asyncio.Barrier) -> None:
    """From when all are under way. Before, an edit would find tunnels that no byte has gone through, and these are
    opened anew by the rules as they are then."""
    await all_there.wait()
    for number in range(EDITS):
        due = number * 2 * DOWNLOADS // EDITS
        await until(lambda due=due: len(done) >= due, within_s=_ALL_S)  # type: ignore[misc]  # a default has no type
        await edit(byway, number)


async def test_many_tunnels_and_downloads_while_rules_are_edited(tmp_path: Path) -> None:
    authority = Authority()
    relay = Relay({"far.test": "127.0.0.1"}, secure=authority.server("127.0.0.9"))
    async with (
        asyncio.timeout(_ALL_S),
        server(Connections(send_all)) as origin,
        server(Connections(repeat)) as echo,
        relay,
    ):
        url = f"https://{relay.address}:{relay.port}?ca={authority.write(tmp_path)}"
        config = f'{_PATIENT}{_HOSTS}[[relay]]\nname = "tls"\nurl = "{url}"\n'
        async with Byway(tmp_path, config=config, rules=RULES, forked=False) as byway:
            ways = near, far = f"near.test:{origin}", f"far.test:{origin}"
            process, idle = Process(byway.pid), Idle()
            sockets = process.descriptors("socket")
            assert [await download(way, byway) for way in ways] == [SIZE, SIZE]
            await until(lambda: process.descriptors("socket") == sockets)
            memory = process.memory("VmRSS")

            await idle.open(byway, echo, IDLE)
            assert process.descriptors("socket") >= sockets + 2 * IDLE
            done: list[int] = []
            all_there = asyncio.Barrier(2 * DOWNLOADS + 1)

            async def one(way: str) -> None:
                done.append(await download(way, byway, all_there))

            async with asyncio.TaskGroup() as loading:
                for way in (near, far) * DOWNLOADS:
                    loading.create_task(one(way))
                loading.create_task(edit_as_downloads_get_on(byway, done, all_there))
            assert done == [SIZE] * 2 * DOWNLOADS
            assert relay.asked.count(far) == 1 + DOWNLOADS
            assert await idle.alive() == IDLE

            grown = process.memory("VmHWM") - memory
            assert grown < 2 * DOWNLOADS * _BUFFERED + IDLE * _IDLE_TUNNEL + _MORE_RULES
            assert (await byway.read("status"))["live"]["tunnels"] == IDLE
            await idle.close()
            await until(lambda: process.descriptors("socket") <= sockets, within_s=30)
            assert process.descriptors("pipe") <= 2 * PIPE_LIMIT, "the pool's, kept for the next"
