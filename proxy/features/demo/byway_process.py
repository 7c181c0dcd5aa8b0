"""Runs a second Byway process with its own configuration and state, for the length of a `with` block.

It is started as the user would start it, so it behaves as `byway run`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass

_STOP_S = 10.0

_POLL_S = 0.05  # between two polls of run.json


@frozen_dataclass
class BywayProcess:
    """A Byway that listens on `port` of loopback."""

    port: int
    _arguments: Sequence[str]

    async def read(self, *words: str) -> Any:
        """Returns the output of the command `byway WORDS --json`. Raises BywayError when it does not exit with 0."""
        process = await asyncio.create_subprocess_exec(
            *command(*words, "--json", *self._arguments), stdout=subprocess.PIPE, env=_environment()
        )
        out, _ = await process.communicate()
        if process.returncode:
            raise BywayError(f"`byway {' '.join(words)}` ended with exit code {process.returncode}")
        return json.loads(out)


@contextlib.asynccontextmanager
async def start(folder: Path, config: str, *, trust: Path | None = None) -> AsyncIterator[BywayProcess]:
    """Starts `byway run` on a free port with this configuration, and ends it at the end of the block. It writes only in
    `folder`, and trusts the CAs in `trust`, a PEM file, instead of the system's. Raises BywayError with the output of
    the process when it does not start."""
    config_file, state, log = folder / "config.toml", folder / "state", folder / "byway.txt"
    config_file.write_text(config)
    state.mkdir(mode=0o700)
    arguments = ("--config", str(config_file), "--state", str(state))
    with log.open("wb") as output:
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
            raise BywayError(f"Byway did not start; its output: {log.read_text(errors='replace').strip()}")
        yield BywayProcess(port, arguments)
    finally:
        await _end(process)


def command(*words: str) -> list[str]:
    """Returns the command line that runs `byway WORDS` of this installation, from any working directory."""
    return [sys.executable, "-P", "-m", "proxy", *words]


async def _listening(process: asyncio.subprocess.Process, run_file: Path) -> int | None:
    """Waits until run.json has the port, and returns it; None: the process has ended."""
    while process.returncode is None:
        if (port := _port(run_file)) is not None:
            return port
        await asyncio.sleep(_POLL_S)
    return None


def _port(run_file: Path) -> int | None:
    """Returns the port in run.json; None while the file does not exist or is incomplete."""
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
    """Returns the environment without BYWAY_ variables, which are settings of the user's own Byway."""
    return {key: value for key, value in os.environ.items() if not key.startswith("BYWAY_")}
