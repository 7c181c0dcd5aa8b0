"""Servers that are external programs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.waiting import until, until_read

_PORTS = range(20_000, 32_000)
"""Below those that Linux, macOS and Windows give to a socket that names none."""

_next_ports: Iterator[int] = itertools.cycle(random.sample(_PORTS, len(_PORTS)))


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Returns a port for a program to listen on, another one each time. No connection and no server of another test is
    given it before the program has it."""
    for port in itertools.islice(_next_ports, len(_PORTS)):
        with socket.socket(type=kind) as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise OSError(f"no free port in {_PORTS}")


class ServerProgram:
    """A server with its program. It runs for the `async with` block, or until `stop`, as one that is down."""

    process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    async def start(self) -> None:
        """Starts it, and waits until it listens."""
        raise NotImplementedError

    async def _until(self, listens: Callable[[], Awaitable[bool]]) -> None:
        """Waits until it listens. Raises AssertionError when it has ended instead."""
        process = self.process
        assert process is not None

        async def is_settled() -> bool:
            return process.poll() is not None or await listens()

        await until_read(is_settled)
        assert process.poll() is None, f"{process.args!r} has ended"

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextlib.asynccontextmanager
async def running(*command: str, port: int, folder: Path) -> AsyncIterator[None]:
    """Runs a server program for the block, once it listens. It is ended by its process id."""
    with (folder / "server.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=log, stderr=log)
    try:
        await until(lambda: process.returncode is not None or listens(port))
        assert process.returncode is None, (folder / "server.log").read_text()
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
