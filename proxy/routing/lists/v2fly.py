"""Lists of v2fly's domain-list-community: one rule a line, and `include:` of other lists of the same folder.

`example.com` is a site, `full:` one host, `keyword:` a part of names. `@ads` marks a rule; `include:other @cn @-ads`
takes the rules of the other list that are marked cn and not ads. `&other` puts a rule into another list as well: only
who reads all files of the project finds that, so it says nothing here. `#` begins a comment anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.lines import DOMAIN, BulkLines, numbered, parse_lines
from proxy.routing.lists.list_builder import ListBuilder

DEPTH_LIMIT = 16
"""Lists that include each other in turn. The project's own are five deep."""

INCLUDES_LIMIT = 5000
"""Lists that are read for one, counted as often as they are included. The project has 1,500."""

_RULE = re.compile(r"^(?:include|domain|full|keyword|regexp):[^\s/]|^[a-z0-9.-]+[ \t]+[@&][a-z!-]", re.MULTILINE)
_NAME = re.compile(r"[a-z0-9!-]{1,64}")

_LINES = re.compile(
    rf"^[\x20\t]*(?:(full:|domain:|)({DOMAIN})(?:[\x20\t]+[@&][a-z0-9!-]+)*+[\x20\t]*(?:\#[\x20-\x7e\t]*)?"
    r"|(?:\#[\x20-\x7e\t]*)?)\r?$",
    re.MULTILINE,
)
"""Lines as most are, for `BulkLines`: `full:` and the domain; both are empty for a comment, or nothing."""


@frozen_dataclass
class _Wanted:
    """The marks of an include: which rules of the other list are taken."""

    marked: frozenset[str] = frozenset()
    unmarked: frozenset[str] = frozenset()

    def takes(self, marks: frozenset[str]) -> bool:
        return self.marked <= marks and not self.unmarked & marks


def recognizes(text: str) -> bool:
    """Returns whether the beginning of a file has rules that only this format has. Bare domains mean the same in plain
    lists."""
    return _RULE.search(text) is not None


def parse_v2fly(pieces: Iterator[str], builder: ListBuilder) -> None:
    """Parses a list, as `formats.ParseList` says, and those that it includes. An include that leads nowhere, or in a
    circle, is skipped."""
    _Reader(builder).read(pieces, (), ())


class _Reader:
    def __init__(self, builder: ListBuilder) -> None:
        self._builder = builder
        self._included = 0

    def read(self, pieces: Iterator[str], names: tuple[str, ...], wanted: tuple[_Wanted, ...]) -> None:
        """Reads one file. `names` are the includes that lead to it, `wanted` what each of them takes."""

        def parse_line(number: int, line: str) -> None:
            if rule := line.partition("#")[0].strip():
                self._rule(number, rule, names, wanted)

        if not wanted:
            parse_lines(pieces, (BulkLines(_LINES, self._take),), parse_line)
            return
        for number, line in numbered(pieces):
            parse_line(number, line)

    def _take(self, first: int, found: list[tuple[str, str]]) -> None:
        flags = bytes([Covers.HOST if kind == "full:" else Covers.SITE for kind, _ in found])
        self._builder.add_many(first, [domain for _, domain in found], flags)

    def _rule(self, line: int, text: str, names: tuple[str, ...], wanted: tuple[_Wanted, ...]) -> None:
        builder = self._builder
        rule, *words = text.split()
        marks = frozenset(word[1:].lower() for word in words if word.startswith("@"))
        kind, colon, value = rule.partition(":")
        if not colon or "." in kind:
            kind, value = "domain", rule
        if any(not word.startswith(("@", "&")) for word in words):
            builder.skip(line, text, Skip.UNREADABLE)
        elif kind.lower() == "include":
            unmarked = frozenset(mark[1:] for mark in marks if mark.startswith("-"))
            taken = _Wanted(frozenset(mark for mark in marks if not mark.startswith("-")), unmarked)
            self._include(line, text, value.lower(), names, (*wanted, taken) if marks else wanted)
        elif all(one.takes(marks) for one in wanted):
            match kind.lower():
                case "domain":
                    builder.add(line, value)
                case "full":
                    builder.add(line, value, Covers.HOST)
                case "keyword":
                    builder.add_keyword(line, value)
                case "regexp":
                    builder.skip(line, text, Skip.REGULAR_EXPRESSION)
                case _:
                    builder.skip(line, text, Skip.UNSUPPORTED_TYPE)

    def _include(self, line: int, text: str, name: str, names: tuple[str, ...], wanted: tuple[_Wanted, ...]) -> None:
        builder = self._builder
        self._included += 1
        allowed = name not in names and len(names) < DEPTH_LIMIT and self._included <= INCLUDES_LIMIT
        if not allowed or _NAME.fullmatch(name) is None:
            builder.skip(line, text, Skip.INCLUDE)
            return
        with builder.including(name) as pieces:
            if pieces is not None:
                self.read(pieces, (*names, name), wanted)
        if pieces is None:
            builder.skip(line, text, Skip.INCLUDE)
