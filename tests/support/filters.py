"""Socket filters, by which a censor on loopback drops packets without network privileges (Linux).

Some kernels allow them to root only. A test that needs one is then skipped, with the reason.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence

import pytest

_SO_ATTACH_FILTER = 26
_DROP_ALL = ((0x06, 0, 0, 0),)  # classic BPF: 0 bytes pass
_DROP_DATA = (  # a segment that is longer than its TCP header is dropped, the others pass
    (0x30, 0, 0, 12),  # A = byte 12: the header's length in words, in the high half
    (0x74, 0, 0, 2),  # A >>= 2
    (0x54, 0, 0, 0x3C),  # A &= 60: the header's length in bytes
    (0x07, 0, 0, 0),  # X = A
    (0x80, 0, 0, 0),  # A = the segment's length
    (0x2D, 0, 1, 0),  # if A > X
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # else pass
)
_DROP_LARGE = ((0x80, 0, 0, 0), (0x25, 0, 1, 1400), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))  # A = length; A > 1400


def drop_all(sock: socket.socket) -> None:
    """Drops all later packets to this socket."""
    _attach(sock, _DROP_ALL)


def drop_data(listener: socket.socket) -> None:
    """Lets connections open, but drops all their data: accepted sockets inherit the listener's filter."""
    _attach(listener, _DROP_DATA)


def drop_large(sock: socket.socket) -> None:
    """Drops all later segments to this socket that are longer than 1,400 bytes."""
    _attach(sock, _DROP_LARGE)


def _attach(sock: socket.socket, program: Sequence[tuple[int, int, int, int]]) -> None:
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code)))
    except PermissionError:
        pytest.skip("not run: this kernel lets only root attach a socket filter")
