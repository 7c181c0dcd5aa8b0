"""Lays the environment and the command line over the settings of the file.

`BYWAY_LISTEN__PORT=8120` sets `listen.port`. A variable is one value of one key, read by the type that the key has, so
text cannot smuggle a second key in: a quote or a line break in a user's name is a part of the name.
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
"""`--allow` opens one exception more; it does not close those of the file."""


class Overlay:
    """A document that records where each value comes from."""

    __slots__ = ("document", "notices", "places")

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document: dict[str, Any] = dict(document)
        self.places: dict[Path, str] = {}
        self.notices: list[str] = []

    def set(self, path: tuple[str, ...], value: Any, place: str) -> None:
        """Sets one value. A table that is no table is left for validation to name."""
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
        value: Any = self.document
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def from_environment(overlay: Overlay, env: Mapping[str, str]) -> list[str]:
    """Lays the variables over the document. Returns the problems with their names."""
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
    """Lays dotted flags over the document; None is not given."""
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
    """Returns the type of the setting at a path. Raises ValueError, with the nearest one, for an unknown path."""
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
    """Returns the text as a value of that type; what does not fit stays text, which the validation refuses. None: not
    set. Raises ValueError."""
    if len(text) > VALUE_LIMIT:
        raise ValueError(f"the value is longer than {VALUE_LIMIT} characters")
    if kind is str or (get_origin(kind) is Literal and all(isinstance(choice, str) for choice in get_args(kind))):
        return text
    if not text.strip():
        return None
    import tomllib  # few starts need it

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
    """Returns the value with tuples for arrays, as strict settings require."""
    if isinstance(value, dict):
        return {key: frozen(inner) for key, inner in value.items()}
    return tuple(frozen(inner) for inner in value) if isinstance(value, list) else value


def _notice_near_miss(overlay: Overlay, name: str) -> None:
    """Warns of a variable that looks like a setting with a missing underscore. Others belong to other programs."""
    known = [
        f"{PREFIX}{section}__{key}".upper()
        for section, field in keys_of(Settings).items()
        if is_section(field.type)
        for key in keys_of(field.type)
    ]
    near = nearest(name, known)
    if near is not None and near.replace("_", "") == name.replace("_", ""):
        overlay.notices.append(f"environment {name}: unknown setting; did you mean {near}?")
