"""A list is read by the first format that recognises it."""

from __future__ import annotations

import pytest

from proxy.routing.lists import formats
from proxy.routing.lists.formats import ListFormat, parse_list
from proxy.routing.lists.plain import parse_plain
from proxy.routing.match import DomainList


def test_what_no_other_format_recognises_is_a_plain_list() -> None:
    assert parse_list("a.example\n", source="l") == parse_plain("a.example\n", source="l")
    assert parse_list("", source="l", allow_empty=True) == parse_plain("", source="l", allow_empty=True)


def test_a_format_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse_marked(text: str, *, source: str, allow_empty: bool = False) -> DomainList:
        return parse_plain(text.removeprefix("[marked]"), source=source, allow_empty=allow_empty)

    marked = ListFormat(lambda text: text.startswith("[marked]"), parse_marked)
    monkeypatch.setattr(formats, "FORMATS", (marked, *formats.FORMATS))
    assert parse_list("[marked]\na.example\n", source="l").domains == {"a.example"}
    assert parse_list("b.example\n", source="l").domains == {"b.example"}
