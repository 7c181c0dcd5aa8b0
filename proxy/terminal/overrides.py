"""Reads and writes the overrides of `byway site set`: through the running Byway, otherwise in its log, from which the
next start loads them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from proxy.config.load import load
from proxy.config.paths import Paths, private_folder
from proxy.model import Action, Override
from proxy.model.errors import BywayError
from proxy.store.salvage import read_overrides
from proxy.store.store import Store
from proxy.terminal.client import Client
from proxy.terminal.command import Invocation
from proxy.terminal.exit_codes import NotRunning


def overrides_now(call: Invocation) -> dict[str, Override]:
    """Returns the present overrides, by host."""
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


def action_text(override: Override) -> str:
    """Returns the action as `byway site set` takes it."""
    return f"{override.action}:{override.relay}" if override.relay else str(override.action)


def set_overrides(paths: Paths, client: Client | None, overrides: Mapping[str, Override]) -> None:
    """Sets these overrides, also while no Byway runs; others stay. Raises BywayError when they are not stored."""
    if client is not None:
        for host, override in overrides.items():
            ends = {"for_s": max(1, round(override.until - time.time()))} if override.until else {}
            client.put(f"/v1/sites/{quote(host, safe='')}", {"action": action_text(override), **ends})
    elif overrides:
        with stopped_store(paths) as store:
            for host, override in overrides.items():
                store.set_override(host, override)


@contextlib.contextmanager
def stopped_store(paths: Paths) -> Iterator[Store]:
    """Opens the log while no Byway runs; none can start meanwhile. Raises BywayError when one runs, and when the
    changes could not be stored."""
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
