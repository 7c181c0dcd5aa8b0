"""The routes that open a site, as bars of time with one axis. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proxy.control.dashboard.kinds import route_kind
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.site_queries import RouteTime

WIDTH = 100.0
"""The units of a bar that reaches to the end of the axis."""

_TOPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
"""The ends of an axis, in seconds."""


@frozen_dataclass
class RouteBar:
    """A route: the median of the seconds until it delivered (None: it never did), from the ninth of ten fastest to the
    ninth of ten slowest visits, and how often it delivered of `attempts`. `width` and `low` to `high` are in units of
    WIDTH; a bar that reaches beyond the axis ends there. `kind` is its pattern."""

    route: str
    kind: str
    median_s: float | None
    delivered: int
    attempts: int
    width: float
    low: float
    high: float


@frozen_dataclass
class OpenedBy:
    """The routes of a site, those that deliver first, the fastest of them first. `marks` are the seconds along the
    axis, from zero to its end, at equal distances."""

    bars: Sequence[RouteBar]
    marks: Sequence[float]


def opened_by(times: Iterable[RouteTime]) -> OpenedBy | None:
    """Returns the routes of a site; None without an attempt."""
    delivered: dict[str, list[float]] = {}
    attempts: dict[str, int] = {}
    for each in times:
        attempts[each.route] = attempts.get(each.route, 0) + 1
        if each.delivered:
            delivered.setdefault(each.route, []).append(each.seconds)
    if not attempts:
        return None
    sorted_s = {route: sorted(seconds) for route, seconds in delivered.items()}
    medians = {route: seconds[len(seconds) // 2] for route, seconds in sorted_s.items()}
    # Of the medians alone, so that one slow visit does not flatten the rest.
    slowest = max(medians.values(), default=0.0)
    top = next((top for top in _TOPS if top >= slowest), _TOPS[-1])

    def place(seconds: float) -> float:
        return round(min(seconds / top, 1.0) * WIDTH, 1)

    bars = []
    for route, count in attempts.items():
        seconds = sorted_s.get(route, [])
        low, high = (seconds[len(seconds) // 10], seconds[-1 - len(seconds) // 10]) if seconds else (0.0, 0.0)
        median = medians.get(route)
        bars.append(
            RouteBar(
                route,
                route_kind(route) if seconds else "failed",
                median,
                len(seconds),
                count,
                0.0 if median is None else max(place(median), 1.0),
                place(low),
                place(high),
            )
        )
    bars.sort(key=lambda bar: (bar.median_s is None, bar.median_s or 0.0, -bar.attempts, bar.route))
    return OpenedBy(bars, (0.0, top / 2, top))
