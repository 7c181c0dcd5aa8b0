"""The overrides of `byway site set`, for commands that read or write all of them: through the running Byway, else in
its log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from urllib.parse import quote

from proxy.cli.client import Client
from proxy.cli.command import Invocation
from proxy.cli.exit_codes import NotRunning
from proxy.config.load import load
from proxy.config.paths import Paths, private_folder
from proxy.model import Action, Override
from proxy.model.errors import BywayError
from proxy.store.salvage import read_overrides
from proxy.store.store import Store


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
        private_folder(paths.state_dir)
        store = Store(paths.store_file, load(paths.config_to_read).settings.log)
        store.start()
        try:
            for host, override in overrides.items():
                store.set_override(host, override)
            if not store.flush():
                raise BywayError(f"the overrides are not stored: {store.trouble or 'the disk does not answer'}")
        finally:
            store.close()
