"""Alters the Python of a Byway in the lab, so that the product needs no switch for it.

SIGUSR2 sets its clocks a day ahead, as after a day asleep. With LAB_NO_TCP_INFO in the environment the kernel's
TCP_INFO cannot be read, as on Windows.
"""

from __future__ import annotations

import os
import signal
import socket
import time

DAY_S = 86_400.0
NO_TCP_INFO = "LAB_NO_TCP_INFO"

_wall, _read, _ahead_s = time.time, time.clock_gettime, 0.0


def _time() -> float:
    return _wall() + _ahead_s


def _clock_gettime(clock: int) -> float:
    """Of the clocks, one runs on during sleep and may tell how long it was."""
    return _read(clock) + (_ahead_s if clock == time.CLOCK_BOOTTIME else 0.0)


def _set_ahead(number: int, frame: object) -> None:
    global _ahead_s
    _ahead_s += DAY_S


if __name__ == "sitecustomize":  # not for a test that only wants its names
    signal.signal(signal.SIGUSR2, _set_ahead)
    time.time, time.clock_gettime = _time, _clock_gettime
    if NO_TCP_INFO in os.environ:
        del socket.TCP_INFO
