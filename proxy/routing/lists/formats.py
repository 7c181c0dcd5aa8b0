"""The formats of domain lists. A file's format is recognised by its text, so that no setting has to name it.

A new format is a module beside `plain` and a row in `FORMATS`, before `plain`, which takes whatever is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from proxy.routing.lists.plain import parse_plain
from proxy.routing.match import DomainList


class ParseList(Protocol):
    """From a list's text to its domains. `source` is what messages call its file. Raises ConfigError when the list is
    too large; lines that cannot be read are skipped and counted."""

    def __call__(self, text: str, *, source: str, allow_empty: bool = False) -> DomainList: ...


@dataclass(frozen=True, slots=True)
class ListFormat:
    """One format, and how its text is recognised."""

    recognizes: Callable[[str], bool]  # the whole text; looks at its beginning only
    parse: ParseList


FORMATS: tuple[ListFormat, ...] = (ListFormat(lambda text: True, parse_plain),)
"""In the order in which they are asked: the first that recognises a text reads it."""


def parse_list(text: str, *, source: str, allow_empty: bool = False) -> DomainList:
    """The domains of a list in any of the formats. Raises ConfigError when it is too large."""
    chosen = next(known for known in FORMATS if known.recognizes(text))
    return chosen.parse(text, source=source, allow_empty=allow_empty)
