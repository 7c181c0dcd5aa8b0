"""Lays out rows as columns that fit a terminal.

A column is as wide as its longest cell. When the line would be too long, the last column is wrapped, then the others
are narrowed. Words are never broken, so that a host, a path or a URL can be copied. A word that is too long for its
column moves the cells after it to the next line.

`rich.table` is not used: it cuts or breaks words that are longer than their column, its import takes 80 ms of CPU in
place of 5, and a table of 2,000 rows takes 550 ms in place of 24.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from proxy.terminal.terminal import bold, columns_of

GAP = 2
_LAST_MIN = 24
_NARROWEST = 10


def lay_out(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Yields the lines of a table. Headings that are all empty have no line."""
    widths = column_widths([headings, *rows], width)
    if any(headings):
        yield from (bold(line) for line in row_lines(headings, widths))
    for row in rows:
        yield from row_lines(row, widths)


def column_widths(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Returns the width of each column, for a terminal of `width` columns."""
    widths = [max(map(columns_of, cells)) for cells in zip(*rows, strict=True)]
    room = width - GAP * (len(widths) - 1)
    *others, last = range(len(widths))
    while sum(widths) > room:
        rest = room - sum(widths[place] for place in others)
        if rest >= min(widths[last], _LAST_MIN):
            widths[last] = rest
            break
        widest = max(others, key=lambda place: widths[place], default=last)
        if not others or widths[widest] <= _NARROWEST:
            widths[last] = max(rest, _NARROWEST)
            break
        widths[widest] -= 1
    return widths


def row_lines(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Yields the lines of one row."""
    wrapped = [wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    indent = start = 0
    for place, (lines, width) in enumerate(zip(wrapped, widths, strict=True)):
        if place + 1 < len(cells) and any(columns_of(line) > width for line in lines) and any(cells[place + 1 :]):
            yield from _block(wrapped[start : place + 1], widths[start : place + 1], indent)
            indent += sum(widths[start : place + 1]) + GAP * (place + 1 - start)
            start = place + 1
    yield from _block(wrapped[start:], widths[start:], indent)


def wrap(text: str, width: int) -> list[str]:
    """Returns `text` in lines of at most `width` columns, with its indentation. A longer word has its own line."""
    if columns_of(text) <= width:
        return [text]
    indent = " " * (len(text) - len(text.lstrip(" ")))
    wrapper = textwrap.TextWrapper(
        width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return wrapper.wrap(text.strip(" ")) or [""]


def _block(cells: Sequence[Sequence[str]], widths: Sequence[int], indent: int) -> Iterator[str]:
    for number in range(max(map(len, cells))):
        parts = [lines[number] if number < len(lines) else "" for lines in cells]
        padded = [part + " " * (width - columns_of(part)) for part, width in zip(parts, widths, strict=True)]
        yield " " * indent + (" " * GAP).join(padded).rstrip()
