"""Overrides the settings of the file by those of the environment and the command line.

`BYWAY_LISTEN__PORT=8120` sets `listen.port`. A variable is the value of one key and is parsed by that key's type, so
it cannot inject a second key: a quote or a line break in a user name is a part of the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from proxy.config.schema import Settings
from proxy.config.setting_types import bare, is_section, keys_of
from proxy.config.suggestions import nearest, suggestion

Path = tuple[str | int, ...]

PREFIX = "BYWAY_"
NOT_SETTINGS = ("BYWAY_CONFIG", "BYWAY_STATE")
VALUE_LIMIT = 65_536

ADDING_FLAGS = ("safety.allow",)
"""Flags that add to the value of the file: `--allow` adds exceptions and keeps those of the file."""


class Overlay:
    """A document, and the places of the values that were set in it."""

    __slots__ = ("document", "notices", "places")

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document: dict[str, Any] = dict(document)
        self.places: dict[Path, str] = {}
        self.notices: list[str] = []

    def set(self, path: tuple[str, ...], value: Any, place: str) -> None:
        """Sets one value. Does nothing when the path leads through a value that is no table: validation reports it."""
        table = self.document
        for key in path[:-1]:
            inner = table.get(key, {})
            if not isinstance(inner, dict):
                return
            table[key] = dict(inner)
            table = table[key]
        table[path[-1]] = value
        self.places[path] = place

    def get(self, path: tuple[str, ...]) -> Any:
        """Returns the value at a path; None when there is none."""
        value: Any = self.document
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def from_environment(overlay: Overlay, env: Mapping[str, str]) -> list[str]:
    """Sets the values of the environment in the document. Returns the problems, each with the variable's name."""
    problems = []
    for name in sorted(env):
        if not name.startswith(PREFIX) or name in NOT_SETTINGS:
            continue
        path = tuple(part.lower() for part in name.removeprefix(PREFIX).split("__"))
        if len(path) == 1 and path[0] not in keys_of(Settings):
            _notice_near_miss(overlay, name)
            continue
        try:
            kind = kind_of(path)
            value = parse_value(env[name], kind)
        except ValueError as error:
            problems.append(f"environment {name}: {error}")
            continue
        if value is not None:
            overlay.set(path, value, f"environment {name}")
    return problems


def from_flags(overlay: Overlay, flags: Mapping[str, object]) -> None:
    """Sets the values of dotted flags in the document. A flag that is None is not set."""
    for dotted, value in flags.items():
        if value is None:
            continue
        path = tuple(dotted.split("."))
        given = tuple(value) if isinstance(value, list | tuple) else value
        if dotted in ADDING_FLAGS and isinstance(given, tuple):
            if not given:
                continue
            before = overlay.get(path)
            given = (*before, *given) if isinstance(before, tuple) else given
        overlay.set(path, given, "command line")


def kind_of(path: tuple[str, ...]) -> Any:
    """Returns the type of the setting at a path. Raises ValueError, with the nearest name, for an unknown path."""
    kind: Any = Settings
    for depth, key in enumerate(path):
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif is_section(kind):
            keys = keys_of(kind)
            if key not in keys:
                where = f" in [{'.'.join(path[:depth])}]" if depth else ""
                raise ValueError(f"unknown setting {key}{where}{suggestion(key, keys)}")
            kind = bare(keys[key].type)
        else:
            raise ValueError(f"{'.'.join(path[:depth])} is a value and has no key {key}")
    return kind


def parse_value(text: str, kind: Any) -> Any:
    """Parses a text as a value of the type `kind`. Returns None for a blank text, which sets nothing, and the text
    itself when it does not fit: validation refuses it. Raises ValueError when it is too long."""
    if len(text) > VALUE_LIMIT:
        raise ValueError(f"the value is longer than {VALUE_LIMIT} characters")
    if kind is str or (get_origin(kind) is Literal and all(isinstance(choice, str) for choice in get_args(kind))):
        return text
    if not text.strip():
        return None
    import tomllib  # rarely needed at a start

    try:
        parsed = tomllib.loads(f"value = {text.strip()}")
    except (ValueError, RecursionError):
        parsed = {}
    if list(parsed) == ["value"]:
        return frozen(parsed["value"])
    if get_origin(kind) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def frozen(value: Any) -> Any:
    """Returns the value with tuples in place of lists."""
    if isinstance(value, dict):
        return {key: frozen(inner) for key, inner in value.items()}
    return tuple(frozen(inner) for inner in value) if isinstance(value, list) else value


def _notice_near_miss(overlay: Overlay, name: str) -> None:
    """Adds a notice when a variable looks like a setting with a missing underscore. Other variables may belong to other
    programs."""
    names = [
        f"{PREFIX}{section}__{key}".upper()
        for section, field in keys_of(Settings).items()
        if is_section(field.type)
        for key in keys_of(field.type)
    ]
    near = nearest(name, names)
    if near is not None and near.replace("_", "") == name.replace("_", ""):
        overlay.notices.append(f"environment {name}: unknown setting; did you mean {near}?")
