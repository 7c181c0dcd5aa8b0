"""Keeps a namespace open, and makes sockets in it for a process outside. tests/support/netns.py runs it as a script.

A socket always belongs to the network in which it was made, whichever process uses it. So a server can run in the
test's own process and listen in the namespace. The agent ends when the other end of its channel does.
"""

from __future__ import annotations

import json
import socket
import sys


def make(family: int, kind: int, protocol: int, address: tuple[str, int] | None) -> socket.socket:
    """Returns a socket, bound if there is an address. Raises OSError."""
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
    """Answers requests. A request is [family, kind, protocol, address or null]; the answer is a socket, or an error."""
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
