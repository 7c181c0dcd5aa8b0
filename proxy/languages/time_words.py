"""Moments and lengths of time as people type them: `2h`, `7d`, `yesterday`, `18:30`, `2008-10-07`."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta

_LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(s|m|min|h|d|w)")
_TIME = re.compile(r"\d{1,2}:\d\d")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_length(text: str) -> float | None:
    """Parses a length of time: `30s`, `15m`, `2h`, `1d`. Returns seconds; None for anything else."""
    length = _LENGTH.fullmatch(text.strip().lower())
    return None if length is None else float(length[1]) * _UNITS[length[2]]


def parse_moment(text: str, *, now: float, is_end: bool = False) -> float:
    """Parses a length of time before `now` (`30m`, `2h`, `1d`), a time of today (`18:30`), or a day, alone or with a
    time (`today`, `yesterday`, `yesterdayT18:30`, any date or time of ISO 8601). A time without an offset is local. A
    day alone is its beginning, or with `is_end` its end. Returns seconds since the epoch. Raises ValueError with a
    sentence."""
    if (length := parse_length(text)) is not None:
        return max(0.0, now - length)
    word = text.strip()
    try:
        today = datetime.fromtimestamp(now).astimezone().date()
        if _TIME.fullmatch(word):
            return datetime.combine(today, time.fromisoformat(word.zfill(5))).timestamp()
        for name, day in (("today", today), ("yesterday", today - timedelta(days=1))):
            if word.lower().startswith(name):
                word = day.isoformat() + word[len(name) :]
        if is_end and _DAY.fullmatch(word):
            return datetime.combine(date.fromisoformat(word) + timedelta(days=1), time()).timestamp()
        return max(0.0, datetime.fromisoformat(word).timestamp())
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{text!r} is not a time: use a length (30m, 2h, 7d), a time (18:30) or a day (yesterday, 2008-10-07)"
        ) from None
