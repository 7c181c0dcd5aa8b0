"""Answers read-only commands from the files, while no Byway runs.

`Stored.get` answers as the running Byway would: the same paths, the same documents, from the log and the stored
beliefs. Nothing is written. What only a running Byway knows (measurements of the last minutes, hosts that are not
logged) is missing.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from proxy.config.load import load
from proxy.config.paths import Paths
from proxy.config.relays import enabled_relays, expanded, groups_of
from proxy.config.schema import Settings
from proxy.control.answers.connections import ConnectionJson, LogAnswer
from proxy.control.answers.relays import GroupJson, RelayJson, RelaysAnswer, groups_json, relays_json
from proxy.control.answers.sites import ChangeJson, OverrideJson, SiteAnswer, SitesAnswer, overrides_json
from proxy.control.relay_visits import RelayVisits, read_visits
from proxy.control.site_states import KnownSite, SiteStates, control_hosts
from proxy.control.timeline import scopes, spells
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.relay_groups import RelayGroups
from proxy.detect.relay_health import Health, RelayHealth
from proxy.features.sites.measurement_answers import MeasurementsAnswer
from proxy.model import UNKNOWN_NETWORK, NetworkId, Override
from proxy.model.document import Document, document
from proxy.model.errors import BywayError, ConfigError
from proxy.net.uplink.network_id import network_here
from proxy.probe.site_name import scope
from proxy.setup import saved_relay_health
from proxy.setup.saved_relay_health import RelayHealthFile, known_here
from proxy.store import queries, route_queries
from proxy.store.database import Query
from proxy.store.file import open_reader
from proxy.store.relay_selection import read_selection
from proxy.store.relay_tests import RelayTests, place
from proxy.terminal.exit_codes import Misused, NotAllowed, NotRunning, as_misuse

T = TypeVar("T")

Parameters = Mapping[str, str | int | float | None]


class Stored:
    """The log and the learned state in one state folder."""

    def __init__(self, paths: Paths) -> None:
        """Raises NotRunning when there is no log, NotAllowed when it is another user's."""
        self._paths = paths
        self._file = paths.store_file
        try:
            os.stat(self._file)
        except (FileNotFoundError, NotADirectoryError):
            raise NotRunning(f"there is no log in {paths.state_dir}") from None
        except PermissionError:
            raise NotAllowed(f"{paths.state_dir} belongs to another user") from None
        if not os.access(self._file, os.R_OK):
            raise NotAllowed(f"{self._file} belongs to another user")
        self._settings = _settings(paths)

    def get(self, path: str, **query: str | int | float | None) -> Document:
        """Returns what the running Byway would answer. Raises NotRunning for a path that only a running Byway can
        answer, and BywayError when the log cannot be read."""
        match path.removeprefix("/v1/").split("/"):
            case ["log"]:
                return document(LogAnswer(self._log(query), self._settings.log.hosts))
            case ["sites"]:
                return document(self._sites())
            case ["sites", host]:
                return document(self._site(_scope(unquote(host))))
            case ["measurements", host]:
                return document(MeasurementsAnswer(_scope(unquote(host)), ()))
            case ["relays"]:
                visits = read_visits(self._ask, time.time())
                relays = self._relays(visits)
                groups = stored_groups(self._settings, self._paths, relays, visits)
                return document(RelaysAnswer(relays, groups))
        raise NotRunning("this needs a running Byway; start it with `byway run`")

    def _log(self, selected: Parameters) -> tuple[ConnectionJson, ...]:
        site, row_id = selected.get("site"), selected.get("id")
        since, limit = selected.get("since"), selected.get("limit")
        rows = self._ask(
            lambda db: queries.log(
                db,
                since=float(since or 0.0),
                site=None if site is None else _scope(str(site)),
                route=_text(selected.get("route")),
                outcome=_text(selected.get("outcome")),
                row_id=None if row_id is None else int(row_id),
                limit=int(limit or 200),
            )
        )
        return tuple(map(ConnectionJson.of_row, rows))

    def _sites(self) -> SitesAnswer:
        states = self._states()
        return SitesAnswer(
            network=states.network,
            sites=tuple(site.answer() for site in _known(states)),
            overrides=overrides_json(self._overrides()),
        )

    def _site(self, host: str) -> SiteAnswer:
        states = self._states()
        meant = states.meant(host)
        rows = [row for name in scopes(meant) for row in self._ask(partial(queries.changes, scope=name))]
        changes = sorted((ChangeJson(**row) for row in rows), key=lambda change: change.at, reverse=True)
        override = _covering(host, self._overrides())
        return SiteAnswer(
            host=host,
            belief=states.host(meant).answer(),
            ports=tuple(site.answer() for site in states.ports(meant)),
            hosts=tuple(states.of_same_site(meant, _known(states))),
            elsewhere=states.elsewhere(host, meant),
            override=None if override is None else OverrideJson.of(*override),
            timeline=spells(changes, states.beliefs.held(scopes(meant), now=states.now)),
            changes=tuple(changes),
        )

    def _relays(self, visits: Mapping[str, RelayVisits]) -> tuple[RelayJson, ...]:
        used = _health(self._ask(route_queries.relays_used))
        relays, kept = expanded(self._settings).relay, self._kept_health()
        used |= {known.relay: kept.of(known.relay) for known in kept.remembered()}
        tests = RelayTests(place(self._paths, self._settings.log)).of_all(relays)
        return relays_json(relays, tests, lambda name: used.get(name, RelayHealth()), visits=visits)

    def _kept_health(self) -> Health:
        """What the last Byway kept of the relays, as the next one would know it."""
        file = RelayHealthFile(saved_relay_health.place(self._paths, self._settings.log))
        kept = Health(self._settings.detect)
        kept.restore(known_here(file.load(), self._network(), expanded(self._settings).relay))
        return kept

    def _states(self) -> SiteStates:
        """What the next Byway would say of sites, with nothing known yet of the network as a whole."""
        now, settings = time.time(), self._settings
        (beliefs, _), (results, _) = self._ask(queries.beliefs), self._ask(queries.results)
        return SiteStates(
            Beliefs(settings.detect, beliefs, results=results),
            self._network(),
            self._kept_health().delivering([relay.name for relay in enabled_relays(settings.relay)]),
            now,
            controls=control_hosts(settings),
        )

    def _overrides(self) -> dict[str, Override]:
        overrides, _ = self._ask(queries.overrides)
        now = time.time()
        return {host: override for host, override in overrides.items() if not override.has_ended(now)}

    def _network(self) -> NetworkId:
        """The network that this computer is on; when that is unknown, the network of the last logged connection."""
        now = network_here(self._paths.network_key_file)
        if now != UNKNOWN_NETWORK:
            return now
        last = self._ask(lambda db: queries.log(db, limit=1))
        return NetworkId(str(last[0]["network"])) if last else now

    def _ask(self, query: Query[T]) -> T:
        try:
            return _ask(self._file, query)
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # the last: SQLite's message quotes the file
            raise BywayError(f"the log {self._file} cannot be read: {error}") from None
        except ValueError as error:
            raise Misused(str(error)) from None


