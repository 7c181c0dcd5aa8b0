"""Faults of Byway itself: unexpected exceptions in work that goes on.

Exceptions of tasks, of callbacks and of `tasks.keep_watching` reach the loop's exception handler. The process notes
each fault here by its place in the code, so that `byway status` shows it, and the log has it once and not each second.
A fault that has not come again for a while is forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxy.model.frozen_dataclass import frozen_dataclass

SHOWN_S = 600.0
"""Seconds after its last occurrence for which a fault is shown, and not logged again."""

LIMIT = 20


@frozen_dataclass
class Fault:
    """One fault, by its place in the code. Times are seconds since the epoch."""

    place: str
    """`IndexError in pac.py:447`"""
    work: str
    """The name of the work that failed, or of the function of a task. Contains no host."""
    since: float
    last: float
    times: int = 1


class Faults:
    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._faults: dict[str, Fault] = {}

    def note(self, context: Mapping[str, Any]) -> bool:
        """Notes a call of the loop's exception handler. Returns whether it belongs in the log: the fault is new, or the
        call has no exception."""
        error = context.get("exception")
        if error is None:
            return True
        now, place = self._now(), place_of(error)
        earlier = self._faults.pop(place, None)
        is_new = earlier is None or now - earlier.last > SHOWN_S
        fault = Fault(place, _work(context), now, now) if earlier is None or is_new else earlier
        self._faults[place] = fault if is_new else replace(fault, last=now, times=fault.times + 1)
        while len(self._faults) > LIMIT:
            del self._faults[next(iter(self._faults))]
        return is_new

    def present(self) -> tuple[Fault, ...]:
        """Returns the faults of the last SHOWN_S, the oldest first: others may follow from it."""
        now = self._now()
        return tuple(sorted((it for it in self._faults.values() if now - it.last <= SHOWN_S), key=lambda it: it.since))


def place_of(error: BaseException) -> str:
    """Returns the kind of an exception, and the file and line that raised it."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    name = type(error).__name__
    if traceback is None:
        return name
    return f"{name} in {Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}"


def _work(context: Mapping[str, Any]) -> str:
    """Returns the name of the work that failed. Names of tasks may hold hosts, so the name of the function is taken."""
    if (work := context.get("work")) is not None:
        return str(work)
    if (task := context.get("task")) is not None:
        return str(getattr(task.get_coro(), "__qualname__", "a task"))
    callback = getattr(context.get("handle"), "_callback", None)
    return str(getattr(callback, "__qualname__", "a callback"))
