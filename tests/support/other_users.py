"""Folders that another user of this computer can write, and files of another user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STRANGER = 12_345
"""The id of a user that need not exist."""


@contextmanager
def open_folder() -> Iterator[Path]:
    """Yields a folder of ours that all users may enter, within a folder that all users may write. Pytest's own folders
    are below one of mode 0700, which protects everything in it."""
    folder = Path(tempfile.mkdtemp(prefix="byway-test-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def write_as_another(file: Path, text: str) -> None:
    """Writes a file of another user, as root; otherwise one that any user could have written, which is the same for
    Byway."""
    if os.geteuid() != 0:
        file.write_text(text)
        file.chmod(0o666)
        return
    script = f"""
import os, sys
os.setgroups([])
os.setgid({STRANGER})
os.setuid({STRANGER})
if os.path.exists(sys.argv[1]):
    os.unlink(sys.argv[1])
open(sys.argv[1], "w").write(sys.argv[2])
"""
    subprocess.run([sys.executable, "-c", script, str(file), text], check=True, timeout=30)
