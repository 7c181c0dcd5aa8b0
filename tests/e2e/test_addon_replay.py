"""A week that a real Byway recorded, with two addons, and replays of it: exactly the decisions that an edit changes are
shown, and none when nothing was edited.

The week is compressed: its connections are made one after the other, and their times are spread over seven days
afterwards. What a replay must show is counted from the log, row by row, without the product's help.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.addon_scene import Scene

pytestmark = pytest.mark.slow

WEEK_S = 7 * 86_400
HOSTS = ("open.test", "other.test", "closed.test", "blocked.test", "shut.test", "held.test")
"""shut.test is not there on the direct way, and closed.test and blocked.test are RELAY and BLOCK by rule."""

PIN = '''
"""Pins one site, and refuses another on half of its visits."""
PINNED = "other.test"
REFUSED = "nobody.test"

def admit(request):
    return "for the sake of the test" if request.destination.host == REFUSED else None

def plan(request, plan):
    return plan.via("tor") if request.destination.host == PINNED else None
'''

WEIGH = """
from dataclasses import replace
SHARE = 0.5

def signal(request, signal):
    return replace(signal, weight=signal.weight * SHARE) if signal.id == "tcp_refused" else None
"""


class Week:
    """What was recorded."""

    def __init__(self, scene: Scene, rows: list[dict[str, Any]]) -> None:
        self.scene = scene
        self.rows = rows

    async def replay(self, folder: Path, name: str, text: str) -> dict[str, Any]:
        """Of an edited file that lies elsewhere."""
        file = folder / f"{name}.py"
        file.write_text(text)
        told: dict[str, Any] = await self.scene.byway.read("addons", "replay", str(file), "--since", "8d")
        return told

    def marks(self, wanted: Callable[[dict[str, Any]], bool]) -> list[tuple[float, str]]:
        return sorted((row["at"], row["host"]) for row in self.rows if wanted(row))


def marks(found: list[dict[str, Any]]) -> list[tuple[float, str]]:
    return sorted((row["at"], row["host"]) for row in found)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def week(tmp_path_factory: Any) -> AsyncIterator[Week]:
    config = '"shut.test" = "127.0.0.8"\n[log]\nhosts = "all"\n'
    scene = Scene(tmp_path_factory.mktemp("week"), {"pin": PIN, "weigh": WEIGH}, config=config)
    scene.relay.names = {**scene.relay.names, "shut.test": "127.0.0.1"}
    dice = random.Random(7)
    async with scene:
        asked = list(HOSTS) * 10
        dice.shuffle(asked)
        for host in asked:
            await scene.get(host)
        await scene.byway.stop()
        _spread(scene.byway.state / "byway.sqlite")
        await scene.byway.start()
        yield Week(scene, [row for row in await scene.rows() if row["host"] in HOSTS])


def _spread(store: Path) -> None:
    """Over the week before now, in the order in which they were."""
    with contextlib.closing(sqlite3.connect(store)) as db:
        ids = [row_id for (row_id,) in db.execute("SELECT id FROM outcome ORDER BY at, id")]
        begins = time.time() - WEEK_S
        times = [(begins + WEEK_S * number / len(ids), row_id) for number, row_id in enumerate(ids)]
        db.executemany("UPDATE outcome SET at = ? WHERE id = ?", times)
        db.commit()


async def test_the_week_is_there(week: Week) -> None:
    assert len(week.rows) == 60
    assert max(row["at"] for row in week.rows) - min(row["at"] for row in week.rows) > 0.9 * WEEK_S
    assert {row["why"] for row in week.rows if row["host"] == "other.test"} >= {
        "addon pin: RELAY by tor; it was AUTO"
    } or (all("addon pin" in row["why"] for row in week.rows if row["host"] == "other.test"))
    assert week.marks(_refused_direct)


def _refused_direct(row: dict[str, Any]) -> bool:
    return any((tried["route"], tried["symptom"]) == ("direct", "refused") for tried in row["attempts"])


async def test_nothing_changes_when_nothing_was_edited(week: Week, tmp_path: Path) -> None:
    for name, text in (("pin", PIN), ("weigh", WEIGH), ("idle", "x = 1\n")):
        told = await week.replay(tmp_path, name, text)
        assert (told["decisions"], told["weighings"], told["faults"]) == ([], [], [])
        assert told["connections"] == len(week.rows)


async def test_exactly_the_decisions_that_an_edit_changes_are_shown(week: Week, tmp_path: Path) -> None:
    """One more site is pinned, one no longer, and one is refused."""
    for old, new, hosts in (
        ('PINNED = "other.test"', 'PINNED = "open.test"', {"other.test", "open.test"}),
        ('PINNED = "other.test"', 'PINNED = "nobody.test"', {"other.test"}),
        ('PINNED = "other.test"', 'PINNED = "blocked.test"', {"other.test", "blocked.test"}),
        ('REFUSED = "nobody.test"', 'REFUSED = "held.test"', {"held.test"}),
        ('REFUSED = "nobody.test"', 'REFUSED = "blocked.test"', set()),  # by another's word, refused as ever
        ('return plan.via("tor") if', 'return plan.prefer("tor") if', {"other.test"}),
    ):
        told = await week.replay(tmp_path, "pin", PIN.replace(old, new))
        assert marks(told["decisions"]) == week.marks(lambda row, hosts=hosts: row["host"] in hosts), new  # type: ignore[misc]
        assert told["weighings"] == []


async def test_a_decision_says_what_it_was_and_what_it_would_be(week: Week, tmp_path: Path) -> None:
    told = await week.replay(tmp_path, "pin", PIN.replace('PINNED = "other.test"', 'PINNED = "open.test"'))
    by_host = {row["host"]: row for row in told["decisions"]}
    assert (by_host["open.test"]["was"]["action"], by_host["open.test"]["was"]["routes"][0]) == ("AUTO", "direct")
    assert (by_host["open.test"]["would_be"]["action"], by_host["open.test"]["would_be"]["routes"]) == (
        "RELAY",
        ["tor"],
    )
    assert (by_host["other.test"]["was"]["routes"], by_host["other.test"]["would_be"]["action"]) == (["tor"], "AUTO")


async def test_exactly_the_signs_that_an_edit_weighs_otherwise_are_shown(week: Week, tmp_path: Path) -> None:
    told = await week.replay(tmp_path, "weigh", WEIGH.replace("0.5", "0.1"))
    assert marks(told["weighings"]) == week.marks(_refused_direct)
    assert told["weighings"][0]["was"] == ["weigh: tcp_refused weighs 0.25 in place of 0.5"]
    assert told["weighings"][0]["would_be"] == ["weigh: tcp_refused weighs 0.05 in place of 0.5"]
    assert told["decisions"] == []


async def test_the_clock_is_that_of_the_time(week: Week, tmp_path: Path) -> None:
    """Pinned only in the first half of the week: what changes is the second half of what was pinned."""
    half = (week.rows[0]["at"] + week.rows[-1]["at"]) / 2
    text = f"""
