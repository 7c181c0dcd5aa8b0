"""The page of the log: connections that have ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxy.control.answers.connections import ConnectionJson
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.queries import OUTCOMES

ROWS = 200
"""Connections on the page: the newest that match."""

LENGTHS: Mapping[str, str] = {"1": "1 hour", "24": "1 day", "168": "1 week", "": "all that is kept"}
"""How far back, by the hours that the form sends."""


@frozen_dataclass
class LogFilterForm:
    """Which connections are asked for, as `store.queries.LogFilter` has it."""

    site: str = ""
    route: str = ""
    outcome: str = ""
    hours: str = "24"


@frozen_dataclass
class LogView:
    """What the page shows."""

    sentence: str
    asked: LogFilterForm
    outcomes: Sequence[str]
    lengths: Mapping[str, str]
    rows: Sequence[ConnectionJson]
    empty: str


def log_view(rows: Sequence[ConnectionJson], asked: LogFilterForm, hosts: str) -> LogView:
    """Returns the page. `hosts` is the setting `[log] hosts`."""
    failed = sum(row.winner is None for row in rows)
    many = f"The newest {len(rows)}" if len(rows) == ROWS else str(len(rows))
    kept = {
        "off": "Nothing is logged by name: `[log] hosts` is off.",
        "decisions": "No matching connections. Those that simply worked are counted, not logged by name.",
    }
    return LogView(
        sentence=f"{many} {'connection' if len(rows) == 1 else 'connections'}, {failed} of them failed.",
        asked=asked,
        outcomes=tuple(OUTCOMES),
        lengths=LENGTHS,
        rows=rows,
        empty=kept.get(hosts, "No matching connections."),
    )
