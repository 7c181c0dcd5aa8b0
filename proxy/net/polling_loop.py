"""The event loop of a running Byway: asyncio's own, waiting in the epoll set of the poller.

A loop that watches the epoll set like any other descriptor takes two system calls and two passes for each event: one to
find the set ready, one to read it. Here the selector of the loop waits in that set itself, in which the descriptors of
asyncio are one entry, and tells the owners of sockets at once. A task that they wake runs in the same pass.
"""

from __future__ import annotations

import asyncio
import math
import select
import selectors
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context
from functools import partial
from typing import Any, Protocol, TypeVarTuple, Unpack

_Ts = TypeVarTuple("_Ts")


class EdgeSet(Protocol):
    """An epoll set whose owners are told of its events by `wait`."""

    def watch_selector(self, fd: int) -> None:
        """Adds the descriptor of the loop's own selector."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Waits for at most `timeout_s`, for ever when it is negative, and tells owners. Returns whether something is
        ready in the loop's own selector."""
        ...


class _Selector(selectors.BaseSelector):
    """asyncio's descriptors in a selector of their own, which is waited for in an EdgeSet once there is one."""

    def __init__(self) -> None:
        self._own = selectors.EpollSelector()
        self._edges: EdgeSet | None = None

    def wait_in(self, edges: EdgeSet | None) -> None:
        self._edges = edges
        if edges is not None:
            edges.watch_selector(self._own.fileno())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._edges is None:
            return self._own.select(timeout)
        # epoll_wait counts in milliseconds: rounded up, so that no timer is asked for too early.
        timeout_s = -1.0 if timeout is None else math.ceil(timeout * 1e3) * 1e-3 if timeout > 0 else 0.0
        return self._own.select(0) if self._edges.wait(timeout_s) else []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._own.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._own.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._own.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._own.get_map()

    def close(self) -> None:
        self._edges = None
        self._own.close()


class PollingLoop(asyncio.SelectorEventLoop):
    """See the module's docstring. Only where there is epoll."""

    # Attributes of asyncio's base class since Python 3.4.
    _ready: deque[asyncio.Handle]
    _closed: bool
    _debug: bool

    def __init__(self) -> None:
        self._polling = _Selector()
        super().__init__(self._polling)
        # asyncio calls both dozens of times for each connection. These do the same, and are no functions of Python.
        self.time = time.monotonic  # type: ignore[method-assign]
        self.get_debug = partial(bool, self.get_debug())  # type: ignore[method-assign]

    def call_soon(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's, which makes three calls of it."""
        if self._closed or self._debug:
            return super().call_soon(callback, *args, context=context)
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def wait_in(self, edges: EdgeSet | None) -> None:
        """Waits in this set from now on; None: in none. Its owner closes it after that."""
        self._polling.wait_in(edges)


def new_loop() -> asyncio.AbstractEventLoop:
    """Returns the loop for a process that runs Byway. The caller closes it."""
    return PollingLoop() if hasattr(select, "epoll") else asyncio.new_event_loop()
