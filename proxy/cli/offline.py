"""The configuration and the rules as the files have them, for commands that need no running Byway.

Passwords are not fetched: nothing here opens a path.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from proxy.config.files import read_text
from proxy.config.load import Loaded, load
from proxy.config.paths import Paths
from proxy.config.schema import Settings
from proxy.routing.lists.plain import LIST_LIMIT, parse_plain
from proxy.routing.match import DomainList
from proxy.routing.router import RelayInfo, Router
from proxy.routing.rules import RULES_LIMIT, Rules, parse_rules
from proxy.wire.relay_url import parse, parse_chain


@dataclass(frozen=True, slots=True)
class Offline:
    """What would be in effect if Byway were started now, save for flags."""

    loaded: Loaded
    rules: Rules
    rules_file: Path

    @property
    def settings(self) -> Settings:
        return self.loaded.settings

    def router(self) -> Router:
        """Without what `site set` said, which only the running Byway knows."""
        infos = [RelayInfo(relay.name, needs_address=_needs_address(relay.name, self.settings))
                 for relay in self.settings.relay]  # fmt: skip
        return Router(self.rules, {}, infos, self.settings)


def read_configuration(paths: Paths) -> Loaded:
    """Raises ConfigError with all problems."""
    return load(paths.config_to_read, env=os.environ)


def read_offline(paths: Paths, *, rules_file: Path | None = None) -> Offline:
    """The configuration with its rules, or with those of another file. Raises ConfigError with all problems of
    whichever is read first and has some."""
    loaded = read_configuration(paths)
    lists = _lists(paths, loaded.settings)
    file = rules_file or paths.rules_file
    if rules_file is None and not file.exists():
        return Offline(loaded, Rules(lists=lists), file)
    relays = [relay.name for relay in loaded.settings.relay]
    rules = parse_rules(read_text(file, limit=RULES_LIMIT * 4), source=file.name, lists=lists, relays=relays)
    return Offline(loaded, rules, file)


def _lists(paths: Paths, settings: Settings) -> dict[str, DomainList]:
    files = {item.name: paths.config_dir / Path(item.source).expanduser() for item in settings.list}
    return {name: parse_plain(read_text(file, limit=LIST_LIMIT * 4), source=str(file)) for name, file in files.items()}


def _needs_address(name: str, settings: Settings) -> bool:
    """Whether the last relay of a chain takes addresses alone."""
    urls = {relay.name: relay.url for relay in settings.relay}
    item = name
    while item in urls:  # `load` has refused chains that come back to themselves
        item = parse_chain(urls[item])[-1]
    return parse(item).needs_address
