"""Quotes words of the user in messages: inert, shortened, and with the nearest known word."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.wire.relay_url import redact

LONGEST_SHOWN = 60


def quoted(word: object) -> str:
    """Returns `"word"`, cut to 60 characters, with control characters escaped and passwords of URLs redacted."""
    text = redact(str(word))
    cut = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
    inert = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
    return f'"{inert}"'


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Returns the choice that is most similar to `word`, in any case; None when none is similar."""
    from difflib import get_close_matches  # only mistakes need it

    by_folded = {choice.casefold(): choice for choice in choices}
    found = get_close_matches(word[:LONGEST_SHOWN].casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def suggestion(word: str, choices: Iterable[str]) -> str:
    """Returns `; did you mean X?`; `; it can be A, B or C` when none is similar and the choices are few; or ""."""
    known = list(choices)
    meant = nearest(word, known)
    if meant is not None:
        return f"; did you mean {meant}?"
    return f"; it can be {one_of(known)}" if 0 < len(known) <= 16 else ""


def one_of(choices: Iterable[str]) -> str:
    """`A, B or C`."""
    *leading, last = choices
    return f"{', '.join(leading)} or {last}" if leading else last
