"""What was selected survives a restart, and a damaged file selects nothing."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from proxy.model.errors import BywayError
from proxy.store.relay_selection import read_selection, write_selection


def test_a_selection_survives_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "relay-selection.json"
    assert read_selection(file) == {}
    write_selection(file, {"eu": "vps"})
    assert read_selection(file) == {"eu": "vps"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "[1]", "{", '"eu"', "[" * 100_000, "\xff", "null"])
def test_a_damaged_file_selects_nothing(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "relay-selection.json"
    file.write_text(content, encoding="latin-1")
    assert read_selection(file) == {}
    assert "uses its first relay until you select again" in caplog.text


def test_what_is_no_name_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "relay-selection.json"
    file.write_text('{"eu": "vps", "us": 1}')
    assert read_selection(file) == {"eu": "vps"}


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BywayError, match="cannot be written"):
        write_selection(tmp_path / "none" / "x.json", {})
