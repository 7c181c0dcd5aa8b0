"""An open connection whose keepalive probes show from second to second whether the network works.

When a flow has stalled and no other one receives, a control page is requested, and its connection is kept for a while.
As long as its peer answers probes, and the peer of the stalled flow does not, the network is not at fault.
"""

from __future__ import annotations

import contextlib

from proxy.net.kernel.tcp_info import PROBES_MAX, FlowSampler, Keepalive, is_closed
from proxy.net.stream import Stream

_BLIND_PROBES = 2
"""Unanswered probes that break a witness where TCP_INFO cannot be read: one that is there was heard within 3 s."""

_BLIND_ASKS = 3
"""Calls, a second apart, after which such a witness is known to be there."""


class Witness:
    """Owns one such connection. It is probed until `rest`, and again from the next `ask` on. Where TCP_INFO cannot be
    read, the kernel breaks it when its peer is silent."""

    __slots__ = ("_asked", "_keepalive", "_stream", "_tcp_info")

    def __init__(self, stream: Stream, tcp_info: FlowSampler) -> None:
        self._stream = stream
        self._tcp_info = tcp_info
        self._keepalive: Keepalive | None = None
        self._asked = 0  # since its probes began
        self._probe()

    @property
    def is_broken(self) -> bool:
        """Whether its peer has reset it, as after a long idle time. It is then no witness any more."""
        if not self._tcp_info.usable:
            return is_closed(self._stream.lowest_socket)
        sample = self._tcp_info.sample(self._stream.lowest_socket)
        return sample is None or sample.is_over

    def ask(self, within_s: float) -> bool:
        """Starts probes each second, if there are none. Returns whether its peer was heard within the last `within_s`;
        3 s where TCP_INFO cannot be read. Called once a second."""
        if not self._tcp_info.usable:
            self._probe()
            self._asked += 1
            return self._asked > _BLIND_ASKS and not self.is_broken
        sample = self._tcp_info.sample(self._stream.lowest_socket)
        self._probe()
        return sample is not None and sample.heard_s <= within_s

    def _probe(self) -> None:
        if self._keepalive is None:
            with contextlib.suppress(OSError):  # closed a moment ago: `ask` then returns False
                count = PROBES_MAX if self._tcp_info.usable else _BLIND_PROBES
                self._keepalive = Keepalive.begin(self._stream.lowest_socket, count=count)

    def rest(self) -> None:
        """Stops the probes. Harmless when there are none."""
        if self._keepalive is not None:
            self._keepalive.end(self._stream.lowest_socket)
            self._keepalive = None
            self._asked = 0

    def close(self) -> None:
        self._stream.abort()
