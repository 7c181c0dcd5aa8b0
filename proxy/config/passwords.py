"""Runs `password_cmd`, for passwords that are stored outside the configuration.

A command is run once, since a keyring may ask its user, and again when the user asks for that (SIGHUP). Neither what it
printed nor the command itself is ever part of an error: a command may contain the password.
"""

from __future__ import annotations

import shlex
import subprocess

from proxy.model.errors import reason_of

_TIMEOUT_S = 30.0
"""A keyring may have to ask its user."""


class Passwords:
    """The passwords that commands printed, so that an edit of the configuration runs no command again."""

    def __init__(self) -> None:
        self._by_command: dict[str, str] = {}

    def forget(self) -> None:
        """Each command is run again when its password is next needed."""
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
    except (ValueError, IndexError):  # a quote that does not end, or nothing at all
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
