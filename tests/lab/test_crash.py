"""H1: Byway is killed under load, again and again, and nothing is lost but the last quarter of a second.

Clients ask for a new name each time, most by a rule's relay, and some for blocked names that have to be rescued; so
every request makes a row, and some make beliefs. Each client notes when its connection was closed, which is after its
row was recorded. All rounds happen before the first test; the tests look at what was seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lab.country import RELAY, Country, Running
from tests.lab.links import PERFECT
from tests.lab.rules import HttpReset
from tests.lab.test_rescue import AT_ONCE, settings
from tests.support.streams import close
from tests.support.waiting import until

pytestmark = [pytest.mark.namespaces, pytest.mark.alone, pytest.mark.slow]

ROUNDS = 5
CLIENTS = 24
BLOCKED = 60  # names for a round
MAY_BE_MISSING_S = 0.25
_ENOUGH = (200, 800)  # requests before the kill, from and to: it is to fall anywhere in a batch
_SEED = 20081007
_RULES = "DOMAIN-SUFFIX,relay.test,RELAY\n"


@dataclass
class Round:
    """What clients saw before a kill, and what a new start found. Times are of the wall clock."""

    finished: dict[str, float] = field(default_factory=dict)  # name → when its connection was closed
    killed_at: float = 0.0
    broken: int = 0  # requests that the kill broke off
    rows: list[str] = field(default_factory=list)  # names in the log
    beliefs: dict[str, tuple[str, str]] = field(default_factory=dict)  # blocked name → state, route that works
    integrity: str = ""
    files: list[str] = field(default_factory=list)  # in the state folder


def blocked(round_number: int) -> list[str]:
    return [f"b{number}-r{round_number}.test" for number in range(BLOCKED)]


async def live(folder: Path) -> list[Round]:
    chance = random.Random(_SEED)
    async with Country(folder, link=PERFECT) as country:
        country.add_site("relay.test")
        censored = [country.add_site(name).name for number in range(ROUNDS) for name in blocked(number)]
        country.rules.set([HttpReset(*censored)])
        byway = country.byway(folder / "byway", config=settings(country, AT_ONCE), rules=_RULES)
        try:
            return [await one_round(number, byway, enough=chance.randint(*_ENOUGH)) for number in range(ROUNDS)]
        finally:
            if byway.process is not None and byway.process.returncode is None:
                await byway.kill()


async def one_round(number: int, byway: Running, *, enough: int) -> Round:
    seen = Round()
    wanted = _wanted(number)
    if byway.process is None:
        await byway.start()
    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(_client(wanted, byway, seen))
        await until(lambda: len(seen.finished) >= enough, within_s=60)
        seen.killed_at = time.time()
        await byway.kill()  # which ends each client
    await byway.start()
    await _look(number, byway, seen)
    return seen


def _wanted(round_number: int) -> Iterator[str]:
    """Every twelfth is a blocked name, as long as there are any, each for the first time."""
    rescued = iter(blocked(round_number))
    for number in itertools.count():
        host = next(rescued, "") if number % 12 == 0 else ""
        yield host or f"n{number}-r{round_number}.relay.test"


async def _client(wanted: Iterator[str], byway: Running, seen: Round) -> None:
    for host in wanted:
        try:
            seen.finished[host] = await _closed_after_answer(host, byway)
        except OSError:
            seen.broken += 1
            return


async def _closed_after_answer(host: str, byway: Running) -> float:
    """When the connection was closed after a whole answer. Raises OSError when it broke off."""
    reader, writer = await byway.dial(*byway.proxy)
    try:
        writer.write(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        closed_at = time.time()
        if f"{host} says hello".encode() not in answer:
            assert not answer or answer.startswith(b"HTTP/1.1 200 "), f"{host}: {answer[:400]!r}"
            raise ConnectionError("closed before the end of an answer")
        return closed_at
    finally:
        await close(writer)


async def _look(number: int, byway: Running, seen: Round) -> None:
    """What the new process has, and what is in its file."""
    for host in blocked(number):
        if host in seen.finished:
            held = await byway.belief(host)
            seen.beliefs[host] = held["state"], held["last_good"]
    seen.files = sorted(file.name for file in byway.state.iterdir())
    with contextlib.closing(sqlite3.connect(f"file:{byway.state / 'byway.sqlite'}?mode=ro", uri=True)) as db:
        (seen.integrity,) = db.execute("PRAGMA integrity_check").fetchone()
        seen.rows = [host for (host,) in db.execute("SELECT host FROM outcome WHERE host LIKE ?", (f"%-r{number}.%",))]


@pytest.fixture(scope="module")
def rounds() -> list[Round]:
    with tempfile.TemporaryDirectory(prefix="byway-killed-") as folder:
        return asyncio.run(live(Path(folder)))


EACH = pytest.mark.parametrize("number", range(ROUNDS))


@EACH
def test_H1_the_log_opens_whole(number: int, rounds: list[Round]) -> None:
    one = rounds[number]
    assert one.broken > 0, "the kill came while there was work"
    assert one.integrity == "ok"
    assert not [file for file in one.files if "corrupt" in file]


@EACH
def test_H1_no_row_is_missing_but_the_youngest(number: int, rounds: list[Round]) -> None:
    """A client's connection is closed after its row was recorded, so a row that was on its way for longer than the rule
    allows is one whose client saw the end that long before the kill."""
    one = rounds[number]
    assert len(one.rows) == len(set(one.rows)), "none is there twice"
    assert one.rows
    missing = {host: one.killed_at - ended for host, ended in one.finished.items() if host not in set(one.rows)}
    too_old = {host: age_s for host, age_s in missing.items() if age_s > MAY_BE_MISSING_S}
    assert too_old == {}, f"{len(missing)} of {len(one.finished)} rows are missing"


@EACH
def test_H1_what_was_learned_is_there(number: int, rounds: list[Round]) -> None:
    one = rounds[number]
    old = {host for host in one.beliefs if one.killed_at - one.finished[host] > MAY_BE_MISSING_S}
    assert {host: one.beliefs[host] for host in old} == dict.fromkeys(old, ("suspect", RELAY))


def test_H1_there_was_something_to_lose(rounds: list[Round]) -> None:
    """The control: rescues were old enough to count, and the kills did take rows."""
    learned = [one.killed_at - one.finished[host] > MAY_BE_MISSING_S for one in rounds for host in one.beliefs]
    assert sum(learned) > ROUNDS
    assert any(host not in set(one.rows) for one in rounds for host in one.finished)
