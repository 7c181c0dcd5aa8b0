"""Lines of a list's text, which comes in pieces, with their numbers; and how a large file is read quickly.

Nearly every line of a million is like the others. Where all lines of a piece have the same text around their entries,
the piece is split at that text. Else one expression reads all its lines in one call. Only a piece with other lines is
read line by line, and only those by a parser of lines, which knows every spelling.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from types import MappingProxyType
from typing import Any

from proxy.model.frozen_dataclass import frozen_dataclass

READ_LIMIT = 2048
"""Characters of a line that are looked at. What is longer is no entry, or ends in a comment."""

MANY_LIMIT = 64 * 1024
"""The same where a line may have many entries."""

DOMAIN = r"(?:(?![a-z0-9._-]{254})(?:[a-z0-9][a-z0-9_-]{0,62}+(?<!-)\.)*[a-z][a-z0-9_-]{0,62}+(?<!-))"
"""Matches a domain in canonical spelling (`wire.hostnames`). Its last label begins with a letter, so it is no address;
a domain that it does not match may still be one."""

_OCTET = r"(?:0|[1-9][0-9]{0,2})"
IPV4_PREFIX = rf"(?:{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}(?:/[0-9]{{1,2}})?)"
"""Matches what may be an IPv4 address or prefix: `ListBuilder.add_ipv4` looks at its numbers. None begins with a zero:
of an address that would be octal, and of a prefix wrong, which the parser of lines tells apart."""

_ZEROS = bytes.maketrans(b"123456789\n", b"111111111.")
"""So that a search for two texts finds each octet with a zero before it, in a third of the time of an expression."""

_SHAPES = (b".../\n", b"...\n")
"""Of what IPV4_PREFIX matches, without its digits."""


def are_ipv4(texts: Sequence[str]) -> bool:
    """Returns whether each of the texts may be an IPv4 address or prefix, as IPV4_PREFIX does, but for the number of
    digits."""
    lines = "\n".join(("", *texts, "")).encode(errors="replace")
    zeros = lines.translate(_ZEROS)
    if b".00" in zeros or b".01" in zeros:
        return False
    rest = lines[1:].translate(None, b"0123456789")
    for shape in _SHAPES:
        rest = rest.replace(shape, b"")
    return not rest


IPV6_PREFIX = (
    r"(?:[1-9a-f][0-9a-f]{0,3}:(?:(?:(?:0|[1-9a-f][0-9a-f]{0,3}):){0,2}[1-9a-f][0-9a-f]{0,3}:)?:/[1-9][0-9]{0,2})"
)
"""Matches what may be an IPv6 prefix in canonical spelling, with one to four groups before its `::`, as most have: then
the zeros at the end are the longest run. `ListBuilder.add_ipv6` looks at its length."""

_IPV6_PREFIX = re.compile(IPV6_PREFIX)


def are_ipv6(texts: Sequence[str]) -> bool:
    """Returns whether IPV6_PREFIX matches each of the texts as a whole."""
    return all(map(_IPV6_PREFIX.fullmatch, texts))


_DOMAIN = re.compile(DOMAIN)
_NAME_CHARACTERS = b"abcdefghijklmnopqrstuvwxyz0123456789._-\n"
_NO_DOMAIN = tuple(
    re.compile(expression)
    for expression in (r"\n(?:[._\n-]|[0-9][a-z0-9_-]*+\n)", r"\.(?:[._\n-]|[0-9][a-z0-9_-]*+\n)", r"-[.\n]")
)
"""What stands in lines of which one does not match DOMAIN, its length apart. Each begins with a character that a search
finds fast: together they take a fifth of the time of DOMAIN."""


def are_domains(texts: Sequence[str]) -> bool:
    """Returns whether DOMAIN matches each of the texts as a whole. Takes a fifth of a microsecond for each."""
    lines = "\n".join(("", *texts, ""))
    if lines.encode(errors="replace").translate(None, _NAME_CHARACTERS) or lines.count("\n") != len(texts) + 1:
        return False
    if any(expression.search(lines) for expression in _NO_DOMAIN):
        return False
    return max(map(len, texts), default=0) < 64 or all(map(_DOMAIN.fullmatch, texts))  # one label may have 63


@frozen_dataclass
class BulkLines:
    """Lines of one kind, as they stand in a large file of ASCII."""

    expression: re.Pattern[str]
    """For each line in lower case, with `^`, `$` and the flag MULTILINE, and an optional `\\r` before its end. It also
    matches empty lines and comments, with empty groups. The last group is the entry."""
    take: Callable[..., None]
    """Gets the number of the first line and, for each group, its texts: one a line."""
    are_entries: Callable[[Sequence[str]], bool] = are_domains
    """Returns whether the last group would match each text, whatever stands around it."""
    leads: Mapping[str, str] = MappingProxyType({})
    """What the group before the entry may be, by its first character: it may differ from line to line. Empty: all
    groups but the last are the same in all lines of a piece."""

    def take_all(self, first_number: int, lines: str, count: int) -> bool:
        """Takes so many lines, when each is of this kind. Returns whether they are."""
        first = self.expression.match(lines.partition("\n")[0])
        if first is None:
            return False
        groups = self.expression.groups
        after = first.string[first.end(groups) :]
        if first[groups] and lines.endswith(after):
            # First as if all began with the same.
            for begins_at in (groups, groups - 1) if self.leads else (groups,):
                before = first.string[: first.start(begins_at)]
                entries = lines[len(before) : len(lines) - len(after)].split(f"{after}\n{before}")
                if len(entries) == count:
                    alike = [repeat(text, count) for text in first.groups()[: begins_at - 1]]
                    leading: list[list[str]] = []
                    if begins_at < groups:
                        leading, entries = self._without_leads(before, entries, after)
                    if len(entries) == count and self.are_entries(entries):
                        self.take(first_number, *alike, *leading, entries)
                        return True
        found = self.expression.findall(lines)
        if len(found) == count:
            self.take_found(first_number, found)
        return len(found) == count

    def _without_leads(self, before: str, entries: list[str], after: str) -> tuple[list[list[str]], list[str]]:
        """Returns what each entry begins with, of `leads`, and the entries without it; no entries where the expression
        might not match all lines."""
        begins = [entry[:1] for entry in entries]
        for begin in set(begins):  # what stands around them may not go with all
            if self.expression.fullmatch(f"{before}{entries[begins.index(begin)]}{after}") is None:
                return [], []
        leading = list(map(self.leads.get, begins, repeat("")))
        whole = bare = "\n".join(("", *entries))
        for lead in sorted(self.leads.values(), key=len):
            bare = bare.replace(f"\n{lead}", "\n")
        taken = sum(begins.count(begin) * len(lead) for begin, lead in self.leads.items())
        if len(whole) - len(bare) != taken:  # one begins with two of them, or with half a one
            return [], []
        return [leading], bare[1:].split("\n")

    def take_found(self, first_number: int, found: Sequence[Any]) -> None:
        """Takes what `findall` of the expression returned."""
        self.take(first_number, *((found,) if self.expression.groups == 1 else zip(*found, strict=True)))


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
    for number, line in enumerate(text.splitlines(), first):
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


def entries_of(text: str) -> list[str]:
    """Returns the lines of a first piece that are neither empty nor comments (`#`, `//`, `;`): they tell a format."""
    lines = [line.strip("\ufeff \t") for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "//", ";"))]


def numbered(pieces: Iterator[str], first: int = 1, *, limit: int = READ_LIMIT) -> Iterator[tuple[int, str]]:
    """Yields each line, cut to `limit` and without its end, with its number. A byte order mark is left out."""
    for piece in pieces:
        text = piece.removeprefix("\ufeff") if first == 1 else piece
        lines = text.splitlines()
        for number, line in enumerate(lines, first):
            yield number, line[:limit]
        first += len(lines)