def stored_groups(
    settings: Settings, paths: Paths, relays: Sequence[RelayJson], visits: Mapping[str, RelayVisits]
) -> tuple[GroupJson, ...]:
    """Returns the groups, as far as the files tell."""
    groups = RelayGroups(Health(settings.detect), read_selection(paths.relay_selection_file))
    made = groups_of(settings)
    leading = partial(groups.leading, now=time.time())
    return groups_json(made, relays, visits, leading, groups.lost_selections(made))


def _known(states: SiteStates) -> list[KnownSite]:
    return list(chain.from_iterable(map(states.rows, states.subjects())))


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


def _health(rows: Sequence[Document]) -> dict[str, RelayHealth]:
    """Returns the health of each relay, by name: the newest logged attempt decides."""
    by_name: dict[str, RelayHealth] = {}
    for row in rows:
        relay = by_name.setdefault(row["route"].partition("|")[0], RelayHealth())
        if row["delivered"]:
            relay.worked_at = max(relay.worked_at, row["at"])
        else:
            relay.failed_at, relay.last_error = row["at"], row["error"]
    for relay in by_name.values():
        relay.failures = int(relay.failed_at > relay.worked_at)
        relay.last_error = relay.last_error if relay.failures else ""
    return by_name


def _settings(paths: Paths) -> Settings:
    """Returns the settings of the configuration; the defaults where it has an error: the log can be read all the
    same."""
    try:
        return load(paths.config_to_read, env=os.environ).settings
    except ConfigError:
        return Settings()


def _covering(host: str, overrides: Mapping[str, Override]) -> tuple[str, Override] | None:
    """The most specific override for a host."""
    while host:
        if host in overrides:
            return host, overrides[host]
        host = host.partition(".")[2]
    return None


def _scope(site: str) -> str:
    """Raises Misused for what names no site."""
    with as_misuse():
        return scope(site)


def _text(value: str | float | None) -> str | None:
    return None if value is None else str(value)
