from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxy.extend.replay.recording_api import Dialed
from proxy.model import Destination, Route
from proxy.model.errors import ConfigError
from proxy.testing import Tried
from tests.addons.shipped import shipped

SITE = Destination("example.org", 443)


class Paused(Exception):
    """It has slept often enough."""


def tunnel(command: str) -> Tried:
    return shipped("tunnel", {"command": command, "socks": "socks5h://127.0.0.1:1"})


def without_sleep(addon: Tried, pauses: list[float], lived_s: float = 0.0) -> None:
    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 4:
            raise Paused

    addon.addon.module.asyncio = SimpleNamespace(sleep=sleep)  # type: ignore[attr-defined]  # the addon's own import
    clock = iter(range(100))
    addon.api.now = lambda: next(clock) * lived_s  # type: ignore[method-assign]


async def test_a_command_that_dies_is_started_again_after_a_longer_pause_each_time(tmp_path: Path) -> None:
    starts, pauses = tmp_path / "starts", list[float]()
    addon = tunnel(f"{sys.executable} -c \"open('{starts}', 'a').write('x'); raise SystemExit(3)\"")
    without_sleep(addon, pauses)
    with pytest.raises(Paused):
        await addon.api.spawned.pop()
    assert starts.read_text() == "xxxx"
    assert pauses == [2, 4, 8, 16]


async def test_one_that_had_settled_is_started_again_at_once() -> None:
    addon, pauses = tunnel("true"), list[float]()
    without_sleep(addon, pauses, lived_s=61.0)
    with pytest.raises(Paused):
        await addon.api.spawned.pop()
    assert pauses == [1, 1, 1, 1]


async def test_it_ends_with_byway(tmp_path: Path) -> None:
    """What it started is gone when `stop` returns."""
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    addon = tunnel(f"sh -c 'echo $$ > {ready}; exec sleep 1000'")
    task = asyncio.get_running_loop().create_task(addon.api.spawned.pop())
    pid = int(await asyncio.to_thread(ready.read_text))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await addon.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    await addon.stop()  # harmless


async def test_one_that_does_not_want_to_end_is_ended(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    addon = tunnel(f"sh -c 'trap \"\" TERM; echo $$ > {ready}; while :; do sleep 1; done'")
    task = asyncio.get_running_loop().create_task(addon.api.spawned.pop())
    pid = int(await asyncio.to_thread(ready.read_text))
    assert os.getpgid(pid) == pid, "no Ctrl-C reaches it"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await addon.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_command_that_there_is_not_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    addon, pauses = tunnel("/nowhere/ssh -D 1"), list[float]()
    without_sleep(addon, pauses)
    with pytest.raises(Paused):
        await addon.api.spawned.pop()
    assert pauses == [2, 4, 8, 16]
    assert "the command cannot be started: No such file or directory; retrying" in caplog.text


async def test_paths_are_opened_through_it() -> None:
    addon = tunnel("true")
    addon.api.stream = object()
    assert await addon.dial(Route(("home",)), SITE) is addon.api.stream
    assert addon.api.dialed == [Dialed("socks5h://127.0.0.1:1", SITE)]
    addon.api.close()


def test_it_needs_a_command() -> None:
    with pytest.raises(ConfigError, match=r"addons\.tunnel\.command"):
        shipped("tunnel")
