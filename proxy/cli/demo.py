"""`byway demo`: the whole idea in a few seconds, on this computer alone.

It sets a stage on loopback (an origin, a censor that resets one name, a relay), starts a real Byway in a process of its
own with a temporary state folder, visits two sites twice, and tells what happened from Byway's own log. Whatever it
prints it has checked; when something did not happen as told, it says what and exits with 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.cli import instance
from proxy.cli.instance import Instance
from proxy.cli.stage import LOOPBACK, Stage, page_of
from proxy.errors import BywayError

OPEN = "open.test"
BLOCKED = "blocked.test"
_LIMIT_S = 30.0
"""The demo takes two or three seconds; on a machine that is stuck it gives up here."""
_LOOKS = 20
"""The log is written in batches: it may take a second look until a row is there."""

_WIDTH = 100
_INDENT = " " * 16

_ROUTES = [
    (OPEN, [("direct", "")]),
    (BLOCKED, [("direct", "reset"), ("relay", "")]),
    (OPEN, [("direct", "")]),
    (BLOCKED, [("relay", "")]),
]
"""What the log must say at the end: each connection with the routes that were tried, and what stopped them."""

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


class Untrue(Exception):
    """Something did not happen as the story has it."""


def main() -> int:
    """Tells the story on standard output. Returns the exit code: 0, or 1 when it did not come true."""
    try:
        asyncio.run(_play())
    except (Untrue, BywayError, OSError, EOFError) as error:
        reason = str(error) or f"nothing happened for {_LIMIT_S:g} s"
        print(f"byway demo: this did not come true: {reason}", file=sys.stderr)
        return 1
    return 0


async def _play() -> None:
    with tempfile.TemporaryDirectory(prefix="byway-demo-") as made:
        folder = Path(made)
        async with (
            asyncio.timeout(_LIMIT_S),
            Stage(folder, OPEN, BLOCKED) as stage,
            instance.start(folder, _config(stage), trust=stage.certificate) as byway,
        ):
            _introduce(stage, byway)
            await _without(stage)
            await _visit_twice(stage, byway)
            await _read_log(byway)
    _tell(f"Now type `{_name()} run` and set your browser's HTTP proxy to 127.0.0.1:8119.")


def _config(stage: Stage) -> str:
    return _CONFIG.format(open=OPEN, blocked=BLOCKED, loopback=LOOPBACK, port=stage.censor_port, relay=stage.relay_port)


def _introduce(stage: Stage, byway: Instance) -> None:
    _tell("Everything below happens on this computer, over loopback, and is gone afterwards.\n")
    _tell(f"  origin  {LOOPBACK}:{stage.origin_port}  serves https://{OPEN}/ and https://{BLOCKED}/")
    _tell(f"  censor  {LOOPBACK}:{stage.censor_port}  is the direct way there; it resets what names {BLOCKED}")
    _tell(f"  relay   {LOOPBACK}:{stage.relay_port}  a SOCKS5 relay of yours, which the censor does not see")
    _tell(f"  byway   {LOOPBACK}:{byway.port}  what the browser would be set to\n")
    _tell(
        "Byway started with: one relay and no rules, so every site is AUTO: direct first, around when it is blocked.\n"
    )


async def _without(stage: Stage) -> None:
    """The control: without Byway the block is real."""
    opened = await _fetch(stage, OPEN)
    _check(opened.body == page_of(OPEN), f"{OPEN} opens without Byway")
    try:
        await _fetch(stage, BLOCKED)
    except (ConnectionResetError, ssl.SSLError):
        _check(stage.cut == 1, "the censor counts what it cuts")
    else:
        raise Untrue(f"{BLOCKED} is blocked without Byway")
    _tell("Without Byway")
    _tell(f"  {OPEN:<13} opens")
    _tell(f"  {BLOCKED:<13} connection reset\n")


async def _visit_twice(stage: Stage, byway: Instance) -> None:
    _tell("Through Byway, first visit")
    await _visit(stage, byway, cuts=1, how="direct was reset, the relay brought it")
    _tell("Through Byway, second visit")
    await _visit(stage, byway, cuts=0, how="straight through the relay: it remembers")
    _tell("")


async def _visit(stage: Stage, byway: Instance, *, cuts: int, how: str) -> None:
    """Opens both sites; on the way the censor shall cut `cuts` connections."""
    cut, relayed = stage.cut, len(stage.relayed)
    opened = await _fetch(stage, OPEN, via=byway.port)
    _check(opened.body == page_of(OPEN), f"{OPEN} opens through Byway")
    _check(len(stage.relayed) == relayed, f"the relay is not asked for {OPEN}")
    rescued = await _fetch(stage, BLOCKED, via=byway.port)
    _check(rescued.body == page_of(BLOCKED), f"{BLOCKED} opens through Byway")
    _check(stage.relayed[relayed:] == [BLOCKED], f"the relay is asked for {BLOCKED}, once")
    _check(stage.cut - cut == cuts, f"the censor cuts {cuts} connections; it cut {stage.cut - cut}")
    _tell(f"  {OPEN:<13} opens in {opened.milliseconds} ms, direct")
    _tell(f"  {BLOCKED:<13} opens in {rescued.milliseconds} ms, {how}")


async def _read_log(byway: Instance) -> None:
    """Tells the routes from the log that Byway kept, and checks them."""
    rows = await _rows(byway, 4)
    told = [(row["host"], [(tried["route"], tried["symptom"]) for tried in row["attempts"]]) for row in rows]
    _check(told == _ROUTES, f"the log says which routes were tried; it says {told}")
    _tell("What Byway wrote in its log (byway log)")
    for row in rows:
        tried = ", then ".join(_attempt(attempt) for attempt in row["attempts"])
        _tell(f"  {row['host']:<13} {tried}")
        _tell(textwrap.fill(row["why"], _WIDTH, initial_indent=_INDENT + "because: ", subsequent_indent=_INDENT))
    _tell("")


async def _rows(byway: Instance, enough: int) -> list[dict[str, Any]]:
    """The log, the oldest row first, once it has as many as are asked for."""
    found: list[dict[str, Any]] = []
    for _ in range(_LOOKS):
        found = sorted((await byway.read("log"))["rows"], key=lambda row: float(row["at"]))
        if len(found) >= enough:
            break
    return found


def _attempt(tried: Mapping[str, Any]) -> str:
    ended = f"{tried['symptom']} at {tried['stage']}" if tried["symptom"] else "delivered"
    return f"{tried['route']}: {ended} ({tried['elapsed_s'] * 1000:.0f} ms)"


def _name() -> str:
    """How the user calls us: what is told to be typed must work as it stands."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{Path(sys.executable).name} -m proxy"
    found = shutil.which(called.name)
    return called.name if found and Path(found).samefile(called) else str(called)


def _tell(line: str) -> None:
    print(line, flush=True)


def _check(true: bool, what: str) -> None:
    if not true:
        raise Untrue(what)


@dataclass(frozen=True, slots=True)
class _Fetched:
    body: bytes
    milliseconds: int


async def _fetch(stage: Stage, name: str, *, via: int | None = None) -> _Fetched:
    """Fetches https://name/ as a browser would: through the proxy on port `via`, or else on the way that the censor
    watches."""
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
