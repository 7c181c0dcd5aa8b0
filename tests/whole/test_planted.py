"""The faults of planted.toml fit the code, two in each room. That they are found is run by hand: see tests/plant.py. So
are the mutants of mutants.toml, whose rooms are in the code and in the tests."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

from tests.plant import ROOT, faults


def test_each_fault_fits_the_code_once_and_there_are_two_in_each_room() -> None:
    for fault in faults():
        compile(fault.planted(), fault.file, "exec")
        assert [place for place in fault.first if not (ROOT / place).is_dir()] == []
    rooms = {folder.name for folder in (ROOT / "proxy").iterdir() if (folder / "__init__.py").is_file()}
    planted = Counter(Path(fault.file).parts[1] for fault in faults())
    assert {room: count for room in rooms if (count := planted[room]) < 2} == {}
    assert sum(planted.values()) >= 40


def test_mutants_are_drawn_from_modules_that_have_their_tests() -> None:
    for room in tomllib.loads((ROOT / "tests" / "mutants.toml").read_text())["room"]:
        assert len([*ROOT.glob(room["modules"])]) > 1, room
        assert [name for name in ("", *room["left_out"]) if not (ROOT / room["tests"] / name).exists()] == []
