"""Visits that no route delivered, in groups: those close together that failed alike are one line. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from proxy.control.attempts import result
from proxy.model import Stage, Symptom
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, semicolons
from proxy.store.logged import LoggedConnection
from proxy.store.queries import GAVE_UP_S

GAP_S = 1800.0
"""Seconds between two visits of one group at most."""

GROUPS_MAX = 20

_NOT_FAILED = frozenset({Symptom.NONE, Symptom.ABANDONED, Symptom.SKIPPED})


@frozen_dataclass
class FailedVisits:
    """Visits to a site that failed alike, from `start` to `end`, in seconds since the epoch: the number of visits, and
    what each route came to in the last of them. `rows` are the visits, the newest first."""

    start: float
    end: float
    count: int
    why: str
    rows: Sequence[LoggedConnection]

    @property
    def is_one_day(self) -> bool:
        """Whether all were on one local day."""
        return time.localtime(self.start)[:3] == time.localtime(self.end)[:3]


def failed_visits(rows: Iterable[LoggedConnection]) -> Sequence[FailedVisits]:
    """Returns the groups of failed visits, the newest first, at most GROUPS_MAX. A visit that a rule refused, or that
    the client left before GAVE_UP_S, is none."""
    groups: list[list[LoggedConnection]] = []
    for row in sorted(filter(has_failed, rows), key=lambda row: -row.at):
        last = groups[-1] if groups else None
        if last is not None and last[-1].at - row.at <= GAP_S and _ways(last[-1]) == _ways(row):
            last.append(row)
        elif len(groups) < GROUPS_MAX:
            groups.append([row])
        else:
            break
    return [FailedVisits(rows[-1].at, rows[0].at, len(rows), why_failed(rows[0]), rows) for rows in groups]


def has_failed(row: LoggedConnection) -> bool:
    """Whether no route delivered a visit."""
    is_left = row.closed_by in ("client", "user") and row.duration_s < GAVE_UP_S
    return row.winner is None and row.action != "BLOCK" and not is_left


def why_failed(row: LoggedConnection) -> str:
    """Returns what each route came to, in a sentence: `direct: connection reset after the TLS ClientHello; tor: no
    answer`."""
    ended = dict.fromkeys(
        (each.route, result(each.stage, each.symptom, row.protocol))
        for each in row.attempts
        if each.stage != Stage.DONE and each.symptom not in _NOT_FAILED
    )
    parts = [_("{route}: {what}", route=route, what=what) for route, what in ended]
    return semicolons(parts) if parts else row.error or _("no route was tried")


def _ways(row: LoggedConnection) -> frozenset[tuple[str, str]]:
    return frozenset((each.route, each.symptom) for each in row.attempts if each.symptom not in _NOT_FAILED)
