"""Notices suspend and resume, a stopped process, and jumps of the wall clock.

Each second it compares the clock that runs on during sleep, and the wall clock, with their last readings. After a long
sleep, NAT routers have forgotten connections that both ends still consider open: keepalive probes are then sent on
each, and the kernel closes those without an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterable

from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.kernel.tcp_info import PROBE_EVERY_S, Keepalive
from proxy.net.uplink.network_watch import connection_ends

TICK_S = 1.0

_PROBES = 3  # with a last wait, they take less than 5 s


@frozen_dataclass
class Resumed:
    """The computer runs again after a sleep, or its clock was set."""

    slept_s: float  # the time in which the process did not run; 0: only the wall clock was set
    jumped_s: float = 0.0  # the distance by which the wall clock was set forward beyond that; below 0: back


_ALWAYS: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""The clock that runs on during sleep: CLOCK_BOOTTIME on Linux, CLOCK_MONOTONIC on macOS; on Windows time.monotonic."""


@frozen_dataclass
class Clocks:
    """A reading of both clocks, in seconds."""

    always: float  # it runs on during sleep, and is never set
    wall: float

    @classmethod
    def read(cls) -> Clocks:
        return cls(time.monotonic() if _ALWAYS is None else time.clock_gettime(_ALWAYS), time.time())


def detect_resume(before: Clocks, now: Clocks, *, asleep_s: float, jump_s: float) -> Resumed | None:
    """Returns a sleep or a clock jump between two ticks; None when there was neither."""
    lasted = now.always - before.always
    slept = lasted - TICK_S
    jumped = now.wall - before.wall - lasted
    if slept < asleep_s and abs(jumped) < jump_s:
        return None
    return Resumed(slept if slept >= asleep_s else 0.0, jumped if abs(jumped) >= jump_s else 0.0)


class SleepWatch:
    """Calls `on_wake` in the loop, within a second of a resume."""

    def __init__(
        self,
        on_wake: Callable[[Resumed], None],
        *,
        asleep_s: float,
        jump_s: float,
        read: Callable[[], Clocks] = Clocks.read,
    ) -> None:
        """Gaps of at least `asleep_s` and jumps of the wall clock of at least `jump_s` count."""
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
        """Stops watching. Harmless when repeated, or never started."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        before, self._before = self._before, self._read()
        resumed = detect_resume(before, self._before, asleep_s=self._asleep_s, jump_s=self._jump_s)
        if resumed is not None:
            self._on_wake(resumed)


async def reset_stale_connections(connections: Iterable[socket.SocketType]) -> None:
    """Sends keepalive probes on each connection; the kernel closes those without an answer for 3 s. Takes 5 s, then
    restores the options of the others. Skips connections within this computer, which need no router."""
    probed = []
    for sock in connections:
        if _is_beyond(sock):
            with contextlib.suppress(OSError):  # it has just ended
                probed.append((sock, Keepalive.begin(sock, count=_PROBES)))
    try:
        if probed:
            await asyncio.sleep(PROBE_EVERY_S * (_PROBES + 2))
    finally:
        for sock, keepalive in probed:
            keepalive.end(sock)


def _is_beyond(sock: socket.SocketType) -> bool:
    """Whether a connection leads to another computer."""
    ends = connection_ends(sock)
    return ends is not None and not ends[1].is_loopback
