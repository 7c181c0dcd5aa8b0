"""Reads settings from the tables and values of a configuration: strictly, with a sentence for every fault.

A message does not contain a text value, which may be a password under a wrong key: file and line tell where it is. A
message contains a number that is out of bounds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from proxy.config.checks import Fault, Path
from proxy.config.schema import Settings
from proxy.config.setting_types import Bounds, Parsed, Section, Size, is_section, keys_of, others_of
from proxy.config.suggestions import nearest, one_of, quoted, suggestion

_QUOTED = r"""^(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*") """
"""Matches the quoted value at the beginning of a message of a `Parsed`."""

_HINTS_MAX = 200
"""The number of faults that get a suggestion, which takes time. A file of a megabyte may have a hundred thousand
faults; at most 50 are shown."""

_WRONG = object()
"""Replaces a value that was refused. Since its fault is noted, no settings are made."""


def read_settings(document: Mapping[str, Any]) -> Settings | list[Fault]:
    """Returns the settings of a document, or all its faults. Arrays in it are tuples."""
    reader = _Reader()
    settings: Settings = reader.section(Settings, document, ())
    return reader.faults or settings


class _Reader:
    """Reads one document, and collects its faults."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def section(self, kind: type[Section], table: object, path: Path) -> Any:
        """Returns an instance of `kind`, or _WRONG."""
        if not isinstance(table, dict):
            return self._refuse(path, f"{_dotted(path)} must be a table, as in [{_dotted(path)}]")
        keys, others = keys_of(kind), others_of(kind)
        given = dict[str, Any]()
        for name, field in keys.items():
            if name in table:
                given[name] = self.value(field.type, table[name], (*path, name))
            elif field.default is MISSING and field.default_factory is MISSING:
                given[name] = self._refuse((*path, name), f"{_table(path)} needs the key {name}")
        unknown = {name: value for name, value in table.items() if name not in keys}
        if others is not None:
            return kind(**given, **{others: unknown})
        for name in unknown:
            where = f"key {quoted(name)} in {_table(path)}" if path else f"section or key {quoted(name)}"
            self._refuse((*path, name), f"unknown {where}{suggestion(name, keys) if self._hints else ''}")
        return kind(**given)

    def value(self, kind: Any, value: object, path: Path) -> Any:
        """Returns the value of a setting of type `kind`, or _WRONG."""
        limits: Iterable[object] = ()
        if get_origin(kind) is Annotated:
            kind, *limits = get_args(kind)
        origin = get_origin(kind)
        if is_section(kind):
            return self.section(kind, value, path)
        read: Any
        if origin is tuple:
            read = self._array(get_args(kind)[0], value, path)
        elif origin is dict:
            read = self._table_of(get_args(kind), value, path)
        elif origin is Literal:
            return self._choice([str(choice) for choice in get_args(kind)], get_args(kind), value, path)
        elif origin is UnionType:  # `bool | None`: None means not set
            return self.value(get_args(kind)[0], value, path)
        else:
            read = self._scalar(kind, value, path)
        for limit in limits:
            if read is not _WRONG:
                read = self._within(limit, read, path)
        return read

    def _array(self, kind: Any, value: object, path: Path) -> Any:
        if not isinstance(value, tuple):
            tables = f"written as [[{path[-1]}]], a table for each"
            form = tables if is_section(kind) else 'an array, such as ["a", "b"]'
            return self._refuse(path, f"{_dotted(path)} must be {form}")
        return tuple(self.value(kind, item, (*path, number)) for number, item in enumerate(value))

    def _table_of(self, kinds: tuple[Any, ...], value: object, path: Path) -> Any:
        if not isinstance(value, dict):
            return self._refuse(path, f"{_dotted(path)} must be a table")
        key, kind = kinds
        return {self.value(key, name, (*path, name)): self.value(kind, it, (*path, name)) for name, it in value.items()}

    def _choice(self, shown: list[str], choices: tuple[Any, ...], value: object, path: Path) -> Any:
        """Checks that the value is a choice: `log.hosts must be "decisions", "all" or "off"; did you mean "all"?`."""
        for choice in choices:
            if type(value) is type(choice) and value == choice:
                return choice
        words = one_of([word if word.isdecimal() else quoted(word) for word in shown])
        if path == ("config_version",):
            return self._refuse(path, f"config_version must be {words}; this file may be for a newer Byway")
        meant = nearest(value, shown) if isinstance(value, str) and self._hints else None
        hint = f"; did you mean {quoted(meant)}?" if meant is not None else ""
        return self._refuse(path, f"{_dotted(path)} must be {words}{hint}")

    def _scalar(self, kind: Any, value: object, path: Path) -> Any:
        """Checks the type. An integer is accepted for a float; nothing else is converted."""
        if kind is float and type(value) in (int, float):
            try:
                number = float(value)  # type: ignore[arg-type]  # an int or a float, as checked above
            except OverflowError:
                number = math.inf
            if math.isfinite(number):
                return number
            return self._refuse(path, f"{_dotted(path)} must be a finite number")
        if type(value) is kind:
            if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
                return self._refuse(path, f"{_dotted(path)} must be text in UTF-8")
            return value
        hint = ""
        if isinstance(value, str) and kind in (int, float):
            is_number = value.strip().lstrip("+-").replace(".", "", 1).isdecimal()
            hint = "; write it without quotes" if is_number else ""
        if isinstance(value, str) and kind is bool and value.lower() in ("true", "false"):
            hint = "; write it without quotes"
        return self._refuse(path, f"{_dotted(path)} must be {_KINDS[kind]}{hint}")

    def _within(self, limit: object, value: Any, path: Path) -> Any:
        name = _dotted(path)
        match limit:
            case Bounds(at_least=least, at_most=most, more_than=more):
                if value < least:
                    return self._refuse(path, f"{name} must be at least {_plain(least)}, not {_plain(value)}")
                if value <= more:
                    return self._refuse(path, f"{name} must be more than {_plain(more)}, not {_plain(value)}")
                if value > most:
                    return self._refuse(path, f"{name} must be at most {_plain(most)}, not {_plain(value)}")
            case Size(at_least=least, at_most=most):
                unit = "character" if isinstance(value, str) else "element"
                if len(value) < least:
                    return self._refuse(path, f"{name} must have at least {least} {unit}{'' if least == 1 else 's'}")
                if len(value) > most:
                    return self._refuse(path, f"{name} must have at most {most} {unit}{'' if most == 1 else 's'}")
            case Parsed(parse):
                try:
                    return parse(value)
                except ValueError as error:
                    reason = str(error)
                    without_value = re.sub(_QUOTED, "", reason)
                    return self._refuse(path, f"{name}{':' if without_value == reason else ''} {without_value}")
        return value

    @property
    def _hints(self) -> bool:
        """Whether the next fault gets a suggestion."""
        return len(self.faults) < _HINTS_MAX

    def _refuse(self, path: Path, sentence: str) -> Any:
        """Notes a fault and returns _WRONG."""
        self.faults.append(Fault(path, sentence))
        return _WRONG


def _plain(number: float) -> int | float:
    """Returns the number as the user wrote it: an integer may have been read as a float."""
    return int(number) if number == int(number) else number


_KINDS = {int: "a whole number", float: "a number", str: "text in quotes", bool: "true or false"}


def _dotted(path: Path) -> str:
    """Returns a path as text, with elements of arrays counted from 1: `relay[1].name`."""
    return "".join(f"[{key + 1}]" if isinstance(key, int) else f".{_inert(key)}" for key in path).removeprefix(".")


def _table(path: Path) -> str:
    if not path:
        return "the file"
    if isinstance(path[-1], int):
        return f"[[{_dotted(path[:-1])}]] number {path[-1] + 1}"
    return f"[{_dotted(path)}]"


def _inert(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() else quoted(key)
