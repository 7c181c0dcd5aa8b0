"""Runs work in its own process, which the kernel ends when its CPU time is used up.

Nothing else can end work that holds the interpreter's lock, such as a search of `re`. CPU time and not wall time is
limited, so a busy machine ends nothing.
"""

from __future__ import annotations

import mmap
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Note = Callable[[str], None]

_ROOM = 8192


@contextmanager
def cpu_limit(limit_s: float) -> Iterator[None]:
    """For use in the work of `ended`: the process is ended if the block takes more CPU time."""
    signal.setitimer(signal.ITIMER_PROF, limit_s)  # the default of its signal ends the process
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)


def ended(work: Callable[[Note], None]) -> str:
    """Runs `work`, which notes each step that it begins. Returns "" if it finishes; the last step if a `cpu_limit`
    ended it; the last step with the traceback if it raised. Call it while there is only one thread."""
    shared = mmap.mmap(-1, _ROOM)

    def note(told: str) -> None:
        data = told.encode("utf-8", "replace")[: _ROOM - 1]
        shared[: len(data) + 1] = data + b"\0"

    def told() -> str:
        return shared[:].partition(b"\0")[0].decode("utf-8", "replace")

    pid = os.fork()
    if pid == 0:
        try:
            work(note)
        except BaseException:
            note(f"{told()}: {traceback.format_exc()}")
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return "" if status == 0 else told()
