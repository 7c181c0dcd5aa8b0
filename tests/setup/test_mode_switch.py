"""`byway mode` and `byway pause`: a pause ends by itself, whatever the clock does, and both outlive a restart."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from proxy.model import PAUSE_MAX_S, AutoMode
from proxy.model.errors import BywayError
from proxy.setup.mode_switch import ModeSwitch


class Clocks:
    """A wall clock, which may be set, and a steady one."""

    def __init__(self) -> None:
        self.wall = 1e9
        self.steady = 50.0

    def pass_s(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


class Process:
    """One run of Byway with this state folder."""

    def __init__(self, folder: Path, clocks: Clocks, *, stores: bool = True) -> None:
        self.applied: list[AutoMode] = []
        self.file = folder / "mode.json"
        self.switch = ModeSwitch(
            self.file, self.applied.append, stores=stores, now=lambda: clocks.wall, monotonic=lambda: clocks.steady
        )
        self.switch.load()

    @property
    def mode(self) -> str:
        """What the Setup in use has."""
        return self.applied[-1] if self.applied else AutoMode.AUTO


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def test_a_pause_ends_by_itself(tmp_path: Path, clocks: Clocks) -> None:
    process = Process(tmp_path, clocks)
    process.switch.pause(900)
    clocks.pass_s(899)
    process.switch.poll()
    assert process.mode == "paused"
    clocks.pass_s(1)
    process.switch.poll()
    assert process.applied == [AutoMode.PAUSED, AutoMode.AUTO]
    assert Process(tmp_path, clocks).mode == "auto"


def test_a_pause_outlives_a_restart_and_ends_when_it_would_have(tmp_path: Path, clocks: Clocks) -> None:
    Process(tmp_path, clocks).switch.pause(900)
    clocks.pass_s(300)
    again = Process(tmp_path, clocks)
    assert again.mode == "paused"
    clocks.pass_s(599)
    again.switch.poll()
    assert again.mode == "paused"
    clocks.pass_s(1)
    again.switch.poll()
    assert again.mode == "auto"


def test_F87_a_clock_that_is_set_back_makes_no_pause_longer(tmp_path: Path, clocks: Clocks) -> None:
    process = Process(tmp_path, clocks)
    process.switch.pause(900)
    clocks.wall -= 86_400 * 365
    again = Process(tmp_path, clocks)
    clocks.pass_s(900)
    for running in (process, again):
        running.switch.poll()
        assert running.mode == "auto"


def test_a_mode_stays_and_a_pause_returns_to_it(tmp_path: Path, clocks: Clocks) -> None:
    process = Process(tmp_path, clocks)
    process.switch.set_mode(AutoMode.RELAY)
    assert stat.S_IMODE(process.file.stat().st_mode) == 0o600
    clocks.pass_s(86_400 * 400)
    again = Process(tmp_path, clocks)
    assert again.mode == "relay"
    again.switch.pause(60)
    assert again.mode == "paused"
    again.switch.resume()
    assert again.mode == "relay"
    again.switch.set_mode(AutoMode.AUTO)
    assert Process(tmp_path, clocks).applied == []


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "null", '{"mode": "odd", "paused_until": 0, "pause_s": 0}', '{"mode": "auto"}',
        '{"mode": "paused", "paused_until": 0, "pause_s": 0}', '{"mode": "auto", "paused_until": NaN, "pause_s": 0}',
    ],
)  # fmt: skip
def test_a_damaged_file_fails_closed_and_says_so(
    tmp_path: Path, clocks: Clocks, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mode.json").write_text(content)
    assert Process(tmp_path, clocks).mode == "relay"
    assert "Using relays only; set it with `byway mode auto`" in caplog.text


def test_a_stored_pause_is_never_longer_than_one_can_be(tmp_path: Path, clocks: Clocks) -> None:
    stored = {"mode": "auto", "paused_until": 1e15, "pause_s": 1e15}
    (tmp_path / "mode.json").write_text(json.dumps(stored))
    process = Process(tmp_path, clocks)
    assert process.switch.paused_until == clocks.wall + PAUSE_MAX_S


def test_ephemeral_reads_and_writes_nothing(tmp_path: Path, clocks: Clocks) -> None:
    Process(tmp_path, clocks).switch.set_mode(AutoMode.RELAY)
    before = (tmp_path / "mode.json").read_text()
    process = Process(tmp_path, clocks, stores=False)
    assert process.mode == "relay"
    process.switch.set_mode(AutoMode.DIRECT)
    assert process.mode == "direct"
    assert (tmp_path / "mode.json").read_text() == before


def test_what_cannot_be_stored_is_in_effect_and_said(tmp_path: Path, clocks: Clocks) -> None:
    process = Process(tmp_path / "gone", clocks)
    with pytest.raises(BywayError, match=r"mode\.json cannot be written"):
        process.switch.set_mode(AutoMode.RELAY)
    assert process.mode == "relay"
