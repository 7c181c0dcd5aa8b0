"""Lists of v2fly's domain-list-community: one rule a line, and `include:` of other lists of the same folder.

`example.com` is a site, `full:` one host, `keyword:` a text in names. `@ads` marks a rule; `include:other @cn @-ads`
takes the rules of the other list that are marked cn and not ads. `&other` adds a rule to another list too: that needs
all files of the project, so it is ignored here. `#` begins a comment anywhere. Lists that the project exports have the
marks after a colon: `domain:example.com:@ads,@cn`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.lines import DOMAIN, BulkLines, numbered, parse_lines
from proxy.routing.lists.list_builder import ListBuilder, Siblings
from proxy.routing.lists.plain import add_marked

DEPTH_LIMIT = 16
"""Nested includes at most. Those of the project are five deep."""

INCLUDES_LIMIT = 5000
"""Includes that are followed for one list at most. The project has 1,500 lists."""

_RULE = re.compile(
    r"^(?:include|domain|full|keyword|regexp):[^\s/]|^[a-z0-9][a-z0-9.-]*(?:[ \t]+[@&]|:@)[a-z!-]", re.MULTILINE
)
_NAME = re.compile(r"[a-z0-9!-]{1,64}")

_LINES = re.compile(
    rf"^[\x20\t]*(?:(full:|domain:|)({DOMAIN})(?:[\x20\t]+[@&][a-z0-9!-]+)*+[\x20\t]*(?:\#[\x20-\x7e\t]*)?"
    r"|(?:\#[\x20-\x7e\t]*)?)\r?$",
    re.MULTILINE,
)
"""The usual lines, for `BulkLines`: `full:` and the domain; both are empty for a comment or an empty line."""

_COVERS = {"domain:": Covers.SITE, "full:": Covers.HOST, "": Covers.SITE}


@frozen_dataclass
class _Wanted:
    """The marks of an include, which choose rules of the other list."""

    marked: frozenset[str] = frozenset()
    unmarked: frozenset[str] = frozenset()

    def takes(self, marks: frozenset[str]) -> bool:
        return self.marked <= marks and not self.unmarked & marks


@frozen_dataclass
class _Rule:
    """One line without its comment. `marks` are the words after `@`, in lower case."""

    kind: str
    value: str
    marks: frozenset[str]
    is_readable: bool

    @property
    def wanted(self) -> _Wanted:
        """The marks of an include."""
        unmarked = frozenset(mark[1:] for mark in self.marks if mark.startswith("-"))
        return _Wanted(frozenset(mark for mark in self.marks if not mark.startswith("-")), unmarked)


def _parse_rule(text: str) -> _Rule:
    rule, *words = text.split()
    rule, _, marked = rule.partition(":@")
    words += [f"@{mark.removeprefix('@')}" for mark in marked.split(",") if mark]
    kind, colon, value = rule.partition(":")
    if not colon or "." in kind:
        kind, value = "domain", rule
    marks = frozenset(word[1:].lower() for word in words if word.startswith("@"))
    return _Rule(kind.lower(), value, marks, all(word.startswith(("@", "&")) for word in words))


class _Includes:
    """Counts the includes of a list, and decides which may be followed."""

    def __init__(self) -> None:
        self._count = 0

    def may_follow(self, name: str, names: tuple[str, ...]) -> bool:
        """Counts one include. `names` are the includes that lead to it."""
        self._count += 1
        is_small = len(names) < DEPTH_LIMIT and self._count <= INCLUDES_LIMIT
        return is_small and name not in names and _NAME.fullmatch(name) is not None


def recognizes(text: str) -> bool:
    """Whether the beginning of a file has rules that only this format has. Bare domains mean the same in plain
    lists."""
    return _RULE.search(text) is not None


def parse_v2fly(pieces: Iterator[str], builder: ListBuilder) -> None:
    """Parses a list, as `formats.ParseList` says, with the lists that it includes. An include of a missing file, or in
    a circle, is skipped."""
    _Reader(builder).read(pieces, (), ())


def inline_includes(text: str, siblings: Siblings) -> str:
    """Returns a list without includes: each is replaced by the rules that it takes. An include of a missing file, or in
    a circle, is not changed. Raises ConfigError when a file cannot be read."""
    return "".join(_inlined(iter([text]), siblings, _Includes(), (), ()))


def _inlined(
    pieces: Iterator[str],
    siblings: Siblings,
    includes: _Includes,
    names: tuple[str, ...],
    wanted: tuple[_Wanted, ...],
) -> Iterator[str]:
    for _, line in numbered(pieces):
        whole_line = f"{line.rstrip()}\n"
        text = line.partition("#")[0].strip()
        rule = _parse_rule(text) if text else None
        if rule is None:
            if not names:
                yield whole_line
        elif rule.kind != "include" or not rule.is_readable:
            if all(one.takes(rule.marks) for one in wanted):
                yield whole_line
        else:
            name = rule.value.lower()
            sibling = siblings(name) if includes.may_follow(name, names) else None
            if sibling is None:
                yield whole_line
                continue
            yield f"# {text}\n"
            inner = (*wanted, rule.wanted) if rule.marks else wanted
            yield from _inlined(sibling[1], siblings, includes, (*names, name), inner)


class _Reader:
    def __init__(self, builder: ListBuilder) -> None:
        self._builder = builder
        self._includes = _Includes()

    def read(self, pieces: Iterator[str], names: tuple[str, ...], wanted: tuple[_Wanted, ...]) -> None:
        """Reads one file. `names` are the includes that lead to it, `wanted` their marks."""

        def parse_line(number: int, line: str) -> None:
            if rule := line.partition("#")[0].strip():
                self._rule(number, rule, names, wanted)

        if not wanted:
            parse_lines(pieces, (BulkLines(_LINES, self._builder.add_lines, leads=_COVERS),), parse_line)
            return
        for number, line in numbered(pieces):
            parse_line(number, line)

    def _rule(self, line: int, text: str, names: tuple[str, ...], wanted: tuple[_Wanted, ...]) -> None:
        builder, rule = self._builder, _parse_rule(text)
        if not rule.is_readable:
            builder.skip(line, text, Skip.UNREADABLE)
        elif rule.kind == "include":
            self._include(line, text, rule.value.lower(), names, (*wanted, rule.wanted) if rule.marks else wanted)
        elif all(one.takes(rule.marks) for one in wanted):
            # in a message, `:@cn` would look like the end of a password, which is not shown
            shown = text.replace(":@", " @") if rule.kind == "regexp" else text
            add_marked(builder, line, shown, rule.kind, rule.value)

    def _include(self, line: int, text: str, name: str, names: tuple[str, ...], wanted: tuple[_Wanted, ...]) -> None:
        builder = self._builder
        if not self._includes.may_follow(name, names):
            builder.skip(line, text, Skip.INCLUDE)
            return
        with builder.including(name) as pieces:
            if pieces is not None:
                self.read(pieces, (*names, name), wanted)
        if pieces is None:
            builder.skip(line, text, Skip.INCLUDE)
