"""Limits on an addon's code while it is checked or replayed: no network, no programs, a limited time to load.

The limits apply in the process that `isolated_run` starts. They stop mistakes, not malice: an audit hook sees the
actions of Python, and an extension written in C can bypass it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from proxy.config.paths import Paths
from proxy.extend.guard.time_limit import BrokenOff

_BLOCKED_EVENTS = frozenset(
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
"""Audit events (`sys.audit`) of code that opens a connection, resolves a name or starts a program."""


class BlockedInSandbox(PermissionError):
    """A blocked call in the addon's code."""


def block_network_and_programs() -> None:
    """Blocks both until this process ends: Python has no way to remove an audit hook."""
    sys.addaudithook(_block)


def _block(event: str, _arguments: tuple[Any, ...]) -> None:
    if event in _BLOCKED_EVENTS:
        raise BlockedInSandbox(f"{event}: network and subprocesses are blocked while checking an addon")


@contextlib.contextmanager
def within(limit_s: float) -> Iterator[None]:
    """Raises BrokenOff in the enclosed code once it has run for `limit_s` seconds.

    Needs SIGALRM (Unix, main thread). Elsewhere nothing is raised, and the parent process kills this one."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, _break_off)
    signal.setitimer(signal.ITIMER_REAL, limit_s, 1.0)  # repeats each second: the code may catch the first one
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _break_off(_number: int, _frame: FrameType | None) -> None:
    raise BrokenOff


def paths_of(request: Mapping[str, Any]) -> Paths:
    """Returns the paths of the command that sent `request`."""
    config, state = (None if request[name] is None else Path(request[name]) for name in ("config", "state"))
    return Paths.locate(os.environ, config=config, state=state)
