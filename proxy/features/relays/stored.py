"""What is said of relays from the log and the files, while no Byway runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from proxy.config.paths import Paths
from proxy.config.relays import expanded, groups_of
from proxy.config.schema import Settings
from proxy.detect.relay_groups import RelayGroups
from proxy.detect.relay_health import Health, RelayHealth
from proxy.features.relays.answers import GroupJson, RelayJson, RelaysAnswer, groups_json, relays_json
from proxy.features.relays.visits import RelayVisits, read_visits
from proxy.store import route_queries
from proxy.store.relay_selection import read_selection
from proxy.store.relay_tests import RelayTests, place
from proxy.terminal.stored import Stored

Document = Mapping[str, Any]


def relays(stored: Stored) -> RelaysAnswer:
    """The relays and groups."""
    visits = read_visits(stored.ask, time.time())
    used = _health(stored.ask(route_queries.relays_used))
    configured, kept = expanded(stored.settings).relay, stored.kept_health()
    used |= {known.relay: kept.of(known.relay) for known in kept.remembered()}
    tests = RelayTests(place(stored.paths, stored.settings.log)).of_all(configured)
    known = relays_json(configured, tests, lambda name: used.get(name, RelayHealth()), visits=visits)
    return RelaysAnswer(known, stored_groups(stored.settings, stored.paths, known, visits))


def stored_groups(
    settings: Settings, paths: Paths, relays: Sequence[RelayJson], visits: Mapping[str, RelayVisits]
) -> tuple[GroupJson, ...]:
    """Returns the groups, as far as the files tell."""
    groups = RelayGroups(Health(settings.detect), read_selection(paths.relay_selection_file))
    made = groups_of(settings)
    leading = partial(groups.leading, now=time.time())
    return groups_json(made, relays, visits, leading, groups.lost_selections(made))


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
