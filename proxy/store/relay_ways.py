"""The history of the ways to relays, kept across restarts, so that a known block costs no page.

It is in a small file with mode 0600, written as a whole after a way fails or works again. It names relays, their
addresses, and networks by their hashes, and no visited host. A damaged file counts as missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from proxy.config.paths import Paths
from proxy.config.schema import Log
from proxy.model import Destination, NetworkId, Symptom, host_and_port
from proxy.model.relay_way import KnownWay, RelayWay
from proxy.store.saved_values import SavedValues, number, text

WAYS_MAX = 1024
"""A way takes at most 1,000 bytes, so they fit into the file."""

_TEXT_LIMIT = 260  # a name and a port
_TIMES = tuple(field.name for field in fields(KnownWay) if field.name.endswith(("_at", "_until")))


def place(paths: Paths, settings: Log, *, ephemeral: bool = False) -> Path | None:
    """Returns the file; None: in memory only, for `--ephemeral` and `[log] hosts = "off"`."""
    return None if ephemeral or settings.hosts == "off" else paths.relay_ways_file


class RelayWaysFile(SavedValues[KnownWay]):
    """The file of the ways."""

    def __init__(self, file: Path | None) -> None:
        """`file` None: nothing is kept."""
        super().__init__(
            file, encode=_document, decode=_known_way, most=WAYS_MAX, what="what is known of the ways to relays"
        )


def _document(way: KnownWay) -> dict[str, object]:
    return {
        "network": way.network,
        "relay": str(way.relay),
        "endpoint": str(way.way.endpoint),
        "address": way.way.address,
        "strategy": way.way.strategy,
        "symptom": way.symptom,
        "failures": way.failures,
        "bytes_down": way.bytes_down,
        **{name: getattr(way, name) for name in _TIMES},
    }


def _known_way(entry: Mapping[str, Any]) -> KnownWay:
    """Raises KeyError, TypeError and ValueError for an invalid entry."""
    way = RelayWay(
        _destination(entry["endpoint"]), text(entry["address"], _TEXT_LIMIT), text(entry["strategy"], _TEXT_LIMIT)
    )
    times = {name: float(number(entry[name])) for name in _TIMES}
    return KnownWay(
        NetworkId(text(entry["network"], _TEXT_LIMIT)),
        _destination(entry["relay"]),
        way,
        Symptom(entry["symptom"]),
        int(number(entry["failures"])),
        int(number(entry["bytes_down"])),
        **times,
    )


def _destination(value: object) -> Destination:
    host, port = host_and_port(text(value, _TEXT_LIMIT))
    if not host or not 0 < int(port) < 65_536:
        raise ValueError("not an endpoint of this file's")
    return Destination(host, int(port))
