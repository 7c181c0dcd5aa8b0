"""The class in the style sheet for a status or a route."""

from __future__ import annotations

from proxy.detect.verdict.site_status import SiteStatus

_BAD = frozenset({SiteStatus.BLOCKED, SiteStatus.INTERCEPTED, SiteStatus.RELAYS_FAIL, SiteStatus.SITE_DOWN})
_QUIET = frozenset({SiteStatus.NOT_TESTED, SiteStatus.NO_NETWORK, SiteStatus.PORTAL, SiteStatus.NOT_REACHABLE})


def status_kind(status: SiteStatus) -> str:
    """Returns "good", "bad", "warn" or "quiet"."""
    if status is SiteStatus.WORKS:
        return "good"
    if status in _QUIET:
        return "quiet"
    return "bad" if status in _BAD else "warn"


def route_kind(route: str) -> str:
    """Returns the kind, in `charts.PATTERNS`, of a route that delivers."""
    if route == "direct":
        return "direct"
    return "strategy" if route.startswith("direct|") else "relay"
