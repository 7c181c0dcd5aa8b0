"""Text from outside (hosts, errors, relay names), made harmless for a terminal and for a spreadsheet."""

from __future__ import annotations

import unicodedata

from proxy.wire.relay_url import redact

_INERT_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Control, format (bidirectional marks, zero widths), surrogate, private, unassigned, line and paragraph separators."""


def inert(text: str) -> str:
    """Returns `text` with every invisible or unassigned character written as an escape, and passwords of relays
    redacted."""
    text = redact(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if unicodedata.category(c) not in _INERT_CATEGORIES else ascii(c)[1:-1] for c in text)


def csv_cell(value: object) -> str:
    """A value for a CSV file, inert in a terminal and no formula in a spreadsheet."""
    text = inert("" if value is None else str(value))
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
