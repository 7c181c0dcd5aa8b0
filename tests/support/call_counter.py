"""Counts the calls of Python functions that a Byway makes: a cost that depends on no machine.

    async with CountedByway(tmp_path, config=…) as byway:
        calls = await byway.count(visit, times=100)

A `sitecustomize` in the process counts between two signals (SIGUSR2). Every frame counts, also of a coroutine that goes
on, and of whatever else the process does meanwhile: with many visits that is little for each.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from tests.support.byway import Byway
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]

_WARM_UP = 30

_COUNTER = """
import os, signal, sys

calls = None

def count(frame, event, argument):
    if event == "call":
        calls[0] += 1

def toggle(number, frame):
    global calls
    if calls is None:
        calls = [0]
        sys.setprofile(count)
        open({began!r}, "w").close()
    else:
        sys.setprofile(None)
        with open({ended!r} + ".new", "w") as file:
            file.write(str(calls[0]))
        os.rename({ended!r} + ".new", {ended!r})
        calls = None

if "run" in sys.orig_argv:
    signal.signal(signal.SIGUSR2, toggle)
"""


class CountedByway(Byway):
    """A Byway whose calls can be counted."""

    def __init__(
        self, folder: Path, *, config: str = "", rules: str | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._began, self._ended = folder / "counting", folder / "counted"
        counter = folder / "counter"
        counter.mkdir(parents=True)
        (counter / "sitecustomize.py").write_text(_COUNTER.format(began=str(self._began), ended=str(self._ended)))
        path = {"PYTHONPATH": f"{counter}:{ROOT}"}
        super().__init__(folder, config=config, rules=rules, environment={**path, **(environment or {})})

    async def count(self, visit: Callable[[], Awaitable[None]], *, times: int) -> float:
        """Calls for each visit, once a few visits have been made that are not counted. What Byway does anyway in the
        same time does not count."""
        for _ in range(_WARM_UP):
            await visit()
        loop = asyncio.get_running_loop()
        began = loop.time()
        with_visits = await self._calls_during(self._repeated(visit, times))
        without = await self._calls_during(asyncio.sleep(loop.time() - began))
        return (with_visits - without) / times

    async def _repeated(self, visit: Callable[[], Awaitable[None]], times: int) -> None:
        for _ in range(times):
            await visit()

    async def _calls_during(self, work: Awaitable[None]) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGUSR2)
        await until(self._began.exists)
        await work
        await asyncio.sleep(0)
        self.process.send_signal(signal.SIGUSR2)
        await until(self._ended.exists)
        self._began.unlink()
        calls = int(self._ended.read_text())
        self._ended.unlink()
        return calls
