"""Runs `password_cmd`, for passwords that are stored outside the configuration.

A command is run once, since a keyring may ask its user, and again after SIGHUP. An error contains neither the output
nor the command, which may itself contain the password.
"""

from __future__ import annotations

import shlex
import subprocess

from proxy.model.errors import reason_of

_TIMEOUT_S = 30.0
"""Seconds for one command: a keyring may ask its user."""


class Passwords:
    """The passwords that commands printed. They are kept, so that a reload does not run the commands again."""

    def __init__(self) -> None:
        self._by_command: dict[str, str] = {}

    def forget(self) -> None:
        """Forgets all passwords, so that each command is run again."""
        self._by_command.clear()

    def ask(self, command: str) -> str:
        """Returns the first line that `command` prints. Raises ValueError with a sentence."""
        if command not in self._by_command:
            self._by_command[command] = _first_line(_run(command))
        return self._by_command[command]


def _run(command: str) -> bytes:
    try:
        done = subprocess.run(
            shlex.split(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=_TIMEOUT_S, check=True
        )
    except subprocess.CalledProcessError as error:
        raise ValueError(f"its password command failed with exit code {error.returncode}") from None
    except subprocess.TimeoutExpired:
        raise ValueError(f"its password command did not finish within {_TIMEOUT_S:g} s") from None
    except OSError as error:
        raise ValueError(f"its password command cannot be run: {reason_of(error)}") from None
    except (ValueError, IndexError):  # a missing closing quote, or an empty command
        raise ValueError("its password command is not a valid command line") from None
    return done.stdout


def _first_line(printed: bytes) -> str:
    try:
        lines = printed.decode().splitlines()
    except ValueError:
        raise ValueError("its password command printed something that is not text") from None
    if not lines or not lines[0]:
        raise ValueError("its password command printed no password on its first line")
    return lines[0]
