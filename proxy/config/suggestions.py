"""Quotes words of the user in messages: inert, shortened, and with the nearest known word."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from proxy.wire.relay_url import redact

LONGEST_SHOWN = 60


def quoted(word: object) -> str:
    """`"word"`, cut to 60 characters, with what a terminal could act on escaped and passwords of URLs hidden."""
    text = redact(str(word))
    cut = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
    inert = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
    return f'"{inert}"'


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice most like `word`, whatever its case; None when none is like it."""
    by_folded = {choice.casefold(): choice for choice in choices}
    found = get_close_matches(word[:LONGEST_SHOWN].casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def suggestion(word: str, choices: Iterable[str]) -> str:
    """`; did you mean X?`, or `; it can be A, B or C` when nothing is near and the choices are few, or nothing."""
    known = list(choices)
    meant = nearest(word, known)
    if meant is not None:
        return f"; did you mean {meant}?"
    return f"; it can be {one_of(known)}" if 0 < len(known) <= 12 else ""


def one_of(choices: Iterable[str]) -> str:
    """`A, B or C`."""
    *leading, last = choices
    return f"{', '.join(leading)} or {last}" if leading else last
