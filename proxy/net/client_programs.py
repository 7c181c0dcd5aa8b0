"""Finds out which program on this computer a client is, for PROCESS-NAME rules, `[listen] programs` and the list of
open connections, and keeps who used the port, in memory only. Linux only.

The kernel's table of connections names the socket of a client and its user; the folders of processes in /proc name the
sockets that each process holds. Byway may not read those of other users. A program is looked up only when a rule or
that setting depends on it or a page shows it, once for each connection.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import secrets
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.model import IPAddress, host_and_port
from proxy.model.bounded import Bounded
from proxy.net.tasks import spawn
from proxy.net.uplink.network_watch import source_address_for

if TYPE_CHECKING:
    from proxy.net.named_programs import Holder

_PROC = Path("/proc")

_RECENT = 16
"""Processes that are searched first: a browser opens many connections from one."""


_NOT_OURS = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ESRCH)
"""Errors with a process that is another user's, that keeps itself from being read, or that has ended."""


def unsupported(platform: str = sys.platform) -> str:
    """Returns the reason why programs cannot be found out on this platform; empty when they can."""
    return "" if platform == "linux" else "PROCESS-NAME rules work on Linux only"


def unreadable(proc: Path = _PROC, platform: str = sys.platform) -> str:
    """Returns the reason why the programs of clients cannot be found out here; empty when they can. Reads what a
    look-up reads: a container or a hardened kernel may keep it from Byway."""
    if platform != "linux":
        return "which program a client is can be found out on Linux only"
    try:
        os.readlink(proc / "self" / "exe")
        os.listdir(proc / "self" / "fd")
        with open(proc / "net" / "tcp", "rb") as table:
            if table.read(1):
                return ""
    except OSError:
        pass
    return f"which program a client is cannot be found out here: {proc} cannot be read"


