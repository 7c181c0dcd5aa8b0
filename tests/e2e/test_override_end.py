"""An override with an end, in a real Byway: it ends by itself, also while no Byway runs."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
from pathlib import Path

import pytest

from tests.support.byway import Byway
from tests.support.waiting import until, until_read


async def overrides(byway: Byway) -> list[str]:
    return [override["scope"] for override in (await byway.read("site", "list"))["overrides"]]


async def test_an_override_ends_by_itself(tmp_path: Path) -> None:
    async with Byway(tmp_path) as byway:
        await byway.command("site", "set", "short.example", "block", "--for", "1s")
        await byway.command("site", "set", "long.example", "block", "--for", "1h")

        async def has_ended() -> bool:
            return await overrides(byway) == ["long.example"]

        await until_read(has_ended)
        tested = await byway.read("rule", "test", "https://long.example/")
        assert tested["plan"]["action"] == "BLOCK", "it survives that the other one ended"
        assert (await byway.read("rule", "test", "https://short.example/"))["plan"]["action"] == "AUTO"


@pytest.mark.slow
async def test_an_override_ends_while_no_byway_runs(tmp_path: Path) -> None:
    async with Byway(tmp_path) as byway:
        await byway.command("site", "set", "short.example", "block", "--for", "2s")
        await byway.command("site", "set", "long.example", "block", "--for", "1h")
        await byway.stop()

        async def has_ended() -> bool:
            return await overrides(byway) == ["long.example"]

        await until_read(has_ended)
        await byway.start()
        assert await overrides(byway) == ["long.example"]
        assert (await byway.read("rule", "test", "https://short.example/"))["plan"]["action"] == "AUTO"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not name the boot")
@pytest.mark.parametrize("by_s", [86_400, -86_400])
async def test_a_clock_that_was_set_while_no_byway_ran_ends_no_override(tmp_path: Path, by_s: float) -> None:
    """What is stored is what a Byway would have stored before the clock was set by so much."""
    async with Byway(tmp_path) as byway:
        await byway.command("site", "set", "closed.example", "block", "--for", "1h")
        (before,) = (await byway.read("site", "list"))["overrides"]
        file = byway.state / "override-clock.json"
        await until(file.exists)
        await byway.stop()
        (kept,) = json.loads(file.read_text())
        file.write_text(json.dumps([{**kept, "offset": kept["offset"] - by_s}]))
        with contextlib.closing(sqlite3.connect(byway.state / "byway.sqlite", isolation_level=None)) as db:
            db.execute("UPDATE override SET until = until - ?", (by_s,))
        await byway.start()
        (after,) = (await byway.read("site", "list"))["overrides"]
        assert after["until"] == pytest.approx(before["until"], abs=1)
        tested = await byway.read("rule", "test", "https://closed.example/")
        assert tested["plan"]["action"] == "BLOCK"
