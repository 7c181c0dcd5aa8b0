"""Runs the tests of all that is left without one feature, by hand:

    python -m tests.without NAME [argument of pytest …]

A copy of the working tree has neither the feature's folder, nor its line in the table, nor its tests; it is removed in
the end. Tests of the whole product (`tests/whole`, `tests/e2e`, `tests/lab`) are of all features, and are not run;
`tests/whole/test_without.py` starts a Byway without each. Left out are tests marked `uses("NAME")` as well: they are of
another feature, or of the frame, and use this one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

from proxy.features.table import FEATURES
from tests.support.left_out import WITHOUT
from tests.support.without import ROOT, remove_folder, remove_line

OF_THE_WHOLE = ("tests/whole", "tests/e2e", "tests/lab")


def main() -> int:
    """Returns the exit code of pytest."""
    name, *words = sys.argv[1:] or [""]
    names = [feature.name for feature in FEATURES]
    if name not in names:
        print(f"usage: python -m tests.without NAME, which is one of: {', '.join(names)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="byway-without-") as folder:
        at = Path(folder)
        make_copy(at, name)
        return run(at, name, words)


def make_copy(at: Path, name: str) -> None:
    """Copies what git knows, or could know, and takes the feature out of it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for file in filter(None, listed.stdout.split("\0")):
        if (ROOT / file).exists():  # it is removed, and not yet committed
            (at / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, at / file, follow_symlinks=False)
    remove_folder(at, name)
    remove_line(at, name)
    shutil.rmtree(at / "tests" / "features" / name)


def run(at: Path, name: str, words: list[str]) -> int:
    """Runs the tests there. The Python of the copy knows the copy's Byway alone, also where a test starts one with an
    environment of its own."""
    venv.create(at / ".venv", symlinks=True)
    python = at / ".venv" / "bin" / "python"
    paths = {"base": str(at / ".venv"), "platbase": str(at / ".venv")}
    Path(sysconfig.get_path("purelib", vars=paths), "byway.pth").write_text(f"{at}\n{sysconfig.get_path('purelib')}\n")
    byway = python.with_name("byway")
    byway.write_text(f"#!{python}\nfrom proxy.cli import main\n\nmain()\n")
    byway.chmod(0o755)
    for program in Path(sys.executable).parent.iterdir():  # linters, and others of which none is Byway
        if not (beside := python.with_name(program.name)).exists():
            beside.symlink_to(program)
    command = [str(python), "-m", "pytest", "-p", "tests.support.left_out"]
    command += (f"--ignore={folder}" for folder in OF_THE_WHOLE)
    done = subprocess.run([*command, *words], cwd=at, env={**os.environ, WITHOUT: name}, check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
