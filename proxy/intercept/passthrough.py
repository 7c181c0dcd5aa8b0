"""Hosts that are let pass uninspected, since a client does not take our certificate for them.

An app with a pinned certificate says so with an alert, and so does a browser that was not told to trust our authority.
Some only hang up. An alert counts at once; that a client hangs up may mean anything, so it takes three in a row with
nobody between who took the certificate. It is remembered for some hours, in memory alone. No I/O, no clock.
"""

from __future__ import annotations

from collections import OrderedDict

HOSTS_MAX = 1000
HANG_UPS = 3
"""So many in a row are a refusal."""


class Passthrough:
    """See the module's docstring. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()
        self._hang_ups: OrderedDict[str, int] = OrderedDict()

    def applies(self, host: str, now: float) -> bool:
        """Whether nothing of it is looked into for the time being."""
        until = self._until.get(host)
        if until is None:
            return False
        if until <= now:
            del self._until[host]
            return False
        return True

    def client_rejected(self, host: str, now: float, *, by_alert: bool, keep_s: float) -> bool:
        """A client did not take our certificate. True: the host passes for `keep_s`, and did not before."""
        if not by_alert:
            count = self._hang_ups[host] = self._hang_ups.pop(host, 0) + 1
            _bound(self._hang_ups)
            if count < HANG_UPS:
                return False
        self._hang_ups.pop(host, None)
        news = not self.applies(host, now)
        self._until[host] = now + keep_s
        self._until.move_to_end(host)
        _bound(self._until)
        return news

    def client_accepted(self, host: str) -> None:
        """A client took it: those who hung up before had other reasons."""
        self._hang_ups.pop(host, None)

    def hosts(self, now: float) -> list[str]:
        """Those that pass, the latest last."""
        return [host for host, until in self._until.items() if until > now]


def _bound(table: OrderedDict[str, float] | OrderedDict[str, int]) -> None:
    while len(table) > HOSTS_MAX:
        table.popitem(last=False)
