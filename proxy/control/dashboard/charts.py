"""Makes charts as SVG from numbers. Pure.

The page shows the conclusion of a chart in a sentence beside it, and its numbers in a table. So the SVG has no text but
the titles of its bars, and is hidden from screen readers; its axes are text of the page, not stretched with it.
Every kind has a colour and a pattern, in `PATTERNS`; the page defines them once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.rows import HOUR_S

if TYPE_CHECKING:
    from proxy.control.site_days import DayKind, SiteDay

WIDTH, HEIGHT = 600, 120
"""The size of a bar chart in SVG units; the browser scales it to its column."""

HOURS = 24
"""The hours of a chart of hours, including the present one."""

LANE = 20
"""The height of one lane of a timeline."""

_RISING, _FALLING = "M-2 12L12-2M-2 2L2-2M8 12L12 8", "M-2-2L12 12M8-2L12 2M-2 8L2 12"
_DOTS = "M3 5a2 2 0 1 0 4 0a2 2 0 1 0-4 0"

PATTERNS: Sequence[tuple[str, str, str]] = (
    ("axis", "axis", ""),
    ("direct", "green", ""),
    ("strategy", "blue", _RISING),
    ("relay", "purple", _DOTS),
    ("failed", "red", _RISING + _FALLING),
    ("dns", "blue", _DOTS),
    ("address", "red", _FALLING),
    ("sni", "purple", _RISING),
    ("page", "amber", "M0 5H10"),
    ("interception", "red", "M5 0V10M0 5H10"),
    ("slow", "amber", _DOTS),
    ("other", "grey", _FALLING),
)
"""The kinds: name, colour in the style sheet, and the path of the pattern in a square of 10 units."""


@frozen_dataclass
class Series:
    """The numbers of one kind, one for each bar."""

    name: str
    kind: str
    values: tuple[int, ...]


@frozen_dataclass
class Period:
    """A part of a timeline, from `start` to `end` in seconds since the epoch."""

    start: float
    end: float
    kind: str


@frozen_dataclass
class Bar:
    """One bar of a chart: its shapes, and its numbers in words."""

    shapes: Markup
    title: str


@frozen_dataclass
class Bars:
    """A chart of bars. `marks` are the numbers beside it from the top to zero, `along` the words below it at equal
    distances. `is_cut`: bars reach beyond the top, and end in a white notch there."""

    bars: Sequence[Bar]
    marks: Sequence[int]
    along: Sequence[str]
    is_cut: bool
    grid: Markup = Markup('<path class="axis" d="M0 .5H600M0 60H600M0 119.5H600"/>')


def stacked_bars(series: Sequence[Series], titles: Sequence[str], along: Sequence[str] = ()) -> Bars:
    """Returns a chart of stacked bars, with a title for each. All series have the same unit. The top is a round number
    above the highest bar; when one bar is more than CUT times as high as nine of ten, it is above those instead, so
    that one busy hour does not flatten the others."""
    sums = [sum(each.values[place] for each in series) for place in range(len(titles))]
    usual = sorted(filter(None, sums))
    highest = usual[-1] if usual else 0
    ninth = usual[(len(usual) - 1) * 9 // 10] if usual else 0
    top = round_top(ninth * 2 if highest > CUT * ninth else highest)
    step = WIDTH / max(len(titles), 1)
    bars = []
    for place, title in enumerate(titles):
        left, high, parts = place * step, float(HEIGHT), list[str]()
        for each in series:
            height = min(each.values[place] / top * HEIGHT, high)
            if height > 0:
                high -= height
                parts.append(_rectangle(left + 1, high, step - 2, height, each.kind))
        if sums[place] > top:
            parts.append(f'<path class="notch" d="M{left:.1f} 12l{step:.1f}-6v4l-{step:.1f} 6z"/>')
        parts.append(f'<path class="room" d="M{left:.1f} 0h{step:.1f}v{HEIGHT}h-{step:.1f}z"/>')
        bars.append(Bar(Markup("".join(parts)), title))  # noqa: S704  # numbers and our own names
    return Bars(bars, (top, top // 2, 0), along, highest > top)


CUT = 4
"""See `stacked_bars`."""


def round_top(highest: int) -> int:
    """Returns the least even number of the form 1, 2, 4, 6 or 10 times a power of ten that is not below `highest`, at
    least 2: its half is a whole number."""
    power = 1
    while True:
        for digit in (2, 4, 6, 10):
            if digit * power >= highest:
                return digit * power
        power *= 10


def timeline(periods: Sequence[Period], start: float, end: float) -> Markup:
    """Returns a lane of time from `start` to `end` with the periods on it, each at least 2 units wide."""
    if end <= start:
        return _svg(LANE, "")
    scale = WIDTH / (end - start)
    parts = [_rectangle(0, LANE * 0.4, WIDTH, LANE * 0.2, "axis")]
    for period in periods:
        left = (max(period.start, start) - start) * scale
        width = (min(period.end, end) - start) * scale - left
        if period.end >= start and period.start <= end:
            parts.append(_rectangle(min(left, WIDTH - 2.0), 0, max(width, 2), LANE, period.kind))
    return _svg(LANE, "".join(parts))


def strip(days: Sequence[SiteDay], label: str, title: Callable[[SiteDay], str], kinds: Mapping[DayKind, str]) -> Markup:
    """Returns a square for each day, the oldest first, with its title. `label` tells screen readers what they show, and
    `kinds` are the kinds of pattern."""
    squares = [
        f'<rect fill="url(#{kinds[day.kind]})" x="{place * 10}" y="0" width="8.5" height="16" rx="2">'
        f"<title>{escape(title(day))}</title></rect>"
        for place, day in enumerate(days)
    ]
    return Markup(  # noqa: S704  # the texts are escaped
        f'<svg class="strip" viewBox="0 0 {len(days) * 10} 16" preserveAspectRatio="none" role="img"'
        f' aria-label="{escape(label)}" focusable="false">{"".join(squares)}</svg>'
    )


def _rectangle(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect fill="url(#{kind})" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _svg(height: int, inner: str) -> Markup:
    """Returns an SVG of numbers and Byway's own names, so nothing in it needs escaping."""
    return Markup(  # noqa: S704
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="none" aria-hidden="true"'
        f' focusable="false">{inner}</svg>'
    )


def first_hour(now: float) -> int:
    """Returns the start of the first hour of a chart of hours, in seconds since the epoch."""
    return (int(now) // HOUR_S - HOURS + 1) * HOUR_S
