"""What the dashboard costs while it is open in four tabs: time to a page, bytes, and what connections lose.

    python -m tests.bench.dashboard [--seconds 10] [--rounds 5] [--sites 10000]

Byway knows `--sites` sites. A tab does what the dashboard's module does: it listens for events, and asks for its page
again at each, as often as its length allows. First connections come at 2,000 a minute beside 200 that stay open: `feed`
is the bytes of all tabs a second, `stall` the longest that one callback keeps the loop, by the clock and by its own CPU
time. Then connections come as fast as they go, in turn with four tabs and with none: what a tunnel costs Byway's
process, and how many are made.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from proxy.config.schema import Log
from proxy.model import Belief, Change, NetworkId, State
from proxy.net.tasks import spawn
from proxy.store.store import Store
from tests.bench.machine import cpu_s
from tests.support.byway import Byway

PAGES = ("", "sites", "live", "log")
_NAMES = 500
_ADDRESSES = [f"127.0.0.{number}" for number in range(1, 41)]
"""Of clients and of origins. Between two addresses there are ports for 28,000 connections a minute, and each next one
takes the kernel longer to find."""

_PER_S = 2_000 / 60
_OPEN = 200
"""Tunnels that stay open: more than the page Live shows."""

_PACE = 50_000
"""Bytes a second that the module asks for, at most."""

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + bytes(1024)
_WATCH = """
import functools, json, os, signal, sys, time
if "run" in sys.orig_argv:
    from proxy.net.loop.polling_loop import PollingLoop
    _longest = {}
    signal.signal(signal.SIGUSR2, lambda *_: _longest.update(clock=0.0, own=0.0, of=""))
    def _timed(callback, *args):
        clock, own = time.perf_counter(), time.thread_time()
        callback(*args)
        clock, own = time.perf_counter() - clock, time.thread_time() - own
        if not _longest:
            return
        if clock > _longest["clock"] or own > _longest["own"]:
            if own > _longest["own"]:
                _longest["of"] = repr(getattr(callback, "__self__", callback))[:300]
            _longest["clock"], _longest["own"] = max(clock, _longest["clock"]), max(own, _longest["own"])
            with open(os.environ["STALLS"], "w") as file:
                file.write(json.dumps(_longest))
    def _watching(call):
        @functools.wraps(call)
        def called(self, *args, context=None):
            place = 0 if call.__name__ == "call_soon" else 1
            return call(self, *args[:place], functools.partial(_timed, args[place]), *args[place + 1:], context=context)
        return called
    PollingLoop.call_soon = _watching(PollingLoop.call_soon)
    PollingLoop.call_at = _watching(PollingLoop.call_at)
