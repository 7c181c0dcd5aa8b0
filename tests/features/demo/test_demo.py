from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.features.demo import byway_process as instance
from proxy.features.demo import demo
from proxy.features.demo.demo_world import DemoWorld
from proxy.model.document_version import VERSION


@pytest.mark.uses("sites", "today", "traffic")
def test_tells_a_story_that_came_true(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "proxy", "demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for said in (
        "Byway has one relay and no rules",
        "blocked.test  connection reset",
        "direct was reset, the relay delivered",
        "the relay at once: Byway remembers",
        "direct: connection reset after the TLS ClientHello",
        f"Next:\n  {sys.executable} -m proxy run\n",
    ):
        assert said in done.stdout
    lines = [line for line in done.stdout.splitlines() if not line.startswith(f"  {sys.executable} ")]
    assert max(map(len, lines)) <= 80  # a command has its line alone, since the path to it may be long


@pytest.mark.uses("sites", "today", "traffic")
def test_for_programs_it_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["version"] == VERSION
    assert told["ok"] is True
    assert [(visit["visit"], visit["host"], visit["result"]) for visit in told["visits"]] == [
        (0, "open.test", "opens"), (0, "blocked.test", "connection reset"),
        (1, "open.test", "direct"), (1, "blocked.test", "relay"),
        (2, "open.test", "direct"), (2, "blocked.test", "relay"),
    ]  # fmt: skip
    assert [row["winner"] for row in told["log"]] == ["direct", "relay", "direct", "relay"]


def test_for_programs_what_did_not_happen_is_in_the_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(instance, "command", lambda *_: [sys.executable, "-c", "raise SystemExit('no such luck')"])
    assert demo.main(as_json=True) == 1
    said = capsys.readouterr()
    assert said.err == ""
    told = json.loads(said.out)
    assert (told["ok"], told["visits"]) == (False, [])
    assert "no such luck" in told["error"]


@pytest.mark.uses("sites", "today", "traffic")
def test_the_users_own_settings_do_not_change_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BYWAY_LISTEN__PORT", "no port")
    monkeypatch.setenv("BYWAY_STATE", str(tmp_path / "mine"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert demo.main() == 0, capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_censor_that_does_not_cut_is_noticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The control: the demo does not tell what did not happen."""
    monkeypatch.setattr(demo, "DemoWorld", lambda folder, opened, _: _Lenient(folder, opened, demo.BLOCKED))
    assert demo.main() == 1
    assert "this did not happen: blocked.test is blocked without Byway" in capsys.readouterr().err


def test_a_byway_that_does_not_start_is_noticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(instance, "command", lambda *_: [sys.executable, "-c", "raise SystemExit('no such luck')"])
    assert demo.main() == 1
    assert "Byway did not start; its output: no such luck" in capsys.readouterr().err


class _Lenient(DemoWorld):
    """A stage whose censor lets everything through."""

    def __init__(self, folder: Path, opened: str, blocked: str) -> None:
        super().__init__(folder, opened, blocked)
        self.blocked = "nothing.test"
