"""Finds out which program on this computer a client is, for PROCESS-NAME rules and for who looks at the open
connections. Linux only.

The kernel's table of connections has the socket of a client and the user it belongs to, and the folders of processes in
/proc have the sockets that each one holds. Those of other users are closed to us. Nothing is looked up unless a rule
depends on it, or somebody looks, and then once a connection.
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
"""Processes that are asked first: a browser opens many connections from one."""


def unsupported(platform: str = sys.platform) -> str:
    """Returns why programs cannot be found out here; empty when they can."""
    return "" if platform == "linux" else "PROCESS-NAME rules work on Linux only"


class ClientPrograms:
    """The programs of clients. Belongs to one loop."""

    def __init__(self, port: Callable[[], int], *, proc: Path = _PROC) -> None:
        """`port` is the one that clients connect to."""
        self._port = port
        self._proc = proc
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self.cached: dict[str, str | None] = {}
        """Of clients that are connected. Whoever serves a client removes it when that ends: another program may get the
        same port."""

    async def of(self, client: str) -> str | None:
        """Returns the file name of the program behind a client (`address:port`), in lower case; empty when the client
        is not on this computer; None when it cannot be found out. Reads in a thread: with many processes it takes
        milliseconds."""
        if client not in self.cached:
            self.cached[client] = await asyncio.to_thread(self._find, client)
        return self.cached[client]

    async def of_all(self, clients: Collection[str]) -> Mapping[str, str | None]:
        """Returns the same for many clients, and keeps nothing. Each of the kernel's tables is read once."""
        return await asyncio.to_thread(self._find_all, clients)

    def _find(self, client: str) -> str | None:
        return self._find_all([client])[client]

    def _find_all(self, clients: Collection[str]) -> dict[str, str | None]:
        tables = {table: self._table(table) for table in ("tcp", "tcp6")}
        found: dict[str, str | None] = {}
        holders: dict[int, list[str]] = {}
        for client in clients:
            host, port = host_and_port(client)
            address = ipaddress.ip_address(host)
            entry = self._socket(tables, address, int(port))
            is_here = entry is not None or address.is_loopback or source_address_for(address) == address
            found[client] = None if is_here else ""
            if entry is not None and os.geteuid() in (entry[0], 0):
                holders.setdefault(entry[1], []).append(client)
        for inode, program in self._holders(set(holders)):
            found |= dict.fromkeys(holders[inode], program)
        return found

    def _table(self, name: str) -> bytes:
        try:
            return (self._proc / "net" / name).read_bytes()
        except OSError:  # without IPv6, or closed to us
            return b""

    def _socket(self, tables: Mapping[str, bytes], address: IPAddress, port: int) -> tuple[int, int] | None:
        """Returns the user and the inode of the client's socket."""
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
        """Yields sockets, each with the program of a process that holds it. Ends when all are found."""
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
            except OSError:  # another user's, or it has ended
                wanted |= {f"socket:[{inode}]": inode for inode in held}  # another process may hold it too
                continue
            if pid not in self._recent:
                self._recent.append(pid)
            for inode in held:
                yield inode, program.removesuffix(" (deleted)").rpartition("/")[2].lower()  # deleted: it was updated

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
    """An address as these tables have it: words of four bytes, in the byte order of the machine."""
    packed = address.packed
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
