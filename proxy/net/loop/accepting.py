"""Accepts the clients of a listening socket as bare descriptors.

The caller makes a C socket object of each, without a Python call; `socket.accept` would make one of Python's class.
This uses `socket._accept`, which is not documented; without it, `accept` does the same and costs more calls.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, cast

Accept = Callable[[], tuple[int, Any]]
"""Accepts one waiting client. Returns its descriptor, which the caller owns, and its address. Raises OSError as
`socket.accept` does."""


def accept_of(sock: socket.socket) -> Accept:
    if (accept := getattr(sock, "_accept", None)) is not None:
        return cast(Accept, accept)

    def accept_and_detach() -> tuple[int, Any]:
        client, address = sock.accept()
        return client.detach(), address

    return accept_and_detach
