"""Lines of a list's text, which comes in pieces, with their numbers; and how a large file is read quickly.

Nearly every line of a million is like the others. Where all lines of a piece have the same text around their entries,
the piece is split at that text. Else one expression reads all its lines in one call. Only a piece with other lines is
read line by line, and only those by a parser of lines, which knows every spelling.
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
"""Characters of a line that are looked at. What is longer is no entry, or ends in a comment."""

MANY_LIMIT = 64 * 1024
"""The same where a line may have many entries."""

DOMAIN = hostnames.DOMAIN

_ALL_COVERS = bytes(range(1, 8))
_TO_LINE_FEEDS = bytes.maketrans(_ALL_COVERS, b"\n" * len(_ALL_COVERS))

are_domains = hostnames.are_domains


@frozen_dataclass
class BulkLines:
    """Lines of one kind, as they stand in a large file of ASCII."""

    expression: re.Pattern[str]
    """For each line in lower case, with `^`, `$` and the flag MULTILINE, and an optional `\\r` before its end. It also
    matches empty lines and comments, with empty groups. The last group is the entry."""
    take: Callable[..., None]
    """Gets the number of the first line and the entries as text, one a line; with `leads`, then what each of them
    covers, or a byte of its flags for each. A line without an entry is empty."""
    are_entries: Callable[[str], bool] = are_domains
    """Returns whether the last group would match each line of a text, whatever stands around it."""
    leads: Mapping[str, Covers] = MappingProxyType({})
    """What the group before the entry may be, and what the entry then covers: the longest first. It may differ from
    line to line."""

    def take_all(self, first_number: int, lines: str, count: int) -> bool:
        """Takes so many lines, when each is of this kind. Returns whether they are."""
        first = self.expression.match(lines.partition("\n")[0])
        if first is None:
            return False
        if first[self.expression.groups]:
            for entries, *covers in self._alike(first, lines, count):
                if self.are_entries(entries):
                    self.take(first_number, entries, *covers)
                    return True
        found = self.expression.findall(lines)
        if len(found) == count:
            self.take_found(first_number, found)
        return len(found) == count

    def _alike(self, first: re.Match[str], lines: str, count: int) -> Iterator[tuple[str] | tuple[str, Covers | bytes]]:
        """Yields the entries as `take` gets them, when the same stands around each of them, or the same but for their
        `leads`; whether they are entries is not known. `first` is how the expression matches the first line."""
        entry, text = self.expression.groups, first.string
        lead = entry - 1 if self.leads else entry
        after = text[first.end(entry) :]
        if not lines.endswith(after):
            return
        some = [self.expression.match(line) for line in lines.split("\n", 4)[1:4]] if self.leads else []
        if all(match and match[lead] == first[lead] for match in some):  # probably all lines have this lead, or none
            before = text[: first.start(entry)]
            framed, frame = lines[len(before) : len(lines) - len(after)], f"{after}\n{before}"
            names = framed if frame == "\n" else "\n".join(framed.split(frame))  # which is quicker than to replace it
            if len(framed) - len(names) == (count - 1) * (len(frame) - 1):
                yield (names, self.leads[first[lead]]) if self.leads else (names,)
        if not self.leads:
            return
        before, between = text[: first.start(lead)], text[first.end(lead) : first.start(entry)]
        framed = f"{after}\n{lines.removesuffix(after)}"
        for begin, covers in self.leads.items():
            if "\n" not in framed:
                break  # each search takes as long as to read the text
            if begin[:1] not in lines:
                continue
            found = self.expression.fullmatch(f"{before}{begin}{between}a{after}")
            if found and found[entry] == "a":  # what stands around them may not go with all
                framed = framed.replace(f"{after}\n{before}{begin}{between}", chr(covers))
        led = framed.encode(errors="replace")
        flags = led.translate(None, hostnames.NAME_CHARACTERS)
        if len(flags) == count and not flags.translate(None, _ALL_COVERS):  # else there is another lead, or character
            yield led[1:].translate(_TO_LINE_FEEDS).decode(), flags

    def take_found(self, first_number: int, found: Sequence[Any]) -> None:
        """Takes what `findall` of the expression returned."""
        entries = found if self.expression.groups == 1 else [groups[-1] for groups in found]
        covers = [bytes([self.leads.get(groups[-2], 0) for groups in found])] if self.leads else []
        self.take(first_number, "\n".join(entries), *covers)


def parse_lines(
    pieces: Iterator[str],
    kinds: Sequence[BulkLines],
    parse_line: Callable[[int, str], None],
    *,
    limit: int = READ_LIMIT,
) -> None:
    """Reads a text: pieces of which all lines are of one kind in one call, and each other line, which it cuts to
    `limit`, by `parse_line`. Lines are handed over in order. A byte order mark is left out."""
    order = list(kinds)
    first = 1
    for piece in pieces:
        text = piece.removeprefix("\ufeff") if first == 1 else piece
        lines = text.removesuffix("\n").lower()  # the expression would match once more after it
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
    """Reads the lines of a piece that are not all of one kind. Returns the number of the line after it."""
    run: list[Any] = []
    kind = kinds[0]
    number = first
    for number, line in enumerate(split_lines(text), first):
        found: list[Any] = []
        for other in (kind, *kinds) if line.isascii() else ():
            if found := other.expression.findall(line.lower()):
                if other is not kind and run:
                    kind.take_found(number - len(run), run)
                    run = []
                kind = other
                run += found
                break
        if not found:
            if run:
                kind.take_found(number - len(run), run)
                run = []
            parse_line(number, line[:limit])
    if run:
        kind.take_found(number + 1 - len(run), run)
    return number + 1


def split_lines(text: str) -> list[str]:
    """Returns the lines of a text without their ends, as editors and other programs count them. `str.splitlines` ends
    one at a form feed or U+2028, too, so that the rest of a comment would be an entry."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def entries_of(text: str) -> list[str]:
    """Returns the lines of a first piece that are neither empty nor comments (`#`, `//`, `;`): they tell a format."""
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
