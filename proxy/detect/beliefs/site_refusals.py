"""Refusals of a site: 403, 429 or 451 in plain HTTP on one route and not on another.

A refusal is the site's right and no block. It only shows which route to prefer for a while; when direct and relays are
both refused, there is nothing to prefer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.host_lru import HostLru, Key
from proxy.model import Outcome, Route, Stage
from proxy.model.frozen_dataclass import frozen_dataclass

REFUSALS = frozenset({403, 429, 451})
"""Forbidden, Too Many Requests (RFC 6585), Unavailable For Legal Reasons (RFC 7725)."""


@frozen_dataclass
class Preference:
    """The route to prefer, since another one is refused."""

    route: Route
    status: int
    all_refuse: bool = False


class SiteRefusals:
    """The latest statuses by host and route. Belongs to one thread."""

    def __init__(self, settings: DetectTuning) -> None:
        self._settings = settings
        self._statuses: HostLru[Mapping[Route, tuple[float, int]]] = HostLru(
            total=settings.hosts_max, per_domain=settings.hosts_per_domain_max
        )
        self.statuses_of = self._statuses.get
        """When each route got which status of a host; None: none is known."""

    def note(self, key: Key, outcome: Outcome, now: float) -> Preference | None:
        """Takes the statuses of an outcome. Returns the route to prefer; None while that is not clear."""
        known = self._statuses.get(key) or {}
        answered = {
            a.route: a.evidence["status"] for a in outcome.attempts if a.stage is Stage.DONE and "status" in a.evidence
        }
        if not known and REFUSALS.isdisjoint(answered.values()):
            return None
        recent = {route: known[route] for route, (at, _) in known.items() if 0 <= now - at < self._settings.refused_s}
        recent |= {route: (now, int(status)) for route, status in answered.items()}
        self._statuses.put(key, recent)
        refused = {route: status for route, (_, status) in recent.items() if status in REFUSALS}
        admitted = [route for route in recent if route not in refused]
        if not refused:
            return None
        status = next(iter(refused.values()))
        if admitted:
            return Preference(min(admitted, key=lambda route: not route.is_direct), status)
        kinds = {route.is_direct for route in refused}
        return Preference(next(iter(refused)), status, all_refuse=True) if len(kinds) == 2 else None

    def forget(self, meant: Callable[[Key], bool]) -> None:
        """Forgets the hosts that are meant."""
        for key in filter(meant, self._statuses):
            self._statuses.pop(key)

    def clear(self) -> None:
        """Forgets all: the clock was set."""
        self._statuses.clear()
