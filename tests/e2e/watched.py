"""A real Byway that is watched from outside: what it holds, how much memory it takes, and whether it said anything that
only a fault of its own makes it say. And a client that says any bytes at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.support.byway import Byway
from tests.support.streams import reset
from tests.support.waiting import until

PATIENCE_S = 30.0
_FAULT = re.compile(r"Traceback|never retrieved|\bfault\b|internal error|mitmproxy failed|task .* failed|traceback:")


class Watched(Byway):
    """`-vv`, so that a fault shows with its trace."""

    def __init__(self, folder: Path, **how: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, arguments=("-vv",), **how)
        self._base = 0

    async def settle_in(self) -> None:
        """Takes what is open now for the base."""
        await self.command("status")  # the first of everything is behind it
        self._base = self.sockets()

    def sockets(self) -> int:
        """Open sockets of the process."""
        return sum(kind == "socket" for kind in self._descriptors())

    def _descriptors(self) -> list[str]:
        folder = f"/proc/{self.pid}/fd"
        kinds = []
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):  # closed since
                kinds.append(os.readlink(f"{folder}/{name}").partition(":")[0])
        return kinds

    def memory(self, what: str = "VmRSS") -> int:
        """Bytes of resident memory; VmHWM is the most there ever were."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{what}:\s+(\d+) kB", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    def forget_peak(self) -> None:
        """Lets VmHWM begin anew (proc(5), clear_refs)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def faults(self) -> list[str]:
        """The lines that only a fault of Byway's makes it say."""
        return [line for line in self.said.read_text(errors="replace").splitlines() if _FAULT.search(line)]

    async def is_unharmed(self) -> None:
        """Fails unless it runs, said nothing of faults, and holds no more than at the beginning."""
        try:
            assert self.process is not None
            assert self.process.returncode is None
            await until(lambda: self.sockets() <= self._base)
            assert self.faults() == []
        except BaseException as failure:
            failure.add_note(f"{self.sockets()} sockets, {self._base} at first\n{self.report()}")
            raise


@contextlib.asynccontextmanager
async def connection(address: tuple[str, int]) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection of a client that may do anything."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(*address)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def say(address: tuple[str, int], *pieces: bytes, finish: bool = False) -> bytes:
    """Sends the pieces, finishes its side if told to, and returns all that came until the end. A reset fails."""
    async with connection(address) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        if finish:
            writer.write_eof()
        return await reader.read()


def break_off(writer: asyncio.StreamWriter) -> None:
    """A RST."""
    reset(writer)


def status(answer: bytes) -> int:
    """Of an HTTP answer; 0 when there was none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def sock_of(writer: asyncio.StreamWriter) -> socket.socket:
    """For what asyncio has no call for."""
    sock: socket.socket = writer.get_extra_info("socket")._sock
    return sock
