"""Moments and days as pages show them: `yesterday 20:04`, `28 Nov 03:03`, in the calendar of the reader's language.

A Persian page has Jalali dates, every other one Gregorian dates. The day comes before the month, so that a language can
have its name in the genitive. Times are local, in 24 hours.
"""

from __future__ import annotations

from datetime import date, datetime

from proxy.languages.jalali import jalali
from proxy.languages.language import Language
from proxy.model.phrase import Phrase, _, pgettext

_MONTHS = (
    pgettext("month after its day", "Jan"),
    pgettext("month after its day", "Feb"),
    pgettext("month after its day", "Mar"),
    pgettext("month after its day", "Apr"),
    pgettext("month after its day", "May"),
    pgettext("month after its day", "Jun"),
    pgettext("month after its day", "Jul"),
    pgettext("month after its day", "Aug"),
    pgettext("month after its day", "Sep"),
    pgettext("month after its day", "Oct"),
    pgettext("month after its day", "Nov"),
    pgettext("month after its day", "Dec"),
)

_JALALI_MONTHS = (
    pgettext("month after its day", "Farvardin"),
    pgettext("month after its day", "Ordibehesht"),
    pgettext("month after its day", "Khordad"),
    pgettext("month after its day", "Tir"),
    pgettext("month after its day", "Mordad"),
    pgettext("month after its day", "Shahrivar"),
    pgettext("month after its day", "Mehr"),
    pgettext("month after its day", "Aban"),
    pgettext("month after its day", "Azar"),
    pgettext("month after its day", "Dey"),
    pgettext("month after its day", "Bahman"),
    pgettext("month after its day", "Esfand"),
)

_DATE = pgettext("date", "{day} {month}")
_DATE_AND_YEAR = pgettext("date", "{day} {month} {year}")
_NEAR_DAYS = {-1: _("yesterday"), 0: _("today"), 1: _("tomorrow")}
_NEAR_MOMENTS = {-1: _("yesterday {time}"), 0: _("today {time}"), 1: _("tomorrow {time}")}


def moment_in_words(at: float | None, *, now: float, language: Language) -> str:
    """Returns a moment to the minute, `yesterday 20:04` or `28 Nov 03:03`, with the year if it is not this one. `at`
    and `now` are seconds since the epoch. Empty without a time, and for one outside of the calendar, as a damaged log
    may hold."""
    day, today = _local_day(at), _local_day(now)
    if at is None or day is None or today is None:
        return ""
    near = _NEAR_MOMENTS.get((day - today).days)
    time = time_of_day(at)
    if near is not None:
        return near.given(time=time)
    return pgettext("moment", "{date} {time}", date=_date(day, today, language), time=time)


def day_in_words(at: float | None, *, now: float, language: Language) -> str:
    """Returns the local day of a moment, `yesterday` or `28 Nov`; arguments and the empty result as above."""
    day, today = _local_day(at), _local_day(now)
    if day is None or today is None:
        return ""
    return _NEAR_DAYS.get((day - today).days) or _date(day, today, language)


def time_of_day(at: float) -> str:
    """Returns the local time of a moment: `20:04`. Empty for a time outside of the calendar."""
    found = _local(at)
    return "" if found is None else _("{hour:02}:{minute:02}", hour=found.hour, minute=found.minute)


def _date(day: date, today: date, language: Language) -> Phrase:
    if language is Language.PERSIAN:
        (year, month, place), this_year, months = jalali(day), jalali(today)[0], _JALALI_MONTHS
    else:
        (year, month, place), this_year, months = (day.year, day.month, day.day), today.year, _MONTHS
    name = months[month - 1]
    if year == this_year:
        return _DATE.given(day=place, month=name)
    return _DATE_AND_YEAR.given(day=place, month=name, year=year)


def _local(at: float | None) -> datetime | None:
    try:
        return None if at is None else datetime.fromtimestamp(at).astimezone()
    except (ValueError, OverflowError, OSError):
        return None


def _local_day(at: float | None) -> date | None:
    found = _local(at)
    return None if found is None else found.date()
