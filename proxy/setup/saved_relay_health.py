"""Saves the health of relays after each change, so that after a restart a failing relay is reported before a visit.

Like the file of relay tests it is small and readable by the user alone. It contains relay names with a hash of their
URLs and the network's hash, and no visited host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from proxy.config.paths import Paths
from proxy.config.schema import Log, RelayConfig
from proxy.detect.relay_faults import NotedFault, RelayFault
from proxy.detect.relay_health import Health, KnownHealth
from proxy.model import NetworkId
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.relay_tests import url_hash
from proxy.store.saved_values import SavedChanges, SavedValues, number, text
from proxy.wire.relay_url import redact

RELAYS_MAX = 512

_TEXT_LIMIT = 400
_NUMBERS = ("failed_at", "worked_at", "usual_s", "open_until", "rests_until", "rest_s")


@frozen_dataclass
class SavedHealth:
    """The health of a relay on a network. `urls` is a hash of the relay's URLs: with other URLs it does not apply."""

    network: NetworkId
    urls: str
    health: KnownHealth


def place(paths: Paths, settings: Log, *, ephemeral: bool = False) -> Path | None:
    """Returns the file; None when nothing is stored, because of `--ephemeral` or `[log] hosts = "off"`."""
    return None if ephemeral or settings.hosts == "off" else paths.relay_health_file


def saved(known: Sequence[KnownHealth], network: NetworkId, relays: Sequence[RelayConfig]) -> list[SavedHealth]:
    """Returns the entries to save for the configured relays."""
    urls = {relay.name: relay.url for relay in relays}
    return [SavedHealth(network, hashed, health) for health in known if (hashed := _hash(health.relay, urls))]


def known_here(entries: Sequence[SavedHealth], network: NetworkId, relays: Sequence[RelayConfig]) -> list[KnownHealth]:
    """Returns the saved health of the configured relays on this network. Entries of other networks do not apply."""
    urls = {relay.name: relay.url for relay in relays}
    return [
        entry.health for entry in entries if entry.network == network and entry.urls == _hash(entry.health.relay, urls)
    ]


def _hash(relay: str, urls: Mapping[str, str]) -> str:
    """Returns a hash of the URLs of a relay or a chain; empty when one of its relays is not configured."""
    names = relay.split(">")
    return url_hash(" ".join(urls[name] for name in names)) if urls.keys() >= set(names) else ""


class RelayHealthFile(SavedValues[SavedHealth]):
    """The file of the health of relays."""

    def __init__(self, file: Path | None) -> None:
        """Without a `file` nothing is kept."""
        super().__init__(file, encode=_document, decode=_saved, most=RELAYS_MAX, what="the health of relays")


def _document(entry: SavedHealth) -> dict[str, object]:
    health = entry.health
    faults = {
        name: fault and _fault(fault) for name, fault in (("fault", health.fault), ("last_fault", health.last_fault))
    }
    return {
        "network": entry.network,
        "urls": entry.urls,
        **asdict(health),
        **faults,
        "last_error": redact(health.last_error)[:_TEXT_LIMIT],
    }


def _fault(fault: NotedFault) -> dict[str, object]:
    return {**asdict(fault), "error": redact(fault.error)[:_TEXT_LIMIT]}


def _saved(entry: Mapping[str, Any]) -> SavedHealth:
    """Parses an entry of the file. Raises KeyError, TypeError and ValueError for an invalid one."""
    health = KnownHealth(
        text(entry["relay"], _TEXT_LIMIT),
        failures=int(number(entry["failures"])),
        last_error=text(entry["last_error"], _TEXT_LIMIT),
        fault=_noted(entry["fault"]),
        last_fault=_noted(entry["last_fault"]),
        **{name: float(number(entry[name])) for name in _NUMBERS},
    )
    return SavedHealth(NetworkId(text(entry["network"], _TEXT_LIMIT)), text(entry["urls"], _TEXT_LIMIT), health)


def _noted(value: Any) -> NotedFault | None:
    if value is None:
        return None
    since, seen_at = float(number(value["since"])), float(number(value["seen_at"]))
    return NotedFault(RelayFault(value["fault"]), since, seen_at, text(value["error"], _TEXT_LIMIT))


class SavedRelayHealth(SavedChanges[SavedHealth]):
    """Saves `health` in `file` after each change."""

    def __init__(
        self,
        health: Health,
        file: RelayHealthFile,
        *,
        network: Callable[[], NetworkId],
        relays: Callable[[], Sequence[RelayConfig]],
    ) -> None:
        """`network` returns the current network, `relays` the configured relays."""
        super().__init__(
            file,
            version=lambda: health.revision,
            values=lambda: saved(health.remembered(), network(), relays()),
        )
        self._health = health
        self._network = network
        self._relays = relays

    def restore(self) -> None:
        """Restores the health on this network from the file. Waits for the disk."""
        self._health.restore(known_here(self.file.load(), self._network(), self._relays()))
        self.is_saved()
