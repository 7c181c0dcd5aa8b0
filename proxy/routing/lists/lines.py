"""Lines of a list's text, which comes in pieces, with their numbers."""

from __future__ import annotations

from collections.abc import Iterator

READ_LIMIT = 2048
"""Characters of a line that are looked at. What is longer is no entry, or ends in a comment."""


def numbered(pieces: Iterator[str], first: int = 1) -> Iterator[tuple[int, str]]:
    """Yields each line, cut to READ_LIMIT and without its end, with its number. A byte order mark is left out."""
    for piece in pieces:
        text = piece.removeprefix("\ufeff") if first == 1 else piece
        lines = text.splitlines()
        for number, line in enumerate(lines, first):
            yield number, line[:READ_LIMIT]
        first += len(lines)
