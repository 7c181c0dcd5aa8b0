"""How fast bulk goes through, and what a tunnel that does nothing holds.

    python -m tests.bench.pump [--seconds 2] [--rounds 3] [--idle 1000]

The client sends and discards nothing but counts; the origin pours. Both are in processes of their own, and the relay's
CPU seconds for each GB are the sturdier number.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import random
import resource
import socket
import statistics
import threading
import time
from collections.abc import Iterator

from tests.bench import relays

_FORK = multiprocessing.get_context("fork")
_PIECE = bytes(1024 * 1024)
_TIMEOUT_S = 10.0
_POUR, _HOLD = b"p", b"h"


@contextlib.contextmanager
def _origin() -> Iterator[int]:
    """A process that pours into a connection, or holds it and says "h", as its first byte asks. Yields its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        process = _FORK.Process(target=_serve, args=(listener,), daemon=True)
        process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            process.join()


def _serve(listener: socket.socket) -> None:
    held = []
    while True:
        connection, _ = listener.accept()
        connection.settimeout(_TIMEOUT_S)
        if connection.recv(1) == _HOLD:
            connection.sendall(_HOLD)
            held.append(connection)
        else:
            threading.Thread(target=_pour, args=(connection,), daemon=True).start()


def _pour(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        while True:
            connection.sendall(_PIECE)


def _open(port: int, wish: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)
    connection.sendall(wish)
    return connection


def _drink(connection: socket.socket, until: float) -> int:
    buffer = bytearray(1024 * 1024)
    received = 0
    while time.monotonic() < until:
        received += connection.recv_into(buffer)
    return received


def _bulk(relay: relays.Relay, flows: int, seconds: float) -> tuple[float, float]:
    """MB/s over all flows, and the relay's CPU seconds for each GB."""
    connections = [_open(relay.port, _POUR) for _ in range(flows)]
    cpu_s = relay.cpu_s()
    until = time.monotonic() + seconds
    received: list[int] = []
    threads = [
        threading.Thread(target=lambda connection=connection: received.append(_drink(connection, until)))
        for connection in connections
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu_s = relay.cpu_s() - cpu_s
    for connection in connections:
        connection.close()
    return sum(received) / seconds / 1e6, cpu_s / (sum(received) / 1e9)


def _idle(relay: relays.Relay, count: int) -> float:
    """KiB of the relay's memory for each of `count` tunnels that have answered once and then do nothing."""
    _open(relay.port, _HOLD).close()
    before = relay.pss_kib()
    with contextlib.ExitStack() as opened:
        for _ in range(count):
            connection = opened.enter_context(_open(relay.port, _HOLD))
            connection.recv(1)
        return (relay.pss_kib() - before) / count


def main() -> None:
    parser = argparse.ArgumentParser(description="Bulk and idle tunnels, through each relay")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=int, default=1000)
    asked = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in relays.KINDS}
    with _origin() as origin_port:
        for _ in range(asked.rounds):
            for kind in random.sample(relays.KINDS, len(relays.KINDS)):
                with relays.running(kind, origin_port) as relay:
                    idle_kib = _idle(relay, asked.idle)
                    one, many = (_bulk(relay, flows, asked.seconds) for flows in (1, 16))
                    results[kind].append((*one, *many, idle_kib))
    print(f"{'relay':10}{'MB/s, 1 flow':>14}{'s/GB':>8}{'MB/s, 16':>12}{'s/GB':>8}{'KiB idle':>10}")
    for kind, measured in results.items():
        row = [statistics.median(column) for column in zip(*measured, strict=True)]
        print(f"{kind:10}{row[0]:14,.0f}{row[1]:8.2f}{row[2]:12,.0f}{row[3]:8.2f}{row[4]:10.1f}")


if __name__ == "__main__":
    main()
