"""Programs that are measured from outside, and the machine that they share.

A program is started on chosen cores, weighed with all that it started itself (CPU time and memory, from /proc), and
ended by its process group. It is killed when we end, however that happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS_S = os.sysconf("SC_CLK_TCK")
DESCRIPTORS = 65_536
_LOOK_S = 0.002
_READY_S = 120.0  # with a million rules, on a slow machine
_SETTLE_S, _MOMENT_S = 2.0, 0.1
_END_S = 5.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class NotStarted(Exception):
    """A program ended, or did not listen in time. Says what it said."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the proxy runs, and where load generator, origin and relays run; the same one if there is only one."""

    proxy: int
    load: int

    @classmethod
    def of_this_machine(cls) -> Cores:
        ours = sorted(os.sched_getaffinity(0))
        return cls(ours[0], ours[-1])

    @property
    def apart(self) -> bool:
        return self.proxy != self.load


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """What is started meanwhile runs on this core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Program:
    """A running program. `said` is the file with its output."""

    def __init__(
        self, command: Sequence[str], *, core: int, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.said = folder / f"{Path(command[0]).name}.txt"
        self._began = time.monotonic()
        with self.said.open("ab") as said, pinned(core):
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=environment,
                cwd=folder,
                start_new_session=True,
                preexec_fn=_prepare,
            )

    def wait_listening(self, ports: Collection[int]) -> float:
        """Seconds from its start until it accepted a connection on each port. Raises NotStarted."""
        for port in ports:
            while not _accepts(port):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(_LOOK_S)
                    raise NotStarted(f"it ended with exit code {self.process.returncode}: {self._last_words()}")
                if time.monotonic() - self._began > _READY_S:
                    raise NotStarted(f"it does not listen after {_READY_S:g} s: {self._last_words()}")
        return time.monotonic() - self._began

    def _last_words(self) -> str:
        return " ".join(self.said.read_text(errors="replace").split())[-300:] or "it said nothing"

    def cpu_s(self) -> float:
        """User and system time so far, of processes that ended too."""
        return sum(map(cpu_s, self._tree()))

    def settle(self) -> None:
        """Waits until it has done what was left to do: until it used no CPU time for a moment."""
        until = time.monotonic() + _SETTLE_S
        before, now = -1.0, self.cpu_s()
        while now > before and time.monotonic() < until:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_MOMENT_S)
            before, now = now, self.cpu_s()

    def pss_mib(self) -> float:
        """Memory, shared pages in proportion. Sockets' and pipes' buffers are the kernel's and not in it."""
        return sum(map(pss_kib, self._tree())) / 1024

    def _tree(self) -> list[int]:
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (fields := _stat(int(entry))):
                children.setdefault(int(fields[1]), []).append(int(entry))
        found = [self.process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def stop(self) -> None:
        """Asks it to end, then kills what is left of its group."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_END_S)


@contextlib.contextmanager
def running(
    command: Sequence[str], *, core: int, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """Starts a program, and ends it on leaving."""
    program = Program(command, core=core, folder=folder, environment=environment)
    try:
        yield program
    finally:
        program.stop()


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, with that of children it has waited for; 0 when it has ended."""
    return sum(map(int, _stat(pid)[11:15])) / _TICKS_S


def pss_kib(pid: int) -> int:
    """Memory of a process, shared pages in proportion; 0 when it has ended or is another user's."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def busy_s() -> float:
    """CPU seconds that all cores have worked so far, for whomever."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / _TICKS_S  # without idle and iowait


def allow_descriptors() -> int:
    """As many as may be, for us and for what we start. How many that is: 5,000 tunnels are 10,000 sockets, and as many
    pipes again where a proxy splices."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < DESCRIPTORS:
        with contextlib.suppress(ValueError, PermissionError):  # only root may
            resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
            return DESCRIPTORS
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _prepare() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name; none when the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
