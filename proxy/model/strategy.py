"""Local strategies that change how a flight is sent, as values; and their words, such as `tlsrec-by-8|split`.

A word names a kind and perhaps a parameter: where the flight is cut, how large the pieces are, or the wait between
them. Routes have these words, so they are stored and shown, and `[auto] ladder` names them. `wire.fragmentation` cuts
flights, and docs/detection.md, "Local strategies", has the censors that each passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache

from proxy.model.connection import Protocol
from proxy.model.frozen_dataclass import frozen_dataclass


class StrategyKind(StrEnum):
    """In the order in which a route may name them: those that cut segments come after those that cut records."""

    TLSREC = "tlsrec"
    HOSTCASE = "hostcase"
    SPLIT = "split"
    DISORDER = "disorder"
    PACE = "pace"


class Place(StrEnum):
    """Where a flight is cut."""

    USUAL = ""  # inside the name; `split` cuts after the first byte as well
    NAME = "at-name"  # only inside the name
    AT = "at"  # after `number` bytes
    BY = "by"  # into pieces of `number` bytes, up to the end of the name


@frozen_dataclass
class Strategy:
    """A local strategy that changes how a flight is sent."""

    kind: StrategyKind
    place: Place = Place.USUAL
    number: int = 0
    """Bytes of a message; of PACE, the milliseconds between two segments."""

    def __str__(self) -> str:
        return "-".join(map(str, filter(None, (self.kind, self.place, self.number))))

    @property
    def protocols(self) -> frozenset[Protocol]:
        """The protocols of the flights that it changes."""
        return _PROTOCOLS[self.kind]

    @property
    def cuts(self) -> bool:
        """Whether the flight leaves in pieces."""
        return self.kind is not StrategyKind.HOSTCASE

    @property
    def cuts_records(self) -> bool:
        """Whether the server sees it too: a TLS record ends within the ClientHello."""
        return self.kind is StrategyKind.TLSREC

    @property
    def first_piece_dies(self) -> bool:
        """Whether the first piece is dropped by the first router. It needs our own socket to the site, so a direct
        route."""
        return self.kind is StrategyKind.DISORDER


_TLS, _HTTP = frozenset({Protocol.TLS}), frozenset({Protocol.HTTP})
_PROTOCOLS = {
    StrategyKind.TLSREC: _TLS,
    StrategyKind.HOSTCASE: _HTTP,
    StrategyKind.SPLIT: _TLS | _HTTP,
    StrategyKind.DISORDER: _TLS | _HTTP,
    StrategyKind.PACE: _TLS | _HTTP,
}

_NUMBERS: Mapping[tuple[StrategyKind, Place], tuple[int, int] | None] = {
    (StrategyKind.TLSREC, Place.USUAL): None,
    (StrategyKind.TLSREC, Place.AT): (4, 1000),  # the head of a handshake message stays whole: mbedTLS wants that
    (StrategyKind.TLSREC, Place.BY): (4, 1000),
    (StrategyKind.HOSTCASE, Place.USUAL): None,
    (StrategyKind.SPLIT, Place.USUAL): None,
    (StrategyKind.SPLIT, Place.NAME): None,
    (StrategyKind.SPLIT, Place.AT): (1, 1000),
    (StrategyKind.SPLIT, Place.BY): (8, 1000),
    (StrategyKind.DISORDER, Place.USUAL): None,
    (StrategyKind.PACE, Place.USUAL): (50, 1000),
}
"""The words that exist, and the bounds of the number in those that have one."""

SEGMENTS_MAX = 9
"""Segments of a flight at most. A sender may have ten of them in flight at first (RFC 6928); with more, the last ones
would leave a round trip later."""

PACED_MAX_MS = 2000
"""The longest time between the first and the last segment of a flight: a site is judged silent after 7 s."""

_PAUSES_MAX = {(StrategyKind.SPLIT, Place.USUAL): 2, (StrategyKind.SPLIT, Place.BY): SEGMENTS_MAX - 1}
"""Pauses between the segments, where there are more than one."""

_WORD = re.compile(r"([a-z]+)(?:-(at-name|at|by))?(?:-([0-9]{1,9}))?")
_FORMS = (
    "use doh, tlsrec, tlsrec-at-N, tlsrec-by-N, split, split-at-name, split-at-N, split-by-N, disorder, hostcase or"
    " pace-N, or several joined by |"
)


@lru_cache(maxsize=256)  # words tell nothing about visits
def strategy(word: str) -> Strategy | None:
    """Returns the strategy that a word of a route names; None: it names none, as `doh` does."""
    try:
        return parse_word(word)
    except ValueError:
        return None


def strategies(wrap: Iterable[str]) -> tuple[Strategy, ...]:
    """Returns the strategies among the words of a route."""
    return tuple(found for word in wrap if (found := strategy(word)) is not None)


def parse_word(word: str) -> Strategy:
    """Returns the strategy that a word names. Raises ValueError with a predicate after the word."""
    match = _WORD.fullmatch(word)
    key = (match[1], match[2] or "") if match is not None else ("", "")
    if match is None or key not in _NUMBERS:
        raise ValueError(f"is not a local strategy: {_FORMS}")
    kind, place, number = StrategyKind(match[1]), Place(key[1]), int(match[3] or 0)
    bounds = _NUMBERS[kind, place]
    if bounds is None and match[3]:
        raise ValueError(f"is not a local strategy: {_FORMS}")
    if bounds is not None and not bounds[0] <= number <= bounds[1]:
        raise ValueError(f"needs a number from {bounds[0]} to {bounds[1]}")
    found = Strategy(kind, place, number)
    if str(found) != word:  # a number that begins with 0
        raise ValueError(f"must be written {found}")
    return found


def check_joined(words: Iterable[str]) -> None:
    """Checks words that name strategies, joined in one route. Raises ValueError with a predicate."""
    by_kind, order = {found.kind: found for found in strategies(words)}, list(StrategyKind)
    kinds = [found.kind for found in strategies(words)]
    if sorted(by_kind, key=order.index) != kinds:
        raise ValueError(f"has words in another order than {', '.join(order)}, each once")
    if (pace := by_kind.get(StrategyKind.PACE)) is None:
        return
    cutting = [found for found in by_kind.values() if found.kind in (StrategyKind.SPLIT, StrategyKind.DISORDER)]
    if not cutting:
        raise ValueError("has no segments to pace: pace-N comes after split or disorder")
    paced_ms = sum(_PAUSES_MAX.get((found.kind, found.place), 1) for found in cutting) * pace.number
    if paced_ms > PACED_MAX_MS:
        raise ValueError(f"may take {paced_ms / 1000:g} s, and {PACED_MAX_MS / 1000:g} s at most make sense")


def parse_rung(text: str) -> str:
    """Checks one entry of `[auto] ladder`: `doh`, or words of strategies joined by `|`. Raises ValueError with a
    sentence without its full stop."""
    if text == "doh":
        return text
    words = text.split("|")
    for word in words:
        try:
            parse_word(word)
        except ValueError as error:
            shown = f'"{word[:40]}"'
            raise ValueError(f"{shown} {error}" if len(words) == 1 else f"its part {shown} {error}") from None
    try:
        check_joined(words)
    except ValueError as error:
        raise ValueError(f'"{text[:40]}" {error}') from None
    return text
