"""The Jalali (Solar Hijri) calendar: its date for a Gregorian one. Pure.

A year begins at the equinox of March as Tehran sees it. From 1206 to 1498 (1827 to 2120) the official leap years follow
a cycle of 33 years, each four years after the one before it and the last one five: no astronomy is needed. Outside of
these years the cycle goes on, and may differ by a day from the calendar of that time.
"""

from __future__ import annotations

from datetime import date

_FIRST_YEAR, _FIRST_DAY = 1376, date(1997, 3, 21).toordinal()
"""The first year of a cycle, which comes after a leap year, and the day on which it begins."""

_YEAR, _FOUR_YEARS, _CYCLE = 365, 1461, 12053
"""Days: of a common year, of four years with a leap day, and of 33 years with eight of them."""

_LONG_MONTHS = 6 * 31
"""Days of the first six months. Five months of 30 days follow, and one of 29, or 30 in a leap year."""


def jalali(day: date) -> tuple[int, int, int]:
    """Returns the Jalali year, month (1 to 12) and day of a Gregorian date."""
    cycles, rest = divmod(day.toordinal() - _FIRST_DAY, _CYCLE)
    fours = min(rest // _FOUR_YEARS, 7)
    rest -= fours * _FOUR_YEARS
    years = min(rest // _YEAR, 4 if fours == 7 else 3)  # the leap day is in the last of four years, or of five
    rest -= years * _YEAR
    month, place = divmod(rest, 31) if rest < _LONG_MONTHS else divmod(rest - _LONG_MONTHS, 30)
    return _FIRST_YEAR + 33 * cycles + 4 * fours + years, month + (1 if rest < _LONG_MONTHS else 7), place + 1
