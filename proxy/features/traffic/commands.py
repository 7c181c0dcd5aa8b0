"""`byway log`: the attempted routes of each connection, and the one that delivered.

A person gets one line a connection; `--long` and `byway log show` have the attempts. Programs get everything, in one
row or one JSON object a connection.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated

import typer

from proxy.control import attempts
from proxy.control.attempts import failures
from proxy.features.traffic.cells import HEADINGS, cells
from proxy.features.traffic.empty_log import why_empty
from proxy.features.traffic.filter import OUTCOMES, LogSelection, parse_filter
from proxy.languages.amounts import ago, clock, size, span
from proxy.languages.time_words import parse_period
from proxy.model import Destination
from proxy.model.document import from_json, to_json
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.logged import LoggedConnection
from proxy.terminal.command import Invocation, command, default_command
from proxy.terminal.completion import complete_routes, complete_sites
from proxy.terminal.exit_codes import Exit, Misused, as_misuse
from proxy.terminal.options import choice_option, moment, since_option, until_option, whole
from proxy.terminal.output import Output
from proxy.terminal.table import GAP, row_lines
from proxy.terminal.terminal import bold, columns_of, width
from proxy.wire.inert_text import inert

group = typer.Typer()


_FIRST_ROWS = 10
"""Rows shown before the new ones with --follow, as tail -f does."""

_USUAL_PORTS = (80, 443)
_INDENT = 6


@default_command(group, example="byway log -f --site livejournal.com")
def show_log(
    call: Invocation,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show new connections as they end (Ctrl-C).")] = False,
    long: Annotated[bool, typer.Option("--long", help="Show every attempt of each connection.")] = False,
    site: Annotated[
        str | None,
        typer.Option(
            "--site", metavar="SITE", help="Only this host and its subdomains.", autocompletion=complete_sites
        ),
    ] = None,
    route: Annotated[
        str | None,
        typer.Option(
            "--route", metavar="ROUTE", help="Only connections that tried this route.", autocompletion=complete_routes
        ),
    ] = None,
    outcome: Annotated[
        str | None,
        choice_option(
            "--outcome",
            "OUTCOME",
            OUTCOMES,
            "Only direct, relay, rescued (direct failed, another route delivered) or failed.",
        ),
    ] = None,
    network: Annotated[
        str | None, typer.Option("--network", metavar="NETWORK", help="Only on this network, by its name or id.")
    ] = None,
    when: Annotated[
        str | None,
        typer.Option("--when", metavar="PERIOD", help="Only in this time: 'yesterday 18-22', 2h, 2008-10-07."),
    ] = None,
    since: Annotated[str | None, since_option("30m, 2h, 1d, 18:30, yesterday")] = None,
    until: Annotated[str | None, until_option()] = None,
    words: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="WORDS",
            help="All of these in one, as in the dashboard: 'site:example.org result:failed since:2h'.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", metavar="N", parser=whole(1, 10_000), help="Show at most N connections, the newest."
        ),
    ] = None,
) -> Exit | None:
    """Show the log of connections, oldest first."""
    now = time.time()
    with as_misuse():
        selection = LogSelection() if words is None else parse_filter(words, now=now)
        period = (selection.since, selection.until) if when is None else parse_period(when, now=now)
    site, route, outcome = selection.site or site, selection.route or route, selection.outcome or outcome
    network = selection.network or network
    begin = period[0] if since is None else moment(since, now=now)
    end = period[1] if until is None else moment(until, now=now, is_end=True)
    rows_max = limit or (_FIRST_ROWS if follow and begin is None else 200)
    # The stream is opened before the log is read, so that no connection is missed.
    which = {"site": site, "route": route, "outcome": outcome, "network": network}
    coming = call.client().follow("/v1/log/follow", **which) if follow else None
    answer = call.reader().get("/v1/log", since=begin, until=end, limit=rows_max, **which)
    documents = sorted(answer["rows"], key=lambda row: (row["at"], row["id"]))
    if coming is None and call.output.as_json:
        call.output.document({**answer, "rows": documents})
        return None
    rows = [from_json(LoggedConnection, row) for row in documents]
    if coming is None and not rows:
        is_filtered = any(it is not None for it in (*which.values(), begin, end))
        call.output.hint(why_empty(answer["hosts"], is_filtered=is_filtered))
    printer = _Printer(call.output, answer["version"], rows, long=long or call.flags.verbose > 0)
    for row in rows:
        printer.print(row)
    if coming is not None:
        _follow(printer, rows, map(partial(from_json, LoggedConnection), coming))
        call.output.hint("The running Byway has ended.")
    return None


@command(group, "show", example="byway log show 1234")
def show(
    call: Invocation,
    which: Annotated[
        str, typer.Argument(metavar="ID|HOST", help="A number from `byway log`, or a host: its last connection.")
    ],
) -> Exit | None:
    """Show one connection with every attempt."""
    query = {"id": int(which)} if which.isascii() and which.isdigit() else {"site": which}
    answer = call.reader().get("/v1/log", limit=1, **query)
    if not answer["rows"]:
        raise Misused(f"the log has no connection {which}")
    (row,) = answer["rows"]
    if call.output.as_json:
        call.output.document({"version": answer["version"], **row})
    else:
        _show_one(call.output, from_json(LoggedConnection, row))
    return None


def _follow(printer: _Printer, rows: Sequence[LoggedConnection], coming: Iterator[LoggedConnection]) -> None:
    """Prints connections as they end. One that ended while the log was read is in both, but is printed once."""
    printed = {_mark(row) for row in rows}
    for row in coming:
        if _mark(row) not in printed:
            printer.print(row)


def _mark(row: LoggedConnection) -> tuple[float, str, int]:
    """Returns a key of a row that is the same in the log and in the stream; its id differs between them."""
    return (row.at, row.host, row.port)


class _Printer:
    """Prints rows one by one, for people, as TSV or as JSON lines."""

    def __init__(self, out: Output, version: int, rows: Sequence[LoggedConnection], *, long: bool) -> None:
        self._out = out
        self._version = version
        self._long = long
        self._shape = Shape.of(rows, width())
        self._day = ""
        if not out.as_json and not out.fancy:
            out.row(HEADINGS)

    def print(self, row: LoggedConnection) -> None:
        if self._out.as_json:
            self._out.json_line({"version": self._version, **to_json(row)})
        elif self._out.fancy:
            self._print_for_people(row)
        else:
            self._out.row(cells(row))

    def _print_for_people(self, row: LoggedConnection) -> None:
        day, _, _ = clock(row.at).partition("T")
        if day != self._day:
            self._out.now(bold(day))
            self._day = day
        self._out.now(self._shape.line(row))
        for tried in row.attempts if self._long else ():
            for line in row_lines(
                ("", inert(attempts.attempt(tried, row.protocol))), (_INDENT, width() - _INDENT - GAP)
            ):
                self._out.now(line)


@frozen_dataclass
class Shape:
    """Widths of the columns, with which a connection fits on one line of `width` columns, if the names of the site and
    the route are short enough."""

    id: int
    site: int
    route: int
    width: int

    @classmethod
    def of(cls, rows: Sequence[LoggedConnection], width: int) -> Shape:
        room = max(12, width - 56)
        site = max((columns_of(_site(row)) for row in rows), default=0)
        route = max((columns_of(_route(row)) for row in rows), default=0)
        number = max((len(str(row.id)) for row in rows), default=0)
        return cls(max(3, number), min(max(16, site), room), min(max(6, route), 14), width)

    def line(self, row: LoggedConnection) -> str:
        """Returns a line: `1234 09:12:33 ✓ blog.example.org  tor     1.2 s  34 kB  direct: reset`."""
        delivered = row.winner is not None
        took, moved = (span(row.duration_s), size(row.bytes_up + row.bytes_down)) if delivered else ("", "")
        line = (
            f"{row.id:>{self.id}} {clock(row.at)[11:19]:8} {'✓' if delivered else '✗'} "
            f"{_padded(inert(_site(row)), self.site)} {_padded(inert(_route(row)), self.route)} {took:>6} {moved:>6}"
        )
        why = failures(row) or ([_reason(row)] if row.error else [])
        return f"{line}  {_fitted(list(map(inert, why)), self.width - columns_of(line) - 2)}".rstrip()


def _fitted(parts: Sequence[str], room: int) -> str:
    """Joins the `parts` that fit, and counts the others: `direct: reset +2`. Cuts the first part if even that is too
    long."""
    for count in range(len(parts), 0, -1):
        text = ", ".join(parts[:count]) + (f" +{len(parts) - count}" if count < len(parts) else "")
        if columns_of(text) <= room:
            return text
    if not parts or room < len("x…"):
        return ""
    more = f" +{len(parts) - 1}" if len(parts) > 1 and room > 8 else ""
    return f"{parts[0][: max(1, room - 1 - len(more))].rstrip()}…{more}"


def _reason(row: LoggedConnection) -> str:
    """Returns the error of a failed connection. Without an attempt, it is the reason of the plan, such as an addon's
    sentence: the line already has the site."""
    return row.why if row.why and not row.attempts and row.error.endswith(row.why) else row.error


def _padded(text: str, columns: int) -> str:
    return text + " " * (columns - columns_of(text))


def _site(row: LoggedConnection) -> str:
    """Returns the host, with its port unless that is 80 or 443."""
    destination = Destination(row.host, row.port)
    return row.host if row.port in _USUAL_PORTS else str(destination)


def _route(row: LoggedConnection) -> str:
    return row.winner or "none"


def _show_one(out: Output, row: LoggedConnection) -> None:
    route = f"delivered by {row.winner}" if row.winner else f"failed{': ' if row.error else ''}{row.error}"
    moved = f"{size(row.bytes_up)} up, {size(row.bytes_down)} down in {span(row.duration_s)}"
    closed = f"; closed by the {row.closed_by}" if row.closed_by in ("client", "server", "user") else ""
    facts = [
        ("site", str(Destination(row.host, row.port))),
        ("result", f"{'✗' if row.winner is None else '✓'} {route}" if out.fancy else route),
        ("time", f"{clock(row.at)}, {ago(row.at)}" if out.fancy else clock(row.at)),
        ("plan", row.why),
        ("network", row.network),
        ("traffic", f"{moved}{closed}"),
        ("id", str(row.id)),
    ]
    if out.fancy:
        out.facts(facts)
        out.line()
        headings = ("route", "result", "time", "address")
        out.table(headings, [
            (
                tried.route,
                attempts.result(tried.stage, tried.symptom, row.protocol),
                span(tried.elapsed_s),
                tried.address,
            )
            for tried in row.attempts
        ])  # fmt: skip
        for tried in row.attempts:
            if tried.error:
                out.line(f"{tried.route}: {tried.error}")
    else:
        tried_lines = [("attempt", attempts.attempt(tried, row.protocol)) for tried in row.attempts]
        out.table(("what", "value"), [*facts, *tried_lines])
