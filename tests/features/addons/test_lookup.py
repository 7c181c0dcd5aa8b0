"""Which addons there are and which are meant, by their files alone or by a Byway that runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.extend.loading.addon import AddonFile
from proxy.extend.manager import AddonState
from tests.support.addon_files import PIN, write
from tests.support.command_line import Byway, Home, Running


def shared(file: Path) -> None:
    """Others may enter the folder, and write to the file."""
    file.parent.chmod(0o755)
    file.chmod(0o646)


@pytest.fixture
def tmp_path(open_folder: Path) -> Path:
    return open_folder


def test_shipped_ones_are_off_and_the_users_own_are_on(byway: Byway, home: Home) -> None:
    write(home, "pin", f'"""Pins a\nsite.\n\nMore."""\n{PIN}')
    ran = byway("addons", "list")
    assert ran.rows[0] == ["addon", "state", "origin", "hooks", "about"]
    rows = {row[0]: row[1:] for row in ran.rows[1:]}
    assert rows["pin"] == ["on", "yours", "plan", "Pins a site."]
    assert rows["notify"][:3] == ["off", "shipped", "change"]
    assert rows["clean_links"][:3] == ["off", "shipped", "mitmproxy:request"]
    assert list(rows) == sorted(rows)


def test_what_may_not_be_loaded_is_said_with_its_reason(byway: Byway, home: Home) -> None:
    shared(write(home, "pin"))
    ran = byway("addons", "list")
    assert "pin\trefused\tyours" in ran.out
    assert "other users can write to it" in ran.err
    (told,) = (it for it in byway("addons", "list", "--json").json["addons"] if it["name"] == "pin")
    assert (told["state"], len(told["problems"])) == ("refused", 1)


def test_a_list_runs_no_code(byway: Byway, home: Home, tmp_path: Path) -> None:
    write(home, "pin", f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit(9)\n")
    assert byway("addons", "list").code == 0
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("verb", ["check", "replay", "enable"])
def test_what_others_could_have_written_is_not_run(byway: Byway, home: Home, tmp_path: Path, verb: str) -> None:
    shared(write(home, "pin", f"open({str(tmp_path / 'ran')!r}, 'w')\n"))
    ran = byway("addons", verb, "pin")
    assert (ran.code, "other users can write to it" in ran.err) == (7, True)
    assert not (tmp_path / "ran").exists()


def test_of_a_running_byway_its_own_word_is_shown(byway: Byway, home: Home, running: Running) -> None:
    file = write(home, "pin", f'"""Pins a site."""\n{PIN}')
    found = AddonFile("pin", file, shipped=False, enabled=True)
    running.world.addons = (
        AddonState(found, running="abc", problems=("pin.py:9: no",), hooks=("plan",), last_fault="pin.py:7: a fault"),
    )
    ran = byway("addons", "list")
    assert ran.rows[1:] == [["pin", "runs", "yours", "plan", "Pins a site."]]
    assert ran.err.splitlines() == ["pin.py:9: no", "pin.py:7: a fault"]
    told = byway("addons", "list", "--json").json
    assert (told["running"], told["addons"][0]["version"]) == (True, "abc")


def test_those_of_the_byway_that_runs_are_meant(
    byway: Byway, running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been started with another configuration than commands take by themselves."""
    used = tmp_path / "elsewhere" / "config.toml"
    used.parent.mkdir()
    used.write_text("config_version = 1\n")
    running.world.path = used
    running.world._override("unset.example", None)
    assert "elsewhere" not in byway("addons", "path").out, "which was named"
    monkeypatch.setattr(Home, "flags", property(lambda home: ("--state", str(home.state))))
    assert byway("addons", "path").out.strip() == str(used.parent / "addons")
    assert byway("addons", "new", "mine").out.strip() == str(used.parent / "addons" / "mine.py")
    assert byway("addons", "check", "mine").rows[1][0] == "mine"
    byway("addons", "disable", "mine")
    assert "enabled = false" in used.read_text()
