"""Charts: what is drawn where."""

from __future__ import annotations

import re

from proxy.control.dashboard.charts import (
    HEIGHT,
    LANE,
    PATTERNS,
    WIDTH,
    Band,
    Period,
    Series,
    bands,
    stacked_bars,
    timeline,
)

Box = tuple[str, float, float, float, float]


def boxes(svg: object) -> list[Box]:
    """Kind, x, y, width and height of each rectangle."""
    found = re.findall(
        r'<rect fill="url\(#(\w+)\)" x="([^"]+)" y="([^"]+)" width="([^"]+)" height="([^"]+)"/>', str(svg)
    )
    return [(kind, float(x), float(y), float(width), float(height)) for kind, x, y, width, height in found]


def test_bars_are_stacked_and_the_highest_fills_the_chart() -> None:
    found = boxes(stacked_bars([Series("Direct", "direct", (3, 0, 1)), Series("Relay", "relay", (1, 0, 1))]))
    assert [(kind, x, y, height) for kind, x, y, _, height in found] == [
        ("direct", 1, HEIGHT / 4, HEIGHT * 3 / 4),
        ("relay", 1, 0, HEIGHT / 4),
        ("direct", 401, HEIGHT * 3 / 4, HEIGHT / 4),
        ("relay", 401, HEIGHT / 2, HEIGHT / 4),
    ]
    assert all(width == WIDTH / 3 - 2 for _, _, _, width, _ in found)


def test_a_chart_of_nothing_is_empty() -> None:
    assert not boxes(stacked_bars([]))
    assert not boxes(stacked_bars([Series("Direct", "direct", (0, 0))]))
    assert not boxes(timeline([Period(0, 1, "dns")], 5, 5))


def test_periods_lie_where_they_were() -> None:
    axis, *periods = boxes(timeline([Period(0, 25, "dns"), Period(75, 100, "sni")], 0, 100))
    assert axis[0] == "axis"
    assert periods == [("dns", 0, 0, WIDTH / 4, LANE), ("sni", WIDTH * 3 / 4, 0, WIDTH / 4, LANE)]


def test_a_period_outside_is_cut_or_left_out_and_a_short_one_can_be_seen() -> None:
    periods = [Period(-50, 10, "dns"), Period(200, 300, "dns"), Period(99.9, 100, "sni")]
    found = boxes(timeline(periods, 0, 100))[1:]
    assert found == [("dns", 0, 0, WIDTH / 10, LANE), ("sni", WIDTH - 2, 0, 2, LANE)]


def test_bands_lie_where_most_are_and_failures_below_them() -> None:
    found = boxes(bands([Band(1, 2, 4), None, Band(9, 9, 9)], [0, 2, 0], 4))
    kinds = [(kind, x) for kind, x, *_ in found]
    assert kinds == [("relay", 1), ("middle", 1), ("failed", 201), ("relay", 401), ("middle", 401)]
    room = found[2][2] - 2
    assert found[0][2:] == (0, 198, room * 3 / 4)
    assert found[1][2] + found[1][4] / 2 == room / 2
    assert found[2][2] + found[2][4] == HEIGHT
    assert found[3][2] == found[4][2] == 0, "higher than the chart"
    assert not boxes(bands([], [], 1))
    assert not boxes(bands([None], [0], 1))


def test_every_kind_has_a_pattern_of_its_own() -> None:
    assert len({(ground, mark) for _, ground, mark in PATTERNS}) == len(PATTERNS)
