"""Files are copied to the user's folder, and addons switched on and off in the configuration."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.support.addon_files import addons_dir, said, write
from tests.support.command_line import Byway, Home, Running


def test_a_shipped_one_is_switched_on_and_off(byway: Byway, home: Home) -> None:
    home.config.write_text("# mine\nconfig_version = 1\n")
    assert byway("addons", "enable", "refuse").out.startswith("refuse  on")
    assert said(home) == {"refuse": {"enabled": True}}
    assert "refuse\ton\tshipped" in byway("addons", "list").out
    byway("addons", "disable", "refuse")
    assert said(home) == {"refuse": {"enabled": False}}
    assert home.config.read_text().startswith("# mine\n")


def test_one_that_lacks_an_option_stays_off(byway: Byway, home: Home) -> None:
    ran = byway("addons", "enable", "tunnel")
    assert ran.code == 7
    assert "addons.tunnel.command" in ran.err
    assert said(home) == {}


def test_the_users_own_is_switched_off_and_on(byway: Byway, home: Home) -> None:
    write(home, "pin")
    byway("addons", "disable", "pin")
    assert "pin\toff\tyours" in byway("addons", "list").out
    byway("addons", "enable", "pin")
    assert "pin\ton\tyours" in byway("addons", "list").out


def test_a_file_is_copied_to_the_users_addons(byway: Byway, home: Home, tmp_path: Path) -> None:
    """One of mitmproxy's as well: it has none of our hooks."""
    theirs = tmp_path / "add-header.py"
    theirs.write_text("class Add:\n    def response(self, flow):\n        flow.x = 1\n\naddons = [Add()]\n")
    assert byway("addons", "enable", str(theirs)).code == 0
    kept = addons_dir(home) / "add-header.py"
    assert kept.read_text() == theirs.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "add-header\ton\tyours\tmitmproxy:response" in byway("addons", "list").out

    assert byway("addons", "enable", str(theirs)).code == 0  # the same once more
    theirs.write_text("x = 1\n")
    assert byway("addons", "enable", str(theirs)).code == 2
    assert "response" in kept.read_text()


def test_a_file_that_does_not_fit_is_not_copied(byway: Byway, home: Home, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.py"
    theirs.write_text("def plam(request, plan): ...\n")
    ran = byway("addons", "enable", str(theirs))
    assert ran.code == 7
    assert not addons_dir(home).exists()


@pytest.mark.parametrize("verb", ["enable", "disable"])
def test_an_addon_that_there_is_not(byway: Byway, verb: str) -> None:
    ran = byway("addons", verb, "notifi")
    assert ran.code == 2
    assert "did you mean notify?" in ran.err


def test_a_running_byway_is_told(byway: Byway, running: Running) -> None:
    assert byway("addons", "enable", "refuse").code == 0
    assert running.world.reloads == 1
    assert byway("addons", "enable", "refuse").code == 0
    assert running.world.reloads == 2  # its file may be another one now
    assert byway("addons", "list").rows[1:] == []  # and a last word, behind which no connection is left half open
