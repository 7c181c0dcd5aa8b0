"""The parts of Byway that can be made from its files, for read-only commands while no Byway runs.

`Stored.get` answers as the running Byway would, by the same functions: they take a `control.site_reader.ReadableParts`,
and `Stored` is one. Nothing is written. Facts of the running Byway alone are missing: measurements of the last minutes,
hosts that are not logged, and the state of the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from proxy.config.paths import Paths
from proxy.config.relays import Relays, relays_of
from proxy.config.schema import Settings
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.relay_groups import RelayGroups
from proxy.detect.relay_health import Health, KnownHealth
from proxy.detect.relay_ways import RelayObstacle
from proxy.model import UNKNOWN_NETWORK, IPAddress, NetworkId, Override
from proxy.model.document import Document, document
from proxy.model.errors import BywayError, ConfigError
from proxy.model.feature import Feature
from proxy.net.uplink.network_id import network_here
from proxy.probe.site_name import scope
from proxy.setup import saved_relay_health
from proxy.setup.saved_relay_health import RelayHealthFile, known_here
from proxy.store import queries, route_queries
from proxy.store.database import Query
from proxy.store.file import open_log, open_store
from proxy.store.list_copies import ListCopies
from proxy.store.relay_selection import read_selection
from proxy.store.relay_tests import RelayTests, place
from proxy.terminal.exit_codes import NotAllowed, NotRunning, as_misuse
from proxy.terminal.offline import read_configuration

T = TypeVar("T")


class Stored:
    """The log, the learned state and the configuration of one user."""

    def __init__(self, paths: Paths, features: Sequence[Feature], *, needs_log: bool = True) -> None:
        """Raises NotRunning when there is no log and it `needs_log`, and NotAllowed when the log belongs to another
        user."""
        self._paths = paths
        self._features = features
        self._file = _log_file(paths, needed=needs_log)
        relays = _relays(paths)
        self.settings = relays.expanded
        self.configured_groups = relays.groups

    def get(self, path: str, **query: str | int | float | None) -> Document:
        """Returns the document that the running Byway would answer. Raises NotRunning for a path that only a running
        Byway can answer, Misused for an invalid value, and BywayError when the log cannot be read."""
        name, _, host = path.removeprefix("/v1/").partition("/")
        pattern = f"{name}/{{host}}" if host else name
        for feature in self._features:
            if pattern in feature.stored:
                answer = feature.load(feature.stored[pattern])
                given = {name: value for name, value in query.items() if value is not None}
                with as_misuse():
                    return document(asyncio.run(answer(self, *([scope(unquote(host))] if host else []), **given)))
        raise NotRunning("this needs a running Byway; start it with `byway run`")

    @cached_property
    def beliefs(self) -> Beliefs:
        (beliefs, _), (results, _) = self._read(queries.beliefs), self._read(queries.results)
        return Beliefs(self.settings.detect, beliefs, results=results)

    @cached_property
    def health(self) -> Health:
        """Returns the health of relays on this network: as the last Byway saved it, and of other relays by the log."""
        health, network = Health(self.settings.detect), self.network()
        file = RelayHealthFile(saved_relay_health.place(self._paths, self.settings.log))
        health.restore(known_here(file.load(), network, self.settings.relay))
        for use in self._read(lambda db: route_queries.relay_uses(db, network)):
            failed = use.failed_at > use.delivered_at
            seen = KnownHealth(use.relay, int(failed), use.failed_at, use.delivered_at)
            health.restore([replace(seen, last_error=use.error) if failed else seen])
        return health

    @cached_property
    def groups(self) -> RelayGroups:
        return RelayGroups(self.health, read_selection(self._paths.relay_selection_file))

    @property
    def copies(self) -> ListCopies:
        return ListCopies(self._paths.lists_dir, ephemeral=True)  # only to read

    @property
    def relay_tests(self) -> RelayTests:
        return RelayTests(place(self._paths, self.settings.log))

    @cached_property
    def overrides(self) -> Mapping[str, Override]:
        overrides, _ = self._read(queries.overrides)
        now = time.time()
        return {host: override for host, override in overrides.items() if not override.has_ended(now)}

    def network(self) -> NetworkId:
        """Returns the network of this computer; when that is unknown, the network of the last logged connection."""
        now = network_here(self._paths.network_key_file)
        if now != UNKNOWN_NETWORK:
            return now
        last = self._read(lambda db: queries.log(db, limit=1))
        return NetworkId(last[0].network) if last else now

    def addresses(self, host: str) -> Iterable[IPAddress]:
        return ()

    def relay_obstacles(self) -> Mapping[str, RelayObstacle]:
        return {}

    async def flush(self) -> None:
        """Does nothing: no connection ends while no Byway runs."""

    async def read(self, query: Query[T]) -> T:
        return self._read(query)

    def _read(self, query: Query[T]) -> T:
        try:
            return _ask(self._file, query)
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # the last: SQLite's message quotes the file
            raise BywayError(f"the log {self._file} cannot be read: {error}") from None


def _log_file(paths: Paths, *, needed: bool) -> Path | None:
    """Returns the file of the log; None: there is none, and it is not `needed`. Raises NotRunning and NotAllowed."""
    file = paths.store_file
    try:
        os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        if not needed:
            return None
        raise NotRunning(f"there is no log in {paths.state_dir}") from None
    except PermissionError:
        raise NotAllowed(f"{paths.state_dir} belongs to another user") from None
    if not os.access(file, os.R_OK):
        raise NotAllowed(f"{file} belongs to another user")
    return file


def _ask(file: Path | None, query: Query[T]) -> T:
    """Runs a query on a log; without one, on an empty log. Raises sqlite3.Error and OSError."""
    if file is None:
        with contextlib.closing(open_store(None).db) as db:
            return query(db)
    try:
        with contextlib.closing(open_log(file)) as db:
            return query(db)
    except sqlite3.OperationalError:
        # To read a log with a write-ahead log SQLite has to create its `-shm` file. In a folder where it cannot, and
        # without a write-ahead log, the file has everything.
        if os.access(file.parent, os.W_OK) or os.path.exists(f"{file}-wal"):
            raise
        with contextlib.closing(open_log(file, immutable=True)) as db:
            return query(db)


def _relays(paths: Paths) -> Relays:
    """Returns the relays of the configuration, with its settings; the defaults when it has an error, since the log can
    be read without it."""
    try:
        return read_configuration(paths).relays
    except ConfigError:
        return relays_of(Settings())
