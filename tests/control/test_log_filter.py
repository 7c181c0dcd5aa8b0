"""The filter of the log in one line."""

from __future__ import annotations

import re

import pytest

from proxy.control.log_filter import OUTCOMES, LogSelection, parse_filter
from proxy.store import queries

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "selection"),
    [
        ("", LogSelection()),
        ("Example.org", LogSelection(site="example.org")),
        ("https://www.example.org:8443/x", LogSelection(site="www.example.org")),
        ("[2001:db8::1]", LogSelection(site="2001:db8::1")),
        ("site:example.org", LogSelection(site="example.org")),
        ("outcome:FAILED  since:2h", LogSelection(outcome="failed", since=NOW - 7200)),
        ("Route:direct|tlsrec example.org", LogSelection(site="example.org", route="direct|tlsrec")),
        ("since:1970-01-02T00:00:00+00:00", LogSelection(since=86_400.0)),
    ],
)
def test_what_a_filter_selects(text: str, selection: LogSelection) -> None:
    assert parse_filter(text, now=NOW) == selection


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("outcom:failed", 'unknown key "outcom"; did you mean outcome?'),
        ("colour:red", 'unknown key "colour"; it can be site, route, outcome or since'),
        ("outcome:odd", 'unknown outcome "odd"; it can be direct, relay, rescued or failed'),
        ("outcome:faild", 'unknown outcome "faild"; did you mean failed?'),
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
