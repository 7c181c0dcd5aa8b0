"""Edits of an array of tables (`[[relay]]`) or of a table in a TOML text, by lines: all else stays as it was written.

tomlkit adds keys behind the comments that belong to the next table, and moves tables that stand in several places
together. Here lines are moved, removed and inserted; the caller checks that the result has the expected meaning.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

from proxy.config.toml_lines import key_lines
from proxy.model.frozen_dataclass import frozen_dataclass

_HEADER = re.compile(r"\s*\[\[?[^\[\]]+\]\]?\s*(?:#.*)?\Z")


@frozen_dataclass
class _Block:
    """Lines of one table, numbered from 0: comments directly above its header from `top`, the header, keys to `bottom`,
    then comments and blank lines to `end`."""

    top: int
    header: int
    bottom: int
    end: int


class Tables:
    """The tables `[[name]]`, or the table `[name.name]`, of a text. Raises ValueError when there are none, when they
    are written inline, or when only a table in them has a header."""

    def __init__(self, text: str, *names: str) -> None:
        self._lines = re.findall(r"[^\n]*\n|[^\n]+", text)
        lines = {line - 1 for line in key_lines(text).values()}
        headers = sorted(line for line in lines if _HEADER.match(self._lines[line].rstrip()))
        numbers = [line for line in headers if self._is_header_of(line, names)]
        if not numbers:
            raise ValueError(f"no [[{'.'.join(names)}]] tables")
        tops = {header: self._top(header) for header in headers}
        self._blocks = []
        for number in numbers:
            after = next((tops[header] for header in headers if header > number), len(self._lines))
            self._blocks.append(_Block(tops[number], number, self._bottom(number, after), after))

    def set(self, number: int, key: str, value: str) -> str:
        """Returns the text with `key = value` after the last key of a table that does not have that key."""
        bottom = self._blocks[number].bottom
        last = self._lines[bottom - 1]
        ending = "\r\n" if last.endswith("\r\n") else "\n"
        closed = last if last.endswith("\n") else last + ending
        return "".join([*self._lines[: bottom - 1], closed, f"{key} = {value}{ending}", *self._lines[bottom:]])

    def written(self, number: int) -> str:
        """Returns the header and the keys of a table, as they are written."""
        block = self._blocks[number]
        lines = self._lines[block.header : block.bottom]
        return "".join([*lines[:-1], lines[-1] if lines[-1].endswith("\n") else f"{lines[-1]}\n"])

    def append(self, table: str) -> str:
        """Returns the text with one more table, given as text, after the last one and its comments."""
        content, blanks = self._parted(self._blocks[-1])
        top, end = self._blocks[-1].top, self._blocks[-1].end
        return "".join([*self._lines[:top], *content, "\n", table, *blanks, *self._lines[end:]])

    def remove(self, numbers: Sequence[int]) -> str:
        """Returns the text without the headers and keys of these tables; comments around them stay."""
        blocks = [self._blocks[number] for number in numbers]
        removed = {line for block in blocks for line in range(block.header, block.bottom)}
        remaining: list[str] = []
        for place, line in enumerate(self._lines):
            is_second_blank = not line.strip() and remaining and not remaining[-1].strip() and place - 1 in removed
            if place not in removed and not is_second_blank:
                remaining.append(line)
        return "".join(remaining)

    def reorder(self, order: Sequence[int]) -> str:
        """Returns the text with the tables in this order, each with the comments above it; the text between them stays
        where it is."""
        lines: list[str] = []
        at = 0
        for slot, number in zip(self._blocks, order, strict=True):
            lines += self._lines[at : slot.top]
            content, _ = self._parted(self._blocks[number])
            _, blanks = self._parted(slot)
            lines += [*content, *blanks]
            at = slot.end
        return "".join([*lines, *self._lines[at:]])

    def _parted(self, block: _Block) -> tuple[list[str], list[str]]:
        """Returns the lines of a block, each with a line ending, and apart from them the blank lines at its end."""
        lines = self._lines[block.top : block.end]
        used = next((n for n in range(len(lines), 0, -1) if lines[n - 1].strip()), 0)
        content = [line if line.endswith("\n") else f"{line}\n" for line in lines[:used]]
        return content, lines[used:]

    def _is_header_of(self, line: int, names: Sequence[str]) -> bool:
        """Whether a line is the header of the table itself, as `[dns]` is, and not of one in it: `[dns.hosts]`."""
        try:
            table: Any = tomllib.loads(self._lines[line])
        except tomllib.TOMLDecodeError:  # an element of an array that looks like one
            return False
        for name in names:
            table = table.get(name, {None: None})
        return table in ({}, [{}])

    def _top(self, header: int) -> int:
        """Returns the first line of the comments directly above a header."""
        top = header
        while top > 0 and self._lines[top - 1].lstrip().startswith("#"):
            top -= 1
        return top

    def _bottom(self, header: int, end: int) -> int:
        """Returns the line after the last key."""
        return next(
            line for line in range(end, header, -1)
            if self._lines[line - 1].strip() and not self._lines[line - 1].lstrip().startswith("#")
        )  # fmt: skip
