"""`byway status`: what is wrong first, then what is on, how well the routes do, and which sites are in trouble."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.exit_codes import Exit
from proxy.cli.output import ago, share

_WATCH_S = 2.0
_CLEAR = "\x1b[H\x1b[2J"
_HEADINGS = ("kind", "name", "state", "detail")


def add_to(app: typer.Typer) -> None:
    command(app, "status", example="byway status --watch")(_status)


def _status(
    call: Invocation,
    watch: Annotated[bool, typer.Option("--watch", help="Repeat every 2 seconds, until Ctrl-C.")] = False,
) -> Exit | None:
    """Show problems, routes, relays and blocked sites."""
    client = call.client()
    while True:
        told = client.get("/v1/status")
        if watch and call.output.fancy:
            sys.stdout.write(_CLEAR)
        if call.output.as_json:
            call.output.document(told)
        elif call.output.fancy:
            _show(call, told)
        else:
            call.output.table(_HEADINGS, _lines(told))
        if not watch:
            return None
        sys.stdout.flush()
        time.sleep(_WATCH_S)


def _show(call: Invocation, told: dict[str, Any]) -> None:
    out, now = call.output, told["now"]
    for problem in told["problems"]:
        out.line(f"! {problem['text']}")
        out.line(f"  → {problem['do']}")
    if told["problems"]:
        out.line()
    out.line(_headline(told))
    for title, headings, rows in (
        (f"Routes, last {told['routes_hours']} h", ("route", "delivered", "failed", "success"), [
            (route["route"], route["delivered"], route["failed"], _share(route)) for route in told["routes"]
        ]),
        ("Relays", ("relay", "state", "when", "url"), [
            (relay["name"], relay["words"], ago(relay["found_at"], now=now), relay["url"]) for relay in told["relays"]
        ]),
        ("Problem sites on this network", ("site", "status", "since", "works by"), [
            (site["scope"], f"{site['glyph']} {site['words']}", ago(site["found_at"] or site["since"], now=now),
             site["last_good"])
            for site in told["sites"]
        ]),
    ):  # fmt: skip
        if rows:
            out.line()
            out.line(title)
            out.table(headings, rows)
    if not told["sites"]:
        out.line()
        out.line("No problem sites on this network.")
    for notice in told["notices"]:
        out.hint(notice)


def _headline(told: dict[str, Any]) -> str:
    live = told["live"]
    started = ago(live.get("started_at"), now=told["now"])
    network = told["network"]
    return (
        f"Byway {told['byway']} listens on {told['listen']}"
        f"{f', started {started}' if started else ''}; "
        f"{live.get('tunnels', 0)} open connections; "
        f"{'unknown network: results are not stored' if network == 'unknown' else f'network {network}'}."
    )


def _share(route: dict[str, Any]) -> str:
    return share(route["delivered"], route["delivered"] + route["failed"])


def _lines(told: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """The same for programs."""
    for problem in told["problems"]:
        yield "problem", "", problem["text"], problem["do"]
    yield "byway", told["listen"], "running", f"version {told['byway']}, pid {told['pid']}, network {told['network']}"
    for route in told["routes"]:
        detail = f"{route['delivered']} of {route['delivered'] + route['failed']} delivered"
        yield "route", route["route"], _share(route), detail
    for relay in told["relays"]:
        yield "relay", relay["name"], relay["words"], relay["url"]
    for site in told["sites"]:
        yield "site", site["scope"], site["words"], site["evidence"]
