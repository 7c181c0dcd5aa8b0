"""`byway log`: which routes were tried for what, how far each came, and which one delivered."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.exits import Exit, Misused
from proxy.cli.help import whole
from proxy.cli.output import clock, size, span
from proxy.cli.why import attempt
from proxy.model import Destination

HEADINGS = ("at", "host", "port", "by", "action", "route", "seconds", "up", "down", "attempts", "error")
SHORT_HEADINGS = ("at", "site", "route", "what was tried")

Row = Mapping[str, Any]

_FIRST_ROWS = 10
"""Shown before what follows, as tail -f does."""

_LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(s|m|min|h|d|w)")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def add_to(app: typer.Typer) -> None:
    command(app, "log", example="byway log -f --site livejournal.com")(_log)


def _log(
    call: Invocation,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as connections end, until Ctrl-C.")] = False,
    site: Annotated[
        str | None, typer.Option("--site", metavar="SITE", help="Only this host and those below it.")
    ] = None,
    route: Annotated[
        str | None, typer.Option("--route", metavar="ROUTE", help="Only what was tried over this route.")
    ] = None,
    outcome: Annotated[
        str | None, typer.Option("--outcome", metavar="OUTCOME", help="Only direct, relay, rescued or failed.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Only since then: 30m, 2h, 1d or a date.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", metavar="N", parser=whole(1, 10_000), help="Show at most N connections, the newest."
        ),
    ] = None,
) -> Exit | None:
    """Show the log of connections, the oldest first."""
    begin = None if since is None else moment(since, now=time.time())
    client = call.client()
    shown = limit or (_FIRST_ROWS if follow and since is None else 200)
    # opened before the log is read, so that nothing falls between the two
    coming = client.follow("/v1/log/follow", site=site, route=route, outcome=outcome) if follow else None
    told = client.get("/v1/log", since=begin, site=site, route=route, outcome=outcome, limit=shown)
    rows = sorted(told["rows"], key=lambda row: (row["at"], row["id"]))
    if coming is not None:
        _print_all(call, told["version"], rows, coming)
    elif call.output.as_json:
        call.output.document({**told, "rows": rows})
    else:
        headings, view = (SHORT_HEADINGS, short_cells) if call.output.fancy else (HEADINGS, cells)
        call.output.table(headings, [view(row) for row in rows], empty="The log holds nothing of the kind.")
    return None


def _print_all(call: Invocation, version: int, rows: Sequence[Row], coming: Iterator[Row]) -> None:
    """What was there, then what comes; what ended in between is in both and printed once."""
    first = True
    for row in rows:
        _print_one(call, {"version": version, **row}, first=first)
        first = False
    printed = {_mark(row) for row in rows}
    for row in coming:
        if _mark(row) not in printed:
            _print_one(call, row, first=first)
            first = False
    call.output.hint("The running byway has ended.")


def _mark(row: Row) -> tuple[float, str, int]:
    """What tells a row from others; a kept one has another id."""
    return (row["at"], row["host"], row["port"])


def _print_one(call: Invocation, row: Row, *, first: bool) -> None:
    if call.output.as_json:
        call.output.json_line(row)
    elif call.output.fancy:
        call.output.row(SHORT_HEADINGS, short_cells(row), first=first)
    else:
        call.output.row(HEADINGS, cells(row), first=first)


def cells(row: Row) -> Sequence[str | int | float | None]:
    """One connection as a line for programs: seconds and bytes."""
    return (
        clock(row["at"]),
        row["host"],
        row["port"],
        row["inbound"],
        row["action"],
        row["winner"] or "none",
        round(row["duration_s"], 3),
        row["bytes_up"],
        row["bytes_down"],
        "; ".join(attempt(tried) for tried in row["attempts"]),
        row["error"],
    )


def short_cells(row: Row) -> Sequence[str]:
    """The same for a person at a terminal."""
    tried = [attempt(tried) for tried in row["attempts"]]
    moved = f"{size(row['bytes_up'])} up, {size(row['bytes_down'])} down in {span(row['duration_s'])}"
    how = "; ".join([*tried, moved] if row["winner"] else tried or [row["error"]])
    return (clock(row["at"]), str(Destination(row["host"], row["port"])), row["winner"] or "none", how)


def moment(text: str, *, now: float) -> float:
    """The time that `30m`, `2h` or `1d` ago was, or that a date or an ISO 8601 time names, local unless it says
    otherwise. Raises Misused."""
    if found := _LENGTH.fullmatch(text.strip().lower()):
        return max(0.0, now - float(found[1]) * _UNITS[found[2]])
    try:
        return max(0.0, datetime.fromisoformat(text.strip()).timestamp())
    except (ValueError, OverflowError, OSError):
        raise Misused(f"{text!r} is neither a length of time, as 30m or 2h are, nor a date, as 2008-10-07 is") from None
