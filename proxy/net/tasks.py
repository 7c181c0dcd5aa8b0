"""Owned tasks: a reference is kept until they end, and what they raise is never lost.

A plain `asyncio.create_task` may be collected while it runs, and its exception is reported only then, if at all; ruff
bans it everywhere else.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

_running: set[asyncio.Task[Any]] = set()


_EAGER = {"eager_start": True} if sys.version_info >= (3, 12) else {}


def spawn(
    coro: Coroutine[Any, Any, T], *, name: str, on_end: Callable[[], None] | None = None, eager: bool = False
) -> asyncio.Task[T]:
    """Starts `coro` as a task. An exception goes to the loop's exception handler when it ends, even if the task
    is awaited: expected failures are caught within `coro`. `on_end` is called when it has ended in any way. `eager`
    runs it up to its first wait before this returns, from Python 3.12 on."""
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


async def cancel_all(timeout_s: float = 5.0) -> None:
    """Cancels every running task but the caller's and waits until they have ended, at most `timeout_s`."""
    current = asyncio.current_task()
    left = {task for task in _running if task is not current and not task.done()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=timeout_s)
