"""`byway addons`: new, check, docs and path. What lists and switches them, and replay, have tests of their own."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from proxy.extend.hooks import HOOKS
from proxy.features.addons import isolated_run
from tests.support.addon_files import PIN, addons_dir, write
from tests.support.command_line import Byway, Home

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
    assert "already exists" in ran.err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["a b"], "is not an addon name"),
        (["../x"], "is not an addon name"),
        (["x", "--kind", "plann"], "did you mean plan?"),
    ],
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
        ("def plan(request, plan:\n    pass\n", "pin.py:1: not valid Python"),
        ("\n\ndef plam(request, plan):\n    return None\n", "pin.py:3: plam is not a hook; did you mean plan?"),
        ("\ndef plan(request):\n    return None\n", "pin.py:2: plan has the wrong parameters"),
        ("\nimport nobody_has_this\n", "pin.py:2: cannot be imported"),
        ("\nraise SystemExit(0)\n", "pin.py:2: SystemExit"),
        ("import os\nos._exit(0)\n", "pin.py: ended the process that loaded it (exit code 0)"),
        ("print('hello')\n1 / 0\n", "pin.py:2: ZeroDivisionError"),
        (
            "import socket\nsocket.create_connection(('127.0.0.1', 1))\n",
            "pin.py:2: BlockedInSandbox: socket.getaddrinfo",
        ),
        ("import subprocess\nsubprocess.run(['true'])\n", "pin.py:2: BlockedInSandbox: subprocess.Popen"),
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
    monkeypatch.setattr(isolated_run, "CHECK_S", 0.2)
    write(home, "pin", "\nwhile True:\n    pass\n")
    ran = byway("addons", "check")
    assert ran.code == 7
    assert "loading did not finish (endless loop?) and was stopped at this line" in ran.err
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


# -- docs and path -----------------------------------------------------------------------------------------------------


def test_every_hook_is_documented(byway: Byway) -> None:
    out = byway("addons", "docs").out
    for name, hook in HOOKS.items():
        assert f"def {name}({', '.join(('self', *hook.parameters))})" in out
        assert hook.doc.split("\n")[0] in out
    assert byway("addons", "docs", "plan").out.startswith("def plan(self, request, plan)\n    Called after rules")
    assert [it["name"] for it in byway("addons", "docs", "--json").json["hooks"]] == list(HOOKS)
    ran = byway("addons", "docs", "plam")
    assert (ran.code, "did you mean plan?" in ran.err) == (2, True)


def test_where_addons_lie(byway: Byway, home: Home) -> None:
    ran = byway("addons", "path")
    assert ran.out.strip() == str(addons_dir(home))
    told = byway("addons", "path", "--json").json
    assert (Path(told["shipped"]) / "notify.py").is_file()
