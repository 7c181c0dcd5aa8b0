"""The standard streams, the width of the terminal, its characters, and bold text.

A terminal that is not UTF-8 gets ASCII in place of glyphs, arrows and dashes, and an escape in place of any other
character: no character of a site's name, or of Byway's texts, may end a command with a traceback.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata
from collections.abc import Mapping

WIDTH_MIN = 40
"""Columns; on a narrower terminal lines are wrapped by the terminal."""

_ASCII: Mapping[str, str] = {
    "✓": "+", "✗": "x", "◐": "~", "↯": "!", "◔": "o", "⚠": "!", "↓": "v", "⊘": "/", "∅": "-", "⌂": "-", "·": ".",
    "–": "-", "—": "-", "−": "-", "→": "->", "←": "<-", "…": "...", "×": "x", "“": '"', "”": '"', "‘": "'",
    "’": "'", "\N{NO-BREAK SPACE}": " ", "≥": ">=", "≤": "<=",
}  # fmt: skip
"""The ASCII in place of our own characters. Every glyph has a word beside it."""

_ERRORS = "byway-ascii"
_C_LOCALES = ("C", "POSIX")


def prepare_streams(environment: Mapping[str, str] = os.environ) -> None:
    """Makes standard output and error accept every character: those that their encoding lacks are replaced."""
    codecs.register_error(_ERRORS, _replace)
    encoding = "ascii" if _wants_ascii(environment) else None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=encoding, errors=_ERRORS)


def leave_stdout() -> None:
    """Redirects stdout to /dev/null, after a broken pipe, as with `| head`, or a full disk. Otherwise the interpreter's
    flush at exit would fail."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)


def confirm(question: str) -> bool:
    """Asks on the terminal; Enter alone means no. Raises KeyboardInterrupt at Ctrl-C and at the end of the input."""
    while True:
        print(f"{question} [y/N]: ", end="", file=sys.stderr, flush=True)
        answer = _typed_line().strip().lower()
        if answer in ("y", "yes"):
            return True
        if answer in ("n", "no", ""):
            return False
        print("Error: invalid input", file=sys.stderr)


def _typed_line() -> str:
    """Returns a line of the terminal. `input` loses a Ctrl-C that comes between the question and its read: Python notes
    the signal, and the read waits. So this waits for signals as well, and reads once there is a line."""
    import select
    import signal
    import socket

    assert sys.stdin is not None
    if os.name != "nt":
        woken, wakes = socket.socketpair()
        with woken, wakes:
            wakes.setblocking(False)
            before = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
            try:
                while sys.stdin not in select.select([sys.stdin, woken], [], [])[0]:
                    woken.recv(1)
            finally:
                signal.set_wakeup_fd(before)
    if not (line := sys.stdin.readline()):
        raise KeyboardInterrupt
    return line


def width() -> int:
    """Returns the columns of the terminal, at least WIDTH_MIN; 80 when they are unknown."""
    import shutil  # it loads the modules of bz2 and xz

    return max(WIDTH_MIN, shutil.get_terminal_size((80, 24)).columns)


def bold(text: str) -> str:
    """Returns `text` in bold; unchanged with NO_COLOR and on a terminal without bold."""
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM", "dumb") == "dumb"
    return text if plain or not text else f"\x1b[1m{text}\x1b[22m"


def columns_of(text: str) -> int:
    """Returns the columns of `text` on a terminal: a wide character takes two, a combining one and a zero-width
    non-joiner, which Persian has inside words, none."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(c) or c == _ZERO_WIDTH_NON_JOINER
        else 2
        if unicodedata.east_asian_width(c) in ("W", "F")
        else 1
        for c in text
    )


_ZERO_WIDTH_NON_JOINER = "\u200c"


def padded(text: str, columns: int) -> str:
    """Returns `text` filled to `columns` with spaces: after it, or before it when `columns` is negative."""
    spaces = " " * (abs(columns) - columns_of(text))
    return text + spaces if columns > 0 else spaces + text


def _wants_ascii(environment: Mapping[str, str]) -> bool:
    """Whether the user chose the C locale. Python reads it as UTF-8 (PEP 538, PEP 540); the terminal may not."""
    chosen = environment.get("PYTHONIOENCODING") or environment.get("PYTHONUTF8") == "1"
    return not chosen and environment.get("LC_ALL") in _C_LOCALES


def _replace(error: UnicodeError) -> tuple[str, int]:
    """The error handler of the standard streams: replaces what the encoding does not have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    failed = error.object[error.start : error.end]
    return "".join(_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in failed), error.end
