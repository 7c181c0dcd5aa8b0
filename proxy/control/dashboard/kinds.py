"""The class in the style sheet, or the pattern of a chart, for a status, a route or a day."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.control.site_days import DayKind
from proxy.detect.verdict.site_status import SiteStatus
from proxy.model.phrase import _

_BAD = frozenset({SiteStatus.BLOCKED, SiteStatus.INTERCEPTED, SiteStatus.RELAYS_FAIL, SiteStatus.SITE_DOWN})
_QUIET = frozenset({SiteStatus.NOT_TESTED, SiteStatus.NO_NETWORK, SiteStatus.PORTAL, SiteStatus.NOT_REACHABLE})


DAYS: Mapping[DayKind, tuple[str, str]] = {
    DayKind.BLOCKED: ("failed", _("blocked")),
    DayKind.FAILED: ("slow", _("did not open")),
    DayKind.OTHERWISE: ("relay", _("opened by another route")),
    DayKind.FREE: ("direct", _("opened direct")),
    DayKind.NONE: ("axis", _("not visited or not recorded")),
}
"""By kind of day, its kind in `charts.PATTERNS`, and its words."""


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
