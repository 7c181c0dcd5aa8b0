"""A program at its own terminal, with its output in lines."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence

from tests.support.waiting import GIVEN_UP_S, until

BYWAY = [sys.executable, "-m", "proxy"]

_TAKE_CONTROL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup make test` ignores it for all that it starts
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def steady(text: str) -> str:
    """Returns the output of a command without numbers, units, ids and column widths, which differ from run to run."""
    text = re.sub(r"\b[0-9a-f]{16}\b", "ID", text)
    text = re.sub(r"\d+(?:[.:-]\d+)*(?: (?:ms|s|min|B|kB)\b)?", "0", text)
    return re.sub(r"\s+", " ", text.replace("just now", "0 ago")).strip()


class Terminal:
    """`printed` is the output so far, standard output and error. The program is killed at the end of the block. Output
    is read while the event loop runs.

    with Terminal(["byway", "run"], env) as terminal:
        await terminal.until("listens")
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, columns: int = 200, controls: bool = False
    ) -> None:
        """`controls`: the terminal controls the program, like that of a shell."""
        self._columns = columns
        self._prefix = (sys.executable, "-c", _TAKE_CONTROL) if controls else ()
        self._command = command
        self._environment = {key: value for key, value in environment.items() if key not in ("COLUMNS", "LINES")}
        self._master = -1
        self._ended = False
        self.printed = ""
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Terminal:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, self._columns, 0, 0))
        self.process = subprocess.Popen(
            [*self._prefix, *self._command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=self._environment,
            start_new_session=True,
        )
        os.close(slave)
        asyncio.get_running_loop().add_reader(self._master, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._close()

    @property
    def lines(self) -> list[str]:
        return self.printed.splitlines()

    def close_window(self) -> None:
        """Closes the terminal, as if its window was closed, while the program runs."""
        self._close()
        self._master = -1

    async def until(self, text: str) -> None:
        """Waits until a whole line holds `text`. Fails if the program ends before that."""
        await until(lambda: self._ended or any(text in line for line in self.printed.split("\r\n")[:-1]))
        assert text in self.printed, self.printed

    def type(self, keys: bytes) -> None:
        """Sends keys to the program."""
        os.write(self._master, keys)

    async def ends(self) -> int:
        """Waits until the program has ended and its output is read. Returns the exit code."""
        await until(lambda: self._ended, within_s=2 * GIVEN_UP_S)
        return self.process.wait(GIVEN_UP_S)

    def _read(self) -> None:
        try:
            self.printed += os.read(self._master, 65536).decode()
        except OSError:  # EIO: the other side has ended
            self._ended = True
            asyncio.get_running_loop().remove_reader(self._master)

    def _close(self) -> None:
        if self._master < 0:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)


def on_terminal(words: list[str], **environment: str) -> str:
    """What a command prints on a terminal of 100 columns."""
    master, slave = pty.openpty()
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "TERM")}
    env |= {"COLUMNS": "100", "TERM": "xterm", **environment}
    process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=subprocess.DEVNULL, env=env)
    os.close(slave)
    said = b""
    try:
        while chunk := os.read(master, 65536):
            said += chunk
    except OSError:
        pass  # EIO: the other side has ended
    finally:
        os.close(master)
        assert process.wait(30) == 0
    return said.decode()
