"""The user at the other end of a Unix socket, as the kernel reports it. No program can forge this."""

from __future__ import annotations

import socket
import struct
import sys

_UCRED = struct.Struct("3i")  # struct ucred of Linux: pid, uid, gid
_XUCRED = struct.Struct("IIh2x16I")  # struct xucred of macOS and FreeBSD: version, uid, number of groups, groups
_LOCAL_PEERCRED = 1  # of SOL_LOCAL, which is 0; Python has no names for them


def peer_uid(sock: socket.socket) -> int | None:
    """Returns the user id at the other end; None on a system that does not report it. Raises OSError when the other end
    has gone."""
    if hasattr(socket, "SO_PEERCRED"):
        _pid, uid, _gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return int(uid)
    if sys.platform == "darwin" or sys.platform.startswith("freebsd"):
        _version, uid, *_groups = _XUCRED.unpack(sock.getsockopt(0, _LOCAL_PEERCRED, _XUCRED.size))
        return int(uid)
    return None
