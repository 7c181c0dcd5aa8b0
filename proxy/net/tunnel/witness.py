"""An open connection whose keepalive probes show from second to second whether the network is there.

When a flow has stalled and no other one receives, a control page is requested. The connection that brought it is kept
for a while: as long as its peer answers probes, and that of the stalled flow does not, the network is not at fault.
"""

from __future__ import annotations

import socket
from typing import Protocol

from proxy.net.kernel.tcp_info import FlowSample, Keepalive
from proxy.net.stream import Stream

EVERY_S = 1  # the kernel's least

COUNT = 127
"""Probes without an answer after which the kernel breaks the connection; it takes no larger number. A stalled flow
never gets so many: with a count of 3 a live one dies in an outage of 3 s (measured)."""


class FlowSampler(Protocol):
    """Reads a connection from the kernel: TcpInfo, or a test's double."""

    def sample(self, sock: socket.SocketType) -> FlowSample | None: ...

    def answered_after(self, sock: socket.SocketType) -> float | None: ...


class Witness:
    """One such connection, which it owns. It is probed only between `ask` and `rest`."""

    __slots__ = ("_keepalive", "_stream", "_tcp_info")

    def __init__(self, stream: Stream, tcp_info: FlowSampler) -> None:
        self._stream = stream
        self._tcp_info = tcp_info
        self._keepalive: Keepalive | None = None

    def ask(self, within_s: float) -> bool:
        """Has it probed each second from now on. Returns whether its peer was heard within the last `within_s`."""
        sock = self._stream.lowest_socket
        if (sample := self._tcp_info.sample(sock)) is None:
            return False
        if self._keepalive is None:
            try:
                self._keepalive = Keepalive.begin(sock, every_s=EVERY_S, count=COUNT)
            except OSError:  # closed a moment ago
                return False
        return sample.heard_s <= within_s

    def rest(self) -> None:
        """Has it probed no more. Harmless when it is not."""
        if self._keepalive is not None:
            self._keepalive.end(self._stream.lowest_socket)
            self._keepalive = None

    def close(self) -> None:
        """Closes the connection."""
        self._stream.abort()
