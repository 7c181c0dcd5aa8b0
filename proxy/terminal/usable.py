"""Warnings about actions that need a relay: without a usable one, their sites do not open."""

from __future__ import annotations

from proxy.config.paths import Paths
from proxy.model.document import Document
from proxy.terminal.client import Client
from proxy.terminal.offline import read_configuration


def relays_now(paths: Paths, client: Client | None) -> Document:
    """Returns the relays and groups of the running Byway; otherwise the configured ones, without faults."""
    if client is not None:
        return client.get("/v1/relays")
    relays = read_configuration(paths).relays
    in_use = {each.name for each in relays.in_use}
    return {
        "relays": [
            {"name": each.name, "enabled": each.name in in_use, "state": "untried", "fault": None}
            for each in relays.expanded.relay
        ],
        "groups": [{"name": group.name, "relays": group.members} for group in relays.groups],
    }


def relay_warning(relays: Document, *, relay: str = "", then: str) -> str:
    """Returns the sentence for an action that uses `relay`, a relay or a group ("": any relay), when none of these is
    usable; "" when one is. `relays` comes from `relays_now`. `then` is the consequence, such as `nothing opens`."""
    groups = {group["name"]: group["relays"] for group in relays["groups"]}
    members = groups.get(relay, [relay]) if relay else [each["name"] for each in relays["relays"]]
    candidates = [each for each in relays["relays"] if each["name"] in members]
    enabled = [each for each in candidates if each["enabled"]]
    if not candidates:
        return f"No relay is configured, so {then}. Add one with `byway relay add URL`."
    if not enabled:
        names = " ".join(each["name"] for each in candidates)
        subject = f"Relay {names} is disabled" if len(candidates) == 1 else "All of these relays are disabled"
        return f"{subject}, so {then}. Use it again with `byway relay enable {names}`."
    faults = [each["fault"] for each in enabled if each["state"] == "failing"]
    if len(faults) < len(enabled):
        return ""
    subject = f"Relay {enabled[0]['name']} fails" if len(enabled) == 1 else "All of these relays fail"
    fault = faults[0]
    reason = f" ({fault['text']})" if fault is not None else ""
    return f"{subject}{reason}, so {then}. To do: {fault['do'] if fault is not None else '`byway relay test`'}"
