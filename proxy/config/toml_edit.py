"""Edits a TOML text in place: an edit changes only the characters of a value, a key or a table. Comments, order,
spacing and line ends stay.

Positions come from `toml_lines`, values from tomllib: at the end the text is parsed and must equal the edited document.
(Why not tomlkit: CONTRIBUTING.md.)
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from proxy.config.toml_lines import Path, Place, positions
from proxy.model.frozen_dataclass import frozen_dataclass

Value = bool | int | float | str | Sequence[str]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
_COMMA = re.compile(r"(?:[ \t\r\n]|#[^\n]*\n)*,")
_REST_OF_LINE = re.compile(r"[ \t]*+(,?)[ \t]*+(?:#[^\n]*)?\r?\n")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""Characters that a string on one line must escape."""


def literal(value: Value) -> str:
    """Returns a value as TOML on one line."""
    if isinstance(value, str):
        escaped = _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", value.replace("\\", "\\\\").replace('"', '\\"'))
        return f'"{escaped}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return f"[{', '.join(map(literal, value))}]"


def _key(name: str | int) -> str:
    return str(name) if _BARE_KEY.match(str(name)) else literal(str(name))


@frozen_dataclass
class _Block:
    """The lines of a table with a header, numbered from 0: comments directly above the header from `top`, the header,
    keys up to `bottom`, then comments and blank lines up to `end`."""

    top: int
    header: int
    bottom: int
    end: int


