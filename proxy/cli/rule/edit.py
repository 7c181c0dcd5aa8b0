"""Edits rules.txt, one line at a time: every other line, its end and a byte order mark stay as they were.

The new text is checked as Byway would check it, and takes the place of the old one in one step; a text with a fault is
not written.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from proxy.app.rule_files import FILE_LIMIT, check_rules, read_rules
from proxy.app.setup_builder import check_supported
from proxy.config.file_owners import check_obeyed, read_obeyed
from proxy.config.paths import Paths, make_folder, write_private
from proxy.config.schema import Settings
from proxy.model.errors import BywayError, ConfigError, reason_of
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.coverage import covered, covering
from proxy.routing.rules import Rule, Rules, RuleType

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_SOURCE = "the new rule"
_COMMENT = re.compile(r"\s*(?:#|//)")


@frozen_dataclass
class AddedRule:
    """A rule that is in the file now, as number `number` (from 1)."""

    number: int
    rule: Rule
    following: Rule | None
    """The rule that it was put before; None: it is the last one."""
    covered_by: Rule | None
    """An earlier rule that matches whatever it matches, so that it never decides."""
    covers: tuple[Rule, ...]
    """Later rules that can no longer decide."""


@frozen_dataclass
class RemovedRule:
    """A rule that is no longer in the file: its number, and its line there with the comment at its end."""

    number: int
    rule: Rule
    line: str


def add_rule(paths: Paths, settings: Settings, expr: str, *, at: int | None = None) -> AddedRule:
    """Adds a rule to rules.txt, which is made when there is none. It becomes rule number `at`; by default it goes
    before the first MATCH, or to the end.

    Raises ValueError for a number that cannot be, ConfigError when the rule or the file has a fault, and BywayError
    when the file cannot be written."""
    file = _File.open(paths, settings)
    rules = file.rules.rules
    line = expr.strip()
    if "\n" in line or "\r" in line:
        raise ConfigError("a rule is one line; add one rule at a time")
    try:
        alone = check_rules(line, settings, source=_SOURCE, lists=file.rules.lists)
    except ConfigError as error:
        mark = f"{_SOURCE}:1: "
        raise ConfigError([problem.removeprefix(mark) for problem in error.problems]) from None
    if not alone.rules:
        raise ConfigError("there is no rule in it; write TYPE,value,ACTION")
    if at is None:
        matches = (number for number, rule in enumerate(rules, 1) if rule.type is RuleType.MATCH)
        at = next(matches, len(rules) + 1)
        if alone.rules[0].type is RuleType.MATCH:
            at = len(rules) + 1
    if not 1 <= at <= len(rules) + 1:
        raise ValueError(f"--at {at}: a new rule can be number 1 to {len(rules) + 1}")
    after = file.insert([line], at)
    place = at - 1
    added = AddedRule(
        at,
        after.rules[place],
        after.rules[place + 1] if at <= len(rules) else None,
        covering(after, place),
        tuple(covered(after, place)),
    )
    file.save()
    return added


def add_rules(paths: Paths, settings: Settings, lines: Sequence[str]) -> int:
    """Adds rules to rules.txt in one step, before the first MATCH or to the end. Returns the number of the first.

    Raises ConfigError when a rule or the file has a fault, and BywayError when the file cannot be written."""
    file = _File.open(paths, settings)
    rules = file.rules.rules
    matches = (number for number, rule in enumerate(rules, 1) if rule.type is RuleType.MATCH)
    at = next(matches, len(rules) + 1)
    file.insert(lines, at)
    file.save()
    return at


def remove_rule(paths: Paths, settings: Settings, number: int) -> RemovedRule:
    """Removes the rule with this number from rules.txt.

    Raises ValueError when there is none, ConfigError when the file has a fault, and BywayError when it cannot be
    written."""
    file = _File.open(paths, settings)
    rules = file.rules.rules
    if not 1 <= number <= len(rules):
        there = f"there are rules 1 to {len(rules)}" if rules else "there are no rules"
        raise ValueError(f"there is no rule {number}; {there}, see `byway rule list`")
    rule = rules[number - 1]
    removed = RemovedRule(number, rule, file.remove(rule.line))
    file.save()
    return removed


class _File:
    """rules.txt while it is edited: its lines, each with its end, and what they meant before."""

    def __init__(self, path: Path, text: str, mark: bytes, rules: Rules, check: Callable[[str], Rules]) -> None:
        self._path = path
        self._lines: list[str] = _LINE.findall(text)
        self._mark = mark
        self._check = check
        self.rules = rules

    @classmethod
    def open(cls, paths: Paths, settings: Settings) -> _File:
        """Raises ConfigError when the file has a fault, or when another user could change it."""
        rules = read_rules(settings, paths)
        path = paths.rules_file
        text, mark = "", b""
        if os.path.lexists(path):
            obeyed = read_obeyed(path, limit=FILE_LIMIT)
            text, mark = obeyed.text, codecs.BOM_UTF8 if obeyed.data.startswith(codecs.BOM_UTF8) else b""
        else:
            check_obeyed(paths.config_dir)

        def check(text: str) -> Rules:
            checked = check_rules(text, settings, source=path.name, lists=rules.lists)
            check_supported(checked)
            return checked

        return cls(path.resolve(), text, mark, rules, check)

    def insert(self, added: Sequence[str], number: int) -> Rules:
        """Adds lines, of which the first makes its rule number `number`. Returns what the text then means."""
        lines = self._lines
        if number <= len(self.rules):
            place = self._top(self.rules.rules[number - 1].line - 1)
        else:
            place = next((n for n in range(len(lines), 0, -1) if lines[n - 1].strip()), 0)
        # That of a line beside it: where ends are mixed, another one could be one with the end that follows.
        ends = (each[len(each.rstrip("\r\n")) :] for each in (*reversed(lines[:place]), *lines[place:]))
        ending = next(filter(None, ends), "\n")
        if place and not lines[place - 1].endswith(("\r", "\n")):
            lines[place - 1] += ending
        lines[place:place] = [line + ending for line in added]
        return self._check("".join(lines))

    def remove(self, number: int) -> str:
        """Removes a line by its number, and returns it without its end."""
        line = self._lines.pop(number - 1).rstrip("\r\n")
        self._check("".join(self._lines))
        return line

    def save(self) -> None:
        """Raises BywayError."""
        try:
            make_folder(self._path.parent)
        except OSError as error:
            raise BywayError(f"{self._path.parent} cannot be made: {reason_of(error)}") from None
        write_private(self._path, self._mark + "".join(self._lines).encode())

    def _top(self, place: int) -> int:
        """Returns where the comments directly above a line begin: they belong to its rule, unless they begin the
        file."""
        top = place
        while top > 0 and _COMMENT.match(self._lines[top - 1]):
            top -= 1
        return top or place
