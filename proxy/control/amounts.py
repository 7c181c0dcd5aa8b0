"""Times, durations, sizes and shares as people read them: the same in the terminal and on pages."""

from __future__ import annotations

import time
from datetime import datetime


def ago(at: float | None, *, now: float | None = None) -> str:
    """How long ago, or in how long, in whole units: `just now`, `5 min ago`, `in 3 h`; empty without a time."""
    if at is None:
        return ""
    distance = (time.time() if now is None else now) - at
    if abs(distance) < 1:
        return "just now"
    length = f"{abs(distance):.0f} s" if abs(distance) < 60 else span(abs(distance))
    return f"{length} ago" if distance >= 0 else f"in {length}"


def span(seconds: float) -> str:
    """A length of time in its largest unit: `40 ms`, `1.2 s`, `5 min`, `3 h`, `9 d`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for limit, length, unit in ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h")):
        if seconds < limit:
            count = seconds / length
            return f"{count:.1f} {unit}" if unit == "s" and count < 10 else f"{count:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def size(count: int) -> str:
    """Bytes in a unit that is easy to read."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def share(part: int, whole: int) -> str:
    """A share in per cent; empty of nothing."""
    return f"{100 * part / whole:.0f} %" if whole else ""


def clock(at: float) -> str:
    """A moment in local time, in ISO 8601 with its offset: `2008-10-07T09:12:33+06:00`. Empty for one that no calendar
    has: a damaged log may hold it."""
    try:
        return datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return ""
