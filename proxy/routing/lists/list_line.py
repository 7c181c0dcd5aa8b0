"""Finds the line of a list that an entry comes from, by the text of the list. Pure.

A list keeps no line for each of its entries. So the lines that have the entry's text are parsed alone, until one gives
that entry. Where a line means nothing alone, as in JSON and in scripts, the entry stands there in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from proxy.config.schema import ListFormatName
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.lists.autoproxy import unpacked
from proxy.routing.lists.clash import head_of_lines
from proxy.routing.lists.formats import parse_list

_TRIED = 200
"""Lines that are parsed at most: an entry may stand in many comments."""

_SHOWN = 200
"""Characters of a line."""

_WITHOUT_LINES = ("sing-box", "pac")

_LABEL = re.compile(r"\.?[\w-]")
"""What stands beside a name that is a part of a longer one."""


@frozen_dataclass
class ListLine:
    """A line of a list; `number` is from 1 on. For a list in base64, it is a line of the decoded text."""

    number: int
    text: str


def line_of(text: str, list_format: ListFormatName, entry: str) -> ListLine | None:
    """Returns the first line of a list that gives an entry in canonical spelling; None: it is not found, since the line
    spells it in another way, or includes another file. Raises ConfigError for damaged base64."""
    if list_format == "autoproxy" and (decoded := unpacked(text)) is not None:
        text = decoded
    folded = text.lower()
    if len(folded) != len(text):  # a character with a longer lower case: places would differ
        return None
    head = head_of_lines(text) if list_format == "clash" else ""
    for start, end in _lines_with(folded, entry):
        line = text[start:end].strip("\ufeff\r")
        if _gives(line, list_format, head, entry):
            return ListLine(text.count("\n", 0, start) + 1, line.strip()[:_SHOWN])
    return None


def _lines_with(text: str, entry: str) -> Sequence[tuple[int, int]]:
    """Returns the places of the lines with an entry in them that is not a part of a longer name."""
    places: list[tuple[int, int]] = []
    at = text.find(entry)
    while at >= 0 and len(places) < _TRIED:
        end = at + len(entry)
        if _LABEL.match(text[max(at - 2, 0) : at][::-1]) or _LABEL.match(text[end : end + 2]):
            at = text.find(entry, at + 1)
            continue
        start, end = text.rfind("\n", 0, at) + 1, text.find("\n", end)
        end = len(text) if end < 0 else end
        places.append((start, end))
        at = text.find(entry, end)
    return places


def _gives(line: str, list_format: ListFormatName, head: str, entry: str) -> bool:
    if list_format in _WITHOUT_LINES:
        quoted = re.split("[\"']", line.lower())[1:-1]
        return any(part.removeprefix("*").removeprefix("+").removeprefix(".") == entry for part in quoted)
    text = f"{head}{line}\n"
    try:
        read = parse_list(iter([text]), size=len(text), source="", format=list_format, allow_suffixes=True)
    except ConfigError:
        return False
    return any(found.text == entry for found in read.entries())
