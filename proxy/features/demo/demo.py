"""`byway demo`: shows Byway at work, in a few seconds, on this computer alone.

It starts an origin, a censor that resets one name and a relay on loopback, and a real Byway in a separate process with
a temporary state folder. It visits two sites twice, and prints the results from Byway's own log. Everything printed was
checked; if something did not happen, the demo names it and exits with 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy.config.command_name import typed_here
from proxy.control.attempts import attempt
from proxy.features.demo import byway_process
from proxy.features.demo.byway_process import BywayProcess
from proxy.features.demo.demo_world import LOOPBACK, DemoWorld, page_of
from proxy.model.document import from_json, to_json
from proxy.model.document_version import VERSION
from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.logged import LoggedConnection

OPEN = "open.test"
BLOCKED = "blocked.test"
_LIMIT_S = 30.0
"""The time limit of the demo, which usually takes two or three seconds."""
_POLLS = 20
"""The most polls of the log for the rows: it is written in batches."""

_WIDTH = 80
_INDENT = " " * 16

_ROUTES = [
    (OPEN, [("direct", "")]),
    (BLOCKED, [("direct", "reset"), ("relay", "")]),
    (OPEN, [("direct", "")]),
    (BLOCKED, [("relay", "")]),
]
"""The log at the end: each connection with its attempted routes, and their symptoms."""

_CONFIG = """\
config_version = 1
[auto]
ladder = []
controls = []
[dns]
secure = "never"
[log]
hosts = "all"
[dns.hosts]
"{open}" = "{loopback}"
"{blocked}" = "{loopback}"
[safety]
allow = ["{loopback}:{port}"]
[[relay]]
name = "relay"
url = "socks5h://{loopback}:{relay}"
"""


class DemoFailed(Exception):
    """Something did not happen as the demo says."""


@dataclass(slots=True)
class _Story:
    """Prints the events of the demo, and collects them for the JSON document."""

    quiet: bool = False
    visits: list[dict[str, Any]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)

    def show(self, text: str) -> None:
        if not self.quiet:
            print(text, flush=True)

    def visited(self, host: str, result: str, milliseconds: int | None, *, visit: int, text: str) -> None:
        """Adds one visit. `visit` 0 is without Byway; `result` is the route, or the symptom of a failure."""
        entry = {"visit": visit, "host": host, "result": result, "elapsed_s": None}
        self.visits.append(entry if milliseconds is None else entry | {"elapsed_s": milliseconds / 1000})
        self.show(f"  {host:<13} {text}")


def main(*, as_json: bool = False) -> int:
    """Runs the demo and prints its events on standard output; with `as_json`, one document at the end. Returns the exit
    code: 0, or 1 when something did not happen."""
    story, reason = _Story(quiet=as_json), ""
    try:
        asyncio.run(_play(story))
    except (DemoFailed, BywayError, OSError, EOFError) as error:
        reason = str(error) or f"nothing happened for {_LIMIT_S:g} s"
    if as_json:
        document = {"version": VERSION, "ok": not reason, "error": reason, "visits": story.visits, "log": story.log}
        print(json.dumps(document))
    elif reason:
        print(f"byway demo: this did not happen: {reason}", file=sys.stderr)
    return 1 if reason else 0


async def _play(story: _Story) -> None:
    with tempfile.TemporaryDirectory(prefix="byway-demo-") as made:
        folder = Path(made)
        async with (
            asyncio.timeout(_LIMIT_S),
            DemoWorld(folder, OPEN, BLOCKED) as stage,
            byway_process.start(folder, _config(stage), trust=stage.certificate) as byway,
        ):
            _introduce(story, stage, byway)
            await _visit_without_byway(story, stage)
            await _visit_twice(story, stage, byway)
            await _read_log(story, byway)
    byway_command = typed_here()
    story.show("Next:")
    story.show(f"  {byway_command} run")
    story.show("Then, in a second terminal:")
    story.show(f"  {byway_command} browser")


def _config(stage: DemoWorld) -> str:
    return _CONFIG.format(open=OPEN, blocked=BLOCKED, loopback=LOOPBACK, port=stage.censor_port, relay=stage.relay_port)


def _introduce(story: _Story, stage: DemoWorld, byway: BywayProcess) -> None:
    story.show("Everything here runs on this computer, over loopback, and is deleted afterwards.\n")
    story.show(f"  origin  {LOOPBACK}:{stage.origin_port}  serves https://{OPEN}/ and https://{BLOCKED}/")
    story.show(f"  censor  {LOOPBACK}:{stage.censor_port}  the direct route; resets connections to {BLOCKED}")
    story.show(f"  relay   {LOOPBACK}:{stage.relay_port}  your SOCKS5 relay; the censor cannot see inside")
    story.show(f"  byway   {LOOPBACK}:{byway.port}  the proxy that a browser would use\n")
    story.show("Byway has one relay and no rules, so every site is AUTO: direct first, then the")
    story.show("relay if direct fails.\n")


async def _visit_without_byway(story: _Story, stage: DemoWorld) -> None:
    """Checks as a control that the site is blocked without Byway."""
    opened = await _fetch(stage, OPEN)
    _check(opened.body == page_of(OPEN), f"{OPEN} opens without Byway")
    try:
        await _fetch(stage, BLOCKED)
    except (ConnectionResetError, ssl.SSLError):
        _check(stage.cut == 1, "the censor counts what it cuts")
    else:
        raise DemoFailed(f"{BLOCKED} is blocked without Byway")
    story.show("Without Byway")
    story.visited(OPEN, "opens", opened.milliseconds, visit=0, text="opens")
    story.visited(BLOCKED, "connection reset", None, visit=0, text="connection reset\n")


async def _visit_twice(story: _Story, stage: DemoWorld, byway: BywayProcess) -> None:
    story.show("Through Byway, first visit")
    await _visit(story, stage, byway, visit=1, cuts=1, how="direct was reset, the relay delivered")
    story.show("Through Byway, second visit")
    await _visit(story, stage, byway, visit=2, cuts=0, how="the relay at once: Byway remembers")
    story.show("")


async def _visit(story: _Story, stage: DemoWorld, byway: BywayProcess, *, visit: int, cuts: int, how: str) -> None:
    """Opens both sites; meanwhile the censor must reset `cuts` connections."""
    cut, relayed = stage.cut, len(stage.relayed)
    opened = await _fetch(stage, OPEN, via=byway.port)
    _check(opened.body == page_of(OPEN), f"{OPEN} opens through Byway")
    _check(len(stage.relayed) == relayed, f"the relay is not asked for {OPEN}")
    rescued = await _fetch(stage, BLOCKED, via=byway.port)
    _check(rescued.body == page_of(BLOCKED), f"{BLOCKED} opens through Byway")
    _check(stage.relayed[relayed:] == [BLOCKED], f"the relay is asked for {BLOCKED}, once")
    _check(stage.cut - cut == cuts, f"the censor cuts {cuts} connections; it cut {stage.cut - cut}")
    milliseconds = opened.milliseconds
    story.visited(OPEN, "direct", milliseconds, visit=visit, text=f"opens in {milliseconds} ms, direct")
    milliseconds = rescued.milliseconds
    story.visited(BLOCKED, "relay", milliseconds, visit=visit, text=f"opens in {milliseconds} ms, {how}")


async def _read_log(story: _Story, byway: BywayProcess) -> None:
    """Prints the routes from Byway's log, and checks them."""
    rows = await _rows(byway, 4)
    logged = [(row.host, [(tried.route, tried.symptom) for tried in row.attempts]) for row in rows]
    _check(logged == _ROUTES, f"the log has the routes that were tried; it has {logged}")
    story.log += map(to_json, rows)
    story.show("Byway's log (byway log --long)")
    for row in rows:
        tried = "; ".join(attempt(it, row.protocol) for it in row.attempts)
        story.show(textwrap.fill(f"{row.host:<13} {tried}", _WIDTH, initial_indent="  ", subsequent_indent=_INDENT))
        story.show(textwrap.fill(f"plan: {row.why}", _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT))
    story.show("")


