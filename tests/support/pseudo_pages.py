"""Finds plain English on a page in the pseudo-locale: strings without `_()`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser

PSEUDO = "en-XA"

_DATA = frozenset({"bdi", "code", "pre", "script", "style", "textarea"})
_EMPTY = frozenset({"meta", "link", "input", "br", "hr", "img"})
_SPOKEN = ("aria-label", "alt", "title")
_ISOLATE = re.compile("\u2068[^\u2068\u2069]*\u2069")


class _Texts(HTMLParser):
    """Collects the visible and spoken text of a page without data: data is in elements such as `bdi` and `code`, or has
    translate="no" or lang="en", like text from outside or from the store."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        is_data = tag in _DATA or given.get("translate") == "no" or (tag != "html" and given.get("lang") == "en")
        if tag not in _EMPTY:
            self._open.append((tag, is_data))
        if not any(is_data for _, is_data in self._open) and tag != "time":
            self.found += [value for name in _SPOKEN if (value := given.get(name))]

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not any(is_data for _, is_data in self._open):
            self.found.append(data)


def untranslated(html: str, hosts: Sequence[str] = ()) -> list[str]:
    """Returns the plain English texts on a page in the pseudo-locale, without data, Byway's name, and `hosts`, which
    may be titles."""
    texts = _Texts()
    texts.feed(html)
    plain = []
    for text in texts.found:
        rest = re.sub("|".join(map(re.escape, ("Byway", *hosts))), "", text)
        while rest != (rest := _ISOLATE.sub("", rest)):
            pass
        if re.search("[A-Za-z]", rest):
            plain.append(" ".join(text.split()))
    return plain
