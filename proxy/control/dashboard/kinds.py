"""How good a state is, as a class in the style sheet and a sign: "good", "bad", "warn" or "quiet"."""

from __future__ import annotations

from proxy.control.answers.relays import RelayJson
from proxy.detect.verdict.site_status import SiteStatus

_BAD = frozenset({SiteStatus.BLOCKED, SiteStatus.INTERCEPTED, SiteStatus.RELAYS_FAIL, SiteStatus.SITE_DOWN})
_QUIET = frozenset({SiteStatus.NOT_TESTED, SiteStatus.NO_NETWORK, SiteStatus.PORTAL, SiteStatus.NOT_REACHABLE})


def status_kind(status: SiteStatus) -> str:
    """Returns the class in the style sheet of a site's status."""
    if status is SiteStatus.WORKS:
        return "good"
    if status in _QUIET:
        return "quiet"
    return "bad" if status in _BAD else "warn"


def relay_kind(relay: RelayJson) -> str:
    """Returns the class in the style sheet of a relay's state."""
    if not relay.enabled:
        return "quiet"
    if relay.obstacle is not None or relay.words.startswith("fails"):
        return "bad"
    if relay.words == "slow":
        return "warn"
    return "good" if relay.words == "works" else "quiet"


def relay_glyph(relay: RelayJson) -> str:
    """Returns the sign of a relay's state, so that colour is never the only difference."""
    return {"good": "✓", "bad": "✗", "warn": "◔", "quiet": "·"}[relay_kind(relay)]


def route_kind(route: str) -> str:
    """Returns the kind of pattern of a route that delivers."""
    if route == "direct":
        return "direct"
    return "strategy" if route.startswith("direct|") else "relay"