async def _rows(byway: BywayProcess, enough: int) -> list[LoggedConnection]:
    """Returns the log, the oldest row first, once it has `enough` rows, or after _POLLS polls."""
    rows: list[LoggedConnection] = []
    for _ in range(_POLLS):
        rows = [from_json(LoggedConnection, row) for row in (await byway.read("log"))["rows"]]
        if len(rows) >= enough:
            break
    return sorted(rows, key=lambda row: row.at)


def _check(true: bool, what: str) -> None:
    if not true:
        raise DemoFailed(what)


@frozen_dataclass
class _Fetched:
    body: bytes
    milliseconds: int


async def _fetch(stage: DemoWorld, name: str, *, via: int | None = None) -> _Fetched:
    """Fetches https://name/ as a browser would: through the proxy on port `via`; None: directly through the censor.
    Raises DemoFailed and OSError."""
    trust = ssl.create_default_context(cafile=stage.certificate)
    started = time.monotonic()
    if via is None:
        reader, writer = await asyncio.open_connection(LOOPBACK, stage.censor_port, ssl=trust, server_hostname=name)
    else:
        reader, writer = await asyncio.open_connection(LOOPBACK, via)
    try:
        if via is not None:
            target = f"{name}:{stage.censor_port}"
            writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            _check(head.split(" ")[1] == "200", f"Byway opens a tunnel to {target}; it said: {head.splitlines()[0]}")
            await writer.start_tls(trust, server_hostname=name)
        writer.write(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        _, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return _Fetched(body, round((time.monotonic() - started) * 1000))
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
