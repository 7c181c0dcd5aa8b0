"""Counts the Python calls of a Byway, and the objects that it leaves to the garbage collector. These costs do not
depend on the machine.

    async with CountedByway(tmp_path, config=…) as byway:
        calls, garbage = await byway.count(visit, times=100)

A `sitecustomize` in the process counts between two signals (SIGUSR2), while the collector is off. Every frame counts,
also when a coroutine is resumed. Functions that Byway runs several times a second, with or without visits, do not
count: a visit would cost more on a slower machine.
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

_OF_ITS_OWN_ACCORD = ("keep_watching", "SleepWatch._tick")
"""Functions that are not counted, with the functions that they call."""

_COUNTER = """
import gc, os, signal, sys

calls = left_out = None

def count(frame, event, argument):
    global calls, left_out
    if left_out is not None:
        if event == "return" and frame is left_out:
            left_out = None
    elif event == "call":
        if frame.f_code.co_qualname in {of_its_own_accord!r}:
            left_out = frame
        else:
            calls += 1

def toggle(number, frame):
    global calls, left_out
    if calls is None:
        gc.collect()
        gc.disable()
        calls, left_out = 0, None
        sys.setprofile(count)
        open({began!r}, "w").close()
    else:
        sys.setprofile(None)
        with open({ended!r} + ".new", "w") as file:
            file.write(f"{{calls}} {{gc.collect()}}")
        gc.enable()
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
        values = {"began": str(self._began), "ended": str(self._ended), "of_its_own_accord": _OF_ITS_OWN_ACCORD}
        (counter / "sitecustomize.py").write_text(_COUNTER.format(**values))
        path = {"PYTHONPATH": f"{counter}:{ROOT}"}
        super().__init__(folder, config=config, rules=rules, environment={**path, **(environment or {})})

    async def count(self, visit: Callable[[], Awaitable[None]], *, times: int) -> tuple[float, float]:
        """Returns the calls, and the objects that only the collector frees, for each visit. The first visits are not
        counted."""
        for _ in range(_WARM_UP):
            await visit()
        calls, garbage = await self._counts_during(self._repeated(visit, times))
        return calls / times, garbage / times

    async def _repeated(self, visit: Callable[[], Awaitable[None]], times: int) -> None:
        for _ in range(times):
            await visit()

    async def _counts_during(self, work: Awaitable[None]) -> tuple[int, int]:
        assert self.process is not None
        self.process.send_signal(signal.SIGUSR2)
        await until(self._began.exists)
        await work
        await asyncio.sleep(0)
        self.process.send_signal(signal.SIGUSR2)
        await until(self._ended.exists)
        self._began.unlink()
        calls, garbage = map(int, self._ended.read_text().split())
        self._ended.unlink()
        return calls, garbage
