"""Real sockets on loopback for tests of code that moves bytes."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import socket
import struct
from types import SimpleNamespace
from typing import Any


def tcp_pair(family: socket.AddressFamily = socket.AF_INET) -> tuple[socket.socket, socket.socket]:
    """Returns two connected non-blocking TCP sockets: the client's and the accepted one."""
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as listener:
        near = socket.create_connection(listener.getsockname()[:2])
        far, _ = listener.accept()
    for sock in (near, far):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


def listener_alone(address: str, port: int = 0, *, backlog: int = 512) -> tuple[socket.socket, socket.socket]:
    """Returns a listener on `address`, which is not 127.0.0.1, and a socket that reserves its port on 127.0.0.1.
    Otherwise a Byway that listens on any free port could get that port, and would take a listener on it, at any
    loopback address, for itself."""
    for _ in range(50):  # the free port of one address may be taken on another
        listener = socket.create_server((address, port), backlog=backlog)
        holder = socket.socket()
        try:
            holder.bind(("127.0.0.1", listener.getsockname()[1]))
        except OSError as failure:
            listener.close()
            holder.close()
            if port or failure.errno != errno.EADDRINUSE:
                raise
        else:
            return listener, holder
    raise OSError(errno.EADDRINUSE, f"no port is free on 127.0.0.1 and {address}")


def lasting_port(*addresses: str) -> int:
    """Returns a port on which nobody listens on 127.0.0.1 and these addresses, and which nobody gets by chance: it is
    below those that the kernel gives to connections, which many tests make beside this one (`ip_local_port_range`)."""
    for port in random.sample(range(20_000, 32_000), 100):
        with contextlib.suppress(OSError), contextlib.ExitStack() as until_known:
            for address in ("127.0.0.1", *addresses):
                until_known.enter_context(socket.create_server((address, port)))
            return port
    raise OSError(errno.EADDRINUSE, "a hundred ports of this machine are in use")


def reset(sock: socket.socket) -> None:
    """Closes with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def public_alone(sock: socket.socket) -> Any:
    """Returns a listening socket of a Python that has only `accept`."""
    return SimpleNamespace(accept=sock.accept)


def descriptors() -> int:
    """Returns the number of open descriptors of this process."""
    return len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))