class ClientPrograms:
    """The programs of clients. Belongs to one loop."""

    def __init__(self, port: Callable[[], int], *, proc: Path = _PROC) -> None:
        """`port` returns the port to which clients connect."""
        self._port = port
        self._proc = proc
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self.cached: dict[str, str | None] = {}
        """The programs of connected clients. The session of a client removes its entry at the end: another program may
        get the same port."""
        self.held: dict[str, tuple[Holder, ...] | None] = {}
        """What holds the sockets of connected clients, as `holders` returns it; removed like `cached`."""
        self._next: tuple[set[str], asyncio.Task[Mapping[str, tuple[Holder, ...] | None]]] | None = None
        self._searching = asyncio.Lock()

    async def of(self, client: str) -> str | None:
        """Returns the file name of the program behind a client (`address:port`), in lower case; empty when the client
        is not on this computer; None when the program cannot be found out. Reads in a thread: with many processes it
        takes milliseconds."""
        if client not in self.cached:
            self.cached |= await asyncio.to_thread(self._find_all, [client])
        return self.cached[client]

    async def of_all(self, clients: Collection[str]) -> Mapping[str, str | None]:
        """Returns the program of each client, as `of`, without caching it. Each of the kernel's tables is read once."""
        return await asyncio.to_thread(self._find_all, clients)

    async def holders(self, client: str) -> tuple[Holder, ...] | None:
        """Returns the programs of all processes that hold the socket of a client (`address:port`); none when the client
        is not on this computer; None when they cannot be found out. Processes that Byway may not read are not among
        them. Reads all of /proc, in a thread; clients that come meanwhile wait for one more search together."""
        if client not in self.held:
            if self._next is None:
                clients = set[str]()
                self._next = clients, spawn(self._search_next(), name="search for the programs of clients")
            clients, search = self._next
            clients.add(client)
            self.held[client] = (await asyncio.shield(search))[client]
        return self.held[client]

    async def holders_of_all(self, clients: Collection[str]) -> Mapping[str, tuple[Holder, ...] | None]:
        """Returns the programs that hold the socket of each client, as `holders`, without keeping them."""
        return await asyncio.to_thread(self._find_holders, clients)

    async def _search_next(self) -> Mapping[str, tuple[Holder, ...] | None]:
        async with self._searching:
            assert self._next is not None
            (clients, _), self._next = self._next, None
            return await asyncio.to_thread(self._find_holders, clients)

    def _find_holders(self, clients: Collection[str]) -> Mapping[str, tuple[Holder, ...] | None]:
        """As `holders`. A client may have several sockets with one address and port, to several of Byway's addresses:
        what holds any of them counts."""
        tables = {table: self._table(table) for table in ("tcp", "tcp6")}
        found: dict[str, tuple[Holder, ...] | None] = {}
        sockets: dict[str, list[int]] = {}
        for client in clients:
            host, port = host_and_port(client)
            address = ipaddress.ip_address(host)
            entries = list(self._sockets(tables, address, int(port)))
            is_here = bool(entries) or address.is_loopback or source_address_for(address) == address
            found[client] = None if is_here else ()
            if entries and all(os.geteuid() in (uid, 0) for uid, _ in entries):
                sockets[client] = [inode for _, inode in entries]
        held = self._all_holders({inode for inodes in sockets.values() for inode in inodes})
        for client, inodes in sockets.items():
            if all(inode in held for inode in inodes):
                programs = [program for inode in inodes for program in held[inode]]
                found[client] = None if None in programs else tuple(dict.fromkeys(p for p in programs if p is not None))
        return found

    def _all_holders(self, inodes: set[int]) -> Mapping[int, list[Holder | None]]:
        """Returns the programs of all processes that hold each of these sockets; None for one that cannot be read.
        Empty when a process could not be looked at for want of descriptors or memory: it may hold any of them."""
        from proxy.net.named_programs import Holder  # few name the programs that get relays

        wanted = {f"socket:[{inode}]": inode for inode in inodes}
        held: dict[int, list[Holder | None]] = {}
        try:
            processes = [name for name in os.listdir(self._proc) if name.isdigit()] if wanted else []
        except OSError:
            return {}
        for name in processes:
            folder = self._proc / name
            try:
                targets = _targets(folder / "fd")
            except OSError as error:
                if error.errno in _NOT_OURS:
                    continue
                return {}
            if not (sockets := wanted.keys() & targets):
                continue
            try:
                program: Holder | None = Holder.of(folder / "exe")
            except OSError:
                program = None
            for socket in sockets:
                held.setdefault(wanted[socket], []).append(program)
        return held

    def _find_all(self, clients: Collection[str]) -> dict[str, str | None]:
        tables = {table: self._table(table) for table in ("tcp", "tcp6")}
        programs: dict[str, str | None] = {}
        holders: dict[int, list[str]] = {}
        for client in clients:
            host, port = host_and_port(client)
            address = ipaddress.ip_address(host)
            entry = next(self._sockets(tables, address, int(port)), None)
            is_here = entry is not None or address.is_loopback or source_address_for(address) == address
            programs[client] = None if is_here else ""
            if entry is not None and os.geteuid() in (entry[0], 0):
                holders.setdefault(entry[1], []).append(client)
        for inode, program in self._holders(set(holders)):
            programs |= dict.fromkeys(holders[inode], program)
        return programs

    def _table(self, name: str) -> bytes:
        try:
            return (self._proc / "net" / name).read_bytes()
        except OSError:  # no IPv6, or not readable for us
            return b""

    def _sockets(self, tables: Mapping[str, bytes], address: IPAddress, port: int) -> Iterator[tuple[int, int]]:
        """Yields the user id and the inode of each socket with this address and port that is connected to our port."""
        spellings = [("tcp6", address)]
        if address.version == 4:
            spellings = [("tcp", address), ("tcp6", ipaddress.IPv6Address(f"::ffff:{address}"))]
        for table, local in spellings:
            rows = tables[table]
            wanted = f": {_in_hex(local)}:{port:04X} ".encode()
            at = rows.find(wanted)
            while at >= 0:
                end = rows.find(b"\n", at)
                # local, remote, state, queues, timer, retransmissions, user, timeout, inode, …
                _, remote, _, _, _, _, uid, _, inode, *_ = rows[at + 2 : end if end >= 0 else len(rows)].split()
                if int(remote.rpartition(b":")[2], 16) == self._port() and int(inode):
                    yield int(uid), int(inode)
                at = rows.find(wanted, at + 1)

    def _holders(self, inodes: set[int]) -> Iterator[tuple[int, str]]:
        """Yields inodes of sockets, each with the program of a process that holds it, until all are found."""
        wanted = {f"socket:[{inode}]": inode for inode in inodes}
        for pid in self._pids():
            if not wanted:
                return
            folder = self._proc / str(pid)
            held = []
            try:
                with os.scandir(folder / "fd") as descriptors:
                    for descriptor in descriptors:
                        if (inode := wanted.pop(_target(descriptor.path), None)) is not None:
                            held.append(inode)
                            if not wanted:
                                break
                if not held:
                    continue
                program = os.readlink(folder / "exe")
            except OSError:  # the process is another user's, or has ended
                wanted |= {f"socket:[{inode}]": inode for inode in held}  # another process may hold it too
                continue
            if pid not in self._recent:
                self._recent.append(pid)
            for inode in held:
                yield inode, program.removesuffix(" (deleted)").rpartition("/")[2].lower()  # deleted by an update

    def _pids(self) -> Iterator[int]:
        yield from reversed([*self._recent])
        for name in os.listdir(self._proc):
            if name.isdigit():
                yield int(name)


