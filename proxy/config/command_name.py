"""Writes commands in the form that works in this user's shell, so that a printed command can be copied.

Texts contain commands as `byway …`. `as_typed` replaces them when a text is shown on a terminal or a page. JSON and the
log keep `byway …`: their readers may use another shell.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from functools import cache

_NAME = "byway"

COMMANDS = (
    "addons", "browser", "ca", "config", "demo", "doctor", "env", "forget", "help", "import", "lan", "list", "log",
    "mode", "open", "pac", "pause", "relay", "report", "restart", "resume", "rule", "run", "service", "site", "status",
    "stop", "system", "test", "version", "why",
)  # fmt: skip
"""The commands that texts contain."""

_BARE = re.compile(r"[\w./\\:~+,@-]+" if sys.platform == "win32" else r"[\w./:~+,@-]+")
"""A word that needs no quotes in any shell."""

_COMMAND = rf"(?<![\w./-]){_NAME}(?= (?:(?:{'|'.join(COMMANDS)})(?!\w|[.:]\w)|--\w))"


def command_words(started_as: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """Returns `byway` when PATH leads to this installation; otherwise the words that started it, such as
    `.venv/bin/byway`. `started_as` is `sys.argv[0]`."""
    folder, file = os.path.split(started_as)
    if file == "__main__.py" and os.path.basename(folder) == "proxy":
        return (sys.orig_argv[0], "-m", "proxy")
    if file.removesuffix(".exe") != _NAME:  # another program that uses Byway's code
        return (_NAME,)
    # shutil.which would load the modules of bz2 and xz.
    places = (os.path.join(folder, file) for folder in env.get("PATH", "").split(os.pathsep))
    program = next((place for place in places if os.path.isfile(place) and os.access(place, os.X_OK)), None)
    is_in_path = program is not None and os.path.exists(started_as) and os.path.samefile(program, started_as)
    return (_NAME if is_in_path else started_as,)


def command_name(started_as: str, env: Mapping[str, str]) -> str:
    """Returns `command_words` as one text, with quotes where a folder has a space in its name."""
    return " ".join(map(_quoted, command_words(started_as, env)))


def _quoted(word: str) -> str:
    if _BARE.fullmatch(word):
        return word
    if sys.platform == "win32":
        return f'"{word}"'
    import shlex  # few paths need quotes

    return shlex.quote(word)


def as_typed(text: str, command: str) -> str:
    """Returns the text with `command` in place of `byway` in its commands. `command` comes from `command_name`."""
    return text if command == _NAME or _NAME not in text else re.sub(_COMMAND, lambda _: command, text)


@cache
def typed_here() -> str:
    """Returns `command_name` for this process."""
    return command_name(sys.argv[0], os.environ)


@cache
def words_here() -> tuple[str, ...]:
    """Returns `command_words` for this process, for callers that quote by other rules."""
    return command_words(sys.argv[0], os.environ)
