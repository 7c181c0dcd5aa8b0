"""Answers read-only commands from the files, while no Byway runs.

`Stored.get` answers as the running Byway would: the same paths, the same documents, from the log and the stored
beliefs. Each feature answers for its own paths. Nothing is written. What only a running Byway knows (measurements of
the last minutes, hosts that are not logged) is missing.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from proxy.config.load import load
from proxy.config.paths import Paths
from proxy.config.relays import expanded
from proxy.config.schema import Settings
from proxy.detect.relay_health import Health
from proxy.model import UNKNOWN_NETWORK, NetworkId, Override
from proxy.model.document import Document, document
from proxy.model.errors import BywayError, ConfigError
from proxy.model.feature import Feature
from proxy.net.uplink.network_id import network_here
from proxy.probe.site_name import scope
from proxy.setup import saved_relay_health
from proxy.setup.saved_relay_health import RelayHealthFile, known_here
from proxy.store import queries
from proxy.store.database import Query
from proxy.store.file import open_reader
from proxy.terminal.exit_codes import Misused, NotAllowed, NotRunning, as_misuse

T = TypeVar("T")


class Stored:
    """The log and the learned state in one state folder."""

    def __init__(self, paths: Paths, features: Sequence[Feature]) -> None:
        """Raises NotRunning when there is no log, NotAllowed when it is another user's."""
        self.paths = paths
        self._features = features
        self._file = paths.store_file
        try:
            os.stat(self._file)
        except (FileNotFoundError, NotADirectoryError):
            raise NotRunning(f"there is no log in {paths.state_dir}") from None
        except PermissionError:
            raise NotAllowed(f"{paths.state_dir} belongs to another user") from None
        if not os.access(self._file, os.R_OK):
            raise NotAllowed(f"{self._file} belongs to another user")
        self.settings = _settings(paths)

    def get(self, path: str, **query: str | int | float | None) -> Document:
        """Returns what the running Byway would answer. Raises NotRunning for a path that only a running Byway can
        answer, and BywayError when the log cannot be read."""
        name, _, host = path.removeprefix("/v1/").partition("/")
        known = f"{name}/{{host}}" if host else name
        for feature in self._features:
            if known in feature.stored:
                hosts = [_scope(unquote(host))] if host else []
                return document(feature.load(feature.stored[known])(self, *hosts, **query))
        raise NotRunning("this needs a running Byway; start it with `byway run`")

    def kept_health(self) -> Health:
        """What the last Byway kept of the relays, as the next one would know it."""
        file = RelayHealthFile(saved_relay_health.place(self.paths, self.settings.log))
        kept = Health(self.settings.detect)
        kept.restore(known_here(file.load(), self.network(), expanded(self.settings).relay))
        return kept

    def overrides(self) -> dict[str, Override]:
        overrides, _ = self.ask(queries.overrides)
        now = time.time()
        return {host: override for host, override in overrides.items() if not override.has_ended(now)}

    def network(self) -> NetworkId:
        """The network that this computer is on; when that is unknown, the network of the last logged connection."""
        now = network_here(self.paths.network_key_file)
        if now != UNKNOWN_NETWORK:
            return now
        last = self.ask(lambda db: queries.log(db, limit=1))
        return NetworkId(last[0].network) if last else now

    def ask(self, query: Query[T]) -> T:
        try:
            return _ask(self._file, query)
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # the last: SQLite's message quotes the file
            raise BywayError(f"the log {self._file} cannot be read: {error}") from None
        except ValueError as error:
            raise Misused(str(error)) from None


def _ask(file: Path, query: Query[T]) -> T:
    """Runs a query on a log. Raises sqlite3.Error and OSError."""
    try:
        with contextlib.closing(open_reader(file)) as db:
            return query(db)
    except sqlite3.OperationalError:
        # To read a log with a write-ahead log SQLite has to create its `-shm` file. In a folder where it cannot, and
        # without a write-ahead log, the file has everything.
        if os.access(file.parent, os.W_OK) or os.path.exists(f"{file}-wal"):
            raise
        with contextlib.closing(open_reader(file, immutable=True)) as db:
            return query(db)


def _settings(paths: Paths) -> Settings:
    """Returns the settings of the configuration; the defaults where it has an error: the log can be read all the
    same."""
    try:
        return load(paths.config_to_read, env=os.environ).settings
    except ConfigError:
        return Settings()


def _scope(site: str) -> str:
    """Raises Misused for what names no site."""
    with as_misuse():
        return scope(site)
