"""Byway is killed in the middle of its work, again and again, and what is left is looked at.

    python -m tests.e2e.crash FOLDER

Clients ask for a new name each time, most by a rule's relay, and some for blocked names that have to be rescued; so
every request makes a row, and some make beliefs. Each client notes when its connection was closed, which is
after its row was recorded. Prints what was seen of every round as JSON. It is a program of its own, so that it can run
in a network namespace, where there is a default route whatever the machine has.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.e2e.country import Country, Running
from tests.support.censor import Behaviour
from tests.support.waiting import until

ROUNDS = 5
CLIENTS = 24
BLOCKED = 100  # names for a round
_ENOUGH = (500, 2000)  # requests before the kill, from and to: it is to fall anywhere in a batch
_SEED = 20081007
_RULES = "DOMAIN-SUFFIX,relay.test,RELAY:vps\n"


@dataclass
class Round:
    """What clients saw before a kill, and what a new start found. Times are of the wall clock."""

    finished: dict[str, float] = field(default_factory=dict)  # name → when its connection was closed
    killed_at: float = 0.0
    broken: int = 0  # requests that the kill broke off
    rows: list[str] = field(default_factory=list)  # names in the log
    beliefs: dict[str, tuple[str, str]] = field(default_factory=dict)  # blocked name → state, route that works
    integrity: str = ""
    network: str = ""
    files: list[str] = field(default_factory=list)  # in the state folder


def blocked(round_number: int) -> list[str]:
    return [f"b{number}-r{round_number}.test" for number in range(BLOCKED)]


async def live(folder: Path) -> list[Round]:
    chance = random.Random(_SEED)
    names = [n for r in range(ROUNDS) for n in blocked(r)]
    async with Country(["censored.test"]) as country:
        await country.censor("censored.test", Behaviour.RESET, secure=False)
        country.addresses |= dict.fromkeys(names, country.addresses["censored.test"])
        byway = country.byway(folder, rules=_RULES)
        try:
            return [
                await one_round(number, country, byway, enough=chance.randint(*_ENOUGH)) for number in range(ROUNDS)
            ]
        finally:
            await byway.kill()


async def one_round(number: int, country: Country, byway: Running, *, enough: int) -> Round:
    seen = Round()
    wanted = _wanted(number, country)
    if byway.process is None:
        await byway.start()
    async with asyncio.TaskGroup() as clients:
        tasks = [clients.create_task(_client(wanted, country, byway, seen)) for _ in range(CLIENTS)]
        await until(lambda: len(seen.finished) >= enough, within_s=60)
        seen.killed_at = time.time()
        await byway.kill()
        for task in tasks:
            task.cancel()
    await byway.start()
    await _look(number, byway, seen)
    return seen


def _wanted(round_number: int, country: Country) -> Iterator[str]:
    """Every twentieth is a blocked name, as long as there are any, each for the first time."""
    rescued = iter(blocked(round_number))
    for number in itertools.count():
        host = next(rescued, "") if number % 20 == 0 else ""
        host = host or f"n{number}-r{round_number}.relay.test"
        country.leads[host] = "127.0.0.1"
        yield host


async def _client(wanted: Iterator[str], country: Country, byway: Running, seen: Round) -> None:
    for host in wanted:
        try:
            seen.finished[host] = await _closed_after_answer(host, country.origin.http_port, byway)
        except OSError:
            seen.broken += 1
            return


async def _closed_after_answer(host: str, port: int, byway: Running) -> float:
    """When the connection was closed after a whole answer. Raises OSError when it broke off."""
    reader, writer = await asyncio.open_connection(*byway.proxy)
    try:
        writer.write(f"GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        closed_at = time.time()
        if not answer.endswith(f"{host}:{port} says hello\n".encode()):
            if answer:
                raise AssertionError(f"{host}: {answer[:400]!r}")
            raise ConnectionError("closed without an answer")
        return closed_at
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _look(number: int, byway: Running, seen: Round) -> None:
    """What the new process has, and what is in its file."""
    seen.network = (await byway.ask("/v1/status"))["network"]
    for host in blocked(number):
        if host in seen.finished:
            held = await byway.belief(host)
            seen.beliefs[host] = held["state"], held["last_good"]
    seen.files = sorted(file.name for file in byway.state.iterdir())
    with contextlib.closing(sqlite3.connect(f"file:{byway.state / 'byway.sqlite'}?mode=ro", uri=True)) as db:
        (seen.integrity,) = db.execute("PRAGMA integrity_check").fetchone()
        seen.rows = [host for (host,) in db.execute("SELECT host FROM outcome WHERE host LIKE ?", (f"%-r{number}.%",))]


if __name__ == "__main__":
    print(json.dumps([asdict(one) for one in asyncio.run(live(Path(sys.argv[1])))]))
