"""Loads Settings from a file, the environment and the command line, with the place of every value.

The command line overrides the environment, which overrides the file. A syntax error is reported alone, since the text
after it cannot be understood. All other faults are reported together, each with file and line, or with its variable or
flag. No message contains a password.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_origin

from proxy.config import checks
from proxy.config.file_owners import read_obeyed
from proxy.config.files import shown
from proxy.config.overlay import Overlay, from_environment, from_flags, frozen
from proxy.config.read_settings import read_settings
from proxy.config.relays import Relays, relays_of
from proxy.config.schema import SECTIONS_OF, Settings
from proxy.config.setting_types import Section, bare, is_section, keys_of
from proxy.model.errors import ConfigError
from proxy.model.feature import Feature
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import relay_url

CONFIG_LIMIT = 1024 * 1024
LINE_LIMIT = 4096

KEY_PARTS_LIMIT = 32
"""The most parts of a dotted key. tomllib's time grows with their square: a megabyte of them takes a minute."""

PROBLEMS_SHOWN = 50

_LONG_KEY = rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{KEY_PARTS_LIMIT}}}"""
_POSITION = r" \(at (?:line (\d+), column (\d+)|end of document)\)$"


@frozen_dataclass
class Places:
    """The places of all values: file and line, environment variable or flag."""

    file: str = ""
    lines: Mapping[checks.Path, int] = field(default_factory=dict)
    overlaid: Mapping[checks.Path, str] = field(default_factory=dict)

    def line(self, path: checks.Path) -> int:
        """Returns the line in the file, by which problems are sorted; 0 for a value from elsewhere."""
        place, _, line = self.of(path).rpartition(":")
        return int(line) if place == self.file and line.isdecimal() else 0

    def of(self, path: checks.Path) -> str:
        """Returns `config.toml:3`, `environment BYWAY_LISTEN__PORT` or `command line listen.port`; "" for a default."""
        for length in range(len(path), 0, -1):
            prefix = path[:length]
            if prefix in self.overlaid:
                return self.overlaid[prefix]
            if prefix in self.lines:
                return f"{self.file}:{self.lines[prefix]}"
        return self.file


_NOWHERE = Places()


@frozen_dataclass
class Loaded:
    """A valid configuration."""

    settings: Settings
    path: Path | None
    """The file; None: there is none."""
    notices: tuple[str, ...]
    """Warnings about valid settings: a sentence with its place for each."""
    sources: Mapping[str, str]
    """The place of each key that is set, by its dotted name; all other keys have their defaults."""
    places: Places
    runs_commands: bool
    """False when another user may be able to change the file: its commands are not run."""
    relays: Relays = field(init=False, repr=False, compare=False)
    """The relays and groups of `settings`."""

    def __init__(
        self,
        settings: Settings,
        path: Path | None = None,
        notices: tuple[str, ...] = (),
        sources: Mapping[str, str] = MappingProxyType({}),
        places: Places = _NOWHERE,
        runs_commands: bool = True,
    ) -> None:
        object.__setattr__(self, "settings", settings)
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "notices", notices)
        object.__setattr__(self, "sources", sources)
        object.__setattr__(self, "places", places)
        object.__setattr__(self, "runs_commands", runs_commands)
        object.__setattr__(self, "relays", relays_of(settings))  # also after `replace`

    def unused(self, features: Sequence[Feature]) -> Iterator[str]:
        """Yields a sentence for each section that is set, but whose only reader is a feature that is not in
        `features`."""
        here = {section for feature in features for section in feature.settings}
        for section, name in SECTIONS_OF.items():
            keys = [key for key in self.sources if key.startswith(f"{section}.")]
            is_written = (section,) in self.places.lines
            if section not in here and (keys or is_written):
                place = self.place(section) if is_written else self.sources[keys[0]]
                yield f"{place}: [{section}] is not used: the feature {name} is not here"

    def place(self, *path: str | int) -> str:
        """Returns the place of a value, for messages about it; that of the nearest table when it was not set."""
        return self.places.of(path)


def load(
    path: Path | None, *, env: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None
) -> Loaded:
    """Loads a file (None: there is none), `BYWAY_SECTION__KEY` variables and dotted flags (`listen.port`).

    A flag that is None is not set. The flag `safety.allow` adds to the exceptions of the file and the environment.
    Raises ConfigError with all problems.
    """
    text, doubt = "", ""
    if path is not None:
        obeyed = read_obeyed(path, limit=CONFIG_LIMIT)
        text, doubt = obeyed.text, obeyed.doubt
    document, lines = ({}, {}) if path is None else _parse(path, text)
    overlay = Overlay(document)
    problems = from_environment(overlay, env or {})
    from_flags(overlay, flags or {})
    places = Places(shown(path) if path is not None else "", lines, overlay.places)
    settings, faults = _validate(overlay.document, places)
    problems += faults
    if settings is None or problems:
        raise ConfigError(relay_url.redact(problem) for problem in problems)
    notices = [*overlay.notices, *(_with_place(places, fault) for fault in checks.notices(settings))]
    if doubt:
        notices.append(f"{doubt}. No password_cmd is run")
    elif path is not None:
        notices += _guard_passwords(path, settings)
    sources = {".".join(map(str, key)): places.of(key) for key in _set_keys(overlay.document, Settings)}
    return Loaded(settings, path, tuple(notices), sources, places, runs_commands=not doubt)


def _parse(path: Path, text: str) -> tuple[dict[str, Any], dict[checks.Path, int]]:
    """Returns the document and the lines of its keys. Raises ConfigError."""
    import tomllib  # 2 ms and 0.4 MiB, not needed without a configuration file

    from proxy.config.toml_lines import key_lines

    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > LINE_LIMIT:
            raise ConfigError(f"{shown(path)}:{number}: the line is longer than {LINE_LIMIT} characters; break it")
        if line.count(".") >= KEY_PARTS_LIMIT and re.search(_LONG_KEY, line):
            raise ConfigError(f"{shown(path)}:{number}: a key has more than {KEY_PARTS_LIMIT} parts")
    try:
        return frozen(tomllib.loads(text)), key_lines(text)
    except RecursionError:
        raise ConfigError(f"{shown(path)}: arrays or tables are nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, or a number with thousands of digits
        raise ConfigError(_syntax_problem(shown(path), text, str(error))) from None


def _syntax_problem(file: str, text: str, message: str) -> str:
    position = re.search(_POSITION, message)
    line = int(position[1]) if position and position[1] else text.rstrip("\n").count("\n") + 1
    column = f", at column {position[2]}" if position and position[2] else ""
    what = re.sub(_POSITION, "", message)
    if what.startswith(("Cannot overwrite", "Cannot declare", "Cannot mutate")):
        what = f"a key or table is written twice ({what})"
    return f"{file}:{line}: not valid TOML{column}: {what[:1].lower()}{what[1:]}"


def _validate(document: Mapping[str, Any], places: Places) -> tuple[Settings | None, list[str]]:
    """Returns the settings, None when they are invalid, and the problems in the order of the lines."""
    settings = read_settings(document)
    faults = list(checks.faults(settings)) if isinstance(settings, Settings) else settings
    faults.sort(key=lambda fault: places.line(fault.path))
    problems = [_with_place(places, fault) for fault in faults[:PROBLEMS_SHOWN]]
    if len(faults) > PROBLEMS_SHOWN:
        problems.append(f"{places.file}: and {len(faults) - PROBLEMS_SHOWN} more problems")
    return settings if isinstance(settings, Settings) else None, problems


def _with_place(places: Places, fault: checks.Fault) -> str:
    place = places.of(fault.path)
    return f"{place}: {fault.sentence}" if place else fault.sentence


def _set_keys(table: Mapping[str, Any], kind: type[Section], path: checks.Path = ()) -> Iterator[checks.Path]:
    """Yields the paths of the values that a valid table of `kind` sets, down to single keys."""
    for key in sorted(table):
        inner = bare(keys_of(kind)[key].type) if key in keys_of(kind) else None
        if is_section(inner):
            yield from _set_keys(table[key], inner, (*path, key))
        elif get_origin(inner) is tuple and table[key] and is_section(element := get_args(inner)[0]):
            for number, item in enumerate(table[key]):
                yield from _set_keys(item, element, (*path, key, number))
        else:
            yield (*path, key)


def _guard_passwords(path: Path, settings: Settings) -> Iterator[str]:
    """Makes the file private when it contains a relay's password and other users can read it. Yields a notice then.
    Raises ConfigError when that fails: every user of this computer could use the relay."""
    hops = (hop for relay in settings.relay for hop in relay_url.parse_hops(relay.url, relay.allowed))
    if os.name != "posix" or not any(isinstance(hop, relay_url.RelayUrl) and hop.has_secret for hop in hops):
        return
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            path.chmod(mode & 0o700)
            yield f"{shown(path)}: contains a relay's password and was readable by other users; its mode is now 600"
    except OSError:
        raise ConfigError(
            f"{shown(path)}: contains a relay's password and other users can read it; run chmod 600 or use password_cmd"
        ) from None
