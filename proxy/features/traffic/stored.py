"""What is said of connections from the log, while no Byway runs."""

from __future__ import annotations

from proxy.features.traffic.answers import LogAnswer
from proxy.probe.site_name import scope
from proxy.store import queries
from proxy.terminal.stored import Stored


def log(stored: Stored, **selected: str | int | float | None) -> LogAnswer:
    """The log of connections."""
    site, row_id = selected.get("site"), selected.get("id")
    since, limit = selected.get("since"), selected.get("limit")
    rows = stored.ask(
        lambda db: queries.log(
            db,
            since=float(since or 0.0),
            site=None if site is None else scope(str(site)),
            route=_text(selected.get("route")),
            outcome=_text(selected.get("outcome")),
            row_id=None if row_id is None else int(row_id),
            limit=int(limit or 200),
        )
    )
    return LogAnswer(tuple(rows), stored.settings.log.hosts)


def _text(value: str | float | None) -> str | None:
    return None if value is None else str(value)
