"""Edits rules.txt, for commands and for the dashboard.

The new text is checked as at a reload, and replaces the old one atomically; a text with a fault is not written. An edit
of one line preserves all other lines with their line ends, and a byte order mark.
"""

from __future__ import annotations

import asyncio
import codecs
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.config.edit_lock import edit_lock
from proxy.config.file_owners import check_obeyed, read_obeyed
from proxy.config.files import decode, read_bytes, shown
from proxy.config.paths import Paths, make_folder, write_private
from proxy.config.schema import Settings
from proxy.model.errors import BywayError, ConfigError, reason_of
from proxy.routing.coverage import covered, covering
from proxy.routing.edited_rules import AddedRule, NotInUse, RemovedRule, RulesText
from proxy.routing.rule import RuleType
from proxy.routing.rules import Rules
from proxy.routing.rules_text import split_lines, top_of, usual_end
from proxy.setup.checked import check_supported
from proxy.setup.reload import ActiveSetup
from proxy.setup.rule_files import FILE_LIMIT, check_rules, read_lists
from proxy.store.list_copies import ListCopies

if TYPE_CHECKING:
    from proxy.routing.lists.domain_list import DomainList

_SOURCE = "the new rule"
_VERSION_LENGTH = 16  # hex digits of a hash: no two versions of the file have the same by chance


def add_rule(
    paths: Paths,
    settings: Settings,
    expr: str,
    *,
    at: int | None = None,
    lists: Mapping[str, DomainList] | None = None,
    inspects: bool = True,
) -> AddedRule:
    """Adds a rule to rules.txt. Creates a missing file. The rule becomes number `at`; by default it goes before the
    first MATCH, or to the end. `lists` are those that rules may name; None: they are read. `inspects`: whether a
    feature can INSPECT.

    Raises ValueError for an invalid number, ConfigError when the rule or the file has a fault, and BywayError when the
    file cannot be written."""
    lists = read_lists(settings.list, paths) if lists is None else lists
    line = expr.strip()
    if "\n" in line or "\r" in line:
        raise ConfigError("a rule is one line; add one rule at a time")
    try:
        alone = check_rules(line, settings, source=_SOURCE, lists=lists)
    except ConfigError as error:
        mark = f"{_SOURCE}:1: "
        raise ConfigError([problem.removeprefix(mark) for problem in error.problems]) from None
    if not alone.rules:
        raise ConfigError("there is no rule in it; write TYPE,value,ACTION")
    with edit_lock(paths.rules_file.resolve().parent):
        file = _File.open(paths, settings, lists, inspects=inspects)
        rules = file.rules.rules
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


def add_rules(paths: Paths, settings: Settings, lines: Sequence[str], *, inspects: bool) -> int:
    """Adds rules to rules.txt in one edit, before the first MATCH or to the end. Returns the number of the first.

    Raises ConfigError when a rule or the file has a fault, and BywayError when the file cannot be written."""
    lists = read_lists(settings.list, paths)
    with edit_lock(paths.rules_file.resolve().parent):
        at, file = _with_rules(paths, settings, lines, lists, inspects=inspects)
        file.save()
    return at


def check_added(
    paths: Paths, settings: Settings, lines: Sequence[str], lists: Mapping[str, DomainList], *, inspects: bool
) -> int:
    """As `add_rules`, but writes nothing."""
    return _with_rules(paths, settings, lines, lists, inspects=inspects)[0]


def _with_rules(
    paths: Paths, settings: Settings, lines: Sequence[str], lists: Mapping[str, DomainList], *, inspects: bool
) -> tuple[int, _File]:
    file = _File.open(paths, settings, lists, inspects=inspects)
    rules = file.rules.rules
    matches = (number for number, rule in enumerate(rules, 1) if rule.type is RuleType.MATCH)
    at = next(matches, len(rules) + 1)
    file.insert(lines, at)
    return at, file


def content_of(paths: Paths) -> bytes | None:
    """Returns the content of rules.txt; None: there is no such file. Raises ConfigError."""
    return read_obeyed(paths.rules_file, limit=FILE_LIMIT).data if os.path.lexists(paths.rules_file) else None


