"""`byway addons`: list, new, check, enable, disable, docs and path. Replay has tests of its own."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import addon_apart
from proxy.extend.addon import AddonFile
from proxy.extend.hooks import HOOKS
from proxy.extend.keeper import AddonState
from tests.cli.conftest import Byway, Home, Running

PIN = """
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Options:
    relay: Annotated[str, "the relay to pin"] = "tor"
    hours: tuple[int, ...] = (8, 20)


class Pin:
    def start(self, api):
        self.relay = api.options.relay

    def plan(self, request, plan):
        return plan.via(self.relay)


addons = [Pin()]
"""


def addons_dir(home: Home) -> Path:
    return home.config.parent / "addons"


def write(home: Home, name: str, text: str = PIN) -> Path:
    addons_dir(home).mkdir(mode=0o700, exist_ok=True)
    file = addons_dir(home) / f"{name}.py"
    file.write_text(text)
    return file


def said(home: Home) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(home.config.read_text()).get("addons", {})
    return found


# -- list --------------------------------------------------------------------------------------------------------------


def test_shipped_ones_are_off_and_the_users_own_are_on(byway: Byway, home: Home) -> None:
    write(home, "pin", f'"""Pins a\nsite.\n\nMore."""\n{PIN}')
    ran = byway("addons", "list")
    assert ran.rows[0] == ["addon", "state", "whose", "hooks", "about"]
    rows = {row[0]: row[1:] for row in ran.rows[1:]}
    assert rows["pin"] == ["on", "yours", "plan", "Pins a site."]
    assert rows["notify"][:3] == ["off", "shipped", "change"]
    assert rows["clean_links"][:3] == ["off", "shipped", "mitmproxy:request"]
    assert list(rows) == sorted(rows)


def test_what_may_not_be_loaded_is_said_with_its_reason(byway: Byway, home: Home) -> None:
    write(home, "pin").chmod(0o666)
    ran = byway("addons", "list")
    assert "pin\trefused\tyours" in ran.out
    assert "others can write to it" in ran.err
    (told,) = (it for it in byway("addons", "list", "--json").json["addons"] if it["name"] == "pin")
    assert (told["state"], len(told["problems"])) == ("refused", 1)


def test_a_list_runs_no_code(byway: Byway, home: Home, tmp_path: Path) -> None:
    write(home, "pin", f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit(9)\n")
    assert byway("addons", "list").code == 0
    assert not (tmp_path / "ran").exists()


# -- new ---------------------------------------------------------------------------------------------------------------


def test_a_new_one_lies_in_a_folder_for_the_user_alone_and_fits(byway: Byway, home: Home) -> None:
    ran = byway("addons", "new", "mine", "--kind", "admit")
    file = addons_dir(home) / "mine.py"
    assert ran.out.strip() == str(file)
    assert (stat.S_IMODE(file.parent.stat().st_mode), stat.S_IMODE(file.stat().st_mode)) == (0o700, 0o600)
    assert byway("addons", "check").rows[1][:2] == ["mine", "admit"]
    assert "mine\ton\tyours" in byway("addons", "list").out


def test_nothing_is_ever_overwritten(byway: Byway, home: Home) -> None:
    file = write(home, "mine", "mine = 1\n")
    ran = byway("addons", "new", "mine")
    assert (ran.code, file.read_text()) == (2, "mine = 1\n")
    assert "exists already" in ran.err


@pytest.mark.parametrize(
    ("words", "reason"),
    [(["a b"], "is no name for an addon"), (["../x"], "is no name"), (["x", "--kind", "plann"], "did you mean plan?")],
)
def test_what_cannot_be_begun(byway: Byway, home: Home, words: list[str], reason: str) -> None:
    ran = byway("addons", "new", *words)
    assert ran.code == 2
    assert reason in ran.err
    assert not addons_dir(home).exists()


# -- check -------------------------------------------------------------------------------------------------------------


def test_a_check_says_what_an_addon_has(byway: Byway, home: Home) -> None:
    home.config.write_text('[addons.pin]\nrelay = "vps"\n')
    file = write(home, "pin")
    assert byway("addons", "check").rows == [
        ["addon", "hooks", "options", "file"],
        ["pin", "plan", "relay hours", str(file)],
    ]
    (told,) = byway("addons", "check", "pin", "--json").json["addons"]
    assert told["options"][0] == {
        "name": "relay",
        "type": "str",
        "default": "tor",
        "required": False,
        "value": "vps",
        "help": "the relay to pin",
    }
    assert told["options"][1]["default"] == [8, 20]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("def plan(request, plan:\n    pass\n", "pin.py:1: this is not Python"),
        ("\n\ndef plam(request, plan):\n    return None\n", "pin.py:3: plam is no hook; did you mean plan?"),
        ("\ndef plan(request):\n    return None\n", "pin.py:2: plan has other parameters"),
        ("\nimport nobody_has_this\n", "pin.py:2: cannot be imported"),
        ("\nraise SystemExit(0)\n", "pin.py:2: SystemExit"),
        ("import os\nos._exit(0)\n", "pin.py: ended the whole process that tried it (code 0)"),
        ("print('hello')\n1 / 0\n", "pin.py:2: ZeroDivisionError"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 1))\n", "pin.py:2: NotHere: socket.getaddrinfo"),
        ("import subprocess\nsubprocess.run(['true'])\n", "pin.py:2: NotHere: subprocess.Popen"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(byway: Byway, home: Home, text: str, problem: str) -> None:
    write(home, "pin", text)
    ran = byway("addons", "check", "pin")
    assert ran.code == 7
    assert problem in ran.err


def test_a_file_from_anywhere_can_be_checked(byway: Byway, tmp_path: Path) -> None:
    draft = tmp_path / "draft.py"
    draft.write_text(PIN)
    assert byway("addons", "check", str(draft)).rows[1][:2] == ["draft", "plan"]
    draft.write_text("1 / 0\n")
    assert "draft.py:1: ZeroDivisionError" in byway("addons", "check", str(draft)).err


def test_one_that_does_not_end_is_broken_off(byway: Byway, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addon_apart, "CHECK_S", 0.2)
    write(home, "pin", "\nwhile True:\n    pass\n")
    ran = byway("addons", "check")
    assert ran.code == 7
    assert "does not come to its end when it is loaded, and was broken off here" in ran.err
    assert ran.out == "", "nor is it said that none is on"


def test_a_wrong_option_is_said_with_its_line(byway: Byway, home: Home) -> None:
    home.config.write_text("config_version = 1\n[addons.pin]\nrelais = 1\n")
    write(home, "pin")
    ran = byway("addons", "check")
    assert ran.code == 7
    assert 'config.toml:3: unknown key "relais" in [addons.pin]; did you mean relay?' in ran.err


def test_all_that_are_on_are_checked_and_all_that_is_wrong_is_told(byway: Byway, home: Home) -> None:
    home.config.write_text("[addons.off]\nenabled = false\n")
    for name in ("a", "b", "off"):
        write(home, name, "1 / 0\n")
    write(home, "good")
    ran = byway("addons", "check", "--json")
    assert ran.code == 7
    assert [it["name"] for it in ran.json["addons"]] == ["good"]
    assert len(ran.json["problems"]) == 2


def test_a_file_without_a_hook_is_pointed_out(byway: Byway, home: Home) -> None:
    write(home, "pin", "x = 1\n")
    ran = byway("addons", "check")
    assert ran.code == 0
    assert "has no hook" in ran.err


@pytest.mark.parametrize("verb", ["check", "replay", "enable"])
def test_what_others_could_have_written_is_not_run(byway: Byway, home: Home, tmp_path: Path, verb: str) -> None:
    write(home, "pin", f"open({str(tmp_path / 'ran')!r}, 'w')\n").chmod(0o622)
    ran = byway("addons", verb, "pin")
    assert (ran.code, "others can write to it" in ran.err) == (7, True)
    assert not (tmp_path / "ran").exists()


# -- enable and disable ------------------------------------------------------------------------------------------------


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
    assert running.world.reloads == 1  # nothing had changed
    assert byway("addons", "list").rows[1:] == []  # and a last word, behind which no connection is left half open


# -- docs and path -----------------------------------------------------------------------------------------------------


def test_every_hook_is_documented(byway: Byway) -> None:
    out = byway("addons", "docs").out
    for name, hook in HOOKS.items():
        assert f"def {name}({', '.join(('self', *hook.parameters))})" in out
        assert hook.doc.split("\n")[0] in out
    assert byway("addons", "docs", "plan").out.startswith("def plan(self, request, plan)\n    After rules")
    assert [it["name"] for it in byway("addons", "docs", "--json").json["hooks"]] == list(HOOKS)
    ran = byway("addons", "docs", "plam")
    assert (ran.code, "did you mean plan?" in ran.err) == (2, True)


def test_where_addons_lie(byway: Byway, home: Home) -> None:
    ran = byway("addons", "path")
    assert ran.out.strip() == str(addons_dir(home))
    told = byway("addons", "path", "--json").json
    assert (Path(told["shipped"]) / "notify.py").is_file()


def test_of_a_running_byway_its_own_word_is_shown(byway: Byway, home: Home, running: Running) -> None:
    file = write(home, "pin", f'"""Pins a site."""\n{PIN}')
    found = AddonFile("pin", file, shipped=False, enabled=True)
    running.world.addons = (AddonState(found, running="abc", problems=("pin.py:9: no",), hooks=("plan",)),)
    ran = byway("addons", "list")
    assert ran.rows[1:] == [["pin", "runs", "yours", "plan", "Pins a site."]]
    assert "pin.py:9: no" in ran.err
    told = byway("addons", "list", "--json").json
    assert (told["running"], told["addons"][0]["version"]) == (True, "abc")
