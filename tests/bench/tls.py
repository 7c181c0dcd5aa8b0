"""What a download over TLS costs the process that carries it: Byway's pump beside a bare copy by OpenSSL.

    python -m tests.bench.tls [--rounds 3] [--old FOLDER]

A server sends one record of 16 KiB, or two, or a MiB of them; only the time that the carrier computes is counted, from
then until the client has all. `http2` is Byway's pump as well, and the bytes are frames of a CONNECT stream. `copy` is
the loop of `tls_copy.py`: a socket of `ssl`, one buffer, `sendall`. Each round is a process of its own, and prints the
least and the median of hundreds of turns: the least is what other work on the machine disturbs least. `--old` names
the root of another checkout, whose pump takes part.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import select
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import trustme

from proxy.net.dialers.http2_connection import Http2Connection
from proxy.net.dialers.tls import TlsStream
from proxy.net.poller import EpollPoller
from proxy.net.stream import SocketStream, Stream
from proxy.net.tunnel.pump import Pump
from proxy.wire import connect_http2

_ROOT = Path(__file__).parents[2]
_TURNS = {16 * 1024: 400, 32 * 1024: 200, 1024 * 1024: 60}
_ROOM = 4 * 1024 * 1024

Carry = Callable[[], None]
"""Moves what has come."""


class _Server:
    """The other end of TLS, in memory, with the socket that its records are written to."""

    def __init__(self, context: ssl.SSLContext, sock: socket.socket) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._sock = sock

    def shake_hands(self) -> None:
        """With a client in the same process, whose turn it is in between: to be called until it raises nothing."""
        self._incoming.write(self._sock.recv(64 * 1024))
        try:
            self._tls.do_handshake()
        finally:
            self._sock.sendall(self._outgoing.read())

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self._sock.sendall(self._outgoing.read())


def _pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    for sock in (near, far):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
    return near, far


def _seconds(server: _Server, client: socket.socket, carry: Carry) -> Iterator[tuple[int, list[float]]]:
    """What the carrier computed in each turn, for each size."""
    for size, turns in _TURNS.items():
        data, spent = bytes(size), []
        for _ in range(turns):
            server.send(data)
            received, computed = 0, 0.0
            while received < size:
                began = time.thread_time()
                carry()
                computed += time.thread_time() - began
                while select.select([client], [], [], 0)[0]:
                    received += len(client.recv(1 << 20))
            spent.append(computed)
        yield size, spent


def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    client, server = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(client)
    authority.issue_cert("relay.example").configure_cert(server)
    return client, server


class _FramedServer(_Server):
    """Sends its bytes as frames of DATA of one CONNECT stream, and reads none of the client's."""

    def grant(self) -> None:
        self._write(_frame(0x4, 0, 0, b"") + _frame(0x1, 0x4, 1, b"\x88"))  # SETTINGS; HEADERS with :status 200

    def send(self, data: bytes) -> None:
        pieces = (data[at : at + 16384] for at in range(0, len(data), 16384))
        self._write(b"".join(_frame(0x0, 0, 1, piece) for piece in pieces))

    def _write(self, data: bytes) -> None:
        self._tls.write(data)
        self._sock.sendall(self._outgoing.read())
        with contextlib.suppress(BlockingIOError):  # or the client could send no windows in the end
            while self._sock.recv(1 << 20, socket.MSG_DONTWAIT):
                pass


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


async def _pump(told: Callable[[int, list[float]], None], *, http2: bool = False) -> None:
    client_context, server_context = _contexts()
    poller = EpollPoller(asyncio.get_running_loop())
    pump = Pump(idle_timeout_s=600, half_open_timeout_s=60)
    (near_client, client), (near_server, far) = _pair(), _pair()
    near_client.setblocking(False)
    near_server.setblocking(False)
    server = (_FramedServer if http2 else _Server)(server_context, far)
    stream = TlsStream(SocketStream(near_server, poller, "server"), client_context, "relay.example")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stream.handshake())
        done = False
        while not done:
            await asyncio.sleep(0.01)
            try:
                server.shake_hands()
                done = True
            except ssl.SSLWantReadError:
                pass
    upstream: Stream = stream
    connection: Http2Connection | None = None
    if isinstance(server, _FramedServer):
        connect_http2.STREAM_WINDOW = connect_http2.CONNECTION_WINDOW  # the server keeps to no window
        connection = Http2Connection(stream)
        upstream = tunnel = connection.open("site.example:443")
        server.grant()
        await tunnel.answer
    pump.start(SocketStream(near_client, poller, "client"), upstream, lambda _: None)

    def carry() -> None:
        poller.wait(0.0)
        if connection is not None:
            connection._ready()  # as the loop does after each of its turns
        while pump._queue:
            pump._turn()

    for size, spent in _seconds(server, client, carry):
        told(size, spent)
    await pump.close(0)


def _copy(told: Callable[[int, list[float]], None]) -> None:
    client_context, server_context = _contexts()
    (near_client, client), (near_server, far) = _pair(), _pair()
    server, buffer = _Server(server_context, far), memoryview(bytearray(256 * 1024))
    secure = client_context.wrap_socket(near_server, server_hostname="relay.example", do_handshake_on_connect=False)
    secure.setblocking(False)
    steps = [secure.do_handshake, server.shake_hands]
    while steps:
        for step in tuple(steps):
            try:
                step()
                steps.remove(step)
            except ssl.SSLWantReadError:
                pass

    def carry() -> None:
        if secure in select.select([near_client, secure], [], [])[0]:
            secure.setblocking(False)
            try:
                while count := secure.recv_into(buffer):
                    near_client.sendall(buffer[:count])
            except ssl.SSLWantReadError:
                secure.setblocking(True)

    for size, spent in _seconds(server, client, carry):
        told(size, spent)


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of a download over TLS")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--old", type=Path, help="root of another checkout")
    parser.add_argument("--measure", choices=("pump", "copy", "http2"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure is None:
        carriers = [("copy", "copy", _ROOT), ("now", "pump", _ROOT), ("http2", "http2", _ROOT)]
        carriers += [("old", "pump", asked.old.resolve())] if asked.old else []
        for name, kind, root in carriers * asked.rounds:
            print(f"{name:5}", end="", flush=True)
            command = [sys.executable, __file__, "--measure", kind]
            subprocess.run(command, env=os.environ | {"PYTHONPATH": str(root)}, cwd="/", check=True)
        return
    found: list[str] = []

    def told(size: int, spent: list[float]) -> None:
        found.append(f"{size // 1024:5} KiB: {min(spent) * 1e6:5.0f} µs, median {statistics.median(spent) * 1e6:5.0f}")

    if asked.measure == "copy":
        _copy(told)
    else:
        asyncio.run(_pump(told, http2=asked.measure == "http2"))
    print("; ".join(found))


if __name__ == "__main__":
    main()
