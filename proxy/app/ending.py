"""How a run is to end: a signal, a command or a terminal that is gone asked for it; and whether it begins again.

SIGHUP means two things. A service manager, or `kill -HUP`, asks for a reload. A terminal whose window was closed says
that its user has left: then Byway ends as at Ctrl-C, since nobody would find a Byway without a window.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

_TERMINAL = "/dev/tty"


class Ending:
    """What a run waits for. Belongs to one loop."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        """It is to end: open tunnels may finish."""
        self.hurry = asyncio.Event()
        """They may not."""
        self.interrupts = 0
        self.begins_again = False
        """The process starts Byway anew, with the same command line."""

    def on_interrupt(self) -> None:
        """The first interrupt ends Byway, the second one at once."""
        self.interrupts += 1
        if self.asked.is_set():
            self.hurry.set()
        self.asked.set()
        self.begins_again = False

    def stop(self, *, restart: bool = False, at_once: bool = False) -> None:
        """Ends Byway, after its tunnels or `at_once`. `restart`: it begins again then."""
        self.begins_again = restart
        if at_once:
            self.hurry.set()
        self.asked.set()


class LoginTerminal:
    """The terminal that controls this process, which its shell gave it at the start."""

    def __init__(self) -> None:
        """To be made before SIGHUP has a handler: when it is ignored, by `nohup`, the process outlives its terminal."""
        self._was_there = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _is_there()

    def has_gone(self) -> bool:
        """Whether there was one, and its window was closed."""
        return self._was_there and not _is_there()


def _is_there() -> bool:
    try:
        descriptor = os.open(_TERMINAL, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:  # ENXIO: no terminal controls this process, or none any more
        return False
    os.close(descriptor)
    return True


def begin_again() -> None:
    """Replaces this process by a new one of the same command line and the same pid: its terminal, or the service
    manager that watches it, stays. Raises OSError."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # the command line that started it
