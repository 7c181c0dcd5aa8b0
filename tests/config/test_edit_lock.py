"""One edit at a time in a folder, by threads or processes; and what is done where there can be no lock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.config import edit_lock as locks
from proxy.config.edit_lock import edit_lock
from proxy.model.errors import BywayError

_HOLDS = """
import sys
from pathlib import Path
from proxy.config.edit_lock import edit_lock
with edit_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lock_of_another_process_is_waited_for_and_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", _HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with monkeypatch.context() as patch:
            patch.setattr(locks, "WAIT_S", 0.0)
            with pytest.raises(BywayError, match="does not end; try again"):
                edit_lock(tmp_path).__enter__()
        other.kill()
        with edit_lock(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_has_no_lock_and_an_error_frees_it(tmp_path: Path) -> None:
    with edit_lock(tmp_path / "none"):
        pass
    with pytest.raises(ValueError, match="mine"), edit_lock(tmp_path):
        raise ValueError("mine")
    with edit_lock(tmp_path):
        pass
