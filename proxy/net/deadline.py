"""Deadlines towards peers: `asyncio.timeout`, but the sockets are polled once more before one fires.

A loop that was held up (a busy machine, a slow hook) learns in one pass that an answer has come and that its time is
over. asyncio then cancels the task before it has read the answer, and the peer is blamed for our delay. A deadline here
first lets the loop go through a few passes, which wait for nothing: enough to poll, to wake the task that reads, and to
hand its answer on to the task that has the deadline. A task that still waits after them has no answer.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from proxy.net.loop.timers import Timer, call_at, cancel

PASSES = 16
"""Passes of the loop between a deadline that falls due and the cancellation. The longest path from a socket to a task
takes six: a lookup that polls again itself, its future, the task that waits for it."""

POLLS = 3
"""Passes for code that reads its sockets itself: one to poll, one for the callbacks of ready sockets, one for the tasks
that they wake."""


class Deadline:
    """Limits one block of a task: `with deadline(5):`. Raises TimeoutError out of the block, as asyncio.Timeout does.
    Deadlines nest, and a cancellation that comes from elsewhere stays a cancellation."""

    __slots__ = ("_cancelling", "_is_over", "_task", "_timer", "_when")

    def __init__(self, when: float | None) -> None:
        """`when` is by the loop's clock; None: never."""
        self._when = when
        self._timer: Timer | None = None
        self._is_over = False

    def __enter__(self) -> Deadline:
        task = asyncio.current_task()
        assert task is not None, "a deadline is for the block of a task"
        self._task = task
        self._cancelling = task.cancelling()
        if self._when is not None:
            self._timer = call_at(self._when, self._due, passes=PASSES)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            cancel(self._timer)
            self._timer = None
        if self._is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def reschedule(self, when: float | None) -> None:
        """Moves the deadline. Without effect once it has fired."""
        if self._is_over:
            return
        self._when, timer = when, self._timer
        if when is not None and (timer is None or when < timer[0]):  # else it fires too early, and is set again then
            self._timer = call_at(when, self._due, passes=PASSES, instead_of=timer)

    def _due(self) -> None:
        self._timer = None
        if self._when is None:
            return
        if self._when > asyncio.get_running_loop().time():  # it was moved
            self._timer = call_at(self._when, self._due, passes=PASSES)
            return
        self._is_over = True
        self._task.cancel()


def deadline(seconds: float | None) -> Deadline:
    """A Deadline `seconds` from now; None: never."""
    return Deadline(None if seconds is None else asyncio.get_running_loop().time() + seconds)


async def poll_again() -> None:
    """Lets the loop poll, and handle sockets that are ready. Code that keeps time without a Deadline calls this before
    it gives up."""
    for _ in range(POLLS):
        await asyncio.sleep(0)
