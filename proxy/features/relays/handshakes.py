"""The times in which relays opened paths, and their failures, by hour, from stored visits. Nothing is sent."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from proxy.control.dashboard.charts import HOURS, Band, bands, first_hour
from proxy.languages.amounts import clock, span
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext, sentences
from proxy.store.rows import HOUR_S
from proxy.store.store import Store

CHARTS = 8
"""The most relays with a chart: those with the most visits."""


@frozen_dataclass
class RelayHours:
    """The results of a relay in each hour since `first_hour`: the seconds in which it opened paths, the number of
    visits that it delivered, and the number of those that failed at it."""

    relay: str
    openings: Sequence[Sequence[float]]
    delivered: Sequence[int]
    failed: Sequence[int]

    @property
    def visits(self) -> int:
        return sum(self.delivered) + sum(self.failed)


@frozen_dataclass
class HandshakeChart:
    """The chart of one relay, its conclusion, and its table."""

    relay: str
    picture: Markup
    conclusion: str
    rows: Sequence[Sequence[str | int]]


@frozen_dataclass
class HandshakesView:
    """The charts on the page. `scale` is a sentence about their height, `more` one about relays that are left out; both
    may be empty."""

    charts: Sequence[HandshakeChart]
    scale: str
    more: str


def read_hours(store: Store, now: float) -> list[RelayHours]:
    """Returns the relays with visits in the hours of the chart, the most used first. Blocks for the disk."""
    first = first_hour(now)
    hours = [first + number * HOUR_S for number in range(HOURS)]
    rows, openings = store.relay_hours(first), store.relay_openings(hours)
    by_hour = {(row.relay, row.at): row for row in rows}
    made = [
        RelayHours(
            relay,
            [openings.get((relay, hour), []) for hour in hours],
            [by_hour[relay, hour].delivered if (relay, hour) in by_hour else 0 for hour in hours],
            [by_hour[relay, hour].failed if (relay, hour) in by_hour else 0 for hour in hours],
        )
        for relay in sorted({row.relay for row in rows} | {relay for relay, _ in openings})
    ]
    return sorted(made, key=lambda each: -each.visits)


def handshakes_view(relays: Sequence[RelayHours], now: float) -> HandshakesView:
    """Returns the charts, all of the same scale."""
    charted = relays[:CHARTS]
    bands_of = [[_band(times) for times in each.openings] for each in charted]
    top = max((band.high for steps in bands_of for band in steps if band is not None), default=0.0)
    rest = len(relays) - len(charted)
    return HandshakesView(
        [_chart(each, steps, top or 1.0, now) for each, steps in zip(charted, bands_of, strict=True)],
        _("The top of each chart is {length}.", length=span(top)) if top else "",
        ngettext("{count} relay with fewer visits is left out.", "{count} relays with fewer visits are left out.", rest)
        if rest
        else "",
    )


def _chart(hours: RelayHours, steps: Sequence[Band | None], top: float, now: float) -> HandshakeChart:
    first = first_hour(now)
    rows: list[Sequence[str | int]] = []
    for number, band in reversed([*enumerate(steps)]):
        counts = hours.delivered[number], hours.failed[number]
        if band is not None or any(counts):
            lengths = ("–",) * 3 if band is None else tuple(map(span, (band.low, band.middle, band.high)))
            rows.append((_hour(first, number), *lengths, *counts))
    return HandshakeChart(hours.relay, bands(steps, hours.failed, top), _conclusion(hours, first), rows)


def _conclusion(hours: RelayHours, first: int) -> str:
    whole = _band([seconds for times in hours.openings for seconds in times])
    failed = sum(hours.failed)
    if whole is None:
        opened = _("{relay}: no handshake was measured.", relay=hours.relay)
    else:
        opened = _(
            "{relay} opened paths in {middle} (median), 8 of 10 of them in {low} to {high}.",
            relay=hours.relay,
            middle=span(whole.middle),
            low=span(whole.low),
            high=span(whole.high),
        )
    if not failed:
        return sentences([opened, _("No visit failed at it.")])
    last = max(number for number, count in enumerate(hours.failed) if count)
    failures = ngettext(
        "{count} visit failed at it, in the hour from {hour}.",
        "{count} visits failed at it, the last in the hour from {hour}.",
        failed,
        hour=_hour(first, last),
    )
    return sentences([opened, failures])


def _band(times: Sequence[float]) -> Band | None:
    """Returns the range of 8 of 10 times, with the upper median; None without times."""
    if not times:
        return None
    ordered, count = sorted(times), len(times)
    return Band(ordered[count // 10], ordered[count // 2], ordered[(count * 9 - 1) // 10])


def _hour(first: int, number: int) -> str:
    return clock(first + number * HOUR_S)[11:16]
