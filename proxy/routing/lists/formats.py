"""The formats of domain lists. A file's format is recognised by its text, so that no setting has to name it.

A new format is a module beside `plain` and a row in `FORMATS`, before `plain`, which accepts every text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Protocol

from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.lists.plain import parse_plain
from proxy.routing.match import DomainList


class ParseList(Protocol):
    """Parses a list's text, which comes in pieces of whole lines: no call of a parser works longer than one of them
    takes. `size` is the number of their characters, or more; `source` is the name of the file in messages. Raises
    ConfigError when the list is too large; lines that cannot be read are skipped and counted."""

    def __call__(self, pieces: Iterator[str], *, size: int, source: str, allow_empty: bool = False) -> DomainList: ...


@frozen_dataclass
class ListFormat:
    """One format, and how its text is recognised."""

    recognizes: Callable[[str], bool]  # gets the first piece of the text
    parse: ParseList


FORMATS: tuple[ListFormat, ...] = (
    ListFormat(lambda text: True, parse_plain),  # the last: it accepts every text
)
"""The first format that recognises a text parses it."""


def parse_list(pieces: Iterator[str], *, size: int, source: str, allow_empty: bool = False) -> DomainList:
    """Parses a list in any of the formats, as ParseList does. Raises ConfigError when it is too large."""
    first = next(pieces, "")
    chosen = next(known for known in FORMATS if known.recognizes(first))
    return chosen.parse(chain((first,), pieces), size=size, source=source, allow_empty=allow_empty)
