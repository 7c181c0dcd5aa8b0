"""Edits of an array of tables (`[[relay]]`) or of a table in a TOML text, by lines: all else stays as it was written.

tomlkit puts what is added to a table behind the comments that belong to the next one, and gathers tables that stand
apart. Here lines are moved, removed and inserted; the caller checks that the result has the meaning it should.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.config.toml_lines import key_lines

_HEADER = re.compile(r"\s*\[\[?[^\[\]]+\]\]?\s*(?:#.*)?\Z")


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines of one table, numbered from 0: comments directly above its header from `top`, the header, keys to `bottom`,
    then comments and blank lines to `end`."""

    top: int
    header: int
    bottom: int
    end: int


class Tables:
    """The tables `[[name]]`, or the table `[name.name]`, of a text. Raises ValueError when there are none, or when they
    are written inline."""

    def __init__(self, text: str, *names: str) -> None:
        self._lines = re.findall(r"[^\n]*\n|[^\n]+", text)
        found = key_lines(text)
        numbers = [
            line - 1
            for path, line in found.items()
            if path[: len(names)] == names and all(isinstance(part, int) for part in path[len(names) :])
        ]
        if len(numbers) > 1:
            numbers = numbers[1:]  # the first line is the array's own
        headers = sorted({line - 1 for line in found.values() if _HEADER.match(self._lines[line - 1].rstrip())})
        if not numbers or not set(numbers) <= set(headers):
            raise ValueError(f"no [[{'.'.join(names)}]] tables")
        tops = {header: self._top(header) for header in headers}
        self._blocks = []
        for number in numbers:
            after = next((tops[header] for header in headers if header > number), len(self._lines))
            self._blocks.append(_Block(tops[number], number, self._bottom(number, after), after))

    def set(self, number: int, key: str, value: str) -> str:
        """The text with `key = value` behind the last key of a table that does not have that key."""
        bottom = self._blocks[number].bottom
        last = self._lines[bottom - 1]
        ending = "\r\n" if last.endswith("\r\n") else "\n"
        closed = last if last.endswith("\n") else last + ending
        return "".join([*self._lines[: bottom - 1], closed, f"{key} = {value}{ending}", *self._lines[bottom:]])

    def append(self, table: str) -> str:
        """The text with one more table, given as it is written, behind the last one and its comments."""
        content, blanks = self._parted(self._blocks[-1])
        top, end = self._blocks[-1].top, self._blocks[-1].end
        return "".join([*self._lines[:top], *content, "\n", table, *blanks, *self._lines[end:]])

    def remove(self, numbers: Sequence[int]) -> str:
        """The text without the headers and keys of these tables; comments around them stay."""
        gone = {line for number in numbers for line in range(self._blocks[number].header, self._blocks[number].bottom)}
        kept: list[str] = []
        for place, line in enumerate(self._lines):
            blank_again = not line.strip() and kept and not kept[-1].strip() and place - 1 in gone
            if place not in gone and not blank_again:
                kept.append(line)
        return "".join(kept)

    def reorder(self, order: Sequence[int]) -> str:
        """The text with the tables in this order, each with the comments above it; the places between them stay."""
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
        """Its lines without the blank ones at the end, each with a line ending, and those."""
        lines = self._lines[block.top : block.end]
        used = next((n for n in range(len(lines), 0, -1) if lines[n - 1].strip()), 0)
        content = [line if line.endswith("\n") else f"{line}\n" for line in lines[:used]]
        return content, lines[used:]

    def _top(self, header: int) -> int:
        """Where the comments begin that stand directly above a header."""
        top = header
        while top > 0 and self._lines[top - 1].lstrip().startswith("#"):
            top -= 1
        return top

    def _bottom(self, header: int, end: int) -> int:
        """Behind the last key."""
        return next(
            line for line in range(end, header, -1)
            if self._lines[line - 1].strip() and not self._lines[line - 1].lstrip().startswith("#")
        )  # fmt: skip
