"""An open connection whose keepalive probes show from second to second whether the network is there.

When a flow has stalled and no other one receives, a control page is requested. The connection that brought it is kept
for a while: as long as its peer answers probes, and that of the stalled flow does not, the network is not at fault.
"""

from __future__ import annotations

import socket
from typing import Protocol

from proxy.net.kernel.tcp_info import PROBE_EVERY_S, PROBES_MAX, FlowSample, Keepalive
from proxy.net.stream import Stream


class Sampler(Protocol):
    """Reads a connection from the kernel: TcpInfo, or a test's double."""

    def sample(self, sock: socket.SocketType) -> FlowSample | None: ...


class Witness:
    """One such connection, which it owns. It is probed only between `ask` and `rest`."""

    __slots__ = ("_keepalive", "_stream", "_tcp_info")

    def __init__(self, stream: Stream, tcp_info: Sampler) -> None:
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
                self._keepalive = Keepalive.begin(sock, every_s=PROBE_EVERY_S, count=PROBES_MAX)
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
