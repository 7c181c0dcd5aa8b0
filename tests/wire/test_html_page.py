"""Pages of our own: everything is escaped, and the style is the only thing that their policy allows."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from proxy.wire.html_page import CONTENT_SECURITY_POLICY, Html, document, element, facts, link, prose
from tests.support.rows import each_row

EVIL = "<script>alert('1')</script>\"&<b>"


class Tags(HTMLParser):
    """The elements of a page, each closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def test_whatever_is_text_is_escaped() -> None:
    page = document(EVIL, element("p", EVIL, class_=EVIL), prose(EVIL), link(EVIL), link("http://x/", EVIL),
                    facts([(EVIL, EVIL)]), prose(f"`{EVIL}`"))  # fmt: skip
    names = Tags(page).names
    assert "script" not in names
    assert "b" not in names
    assert page.count("&lt;script&gt;") >= 8


@each_row(
    ("text", "markup"),
    [
        ("Run `byway status` now", 'Run <code dir="ltr">byway status</code> now'),
        ("`a` and `b`", '<code dir="ltr">a</code> and <code dir="ltr">b</code>'),
        ("a ` b", "a ` b"),
        ("`a` ` <", '<code dir="ltr">a</code> ` &lt;'),
        ("", ""),
    ],
)
def test_words_between_backticks_are_code(text: str, markup: str) -> None:
    assert prose(text) == markup


def test_markup_is_not_escaped_twice() -> None:
    assert element("p", Html("<br>"), "<br>") == "<p><br>&lt;br&gt;</p>"


def test_the_policy_allows_the_style_of_the_page_and_nothing_else() -> None:
    page = document("x")
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(styles[0].encode()).digest()).decode()
    assert len(styles) == 1
    assert f"style-src 'sha256-{digest}'" in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'; ")
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "url(" not in page
    assert Tags(page).names[:2] == ["html", "head"]
