"""The process in which an addon's file is tried: what it says comes back, whatever the file does; nothing leaves it."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.features.addons import isolated_run
from proxy.features.addons.isolated_run import run_isolated
from proxy.model.errors import ConfigError
from proxy.terminal.command import Flags


@pytest.fixture
def flags(tmp_path: Path) -> Flags:
    config = tmp_path / "config.toml"
    config.touch()
    return Flags(config=config, state=tmp_path)


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(text)
    return file


def test_what_it_finds_comes_back_and_what_is_printed_does_not(
    tmp_path: Path, flags: Flags, capfd: pytest.CaptureFixture[str]
) -> None:
    told = run_isolated("check", write(tmp_path, "print('hello')\ndef plan(request, plan): ...\n"), flags)
    assert told["hooks"] == ["plan"]
    assert capfd.readouterr() == ("", "hello\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os\nos._exit(3)\n", "ended the process that loaded it (exit code 3)"),
        (
            "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
            "ended the process that loaded it (exit code -9)",
        ),
        ("import os\nos.write(1, b'x' * 100000)\nos.close(1)\nos._exit(0)\n", "ended the process"),
        ("import os\nos.execv('/bin/true', ['true'])\n", "mine.py:2: BlockedInSandbox: os.exec"),
        ("raise KeyboardInterrupt\n", "mine.py:1: KeyboardInterrupt"),
    ],
)
def test_whatever_the_file_does_there_is_an_answer(tmp_path: Path, flags: Flags, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run_isolated("check", write(tmp_path, text), flags)
    assert said in str(caught.value)


def test_threads_that_go_on_do_not_keep_it(tmp_path: Path, flags: Flags) -> None:
    text = "import threading\nthreading.Thread(target=threading.Event().wait).start()\n"
    assert run_isolated("check", write(tmp_path, text), flags)["hooks"] == []


def test_one_that_cannot_be_broken_off_is_ended(tmp_path: Path, flags: Flags, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated_run, "CHECK_S", 0.2)
    monkeypatch.setattr(isolated_run, "_KILL_AFTER_S", 3.0)
    stubborn = "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass\n"
    with pytest.raises(ConfigError, match=r"mine\.py: still running after 3\.2 s"):
        run_isolated("check", write(tmp_path, stubborn), flags)
