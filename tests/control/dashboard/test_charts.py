"""Charts: what is drawn where."""

from __future__ import annotations

import re

import pytest

from proxy.control.dashboard.charts import (
    HEIGHT,
    LANE,
    PATTERNS,
    WIDTH,
    Bars,
    Period,
    Series,
    round_top,
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


def stacked(*values: tuple[int, ...]) -> Bars:
    kinds = ("direct", "relay")
    series = [Series(kind, kind, each) for kind, each in zip(kinds, values, strict=False)]
    return stacked_bars(series, [f"hour {place}" for place in range(len(values[0]) if values else 0)])


def test_bars_are_stacked_below_a_round_number() -> None:
    plot = stacked((3, 0, 1), (1, 0, 1))
    assert (plot.marks, plot.is_cut) == ((4, 2, 0), False)
    assert [bar.title for bar in plot.bars] == ["hour 0", "hour 1", "hour 2"]
    found = boxes("".join(bar.shapes for bar in plot.bars))
    assert [(kind, x, y, height) for kind, x, y, _, height in found] == [
        ("direct", 1, HEIGHT / 4, HEIGHT * 3 / 4),
        ("relay", 1, 0, HEIGHT / 4),
        ("direct", 401, HEIGHT * 3 / 4, HEIGHT / 4),
        ("relay", 401, HEIGHT / 2, HEIGHT / 4),
    ]
    assert all(width == WIDTH / 3 - 2 for _, _, _, width, _ in found)


def test_one_busy_hour_does_not_flatten_the_others() -> None:
    plot = stacked((900, *[7, 9, 8, 10, 6] * 3))
    assert (plot.marks, plot.is_cut) == ((20, 10, 0), True)
    assert "notch" in plot.bars[0].shapes
    assert "notch" not in plot.bars[1].shapes
    heights = [height for _, _, _, _, height in boxes("".join(bar.shapes for bar in plot.bars))]
    assert heights[0] == HEIGHT
    assert min(heights) == HEIGHT * 6 / 20


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 2), (1, 2), (3, 4), (5, 6), (7, 10), (11, 20), (61, 100), (1_234, 2_000)]
)
def test_the_top_of_a_chart_is_round_and_its_half_is_whole(highest: int, top: int) -> None:
    assert round_top(highest) == top
    assert top % 2 == 0


def test_a_chart_of_nothing_is_empty() -> None:
    assert not stacked().bars
    assert not boxes("".join(bar.shapes for bar in stacked((0, 0)).bars))
    assert not boxes(timeline([Period(0, 1, "dns")], 5, 5))


def test_periods_lie_where_they_were() -> None:
    axis, *periods = boxes(timeline([Period(0, 25, "dns"), Period(75, 100, "sni")], 0, 100))
    assert axis[0] == "axis"
    assert periods == [("dns", 0, 0, WIDTH / 4, LANE), ("sni", WIDTH * 3 / 4, 0, WIDTH / 4, LANE)]


def test_a_period_outside_is_cut_or_left_out_and_a_short_one_can_be_seen() -> None:
    periods = [Period(-50, 10, "dns"), Period(200, 300, "dns"), Period(99.9, 100, "sni")]
    found = boxes(timeline(periods, 0, 100))[1:]
    assert found == [("dns", 0, 0, WIDTH / 10, LANE), ("sni", WIDTH - 2, 0, 2, LANE)]


def test_every_kind_has_a_pattern_of_its_own() -> None:
    assert len({(ground, mark) for _, ground, mark in PATTERNS}) == len(PATTERNS)
