"""Temporary profiles: gone with their window, and what a kill has left behind is gone at the next start."""

from __future__ import annotations

import os
import select
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.features.desktop.temporary_profiles import places, remove_left_over, temporary_profile
from proxy.model.errors import BywayError

VISITED = "visited.example"
ENDS_S = 30.0
HOLDS = f"""
import subprocess, sys
from pathlib import Path
from proxy.features.desktop.temporary_profiles import temporary_profile

with temporary_profile(Path(sys.argv[1])) as made:
    (made.folder / "History").write_text("{VISITED}")
    browser = subprocess.Popen(["cat"], pass_fds=[made.lock])
    print(browser.pid, flush=True)
    browser.wait()
"""
"""A command whose browser is `cat`, which ends when the test closes its input."""

OUTLIVED = """
import subprocess, sys
from pathlib import Path
from proxy.features.desktop.temporary_profiles import temporary_profile

with temporary_profile(Path(sys.argv[1])) as made:
    subprocess.run(["sh", "-c", '(sleep 0.3; mkdir -p "$0"; touch "$0/late"; echo came) &', made.folder], check=True)
"""
"""A command whose browser leaves a process behind, which writes once more."""


def test_a_profile_is_the_users_own_and_goes(tmp_path: Path) -> None:
    with temporary_profile(tmp_path / "made") as profile:
        assert stat.S_IMODE(profile.folder.stat().st_mode) == 0o700
        (profile.folder / "History").write_text(VISITED)
        remove_left_over(tmp_path / "made")
        assert (profile.folder / "History").exists(), "it is in use"
    assert list((tmp_path / "made").iterdir()) == []


def test_it_goes_also_when_the_command_fails(tmp_path: Path) -> None:
    with pytest.raises(BywayError, match="no browser"), temporary_profile(tmp_path):
        raise BywayError("no browser")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_command_leaves_goes_once_its_browser_has_ended(tmp_path: Path) -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    assert command.stdin is not None
    browser = os.pidfd_open(int(command.stdout.readline()))
    command.kill()
    command.wait()
    remove_left_over(tmp_path)
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert (folder / "History").read_text() == VISITED, "the browser still runs"
    command.stdin.close()
    command.stdout.close()
    assert select.select([browser], [], [], ENDS_S)[0], "its input has ended"
    os.close(browser)
    remove_left_over(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems let no process adopt another's children")
def test_what_outlives_the_browser_makes_no_profile_anew(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OUTLIVED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # ends as the last one does
    assert (done.returncode, done.stdout, done.stderr) == (0, "came\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems wait for no process")
def test_it_goes_also_when_the_wait_for_the_last_process_is_interrupted(tmp_path: Path) -> None:
    waits = "import time\nfrom proxy.features.desktop import temporary_profiles as profiles\n"
    waits += "profiles._await_children = lambda: (print(flush=True), time.sleep(60))\n"
    waits += f"with profiles.temporary_profile(profiles.Path({str(tmp_path)!r})): pass\n"
    command = subprocess.Popen([sys.executable, "-c", waits], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert command.stdout is not None
    command.stdout.readline()
    command.send_signal(signal.SIGINT)
    command.communicate(timeout=ENDS_S)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_somebody_elses_stays(tmp_path: Path) -> None:
    """In /tmp anybody may use such a name."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").touch()
    (tmp_path / "byway-browser-link").symlink_to(mine)
    (tmp_path / "byway-browser-link.lock").touch()
    (tmp_path / "byway-browser-open").mkdir(mode=0o755)
    (tmp_path / "byway-browser-open.lock").touch()
    (tmp_path / "byway-browser-bare").mkdir(mode=0o700)
    remove_left_over(tmp_path)
    remove_left_over(tmp_path / "nowhere")
    assert (mine / "file").exists()
    assert (tmp_path / "byway-browser-open").exists()
    assert (tmp_path / "byway-browser-bare").exists()


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(BywayError, match=r"the temporary profile .*/file/byway-browser-\w+ cannot be created: "),
        temporary_profile(tmp_path / "file"),
    ):
        pass


def test_where_they_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/var/tmp/x")
    (tmp_path / "snap" / "chromium" / "common" / "byway").mkdir(parents=True)
    in_snap = tmp_path / "snap" / "chromium" / "common" / "byway"
    assert list(places(Path("/run/user/1000"), tmp_path)) == [Path("/run/user/1000"), in_snap]
    assert list(places(None, tmp_path / "other")) == [Path("/var/tmp/x")]
