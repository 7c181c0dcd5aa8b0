"""The strip of time: its edges, its bars, and the texts of its periods."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

import pytest

from proxy.features.traffic.strip import BARS_MAX, DAY_S, Period, edges, strip
from proxy.languages.language import Language
from proxy.languages.time_words import parse_period
from proxy.store.route_queries import Visits
from proxy.store.rows import HOUR_S, NO_ROUTE

NOW = 1_700_000_000.0
"""2023-11-14, 22:13:20 in UTC."""
OLDEST = NOW - 90 * DAY_S


@pytest.fixture(autouse=True, params=["UTC", "Asia/Tehran", "America/New_York"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


PERIODS = [
    *(f"{hours}h" for hours in (1, 2, 24, 30, 60)), *(f"{days}d" for days in (2, 7, 13, 30, 60, 400)),
    "all", "yesterday 18-22", "2023-10-01", "2023-10-01 18-22", "2023-09-01 - 2023-10-01", "2020-01-01",
]  # fmt: skip


@pytest.mark.parametrize("text", PERIODS)
def test_a_strip_has_the_period_and_as_much_again_as_there_is(text: str) -> None:
    period = Period(*parse_period(text, now=NOW))
    places = edges(period, oldest=OLDEST, now=NOW)
    assert 2 <= len(places) <= BARS_MAX + 3
    assert all(begin < end for begin, end in pairwise(places))
    assert places[-1] - places[0] >= 2 * DAY_S
    assert places[0] <= max(period.since, OLDEST)
    assert places[-1] >= min(period.until or NOW, NOW)
    assert places[-1] <= NOW + DAY_S * max(1, (places[1] - places[0]) / DAY_S)


def test_bars_are_hours_then_parts_of_days_then_days() -> None:
    steps = []
    for text in ("1h", "24h", "7d", "20d", "all"):
        places = edges(Period(*parse_period(text, now=NOW)), oldest=OLDEST, now=NOW)
        steps.append(round((places[1] - places[0]) / HOUR_S))
        if steps[-1] > 1:
            midnights = [at for at in places if datetime.fromtimestamp(at).astimezone().hour == 0]
            assert len(midnights) >= len(places) // 24, "they begin at midnight, local time"
    assert steps == [1, 1, 6, 24, 48]


@pytest.mark.parametrize("text", [*PERIODS, "since:2023-10-01T18:05", "until:2023-10-01T18:05"])
def test_the_text_of_a_period_is_read_as_the_period(text: str) -> None:
    since, until = parse_period(text, now=NOW)
    period = Period(since // 60 * 60, until)
    assert parse_period(period.text, now=NOW) == (period.since, period.until), period.text


def test_visits_stand_in_their_bars_by_what_opened_them() -> None:
    period = Period(*parse_period("24h", now=NOW))
    places = edges(period, oldest=OLDEST, now=NOW)
    visits = [
        Visits(3, "direct", 5),
        Visits(3, "direct|tlsrec", 2),
        Visits(3, "tor", 1),
        Visits(3, "vps|tlsrec", 1),
        Visits(3, NO_ROUTE, 4),
        Visits(9, "direct", 1),
    ]
    made = strip(visits, places, period, now=NOW, language=Language.ENGLISH)
    assert [each.values[3] for each in made.series] == [5, 2, 2, 4]
    assert made.conclusion == "14 visits in this time. 4 did not open."
    title = made.plot.bars[3].title
    assert title.endswith(" · direct: 5, a local strategy: 2, a relay: 2, did not open: 4"), title
    assert made.plot.bars[4].title.endswith(" · no visits")
    assert len(made.rows) == 2, "the table has the bars with visits"
    assert made.plot.along[-1] == "now"
    assert made.unit == "Visits in each hour"


def test_the_chosen_period_lies_where_its_bars_are() -> None:
    places = edges(Period(*parse_period("24h", now=NOW)), oldest=OLDEST, now=NOW)
    period = Period(places[10] + 1800.0, float(places[20]))
    begin, end = strip([], places, period, now=NOW, language=Language.PERSIAN).chosen
    assert begin == pytest.approx(10.5 / (len(places) - 1))
    assert end == pytest.approx(20 / (len(places) - 1))


def test_each_bar_has_its_period() -> None:
    places = edges(Period(*parse_period("yesterday 18-22", now=NOW)), oldest=OLDEST, now=NOW)
    made = strip([], places, Period(0.0), now=NOW, language=Language.ENGLISH)
    for (begins, ends), period, (first, last) in zip(pairwise(places), made.periods, made.edges, strict=True):
        assert parse_period(period.text, now=NOW) == (begins, ends)
        assert parse_period(f"{first} - {last}", now=NOW) == (begins, ends), "as dragging writes it"
