"""Applies a unified diff strictly: every count, every place and every removed line must be right."""

from __future__ import annotations

import re

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_NO_NEWLINE = "\\ No newline at end of file"


def patched(text: str, diff: str) -> str:
    """The text after the diff. Raises AssertionError when the diff does not fit."""
    if not diff:
        return text
    old, lines = _split(text), diff.split("\n")[:-1]
    assert [line[:3] for line in lines[:2]] == ["---", "+++"]
    new: list[str] = []
    at, place = 0, 2
    while place < len(lines):
        found = _HUNK.fullmatch(lines[place])
        assert found is not None, lines[place]
        start, count, new_start, new_count = (1 if text is None else int(text) for text in found.groups())
        place += 1
        begin = start if count == 0 else start - 1
        assert begin >= at, "hunks are in order"
        new += old[at:begin]
        assert len(new) == (new_start if new_count == 0 else new_start - 1), "the hunk knows where it comes to stand"
        at = begin
        gone, come = 0, 0
        while place < len(lines) and not lines[place].startswith("@@"):
            mark, line = lines[place][0], lines[place][1:]
            ended = "" if place + 1 < len(lines) and lines[place + 1] == _NO_NEWLINE else "\n"
            if mark == "-":
                assert old[at] == line + ended
                at, gone = at + 1, gone + 1
            elif mark == "+":
                new.append(line + ended)
                come += 1
            else:
                assert lines[place] == _NO_NEWLINE
            place += 1
        assert (gone, come) == (count, new_count)
    return "".join(new + old[at:])


def _split(text: str) -> list[str]:
    *ended, last = text.split("\n")
    return [*(f"{line}\n" for line in ended), *([last] if last else ())]
