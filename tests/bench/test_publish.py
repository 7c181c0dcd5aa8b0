from __future__ import annotations

import pytest

from tests.bench.publish import PAGE, published


def test_what_stands_between_the_marks_is_replaced() -> None:
    page = "before\n<!-- table.md -->\nold\nolder\n<!-- end of table.md -->\nafter\n"
    once = published(page, "table.md", r"| new \1 |")
    assert once == "before\n<!-- table.md -->\n\n| new \\1 |\n<!-- end of table.md -->\nafter\n"
    assert published(once, "table.md", r"| new \1 |") == once


def test_a_page_without_marks_is_an_error() -> None:
    with pytest.raises(LookupError, match=r"table\.md"):
        published("nothing", "table.md", "")


@pytest.mark.parametrize("name", ["table.md", "rescue.md"])
def test_the_page_has_the_marks(name: str) -> None:
    assert "new" in published(PAGE.read_text(), name, "new")
