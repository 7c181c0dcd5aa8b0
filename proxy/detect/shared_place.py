"""Unrelated sites that lead to one place: a block page's host, or the one address that a lying resolver knows.

One redirect to another domain is a move, one wrong address a CDN's; the same for three unrelated domains within the
hour is neither.
"""

from __future__ import annotations

from collections import OrderedDict

from proxy.model import NetworkId

PLACES_MAX = 256
DOMAINS_MAX = 16


class SharedPlaces:
    """Which domains led where, on each network. Belongs to one thread."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._domains: OrderedDict[tuple[NetworkId, str], OrderedDict[str, float]] = OrderedDict()

    def note(self, network: NetworkId, place: str, domain: str, now: float) -> int:
        """`domain` led to `place`. Returns how many domains have, within the window, this one included."""
        key = (network, place)
        domains = self._domains.setdefault(key, OrderedDict())
        self._domains.move_to_end(key)
        domains[domain] = now
        domains.move_to_end(domain)
        if len(domains) > DOMAINS_MAX:
            domains.popitem(last=False)
        if len(self._domains) > PLACES_MAX:
            self._domains.popitem(last=False)
        return sum(0 <= now - at <= self._window_s for at in domains.values())

    def clear(self) -> None:
        """Forgets all: the clock was set."""
        self._domains.clear()
