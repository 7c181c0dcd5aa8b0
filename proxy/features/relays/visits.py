"""The results of each relay in the visits of the last 24 hours, from the log. Nothing is sent to a relay.

The counts come from the hourly sums, which have no names of sites; the handshake and the last fault come from the
connections that are logged by name.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from proxy.detect.relay_faults import NotedFault, relay_fault
from proxy.model import Evidence, Symptom, as_evidence
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store import route_queries
from proxy.store.rows import Document

WINDOW_S = 86_400.0


@frozen_dataclass
class RelayVisits:
    """The visits through one relay. `failed` counts those that failed at the relay itself. `handshake_s` is the median
    time in which it opened a path to a site; 0: not measured. `last_fault` may be over."""

    delivered: int = 0
    failed: int = 0
    handshake_s: float = 0.0
    last_fault: NotedFault | None = None


NO_VISITS = RelayVisits()


@frozen_dataclass
class _Failure:
    """A logged failure at a relay."""

    symptom: Symptom
    evidence: Evidence


def read_visits(db: sqlite3.Connection, now: float) -> dict[str, RelayVisits]:
    """Returns the visits of the last 24 hours by name of the relay."""
    since = now - WINDOW_S
    sums = {each.relay: each for each in route_queries.relay_success(db, since)}
    handshakes = route_queries.relay_handshakes(db, since)
    faults = {row["relay"]: fault for row in route_queries.relay_failures(db) if (fault := _noted(row)) is not None}
    return {
        name: RelayVisits(
            delivered=sums[name].delivered if name in sums else 0,
            failed=sums[name].failed if name in sums else 0,
            handshake_s=_median(handshakes.get(name, ())),
            last_fault=faults.get(name),
        )
        for name in {*sums, *handshakes, *faults}
    }


def together(each: Sequence[RelayVisits]) -> RelayVisits:
    """Returns the visits through all members of a group, without their faults; `handshake_s` is the median of those of
    the members."""
    return RelayVisits(
        sum(one.delivered for one in each),
        sum(one.failed for one in each),
        _median([one.handshake_s for one in each if one.handshake_s]),
    )


def _median(times: Sequence[float]) -> float:
    """Returns the upper median; 0 without times. `statistics` would be imported for this alone."""
    return sorted(times)[len(times) // 2] if times else 0.0


def _noted(row: Document) -> NotedFault | None:
    """Returns the fault that a logged failure shows; None for a failure that is not the relay's own."""
    try:
        failure = _Failure(Symptom(row["symptom"]), as_evidence(row["evidence"]))
    except ValueError:  # a word of another version
        return None
    fault = relay_fault(failure)
    return None if fault is None else NotedFault(fault, row["at"], row["at"], row["error"])
