"""How many small tunnels a second: connect, ask, 1 KiB back, close.

    python -m tests.bench.tunnels [--seconds 2] [--rounds 3] [--clients 8]

The CPU time of the relay's own process for each tunnel is the sturdier number: clients and origin are Python too and
share the cores with it.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import random
import socket
import statistics
import time
from collections.abc import Iterator
from multiprocessing.sharedctypes import Synchronized

from tests.bench import relays

_FORK = multiprocessing.get_context("fork")
_QUESTION = b"GET /small HTTP/1.1\r\nHost: origin.example\r\n\r\n"
_ANSWER = bytes(1024)
_TIMEOUT_S = 10.0


@contextlib.contextmanager
def _origin(workers: int) -> Iterator[int]:
    """Processes that answer each connection once. Yields their port."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        processes = [_FORK.Process(target=_answer, args=(listener,), daemon=True) for _ in range(workers)]
        for process in processes:
            process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            for process in processes:
                process.terminate()
                process.join()


def _answer(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_TIMEOUT_S)
            connection.recv(1024)
            connection.sendall(_ANSWER)


def _ask(port: int, seconds: float, done: Synchronized[int]) -> None:
    """One client after the other until the time is over. Adds how many had a whole answer."""
    until = time.monotonic() + seconds
    whole = 0
    while time.monotonic() < until:
        with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S) as connection:
            connection.sendall(_QUESTION)
            received = 0
            while data := connection.recv(4096):
                received += len(data)
            whole += received == len(_ANSWER)
    with done.get_lock():
        done.value += whole


def _measure(relay: relays.Relay, clients: int, seconds: float) -> tuple[float, float]:
    """Tunnels a second, and the relay's CPU in µs for each."""
    done: Synchronized[int] = _FORK.Value("q", 0)
    cpu_s = relay.cpu_s()
    processes = [_FORK.Process(target=_ask, args=(relay.port, seconds, done)) for _ in range(clients)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return done.value / seconds, 1e6 * (relay.cpu_s() - cpu_s) / max(1, done.value)


def main() -> None:
    parser = argparse.ArgumentParser(description="Small tunnels a second, through each relay")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=8)
    asked = parser.parse_args()
    results: dict[str, list[tuple[float, float]]] = {kind: [] for kind in relays.KINDS}
    with _origin(2) as origin_port:
        for _ in range(asked.rounds):
            for kind in random.sample(relays.KINDS, len(relays.KINDS)):
                with relays.running(kind, origin_port) as relay:
                    results[kind].append(_measure(relay, asked.clients, asked.seconds))
    print(f"{'relay':10}{'tunnels/s':>12}{'µs CPU each':>14}")
    for kind, measured in results.items():
        rate, cpu_us = (statistics.median(column) for column in zip(*measured, strict=True))
        print(f"{kind:10}{rate:12,.0f}{cpu_us:14,.0f}")


if __name__ == "__main__":
    main()
