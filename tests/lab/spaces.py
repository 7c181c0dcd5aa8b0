"""Nameless network namespaces, each held by a thread of ours.

A thread steps into a network and a mount namespace of its own and works there on request: it makes sockets, which
belong to that network for ever, whoever uses them; starts programs; puts files in place. Nothing has a name, so runs
beside each other do not clash, and at our end, even by kill -9, the kernel removes everything.

This needs root. An ordinary user becomes the root of a user namespace first: `python -m tests.lab.spaces COMMAND …`.
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SO_REUSEADDR, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET
from socket import socket as Socket  # noqa: N812 - a space has a method of that name
from typing import IO, Any, TypeVar

from tests.lab.netlink import Netlink

T = TypeVar("T")

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_MNT_DETACH = 2
_IPV6_FREEBIND = 78  # linux/in6.h
_DESK = "/mnt"
"""The directory in which a space mounts a file system in memory for a moment, to write its files."""

_TIED = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG: killed when the thread ends that started us
if os.getppid() != int(sys.argv[1]): sys.exit("the lab has ended")
os.execvp(sys.argv[2], sys.argv[2:])
"""

_ENTER = """\
import ctypes, os, sys
here = os.getcwd()
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(1, 9)  # PR_SET_PDEATHSIG: killed when the lab ends, however that ends
if os.getppid() != int(sys.argv[3]): sys.exit("the lab has ended")
for path, kind in ((sys.argv[1], 0x40000000), (sys.argv[2], 0x00020000)):
    if libc.setns(os.open(path, os.O_RDONLY), kind): sys.exit(f"setns: {os.strerror(ctypes.get_errno())}")
os.chdir(here)
os.execvp(sys.argv[4], sys.argv[4:])
"""

_libc = ctypes.CDLL(None, use_errno=True)


class Space:
    """One network, with its own version of the files of /etc. Raises PermissionError when we may not make one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        begun: Future[tuple[int, int]] = Future()
        self._thread = threading.Thread(target=self._live, args=(begun,), name=f"space {name}", daemon=True)
        self._thread.start()
        self.fd, self.mount_fd = begun.result()

    def __repr__(self) -> str:
        return f"<Space {self.name}>"

    def run(self, what: Callable[[], T]) -> T:
        """Calls `what` in here and waits for it. Returns or raises the same as `what`."""
        answer: Future[T] = Future()
        self._jobs.put((what, answer))
        return answer.result()

    def socket(self, family: int, kind: int, proto: int = 0) -> Socket:
        """Returns a socket of this network, for use in any thread; the caller closes it."""
        sock = self.run(lambda: Socket(family, kind, proto))
        if family == AF_INET6:  # binds to any address of a local prefix, as IPv4 does unasked
            sock.setsockopt(IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        return sock

    def create_server(self, address: tuple[str, int], *, backlog: int = 128) -> Socket:
        """Returns a listening TCP socket; its family is that of the address."""
        sock = self.socket(_family(address[0]), SOCK_STREAM)
        try:
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            if sock.family == AF_INET6:
                sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen(backlog)
        except OSError:
            sock.close()
            raise
        return sock

    def create_udp(self, address: tuple[str, int]) -> Socket:
        """Returns a bound UDP socket."""
        sock = self.socket(_family(address[0]), SOCK_DGRAM)
        try:
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            sock.bind(address)
        except OSError:
            sock.close()
            raise
        return sock

    async def open_connection(self, address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Works as asyncio.open_connection, from here."""
        sock = self.socket(_family(address), SOCK_STREAM)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
            return await asyncio.open_connection(sock=sock)
        except BaseException:
            sock.close()
            raise

    def put_file(self, path: str | Path, content: bytes) -> None:
        """Makes programs in here see `content` at `path`, where a file must exist already. Nothing is written
        outside."""
        self.run(lambda: _put_file(path, content))

    def mount_memory(self, path: str) -> None:
        """Makes programs in here see an empty directory at `path`, where a directory must exist already."""
        self.run(lambda: _mount("none", path, "tmpfs", 0))

    def popen(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Starts a program in here. It is killed when the space is closed or we end."""
        return self.run(
            lambda: subprocess.Popen(
                tied(command), env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=pass_fds
            )
        )

    @property
    def namespaces(self) -> tuple[tuple[str, int], ...]:
        """The paths and the kinds of its namespaces, which other processes can open and enter."""
        kinds = ((self.fd, _CLONE_NEWNET), (self.mount_fd, _CLONE_NEWNS))
        return tuple((f"/proc/{os.getpid()}/fd/{descriptor}", kind) for descriptor, kind in kinds)

    @property
    def entering(self) -> tuple[str, ...]:
        """The words that a command needs in front to run in here. The command is killed when the lab ends."""
        return (
            *(sys.executable, "-I", "-S", "-c", _ENTER),
            *(path for path, _ in self.namespaces),
            str(os.getpid()),
        )

    def close(self) -> None:
        """Kills the programs that were started here. The network lasts until its last socket is closed."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()
            os.close(self.fd)
            os.close(self.mount_fd)

    def _live(self, begun: Future[tuple[int, int]]) -> None:
        try:
            begun.set_result(_step_in())
        except OSError as error:
            begun.set_exception(error)
            return
        while (job := self._jobs.get()) is not None:
            what, answer = job
            try:
                answer.set_result(what())
            except BaseException as error:  # the caller's to handle, whatever it is
                answer.set_exception(error)
            del job, what, answer  # keep nothing alive while waiting


def _step_in() -> tuple[int, int]:
    """Puts this thread into new namespaces; returns open descriptors of its network and mount namespace."""
    _check(_libc.unshare(_CLONE_NEWNET | _CLONE_NEWNS), "unshare")
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    return tuple(os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("net", "mnt"))  # type: ignore[return-value]  # two kinds make a pair


def _put_file(path: str | Path, content: bytes) -> None:
    """Puts the file in this thread's mount namespace, which must be its own."""
    _mount("none", _DESK, "tmpfs", 0)
    try:
        new = Path(_DESK, "file")
        new.write_bytes(content)
        new.chmod(0o644)
        _mount(str(new), os.path.realpath(path), "", _MS_BIND)
    finally:
        _check(_libc.umount2(_DESK.encode(), _MNT_DETACH), "umount")


def _mount(source: str, target: str, kind: str, flags: int) -> None:
    done = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None)
    _check(done, f"mount {target}")


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _family(address: str) -> int:
    return AF_INET6 if ":" in address else AF_INET


