"""A stalled flow where TCP_INFO cannot be read: the kernel is asked in the one way that is left.

Whether keepalive probes were answered cannot be read, but the kernel can be told to break the connection if the last
ones were not (`Keepalive.judge`). That is done only after as many seconds in which the network was seen to work, so
that an outage breaks nothing; a connection whose peer answers stays. Linux also tells how many bytes are not
acknowledged, and sends no probes meanwhile: there they are counted over the same seconds.
"""

from __future__ import annotations

import socket
from enum import Enum

from proxy.net.kernel.tcp_info import Keepalive, unacknowledged_bytes

_MORE_S = 3
"""Seconds with a working network beside those of the probes: round trips are not known, and a blind witness tells of
the last seconds only."""

_JUDGED_S = 1
"""Seconds in which the kernel breaks a connection that it was told to judge: its next probe is due within one. An
outage that begins then is too short for as many unanswered probes."""


class Finding(Enum):
    WAITS = "waits"
    FROZEN = "frozen"
    ANSWERED = "answered"


class BlindStall:
    """A stalled flow that gets keepalive probes."""

    __slots__ = (
        "_did_receive",
        "_judged_s",
        "_probes",
        "_received_s",
        "_silent_s",
        "_steady_s",
        "began",
        "keepalive",
        "unacked",
    )

    def __init__(self, began: float, sock: socket.SocketType, keepalive: Keepalive, probes: int) -> None:
        """`keepalive` are the probes on `sock`; `probes` unanswered ones are a freeze."""
        self.began = began
        self.keepalive = keepalive
        self.unacked = unacknowledged_bytes(sock)
        self._probes = probes
        self._judged_s = 0
        self._received_s = self._silent_s = self._steady_s = 0
        self._did_receive = False  # others, in the second before

    @property
    def is_judged(self) -> bool:
        """Whether the kernel breaks the connection for its silence now."""
        return self._judged_s > 0

    @property
    def owes(self) -> bool:
        """Whether something has not been acknowledged for two seconds."""
        return self.unacked > 0 and self._received_s + self._silent_s >= 2

    def look(self, sock: socket.SocketType, *, others_receive: bool) -> Finding:
        """Reads the connection a second later."""
        before, self.unacked = self.unacked, unacknowledged_bytes(sock)
        if before and self.unacked < before:
            return Finding.ANSWERED
        if bool(before) is not bool(self.unacked):  # a request has just left
            self._received_s = self._silent_s = self._steady_s = 0
        self._received_s += others_receive
        self._silent_s += not others_receive
        # Pages come in bursts: others may rest for a second, in which no outage hides that loses a probe too many.
        self._steady_s = self._steady_s + 1 if others_receive or self._did_receive else 0
        self._did_receive = others_receive
        enough_s = self._probes + _MORE_S
        if self.unacked:
            # After an outage, the kernel sends again within the time for which it lasted.
            return Finding.FROZEN if self._received_s >= enough_s + self._silent_s else Finding.WAITS
        if self._judged_s > _JUDGED_S:
            return Finding.ANSWERED
        # After an outage, the next probe and its answer take a second and a round trip.
        if self._judged_s or (others_receive and self._received_s >= enough_s and self._steady_s > self._probes):
            if not self._judged_s:
                self.keepalive.judge(sock, self._probes + 1)
            self._judged_s += 1
        return Finding.WAITS
