"""Edits of relays in the configuration, and the references to a relay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from proxy.terminal.command import Invocation
from proxy.terminal.exit_codes import as_misuse
from proxy.terminal.in_use import edited_configuration, hint_saved, take_into_use

if TYPE_CHECKING:
    from proxy.config.load import Loaded
    from proxy.config.paths import Paths


def run_edit(call: Invocation, names: Sequence[str], edit: Callable[[Paths], object], done: str) -> None:
    """Runs an edit, reloads the running Byway, and prints `done`; empty: the order of the relays. Raises Misused."""
    paths, client = edited_configuration(call)
    with as_misuse():
        edit(paths)
    running = take_into_use(call, client, paths.config_file)
    relays = configuration_at(paths).settings.relay
    if call.output.as_json:
        from proxy.model.document import versioned

        rows = [{"name": relay.name, "enabled": relay.enabled} for relay in relays]
        call.output.document(versioned(relays=rows, config=str(paths.config_file), running=running))
        return
    call.output.line(done or f"Order: {', '.join(relay.name for relay in relays)}")
    hint_saved(call, paths, running=running)


def named_in(call: Invocation, paths: Paths, names: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the references to these relays and subscriptions: the name and the place that has it; not the group of a
    subscription for its own relays. Raises Misused for another name."""
    from proxy.config.edit import check_relay
    from proxy.routing.relay_references import references
    from proxy.setup.rule_files import read_rules
    from proxy.terminal.overrides import overrides_now

    loaded = configuration_at(paths)
    relays = [relay.name for relay in loaded.settings.relay]
    groups = {group.name: group.relays for group in loaded.settings.group}
    subscriptions = {item.name for item in loaded.settings.subscription}
    with as_misuse():
        for name in names:
            if name not in subscriptions:
                check_relay(name, relays, groups)
    own = tuple(f"(group {name})" for name in subscriptions)
    found = references(set(names), loaded, read_rules(loaded.settings, paths).rules, overrides_now(call))
    return [(name, place) for name, place in found if not (own and place.endswith(own))]


def configuration_at(paths: Paths) -> Loaded:
    from proxy.terminal.offline import read_configuration

    return read_configuration(paths)
