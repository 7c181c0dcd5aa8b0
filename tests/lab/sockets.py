"""Sockets in a space: its holder makes them there, and any code may use them.

A server of the lab takes a `MakeSocket` and not a space, so that its tests may pass `socket.socket` and stay on
loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Protocol

IP_TRANSPARENT = 19  # <linux/in.h>; not in Python's socket module
IPV6_TRANSPARENT = 75  # <linux/in6.h>

Address = tuple[str, int]


class MakeSocket(Protocol):
    """Makes a socket in some network, as socket.socket does in ours. Raises OSError."""

    def __call__(self, family: int, kind: int, proto: int = 0, /) -> socket.socket: ...


def family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def listener(make: MakeSocket, address: Address, *, transparent: bool = False) -> socket.socket:
    """Returns a listening TCP socket. With `transparent` it accepts connections to addresses that are not its own: the
    accepted socket's own name is the client's original target. Several sockets may share a port; the closer address
    wins. Raises OSError."""
    return _bound(make, socket.SOCK_STREAM, address, transparent=transparent)


def datagram(make: MakeSocket, address: Address) -> socket.socket:
    """Returns a UDP socket bound to the address. Raises OSError."""
    return _bound(make, socket.SOCK_DGRAM, address, transparent=False)


def _bound(make: MakeSocket, kind: socket.SocketKind, address: Address, *, transparent: bool) -> socket.socket:
    family = family_of(address[0])
    sock = make(family, kind)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if transparent:
            six = family == socket.AF_INET6
            level = socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP
            sock.setsockopt(level, IPV6_TRANSPARENT if six else IP_TRANSPARENT, 1)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(1024)
    except BaseException:
        sock.close()
        raise
    return sock


async def connect(
    make: MakeSocket, address: Address, *, source: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Opens a connection from that network, from its address `source` if one is given. Raises OSError."""
    sock = make(family_of(address[0]), socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, address)
        return await asyncio.open_connection(sock=sock)
    except BaseException:
        with contextlib.suppress(OSError):
            sock.close()
        raise
