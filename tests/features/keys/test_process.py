"""One process of the engine: what it gets, that its port is its own, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxy.features.keys import process
from proxy.features.keys.binary import Binary
from proxy.features.keys.engine_config import KEYS_MAX, Entry, configuration
from proxy.features.keys.process import EngineFailed, EngineProcess, listening_inodes, new_password
from proxy.net.tasks import spawn
from proxy.wire.keys.reader import read_key
from tests.features.keys.test_engine_config import KEYS, entry
from tests.support import programs
from tests.support.waiting import until

pytestmark = pytest.mark.needs("mihomo")

SECRET = "hunter2hunter2"
KEY = read_key(f"trojan://{SECRET}@relay.example:443")
USER_PASSWORD = new_password()


def engine() -> Binary:
    return Binary(Path(programs.require("mihomo")), "1.19.32", is_packaged=False)


def config(port: int) -> Mapping[str, Any]:
    return configuration([Entry("k1", USER_PASSWORD, KEY)], port, outward_port=9)


def entries(folder: Path) -> list[str]:
    return os.listdir(folder)


async def test_its_secrets_stand_in_no_argument_environment_or_file(tmp_path: Path) -> None:
    running = await EngineProcess.start(engine(), config, tmp_path)
    try:
        (folder,) = (tmp_path / name for name in entries(tmp_path))
        assert folder.stat().st_mode & 0o777 == 0o700
        proc = Path(f"/proc/{running.pid}")
        assert (proc / "environ").read_bytes() == b""
        words = (proc / "cmdline").read_bytes().split(b"\0")
        assert words[1:] == [b"-d", os.fsencode(folder), b"-f", b"-", b""]
        written = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
        assert SECRET.encode() not in written
        assert USER_PASSWORD.encode() not in written
        assert listening_inodes(running.port)
    finally:
        await running.stop()
    assert entries(tmp_path) == []
    assert not running.is_alive


async def test_the_engine_takes_every_key_that_byway_gives_it(tmp_path: Path) -> None:
    """All protocols, transports and plugins, XHTTP and AmneziaWG among them."""
    entries = [entry(number, key) for number, key in enumerate(KEYS)]
    for first in range(0, len(entries), KEYS_MAX):
        made = partial(configuration, entries[first : first + KEYS_MAX], outward_port=9)
        running = await EngineProcess.start(engine(), made, tmp_path)  # else EngineFailed has its line
        await running.stop()


async def test_a_port_that_another_program_took_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The inode of the socket that listens there is not the child's: nothing is sent to it, and another is tried."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = [other.getsockname()[1], other.getsockname()[1], process.free_port()]
        given = iter(ports)
        monkeypatch.setattr(process, "free_port", lambda: next(given))
        running = await EngineProcess.start(engine(), config, tmp_path)
        assert running.port == ports[2]
        await running.stop()
        monkeypatch.setattr(process, "free_port", lambda: ports[0])
        with pytest.raises(EngineFailed, match="other programs took the 3 ports"):
            await EngineProcess.start(engine(), config, tmp_path)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()  # nobody connected
    assert entries(tmp_path) == []


async def test_its_end_is_reported_once(tmp_path: Path) -> None:
    ended = []
    running = await EngineProcess.start(engine(), config, tmp_path)
    running.on_end = lambda: ended.append(1)
    os.kill(running.pid, signal.SIGKILL)
    await until(lambda: bool(ended))
    await running.stop()
    assert ended == [1]
    assert not running.is_alive
    assert entries(tmp_path) == []


async def test_each_of_two_that_stop_it_at_once_waits_until_nothing_is_left(tmp_path: Path) -> None:
    """A start that fails stops what has just ended by itself."""
    running = await EngineProcess.start(engine(), config, tmp_path)
    first = spawn(running.stop(), name="stop")
    await asyncio.sleep(0)
    await running.stop()
    assert entries(tmp_path) == []
    await first


async def test_a_program_that_ends_at_once_or_cannot_be_run_is_no_engine(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="ended at its start"):
        await EngineProcess.start(Binary(Path("/bin/false"), "0", is_packaged=False), config, tmp_path)
    with pytest.raises(EngineFailed, match="ended at its start"):
        await EngineProcess.start(Binary(tmp_path / "missing", "0", is_packaged=False), config, tmp_path)
    with pytest.raises(EngineFailed, match="could not be started: no such file or directory"):
        await EngineProcess.start(engine(), config, tmp_path / "missing")
    assert entries(tmp_path) == []


async def test_a_program_that_does_not_read_is_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More keys than a pipe takes."""
    monkeypatch.setattr(process, "START_S", 0.2)
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec /bin/sleep 600\n")
    silent.chmod(0o700)
    folder = tmp_path / "engines"
    folder.mkdir()
    async with asyncio.timeout(20):
        with pytest.raises(EngineFailed, match=r"did not read its configuration within 0\.2 s"):
            await EngineProcess.start(Binary(silent, "0", is_packaged=False), lambda _: {"x": "x" * 10**6}, folder)
    assert entries(folder) == []


async def test_it_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Byway is killed, so that it can do nothing about it."""
    script = f"""
import asyncio, os, sys
from pathlib import Path
from proxy.features.keys.process import EngineProcess
from tests.features.keys.test_process import config, engine

async def main():
    running = await EngineProcess.start(engine(), config, Path({str(tmp_path)!r}))
    print(running.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:  # noqa: ASYNC220
        try:
            assert parent.stdout is not None
            pid = int(await asyncio.to_thread(parent.stdout.readline))
            assert not _has_ended(pid)
        finally:
            parent.kill()
    await until(lambda: _has_ended(pid))


def _has_ended(pid: int) -> bool:
    """A child of init may be a zombie for a moment, or for good where there is no init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
