"""A list is read by the first format that recognises it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.routing.lists import formats
from proxy.routing.lists.formats import ListFormat, parse_list
from proxy.routing.lists.plain import parse_plain
from proxy.routing.match import DomainList


def read(*pieces: str, allow_empty: bool = False) -> DomainList:
    return parse_list(iter(pieces), size=sum(map(len, pieces)), source="l", allow_empty=allow_empty)


def test_what_no_other_format_recognises_is_a_plain_list() -> None:
    found = read("a.example\n", "b.example\n")
    assert set(found.domains) == {"a.example", "b.example"}
    assert (found.source, found.lines_read) == ("l", 2)
    assert read().problem == "l: the list is empty"
    assert read(allow_empty=True).problem == ""


def test_a_format_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse_marked(pieces: Iterator[str], *, size: int, source: str, allow_empty: bool = False) -> DomainList:
        text = "".join(pieces).removeprefix("[marked]")
        return parse_plain(iter([text]), size=size, source=source, allow_empty=allow_empty)

    marked = ListFormat(lambda text: text.startswith("[marked]"), parse_marked)
    monkeypatch.setattr(formats, "FORMATS", (marked, *formats.FORMATS))
    assert set(read("[marked]\na.example\n", "c.example").domains) == {"a.example", "c.example"}
    assert set(read("b.example\n").domains) == {"b.example"}
