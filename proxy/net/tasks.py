"""Owned tasks: a reference is kept until they end, and their exceptions are always reported.

A task of a plain `asyncio.create_task` may be collected while it runs, and its exception is reported only then, if at
all. Ruff bans it everywhere else.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

_running: set[asyncio.Task[Any]] = set()

_EAGER = {"eager_start": True} if sys.version_info >= (3, 12) else {}


def spawn(
    coro: Coroutine[Any, Any, T], *, name: str, on_end: Callable[[], None] | None = None, eager: bool = False
) -> asyncio.Task[T]:
    """Starts `coro` as a task. Its exception goes to the loop's exception handler, even if the task is awaited, so
    `coro` catches expected failures itself. `on_end` is called when it has ended in any way. `eager` runs it up to its
    first wait before this returns (from Python 3.12 on)."""
    options: dict[str, Any] = _EAGER if eager else {}
    task: asyncio.Task[T] = asyncio.Task(coro, loop=asyncio.get_running_loop(), name=name, **options)
    _running.add(task)
    task.add_done_callback(_ended if on_end is None else partial(_ended, on_end=on_end))
    return task


def _ended(task: asyncio.Task[Any], on_end: Callable[[], None] | None = None) -> None:
    _running.discard(task)
    if on_end is not None:
        on_end()
    if task.cancelled() or (error := task.exception()) is None:
        return
    task.get_loop().call_exception_handler(
        {"message": f"task {task.get_name()} failed", "exception": error, "task": task}
    )


BACK_OFF_MAX_S = 10.0
"""The longest pause of work that fails: an edit that mends it takes effect within this time."""


async def keep_watching(parts: Mapping[str, Callable[[], Awaitable[object] | None]], *, every_s: float) -> None:
    """Calls each of `parts` every `every_s` seconds, and awaits its result, until cancelled. Its key names its work. An
    exception goes to the loop's exception handler, as the exceptions of tasks do. That part then pauses, twice as long
    after each failure, up to BACK_OFF_MAX_S; the others go on."""
    loop = asyncio.get_running_loop()
    failed: dict[str, tuple[float, float]] = {}  # part → the time of its next call, and the length of its pause
    while True:
        await asyncio.sleep(every_s)
        for work, call in parts.items():
            due_at, wait_s = failed.get(work, (0.0, every_s))
            if loop.time() < due_at:
                continue
            try:
                if (waits := call()) is not None:
                    await waits
            except Exception as error:
                wait_s = min(2 * wait_s, BACK_OFF_MAX_S)
                failed[work] = loop.time() + wait_s, wait_s
                report_fault(work, error)
            else:
                failed.pop(work, None)


def report_fault(work: str, error: Exception) -> None:
    """Hands an unexpected exception to the loop's exception handler. `work` names the work that failed and goes on; it
    contains no host."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # a command, without a loop
        log.error("%s failed", work, exc_info=error)
    else:
        loop.call_exception_handler({"message": f"{work} failed", "exception": error, "work": work})


async def cancel_all(timeout_s: float = 5.0) -> None:
    """Cancels every running task but the caller's, and waits until they have ended, for at most `timeout_s`."""
    current = asyncio.current_task()
    left = {task for task in _running if task is not current and not task.done()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=timeout_s)
