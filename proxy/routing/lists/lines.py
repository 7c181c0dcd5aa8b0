"""Reads the lines of a list, whose text comes in pieces, with their numbers. Large files are read in bulk.

Nearly all lines of a large file are alike. If all lines of a piece have the same text around their entries, the piece
is split at that text. Otherwise one expression matches all its lines in one call. Only a piece with other lines is read
line by line; those lines go to a parser that knows every spelling.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.domain_set import Covers
from proxy.wire import hostnames

READ_LIMIT = 2048
"""Characters of a line that are parsed. A longer line is not an entry, or ends in a comment."""

MANY_LIMIT = 64 * 1024
"""The same for formats in which a line may have many entries."""

DOMAIN = hostnames.DOMAIN

_ALL_COVERS = bytes(range(1, 8))
_TO_LINE_FEEDS = bytes.maketrans(_ALL_COVERS, b"\n" * len(_ALL_COVERS))

are_domains = hostnames.are_domains


@frozen_dataclass
class BulkLines:
    """One kind of lines in a large ASCII file."""

    expression: re.Pattern[str]
    """Matches a line in lower case, with `^`, `$` and the flag MULTILINE, and an optional `\\r` before its end. It also
    matches empty lines and comments, with empty groups. The last group is the entry."""
    take: Callable[..., None]
    """Gets the number of the first line, and the entries as one text, one a line; a line without an entry is empty.
    With `leads`, it also gets the flags of `Covers` for all entries, or bytes with the flags of each."""
    are_entries: Callable[[str], bool] = are_domains
    """Returns whether every line of a text would match the last group."""
    leads: Mapping[str, Covers] = MappingProxyType({})
    """The possible texts of the group before the entry, the longest first, with the hosts that the entry then covers.
    The text may differ from line to line."""

    def take_all(self, first_number: int, lines: str, count: int) -> bool:
        """Takes `count` lines if all are of this kind. Returns whether they are."""
        first = self.expression.match(lines.partition("\n")[0])
        if first is None:
            return False
        if first[self.expression.groups]:
            for entries, *covers in self._alike(first, lines, count):
                if self.are_entries(entries):
                    self.take(first_number, entries, *covers)
                    return True
        matches = self.expression.findall(lines)
        if len(matches) == count:
            self.take_matches(first_number, matches)
        return len(matches) == count

    def _alike(self, first: re.Match[str], lines: str, count: int) -> Iterator[tuple[str] | tuple[str, Covers | bytes]]:
        """Yields candidates for the arguments of `take`, if the text around all entries is the same, apart from
        `leads`. The caller checks whether they are entries. `first` is the match of the first line."""
        entry, text = self.expression.groups, first.string
        lead = entry - 1 if self.leads else entry
        after = text[first.end(entry) :]
        if not lines.endswith(after):
            return
        some = [self.expression.match(line) for line in lines.split("\n", 4)[1:4]] if self.leads else []
        if all(match and match[lead] == first[lead] for match in some):  # probably all lines have this lead, or none
            before = text[: first.start(entry)]
            framed, frame = lines[len(before) : len(lines) - len(after)], f"{after}\n{before}"
            names = framed if frame == "\n" else "\n".join(framed.split(frame))  # faster than `replace`
            if len(framed) - len(names) == (count - 1) * (len(frame) - 1):
                yield (names, self.leads[first[lead]]) if self.leads else (names,)
        if not self.leads:
            return
        before, between = text[: first.start(lead)], text[first.end(lead) : first.start(entry)]
        framed = f"{after}\n{lines.removesuffix(after)}"
        for begin, covers in self.leads.items():
            if "\n" not in framed:
                break  # saves a search through the whole text
            if begin[:1] not in lines:
                continue
            sample = self.expression.fullmatch(f"{before}{begin}{between}a{after}")
            if sample and sample[entry] == "a":  # the text around entries may not be valid with every lead
                framed = framed.replace(f"{after}\n{before}{begin}{between}", chr(covers))
        led = framed.encode(errors="replace")
        flags = led.translate(None, hostnames.NAME_CHARACTERS)
        if len(flags) == count and not flags.translate(None, _ALL_COVERS):  # else a line has another lead or character
            yield led[1:].translate(_TO_LINE_FEEDS).decode(), flags

    def take_matches(self, first_number: int, matches: Sequence[Any]) -> None:
        """Takes the result of `findall` of the expression."""
        entries = matches if self.expression.groups == 1 else [groups[-1] for groups in matches]
        covers = [bytes([self.leads.get(groups[-2], 0) for groups in matches])] if self.leads else []
        self.take(first_number, "\n".join(entries), *covers)


def parse_lines(
    pieces: Iterator[str],
    kinds: Sequence[BulkLines],
    parse_line: Callable[[int, str], None],
    *,
    limit: int = READ_LIMIT,
) -> None:
    """Parses a text. A piece whose lines are all of one kind is taken in one call; each other line is cut to `limit`
    and goes to `parse_line`. Lines are passed on in order. A byte order mark is left out."""
    order = list(kinds)
    first = 1
    for piece in pieces:
        text = piece.removeprefix("\ufeff") if first == 1 else piece
        lines = text.removesuffix("\n").lower()  # after a last newline, the expression would match once more
        count = lines.count("\n") + 1
        for kind in order if text.isascii() else ():
            if kind.take_all(first, lines, count):
                first += count
                order.remove(kind)
                order.insert(0, kind)  # the next piece is probably like this one
                break
        else:
            first = _one_by_one(text, first, order, parse_line, limit)


def _one_by_one(
    text: str, first: int, kinds: Sequence[BulkLines], parse_line: Callable[[int, str], None], limit: int
) -> int:
    """Parses a piece whose lines are not all of one kind. Returns the number of the line after it."""
    run: list[Any] = []
    kind = kinds[0]
    number = first
    for number, line in enumerate(split_lines(text), first):
        matches: list[Any] = []
        for other in (kind, *kinds) if line.isascii() else ():
            if matches := other.expression.findall(line.lower()):
                if other is not kind and run:
                    kind.take_matches(number - len(run), run)
                    run = []
                kind = other
                run += matches
                break
        if not matches:
            if run:
                kind.take_matches(number - len(run), run)
                run = []
            parse_line(number, line[:limit])
    if run:
        kind.take_matches(number + 1 - len(run), run)
    return number + 1


def split_lines(text: str) -> list[str]:
    """Returns the lines of a text without their ends, as editors and other programs count them. `str.splitlines` also
    ends a line at a form feed or U+2028, so the rest of a comment could become an entry."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def entries_of(text: str) -> list[str]:
    """Returns the lines of a first piece that are neither empty nor comments (`#`, `//`, `;`), to recognize a
    format."""
    lines = [line.strip("\ufeff \t") for line in split_lines(text)]
    return [line for line in lines if line and not line.startswith(("#", "//", ";"))]


def numbered(pieces: Iterator[str], first: int = 1, *, limit: int = READ_LIMIT) -> Iterator[tuple[int, str]]:
    """Yields each line, cut to `limit` and without its end, with its number. A byte order mark is left out."""
    for piece in pieces:
        text = piece.removeprefix("\ufeff") if first == 1 else piece
        lines = split_lines(text)
        for number, line in enumerate(lines, first):
            yield number, line[:limit]
        first += len(lines)
