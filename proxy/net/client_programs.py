"""Finds out which program on this computer a client is, for PROCESS-NAME rules and for the list of open connections.
Linux only.

The kernel's table of connections names the socket of a client and its user; the folders of processes in /proc name the
sockets that each process holds. Byway may not read those of other users. A program is looked up only when a rule
depends on it or the list is shown, once for each connection.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from proxy.model import IPAddress, host_and_port
from proxy.net.uplink.network_watch import source_address_for

_PROC = Path("/proc")

_RECENT = 16
"""Processes that are searched first: a browser opens many connections from one."""


def unsupported(platform: str = sys.platform) -> str:
    """Returns the reason why programs cannot be found out on this platform; empty when they can."""
    return "" if platform == "linux" else "PROCESS-NAME rules work on Linux only"


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

    def _find_all(self, clients: Collection[str]) -> dict[str, str | None]:
        tables = {table: self._table(table) for table in ("tcp", "tcp6")}
        programs: dict[str, str | None] = {}
        holders: dict[int, list[str]] = {}
        for client in clients:
            host, port = host_and_port(client)
            address = ipaddress.ip_address(host)
            entry = self._socket(tables, address, int(port))
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

    def _socket(self, tables: Mapping[str, bytes], address: IPAddress, port: int) -> tuple[int, int] | None:
        """Returns the user id and the inode of the client's socket; None when no table has it."""
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
                    return int(uid), int(inode)
                at = rows.find(wanted, at + 1)
        return None

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
