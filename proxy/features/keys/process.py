"""One process of the engine: its start, its lines, its end.

Its configuration goes to its standard input, so no secret is in an argument, the environment or a file. It dies with
Byway, however Byway ends: the kernel kills it (PR_SET_PDEATHSIG). Before anything is sent to its port, the listening
socket must be its own: another program may have taken the port first.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from proxy.features.keys.binary import Binary, NoEngine
from proxy.model.errors import reason_of
from proxy.net.deadline import deadline
from proxy.net.tasks import spawn

START_S = 5.0
"""Seconds in which the engine must listen. It takes 0.1 s on two cores."""

TRIES = 3
"""Ports that are tried when another program listens on the one that was chosen."""

_POLL_S = 0.01
_PF_EXITING = 0x4  # include/linux/sched.h; the flags are field 9 of /proc/PID/stat
_TERM_S = 1.0
_LINE_LIMIT = 4096
_LINES_KEPT = 16
_READ = 64 * 1024

_WRAPPER = (
    "import ctypes,os,sys;"
    "ctypes.CDLL(None).prctl(1,9,0,0,0);"  # PR_SET_PDEATHSIG, SIGKILL; it outlives execve
    "os.getppid()==int(sys.argv[1]) or os._exit(1);"  # Byway ended before that call
    "os.execve(sys.argv[2],sys.argv[2:],{})"
)
"""Run by Python in the new process, before it becomes the engine. A preexec_fn would fork a process with threads."""

_KEPT_ENVIRONMENT = ("LD_LIBRARY_PATH", "PATH")  # for Python itself; the engine gets none


class EngineFailed(NoEngine):
    """The engine did not start. `lines` are the last that it printed; they may have a part of a key."""

    def __init__(self, reason: str, lines: Iterable[str] = ()) -> None:
        super().__init__(reason)
        self.lines = tuple(lines)


class EngineProcess:
    """A running engine. `stop` ends it; so does the end of Byway."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.port = port
        self.pid = process.pid
        self._process = process
        self._folder = folder
        self._first_lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self.on_line: Callable[[str], object] = self._first_lines.append
        """Gets each line that it prints; until it is set, the last ones are kept for the error of a start."""
        self.on_end: Callable[[], None] = lambda: None
        """Called once, when it has ended by itself."""
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self.is_stopped = False
        self._reaping: asyncio.Task[None] | None = None
        assert process.stdout is not None
        self._output = process.stdout.fileno()
        os.set_blocking(self._output, False)
        self._loop.add_reader(self._output, self._read)

    @classmethod
    async def start(
        cls,
        binary: Binary,
        configuration: Callable[[int], Mapping[str, Any]],
        parent: Path | None,
    ) -> EngineProcess:
        """Starts the engine with the configuration for a port, and waits until it listens. Its folder is made in
        `parent`; None: in the system's for temporary files. Raises EngineFailed."""
        for _ in range(TRIES):
            port = free_port()
            process = await cls._spawned(binary, configuration(port), port, parent)
            try:
                if await process._listens():
                    return process
            except BaseException:
                await process.stop()
                raise
            await process.stop()
        raise EngineFailed(f"other programs took the {TRIES} ports that the engine was to listen on")

    @classmethod
    async def _spawned(
        cls,
        binary: Binary,
        configuration: Mapping[str, Any],
        port: int,
        parent: Path | None,
    ) -> EngineProcess:
        folder = None
        try:
            folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=parent))  # 0700
            arguments = [str(binary.path), "-d", str(folder), "-f", "-"]
            # In this thread: the kernel kills the engine when the thread that started it ends.
            process = subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, "-I", "-S", "-c", _WRAPPER, str(os.getpid()), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,  # Ctrl-C is for Byway, which lets its tunnels finish
                env={name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ},
            )
        except OSError as error:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            raise EngineFailed(f"the engine could not be started: {reason_of(error)}") from None
        started = cls(process, port, folder)
        try:
            with deadline(START_S):
                await asyncio.to_thread(_write, process, json.dumps(configuration).encode())
        except TimeoutError:
            await started.stop()
            raise EngineFailed(f"the engine did not read its configuration within {START_S:g} s") from None
        except BaseException:
            await started.stop()
            raise
        return started

    @property
    def is_alive(self) -> bool:
        """Whether it runs. As long as it does, its port is its own."""
        return not self.is_stopped and self._process.poll() is None

    @property
    def is_ending(self) -> bool:
        """Whether it ends or has ended. A process that is killed closes its sockets before its parent can see its
        end; its flags show it (PF_EXITING)."""
        if not self.is_alive:
            return True
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            return True
        return fields[0] in "ZX" or bool(int(fields[6]) & _PF_EXITING)

    async def stop(self) -> None:
        """Ends the process, and deletes its folder. Harmless when repeated, also while another call does it."""
        if self.is_stopped:
            if self._reaping is not None:
                await asyncio.wait((self._reaping,))
            return
        self.is_stopped = True
        self._loop.remove_reader(self._output)
        if self._process.poll() is None:
            self._process.terminate()
        self._reaping = spawn(asyncio.to_thread(_reap, self._process, self._folder), name="reap the engine")
        await asyncio.wait((self._reaping,))

    def kill(self) -> None:
        """Ends the process at once, for an exit that cannot wait."""
        if not self.is_stopped:
            self.is_stopped = True
            self._loop.remove_reader(self._output)
            self._process.kill()
            _reap(self._process, self._folder)

    async def _listens(self) -> bool:
        """Waits until the process listens on its port. Returns False when another program does. Raises EngineFailed."""
        ends_at = self._loop.time() + START_S
        while self._loop.time() < ends_at:
            if not self.is_alive:
                return not self._other_listens() and self._ended_at_start()
            for inode in listening_inodes(self.port):
                return _has_socket(self.pid, inode)
            await asyncio.sleep(_POLL_S)
        raise EngineFailed(f"the engine did not listen within {START_S:g} s")

    def _other_listens(self) -> bool:
        return any(True for _ in listening_inodes(self.port))

    def _ended_at_start(self) -> bool:
        """Raises EngineFailed with the last lines, which say why."""
        self._loop.remove_reader(self._output)
        with contextlib.suppress(OSError):
            while data := os.read(self._output, _READ):
                self._take(data)
        text = "the engine ended at its start: `byway doctor` shows whether it can be used"
        raise EngineFailed(text, self._first_lines)

    def read_lines(self) -> None:
        """Hands on what the engine has printed by now. It prints why an opening failed before it closes that."""
        if not self.is_stopped:
            with contextlib.suppress(OSError):
                self._take(os.read(self._output, _READ))  # at its end nothing: `_read` sees that

    def _read(self) -> None:
        try:
            data = os.read(self._output, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._take(data)
        if not data and not self.is_stopped:
            spawn(self._ended(), name="end of the engine")

    def _take(self, data: bytes) -> None:
        *lines, self._received = (self._received + data).split(b"\n")
        self._received = self._received[:_LINE_LIMIT]
        for line in lines:
            self.on_line(line[:_LINE_LIMIT].decode("utf-8", "replace"))

    async def _ended(self) -> None:
        await self.stop()
        self.on_end()

    def __repr__(self) -> str:
        return f"<EngineProcess {self.pid} port {self.port}>"


FOLDER_PREFIX = "byway-engine-"


def remove_left_over(parent: Path) -> None:
    """Removes folders of engines whose Byway was killed."""
    for folder in parent.glob(f"{FOLDER_PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _write(process: subprocess.Popen[bytes], text: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError, ValueError):  # it has ended, or its pipe is closed since: its exit says more
        process.stdin.write(text)
        process.stdin.close()


def _reap(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Waits for a process that was told to end."""
    try:
        process.wait(_TERM_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Returns a port of loopback on which no program listens now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def listening_inodes(port: int) -> list[str]:
    """Returns the inodes of the sockets that listen on a port, on any address of this computer."""
    wanted, found = f":{port:04X}", []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and fields[1].endswith(wanted):  # 0A: LISTEN
                found.append(fields[9])
    return found


def _has_socket(pid: int, inode: str) -> bool:
    """Whether a process has a socket open."""
    link = f"socket:[{inode}]"
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # closed meanwhile
                    if os.readlink(entry.path) == link:
                        return True
    except OSError:  # it has ended
        pass
    return False


def new_password() -> str:
    """Returns 128 bits in hexadecimal digits."""
    return secrets.token_hex(16)
