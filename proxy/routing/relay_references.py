"""Finds references to a relay: in rules, groups, chains of other relays, overrides and addon options. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from proxy.config.load import Loaded
from proxy.config.relays import names_in
from proxy.model import Override
from proxy.routing.rule import Rule


def references(
    names: Collection[str], loaded: Loaded, rules: Iterable[Rule], overrides: Mapping[str, Override]
) -> Iterator[tuple[str, str]]:
    """Yields the relay and the place, in words, of each reference to one of `names`. Chains of these relays themselves
    do not count."""
    for rule in rules:
        if rule.relay in names:
            yield rule.relay, f"{rule.source}:{rule.line} ({rule.text})"
    for number, relay in enumerate(loaded.settings.relay):
        for part in names_in(relay.url):
            if part in names and relay.name not in names:
                yield part, f"{loaded.place('relay', number, 'url')} (chain of relay {relay.name})"
    for number, group in enumerate(loaded.settings.group):
        for part in group.relays:
            if part in names:
                yield part, f"{loaded.place('group', number, 'relays')} (group {group.name})"
    for host, override in sorted(overrides.items()):
        if override.relay in names:
            yield override.relay, f"override (site set {host} {override.action}:{override.relay})"
    for addon, table in loaded.settings.addons.items():
        for key, value in table.options.items():
            for part in _relays_in(value):
                if part in names:
                    yield part, f"{loaded.place('addons', addon, key)} (option {key} of addon {addon})"


def _relays_in(value: object) -> Iterator[str]:
    """Yields the relay names in an addon's option: `relay = "tor"`, `"vps>tor"` or a list of them."""
    if isinstance(value, str):
        yield from (part.strip() for part in value.split(">"))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _relays_in(part)
