"""The log as a table for programs: the output of `byway log --plain`, and the CSV of the dashboard."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from proxy.control.attempts import attempt
from proxy.languages.amounts import clock
from proxy.store.logged import LoggedConnection
from proxy.wire.inert_text import csv_cell

HEADINGS = ("id", "at", "host", "port", "by", "action", "route", "seconds", "up", "down", "attempts", "error")


def cells(row: LoggedConnection) -> Sequence[str | int | float | None]:
    """Returns the cells of one connection for programs; times in seconds, sizes in bytes."""
    return (
        row.id,
        clock(row.at),
        row.host,
        row.port,
        row.inbound,
        row.action,
        row.winner or "none",
        round(row.duration_s, 3),
        row.bytes_up,
        row.bytes_down,
        "; ".join(attempt(tried, row.protocol) for tried in row.attempts),
        row.error,
    )


def to_csv(rows: Sequence[LoggedConnection], *, has_heading: bool = True) -> str:
    """Returns rows of the log as CSV, with or without a heading."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    if has_heading:
        writer.writerow(HEADINGS)
    for row in rows:
        writer.writerow([csv_cell(cell) for cell in cells(row)])
    return file.getvalue()
