"""Periods of time as people type them."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from proxy.languages.time_words import parse_period
from tests.support.rows import each_row

NOW = 1_700_000_000.0
"""2023-11-14, 22:13:20 in UTC."""


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        ("yesterday 18-22", "2023-11-13T18:00", "2023-11-13T22:00"),
        ("Yesterday  18 \N{EN DASH} 22", "2023-11-13T18:00", "2023-11-13T22:00"),
        ("yesterdayT18-22", "2023-11-13T18:00", "2023-11-13T22:00"),
        ("yesterday 18:30-19:05", "2023-11-13T18:30", "2023-11-13T19:05"),
        ("yesterday 22-2", "2023-11-13T22:00", "2023-11-14T02:00"),
        ("yesterday 18-24", "2023-11-13T18:00", "2023-11-14T00:00"),
        ("yesterday 20", "2023-11-13T20:00", "2023-11-13T21:00"),
        ("yesterday 20:04", "2023-11-13T20:04", "2023-11-13T21:04"),
        ("today", "2023-11-14T00:00", "2023-11-15T00:00"),
        ("18-22", "2023-11-14T18:00", "2023-11-14T22:00"),
        ("23-24", "2023-11-13T23:00", "2023-11-14T00:00"),
        ("2023-11-01", "2023-11-01T00:00", "2023-11-02T00:00"),
        ("2023-11-01 18-22", "2023-11-01T18:00", "2023-11-01T22:00"),
        ("2023-11-01 18:00 - 2023-11-02 06:00", "2023-11-01T18:00", "2023-11-02T06:00"),
        ("2023-11-01 - 2023-11-03", "2023-11-01T00:00", "2023-11-04T00:00"),
        ("since:yesterdayT18:00 until:yesterdayT22:00", "2023-11-13T18:00", "2023-11-13T22:00"),
        ("until:yesterday", "1970-01-01T00:00", "2023-11-14T00:00"),
        ("since:2023-11-01T09:30", "2023-11-01T09:30", ""),
        ("2h", "2023-11-14T20:13:20", ""),
        ("all", "1970-01-01T00:00", ""),
        ("gestern 18-22", "2023-11-13T18:00", "2023-11-13T22:00"),
    ],
)
def test_periods_as_people_write_them(text: str, begins: str, ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        read = parse_period(text, now=NOW, day_words={"today": 0, "yesterday": 1, "gestern": 1})
    finally:
        monkeypatch.undo()
        time.tzset()
    moments = [datetime.fromisoformat(f"{each}+00:00").timestamp() for each in (begins, ends) if each]
    assert read == (moments[0], moments[1] if ends else None)


@each_row(
    "text",
    [
        *("", "soon", "25-26", "yesterday 18-25", "yesterday 18-24:30", "18:60", "2026-13-01", "18-22 x"),
        *(
            "until:2h since:1h",
            "since:1h until:2h",
            "2023-11-02 - 2023-11-01",
            "-",
            "yesterday -",
            "yesterdayish 18-22",
            "9999-12-31",
        ),
    ],
)
def test_what_is_no_period_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a period of time: use `yesterday 18-22`"):
        parse_period(text, now=NOW)
