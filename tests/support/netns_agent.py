"""Keeps a namespace open, and makes sockets in it for a process outside. Run as a script by tests/support/netns.py.

A socket belongs for ever to the network in which it was made, whoever uses it. So a server of a test runs in the test's
own process and yet listens in the namespace. It ends when the other end of its channel does, however that ended.
"""

from __future__ import annotations

import json
import socket
import sys


def make(family: int, kind: int, protocol: int, address: tuple[str, int] | None) -> socket.socket:
    """A socket, bound when an address is given. Raises OSError."""
    sock = socket.socket(family, kind, protocol)
    try:
        if address is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def serve(channel: socket.socket) -> None:
    """Each request is [family, kind, protocol, address or null]; the answer a socket, or why there is none."""
    channel.send(b"here")
    while request := channel.recv(4096):
        family, kind, protocol, address = json.loads(request)
        try:
            sock = make(family, kind, protocol, address and tuple(address))
        except OSError as error:
            channel.send(str(error).encode())
            continue
        with sock:
            socket.send_fds(channel, [b"made"], [sock.fileno()])


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as own_end:
        serve(own_end)
