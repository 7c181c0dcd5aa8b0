"""Programs of the desktop: run without a shell, bounded, every failure one sentence."""

from __future__ import annotations

import sys

import pytest

from proxy.setup.desktop.programs import DesktopError, run_program
from tests.support.rows import each_row


def test_it_returns_what_the_program_prints() -> None:
    assert run_program(sys.executable, "-c", "import sys; print(sys.argv[1:])", "a b", "$HOME; c") == (
        "['a b', '$HOME; c']\n"
    )


@each_row(
    ("words", "said"),
    [
        (["no-such-program-of-a-desktop"], "no-such-program-of-a-desktop is not installed"),
        (["sh", "-c", "echo one >&2; echo two >&2; exit 1"], "`sh -c echo one >&2; echo two >&2; exit 1` failed: one"),
        (["sh", "-c", "exit 3"], "`sh -c exit 3` failed: exit code 3"),
        (["/"], "/ cannot be run: permission denied"),
    ],
)
def test_every_failure_is_one_sentence(words: list[str], said: str) -> None:
    with pytest.raises(DesktopError) as failure:
        run_program(*words)
    assert str(failure.value) == said


def test_one_that_hangs_is_left() -> None:
    with pytest.raises(DesktopError, match=r"did not answer within 0\.2 s"):
        run_program(sys.executable, "-c", "import threading; threading.Event().wait()", within_s=0.2)
