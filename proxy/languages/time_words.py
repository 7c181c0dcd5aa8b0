"""Moments, lengths and periods of time as people type them: `2h`, `7d`, `yesterday`, `18:30`, `2008-10-07`, `yesterday
18-22`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta

from proxy.model.phrase import _

_LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(s|m|min|h|d|w)")
_TIME = re.compile(r"\d{1,2}:\d\d")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_HOURS = re.compile(r"(?:(\S+?)(?: +|t))?(\d{1,2})(?::(\d\d))?(?: *- *(\d{1,2})(?::(\d\d))?)?")
_KEYED = re.compile(r"(?:since: *+(\S++))? *+(?:until: *+(\S++))?")
_SPAN = re.compile(r"(\S+(?: \S+)?) +- +(\S+(?: \S+)?)")
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))
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


_DAY_WORDS: Mapping[str, int] = {"today": 0, "yesterday": 1}


def parse_period(text: str, *, now: float, day_words: Mapping[str, int] = _DAY_WORDS) -> tuple[float, float | None]:
    """Parses a period: a length of time before `now` (`2h`, `7d`), a day (`yesterday`, `2008-10-07`), hours of a day
    (`yesterday 18-22`, `2008-10-07 18:30-19:00`; `18-22` alone are those that began last; `yesterday 20` is the hour
    that begins then), from one moment to another (`2008-10-07 18:00 - 2008-10-08 06:00`), `since:MOMENT`,
    `until:MOMENT` or both, as `parse_moment` reads them, or `all`. Hours that end first end on the next day.
    `day_words` are the words for days, each with how many days ago it is. Times are local. Returns the beginning and
    the end in seconds since the epoch; None: now. Raises ValueError with a sentence."""
    words = " ".join(text.translate(_DASHES).lower().split())
    if words == "all":
        return 0.0, None
    if (length := parse_length(words)) is not None:
        return max(0.0, now - length), None
    try:
        today = datetime.fromtimestamp(now).astimezone().date()
        for name, ago in day_words.items():
            day = (today - timedelta(days=ago)).isoformat()
            words = re.sub(rf"(?<!\w){re.escape(name)}(?=$|[\s-]|t\d)", day, words)
        if (keyed := _KEYED.fullmatch(words)) and words:
            since, until = keyed.groups()
        elif hours := _HOURS.fullmatch(words):
            return _hours(*hours.groups(), now=now, today=today)
        elif span := _SPAN.fullmatch(words):
            since, until = span.groups()
        else:
            since = until = date.fromisoformat(words).isoformat()
        begins = parse_moment(since, now=now) if since else 0.0
        ends = parse_moment(until, now=now, is_end=True) if until else None
        if ends is not None and ends <= begins:
            raise ValueError("it ends before it begins")
        return begins, ends
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            _(
                "{text} is not a period of time: use `yesterday 18-22`, `2h`, `7d`, a day (`2008-10-07`) or `all`",
                text=repr(text),
            )
        ) from None


def _hours(
    day: str | None,
    hour: str,
    minute: str | None,
    end_hour: str | None,
    end_minute: str | None,
    *,
    now: float,
    today: date,
) -> tuple[float, float]:
    """Returns the period of the hours of a day (ISO 8601; None: the last day on which they have begun). Without an end
    it is one hour long. Raises ValueError."""
    start = time(int(hour), int(minute or 0))
    on = today if day is None else date.fromisoformat(day)
    begins = datetime.combine(on, start)
    if day is None and begins.timestamp() > now:
        begins -= timedelta(days=1)
    if end_hour is None:
        return begins.timestamp(), (begins + timedelta(hours=1)).timestamp()
    length = timedelta(hours=int(end_hour), minutes=int(end_minute or 0))
    if length > timedelta(days=1):
        raise ValueError("a day has 24 hours")
    ends = datetime.combine(begins.date(), time()) + length
    return begins.timestamp(), (ends if ends > begins else ends + timedelta(days=1)).timestamp()
