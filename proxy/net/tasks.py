"""Owned tasks: a reference is kept until they end, and what they raise is never lost.

A plain `asyncio.create_task` may be collected while it runs, and its exception is reported only then, if at all; ruff
bans it everywhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_running: set[asyncio.Task[Any]] = set()


def spawn(coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Starts `coro` as a task. An exception goes to the loop's exception handler when it ends, even if the task
    is awaited: expected failures are caught within `coro`."""
    task: asyncio.Task[T] = asyncio.get_running_loop().create_task(coro, name=name)
    _running.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
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
