"""A process apart, in which an addon's file is tried: to check it, or to replay what was recorded.

The file's code runs with the user's rights wherever it runs, but here it can neither keep a command from coming back
nor reach anybody: time is limited, and whatever would open a connection or start a program is refused (an audit hook;
an extension in C goes past it). One JSON document goes in, one comes out; what the addon prints goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from proxy.cli.command import Flags
from proxy.config.files import shown
from proxy.config.paths import Paths
from proxy.extend.guard.time_limit import BrokenOff
from proxy.model.errors import BywayError, ConfigError

Document = dict[str, Any]

CHECK_S = 10.0
"""How long one file may take to load."""

REPLAY_S = 300.0
"""A recorded week is through in seconds; what an addon's hooks wait for is not cut short for that."""

_MORE_S = 5.0
"""So much later the process is ended, when it could not end what it does by itself."""

_ANSWER_LIMIT = 256 * 1024 * 1024

_REFUSED = frozenset(
    {
        "socket.connect",
        "socket.bind",
        "socket.sendto",
        "socket.sendmsg",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.gethostbyaddr",
        "socket.getnameinfo",
        "subprocess.Popen",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.startfile",
        "os.system",
        "pty.spawn",
    }
)
"""Events of sys.audit by which something would leave this process."""


class BlockedInSandbox(PermissionError):
    """What the addon's code gets when it wants to leave."""


# -- who asks ----------------------------------------------------------------------------------------------------------


def run_isolated(task: str, file: Path, flags: Flags, **more: Any) -> Document:
    """What came of `task` (`check` or `replay`) for the addon in `file`, with the configuration that `flags` name.
    Raises ConfigError with what is wrong with it, BywayError when the process did not answer."""
    limit_s = REPLAY_S if task == "replay" else CHECK_S + _MORE_S
    folders = {name: None if path is None else os.fspath(path.absolute()) for name, path in _folders(flags)}
    asked = json.dumps({"task": task, "file": os.fspath(file.absolute()), "load_s": CHECK_S, **folders, **more})
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "proxy.cli.addons.worker"],
            input=asked.encode(),
            stdout=subprocess.PIPE,
            check=False,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{shown(file)}: still running after {limit_s:g} s (endless loop?)") from None
    try:
        told = json.loads(done.stdout)
    except ValueError:
        raise ConfigError(f"{shown(file)}: ended the process that loaded it (exit code {done.returncode})") from None
    if problems := told.get("problems"):
        raise ConfigError(problems)
    if error := told.get("error"):
        raise BywayError(error)
    found: Document = told["found"]
    return found


def _folders(flags: Flags) -> tuple[tuple[str, Path | None], ...]:
    return ("config", flags.config), ("state", flags.state)


# -- the process itself ------------------------------------------------------------------------------------------------


def main() -> None:
    """Ends the process at once when it has answered: threads of the addon's may not keep it."""
    answer_to = os.dup(1)
    os.dup2(2, 1)  # what is printed is none of the answer
    asked = json.loads(sys.stdin.buffer.read())
    with os.fdopen(answer_to, "wb") as stream:
        stream.write(json.dumps(_answered(asked)).encode())
    os._exit(0)


def _answered(asked: Mapping[str, Any]) -> Document:
    sys.addaudithook(_refuse)  # for good: there is no way to take one back
    try:
        return {"found": _TASKS[asked["task"]](asked)}
    except ConfigError as error:
        return {"problems": error.problems}
    except BywayError as error:
        return {"error": str(error)}


@contextlib.contextmanager
def within(limit_s: float) -> Iterator[None]:
    """Code that takes longer is broken off, by raising BrokenOff in it (Unix; elsewhere the process is ended)."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, _break_off)
    signal.setitimer(signal.ITIMER_REAL, limit_s, 1.0)  # and again, in case somebody caught it
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _refuse(event: str, _given: tuple[Any, ...]) -> None:
    if event in _REFUSED:
        raise BlockedInSandbox(f"{event}: network and subprocesses are blocked while checking an addon")


def _break_off(_number: int, _frame: FrameType | None) -> None:
    raise BrokenOff


def paths_of(asked: Mapping[str, Any]) -> Paths:
    """Where the files of who asks lie."""
    config, state = (None if asked[name] is None else Path(asked[name]) for name in ("config", "state"))
    return Paths.locate(os.environ, config=config, state=state)


def _check(asked: Mapping[str, Any]) -> Document:
    from proxy.cli.addons.check import check

    return check(asked)


def _replay(asked: Mapping[str, Any]) -> Document:
    from proxy.cli.addons.replay import replay

    return replay(asked)


_TASKS: Mapping[str, Callable[[Mapping[str, Any]], Document]] = {"check": _check, "replay": _replay}


if __name__ == "__main__":
    main()
