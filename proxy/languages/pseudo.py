"""The pseudo-locale: English with accents, made from each message. Plain text on a page was never wrapped in `_()`.

Messages also become longer, as translations are, so that a page shows where its layout cuts them.
"""

from __future__ import annotations

import re

_ACCENTED = str.maketrans(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "àƀçđéƒğĥîĵķļɱñöþǫŕšţûṽŵẋýžÀƁÇĐÉƑĞĤÎĴĶĻṀÑÖÞǪŔŠŢÛṼŴẊÝŽ",
)

_KEPT = re.compile(r"(\{[^{}]*\}|`[^`]*`)")
"""Values and commands, which no translation changes."""


def pseudo(message: str) -> str:
    """Returns a message in the pseudo-locale: `⟦Šîţéš · · ⟧`. One without letters of its own stays as it is."""
    parts = _KEPT.split(message)
    letters = sum(letter.isalpha() for part in parts[::2] for letter in part)
    if not letters:
        return message
    parts[::2] = [part.translate(_ACCENTED) for part in parts[::2]]
    return f"⟦{''.join(parts)}{' ·' * max(1, letters // 8)}⟧"
