"""Runs work in another process, which the kernel ends when the CPU time of one is used up.

Nothing else can end work that holds the interpreter's lock, such as a search of `re`. CPU time and not wall time is
limited, so a busy machine ends nothing.
"""

from __future__ import annotations

import mmap
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

Note = Callable[[str], None]

_ROOM = 8192
_NUMBER = 8


@contextmanager
def cpu_limit(limit_s: float) -> Iterator[None]:
    """For use in the work of `ended`: the process is ended if the block takes more CPU time."""
    signal.setitimer(signal.ITIMER_PROF, limit_s)  # the default of its signal ends the process
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)


def ended(works: Sequence[Callable[[Note], None]]) -> list[str]:
    """Runs works one after the other in one process, or in a new one after each that was ended. Each notes the steps
    that it begins. Returns for each "" if it finished; the last step if a `cpu_limit` ended it; the last step with the
    traceback if it raised. Call it while there is only one thread."""
    shared = mmap.mmap(-1, _ROOM)

    def note(number: int, told: str) -> None:
        data = f"{number:{_NUMBER}}{told}".encode("utf-8", "replace")[: _ROOM - 1]
        shared[: len(data) + 1] = data + b"\0"

    def run_from(first: int) -> None:
        for number in range(first, len(works)):
            note(number, "")
            try:
                works[number](partial(note, number))
            except BaseException:
                note(number, f"{_noted(shared)[1]}: {traceback.format_exc()}")
                os._exit(1)
        os._exit(0)

    found: list[str] = []
    while len(found) < len(works):
        pid = os.fork()
        if pid == 0:
            run_from(len(found))
        _, status = os.waitpid(pid, 0)
        last, told = _noted(shared)
        found += [""] * (last - len(found)) + ["" if status == 0 else told or "ended"]
    return found


def _noted(shared: mmap.mmap) -> tuple[int, str]:
    text = shared[:].partition(b"\0")[0].decode("utf-8", "replace")
    return int(text[:_NUMBER]), text[_NUMBER:]
