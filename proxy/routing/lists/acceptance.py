"""Decides whether a fetched list may replace the last good copy.

A source can be broken, moved or taken over, or a login page can answer in its place. Then the answer is usually a web
page, not text, a list with hardly a readable line, or a list that has shrunk below half. Each would silently remove
protection, so the copy stays and the reason is shown.
"""

from __future__ import annotations

import re

from proxy.routing.lists.domain_list import DomainList, Skip

SHRUNK = 0.5
"""Share of the entries of the last good copy. A list with fewer is accepted only if the user says so."""

_HTML = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--.{0,500}?-->\s*)?<(?:!doctype|html)\b",
                   re.IGNORECASE | re.DOTALL)  # fmt: skip
_HTML_TYPES = ("text/html", "application/xhtml+xml")
_MARKUP = re.compile(rb"<[a-z!/?]", re.IGNORECASE)
_LOOKED_AT = 2048
_SEARCHED = 64 * 1024


def is_web_page(content: bytes, content_type: str) -> bool:
    """Whether the answer is a web page, by its beginning. With the Content-Type of a web page, any markup counts:
    scripts that write a list as text also send this type."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in _HTML_TYPES:
        return _MARKUP.search(content[:_SEARCHED]) is not None
    return _HTML.match(content[:_LOOKED_AT]) is not None


def refusal(listed: DomainList, last_entries: int, *, accept_smaller: bool) -> str:
    """Returns why a parsed list may not replace the copy with `last_entries` entries (0: there is no copy), as half a
    sentence; empty: it may."""
    entries = len(listed.listed)
    if listed.problem and not listed.allow_empty:
        if not entries and listed.lines_read:
            return "it has exceptions only"
        if not entries:
            return "no line of it can be used" if listed.lines_skipped else "it is empty"
        return f"more lines cannot be read ({listed.skips.get(Skip.UNREADABLE, 0):,}) than can ({listed.lines_read:,})"
    if entries < last_entries * SHRUNK and not accept_smaller:
        return f"it has shrunk from {last_entries:,} entries to {entries:,}"
    return ""
