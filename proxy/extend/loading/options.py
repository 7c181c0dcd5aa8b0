"""Reads the options of an addon from `[addons.NAME]`: the fields of its `Options`, a dataclass.

    @dataclass
    class Options:
        relay: Annotated[str, "the relay to pin"] = "tor"
        days: Annotated[list[str], "on which days"] = field(default_factory=list)

Values are checked against the types as strictly as Byway's own settings. Types that TOML lacks, such as a path, are
written as text.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from proxy.config.suggestions import quoted, suggestion
from proxy.extend.loading.addon import Place
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass


def prepare() -> None:
    """Imports the modules that `read` needs. That may take longer than loading an addon may take, so call this before
    that time begins. Without addons they are not imported: they take a quarter of a start, and ten megabytes."""
    from pydantic import TypeAdapter

    TypeAdapter(int)  # the first one imports the rest


@frozen_dataclass
class Option:
    name: str
    kind: str
    default: Any
    """`dataclasses.MISSING` when the option must be set."""
    help: str


def describe(module: ModuleType) -> tuple[Option, ...]:
    declared = _declared(module)
    if declared is None:
        return ()
    hints = get_type_hints(declared, include_extras=True)
    return tuple(_option(field, hints[field.name]) for field in dataclasses.fields(declared) if field.init)


def names(module: ModuleType) -> tuple[str, ...]:
    """Returns the names of the options that the addon declares. Raises TypeError as `read` does."""
    declared = _declared(module)
    return () if declared is None else tuple(field.name for field in dataclasses.fields(declared) if field.init)


def read(module: ModuleType, name: str, table: Mapping[str, Any], place: Place) -> Any:
    """Returns an instance of the addon's `Options` with the values of `table`; None when it declares none.

    Raises ConfigError with all problems of the table, and TypeError when `Options` itself cannot be used."""
    declared = _declared(module)
    fields = names(module)
    problems: list[str] = []
    for key in table:
        if key not in fields:
            hint = suggestion(key, fields) if fields else "; this addon takes no options"
            problem = f"unknown key {quoted(key)} in [addons.{name}]{hint}"
            problems.append(_located(place, ("addons", name, key), problem))
    taken = {key: value for key, value in table.items() if key in fields}
    options = None
    if declared is not None:
        from pydantic import ValidationError

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
    """Returns the `Options` that the module defines; an imported one does not count. Raises TypeError when it is not a
    dataclass."""
    declared = vars(module).get("Options")
    if declared is None or getattr(declared, "__module__", module.__name__) != module.__name__:
        return None
    if not isinstance(declared, type) or not dataclasses.is_dataclass(declared):
        raise TypeError("Options must be a dataclass: write @dataclass above it")
    return declared


def _built(declared: type[Any], table: Mapping[str, Any]) -> Any:
    """Makes an instance, through JSON. In pydantic's strict mode, an array in JSON may become a list, a tuple or a set,
    and a text a path or a time of day; a text never becomes a number."""
    from pydantic import TypeAdapter

    try:
        get_type_hints(declared)  # pydantic would report an unknown name only when it is used
        checked: TypeAdapter[Any] = TypeAdapter(declared)
    except Exception as error:  # a type that pydantic does not know, or an unknown name
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


def _located(place: Place, path: tuple[str | int, ...], sentence: str) -> str:
    where = place(*path)
    return f"{where}: {sentence}" if where else sentence


def _dotted(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{key + 1}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def _lower(sentence: str) -> str:
    return sentence if sentence[:2].isupper() else f"{sentence[:1].lower()}{sentence[1:]}"  # "URL scheme should …"
