"""Checks once for each version of the code that all features can be imported, in a separate process.

A run imports a module of a feature when it is used, so a broken feature would show only when its page is opened. The
check imports all of them. That takes half a second of CPU, and memory that its process frees. A version without faults
is recorded beside the compiled code, and is not checked again. If the user cannot write there, the user cannot have
changed the code either, and there is no check.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import proxy
from proxy.model.errors import BywayError

log = logging.getLogger("proxy")

_WORKER = (sys.executable, "-P", "-m", "proxy.cli.check_features")  # -P: the current folder is not on sys.path
_LIMIT_S = 60.0
_FOLDER = Path(proxy.__file__).parent / "features"


async def broken_features(folder: Path = _FOLDER) -> Mapping[str, str]:
    """Returns a sentence for each feature that does not work, by its name. Raises BywayError when the check fails."""
    record = folder / "__pycache__" / f"checked.{sys.implementation.cache_tag}"
    version = await asyncio.to_thread(_version, folder)
    if not os.access(record.parent, os.W_OK) or await asyncio.to_thread(_read, record) == version:
        return {}
    process = await asyncio.create_subprocess_exec(
        *_WORKER, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_LIMIT_S):
            out, _ = await process.communicate()
        broken: Mapping[str, str] = json.loads(out)
    except (TimeoutError, ValueError) as error:
        raise BywayError(f"the features could not be checked: {type(error).__name__}") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not broken:
        await asyncio.to_thread(_write, record, version)
    return broken


def _version(folder: Path) -> str:
    """Returns a text that changes with any file of the features."""
    stats = [(str(path.relative_to(folder)), path.stat()) for path in sorted(folder.rglob("*.py"))]
    return "\n".join(f"{name} {stat.st_mtime_ns} {stat.st_size}" for name, stat in stats)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError as error:  # it is checked again at the next start
        log.debug("the check of the features is not noted: %s", error)
