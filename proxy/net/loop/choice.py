"""Chooses the event loop of a process: Byway's own, or asyncio's where that cannot run.

Byway's loop uses undocumented parts of asyncio, which the page of this package lists. So it is tried before it is used,
in an eighth of a millisecond (measured): each part must exist, and one pass must do the same as a pass of asyncio. If
something differs in this Python, Byway takes asyncio's loop, and the log says so.
"""

from __future__ import annotations

import asyncio
import logging
import select
import sys
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.config.schema import EventLoop
    from proxy.net.loop.polling_loop import PollingLoop

log = logging.getLogger(__name__)

_LOOP = "asyncio.SelectorEventLoop"
_HANDLE = "asyncio.Handle"
_TIMER = "asyncio.TimerHandle"

_VALUES_OF_LOOP: dict[str, type] = {
    "_closed": bool,
    "_debug": bool,
    "_ready": deque,
    "_scheduled": list,
    "_stopping": bool,
    "_timer_cancelled_count": int,
}
_METHODS_OF_LOOP = ("_process_events", "_run_once")
_VALUES_OF_HANDLE = ("_args", "_callback", "_cancelled", "_context", "_loop", "_repr", "_source_traceback")
_VALUES_OF_TIMER = ("_scheduled", "_when")

BORROWED = (
    *(f"{_LOOP}.{name}" for name in (*_VALUES_OF_LOOP, *_METHODS_OF_LOOP)),
    *(f"{_HANDLE}.{name}" for name in _VALUES_OF_HANDLE),
    *(f"{_TIMER}.{name}" for name in _VALUES_OF_TIMER),
)
"""The undocumented parts of asyncio that Byway's loop uses."""

_WAITS_MAX = 4
"""The most passes of a trial, which takes one: a loop that does not stop would go on for ever."""


def new_loop(wanted: EventLoop = "auto") -> asyncio.AbstractEventLoop:
    """Returns the loop for a process that runs Byway. The caller closes it. No loop may run in this thread."""
    if wanted == "asyncio" or not hasattr(select, "epoll"):
        return asyncio.new_event_loop()
    if name := missing():
        log.warning(
            "Using asyncio's event loop, which takes more CPU time: Byway's own needs %s, which Python %s lacks or has"
            ' changed. Update Byway. `[limits] event_loop = "asyncio"` hides this message',
            name,
            ".".join(map(str, sys.version_info[:3])),
        )
        return asyncio.new_event_loop()
    from proxy.net.loop.polling_loop import PollingLoop

    return PollingLoop()


def missing() -> str:
    """Returns the first part of asyncio that is not as Byway's loop expects it; empty when all are. Runs a loop for one
    pass, so no other may run in this thread."""
    try:
        # Imported in here: in another Python, asyncio's handle may be no class to derive from.
        from proxy.net.loop.polling_loop import PollingLoop

        loop = PollingLoop()
        try:
            _check_parts(loop)
            _check_pass(loop)
        finally:
            loop.close()
    except _Differs as differs:
        return str(differs)
    except Exception as error:  # a changed asyncio may raise anything; its own loop still runs
        return f"{_LOOP} ({type(error).__name__}: {error})"
    return ""


class _Differs(Exception):
    """A part of asyncio is not as Byway's loop expects it. The text names the part."""


def _expect(is_so: bool, name: str) -> None:
    if not is_so:
        raise _Differs(name)


def _nothing() -> None:
    """A callback that is cancelled before its turn."""


def _check_parts(loop: PollingLoop) -> None:
    """Raises _Differs for a missing part. If asyncio has changed, anything may be raised."""
    for name, kind in _VALUES_OF_LOOP.items():
        _expect(isinstance(getattr(loop, name, None), kind), f"{_LOOP}.{name}")
    for name in _METHODS_OF_LOOP:
        _expect(callable(getattr(asyncio.SelectorEventLoop, name, None)), f"{_LOOP}.{name}")
    theirs = asyncio.SelectorEventLoop.call_soon(loop, _nothing)
    for name in _VALUES_OF_HANDLE:
        _expect(hasattr(theirs, name), f"{_HANDLE}.{name}")
    ours = loop.call_soon(_nothing)
    for name in dir(theirs):  # includes attributes that a later asyncio may add to its handles
        _expect(hasattr(ours, name) or not hasattr(theirs, name), f"{_HANDLE}.{name}")
    timer = loop.call_at(loop.time() - 1, _nothing)
    for name in _VALUES_OF_TIMER:
        _expect(hasattr(timer, name), f"{_TIMER}.{name}")
    for handle in (theirs, ours, timer):
        handle.cancel()


def _check_pass(loop: PollingLoop) -> None:
    """Runs the loop with callbacks, a timer, a wake-up as by another thread and a stop, beside the cancelled ones of
    `_check_parts`. Raises as `_check_parts`."""
    called: list[str] = []
    raised: list[BaseException] = []
    loop.set_exception_handler(lambda _, context: raised.append(context["exception"]))
    asyncio.SelectorEventLoop.call_soon(loop, called.append, "a callback of asyncio's")
    loop.call_soon(called.append, "one of ours")
    loop.call_later(0, called.append, "a timer")
    _expect(len(loop._ready) == 4, f"{_LOOP}._ready")
    _expect(len(loop._scheduled) == 2, f"{_LOOP}._scheduled")
    _expect(loop._timer_cancelled_count == 1, f"{_LOOP}._timer_cancelled_count")
    loop.call_soon_threadsafe(called.append, "a wake-up")
    loop.call_soon(loop.stop)
    edges = _NoEdges()
    loop.wait_in(edges)
    loop.run_forever()
    loop.leave(edges)
    if raised:
        raise raised[0]
    as_asyncio = ["a callback of asyncio's", "one of ours", "a wake-up", "a timer"]
    _expect(edges.waits == 1 and called == as_asyncio, f"{_LOOP}._run_once")
    _expect(not loop._ready, f"{_LOOP}._ready")
    _expect(not loop._scheduled, f"{_LOOP}._scheduled")
    _expect(loop._timer_cancelled_count == 0, f"{_LOOP}._timer_cancelled_count")
    _expect(not edges.wait(0.0), f"{_LOOP}._process_events")  # it has read the wake-up


class _NoEdges:
    """An EdgeSet without sockets, for a trial: it polls the loop's own descriptors, and never waits."""

    has_pass_end_work = False

    def __init__(self) -> None:
        self.waits = 0
        self._selector = select.poll()

    def watch_selector(self, fd: int) -> None:
        self._selector.register(fd, select.POLLIN)

    def end_pass(self) -> None:
        """Does nothing."""

    def wait(self, timeout_s: float) -> bool:
        self.waits += 1
        _expect(self.waits <= _WAITS_MAX, f"{_LOOP}._stopping")
        return bool(self._selector.poll(0))
