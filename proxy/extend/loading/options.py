"""What an addon can be told in `[addons.NAME]`: the fields of its `Options`, a dataclass.

    @dataclass
    class Options:
        relay: Annotated[str, "the relay to pin"] = "tor"
        days: Annotated[list[str], "on which days"] = field(default_factory=list)

Values are held to the types as strictly as Byway's own settings; what TOML has no type for, a path or a time of day, is
written as text.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from proxy.config.suggestions import quoted, suggestion
from proxy.model.errors import ConfigError

Place = Callable[..., str]
"""Where a value came from: `Loaded.place`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One of them, for those who write documentation."""

    name: str
    kind: str
    default: Any
    """`dataclasses.MISSING`: it must be set."""
    help: str


def describe(module: ModuleType) -> tuple[Option, ...]:
    """What the addon in `module` declares."""
    declared = _declared(module)
    if declared is None:
        return ()
    hints = get_type_hints(declared, include_extras=True)
    return tuple(_option(field, hints[field.name]) for field in dataclasses.fields(declared) if field.init)


def names(module: ModuleType) -> tuple[str, ...]:
    """What they are called. Raises TypeError as `read` does."""
    declared = _declared(module)
    return () if declared is None else tuple(field.name for field in dataclasses.fields(declared) if field.init)


def read(module: ModuleType, name: str, table: Mapping[str, Any], place: Place) -> Any:
    """An instance of the addon's `Options` with what `table` says; None when it declares none.

    Raises ConfigError with all that is wrong with the table, and TypeError when `Options` cannot be used."""
    declared = _declared(module)
    known = names(module)
    problems = [
        _located(place, ("addons", name, key), f"unknown key {quoted(key)} in [addons.{name}]{_hint(key, known)}")
        for key in table
        if key not in known
    ]
    taken = {key: value for key, value in table.items() if key in known}
    options = None
    if declared is not None:
        try:
            options = _built(declared, taken)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                path = ("addons", name, *detail["loc"])
                problems.append(_located(place, path, f"{_dotted(path)}: {_lower(detail['msg'])}"))
    if problems:
        raise ConfigError(problems)
    return options


def _declared(module: ModuleType) -> type[Any] | None:
    """Raises TypeError for an `Options` that is no dataclass. One that was imported is somebody else's."""
    declared = vars(module).get("Options")
    if declared is None or getattr(declared, "__module__", module.__name__) != module.__name__:
        return None
    if not isinstance(declared, type) or not dataclasses.is_dataclass(declared):
        raise TypeError("Options must be a dataclass: write @dataclass above it")
    return declared


def _built(declared: type[Any], table: Mapping[str, Any]) -> Any:
    """As JSON, since an array may then become a list, a tuple or a set, and a text a path or a time of day, and yet
    no text becomes a number."""
    try:
        get_type_hints(declared)  # pydantic would tell of a name that is not there only when it is used
        checked: TypeAdapter[Any] = TypeAdapter(declared)
    except Exception as error:  # a type that pydantic does not know, or a name that is not there
        raise TypeError(f"Options cannot be used: {_lower(str(error).splitlines()[0])}") from error
    return checked.validate_json(json.dumps(table, default=str), strict=True)


def _option(field: dataclasses.Field[Any], hint: Any) -> Option:
    help_text = ""
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        help_text = next((note for note in notes if isinstance(note, str)), "")
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    return Option(field.name, hint.__name__ if isinstance(hint, type) else str(hint), default, help_text)


def _hint(key: str, known: tuple[str, ...]) -> str:
    return suggestion(key, known) if known else "; this addon takes no options"


def _located(place: Place, path: tuple[str | int, ...], sentence: str) -> str:
    where = place(*path)
    return f"{where}: {sentence}" if where else sentence


def _dotted(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{key + 1}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def _lower(sentence: str) -> str:
    return f"{sentence[:1].lower()}{sentence[1:]}"
