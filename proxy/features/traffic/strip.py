"""The strip of time on the page Traffic: which period is chosen, and the bars of visits around it. Pure.

Visits are counted by hour, so a bar has whole hours: one, a part of a day, or whole days, so many that the chosen
period and as much again fit on the strip.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from itertools import pairwise

from proxy.control.dashboard.charts import Bars, Series, stacked_bars
from proxy.control.dashboard.kinds import route_kind
from proxy.languages.dates import day_in_words, moment_in_words, time_of_day
from proxy.languages.language import Language
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext, pgettext, sentences
from proxy.store.route_queries import Visits
from proxy.store.rows import HOUR_S, NO_ROUTE

DAY_S = 24 * HOUR_S
SHORTEST_S = 2 * DAY_S
"""The seconds of the shortest strip."""

BARS_MAX = 56
_HOURS = (1, 3, 6, 12)  # of one bar, where a day has several

KINDS = (
    ("direct", pgettext("visits", "direct")),
    ("strategy", pgettext("visits", "a local strategy")),
    ("relay", pgettext("visits", "a relay")),
    ("failed", pgettext("visits", "did not open")),
)
"""What opened a visit, by the kinds of `charts.PATTERNS`, from the bottom of a bar."""


@frozen_dataclass
class Period:
    """A period of the log in seconds since the epoch. `until` None: now."""

    since: float
    until: float | None = None

    @property
    def text(self) -> str:
        """The period to the minute, as `time_words.parse_period` reads it."""
        if self.until is None:
            return f"since:{_text(self.since)}" if self.since > 0 else "all"
        if self.since <= 0:
            return f"until:{_text(self.until)}"
        begins, ends = _local(self.since), _local(self.until)
        is_midnight, length = ends.time() == time(), ends - begins
        if begins.time() == time() and is_midnight and length == timedelta(days=1):
            return f"{begins:%Y-%m-%d}"
        if begins.date() == ends.date() or (is_midnight and length < timedelta(days=1)):
            return f"{begins:%Y-%m-%d %H:%M}-{'24:00' if is_midnight else f'{ends:%H:%M}'}"
        return f"{_text(self.since)} - {_text(self.until)}"


def _text(at: float) -> str:
    return f"{_local(at):%Y-%m-%dT%H:%M}"


def _local(at: float) -> datetime:
    return datetime.fromtimestamp(at).astimezone()


@frozen_dataclass
class Strip:
    """The strip of the page. Each bar has its period, and the texts of its `edges`, which dragging puts into the field.
    `chosen` are the beginning and the end of the chosen period as parts of the width, from 0 to 1. `series` and `rows`
    are for the legend and the table."""

    plot: Bars
    periods: Sequence[Period]
    edges: Sequence[tuple[str, str]]
    chosen: tuple[float, float]
    conclusion: str
    series: Sequence[Series]
    rows: Sequence[Sequence[str | int]]
    unit: str

    @property
    def headings(self) -> Sequence[str]:
        """The headings of the table."""
        return [_("From"), *(each.name for each in self.series)]


def edges(period: Period, *, oldest: float, now: float) -> list[int]:
    """Returns the edges of the bars, in seconds since the epoch: the beginnings, and the end of the last one. `oldest`
    is when the first visit was counted."""
    until = min(period.until or now, now)
    length = max(until - max(period.since, oldest), HOUR_S)
    wanted = max(min(2 * length, now - oldest), SHORTEST_S)
    end = min(now, until + wanted / 4)
    for hours in _HOURS:
        if wanted <= hours * HOUR_S * BARS_MAX:
            step, offset = hours * HOUR_S, 0 if hours == 1 else _offset_s(end)
            last = (int(end) + offset) // step * step - offset + step
            return [last - step * back for back in range(int(-(-wanted // step)) + 1, -1, -1)]
    days = int(-(-wanted // (DAY_S * BARS_MAX)))
    last_day = _local(end).date() + timedelta(days=1)
    count = int(-(-wanted // (DAY_S * days))) + 1
    return [_midnight(last_day - timedelta(days=days * back)) for back in range(count, -1, -1)]


def _offset_s(at: float) -> int:
    offset = _local(at).utcoffset()
    return int(offset.total_seconds()) if offset else 0


def _midnight(day: date) -> int:
    return int(datetime.combine(day, time()).timestamp())


def strip(visits: Sequence[Visits], places: Sequence[int], period: Period, *, now: float, language: Language) -> Strip:
    """Returns the strip for the visits between each two of `places`, its edges."""
    names = [kind for kind, _name in KINDS]
    values = {kind: [0] * (len(places) - 1) for kind in names}
    for each in visits:
        kind = "failed" if each.route == NO_ROUTE else route_kind(each.route)
        values[kind][each.place] += each.count
    series = [Series(name, kind, tuple(values[kind])) for kind, name in KINDS]
    periods = [Period(begins, ends) for begins, ends in pairwise(places)]
    titles = [_title(each, place, series, now=now, language=language) for place, each in enumerate(periods)]
    total, failed = sum(map(sum, values.values())), sum(values["failed"])
    step_s = places[1] - places[0]
    return Strip(
        plot=stacked_bars(series, titles, _along(places, now=now, language=language)),
        periods=periods,
        edges=[(_text(each.since), _text(each.until or now)) for each in periods],
        chosen=(_place(period.since, places), _place(period.until or now, places)),
        conclusion=sentences(
            [
                ngettext("{count} visit in this time.", "{count} visits in this time.", total),
                ngettext("{count} did not open.", "{count} did not open.", failed),
            ]
        ),
        series=series,
        rows=[
            (moment_in_words(begins, now=now, language=language), *(each.values[place] for each in series))
            for place, (begins, _ends) in enumerate(pairwise(places))
            if any(each.values[place] for each in series)
        ],
        unit=_unit(step_s),
    )


def _title(period: Period, place: int, series: Sequence[Series], *, now: float, language: Language) -> str:
    begins, ends = period.since, period.until or now
    if ends - begins < DAY_S:
        when: str = _("{begin}–{end}", begin=moment_in_words(begins, now=now, language=language), end=time_of_day(ends))
    elif ends - begins < 1.5 * DAY_S:
        when = day_in_words(begins, now=now, language=language)
    else:
        last = day_in_words(ends - 1, now=now, language=language)
        when = _("{begin}–{end}", begin=day_in_words(begins, now=now, language=language), end=last)
    counts = [_("{name}: {count}", name=each.name, count=each.values[place]) for each in series if each.values[place]]
    what = counts[0] if counts else _("no visits")
    for count in counts[1:]:
        what = _("{first}, {rest}", first=what, rest=count)
    return _("{period} · {what}", period=when, what=what)


def _along(places: Sequence[int], *, now: float, language: Language) -> list[str]:
    """Returns five times at equal distances: days where a bar has whole days, else every other one with its day."""
    last, has_days = len(places) - 1, places[1] - places[0] >= DAY_S
    words: list[str] = []
    for part in range(5):
        at = places[last * part // 4]
        if part == 4 and at >= now:
            words.append(pgettext("chart", "now"))
        elif has_days:
            words.append(day_in_words(at, now=now, language=language))
        else:
            words.append(time_of_day(at) if part % 2 else moment_in_words(at, now=now, language=language))
    return words


def _unit(step_s: float) -> str:
    if step_s < DAY_S:
        return ngettext("Visits in each hour", "Visits in each {count} hours", round(step_s / HOUR_S))
    return ngettext("Visits on each day", "Visits in each {count} days", round(step_s / DAY_S))


def _place(at: float, places: Sequence[int]) -> float:
    """Returns the place of a moment on the strip, from 0 to 1."""
    if at <= places[0]:
        return 0.0
    if at >= places[-1]:
        return 1.0
    bar = bisect_right(places, at) - 1
    within = (at - places[bar]) / (places[bar + 1] - places[bar])
    return (bar + within) / (len(places) - 1)
