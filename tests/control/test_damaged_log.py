"""H4 to H6 while Byway runs: whatever happens to the log's file, status, why and log are answered over the real API.

The log that is damaged is set aside, a new one begins, and what `byway site set` said and what was learned are in it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import shutil
import sqlite3
import stat
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.config.schema import Log
from proxy.control.server import ControlServer
from proxy.model import Action, Belief, Change, Override, State
from proxy.model.feature import Feature
from proxy.store import store as writer
from proxy.store.store import Store
from tests.support.control_world import World
from tests.support.outcomes import HOME, rescued, works
from tests.support.wal import move_into_file

pytestmark = pytest.mark.slow

AT = time.time() // 3600 * 3600 - 3600  # sums are kept by the hour, and these rows are of one hour
SAID = {f"bank{number}.example": Override(Action.RELAY, "tor") for number in range(3)}
Damage = Callable[[Path], None]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY_S", 0.02)
    monkeypatch.setattr(writer, "BATCH_S", 0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "byway.sqlite"


@contextlib.asynccontextmanager
async def running(path: Path, features: Sequence[Feature]) -> AsyncIterator[tuple[World, aiohttp.ClientSession]]:
    """A Byway whose log is a file with something of everything in it."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    world = World(store_file=path, features=features)
    server = ControlServer(lambda: world.parts, path.with_name("c.sock"), "unused", port=8119)
    await server.start()
    connector = aiohttp.UnixConnector(path=str(server.address["socket"]))
    try:
        async with aiohttp.ClientSession("http://byway", connector=connector) as api:
            yield world, api
    finally:
        await server.close()
        world.close()


def fill(world: World, rows: int = 60) -> None:
    for number in range(rows):
        host = f"h{number}.example"
        world.store.record(rescued(host=host, at=AT + number), network=HOME)
        belief = Belief(host, HOME, State.BLOCKED, cause="sni_reset", score=4.0, until=AT + 9e5, last_good="tor")
        world.store.believe([Change(AT, host, HOME, State.SUSPECT, State.BLOCKED, "sni_reset", "evidence", belief)])
    for host, said in SAID.items():
        world.store.set_override(host, said)
    assert world.store.flush()


async def ask_everything(api: aiohttp.ClientSession) -> dict[str, Any]:
    """What status, log, why and site answer: each is a whole answer. Returns the status."""
    answers: dict[str, dict[str, Any]] = {}
    for name, where in {
        "status": "/v1/status",
        "log": "/v1/log",
        "why": "/v1/why?host=h1.example",
        "site": "/v1/sites/h1.example",
        "sites": "/v1/sites",
    }.items():
        async with api.get(where) as answer:
            assert answer.status == 200, f"{name}: {answer.status} {await answer.text()}"
            answers[name] = await answer.json(loads=strictly)
    async with api.post("/v1/why", json={"site": "h1.example"}) as answer:
        assert answer.status == 200
        lines = [strictly(line) for line in (await answer.read()).splitlines()]
    assert "verdict" in lines[-1], lines[-1]
    rows_make_sense(answers["log"]["rows"])
    return answers["status"]


def strictly(text: str | bytes) -> Any:
    """JSON as the standard has it: Python alone reads NaN."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def rows_make_sense(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        for name in ("at", "duration_s", "port", "bytes_up", "bytes_down"):
            assert isinstance(row[name], int | float), f"{name}: {row[name]!r}"
        time.localtime(row["at"])
        for tried in row["attempts"]:
            assert isinstance(tried["elapsed_s"], int | float)
            assert isinstance(tried["started_s"], int | float)


def flip(path: Path, rng: random.Random) -> None:
    damaged = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 10, 200, 2000])):
        damaged[rng.randrange(len(damaged))] ^= rng.randrange(1, 256)
    with path.open("r+b") as opened:
        opened.write(damaged)


@pytest.mark.uses("sites", "today", "traffic")
@pytest.mark.parametrize("decade", range(20))
async def test_H4_two_hundred_random_flips_while_it_runs(
    path: Path, features: Sequence[Feature], decade: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten seeds a test."""
    for seed in range(decade * 10, decade * 10 + 10):
        shutil.rmtree(path.parent, ignore_errors=True)
        async with running(path, features) as (world, api):
            fill(world)
            move_into_file(path)
            flip(path, random.Random(seed))
            try:
                await ask_everything(api)
                world.store.record(works("after.example", at=AT), network=HOME)
                await ask_everything(api)
            except BaseException as failure:
                failure.add_note(f"seed {seed}")
                raise
        again = Store(path, Log(hosts="all"))
        again.start()
        again.close()
        assert again.load_overrides() == SAID, f"seed {seed}: {again.notices}"
        assert [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR] == []


