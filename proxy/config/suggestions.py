"""Quotes words of the user in messages: escaped, shortened, and with the nearest valid word."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.wire.relay_url import redact

LONGEST_SHOWN = 60


def quoted(word: object) -> str:
    """Returns `"word"`, cut to LONGEST_SHOWN characters, with control characters escaped and passwords of URLs
    redacted."""
    text = redact(str(word))
    cut = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
    inert = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
    return f'"{inert}"'


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Returns the choice that is most similar to `word`, ignoring case; None when none is similar."""
    from difflib import get_close_matches  # needed only for a mistake

    by_folded = {choice.casefold(): choice for choice in choices}
    matches = get_close_matches(word[:LONGEST_SHOWN].casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[matches[0]] if matches else None


def suggestion(word: str, choices: Iterable[str]) -> str:
    """Returns `; did you mean X?`; when no choice is similar, `; it can be A, B or C` for at most 16 choices, else
    an empty text."""
    valid = list(choices)
    meant = nearest(word, valid)
    if meant is not None:
        return f"; did you mean {meant}?"
    return f"; it can be {one_of(valid)}" if 0 < len(valid) <= 16 else ""


def one_of(choices: Iterable[str]) -> str:
    """Returns the choices as `A, B or C`. There must be at least one."""
    *leading, last = choices
    return f"{', '.join(leading)} or {last}" if leading else last
