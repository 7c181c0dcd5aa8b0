"""Shows that `make test` finds the faults of planted.toml: each is made in a copy, and a test has to fail.

    .venv/bin/python -m tests.plant [PART]

With PART only the faults whose file has it in its name. By hand: all of them take about half an hour. The test that
failed is run once more without the fault, where it has to pass. Exits with 1 when a fault was not found.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "tests" / "planted.toml"
_FIRST_S, _ALL_S = 600, 1800
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?(?:\[.*?\])?)(?: - .*)?$", re.MULTILINE)
_NOT_COPIED = shutil.ignore_patterns(".venv", ".git", ".*_cache", ".bench", ".hypothesis")


class Fault(NamedTuple):
    file: str
    old: str
    new: str
    first: Sequence[str]

    def planted(self) -> str:
        """Returns the text of the file with the fault. Raises ValueError where it does not fit the file."""
        text = (ROOT / self.file).read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{TABLE.name}: {self.old!r} stands {text.count(self.old)} times in {self.file}")
        return text.replace(self.old, self.new)


def faults() -> list[Fault]:
    return [Fault(**row) for row in tomllib.loads(TABLE.read_text())["fault"]]


@contextlib.contextmanager
def copy() -> Iterator[Path]:
    """The project with its tests, which use the programs of this one."""
    with tempfile.TemporaryDirectory(prefix="byway-planted-") as folder:
        made = Path(folder, "byway")
        shutil.copytree(ROOT, made, symlinks=True, ignore=_NOT_COPIED)
        (made / ".venv").symlink_to(ROOT / ".venv")
        yield made


def failing(at: Path, what: Sequence[str], *, workers: int, within_s: float) -> str | None:
    """Runs those tests of the copy that `make test` runs. Returns the first that fails, or None. A run that does not
    end in time is a failure as well."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", *what]
    command.append("--ignore=tests/whole/test_planted.py")  # no fault fits a file that has it already
    command += ["-n", str(workers), "--dist", "loadfile"] if workers else ["-n", "0"]
    environment = {**os.environ, "PYTHONPATH": str(at)}
    try:
        done = subprocess.run(
            command, cwd=at, env=environment, capture_output=True, text=True, timeout=within_s, check=False
        )
    except subprocess.TimeoutExpired:
        return f"(no end within {within_s:g} s)"
    if done.returncode == 0:
        return None
    found = _FAILED.search(done.stdout)
    return found[1] if found else f"(exit code {done.returncode}) {done.stdout[-300:]} {done.stderr[-300:]}"


def find(fault: Fault, at: Path) -> tuple[str, bool]:
    """Returns what was found, and whether that is a test that fails with the fault, also alone, and passes without."""
    sound = (at / fault.file).read_text()
    (at / fault.file).write_text(fault.planted())
    try:
        found = failing(at, fault.first, workers=0, within_s=_FIRST_S)
        if found is None:
            found = failing(at, (), workers=3, within_s=_ALL_S)
            if found is not None and "::" in found and failing(at, [found], workers=0, within_s=_FIRST_S) is None:
                return f"{found} fails at times, and passes alone with the fault", False
    finally:
        (at / fault.file).write_text(sound)
    if found is None:
        return "not found", False
    if "::" in found and (why := failing(at, [found], workers=0, within_s=_FIRST_S)) is not None:
        return f"{found} fails without the fault as well: {why}", False
    return found, "::" in found


def main(part: str = "") -> int:
    chosen = [fault for fault in faults() if part in fault.file]
    missed = 0
    with copy() as at:
        for fault in chosen:
            began = time.monotonic()
            found, is_good = find(fault, at)
            missed += not is_good
            took = f"{'found' if is_good else 'NOT FOUND':9} {time.monotonic() - began:5.0f} s"
            print(f"{took}  {fault.file}: {fault.new!r}\n{'':18}{found}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
