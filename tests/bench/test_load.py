"""Nothing is counted that did not come back as it should."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.load import Bench, Load, Measured, Mode, compiled
from tests.bench.machine import Cores, running
from tests.bench.peers import Kind
from tests.support.programs_running import free_port

pytestmark = [pytest.mark.needs("cc"), pytest.mark.slow]

_RELAY = """\
import socket, sys, threading
port, origin, flipped = map(int, sys.argv[1:])

def copy(source, target, at):
    while data := bytearray(source.recv(65536)):
        if 0 <= at < len(data):
            data[at] ^= 1
        at -= len(data)
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)

def serve(client):
    with client, socket.create_connection(("127.0.0.1", origin)) as server:
        back = threading.Thread(target=copy, args=(server, client, flipped))
        back.start()
        copy(client, server, -1)
        back.join()

threading.excepthook = lambda told: None  # the load ends in the middle of a transfer
with socket.create_server(("127.0.0.1", port)) as listener:
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
"""Carries bytes to the origin; of the bytes that come back, one of each connection has a bit flipped."""

_NONE = -1


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, int]]:
    """A compiled load generator with its origin, and the origin's port."""
    folder, cores = tmp_path_factory.mktemp("bench"), Cores.of_this_machine()
    loadgen, origin = compiled(folder)
    port = free_port()
    with running([str(origin), str(port)], core=cores.load, folder=folder) as program:
        program.wait_listening({port})
        yield Bench(loadgen, program, cores, folder), port


def _by_a_relay(here: tuple[Bench, int], folder: Path, load: Load, flipped: int) -> Measured:
    bench, origin_port = here
    port = free_port()
    command = [sys.executable, "-c", _RELAY, str(port), str(origin_port), str(flipped)]
    with running(command, core=bench.cores.proxy, folder=folder) as program:
        program.wait_listening({port})
        return bench.put(load, program, Kind.RELAY, port, 0.1)


@pytest.mark.parametrize(
    ("load", "flipped"),
    [
        (Load(Mode.GET, 2, warmup_s=0), 500),
        (Load(Mode.GET, 2, keep_alive=True, warmup_s=0), 1500),
        (Load(Mode.DOWNLOAD, 2), 1_000_000),
        (Load(Mode.MESSAGES, 2, warmup_s=0), 100),
        (Load(Mode.HOLD, 2), 100),
    ],
    ids=["get", "keep-alive", "download", "messages", "hold"],
)
def test_one_wrong_bit_is_found(here: tuple[Bench, int], tmp_path: Path, load: Load, flipped: int) -> None:
    assert not _by_a_relay(here, tmp_path, load, _NONE).wrong  # the control
    assert "bytes differ" in _by_a_relay(here, tmp_path, load, flipped).wrong


def test_a_proxy_that_answers_nothing_counts_as_nothing(here: tuple[Bench, int], tmp_path: Path) -> None:
    bench, _ = here
    port = free_port()
    silent = f"import signal, socket\nserver = socket.create_server(('127.0.0.1', {port}))\nsignal.pause()"
    with running([sys.executable, "-c", silent], core=bench.cores.proxy, folder=tmp_path) as program:
        program.wait_listening({port})
        measured = bench.put(Load(Mode.GET, 2, warmup_s=0), program, Kind.CONNECT, port, 0.1)
    assert measured.wrong
    assert measured.result.whole_ever == 0
