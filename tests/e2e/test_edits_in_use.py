"""A command that edits the configuration of a running Byway answers when that uses the edit: the very next request is
under it. Each is asked several times in a row, since a poll of the files may come between by chance."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.byway import Byway
from tests.support.client import fetch
from tests.support.origin import Origin
from tests.support.relay import Relay

pytestmark = [pytest.mark.waits, pytest.mark.slow]

ROUNDS = 2
OPEN, FORBIDDEN = 200, 403
BLOCKER = """
class Blocker:
    def plan(self, request, plan):
        return plan.block("by this test")


addons = [Blocker()]
"""
HOSTS = '[dns.hosts]\n"one.test" = "127.0.0.1"\n"two.test" = "127.0.0.1"\n'


@contextlib.asynccontextmanager
async def world(folder: Path, *, config: str = "") -> AsyncIterator[tuple[Byway, Origin]]:
    async with Origin() as origin, Byway(folder, config=f"{config}{HOSTS}") as byway:
        yield byway, origin


async def status(byway: Byway, origin: Origin, host: str = "one.test") -> int:
    return (await fetch(f"http://{host}:{origin.http_port}/", via=byway.proxy)).status


async def test_the_next_request_is_under_a_rule_that_was_added_and_not_under_one_that_was_removed(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as (byway, origin):
        for _ in range(ROUNDS):
            added = await byway.command("rule", "add", "DOMAIN,one.test,BLOCK")
            assert await status(byway, origin) == FORBIDDEN
            assert "The running Byway uses it." in added.stderr
            assert len((await byway.read("rule", "list"))["rules"]) == 1
            await byway.command("rule", "rm", "1")
            assert await status(byway, origin) == OPEN


async def test_the_first_visit_after_a_relay_rule_does_not_go_direct(tmp_path: Path) -> None:
    async with Relay({}) as relay:
        config = f'[[relay]]\nname = "friend"\nurl = "socks5h://{relay.address}:{relay.port}"\n'
        async with world(tmp_path, config=config) as (byway, origin):
            for number in range(1, ROUNDS + 1):
                await byway.command("rule", "add", "DOMAIN,one.test,RELAY")
                await status(byway, origin)
                assert len(relay.asked) == number
                assert (await byway.read("rule", "test", "one.test"))["plan"]["action"] == "RELAY"
                await byway.command("rule", "rm", "1")


async def test_overrides_and_modes_hold_for_the_next_request(tmp_path: Path) -> None:
    async with world(tmp_path) as (byway, origin):
        for _ in range(ROUNDS):
            await byway.command("site", "set", "one.test", "block")
            assert await status(byway, origin) == FORBIDDEN
            await byway.command("site", "forget", "one.test")
            assert await status(byway, origin) == OPEN
            await byway.command("mode", "relay")
            assert await status(byway, origin) != OPEN
            await byway.command("mode", "auto")


async def test_imported_lists_and_rules_hold_for_the_next_request(tmp_path: Path) -> None:
    (one := tmp_path / "one.txt").write_text("one.test\n")
    (two := tmp_path / "two.txt").write_text("two.test\n")
    (clash := tmp_path / "clash.yaml").write_text("rules:\n  - DOMAIN,two.test,REJECT\n")
    async with world(tmp_path) as (byway, origin):
        await byway.command("rule", "import", str(one), "--list", "mine")
        await byway.command("rule", "add", "LIST,mine,BLOCK")
        assert (await status(byway, origin), await status(byway, origin, "two.test")) == (FORBIDDEN, OPEN)
        for _ in range(ROUNDS):
            await byway.command("rule", "import", str(two), "--list", "mine")
            assert (await status(byway, origin), await status(byway, origin, "two.test")) == (OPEN, FORBIDDEN)
            await byway.command("rule", "import", str(one), "--list", "mine")
            assert (await status(byway, origin), await status(byway, origin, "two.test")) == (FORBIDDEN, OPEN)
        imported = await byway.command("rule", "import", str(clash), "--add")
        assert "The running Byway uses it." in imported.stderr
        assert await status(byway, origin, "two.test") == FORBIDDEN


async def test_an_addon_decides_about_the_next_request(tmp_path: Path) -> None:
    (file := tmp_path / "pin.py").write_text(BLOCKER)
    async with world(tmp_path) as (byway, origin):
        await byway.command("addons", "enable", str(file))
        for _ in range(ROUNDS):
            assert await status(byway, origin) == FORBIDDEN
            await byway.command("addons", "disable", "pin")
            assert await status(byway, origin) == OPEN
            await byway.command("addons", "enable", "pin")
        await byway.command("addons", "new", "mine")
        (mine,) = [each for each in (await byway.read("addons", "list"))["addons"] if each["name"] == "mine"]
        assert mine["state"] == "runs"


async def test_a_configuration_that_the_running_byway_does_not_use_is_not_said_to_be_in_use(tmp_path: Path) -> None:
    (other := tmp_path / "other.toml").write_text("config_version = 1\n")
    async with world(tmp_path) as (byway, _origin):
        for words in (("rule", "add", "DOMAIN,one.test,BLOCK"), ("relay", "add", "socks5h://127.0.0.1:1", "--no-test")):
            ran = await byway.command(*words, "--config", str(other))
            assert "running Byway uses it" not in ran.stderr
            assert f"The running Byway uses another configuration: {byway.config}" in ran.stderr


async def test_an_edit_that_the_running_byway_refuses_is_said_to_be_refused_and_why(tmp_path: Path) -> None:
    """It runs the commands for passwords, which no other command does."""
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.write_text("secret")
    config = '[[relay]]\nname = "friend"\nurl = "socks5h://me@127.0.0.1:1"\npassword_cmd = "cat {}"\n'
    async with world(tmp_path, config=config.format(there)) as (byway, origin):
        byway.config.write_text(byway.config.read_text().replace(str(there), str(gone)))
        ran = await byway.command("rule", "add", "DOMAIN,one.test,BLOCK", check=False)
        assert ran.returncode == 7
        assert ran.stdout == ""
        assert "rules.txt is saved, but the running Byway keeps its previous configuration:" in ran.stderr
        assert "its password command failed" in ran.stderr
        assert await status(byway, origin) == OPEN
