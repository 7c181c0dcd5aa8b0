"""Lists as answers: what they name, what was skipped, and how their fetches go."""

from __future__ import annotations

from proxy.config.schema import ListConfig
from proxy.features.rules.list_answers import FetchJson, ListJson
from proxy.store.list_copies import CopyInfo
from tests.features.rules.test_lists import FETCHED, FILE, NOW, URL, parsed


def test_a_list_says_what_it_names_and_what_it_skipped() -> None:
    shown = ListJson.of(FILE, parsed(), None, NOW)
    assert (shown.name, shown.source, shown.in_use, shown.fetch) == ("own", "own.txt", True, None)
    assert (shown.format, shown.entries, shown.kinds) == ("plain", 3, {"domain": 2, "prefix": 1})
    assert shown.lines_read == 3
    assert [(it.reason, it.lines, len(it.examples)) for it in shown.skipped] == [
        ("unreadable", 3, 3), ("suffix", 1, 1),
    ]  # fmt: skip
    assert shown.skipped[0].examples[0].startswith('list gfw:4: "??"')


def test_a_list_says_what_its_domains_stand_for() -> None:
    text = "payload:\n- a.test\n- +.b.test\n- .c.test\n- '*.d.test'\n- +.e.test\n- f.test\n- .f.test\n"
    shown = ListJson.of(FILE, parsed(text), None, NOW)
    assert shown.covers == {"host": 1, "site": 3, "subdomains": 1, "children": 1}


def test_at_most_three_lines_are_shown_for_a_reason() -> None:
    (skipped,) = ListJson.of(FILE, parsed("a.test\n" * 50 + "??\n" * 40), None, NOW).skipped
    assert (skipped.lines, len(skipped.examples)) == (40, 3)


def test_a_fetched_list_says_how_its_fetches_go() -> None:
    info = CopyInfo(URL, fetched_at=NOW - 50_000, changed_at=NOW - 90_000, entries=3)
    fetch = ListJson.of(FETCHED, parsed(), info, NOW).fetch
    assert fetch == FetchJson(
        via="relay", refresh="1d", has_copy=True, fetched_at=NOW - 50_000, changed_at=NOW - 90_000,
        due_at=NOW + 36_400, stale=False, failed_at=None, failures=0, error="",
    )  # fmt: skip


def test_what_is_overdue_is_due_now_and_what_is_not_refreshed_never() -> None:
    old = CopyInfo(URL, fetched_at=NOW - 500_000)
    fetch = ListJson.of(FETCHED, parsed(), old, NOW).fetch
    assert fetch is not None
    assert (fetch.due_at, fetch.stale) == (NOW, True)
    asked = ListConfig(name="gfw", source=URL)
    fetch = ListJson.of(asked, parsed(), old, NOW).fetch
    assert fetch is not None
    assert (fetch.due_at, fetch.stale) == (None, False)


def test_a_list_that_is_not_in_use_is_shown() -> None:
    shown = ListJson.of(FETCHED, None, CopyInfo(URL), NOW)
    assert (shown.in_use, shown.entries, shown.problem) == (False, 0, "")
    assert shown.fetch is not None
    assert not shown.fetch.has_copy


def test_a_password_in_a_source_is_not_shown() -> None:
    odd = ListConfig(name="x", source="https://me:sesame@lists.test/")
    assert "sesame" not in repr(ListJson.of(odd, None, CopyInfo(odd.url), NOW))
