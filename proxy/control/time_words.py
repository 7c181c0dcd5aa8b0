"""Moments and lengths of time as people type them: `2h`, `7d`, `2008-10-07`."""

from __future__ import annotations

import re
from datetime import datetime

_LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(s|m|min|h|d|w)")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_length(text: str) -> float | None:
    """Parses a length of time: `30s`, `15m`, `2h`, `1d`. Returns seconds; None for anything else."""
    found = _LENGTH.fullmatch(text.strip().lower())
    return None if found is None else float(found[1]) * _UNITS[found[2]]


def parse_moment(text: str, *, now: float) -> float:
    """Parses a length of time before `now` (`30m`, `2h`, `1d`), or a date or ISO 8601 time, local without an offset.
    Returns seconds since the epoch. Raises ValueError with a sentence."""
    if (length := parse_length(text)) is not None:
        return max(0.0, now - length)
    try:
        return max(0.0, datetime.fromisoformat(text.strip()).timestamp())
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is not a time: use a length (30m, 2h, 7d) or a date (2008-10-07)") from None
