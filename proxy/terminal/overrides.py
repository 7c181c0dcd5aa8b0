"""The overrides of `byway site set`: read and written through the running Byway, else in its log, from which the next
start takes them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from proxy.config.load import load
from proxy.config.paths import Paths, private_folder
from proxy.config.relays import relay_names
from proxy.control.answers.sites import ForgottenSiteAnswer, OverrideAnswer, OverrideJson
from proxy.model import Action, Override
from proxy.model.document import document
from proxy.model.errors import BywayError
from proxy.probe.site_name import scope
from proxy.routing.rule_parser import parse_action
from proxy.store.salvage import read_overrides
from proxy.store.store import Store
from proxy.terminal.client import Client
from proxy.terminal.command import Invocation
from proxy.terminal.exit_codes import NotRunning, as_misuse

Document = dict[str, Any]


def overrides_now(call: Invocation) -> dict[str, Override]:
    """Returns the overrides that hold, by host."""
    try:
        client = call.client()
    except NotRunning:
        now = time.time()
        stored = read_overrides(call.paths.store_file)
        return {host: override for host, override in stored.items() if not override.has_ended(now)}
    return {
        item["scope"]: Override(Action(item["action"]), item["relay"], item["until"] or 0.0)
        for item in client.get("/v1/sites")["overrides"]
    }


def set_overrides(paths: Paths, client: Client | None, overrides: Mapping[str, Override]) -> None:
    """Sets these overrides, also while no Byway runs; the others stay. Raises BywayError when they are not stored."""
    if client is not None:
        for host, override in overrides.items():
            action = f"{override.action}:{override.relay}" if override.relay else str(override.action)
            ends = {"for_s": max(1, round(override.until - time.time()))} if override.until else {}
            client.put(f"/v1/sites/{quote(host, safe='')}", {"action": action, **ends})
    elif overrides:
        with stopped_store(paths) as store:
            for host, override in overrides.items():
                store.set_override(host, override)


@contextlib.contextmanager
def stopped_store(paths: Paths) -> Iterator[Store]:
    """The log while no Byway runs, and none starts. Raises BywayError when one does, and when what was written is not
    stored in the end."""
    from proxy.config.state_lock import alone

    private_folder(paths.state_dir)
    with alone(paths):
        store = Store(paths.store_file, load(paths.config_to_read).settings.log)
        store.start()
        try:
            yield store
            if not store.flush():
                raise BywayError(f"nothing was stored: {store.trouble or 'the disk does not answer'}")
        finally:
            store.close()


def set_stopped(paths: Paths, site: str, action: str, for_s: int | None) -> Document:
    """Sets an override while no Byway runs. Returns what a running one answers. Raises Misused and BywayError."""
    from proxy.terminal.offline import read_configuration

    settings = read_configuration(paths).settings
    with as_misuse():
        host = scope(site)
        parsed, relay = parse_action(action, relays=relay_names(settings))
    override = Override(parsed, relay, 0.0 if for_s is None else time.time() + for_s)
    set_overrides(paths, None, {host: override})
    return document(OverrideAnswer(host, OverrideJson.of(host, override)))


def forget_stopped(paths: Paths, site: str) -> Document:
    """Forgets the stored status and the overrides of a site while no Byway runs. Returns what a running one answers."""
    from proxy.detect.beliefs.beliefs import Beliefs

    with as_misuse():
        host = scope(site)
    with stopped_store(paths) as store:
        below = [name for name in store.load_overrides() if name == host or name.endswith(f".{host}")]
        for name in below:
            store.clear_override(name)
        detect = load(paths.config_to_read).settings.detect
        changes = Beliefs(detect, store.load_beliefs(), results=store.load_results(), store=store).forget(host)
        store.believe(changes)
    forgotten = tuple(sorted({change.scope for change in changes}))
    return document(ForgottenSiteAnswer(host, forgotten, tuple(sorted(below))))
