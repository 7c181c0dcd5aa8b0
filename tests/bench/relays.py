"""Three relays of the same small job, each a process of its own that is weighed from outside.

    python -m tests.bench.relays pump|copy|streams PORT

listens on a free port of 127.0.0.1, prints it, and carries each connection to PORT of 127.0.0.1 until its standard
input ends. `pump` is Byway's pump, `copy` the same without splicing, `streams` what one writes first with asyncio's
streams, as the control. There is no handshake, no rule and no log in any of them: only how bytes are carried differs.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator

from proxy.net.poller import make_poller
from proxy.net.stream import SocketStream
from proxy.net.tasks import spawn
from proxy.net.tunnel.pump import Pump, TunnelResult
from tests.bench import machine

KINDS = ("pump", "copy", "streams")
_BACKLOG = 1024


class Relay:
    """A running relay, as the process that started it sees it."""

    def __init__(self, kind: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.kind = kind
        self.port = int(process.stdout.readline())
        self._pid = process.pid

    def cpu_s(self) -> float:
        """User and system time so far."""
        return machine.cpu_s(self._pid)

    def pss_kib(self) -> int:
        """Memory, shared pages in proportion. Sockets' and pipes' buffers are the kernel's and not in it."""
        return machine.pss_kib(self._pid)


@contextlib.contextmanager
def running(kind: str, origin_port: int) -> Iterator[Relay]:
    """Starts a relay to the origin and ends it afterwards."""
    command = [sys.executable, "-m", "tests.bench.relays", kind, str(origin_port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Relay(kind, process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


class _PumpRelay:
    def __init__(self, origin_port: int, *, splices: bool) -> None:
        loop = asyncio.get_running_loop()
        self._origin = ("127.0.0.1", origin_port)
        self._poller = make_poller(loop)
        self._pump = Pump(idle_timeout_s=600, half_open_timeout_s=60, splices=splices)
        self._listener = _listener()
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(64):
                client, _ = self._listener.accept()
                client.setblocking(False)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                spawn(self._open(SocketStream(client, self._poller, "client")), name="open")

    async def _open(self, client: SocketStream) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex(self._origin)
        upstream = SocketStream(sock, self._poller, "origin")
        await upstream.connected()
        self._pump.start(client, upstream, _ended)


def _ended(_: TunnelResult) -> None:
    pass


class _StreamsRelay:
    """Each direction a task that reads and writes."""

    def __init__(self, origin_port: int) -> None:
        self._origin_port = origin_port
        self.port = 0

    async def start(self) -> None:
        server = await asyncio.start_server(self._accepted, sock=_listener(), backlog=_BACKLOG)
        self.port = server.sockets[0].getsockname()[1]

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        spawn(self._serve(reader, writer), name="serve")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        origin_reader, origin_writer = await asyncio.open_connection("127.0.0.1", self._origin_port)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._copy(reader, origin_writer), self._copy(origin_reader, writer))
        origin_writer.close()
        writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def _listener() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(_BACKLOG)
    return listener


async def _main(kind: str, origin_port: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.freeze()
    if kind == "streams":
        streams = _StreamsRelay(origin_port)
        await streams.start()
        port = streams.port
    else:
        port = _PumpRelay(origin_port, splices=kind == "pump").port
    print(port, flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    os._exit(0)  # connections may still be open, and asyncio's streams would complain about each at the end of the loop


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
