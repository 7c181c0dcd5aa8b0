"""Tracks the work that an addon's code starts without its `api`: tasks (`asyncio.create_task`, `gather`, a TaskGroup),
callbacks of the loop, and threads.

Without tracking, a SystemExit in such a task would end Byway, an endless loop would block it, and the task would
outlive an edit. So a task whose coroutine is defined in an addon's file belongs to the addon, like those of
`api.spawn`. An exception in a task that is not awaited, in a callback or in a thread is a fault of the addon, not of
Byway.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from proxy.extend.guard.runner import AddonRunner

Owner: TypeAlias = "Callable[[str], AddonRunner | None]"
"""Finds the runner of the addon version whose module has this name."""


class TaskTracking:
    """Task factory and exception handler of one event loop, between `start` and `close`."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handler_before: Any = None
        self._hook_before: Any = None

    def start(self) -> None:
        """Installs itself. Does nothing the second time."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.set_task_factory(self._make)
            self._handler_before = self._loop.get_exception_handler()
            self._loop.set_exception_handler(self._on_unhandled)
            self._hook_before, threading.excepthook = threading.excepthook, self._on_thread_failed

    def close(self) -> None:
        """Restores the handlers that were there before `start`."""
        if self._loop is not None:
            self._loop.set_task_factory(None)
            self._loop.set_exception_handler(self._handler_before)
            threading.excepthook = self._hook_before
            self._loop = None

    def _make(self, loop: asyncio.AbstractEventLoop, work: Any, **named: Any) -> asyncio.Task[Any]:
        frame = work.cr_frame if inspect.iscoroutine(work) else None
        owner = None if frame is None else self._owner(frame.f_globals.get("__name__", ""))
        if owner is None:
            return asyncio.Task(work, loop=loop, **named)
        return owner.adopt(asyncio.Task(owner.run_task(work), loop=loop, **named), work)

    def _on_unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        owner = None if error is None else self._owner_of(error.__traceback__)
        if error is not None and owner is not None:
            owner.on_task_failed(error)
        elif self._handler_before is not None:
            self._handler_before(loop, context)
        else:
            loop.default_exception_handler(context)

    def _on_thread_failed(self, raised: threading.ExceptHookArgs) -> None:
        owner = self._owner_of(raised.exc_traceback)
        if owner is None or self._loop is None or raised.exc_value is None:
            self._hook_before(raised)
        else:
            self._loop.call_soon_threadsafe(owner.on_task_failed, raised.exc_value)

    def _owner_of(self, traceback: TracebackType | None) -> AddonRunner | None:
        """Returns the runner of the outermost addon code in a traceback."""
        while traceback is not None:
            if owner := self._owner(traceback.tb_frame.f_globals.get("__name__", "")):
                return owner
            traceback = traceback.tb_next
        return None