def put_back_rules(paths: Paths, content: bytes | None, *, instead_of: bytes) -> None:
    """Undoes an edit of rules.txt: writes what `content_of` returned before it. `instead_of` is the content after the
    edit. Raises BywayError when the file was edited since, or cannot be written."""
    file = paths.rules_file.resolve()
    with edit_lock(file.parent):
        if (read_bytes(file, limit=FILE_LIMIT) if file.exists() else None) != instead_of:
            raise BywayError(f"{shown(file)} was edited since, so it was not changed")
        if content is None:
            file.unlink(missing_ok=True)
        else:
            write_private(file, content)


def remove_rule(paths: Paths, settings: Settings, number: int) -> RemovedRule:
    """Removes the rule with this number, from 1, from rules.txt.

    Raises ValueError when there is none, ConfigError when the file has a fault, and BywayError when it cannot be
    written."""
    lists = read_lists(settings.list, paths)
    with edit_lock(paths.rules_file.resolve().parent):
        file = _File.open(paths, settings, lists)
        rules = file.rules.rules
        if not 1 <= number <= len(rules):
            there = f"there are rules 1 to {len(rules)}" if rules else "there are no rules"
            raise ValueError(f"there is no rule {number}; {there}, see `byway rule list`")
        rule = rules[number - 1]
        removed = RemovedRule(number, rule, file.remove(rule.line))
        file.save()
    return removed


class RulesFileEditor:
    """Edits rules.txt while Byway runs: an edit is in use when its method returns.

    Each method raises ConfigError with all problems, each with its line, also when another user can change the file,
    and BywayError when the file cannot be read or written. Methods that write raise NotInUse when the file is written
    but another problem keeps it from being used. Belongs to one loop; files are read and written in threads."""

    def __init__(self, active: ActiveSetup, paths: Paths, copies: ListCopies, *, inspects: bool = True) -> None:
        self._inspects = inspects
        self._active = active
        self._paths = paths
        self._copies = copies
        self._editing = asyncio.Lock()

    async def read(self) -> RulesText:
        """Returns the text and its version, by which `replace` detects another edit."""
        settings = await self._active.configured()
        file = await asyncio.to_thread(self._open, settings)
        return RulesText(file.text, file.version)

    async def check(self, text: str) -> Rules:
        """Parses a text that is not written."""
        settings = await self._active.configured()
        return await asyncio.to_thread(lambda: self._open(settings).check(text))

    async def replace(self, text: str, *, version: str) -> Rules | None:
        """Replaces the text of that version. Returns its rules; None, without an edit, when the file has another
        version."""
        settings = await self._active.configured()
        async with self._editing:
            rules = await asyncio.to_thread(self._replace, text, settings, version)
            if rules is not None:
                await self._use()
            return rules

    async def edit(self, change: Callable[[str], str], *, version: str) -> RulesText | None:
        """Replaces the text of that version by the one that `change` returns for it. Returns the new one; None, without
        an edit, when the file has another version. What `change` raises passes."""
        settings = await self._active.configured()
        async with self._editing:
            edited = await asyncio.to_thread(self._edit, change, settings, version)
            if edited is not None:
                await self._use()
            return edited

    async def add(self, line: str, *, at: int | None = None) -> AddedRule:
        """Adds a rule as `add_rule` does. Raises ValueError for an invalid number `at`."""
        settings = await self._active.configured()
        async with self._editing:
            added = await asyncio.to_thread(
                lambda: add_rule(
                    self._paths, settings, line, at=at, lists=self._lists(settings), inspects=self._inspects
                ),
            )
            await self._use()
            return added

    def _edit(self, change: Callable[[str], str], settings: Settings, version: str) -> RulesText | None:
        with edit_lock(self._paths.rules_file.resolve().parent):
            file = self._open(settings)
            if file.version != version:
                return None
            file.edit(change(file.text))
            if file.is_changed:
                file.save()
            return file.edited

    def _replace(self, text: str, settings: Settings, version: str) -> Rules | None:
        lists = self._lists(settings)
        with edit_lock(self._paths.rules_file.resolve().parent):
            file = _File.open(self._paths, settings, lists, inspects=self._inspects)
            rules = file.replace(text)
            if file.is_changed:  # not so when a form with the same text is posted twice
                if file.version != version:
                    return None
                file.save()
        return rules

    async def _use(self) -> None:
        """Reloads. Raises NotInUse when there is a problem."""
        if problems := await self._active.reload():
            name = self._paths.rules_file.name
            raise NotInUse([f"{name} is saved, but not in use yet: {problems[0]}", *problems[1:]])

    def _open(self, settings: Settings) -> _File:
        return _File.open(self._paths, settings, self._lists(settings), inspects=self._inspects)

    def _lists(self, settings: Settings) -> Mapping[str, DomainList]:
        """Returns the lists in use, and those that were added to the configuration since the last reload."""
        in_use = self._active.setup.router.rules.lists
        new = [item for item in settings.list if item.name not in in_use]
        return {**in_use, **read_lists(new, self._paths, copies=self._copies)}


