"""Edits of relays in the configuration: which file it is, what else names a relay, and how a running Byway takes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.cli.command import Invocation
from proxy.cli.exit_codes import Exit, as_misuse
from proxy.model.errors import ConfigError

if TYPE_CHECKING:
    from proxy.cli.client import Client
    from proxy.config.load import Loaded
    from proxy.config.paths import Paths


def edited_configuration(call: Invocation) -> tuple[Paths, Client | None]:
    """Returns the paths of the configuration to edit, and the running Byway that uses it, if any."""
    client = call.running()
    return call.for_config_of(client).paths, client


def reload_running(call: Invocation, client: Client | None, file: Path) -> bool:
    """Reloads the running Byway after an edit. Returns whether one runs. Raises ConfigError when it refuses."""
    if client is None:
        return False
    problems = client.post("/v1/reload", {})["problems"]
    if problems:
        call.output.hint(f"{file} is saved, but the running Byway keeps its previous configuration:")
        raise ConfigError(problems)
    return True


def run_edit(call: Invocation, names: Sequence[str], edit: Callable[[Paths], object], done: str) -> Exit | None:
    """Runs an edit, reloads a running Byway, and shows the result."""
    paths, client = edited_configuration(call)
    with as_misuse():
        edit(paths)
    running = reload_running(call, client, paths.config_file)
    relays = configuration_at(paths).settings.relay
    if call.output.as_json:
        from proxy.control.document import versioned

        shown = [{"name": relay.name, "enabled": relay.enabled} for relay in relays]
        call.output.document(versioned(relays=shown, config=str(paths.config_file), running=running))
        return None
    call.output.line(done or f"Order: {', '.join(relay.name for relay in relays)}")
    hint_saved(call, paths, running=running)
    return None


def hint_saved(call: Invocation, paths: Paths, *, running: bool) -> None:
    call.output.hint(f"Saved in {paths.config_file}" + ("; the running Byway uses it." if running else "."))


def named_in(call: Invocation, paths: Paths, names: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the references to these relays, each with its place. Raises Misused for what is no relay."""
    from proxy.app.rule_files import read_rules
    from proxy.cli.overrides import overrides_now
    from proxy.config.edit import check_relay
    from proxy.routing.relay_references import references

    loaded = configuration_at(paths)
    relays = [relay.name for relay in loaded.settings.relay]
    groups = {group.name: group.relays for group in loaded.settings.group}
    with as_misuse():
        for name in names:
            check_relay(name, relays, groups)
    return list(references(set(names), loaded, read_rules(loaded.settings, paths).rules, overrides_now(call)))


def configuration_at(paths: Paths) -> Loaded:
    from proxy.cli.offline import read_configuration

    return read_configuration(paths)
