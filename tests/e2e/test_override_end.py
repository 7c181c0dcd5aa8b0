"""An override with an end, in a real Byway: it ends by itself, also while no Byway runs."""

from __future__ import annotations

from pathlib import Path

from tests.support.byway import Byway
from tests.support.waiting import until_read


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
