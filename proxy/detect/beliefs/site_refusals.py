"""Which routes a site refuses: 403, 429 or 451 in plain HTTP, seen on one route and not on another.

A refusal is the site's right and no blocking. It only says which route not to prefer for a while; when every kind of
route is refused, there is nothing to prefer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.config.schema import Detect
from proxy.detect.beliefs.host_lru import HostLru, Key
from proxy.model import Outcome, Route

REFUSALS = frozenset({403, 429, 451})
"""Forbidden, Too Many Requests (RFC 6585), Unavailable For Legal Reasons (RFC 7725)."""


@dataclass(frozen=True, slots=True)
class Preference:
    """Which route to take, since another is refused."""

    route: Route
    status: int
    all_refuse: bool = False


class SiteRefusals:
    """What was refused lately, by host. Belongs to one thread."""

    def __init__(self, settings: Detect) -> None:
        self._settings = settings
        self._seen: HostLru[Mapping[Route, tuple[float, int]]] = HostLru(
            total=settings.hosts_max, per_domain=settings.hosts_per_domain_max
        )

    def note(self, key: Key, outcome: Outcome, now: float) -> Preference | None:
        """Takes which routes were let in; says which to prefer when that has become clear, else None."""
        known = self._seen.get(key) or {}
        answered = {a.route: a.evidence["status"] for a in outcome.attempts if a.delivered and "status" in a.evidence}
        if not known and REFUSALS.isdisjoint(answered.values()):
            return None
        recent = {route: seen for route, seen in known.items() if 0 <= now - seen[0] < self._settings.refused_s}
        recent |= {route: (now, int(status)) for route, status in answered.items()}
        self._seen.put(key, recent)
        refused = {route: status for route, (_, status) in recent.items() if status in REFUSALS}
        welcome = [route for route in recent if route not in refused]
        if not refused:
            return None
        status = next(iter(refused.values()))
        if welcome:
            return Preference(min(welcome, key=lambda route: not route.is_direct), status)
        kinds = {route.is_direct for route in refused}
        return Preference(next(iter(refused)), status, all_refuse=True) if len(kinds) == 2 else None

    def clear(self) -> None:
        """Forgets all: the clock was set."""
        self._seen.clear()
