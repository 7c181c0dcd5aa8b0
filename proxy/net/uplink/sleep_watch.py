"""Notices that time has passed without us: the computer slept, we were stopped, or its clock was set.

Each second the clock that runs on in sleep and the one on the wall are compared with how far they should be. After a
long sleep routers have forgotten connections that both ends still hold for good; the kernel is then told to ask each of
them for a sign of life, and ends those that give none.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from proxy.net.kernel.tcp_info import Keepalive
from proxy.net.uplink.network_watch import connection_ends

TICK_S = 1.0

_PROBES = 3
_PROBE_S = 1  # the kernel's least; three and one more are over within 5 s


@dataclass(frozen=True, slots=True)
class Resumed:
    """The computer runs again after a sleep, or its clock was set."""

    slept_s: float  # how long nothing ran; 0: it did, and only the clock was set
    jumped_s: float = 0.0  # how far the clock was set ahead beyond that; below 0: back


_ALWAYS: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""The clock that runs on in sleep: on macOS it has the name that on Linux means another. Windows' only one does."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """A reading of both clocks, in seconds."""

    always: float  # runs on in sleep, and is never set
    wall: float

    @classmethod
    def read(cls) -> Clocks:
        return cls(time.monotonic() if _ALWAYS is None else time.clock_gettime(_ALWAYS), time.time())


def detect_resume(before: Clocks, now: Clocks, *, asleep_s: float, jump_s: float) -> Resumed | None:
    """Returns what happened between two ticks; None: only the tick."""
    lasted = now.always - before.always
    slept = lasted - TICK_S
    jumped = now.wall - before.wall - lasted
    if slept < asleep_s and abs(jumped) < jump_s:
        return None
    return Resumed(slept if slept >= asleep_s else 0.0, jumped if abs(jumped) >= jump_s else 0.0)


class SleepWatch:
    """Calls `on_wake` in the loop, within a second of being back."""

    def __init__(
        self,
        on_wake: Callable[[Resumed], None],
        *,
        asleep_s: float,
        jump_s: float,
        read: Callable[[], Clocks] = Clocks.read,
    ) -> None:
        """Gaps from `asleep_s` and jumps of the wall clock from `jump_s` on count."""
        self._on_wake = on_wake
        self._asleep_s = asleep_s
        self._jump_s = jump_s
        self._read = read
        self._before = read()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._before = self._read()
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def close(self) -> None:
        """Harmless when repeated, or never started."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        before, self._before = self._before, self._read()
        found = detect_resume(before, self._before, asleep_s=self._asleep_s, jump_s=self._jump_s)
        if found is not None:
            self._on_wake(found)


async def reset_stale_connections(connections: Iterable[socket.socket]) -> None:
    """Has the kernel ask the far end of each connection for a sign of life, and break those that give none for 3 s.
    Takes 5 s; the others are then as they were before. Connections within this computer cannot have died unnoticed."""
    asked = []
    for sock in connections:
        if _is_beyond(sock):
            with contextlib.suppress(OSError):  # it ended this moment
                asked.append((sock, Keepalive.begin(sock, every_s=_PROBE_S, count=_PROBES)))
    try:
        if asked:
            await asyncio.sleep(_PROBE_S * (_PROBES + 2))
    finally:
        for sock, keepalive in asked:
            keepalive.end(sock)


def _is_beyond(sock: socket.socket) -> bool:
    """Whether a connection leads to another computer."""
    ends = connection_ends(sock)
    return ends is not None and not ends[1].is_loopback
