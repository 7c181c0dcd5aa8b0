"""Times, durations, sizes and shares as people read them: the same in the terminal and on pages."""

from __future__ import annotations

import time
from datetime import datetime

from proxy.model.phrase import _


def ago(at: float | None, *, now: float | None = None) -> str:
    """How long ago, or in how long, in whole units: `just now`, `5 min ago`, `in 3 h`; empty without a time."""
    if at is None:
        return ""
    distance = (time.time() if now is None else now) - at
    if abs(distance) < 1:
        return _("just now")
    length = _SECONDS.given(count=abs(distance)) if abs(distance) < 60 else span(abs(distance))
    return _("{length} ago", length=length) if distance >= 0 else _("in {length}", length=length)


_SECONDS = _("{count:.0f} s")


def moment(at: float | None) -> str:
    """A moment of local time to the minute, `2008-10-07 09:12`; empty without a time."""
    return "" if at is None else clock(at)[:16].replace("T", " ")


def short_moment(at: float | None) -> str:
    """Returns the same without the year, for lists of recent entries: `10-07 09:12`."""
    return moment(at)[5:]


def dated(at: float | None, *, now: float | None = None) -> str:
    """A moment and how long ago it was: `2008-10-07 09:12 (5 min ago)`; empty without a time."""
    return "" if at is None else _("{moment} ({ago})", moment=moment(at), ago=ago(at, now=now))


def span(seconds: float) -> str:
    """A length of time in its largest unit: `40 ms`, `1.2 s`, `5 min`, `3 h`, `9 d`."""
    if seconds < 1:
        return _("{count:.0f} ms", count=seconds * 1000)
    if seconds < 60:
        return _("{count:.1f} s", count=seconds) if seconds < 10 else _SECONDS.given(count=seconds)
    if seconds < 3600:
        return _("{count:.0f} min", count=seconds / 60)
    if seconds < 86_400:
        return _("{count:.0f} h", count=seconds / 3600)
    return _("{count:.0f} d", count=seconds / 86_400)


_SIZES = (
    (_("{count:.0f} B"), _("{count:.0f} B")),
    (_("{count:.0f} kB"), _("{count:.1f} kB")),
    (_("{count:.0f} MB"), _("{count:.1f} MB")),
    (_("{count:.0f} GB"), _("{count:.1f} GB")),
)
"""Units from a thousand to the next, whole and with one decimal."""


def size(count: int) -> str:
    """A number of bytes in its largest unit: `40 B`, `1.2 kB`, `5.0 MB`."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(_SIZES) - 1:
        value, unit = value / 1000, unit + 1
    whole, exact = _SIZES[unit]
    return (whole if value >= 100 else exact).given(count=value)


def share(part: int, whole: int) -> str:
    """A share in per cent; empty of nothing."""
    return _("{share:.0f} %", share=100 * part / whole) if whole else ""


def clock(at: float) -> str:
    """A moment in local time, in ISO 8601 with its offset: `2008-10-07T09:12:33+06:00`. Empty for a time outside of the
    calendar, which a damaged log may hold."""
    try:
        return datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return ""