def _truncate(to: int) -> Damage:
    return lambda path: os.truncate(path, to)


def _overwrite(path: Path) -> None:
    with path.open("r+b") as opened:
        opened.write(random.Random(1).randbytes(path.stat().st_size))


def _overwrite_all_but_the_first_page(path: Path) -> None:
    with path.open("r+b") as opened:
        opened.seek(4096)
        opened.write(random.Random(1).randbytes(path.stat().st_size - 4096))


def _swap_pages(path: Path) -> None:
    data = path.read_bytes()
    pages = [data[start : start + 4096] for start in range(0, len(data), 4096)]
    with path.open("r+b") as opened:
        opened.write(b"".join([pages[0], *reversed(pages[1:])]))


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").write_text("else")


def _replace_by_text(path: Path) -> None:
    path.unlink()
    path.write_text("something else" * 1000)


def _replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _garbage_beside(*suffixes: str) -> Damage:
    def damage(path: Path) -> None:
        for suffix in suffixes:
            beside = Path(f"{path}{suffix}")
            size = beside.stat().st_size if beside.exists() else 0
            with beside.open("r+b" if beside.exists() else "wb") as opened:
                opened.write(random.Random(2).randbytes(max(size, 32768)))

    return damage


def _delete_beside(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _delete_all(path: Path) -> None:
    path.unlink()
    _delete_beside(path)


def _execute(*statements: str) -> Damage:
    def damage(path: Path) -> None:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            for statement in statements:
                db.execute(statement)

    return damage


DAMAGES: dict[str, Damage] = {
    "cut to nothing": _truncate(0),
    "cut in the header": _truncate(50),
    "cut after the first page": _truncate(4096),
    "cut in the middle": lambda path: os.truncate(path, path.stat().st_size // 2 + 100),
    "overwritten": _overwrite,
    "overwritten but for the first page": _overwrite_all_but_the_first_page,
    "pages in another order": _swap_pages,
    "deleted": lambda path: path.unlink(),
    "deleted with the files beside it": _delete_all,
    "a folder in its place": _replace_by_folder,
    "a text in its place": _replace_by_text,
    "a pipe in its place": _replace_by_pipe,
    "garbage for a write-ahead log": _garbage_beside("-wal"),
    "garbage for its index": _garbage_beside("-shm"),
    "garbage for both": _garbage_beside("-wal", "-shm"),
    "no write-ahead log": _delete_beside,
    "garbage for a journal": _garbage_beside("-journal"),
    "a table dropped": _execute("DROP TABLE outcome"),
    "the ledger dropped": _execute("DROP TABLE change"),
    "all tables dropped": _execute(
        *(f"DROP TABLE {name}" for name in ("outcome", "attempt", "belief", "change", "override", "route_hour"))
    ),
    "a column renamed": _execute("ALTER TABLE outcome RENAME COLUMN host TO place"),
    "a column more": _execute("ALTER TABLE outcome ADD COLUMN more TEXT NOT NULL DEFAULT ''"),
    "a view for a table": _execute(
        "DROP TABLE route_hour",
        "CREATE VIEW route_hour AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
        " SELECT x AS hour, '' AS network, 'direct' AS route, 1 AS delivered, 0 AS failed, 0 AS bytes_up,"
        " 0 AS bytes_down FROM n LIMIT 10",
    ),
    "a trigger that refuses": _execute(
        "CREATE TRIGGER no BEFORE INSERT ON outcome BEGIN SELECT RAISE(ABORT, 'no'); END"
    ),
    "of a newer Byway": _execute("PRAGMA user_version = 99"),
    "texts for numbers": _execute(
        "UPDATE outcome SET at = 'never', port = 'x', bytes_up = 'many', duration_s = 'long'",
        "UPDATE attempt SET elapsed_s = 'long', started_s = x'00', evidence = '[1]'",
        "UPDATE change SET at = 'never'",
        "UPDATE route_hour SET delivered = 'many', failed = x'ff'",
        "UPDATE belief SET score = 'high', until = 'never', exits = '5', rungs_failed = '{}'",
    ),
    "bytes for texts": _execute(
        "UPDATE outcome SET host = x'ff00', winner = x'c328', why = x'ff', protocol = x'ff', inbound = x'00'",
        "UPDATE attempt SET route = x'ff', symptom = x'fe', evidence = x'ff'",
        "UPDATE change SET scope = x'ff', before = x'ff', cause = x'ff'",
        "UPDATE OR REPLACE route_hour SET route = x'ff'",
        "UPDATE belief SET cause = x'ff', last_good = x'ff', why = x'ff'",
    ),
    "numbers beyond all bounds": _execute(
        "UPDATE outcome SET at = 9e999, port = 99999999, bytes_up = 9223372036854775807, duration_s = -9e999",
        "UPDATE attempt SET elapsed_s = 9e999, started_s = -1",
        "UPDATE change SET at = 1e300",
        "UPDATE route_hour SET delivered = 9223372036854775807, hour = 9e18",
        "INSERT INTO route_hour SELECT hour, network || 'x', route, 9223372036854775807, 1, 1, 1 FROM route_hour",
        "UPDATE belief SET until = 1e14, since = 1e13, score = 1e14, episodes = 1e14",
    ),
    "evidence that no parser likes": _execute(
        f"UPDATE attempt SET evidence = '{'[' * 100_000}'",
        "INSERT OR REPLACE INTO attempt SELECT outcome_id, 7, route, stage, symptom, error, started_s, elapsed_s,"
        ' address, \'{"rtt_ms": NaN, "x": {"y": [1]}}\' FROM attempt WHERE place = 0',
        f"UPDATE belief SET exits = '{'[' * 100_000}'",
    ),
}


@pytest.mark.uses("sites", "today", "traffic")
@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("at_rest", [True, False], ids=["at rest", "in the write-ahead log"])
async def test_H4_H5_H6_a_damaged_log_takes_nothing_down(
    path: Path, features: Sequence[Feature], name: str, at_rest: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(path, features) as (world, api):
        fill(world)
        if at_rest:
            move_into_file(path)
        DAMAGES[name](path)
        await ask_everything(api)
        world.store.record(rescued(host="after.example", at=AT), network=HOME)
        world.store.set_override("late.example", Override(Action.BLOCK))
        status = await ask_everything(api)
        assert not [problem for problem in status["problems"] if "log" in problem["text"]]
        async with api.get("/v1/log", params={"site": "after.example"}) as answer:
            assert [row["host"] for row in (await answer.json())["rows"]] == ["after.example"]
        assert len(world.store.notices) <= 1, world.store.notices
    again = Store(path, Log(hosts="all"))
    again.start()
    again.close()
    assert again.load_overrides() == SAID | {"late.example": Override(Action.BLOCK)}
    assert {belief.scope for belief in again.load_beliefs()} == {f"h{number}.example" for number in range(60)}
    assert [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR] == []
    for found in path.parent.glob("*.corrupt-*"):
        assert stat.S_IMODE(found.lstat().st_mode) in (0o600, 0o700)
