"""A Byway of one's own: a second process with its own configuration and state, for as long as it is needed.

The demo stands on it. It is started as the user would start it, so what it does is what `byway run` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.model.errors import BywayError

_STOP_S = 10.0

_LOOK_S = 0.05  # between two looks for run.json


@dataclass(frozen=True, slots=True)
class BywayProcess:
    """A Byway that listens on `port` of loopback, and how to ask it."""

    port: int
    _arguments: Sequence[str]

    async def read(self, *words: str) -> Any:
        """What the command `byway WORDS --json` prints. Raises BywayError when it does not exit with 0."""
        process = await asyncio.create_subprocess_exec(
            *command(*words, "--json", *self._arguments), stdout=subprocess.PIPE, env=_environment()
        )
        out, _ = await process.communicate()
        if process.returncode:
            raise BywayError(f"`byway {' '.join(words)}` ended with exit code {process.returncode}")
        return json.loads(out)


@contextlib.asynccontextmanager
async def start(folder: Path, config: str, *, trust: Path | None = None) -> AsyncIterator[BywayProcess]:
    """Starts `byway run` on a free port with the text of a configuration; everything it writes lies in `folder`. It
    holds certificates to those in `trust`, a PEM file, in place of the system's. It is ended on leaving. Raises
    BywayError, with what it said, when it does not start."""
    config_file, state, said = folder / "config.toml", folder / "state", folder / "byway.txt"
    config_file.write_text(config)
    state.mkdir(mode=0o700)
    arguments = ("--config", str(config_file), "--state", str(state))
    with said.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command("run", "--port", "0", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment() | ({} if trust is None else {"SSL_CERT_FILE": str(trust)}),
        )
    try:
        port = await _listening(process, state / "run.json")
        if port is None:
            raise BywayError(f"Byway did not start; its output: {said.read_text(errors='replace').strip()}")
        yield BywayProcess(port, arguments)
    finally:
        await _end(process)


def command(*words: str) -> list[str]:
    """A `byway` command of this very installation, wherever it is called from."""
    return [sys.executable, "-P", "-m", "proxy", *words]


async def _listening(process: asyncio.subprocess.Process, run_file: Path) -> int | None:
    """The port, once run.json says that it listens; None when the process has ended instead."""
    while process.returncode is None:
        if (port := _port(run_file)) is not None:
            return port
        await asyncio.sleep(_LOOK_S)
    return None


def _port(run_file: Path) -> int | None:
    """What run.json says; None while it is not there or not whole."""
    try:
        return int(json.loads(run_file.read_text())["port"])
    except (FileNotFoundError, ValueError):
        return None


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def _environment() -> dict[str, str]:
    """Without the user's own settings: they are for the user's own Byway."""
    return {key: value for key, value in os.environ.items() if not key.startswith("BYWAY_")}
