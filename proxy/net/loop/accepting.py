"""Accepts the clients of a listening socket as bare descriptors.

The caller makes a socket of C of each, which costs no call of Python; `socket.accept` would make one of Python's class.
It is built on `_accept`, of which no documentation tells: without that, `accept` does the same and costs more calls.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, cast

Accept = Callable[[], tuple[int, Any]]
"""Accepts one client that waits. Returns its descriptor, which the caller owns, and its address. Raises OSError as
`socket.accept` does."""


def accept_of(sock: socket.socket) -> Accept:
    """Returns what accepts the clients of this socket."""
    if (accept := getattr(sock, "_accept", None)) is not None:
        return cast(Accept, accept)

    def accept_and_detach() -> tuple[int, Any]:
        client, address = sock.accept()
        return client.detach(), address

    return accept_and_detach
