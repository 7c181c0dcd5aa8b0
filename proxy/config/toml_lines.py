"""Finds the position of each key of a TOML document, for messages with a line and for edits.

tomllib parses values without their positions. This parser walks once through a document that tomllib has accepted, so
it checks nothing: it follows keys, headers, inline tables and arrays, and skips values. Paths are those of the parsed
document: names for keys, numbers for elements of arrays.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import NamedTuple

Path = tuple[str | int, ...]

PARTS_LIMIT = 32
"""The most parts of a key. The time for a key grows with their square, here and in tomllib: half an hour for a
megabyte. `load` checks config.toml by itself; this limit is for other documents."""

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
    """The position of an assignment or of an element of an array, as offsets in the text."""

    start: int  # of the key; for an element, of the value
    value: int  # the start of the value
    end: int  # of the value
    table: Path  # the table or array in whose section or braces it is; () at the top of the document


class Positions(NamedTuple):
    """The positions in a document, in the order of the text."""

    lines: dict[Path, int]  # the line, from 1, of every key, header and element; the first of several
    values: dict[Path, Place]  # every assignment and element
    headers: dict[Path, int]  # the offset of every header; the path of a `[[…]]` ends with a number


def key_lines(text: str) -> dict[Path, int]:
    """Returns the line, from 1, of every key, header and array element of a valid document; the first line of a table
    with several headers. Raises ValueError for a key of more than PARTS_LIMIT parts, and may raise it for an invalid
    document."""
    return positions(text).lines


def positions(text: str) -> Positions:
    """Returns the positions in a valid document. Raises ValueError as `key_lines` does."""
    return _Walk(text).positions()


class _Walk:
    __slots__ = ("_at", "_headers", "_latest", "_line_starts", "_lines", "_text", "_values")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[Path, int] = {}
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
                return Positions(self._lines, self._values, self._headers)
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
        """Returns the path of the table that a name in a header refers to: for an array of tables, its last element."""
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
        self._lines.setdefault(path, line)

    def _line(self) -> int:
        return bisect_right(self._line_starts, self._at)

    def _accept(self, text: str) -> bool:
        is_next = self._text.startswith(text, self._at)
        self._at += len(text) if is_next else 0
        return is_next

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
