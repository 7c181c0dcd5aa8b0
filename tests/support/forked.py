"""Byways that are forked from a process which has imported what they import (template.py).

A start takes 0.6 s of a core else, most of it for imports, and the tests start a thousand. What a Byway does from its
arguments on is the same. Tests of the start itself, and of what is imported when, start a Python of their own. Linux
only.
"""

from __future__ import annotations

import array
import asyncio
import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import proxy.__main__

_TEMPLATE = Path(__file__).with_name("template.py")
_ANSWER_MAX = 100


_PATH = "PYTHONPATH"
_OF_THE_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "GLIBC_", "OPENSSL_")
"""Beginnings of the names of variables that are read as Python and its libraries start."""

Namespace = tuple[str, int]
"""The path of one that is to be entered, and its kind for setns."""


class Forked:
    """A process, as `asyncio.subprocess.Process` describes one."""

    def __init__(self, pid: int, code: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._code = code
        self._has_ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(code, self._end)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._code)
        told = os.read(self._code, _ANSWER_MAX)
        os.close(self._code)
        self.returncode = int(told) if told else -signal.SIGKILL
        self._has_ended.set()

    async def wait(self) -> int:
        await self._has_ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def fork(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    namespaces: Sequence[Namespace],
    *,
    stdout: int,
    stderr: int,
    program: Path | None = None,
) -> Forked:
    """Starts `python -P -m proxy` with the arguments."""
    with open(os.devnull, "rb") as nothing:
        streams = nothing.fileno(), stdout, stderr
        return Forked(*begin(arguments, environment, namespaces, streams=streams, program=program))


def begin(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    namespaces: Sequence[Namespace] = (),
    *,
    streams: Sequence[int],
    program: Path | None = None,
) -> tuple[int, int]:
    """Starts it, or a program in Python that is `byway`. Returns the pid, and a pipe for the exit code."""
    at_start = dict(environment)
    if not _has_sitecustomize(environment):
        at_start[_PATH] = os.environ.get(_PATH, "")  # its own is for the fork
    control = _template(tuple(sorted(each for each in at_start.items() if each[0].startswith(_OF_THE_START))))
    file, *started = [str(program)] * 2 if program else [proxy.__main__.__file__, "-m", "proxy"]
    asked = {
        "folder": os.getcwd(),
        "argv": [file, *arguments],
        "orig_argv": [sys.executable, "-P", *started, *arguments],
        "environment": dict(environment),
        "namespaces": namespaces,
    }
    code, its_code = os.pipe()
    try:
        given = array.array("i", [*streams, its_code])
        control.sendmsg([json.dumps(asked).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, given)])
        return int(control.recv(_ANSWER_MAX)), code
    except BaseException:
        os.close(code)
        raise
    finally:
        os.close(its_code)


def _has_sitecustomize(environment: Mapping[str, str]) -> bool:
    """Returns whether its PYTHONPATH has a module that Python runs before all others, as that of the lab has."""
    folders = filter(None, environment.get(_PATH, "").split(os.pathsep))
    return any(Path(folder, "sitecustomize.py").exists() for folder in folders)


@functools.cache
def _template(variables: tuple[tuple[str, str], ...]) -> socket.socket:
    """Returns the socket of a template whose Python starts with these variables. It ends when we do, by whatever end:
    we alone hold the socket."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_START)}
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        template = subprocess.Popen(
            [sys.executable, "-P", str(_TEMPLATE), str(its.fileno())],
            env=others | dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[its.fileno()],
        )

    def end() -> None:
        ours.close()
        template.wait()

    atexit.register(end)
    return ours