class TomlText:
    """A valid TOML text that is edited. Paths are those of the parsed document: `("relay", 0, "enabled")`. Every method
    raises ValueError when an earlier edit has made the text invalid."""

    def __init__(self, text: str) -> None:
        self._read(text)  # before tomllib, which would take minutes for some keys that this refuses
        self.document: dict[str, Any] = tomllib.loads(text)
        """The parsed document, with the edits."""

    def finished(self) -> str:
        """Returns the edited text. Raises ValueError when it does not parse as `document`: its style is not
        supported."""
        if tomllib.loads(self._text) != self.document:
            raise ValueError("the text is written in a way that cannot be edited")
        return self._text

    # -- keys ----------------------------------------------------------------------------------------------------------

    def set(self, path: Path, value: Value) -> None:
        """Replaces a value, or adds a key after the last one of its table. Adds a missing table. In an array it removes
        and adds only the elements that differ, so that the others keep their comments."""
        *outer, key = path
        table: Any = self.document
        for name in outer:
            table = table.setdefault(name, {}) if isinstance(name, str) else table[name]
        wanted = value if isinstance(value, bool | int | float | str) else list(value)
        before, table[key] = table.get(key), wanted
        if (place := self._at.values.get(path)) is None:
            self._add(tuple(outer), f"{_key(key)} = {literal(value)}")
        elif not (isinstance(before, list) and isinstance(wanted, list) and self._set_elements(path, before, wanted)):
            self._splice(place.value, place.end, literal(value))

    def _set_elements(self, path: Path, before: Sequence[object], wanted: Sequence[str]) -> bool:
        """Removes and adds elements of an array until it has those that are wanted. Returns False, without an edit,
        when it would keep none."""
        kept, gone = 0, list[int]()
        for number, element in enumerate(before):
            if kept < len(wanted) and element == wanted[kept]:
                kept += 1
            else:
                gone.append(number)
        if not kept:
            return False
        for number in reversed(gone):
            self._cut_element(self._at.values[*path, number])
        for element in wanted[kept:]:
            self._add_in_braces(path, literal(element))
        return True

    def _cut_element(self, place: Place) -> None:
        """Removes an element of an array. If it has its own lines, removes these with the comment after it."""
        first = self._starts[self._line(place.start)]
        rest = _REST_OF_LINE.match(self._text, place.end)
        is_first = not self._text[first : place.start].strip()
        if rest and is_first and (rest[1] or not _COMMA.match(self._text, place.end)):
            self._splice(first, rest.end(), "")
        else:
            self._cut_from_braces(place)

    def remove(self, path: Path) -> None:
        """Removes a key, or a table with its content. Comments above it stay. Raises KeyError when it is missing."""
        tables: list[Any] = [self.document]
        for name in path[:-1]:
            tables.append(tables[-1][name])
        del tables[-1][path[-1]]
        place = self._at.values.get(path)
        if place and place.table in self._at.values:
            self._cut_from_braces(place)
        else:
            removed = set[int]()
            for block in (block for each, block in self._blocks().items() if each[: len(path)] == path):
                removed.update(range(block.header, block.bottom))
            for each, place in self._at.values.items():
                if each[: len(path)] == path:
                    removed.update(range(self._line(place.start), self._line(place.end) + 1))
            self._read("".join(line for number, line in enumerate(self._lines) if number not in removed))
        for depth in range(len(path) - 1, 0, -1):  # a table of dotted keys ends with its last key
            if tables[depth] or any(each[:depth] == path[:depth] for each in (*self._at.values, *self._at.headers)):
                break
            del tables[depth - 1][path[depth - 1]]

    def _add(self, table: Path, assignment: str) -> None:
        """Adds a key to a table of any style: with a header, with dotted keys, inline, or missing."""
        values, depth = self._at.values, len(table)
        dotted = [
            place for path, place in values.items()
            if path[:depth] == table and len(place.table) < depth < len(path) and place.table not in values
        ]  # fmt: skip
        inline = next((table[:length] for length in range(depth, 0, -1) if table[:length] in values), ())
        if table in self._at.headers:
            self._insert_line(self._blocks()[table].bottom, assignment)
        elif dotted:
            place = max(dotted)
            inner = "".join(f"{_key(name)}." for name in table[len(place.table) :])
            self._insert_line(self._line(place.end) + 1, f"{inner}{assignment}")
        elif inline:
            inner = "".join(f"{_key(name)}." for name in table[len(inline) :])
            self._add_in_braces(inline, f"{inner}{assignment}")
        else:
            self._add_text(f"[{'.'.join(map(_key, table))}]\n{assignment}\n", gap=self._ending)

    def _add_in_braces(self, path: Path, item: str) -> None:
        """Adds an item to an inline table or an array, after its items and comments."""
        place = self._at.values[path]
        close = place.end - 1
        last = max((each for each in self._at.values.values() if each.table == path), default=None)
        if last is None:
            is_bare = not self._text[place.value + 1 : close].strip() and self._text[close] == "}"
            self._splice(place.value + 1 if is_bare else close, close, f" {item} " if is_bare else item)
            return
        tail = self._text[last.end : close].rstrip()
        is_ended = _COMMA.match(tail) is not None
        gap = " "
        if "\n" in self._text[last.end : close]:
            before = self._text[self._starts[self._line(last.start)] : last.start]
            gap = self._ending + ("  " if before.strip() else before)
        added = f"{'' if is_ended else ','}{tail}{gap}{item}{',' if is_ended else ''}"
        self._splice(last.end, last.end + len(tail), added)

    def _cut_from_braces(self, place: Place) -> None:
        beside = sorted(each for each in self._at.values.values() if each.table == place.table)
        number = beside.index(place)
        if number + 1 < len(beside):
            self._splice(place.start, beside[number + 1].start, "")
        else:
            self._splice(beside[number - 1].end if number else place.start, place.end, "")

    # -- arrays of tables ----------------------------------------------------------------------------------------------

    def append(self, array: str, table: Mapping[str, Value]) -> None:
        """Adds a table after those of an array: with a header, or inline when those are inline."""
        lines = [f"{_key(key)} = {literal(value)}" for key, value in table.items()]
        if self.document.get(array) and (array,) in self._at.values:
            self.document[array].append(dict(table))
            self._add_in_braces((array,), f"{{ {', '.join(lines)} }}")
            return
        if array in self.document and (array,) in self._at.values:  # array = []
            self.remove((array,))
        self._append(array, "\n".join([f"[[{array}]]", *lines, ""]), gap="")

    def append_written(self, array: str, table: str) -> None:
        """Adds a table, given as TOML text, after those of an array."""
        self._append(array, table, gap=self._ending)

    def _append(self, array: str, table: str, *, gap: str) -> None:
        """Adds a table. `gap` goes before it when it is the first of the array, at the end of the text."""
        self.document.setdefault(array, []).extend(tomllib.loads(table)[array])
        blocks = self._tables(array)
        if not blocks:
            self._add_text(table, gap=gap)
            return
        content, blanks = self._parted(blocks[-1])
        before, after = self._lines[: blocks[-1].top], self._lines[blocks[-1].end :]
        self._read("".join([*before, *content, self._ending, self._with_endings(table), *blanks, *after]))

    def written(self, array: str, number: int) -> str:
        """Returns the text of a table's header and keys. Raises ValueError when it has no header."""
        blocks = self._tables(array)
        if number >= len(blocks):
            raise ValueError(f"there are no [[{array}]] tables")
        block = blocks[number]
        return "".join(map(self._closed, self._lines[block.header : block.bottom]))

    def remove_tables(self, array: str, numbers: Sequence[int]) -> None:
        """Removes the headers and keys of these tables. Comments around them stay."""
        self.document[array] = [each for number, each in enumerate(self.document[array]) if number not in numbers]
        if not self.document[array]:
            del self.document[array]
        blocks = [block for number, block in enumerate(self._tables(array)) if number in numbers]
        removed = {line for block in blocks for line in range(block.header, block.bottom)}
        remaining: list[str] = []
        for number, line in enumerate(self._lines):
            is_second_blank = not line.strip() and remaining and not remaining[-1].strip() and number - 1 in removed
            if number not in removed and not is_second_blank:
                remaining.append(line)
        self._read("".join(remaining))

    def reorder_tables(self, array: str, order: Sequence[int]) -> None:
        """Puts the tables in this order, each with the comments above it. The text between them stays in place."""
        self.document[array] = [self.document[array][number] for number in order]
        blocks, lines, at = self._tables(array), list[str](), 0
        for slot, block in zip(blocks, [blocks[number] for number in order if blocks], strict=True):
            content, _ = self._parted(block)
            _, blanks = self._parted(slot)
            lines += [*self._lines[at : slot.top], *content, *blanks]
            at = slot.end
        self._read("".join([*lines, *self._lines[at:]]))

    def _tables(self, array: str) -> list[_Block]:
        """Returns the tables of an array that have a header."""
        return [block for path, block in self._blocks().items() if len(path) == 2 and path[0] == array]

    # -- lines ---------------------------------------------------------------------------------------------------------

    def _add_text(self, table: str, *, gap: str) -> None:
        """Adds lines at the end, after a gap unless the text ends with one."""
        text = self._closed(self._text)
        has_gap = not text.strip() or text.endswith(("\n\n", "\n\r\n"))
        self._read(f"{text}{'' if has_gap else gap}{self._with_endings(table)}")

    def _blocks(self) -> dict[Path, _Block]:
        """Returns the lines of each table with a header, in the order of the text."""
        bottoms = {path: self._line(start) + 1 for path, start in self._at.headers.items()}
        bottoms[()] = 0
        for place in self._at.values.values():
            if place.table in bottoms:
                bottoms[place.table] = max(bottoms[place.table], self._line(place.end) + 1)
        tops, above = list[int](), bottoms[()]
        for path, start in self._at.headers.items():
            top = self._line(start)
            while top > above and self._lines[top - 1].lstrip().startswith("#"):
                top -= 1
            tops.append(top)
            above = bottoms[path]
        ends = [*tops, len(self._lines)][1:]
        return {
            path: _Block(top, self._line(start), bottoms[path], end)
            for (path, start), top, end in zip(self._at.headers.items(), tops, ends, strict=True)
        }

    def _parted(self, block: _Block) -> tuple[list[str], list[str]]:
        """Returns the lines of a block, each with a line end, and separately the blank lines after them."""
        lines = self._lines[block.top : block.end]
        used = next((number for number in range(len(lines), 0, -1) if lines[number - 1].strip()), 0)
        return [self._closed(line) for line in lines[:used]], lines[used:]

    def _insert_line(self, number: int, line: str) -> None:
        before, after = "".join(self._lines[:number]), "".join(self._lines[number:])
        self._read(f"{self._closed(before)}{line}{self._ending}{after}")

    def _splice(self, start: int, end: int, text: str) -> None:
        self._read(f"{self._text[:start]}{text}{self._text[end:]}")

    def _read(self, text: str) -> None:
        self._text = text
        self._at = positions(text)
        self._lines = re.findall(r"[^\n]*\n|[^\n]+", text)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))
        self._ending = "\r\n" if 2 * text.count("\r\n") > text.count("\n") else "\n"

    def _line(self, offset: int) -> int:
        return min(bisect_right(self._starts, offset), len(self._lines)) - 1

    def _closed(self, text: str) -> str:
        return text if not text or text.endswith("\n") else f"{text}{self._ending}"

    def _with_endings(self, table: str) -> str:
        return table.replace("\r\n", "\n").replace("\n", self._ending)
