"""README's picture shows the present output of the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.picture import COLUMNS, PICTURE, draw, read, record
from tests.support.terminal import steady

pytestmark = [pytest.mark.namespaces, pytest.mark.slow]

LATE = ("~", "·", "delivered", "tlsrec", "split", "hostcase", "doh")
"""Parts of lines that may differ on a busy machine: the result of a late answer, and the routes that were not tested
then."""


def test_a_line_is_drawn_as_it_is() -> None:
    lines = ["$ byway why <x>", "", "relay  ✓ HTTP 200 & more", "✗ blocked"]
    svg = draw(lines)
    assert read(svg) == [line for line in lines if line]
    assert '<tspan class="good">✓</tspan> HTTP 200 &amp; more' in svg


async def test_it_shows_what_the_commands_print(tmp_path: Path) -> None:
    shown = read(PICTURE.read_text())
    assert max(map(len, shown)) <= COLUMNS
    printed = {steady(line) for line in await record(tmp_path)}
    certain = [line for line in shown if not any(word in line for word in LATE)]
    assert len(certain) > 10
    assert [line for line in certain if steady(line) not in printed] == []
