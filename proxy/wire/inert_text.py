"""Makes text from outside (hosts, errors, relay names) harmless in a terminal and in a spreadsheet."""

from __future__ import annotations

import unicodedata

from proxy.wire.relay_url import redact

_INERT_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Control, format (bidirectional marks, zero widths), surrogate, private, unassigned, line and paragraph separators."""


def inert(text: str) -> str:
    """Returns `text` with escapes for invisible and unassigned characters, and with *** for passwords of relays."""
    text = redact(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if unicodedata.category(c) not in _INERT_CATEGORIES else ascii(c)[1:-1] for c in text)


def csv_cell(value: object) -> str:
    """Returns a value for a CSV file that is inert in a terminal, and is not a formula in a spreadsheet."""
    text = inert("" if value is None else str(value))
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