def tied(command: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Returns the words of a command that runs `command`, as a child of this process, and that is killed when we
    end."""
    return [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *(os.fspath(word) for word in command)]


@functools.cache
def may_make_spaces() -> bool:
    """Returns whether this process may make spaces as it is."""
    try:
        Space("trial").close()
    except PermissionError:
        return False
    return True


def within(command: Sequence[str]) -> list[str]:
    """Returns the words of a command that runs `command` as root of a user namespace of its own."""
    return [sys.executable, "-m", "tests.lab.spaces", *command]


def begin_with_spaces(module: str) -> None:
    """Begins a program of the lab: where this process may make no spaces, it becomes `python -m MODULE` with the same
    arguments as the root of a user namespace."""
    if not may_make_spaces():
        command = within([sys.executable, "-m", module, *sys.argv[1:]])
        os.execvp(command[0], command)


@functools.cache
def may_become_root() -> bool:
    """Returns whether an ordinary user may make a user namespace here, and spaces in it."""
    trial = "from tests.lab.spaces import Space; Space('trial').close()"
    command = within([sys.executable, "-c", trial])
    return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0


def move_into_own(files: Mapping[str, str]) -> None:
    """Moves this process, which must have one thread only, and everything that it starts into a network of its own that
    has loopback alone, with shared memory of its own, and in which these files replace those that exist. Raises
    OSError."""
    try:
        opened = _step_in()
    except PermissionError:
        become_root()
        _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    else:
        for descriptor in opened:
            os.close(descriptor)
        _set_up_loopback()
    _mount("none", "/dev/shm", "tmpfs", 0)
    for path, text in files.items():
        _put_file(path, text.encode())


def become_root() -> None:
    """Makes this process, which must have one thread only, the root of a user namespace, with a network of its own in
    which loopback works as everywhere. Raises OSError."""
    user, group = os.geteuid(), os.getegid()
    _check(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWNS), "unshare")
    Path("/proc/self/setgroups").write_text("deny")  # user_namespaces(7): before gid_map
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _set_up_loopback()


def _set_up_loopback() -> None:
    netlink = Netlink(Socket(socket.AF_NETLINK, socket.SOCK_RAW))
    netlink.set_up("lo")
    netlink.close()


if __name__ == "__main__":
    become_root()
    os.execvp(sys.argv[1], sys.argv[1:])
