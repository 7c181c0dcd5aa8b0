"""What is believed of the ways to relays, kept across restarts, so that no page is lost to a block that is known.

A small file of the user's alone, of the same kind as that of the relays' addresses: it names relays, their addresses
and networks by their hashes, and no host that was visited. It is written as a whole after a way failed or works again.
A file that is damaged counts as none.
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
"""A way takes at most 1,000 bytes, so that these fit into the file."""

_TEXT_LIMIT = 260  # a name and a port
_TIMES = tuple(field.name for field in fields(KnownWay) if field.name.endswith(("_at", "_until")))


def place(paths: Paths, settings: Log, *, ephemeral: bool = False) -> Path | None:
    """Returns the file; None: in memory only, as `--ephemeral` and `[log] hosts = "off"` ask for."""
    return None if ephemeral or settings.hosts == "off" else paths.relay_ways_file


class RelayWaysFile(SavedValues[KnownWay]):
    """The file of the ways."""

    def __init__(self, file: Path | None) -> None:
        """`file` None: nothing is kept."""
        super().__init__(
            file, encode=_document, decode=_known, most=WAYS_MAX, what="what is known of the ways to relays"
        )


def _document(known: KnownWay) -> dict[str, object]:
    return {
        "network": known.network,
        "relay": str(known.relay),
        "endpoint": str(known.way.endpoint),
        "address": known.way.address,
        "strategy": known.way.strategy,
        "symptom": known.symptom,
        "failures": known.failures,
        "bytes_down": known.bytes_down,
        **{name: getattr(known, name) for name in _TIMES},
    }


def _known(entry: Mapping[str, Any]) -> KnownWay:
    """Raises KeyError, TypeError and ValueError for what is none."""
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
