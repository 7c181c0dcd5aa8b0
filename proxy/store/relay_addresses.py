"""The last addresses from encrypted DNS of relays that are configured by name, kept across restarts.

With them a relay works on a network that blocks the encrypted DNS servers. They are in a small file with mode 0600. It
names relays, as the configuration does, and no visited host. A damaged file counts as missing.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proxy.config.files import read_own_file
from proxy.config.paths import Paths, write_private
from proxy.config.schema import Log
from proxy.model import IPAddress, NetworkId
from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass

log = logging.getLogger(__name__)

FILE_LIMIT = 256 * 1024
ENTRIES_MAX = 256
ADDRESSES_MAX = 16

KEEP_S = 30 * 86_400.0
"""Seconds after which an address is too old. Most people return to a network sooner."""

_REFRESH_S = 86_400.0
_TEXT_LIMIT = 253


@frozen_dataclass
class _Entry:
    host: str
    network: NetworkId
    addresses: tuple[IPAddress, ...]
    at: float  # seconds since the epoch


def place(paths: Paths, settings: Log, *, ephemeral: bool = False) -> Path | None:
    """Returns the file; None: in memory only, for `--ephemeral` and `[log] hosts = "off"`."""
    return None if ephemeral or settings.hosts == "off" else paths.relay_addresses_file


class RelayAddresses:
    """The last addresses of each relay on each network. See `net.dns.relay_lookup.AddressMemory`. Any thread may call
    the methods; only those that write wait for the disk."""

    def __init__(self, file: Path | None) -> None:
        """`file` None: in memory only."""
        self._file = file
        self._entries: Mapping[tuple[str, NetworkId], _Entry] = {} if file is None else _read(file)
        self._writing = threading.Lock()  # so that an older state never replaces a newer one in the file

    def keep_in(self, file: Path | None) -> None:
        """Moves the addresses to another file; None: into memory, and the file is deleted."""
        if file == self._file:
            return
        with self._writing:
            if self._file is not None and file is None:
                with contextlib.suppress(OSError):  # no permission: the addresses in it only get older
                    self._file.unlink(missing_ok=True)
            self._file = file
            self._write()

    def addresses(self, host: str, network: NetworkId, now: float) -> tuple[IPAddress, ...]:
        """Returns the last addresses of `host` on this network, else on any network; empty: there are none."""
        entries = [entry for entry in self._entries.values() if entry.host == host and 0 <= now - entry.at <= KEEP_S]
        here = [entry for entry in entries if entry.network == network]
        return max(here or entries, key=lambda entry: entry.at).addresses if entries else ()

    def is_news(self, host: str, network: NetworkId, addresses: tuple[IPAddress, ...], now: float) -> bool:
        """Whether these addresses differ from the stored ones, or those are more than a day old."""
        entry = self._entries.get((host, network))
        return entry is None or set(entry.addresses) != set(addresses) or not 0 <= now - entry.at < _REFRESH_S

    def remember(self, host: str, network: NetworkId, addresses: tuple[IPAddress, ...], now: float) -> None:
        """Stores the addresses and writes the file. If that fails, they stay in memory, and a warning is logged."""
        with self._writing:
            entries = {**self._entries, (host, network): _Entry(host, network, addresses[:ADDRESSES_MAX], now)}
            if len(entries) > ENTRIES_MAX:
                del entries[min(entries, key=lambda key: entries[key].at)]
            self._entries = entries  # a new mapping: another thread may be reading the old one
            self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        content = [
            {"host": entry.host, "network": entry.network, "addresses": [*map(str, entry.addresses)], "at": entry.at}
            for entry in self._entries.values()
        ]
        try:
            write_private(self._file, json.dumps(content))
        except BywayError as error:
            log.warning("the addresses of relays are not saved: %s", error)


def _read(file: Path) -> dict[tuple[str, NetworkId], _Entry]:
    try:
        content = json.loads(read_own_file(file, limit=FILE_LIMIT))
        return {(entry.host, entry.network): entry for entry in map(_entry, content[:ENTRIES_MAX])}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        log.debug("%s cannot be read: %s", os.fspath(file), type(error).__name__)
        return {}


def _entry(content: Mapping[str, Any]) -> _Entry:
    """Raises KeyError, TypeError and ValueError for an invalid entry."""
    host, network, at, addresses = (content[key] for key in ("host", "network", "at", "addresses"))
    if not (isinstance(host, str) and isinstance(network, str) and len(host) <= _TEXT_LIMIT >= len(network)):
        raise ValueError("not a text of this file's")
    if not isinstance(at, int | float) or not 0 <= at < 1e11:  # NaN fails the comparison too
        raise ValueError("not a time of this file's")
    if not isinstance(addresses, list) or not addresses:
        raise ValueError("no addresses")
    return _Entry(
        host,
        NetworkId(network),
        tuple(ipaddress.ip_address(str(each)) for each in addresses[:ADDRESSES_MAX]),
        float(at),
    )