class Pin:
    def start(self, api):
        self.api = api

    def plan(self, request, plan):
        return plan.via("tor") if request.destination.host == "other.test" and self.api.now() < {half!r} else None

addons = [Pin()]
"""
    told = await week.replay(tmp_path, "pin", text)
    assert marks(told["decisions"]) == week.marks(lambda row: row["host"] == "other.test" and row["at"] >= half)
    assert 0 < len(told["decisions"]) < 10


TRIES = """
import os, socket, subprocess, urllib.request

HERE = ("127.0.0.1", %(port)d)
TRIES = (
    lambda: socket.create_connection(HERE),
    lambda: socket.socket().connect(HERE),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", HERE),
    lambda: socket.gethostbyname("localhost"),
    lambda: socket.socket().bind(("127.0.0.1", 0)),
    lambda: urllib.request.urlopen("http://127.0.0.1:%(port)d/"),
    lambda: subprocess.run(["touch", "%(file)s"]),
    lambda: os.system("touch %(file)s"),
    lambda: os.fork(),
)

def plan(request, plan):
    for reach in TRIES:
        try:
            reach()
        except OSError:
            continue
        return plan.block("it got out")
    return None
"""


async def test_a_replay_reaches_nobody(week: Week, tmp_path: Path) -> None:
    """Neither does it when the addon tries, by any means of Python's."""
    scene = week.scene
    before = (len(scene.origin.requests), len(scene.relay.asked))
    told = await week.replay(tmp_path, "pin", TRIES % {"port": scene.origin.http_port, "file": str(tmp_path / "ran")})
    assert {row["would_be"]["action"] for row in told["decisions"]} == {"AUTO"}  # what was pinned would not be
    faults = [fault for fault in told["faults"] if "all connections wait for it" not in fault]  # a busy machine
    assert (len(told["decisions"]), faults) == (10, [])
    assert (len(scene.origin.requests), len(scene.relay.asked)) == before
    assert not (tmp_path / "ran").exists()


async def test_a_file_that_does_not_load_is_said_with_its_line(week: Week, tmp_path: Path) -> None:
    file = tmp_path / "pin.py"
    file.write_text("\ndef plan(request):\n    return None\n")
    done = await week.scene.byway.command("addons", "replay", str(file), check=False)
    assert done.returncode == 7
    assert "pin.py:2: plan has the wrong parameters" in done.stderr


async def test_what_is_shown_to_a_person(week: Week, tmp_path: Path) -> None:
    file = tmp_path / "pin.py"
    file.write_text(PIN.replace("other.test", "open.test") + "\ndef classify(head, body):\n    return None\n")
    done = await week.scene.byway.command("addons", "replay", str(file), "--since", "8d")
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0] == ["at", "site", "was", "would be"]
    assert len(lines) == 21
    port = week.scene.origin.http_port
    assert {line[3] for line in lines if line[1] == f"open.test:{port}"} == {"RELAY tor"}
    assert "Replayed 60 connections and " in done.stderr
    assert ": 20 routes and 0 weights would change." in done.stderr
    assert "hook classify is not replayed" in done.stderr
    assert "Client addresses and HTTP paths are not logged" in done.stderr
