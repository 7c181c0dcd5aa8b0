"""Places where another user of this computer could write, and what another user writes there."""

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
"""A user that this machine need not have."""


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder of ours that everybody may enter, in one where everybody may write. Pytest's own are below a folder of
    mode 0700, which decides for everything in it."""
    folder = Path(tempfile.mkdtemp(prefix="byway-test-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def write_as_another(file: Path, text: str) -> None:
    """Really another user's, as root; else a file that anybody could have written, which is the same to Byway."""
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