class _File:
    """An edit of rules.txt: its lines, each with its line end. `check` parses a text as a reload does."""

    def __init__(self, path: Path, data: bytes, check: Callable[[str], Rules], *, inspects: bool) -> None:
        self._inspects = inspects
        self._path = path
        self._data = data
        self._mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
        self._check = check
        self.text = decode(path, data)
        self._lines = split_lines(self.text)
        self.version = _version(data)

    @classmethod
    def open(cls, paths: Paths, settings: Settings, lists: Mapping[str, DomainList], *, inspects: bool = True) -> _File:
        """Reads the file. Raises ConfigError when it cannot be read, or another user can change it."""
        path, data = paths.rules_file, b""
        # A link to a missing target (a folder that is not mounted) is an error: it must not count as no rules.
        if os.path.lexists(path):
            data = read_obeyed(path, limit=FILE_LIMIT).data
        else:
            check_obeyed(paths.config_dir)
        return cls(
            path.resolve(),
            data,
            lambda text: check_rules(text, settings, source=path.name, lists=lists),
            inspects=inspects,
        )

    @cached_property
    def rules(self) -> Rules:
        """The rules before the edit. Raises ConfigError when the text has a fault."""
        return self._check(self.text)

    def check(self, text: str) -> Rules:
        """Parses a text. Raises ConfigError when it has a fault."""
        decode(Path(self._path.name), text.encode())
        checked = self._check(text)
        check_supported(checked, inspects=self._inspects)
        return checked

    def replace(self, text: str) -> Rules:
        """Replaces the text, and keeps the line ends of the old one. Returns the rules."""
        rules = self.check(text)
        ending = usual_end(self._lines)
        self._lines = [line.rstrip("\r\n") + ending for line in split_lines(text)]
        return rules

    def edit(self, text: str) -> None:
        """Replaces the text by an edited one, with its line ends."""
        self.check(text)
        self._lines = split_lines(text)

    def insert(self, added: Sequence[str], number: int) -> Rules:
        """Inserts lines so that the first becomes rule number `number`. Returns the rules."""
        lines = self._lines
        if number <= len(self.rules):
            place = top_of(lines, self.rules.rules[number - 1].line - 1)
        else:
            place = next((n for n in range(len(lines), 0, -1) if lines[n - 1].strip()), 0)
        # The end of a neighbouring line: where ends are mixed, another one could merge with the next line's end.
        ends = (each[len(each.rstrip("\r\n")) :] for each in (*reversed(lines[:place]), *lines[place:]))
        ending = next(filter(None, ends), "\n")
        if place and not lines[place - 1].endswith(("\r", "\n")):
            lines[place - 1] += ending
        lines[place:place] = [line + ending for line in added]
        return self.check("".join(lines))

    def remove(self, number: int) -> str:
        """Removes a line by its number, from 1. Returns it without its line end."""
        line = self._lines.pop(number - 1).rstrip("\r\n")
        self.check("".join(self._lines))
        return line

    @property
    def is_changed(self) -> bool:
        """Whether the content differs from that of the file."""
        return self._content != self._data

    @property
    def edited(self) -> RulesText:
        """The text after the edit, and its version."""
        return RulesText("".join(self._lines), _version(self._content))

    @property
    def _content(self) -> bytes:
        return self._mark + "".join(self._lines).encode()

    def save(self) -> None:
        """Writes the file. Raises BywayError when it cannot be written, or was changed since it was read: the other
        edit must not be lost."""
        try:
            make_folder(self._path.parent)
        except OSError as error:
            raise BywayError(f"{self._path.parent} cannot be made: {reason_of(error)}") from None
        now = read_bytes(self._path, limit=FILE_LIMIT) if self._path.exists() else b""
        if now != self._data:
            raise BywayError(f"{shown(self._path)} was edited meanwhile, so nothing was changed: try again")
        write_private(self._path, self._content)


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_VERSION_LENGTH] if data else ""
