"""Runs the desktop's programs, such as gsettings, without a shell and with a time limit.

Byway uses no library of a desktop: the programs are part of every installation, and their faults cannot harm the proxy.
A program that is missing, fails or hangs raises a DesktopError with one sentence.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Protocol

from proxy.model.errors import BywayError, reason_of

TIMEOUT_S = 5.0
"""Seconds for one program, which usually takes 30 ms. One that waits for a session bus that does not answer must not
delay the end of Byway."""


class DesktopError(BywayError):
    """A request to the desktop failed."""


class ProgramFailed(DesktopError):
    """A program of the desktop ended with an exit code other than 0."""

    def __init__(self, words: Sequence[str], code: int, said: str) -> None:
        """`said` is the program's output; its first line is the reason."""
        reason, *_ = said.strip().splitlines() or [f"exit code {code}"]
        super().__init__(f"`{' '.join(words)}` failed: {reason}")


class RunProgram(Protocol):
    """Runs programs of the desktop."""

    def __call__(self, *words: str) -> str:
        """Runs a program, given as its words, and returns its output. Raises ProgramFailed for another exit code than
        0, and DesktopError when it cannot be run or takes too long."""
        ...


def find_program(name: str) -> str | None:
    """Returns the path of a program; None when it is not installed."""
    import shutil  # it loads the modules of bz2 and xz, which a start does not need

    return shutil.which(name)


def run_program(*words: str, within_s: float = TIMEOUT_S) -> str:
    """As RunProgram. Ends the program after `within_s`."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=within_s,
            check=False,
            start_new_session=True,  # Ctrl-C must not end it: Byway restores the setting after Ctrl-C
        )
    except FileNotFoundError:
        raise DesktopError(f"{words[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise DesktopError(f"{words[0]} did not answer within {within_s:g} s") from None
    except OSError as error:
        raise DesktopError(f"{words[0]} cannot be run: {reason_of(error)}") from None
    if done.returncode:
        raise ProgramFailed(words, done.returncode, done.stderr or done.stdout)
    return done.stdout