USERS_MAX = 64
"""The most programs that are kept: a program can make copies of itself without end."""


@dataclass(slots=True)
class PortUser:
    """A program, by its file; None: one that cannot be found out, or another computer (`is_elsewhere`). A form refers
    to it by `id`."""

    program: Holder | None
    is_elsewhere: bool = False
    connections: int = 0
    last_at: float = 0.0
    """Seconds since the epoch."""
    id: str = field(default_factory=lambda: secrets.token_hex(8))


class PortUsers:
    """The programs, the one that used the port last at the end."""

    def __init__(self) -> None:
        self._users: Bounded[object, PortUser] = Bounded(USERS_MAX)

    def note(self, holders: Sequence[Holder] | None, at: float, *, connections: int = 1) -> None:
        """Notes connections of a client, by the programs that hold its socket, as `ClientPrograms.holders` returns
        them."""
        for program in holders or (None,):
            key = holders if program is None else (program.path, program.device, program.inode)
            user = self._users.get(key) or PortUser(program, is_elsewhere=program is None and holders is not None)
            user.connections += connections
            user.last_at = at
            self._users[key] = user

    def newest_first(self) -> Sequence[PortUser]:
        return [*reversed(self._users.values())]

    def find(self, user: str) -> PortUser | None:
        """Returns the program with this id."""
        return next((each for each in self._users.values() if each.id == user), None)

    def clear(self) -> None:
        self._users.clear()


def _targets(folder: Path) -> set[str]:
    """Returns the targets of the links in a folder. Raises OSError. By its descriptor this takes half as long as by
    paths, some 8 µs a link."""
    opened, targets = os.open(folder, os.O_RDONLY | os.O_DIRECTORY), set[str]()
    try:
        for name in os.listdir(opened):
            try:
                targets.add(os.readlink(name, dir_fd=opened))
            except FileNotFoundError:  # closed meanwhile
                continue
    finally:
        os.close(opened)
    return targets


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:  # closed meanwhile
        return ""


def _in_hex(address: IPAddress) -> str:
    """Returns an address as the kernel's tables write it: words of four bytes, in the byte order of the machine."""
    packed = address.packed
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
