"""Damaged lists of every format, some thousand lines; more: `python -m tests.routing.lists.mutations`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.config.schema import ListFormatName
from proxy.routing.lists import formats
from proxy.routing.lists.formats import FORMATS, ListFormat
from proxy.routing.lists.list_builder import ListBuilder
from tests.routing.lists.mutations import read_damaged, samples
from tests.support.rows import each_row

pytestmark = pytest.mark.slow

LINES_EACH = 500


@each_row("name", FORMATS)
def test_damaged_lines_are_read_skipped_or_refused(name: ListFormatName) -> None:
    read_damaged(LINES_EACH, seed=3, formats=(name,), said=lambda word: None)
    assert name in samples(1)


def test_a_crash_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""

    def parse(pieces: Iterator[str], builder: ListBuilder) -> None:
        if "||" in "".join(pieces):
            raise IndexError("crash")

    broken = {**FORMATS, "adblock": ListFormat(FORMATS["adblock"].recognizes, parse)}
    monkeypatch.setattr(formats, "FORMATS", broken)
    with pytest.raises(IndexError, match="crash"):
        read_damaged(LINES_EACH, seed=3, formats=("adblock",), said=lambda word: None)
