"""Terminals that cannot show everything."""

from __future__ import annotations

import ctypes
import operator
import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from proxy.terminal import terminal
from tests.support.command_line import Home, Running
from tests.support.outcomes import rescued

BYWAY = [sys.executable, "-m", "proxy"]


def run(words: list[str], **environment: str) -> subprocess.CompletedProcess[bytes]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}
    return subprocess.run([*BYWAY, *words], env=kept | environment, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C"},
        {"PYTHONIOENCODING": "ascii"},
        pytest.param({"LANG": "C", "PYTHONUTF8": "0"}, marks=pytest.mark.slow),
        pytest.param({"PYTHONIOENCODING": "latin-1"}, marks=pytest.mark.slow),
        pytest.param({"LC_ALL": "POSIX"}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("words", [["log"], ["status"], ["why", "пример.example"], ["help"], ["rule", "test", "…é.x"]])
def test_no_traceback_where_utf_8_cannot_be_shown(
    home: Home, running: Running, environment: dict[str, str], words: list[str]
) -> None:
    running.see(rescued(host="blog.example.net", at=2e9))
    done = run([*home.flags, *words], **environment)
    assert b"Traceback" not in done.stderr
    assert done.returncode in (0, 2), done.stderr
    if "LC_ALL" in environment or environment.get("PYTHONIOENCODING") == "ascii":
        assert done.stdout.isascii()
        assert done.stderr.isascii()


@pytest.mark.uses("sites")
def test_what_utf_8_shows_stays(home: Home) -> None:
    done = run([*home.flags, "report", "--format", "…é"], LC_ALL="C.UTF-8")
    assert "…é" in done.stderr.decode()


def test_glyphs_have_a_form_in_ascii() -> None:
    error = UnicodeEncodeError("ascii", "✗ blocked → é", 0, 1, "not in range")
    assert terminal._replace(error) == ("x", 1)
    assert terminal._replace(UnicodeEncodeError("ascii", "→é", 0, 2, "not in range")) == ("->\\xe9", 2)
    with pytest.raises(UnicodeDecodeError):
        terminal._replace(UnicodeDecodeError("ascii", b"\xff", 0, 1, "not in range"))


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The keys of a terminal that is standard input."""
    keys, typed = pty.openpty()
    with open(typed) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield keys
    os.close(keys)


@pytest.mark.parametrize(
    ("line", "means"), [(b"y\n", True), (b"YES\n", True), (b"n\n", False), (b"\n", False), (b"what\nyes\n", True)]
)
def test_a_question_is_answered_by_a_line(keys: int, line: bytes, means: bool) -> None:
    os.write(keys, line)
    assert terminal.confirm("Well?") is means


def test_the_end_of_the_input_interrupts_a_question(keys: int) -> None:
    os.write(keys, b"\x04")
    with pytest.raises(KeyboardInterrupt):
        terminal.confirm("Well?")


def test_an_interrupt_just_before_the_wait_for_an_answer_is_not_lost(
    keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes, and the wait begins, before Python has run the handler."""
    really = select.select

    def late(*given: Any) -> Any:
        arrives = partial(ctypes.CDLL(None)["raise"], signal.SIGINT)
        return [*map(operator.call, (arrives, partial(really, *given)))][1]

    monkeypatch.setattr(select, "select", late)
    answers = threading.Timer(10, os.write, (keys, b"yes\n"))  # where it is lost, the wait ends by this
    answers.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            terminal.confirm("Well?")
        assert not really([sys.stdin], [], [], 0)[0], "and not with the answer"
    finally:
        answers.cancel()
        answers.join()


def test_nothing_is_bold_where_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert terminal.bold("x") == "\x1b[1mx\x1b[22m"
    monkeypatch.setenv("TERM", "dumb")
    assert terminal.bold("x") == "x"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "")
    assert terminal.bold("x") == "x"


def test_the_width_is_the_terminals_and_not_less_than_40(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert terminal.width() == 120
    monkeypatch.setenv("COLUMNS", "10")
    assert terminal.width() == terminal.WIDTH_MIN
