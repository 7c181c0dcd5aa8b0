"""Finds features that do not work, once for each version of their code, in a process of its own.

A run imports of a feature what it uses, so that a broken one would show as late as its page is asked for. The check
imports everything, which costs half a second of CPU and memory; both end with its process. What was found well is
noted beside the compiled code, and is not checked again. Where nothing can be noted, this user cannot have changed
the code, and nothing is checked.
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
    noted = folder / "__pycache__" / f"checked.{sys.implementation.cache_tag}"
    version = await asyncio.to_thread(_version, folder)
    if not os.access(noted.parent, os.W_OK) or await asyncio.to_thread(_read, noted) == version:
        return {}
    process = await asyncio.create_subprocess_exec(
        *_WORKER, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_LIMIT_S):
            out, _ = await process.communicate()
        found: Mapping[str, str] = json.loads(out)
    except (TimeoutError, ValueError) as error:
        raise BywayError(f"the features could not be checked: {type(error).__name__}") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not found:
        await asyncio.to_thread(_write, noted, version)
    return found


def _version(folder: Path) -> str:
    """Returns what changes when a file of the features does."""
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
