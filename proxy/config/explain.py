"""Turns pydantic's errors into sentences that say what to do.

A value that is text is never repeated: in a wrong key it may be a password. File and line say where it is. Numbers are
repeated where they are too large or too small.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel

from proxy.config.checks import Fault, Path
from proxy.config.schema import Settings
from proxy.config.suggestions import nearest, one_of, quoted, suggestion

_NEEDED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text in quotes",
    "bool_type": "true or false",
    "tuple_type": "an array, such as [1, 2]",
    "dict_type": "a table",
    "model_type": "a table",
    "finite_number": "a finite number",
    "int_from_float": "a whole number",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_SIZES = {
    "too_short": ("at least", "min_length", "element"),
    "too_long": ("at most", "max_length", "element"),
    "string_too_short": ("at least", "min_length", "character"),
    "string_too_long": ("at most", "max_length", "character"),
}

_QUOTED = re.compile(r"""^(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*") """)
"""The value, with which a validator's sentence begins."""


def explain(detail: Mapping[str, Any]) -> Fault:
    """Returns the fault that one of pydantic's error details describes."""
    path: Path = tuple(part for part in detail["loc"] if part != "[key]")
    return Fault(path, _sentence(detail, path))


def _sentence(detail: Mapping[str, Any], path: Path) -> str:
    kind, name = detail["type"], _dotted(path)
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind == "missing":
        return f"{_table(path[:-1])} needs the key {path[-1]}"
    if kind in _NEEDED:
        return f"{name} must be {_needed(kind, path)}{_unquoted(kind, detail['input'])}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"{name} must be {words} {detail['ctx'][key]:g}, not {detail['input']}"
    if kind in _SIZES:
        words, key, unit = _SIZES[kind]
        size = detail["ctx"][key]
        return f"{name} must have {words} {size} {unit}{'' if size == 1 else 's'}"
    if kind == "literal_error":
        return _not_a_choice(detail, path)
    if kind == "string_pattern_mismatch":
        return f"{name} must start with a letter or digit and have at most 32 letters, digits, dots, - and _"
    if kind == "value_error":
        reason = str(detail["ctx"]["error"])
        without_value = _QUOTED.sub("", reason)
        return f"{name}{':' if without_value == reason else ''} {without_value}"
    message = str(detail["msg"])
    return f"{name}: {message[:1].lower()}{message[1:]}"


def _unknown(path: Path) -> str:
    model = _model_at(path[:-1])
    hint = suggestion(str(path[-1]), model.model_fields) if model is not None else ""
    if len(path) == 1:
        return f"unknown section or key {quoted(path[0])}{hint}"
    return f"unknown key {quoted(path[-1])} in {_table(path[:-1])}{hint}"


def _model_at(path: Path) -> type[BaseModel] | None:
    """The model of the table at a path."""
    kind: Any = Settings
    for key in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(key))
            kind = field.annotation if field is not None else None
        else:
            kind = next(iter(get_args(kind)), None)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _needed(kind: str, path: Path) -> str:
    if kind == "model_type":
        return f"a table, as in [{_dotted(path)}]"
    if kind == "tuple_type" and path[-1] in ("relay", "list"):
        return f"written as [[{path[-1]}]], a table for each"
    if kind == "tuple_type":
        return 'an array, such as ["a", "b"]'
    return _NEEDED[kind]


def _unquoted(kind: str, value: object) -> str:
    """A hint for numbers and truth values that were put in quotes."""
    if not isinstance(value, str):
        return ""
    if kind in ("int_type", "float_type") and value.strip().lstrip("+-").replace(".", "", 1).isdecimal():
        return "; write it without quotes"
    if kind == "bool_type" and value.lower() in ("true", "false"):
        return "; write it without quotes"
    return ""


def _not_a_choice(detail: Mapping[str, Any], path: Path) -> str:
    """`log.hosts must be "decisions", "all" or "off"; did you mean "all"?`."""
    choices = str(detail["ctx"]["expected"]).replace(" or ", ", ").replace("'", "").split(", ")
    shown = [choice if choice.isdecimal() else quoted(choice) for choice in choices]
    if path == ("config_version",):
        return f"config_version must be {one_of(shown)}; this file may be for a newer Byway"
    value = detail["input"]
    meant = nearest(value, choices) if isinstance(value, str) else None
    hint = f"; did you mean {quoted(meant)}?" if meant is not None else ""
    return f"{_dotted(path)} must be {one_of(shown)}{hint}"


def _dotted(path: Path) -> str:
    """`relay[0].name`, counted from 1 as people do: `relay 1: name` would be two things."""
    return "".join(f"[{key + 1}]" if isinstance(key, int) else f".{_inert(key)}" for key in path).removeprefix(".")


def _table(path: Path) -> str:
    if not path:
        return "the file"
    if isinstance(path[-1], int):
        return f"[[{_dotted(path[:-1])}]] number {path[-1] + 1}"
    return f"[{_dotted(path)}]"


def _inert(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() else quoted(key)
