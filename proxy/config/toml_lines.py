"""Where each key of a TOML document stands.

tomllib reads values but keeps no positions, and an error without a line is a hunt. This goes once through a document
that tomllib has accepted, so it need not judge anything: it only follows keys, headers, inline tables and arrays, and
steps over values. Paths are as in the parsed document: names for keys, numbers for elements of arrays.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import NamedTuple

Path = tuple[str | int, ...]

PARTS_LIMIT = 32
"""Of a key. The time for one grows with their square, here and in tomllib: half an hour for a megabyte. `load` checks
config.toml itself; this is for what is read beside it."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|'[^'\n]*'|"(?:[^"\\\n]|\\.)*\"""")
_STRING = re.compile(
    r'''"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'''  # a closing delimiter may follow one or two quotes of the content
    r"""|'''(?:[^']|'{1,2}(?!'))*'{3,5}"""
    r"""|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}\r\n#]+")


class Place(NamedTuple):
    """Where an assignment or an element of an array stands, by offsets in the text."""

    start: int  # of its key; of an element, of its value
    value: int
    end: int  # of its value
    table: Path  # whose header or brace it stands behind; () for the top of the document


class Positions(NamedTuple):
    """Where everything stands, in the order of the text."""

    lines: dict[Path, int]  # from 1: of every key, header and element; the first, where there are several
    values: dict[Path, Place]  # of every assignment and element
    headers: dict[Path, int]  # offset of the header of each table, which for `[[…]]` has a number at its end


def key_lines(text: str) -> dict[Path, int]:
    """The line, from 1, of every key, header and array element of a valid document; the first, where a table is
    mentioned more than once. Raises ValueError for a key of more than PARTS_LIMIT parts and, perhaps, for a document
    that is not valid."""
    return positions(text).lines


def positions(text: str) -> Positions:
    """Returns where everything of a valid document stands. Raises ValueError as `key_lines` does."""
    return _Walk(text).positions()


class _Walk:
    __slots__ = ("_at", "_found", "_headers", "_latest", "_line_starts", "_text", "_values")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._found: dict[Path, int] = {}
        self._values: dict[Path, Place] = {}
        self._headers: dict[Path, int] = {}
        self._latest: dict[Path, int] = {}  # array of tables → number of its latest element
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def positions(self) -> Positions:
        table: Path = ()
        while True:
            self._skip(_BLANK)
            start = self._at
            if start >= len(self._text):
                return Positions(self._found, self._values, self._headers)
            if self._accept("[["):
                table = self._header(of_array=True)
                self._headers[table] = start
            elif self._accept("["):
                table = self._header(of_array=False)
                self._headers[table] = start
            else:
                self._assignment(table)

    def _header(self, *, of_array: bool) -> Path:
        line = self._line()
        *outer, last = self._dotted_key()
        self._accept("]]" if of_array else "]")
        path: Path = ()
        for key in outer:
            path = self._element((*path, key))
            self._note(path, line)
        path = (*path, last)
        self._note(path, line)
        if of_array:
            self._latest[path] = self._latest.get(path, -1) + 1
        path = self._element(path)
        self._note(path, line)
        return path

    def _element(self, path: Path) -> Path:
        """The table that a name in a header means: of an array of tables, its latest element."""
        return (*path, self._latest[path]) if path in self._latest else path

    def _assignment(self, table: Path) -> None:
        line, start = self._line(), self._at
        path = table
        for key in self._dotted_key():
            path = (*path, key)
            self._note(path, line)
        self._accept("=")
        self._skip(_SPACE)
        self._value(path, start, table)

    def _dotted_key(self) -> list[str]:
        keys = list[str]()
        while True:
            if len(keys) == PARTS_LIMIT:
                raise ValueError(f"line {self._line()}: a key has more than {PARTS_LIMIT} parts")
            self._skip(_SPACE)
            keys.append(_plain_key(self._skip(_KEY)))
            self._skip(_SPACE)
            if not self._accept("."):
                return keys

    def _value(self, path: Path, start: int, table: Path) -> None:
        value, blanks = self._at, 0
        if self._accept("["):
            self._array(path)
        elif self._accept("{"):
            self._inline_table(path)
        elif self._text.startswith(('"', "'"), self._at):
            self._skip(_STRING)
        else:
            scalar = self._skip(_SCALAR)
            blanks = len(scalar) - len(scalar.rstrip())  # before a comment or a bracket
        self._values[path] = Place(start, value, self._at - blanks, table)

    def _array(self, path: Path) -> None:
        number = 0
        self._skip(_BLANK)
        while not self._accept("]"):
            self._note((*path, number), self._line())
            self._value((*path, number), self._at, path)
            number += 1
            self._skip(_BLANK)
            self._accept(",")
            self._skip(_BLANK)

    def _inline_table(self, path: Path) -> None:
        self._skip(_BLANK)
        while not self._accept("}"):
            self._assignment(path)
            self._skip(_BLANK)
            self._accept(",")
            self._skip(_BLANK)

    def _note(self, path: Path, line: int) -> None:
        self._found.setdefault(path, line)

    def _line(self) -> int:
        return bisect_right(self._line_starts, self._at)

    def _accept(self, text: str) -> bool:
        found = self._text.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise ValueError(f"line {self._line()} is not TOML")
        self._at = match.end()
        return match.group()


def _plain_key(key: str) -> str:
    if key.startswith("'"):
        return key[1:-1]
    if key.startswith('"'):
        return str(tomllib.loads(f"key = {key}")["key"])
    return key
