"""Finds the setting that a command names, such as `log.keep_days`, and parses its value.

An invalid value is refused before the file is changed. The message is that of the check of the whole file, followed by
the meaning of the setting, its unit and its default.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from proxy.config.edit import Value
from proxy.config.overlay import parse_value
from proxy.config.read_settings import read_settings
from proxy.config.schema import Settings
from proxy.config.setting_types import bare, is_section, keys_of
from proxy.config.suggestions import nearest, quoted
from proxy.model.frozen_dataclass import frozen_dataclass

_UNITS = {"s": "seconds", "days": "days"}
"""The units of numbers, by the last part of the key."""

_ELSEWHERE = {
    "relay": "relays are edited with `byway relay`",
    "group": "groups are edited in the file",
    "list": "lists are edited with `byway list`",
    "addons": "addons are enabled with `byway addons enable`; their own settings are edited in the file",
    "config_version": "config_version belongs to Byway",
}
"""For each part of the file without single settings: how it is edited."""


@frozen_dataclass
class OneSetting:
    """A key of a table that holds one value or an array of values."""

    table: str
    key: str
    kind: Any
    description: str
    default: str
    """The default as written in a command; empty: there is none, or it is an empty text or array."""

    @property
    def name(self) -> str:
        """The dotted name, such as `log.keep_days`."""
        return f"{self.table}.{self.key}"

    @property
    def element(self) -> Any:
        """The type of an array's elements; None when the setting is no array."""
        return bare(get_args(self.kind)[0]) if get_origin(self.kind) is tuple else None

    @property
    def needs_restart(self) -> bool:
        """Whether a change takes full effect only after a restart."""
        return self.table == "detect" or self.name in ("listen.address", "listen.port", "limits.event_loop")

    def meaning(self) -> str:
        """Returns name, unit, description and default in one line."""
        unit = None if self.key.endswith("_bytes_s") else _UNITS.get(self.key.rpartition("_")[2])
        in_unit = f" (in {unit})" if unit is not None else ""
        return f"{self.name}{in_unit}: {self.description}; default: {self.default or 'empty'}"


def settings_by_name() -> dict[str, OneSetting]:
    """Returns all settings that a command can change, by name."""
    settings: dict[str, OneSetting] = {}
    for table, section in keys_of(Settings).items():
        for key, field in keys_of(section.type).items() if is_section(section.type) else ():
            kind = bare(field.type)
            if get_origin(kind) is UnionType:
                kind = get_args(kind)[0]
            is_one = kind in (bool, int, float, str) or get_origin(kind) in (tuple, Literal)
            if is_one and not (get_origin(kind) is tuple and is_section(bare(get_args(kind)[0]))):
                one = OneSetting(table, key, kind, field.metadata["description"], written(field.default))
                settings[one.name] = one
    return settings


def find_setting(name: str) -> OneSetting:
    """Returns the setting with this name. Raises ValueError, with a sentence, when there is none."""
    settings = settings_by_name()
    if name in settings:
        return settings[name]
    table, dot, key = name.partition(".")
    if table in _ELSEWHERE:
        raise ValueError(f"{table} has no single settings: {_ELSEWHERE[table]}")
    if table == "networks" and key:
        return OneSetting(table, key, str, "id of a network, as `byway status -v` shows it", "")
    kind = keys_of(Settings)[table].type if table in keys_of(Settings) else None
    keys = keys_of(kind) if is_section(kind) else {}
    if kind is not None and not dot:
        raise ValueError(f"{table} is a table; name one of its keys: {', '.join(f'{table}.{it}' for it in keys)}")
    if key.partition(".")[0] in keys:
        raise ValueError(f"{table}.{key.partition('.')[0]} is a table: edit it in the file")
    meant = nearest(name, settings)
    hint = f"did you mean {meant}?" if meant is not None else "`byway config show --all` shows all"
    raise ValueError(f"unknown setting {quoted(name)}; {hint}")


def read_value(setting: OneSetting, words: Sequence[str]) -> Value:
    """Parses the value of a setting from the words of a command: one word for a value, several for an array. Raises
    ValueError with the fault and the meaning of the setting."""
    value: Any
    if setting.element is not None:
        value = tuple(item for word in words for item in _items(word, setting))
        whole = " ".join(words)
        if value and str(value[0]).startswith("[") and whole.endswith("]") and ":" not in whole:  # no address of IPv6
            raise ValueError(f"{setting.name}: write its values with spaces or commas between them, without [ and ]")
    elif len(words) > 1:
        raise ValueError(f"{setting.name} takes one value, and {len(words)} were given; put it in quotation marks")
    elif setting.kind is bool and words[0].lower() in ("true", "false"):
        value = words[0].lower() == "true"
    else:
        read = parse_value(words[0], setting.kind)
        value = words[0] if read is None else read
    checked = read_settings({setting.table: {setting.key: value}})
    if not isinstance(checked, Settings):
        sentence = checked[0].sentence
        raise ValueError(f"{sentence}{'' if sentence.endswith('?') else '.'} {setting.meaning()}")
    return list(value) if isinstance(value, tuple) else value


def _items(word: str, setting: OneSetting) -> tuple[Any, ...]:
    """Parses the elements in one word: an array as in the file, or texts with commas between them."""
    read = parse_value(word, setting.kind)
    if read is None:
        return ()
    items = read if isinstance(read, tuple) else (word,)
    if setting.element in (int, float):
        items = tuple(parse_value(item, setting.element) if isinstance(item, str) else item for item in items)
    return items


def written(value: Any) -> str:
    """Returns a value as written in a command."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(map(written, value))
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
