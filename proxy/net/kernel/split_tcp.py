"""Detects a middlebox that terminates TCP on the path (split TCP): a company's proxy, a satellite modem, some filters.

Such a middlebox also acknowledges what we send, so TCP_INFO then describes the middlebox and not the site. It is near
and the sites are far, which shows in the times of hosts that work: their first bytes come many times later than their
SYN-ACK. One slow site shows the same; half of the latest sites rarely do. Nothing is sent to find out.
"""

from __future__ import annotations

from collections import OrderedDict

from proxy.config.detect_tuning import DetectTuning


class SplitTcpDetector:
    """Remembers the hosts that last worked over direct TLS, on one network; `reset` when the network changes."""

    __slots__ = ("_detect", "_late", "_late_count", "detected")

    def __init__(self, detect: DetectTuning) -> None:
        self._detect = detect
        # Host → whether its first byte came far too late. No `Bounded`: a value that is dropped is taken off the count.
        self._late: OrderedDict[str, bool] = OrderedDict()
        self._late_count = 0
        self.detected = False
        """Whether a middlebox terminates TCP on the path."""

    def note(self, host: str, syn_s: float, first_byte_s: float) -> None:
        """A host worked: its SYN was answered after `syn_s` (0: not known) and its flight after `first_byte_s`. With
        enough hosts known, more than half of them late is the same as a median that is."""
        if syn_s <= 0:
            return
        detect = self._detect
        late = first_byte_s >= detect.middlebox_least_s and first_byte_s >= detect.middlebox_ratio * syn_s
        before = self._late.pop(host, None)
        self._late[host] = late
        if before is late:
            return
        self._late_count += late - bool(before)
        if len(self._late) > detect.middlebox_hosts:
            self._late_count -= self._late.popitem(last=False)[1]
        known = len(self._late)
        if 2 * known >= detect.middlebox_hosts:
            self.detected = 2 * self._late_count > known

    def reset(self) -> None:
        """The network changed: forgets all hosts."""
        self._late.clear()
        self._late_count = 0
        self.detected = False

    def forget_hosts(self) -> None:
        """Forgets all hosts, and not what they have shown: that stands until enough others are known."""
        self._late.clear()
        self._late_count = 0

    def __repr__(self) -> str:
        state = "detected" if self.detected else "not detected"
        return f"<SplitTcpDetector {state}: {self._late_count} of {len(self._late)} late>"
