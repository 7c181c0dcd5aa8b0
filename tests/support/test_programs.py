from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import programs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

SAMPLE = """
import pytest

@pytest.mark.needs("microsocks", "tinyproxy")
def test_with_relays():
    pass

def test_without():
    pass
"""


def test_a_program_that_no_package_brings_is_an_error() -> None:
    with pytest.raises(LookupError, match="say there which package"):
        programs.find("no-such-program")


def test_programs_of_wheels_are_found_in_the_folder_of_the_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "JUDGES", tmp_path)
    assert programs.find("mihomo") is None
    assert programs.install_command({"mihomo"}) == "make judges"
    assert programs.install_command({"mihomo", "squid"}).endswith(" squid-openssl && make judges")
    place = tmp_path / programs.IN_WHEELS["mihomo"]
    place.parent.mkdir(parents=True)
    place.touch()
    assert programs.require("mihomo") == str(place)


def test_the_script_prints_each_package_once_and_needs_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "tests" / "support" / "programs.py")],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.split() == " ".join(sorted(set(programs.PACKAGES.values()))).split()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("ci", "code"),
    [("", 0), pytest.param("true", 1, marks=pytest.mark.inspection)],  # in CI, inspection has to run too
)
def test_a_missing_program_skips_here_and_fails_in_ci(tmp_path: Path, ci: str, code: int, workers: int) -> None:
    sample = tmp_path / "test_sample.py"
    sample.write_text(SAMPLE)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-p", "no:anyio"),
            *("--rootdir", str(tmp_path), "--numprocesses", str(workers)),
            *("-o", "markers=needs: a program", str(sample)),
        ],
        cwd=ROOT,
        env={"PATH": "/nothing/is/here", "CI": ci, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "apt-get install --no-install-recommends microsocks tinyproxy" in done.stdout
    assert "microsocks: 1 test\n" in done.stdout
    last = done.stdout.rstrip().splitlines()[-1]
    assert "1 passed" in last
    assert ("1 error" if ci else "1 skipped") in last
