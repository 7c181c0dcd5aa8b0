"""The table of other programs: its cells, and those of a program that changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.censors import CENSORS
from tests.lab.other_programs import Seen, Setting, with_program
from tests.support import programs
from tests.support.rows import each_row

NONE, ALL = [False] * 6, [True] * 6


@each_row(
    ("seen", "cell"),
    [
        (Seen(ALL, ALL, ALL), "1"),
        (Seen(NONE, ALL, ALL), "–"),
        (Seen([False, False, True, True, True, True], ALL, ALL), "3"),
        (Seen([True, False, True, True, True, True], ALL, ALL), "3 (5 of 6)"),
        (Seen([True, True, True, True, True, False], ALL, ALL), "5 of 6"),
        (Seen(NONE, NONE, ALL), "–, breaks others (–)"),
        (Seen(NONE, [False, True, True, True, True, True], NONE), "–, breaks others (2), punished"),
    ],
)
def test_a_cell(seen: Seen, cell: str) -> None:
    assert str(seen) == cell


@pytest.mark.namespaces
@pytest.mark.waits
@pytest.mark.slow
@pytest.mark.needs("microsocks")
async def test_a_program_that_changes_nothing_is_stopped_and_breaks_nothing(folder: Path) -> None:
    censor = next(censor for censor in CENSORS if censor.name == "other-port")
    plain = Setting(Path(programs.require("microsocks")), "-i {host} -p {port}", "")
    assert await with_program(folder, censor, [plain]) == ["–"]
