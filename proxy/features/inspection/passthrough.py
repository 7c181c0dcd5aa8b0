"""Hosts that are not inspected for some hours, because a client rejected our certificate for them.

An app with a pinned certificate sends a TLS alert, and so does a browser that does not trust our CA. Some clients only
close the connection. An alert counts at once. A close may have other causes, so three in a row are needed, without an
accepted certificate between them. The table is in memory only. No I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.model.bounded import Bounded

HOSTS_MAX = 1000
HANG_UPS = 3
"""This many closed connections in a row count as a rejection."""


class Passthrough:
    """Remembers rejections by host. Times are in seconds, of any one clock."""

    def __init__(self) -> None:
        self._until: Bounded[str, float] = Bounded(HOSTS_MAX)
        self._hang_ups: Bounded[str, int] = Bounded(HOSTS_MAX)

    def applies(self, host: str, now: float) -> bool:
        """Whether the host is passed through at present."""
        until = self._until.get(host)
        if until is None:
            return False
        if until <= now:
            del self._until[host]
            return False
        return True

    def client_rejected(self, host: str, now: float, *, by_alert: bool, keep_s: float) -> bool:
        """Counts a rejection. Returns whether the host is passed through from now on, for `keep_s` seconds."""
        if not by_alert:
            count = self._hang_ups[host] = self._hang_ups.get(host, 0) + 1
            if count < HANG_UPS:
                return False
        self._hang_ups.pop(host, None)
        begins = not self.applies(host, now)
        self._until[host] = now + keep_s
        return begins

    def client_accepted(self, host: str) -> None:
        """Resets the count of closed connections: they had other causes."""
        self._hang_ups.pop(host, None)

    def forget(self, meant: Callable[[str], bool]) -> None:
        """Forgets the hosts for which `meant` returns True: they are inspected again."""
        for hosts in (self._until, self._hang_ups):
            for host in [host for host in hosts if meant(host)]:
                del hosts[host]

    def hosts(self, now: float) -> list[str]:
        """Returns the hosts that are passed through, the latest last."""
        return [host for host, until in self._until.items() if until > now]
