"""`byway mode`, `pause` and `resume`, with a running Byway and without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.byway import Byway as RealByway
from tests.support.command_line import Byway, Home

RELAY = '[[relay]]\nname = "tor"\nurl = "socks5h://127.0.0.1:9050"\n'
STORED = "No Byway is running. The next one uses it.\n"


def test_a_mode_is_set_while_no_byway_runs(byway: Byway, home: Home) -> None:
    home.config.write_text(f"config_version = 1\n{RELAY}")
    ran = byway("mode", "relay")
    assert (ran.code, ran.out, ran.err) == (0, "Mode relay: AUTO uses relays only. Nothing is learned.\n", STORED)
    assert json.loads((home.state / "mode.json").read_text())["mode"] == "relay"
    assert byway("mode", "--json").json["mode"] == {"mode": "relay", "paused_until": None}
    assert "Paused; ends in 15 min" in byway("pause").out
    assert byway("mode", "--json").json["mode"]["paused_until"] is not None
    assert byway("resume").out == "Mode relay: AUTO uses relays only. Nothing is learned.\n"


@pytest.mark.parametrize("words", [("mode", "relais"), ("pause", "30d")])
def test_what_is_no_mode_changes_nothing(byway: Byway, home: Home, words: tuple[str, ...]) -> None:
    ran = byway(*words)
    assert (ran.code, ran.out, (home.state / "mode.json").exists()) == (2, "", False)


def test_a_length_with_a_dash_is_refused_in_one_sentence(byway: Byway) -> None:
    """It is a value: no option begins with a digit. Other options that there are not stay wrong."""
    ran = byway("pause", "-5m")
    assert (ran.code, ran.err) == (2, "byway: '-5m' is not a length of time: use 30s, 15m, 2h or 1d\n")
    assert byway("pause", "-m").code == 2
    assert "-frsh" in byway("pause", "--frsh").err


@pytest.mark.uses("relays", "sites")
async def test_the_next_byway_has_what_was_set_meanwhile(tmp_path: Path) -> None:
    byway = RealByway(tmp_path, config=RELAY)
    await byway.command("mode", "relay")
    await byway.command("site", "set", "one.test", "block")
    async with byway:
        assert (await byway.read("mode"))["mode"]["mode"] == "relay"
        (override,) = (await byway.read("site", "list"))["overrides"]
        assert (override["scope"], override["action"]) == ("one.test", "BLOCK")
