"""Overrides with an end, when the clock is set while no Byway runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from proxy.app.override_clock import OverrideClock
from proxy.model import Action, Override

HOUR, DAY = 3600.0, 86_400.0
BOOT = "5d0f7c1e-boot"


class Computer:
    """A computer whose clock can be set."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "override-clock.json"
        self.boot_file = folder / "boot_id"
        self.boot_file.write_text(f"{BOOT}\n")
        self.at, self.steady = 1.7e9, 500.0

    def passes(self, seconds: float) -> None:
        self.at += seconds
        self.steady += seconds

    def started(self, *, ephemeral: bool = False) -> OverrideClock:
        return OverrideClock(
            self.file,
            ephemeral=ephemeral,
            now=lambda: self.at,
            steady=lambda: self.steady,
            boot_file=self.boot_file,
        )

    async def ran(self, *, has_ends: bool = True) -> None:
        """A Byway ran until now."""
        clock = self.started()
        clock.keep(has_ends=has_ends)
        await clock.close()


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    return Computer(tmp_path)


@pytest.mark.parametrize("by", [DAY, -DAY, 10 * 365 * DAY])
async def test_a_clock_that_was_set_meanwhile_ends_nothing(computer: Computer, by: float) -> None:
    closed = Override(Action.RELAY, until=computer.at + 2 * HOUR)
    forever = Override(Action.BLOCK)
    await computer.ran()
    computer.passes(HOUR)
    computer.at += by
    moved = computer.started().moved({"a.example": closed, "b.example": forever})
    assert moved == {"a.example": replace(closed, until=closed.until + by)}
    assert moved["a.example"].until - computer.at == pytest.approx(HOUR), "what is left of it"


async def test_time_that_passed_and_a_small_correction_move_nothing(computer: Computer) -> None:
    await computer.ran()
    computer.passes(30 * DAY)
    computer.at += 20
    assert computer.started().moved({"a.example": Override(Action.BLOCK, until=computer.at - DAY)}) == {}


async def test_after_a_reboot_nothing_is_known(computer: Computer) -> None:
    await computer.ran()
    computer.boot_file.write_text("another")
    computer.at, computer.steady = computer.at + DAY, 10.0
    assert computer.started().set_meanwhile() == 0


async def test_a_jump_while_byway_runs_is_kept_too(computer: Computer) -> None:
    clock = computer.started()
    clock.keep(has_ends=True)
    computer.at += DAY
    clock.keep(has_ends=True)  # the ends were moved by then
    await clock.close()
    assert computer.started().set_meanwhile() == 0


async def test_without_ends_nothing_is_kept(computer: Computer) -> None:
    await computer.ran(has_ends=False)
    assert not computer.started().moved({"a.example": Override(Action.BLOCK, until=1.0)})
    await computer.ran()
    assert computer.file.stat().st_mode & 0o777 == 0o600
    clock = computer.started()
    clock.keep(has_ends=False)
    await clock.close()
    computer.at += DAY
    assert computer.started().set_meanwhile() == 0, "it was forgotten"


async def test_who_stores_nothing_only_reads(computer: Computer) -> None:
    await computer.ran()
    computer.at += DAY
    reading = computer.started(ephemeral=True)
    reading.keep(has_ends=True)
    reading.keep(has_ends=False)
    await reading.close()
    assert computer.started().set_meanwhile() == DAY


async def test_a_system_that_names_no_boot_keeps_nothing(computer: Computer) -> None:
    computer.boot_file.unlink()
    await computer.ran()
    computer.at += DAY
    assert computer.started().set_meanwhile() == 0


@pytest.mark.parametrize("content", ["", "[]", "{}", '[{"boot": 1, "offset": 2}]', '[{"boot": "x", "offset": -1}]'])
def test_a_damaged_file_counts_as_none(computer: Computer, content: str) -> None:
    computer.file.write_text(content)
    assert computer.started().set_meanwhile() == 0