"""


@dataclass
class Tabs:
    """What the tabs have seen."""

    took: dict[str, list[float]] = field(default_factory=lambda: {page: [] for page in PAGES})
    bytes: int = 0


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # one that stayed open asks for nothing
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_ANSWER)
    writer.close()


async def _visit(proxy: tuple[str, int], number: int, port: int) -> None:
    host, source = f"site{number % _NAMES}.test", _ADDRESSES[number % len(_ADDRESSES)]
    reader, writer = await asyncio.open_connection(*proxy, local_addr=(source, 0))
    writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert len(await reader.read(-1)) == len(_ANSWER)
    writer.close()


async def _open(proxy: tuple[str, int], host: str, port: int) -> asyncio.StreamWriter:
    reader, writer = await asyncio.open_connection(*proxy)
    writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    return writer


async def _visits(proxy: tuple[str, int], port: int, seconds: float) -> None:
    """2,000 a minute, each when it is due."""
    loop = asyncio.get_running_loop()
    began, number = loop.time(), 0
    while (due := began + number / _PER_S) < began + seconds:
        await asyncio.sleep(due - loop.time())
        await _visit(proxy, number, port)
        number += 1


async def _visits_at_once(proxy: tuple[str, int], port: int, until: float) -> int:
    number = 0
    while asyncio.get_running_loop().time() < until:
        await _visit(proxy, number, port)
        number += 1
    return number


@asynccontextmanager
async def _tabs(byway: Byway, count: int) -> AsyncIterator[Tabs]:
    """So many tabs, signed in and up to date."""
    seen = Tabs()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        base = ""
        if count:
            printed = (await byway.command("open", "--print")).stdout
            code = re.search(r"type: (\S+)", printed)
            assert code is not None, printed
            async with session.post(
                f"{byway.url}/sign-in", data={"code": code[1]}, headers={"Origin": "null"}
            ) as answer:
                found = re.search(r'url=(/s/[0-9a-f]{32}/)"', await answer.text())
                assert found is not None
                base = byway.url + found[1]
        for page in PAGES[:count]:  # the first of everything
            async with session.get(base + page) as answer:
                assert answer.status == 200
        tasks = [spawn(_tab(session, base, page, seen), name=f"tab {page}") for page in PAGES[:count]]
        try:
            yield seen
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _tab(session: aiohttp.ClientSession, base: str, page: str, seen: Tabs) -> None:
    changes = "events?follows=connections" if page == "live" else "events"
    paused_until = 0.0
    async with session.get(base + changes, timeout=aiohttp.ClientTimeout(total=None)) as events:
        async for line in events.content:
            seen.bytes += len(line)
            if line.startswith(b"event: changed") and time.perf_counter() >= paused_until:
                began = time.perf_counter()
                async with session.get(base + page) as answer:
                    size = len(await answer.read())
                    assert answer.status == 200
                paused_until = time.perf_counter() + size / _PACE
                seen.bytes += size
                seen.took[page].append(time.perf_counter() - began)


def _learned(state: Path, count: int) -> None:
    """So many sites in the store, as a Byway leaves them."""
    store, now, network = Store(state / "byway.sqlite", Log()), time.time(), NetworkId("home-0123456789abcdef")
    store.start()
    for number in range(count):
        is_blocked = number % 3 == 0
        held = Belief(
            f"www.site{number:x}.example", network, State.BLOCKED if is_blocked else State.WORKS,
            "sni_reset" if is_blocked else "", score=4.0 if is_blocked else 0.0, since=now - number,
            until=now + 9e5, last_good="direct", last_good_at=now - 600, scored_at=now, why="direct: reset",
        )  # fmt: skip
        store.believe([Change(held.since, held.scope, network, State.UNKNOWN, held.state, held.cause, held.why, held)])
        if number % 500 == 0:
            store.flush()
    assert store.flush()
    store.close()


@asynccontextmanager
async def _running(folder: Path, sites: int, *, watched: bool = False) -> AsyncIterator[tuple[Byway, int]]:
    names = "\n".join(f'"site{number}.test" = "{_ADDRESSES[number % len(_ADDRESSES)]}"' for number in range(_NAMES))
    environment = {"PYTHONPATH": str(folder / "watch"), "STALLS": str(folder / "stalls.json")} if watched else {}
    if watched:
        (folder / "watch").mkdir()
        (folder / "watch" / "sitecustomize.py").write_text(_WATCH)
    byway = Byway(folder, config=f"[dns.hosts]\n{names}\n", environment=environment)
    _learned(byway.state, sites)
    async with contextlib.AsyncExitStack() as stack:
        port = 0
        for address in _ADDRESSES:
            server = await stack.enter_async_context(await asyncio.start_server(_answer, address, port, backlog=1024))
            port = server.sockets[0].getsockname()[1]
        await stack.enter_async_context(byway)
        yield byway, port


async def _open_while_visited(sites: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        async with _running(folder, sites, watched=True) as (byway, port), _tabs(byway, len(PAGES)) as seen:
            opened = [await _open(byway.proxy, f"site{number % _NAMES}.test", port) for number in range(_OPEN)]
            os.kill(byway.pid, signal.SIGUSR2)  # what comes now is watched, after start and imports
            await _visits(byway.proxy, port, seconds)
            for writer in opened:
                writer.close()
        longest = json.loads((folder / "stalls.json").read_text())
    print(f"{'page':10}{'answers':>9}{'median ms':>11}{'p95 ms':>9}")
    for page, took in seen.took.items():
        p95 = statistics.quantiles(took, n=20)[-1] if len(took) > 1 else took[0]
        print(f"{page or 'home':10}{len(took):9}{1e3 * statistics.median(took):11.1f}{1e3 * p95:9.1f}")
    print(f"feed {seen.bytes / seconds / 1e3:.0f} kB/s")
    print(f"stall {1e3 * longest['clock']:.1f} ms, own {1e3 * longest['own']:.1f} ms")
    print(f"the longest: {longest['of']}")


async def _saturated(byway: Byway, port: int, tabs: int, seconds: float, clients: int) -> tuple[float, float]:
    """µs of Byway's CPU for each tunnel, and tunnels a second."""
    async with _tabs(byway, tabs):
        loop = asyncio.get_running_loop()
        before, until = cpu_s(byway.pid), loop.time() + seconds
        made = sum(await asyncio.gather(*(_visits_at_once(byway.proxy, port, until) for _ in range(clients))))
        return 1e6 * (cpu_s(byway.pid) - before) / made, made / seconds


async def _cost(sites: int, rounds: int, seconds: float) -> None:
    costs: dict[int, list[float]] = {0: [], len(PAGES): []}
    rates: dict[int, list[float]] = {0: [], len(PAGES): []}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        async with _running(Path(name), sites) as (byway, port):
            await _saturated(byway, port, len(PAGES), 2, 4)  # the first of everything
            for number in range(rounds):
                for tabs in (0, len(PAGES)) if number % 2 else (len(PAGES), 0):
                    cost, rate = await _saturated(byway, port, tabs, seconds, 4)
                    costs[tabs].append(cost)
                    rates[tabs].append(rate)
    print(f"{'tabs':>4}{'µs CPU each':>13}{'tunnels/s':>11}")
    for tabs, measured in costs.items():
        print(
            f"{tabs:4}{statistics.median(measured):13,.0f}{statistics.median(rates[tabs]):11,.0f}   "
            f"{' '.join(f'{cost:,.0f}' for cost in measured)}"
        )
    ratios = sorted(open_ / shut for open_, shut in zip(costs[len(PAGES)], costs[0], strict=True))
    print(
        f"with four tabs a tunnel costs {100 * (statistics.median(ratios) - 1):+.1f} % "
        f"({100 * (ratios[0] - 1):+.1f} to {100 * (ratios[-1] - 1):+.1f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="what the open dashboard costs")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sites", type=int, default=10_000)
    asked = parser.parse_args()
    asyncio.run(_open_while_visited(asked.sites, asked.seconds))
    asyncio.run(_cost(asked.sites, asked.rounds, asked.seconds / 2))


if __name__ == "__main__":
    main()
