"""The filter of the log in one line."""

from __future__ import annotations

import re
import time
from datetime import datetime

import pytest

from proxy.features.traffic.filter import OUTCOMES, LogSelection, parse_filter
from proxy.store import queries
from tests.support.rows import each_row

NOW = 1_700_000_000.0


@each_row(
    ("text", "selection"),
    [
        ("", LogSelection()),
        ("Example.org", LogSelection(site="example.org")),
        ("https://www.example.org:8443/x", LogSelection(site="www.example.org")),
        ("[2001:db8::1]", LogSelection(site="2001:db8::1")),
        ("site:example.org", LogSelection(site="example.org")),
        ("outcome:FAILED  since:2h", LogSelection(outcome="failed", since=NOW - 7200)),
        ("result:rescued network:home", LogSelection(outcome="rescued", network="home")),
        ("livejournal.com Failed", LogSelection(site="livejournal.com", outcome="failed")),
        ("Route:direct|tlsrec example.org", LogSelection(site="example.org", route="direct|tlsrec")),
        ("since:1970-01-02T00:00:00+00:00", LogSelection(since=86_400.0)),
    ],
)
def test_what_a_filter_selects(text: str, selection: LogSelection) -> None:
    assert parse_filter(text, now=NOW) == selection


@each_row(
    ("text", "said"),
    [
        ("resul:failed", 'unknown key "resul"; did you mean result?'),
        ("colour:red", 'unknown key "colour"; it can be site, route, result, network, since or until'),
        ("outcome:odd", 'unknown result "odd"; it can be direct, relay, rescued or failed'),
        ("result:faild", 'unknown result "faild"; did you mean failed?'),
        ("failed result:direct", "result is given twice"),
        ("a.example b.example", "site is given twice"),
        ("route:", "route: has no value"),
        ("since:soon", "'soon' is not a time"),
        ("site:no..name", "two dots in a row"),
    ],
)
def test_what_a_filter_cannot_have(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_filter(text, now=NOW)


def test_the_outcomes_are_those_of_the_store() -> None:
    assert tuple(queries.OUTCOMES) == OUTCOMES


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        ("18:30", "2023-11-14T18:30:00", "2023-11-14T18:30:00"),
        ("8:05", "2023-11-14T08:05:00", "2023-11-14T08:05:00"),
        ("today", "2023-11-14T00:00:00", "2023-11-15T00:00:00"),
        ("Yesterday", "2023-11-13T00:00:00", "2023-11-14T00:00:00"),
        ("yesterdayT18:00", "2023-11-13T18:00:00", "2023-11-13T18:00:00"),
        ("2023-11-01", "2023-11-01T00:00:00", "2023-11-02T00:00:00"),
        ("2023-11-01T09:30", "2023-11-01T09:30:00", "2023-11-01T09:30:00"),
        ("2h", "2023-11-14T20:13:20", "2023-11-14T20:13:20"),
    ],
)
def test_moments_as_people_write_them(text: str, begins: str, ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        selected = parse_filter(f"since:{text} until:{text}", now=NOW)
        moments = (selected.since, selected.until)
        assert moments == tuple(datetime.fromisoformat(f"{each}+00:00").timestamp() for each in (begins, ends))
    finally:
        monkeypatch.undo()
        time.tzset()


@each_row("text", ["25:00", "18:60", "yesterdayish", "yesterdayT", "todayT99:00", "0000-00-00", "9999-12-31"])
def test_a_moment_that_no_calendar_has_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_filter(f"until:{text}", now=NOW)
