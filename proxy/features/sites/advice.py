"""Advice about a site for the user, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.detect.verdict.labels import NOTHING_TO_DO, TEST_RELAYS
from proxy.detect.verdict.site_status import SiteStatus
from proxy.model import Action, Belief, Plan, State
from proxy.model.phrase import _


def advice(
    stored: Belief, made: Plan, relays: Sequence[str], status: SiteStatus = SiteStatus.NOT_TESTED, works_by: str = ""
) -> str:
    """Returns the remedy, or a sentence that none is needed. `status` is the current status, and `works_by` the route
    that opens the site; empty: unknown."""
    troubled = stored.state in (State.SUSPECT, State.BLOCKED)
    if made.action is Action.BLOCK:
        return _('Blocked by a rule; see "plan".')
    if not made.routes:
        return _("No route is allowed: add a relay with `byway relay add URL`, or change the rule.")
    if status is SiteStatus.DOES_NOT_OPEN and relays:
        return TEST_RELAYS
    if status.advice:
        return status.advice
    if made.action is not Action.AUTO:
        return _("A rule or override decides the route; results do not change it.")
    if status is SiteStatus.WORKS:
        return NOTHING_TO_DO
    if troubled and works_by and works_by in map(str, made.routes):
        return _("Nothing: {route} opens it, and direct is re-tested automatically.", route=works_by)
    if troubled and not any(route.relays for route in made.routes):
        if relays:
            return _("AUTO may not use relays for it (`[auto] never_relay`). To allow it: `byway site set`.")
        return _("There is no relay: add one with `byway relay add URL`.")
    if troubled:
        return _("Nothing: {route} is tried first, and direct is re-tested automatically.", route=str(made.routes[0]))
    if stored.state is State.UNKNOWN:
        return _("Open it once through the proxy, then ask again.")
    return NOTHING_TO_DO
