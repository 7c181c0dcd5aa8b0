"""Checks or replays an addon in a separate process, so that no code of an addon runs in the command's process.

An addon's file may loop, exit or print: here that becomes a sentence within a limited time. The request is one JSON
document on the process's stdin, the result another on its stdout; the output of the addon goes to stderr.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from proxy.config.files import shown
from proxy.model.errors import BywayError, ConfigError
from proxy.terminal.command import Flags

Document = dict[str, Any]

CHECK_S = 10.0
"""The longest time to load one file."""

REPLAY_S = 300.0
"""The longest replay. A recorded week takes seconds, but the hooks of the addon may wait for something."""

_KILL_AFTER_S = 5.0
"""The process is killed this much later than CHECK_S, if it could not stop the file itself."""


def run_isolated(task: str, file: Path, flags: Flags, **more: Any) -> Document:
    """Returns the result of `task` (`check` or `replay`) for the addon in `file`, with the configuration of `flags`.

    Raises ConfigError with the problems of the file, and BywayError when the task failed for another reason."""
    limit_s = REPLAY_S if task == "replay" else CHECK_S + _KILL_AFTER_S
    folders = {
        name: None if path is None else os.fspath(path.absolute())
        for name, path in (("config", flags.config), ("state", flags.state))
    }
    request = json.dumps({"task": task, "file": os.fspath(file.absolute()), "load_s": CHECK_S, **folders, **more})
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "proxy.features.addons.worker"],  # -P: the current folder is not on sys.path
            input=request.encode(),
            stdout=subprocess.PIPE,
            check=False,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{shown(file)}: still running after {limit_s:g} s (endless loop?)") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise ConfigError(f"{shown(file)}: ended the process that loaded it (exit code {done.returncode})") from None
    if problems := answer.get("problems"):
        raise ConfigError(problems)
    if error := answer.get("error"):
        raise BywayError(error)
    result: Document = answer["result"]
    return result
