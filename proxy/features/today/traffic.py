"""Detects that traffic fails as a whole: not one site, but every visit since the last delivery.

One function for `byway status`, the home page and doctor. A list of sites cannot show it: each of them may be down.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.features.today.answers import TrafficJson
from proxy.model.phrase import _, ngettext
from proxy.store.queries import FailedVisit

WITHIN_S = 3600.0
VISITS_MIN = 5
SITES_MIN = 3
"""This many visits to this many sites must have failed within WITHIN_S: fewer may be the sites' own faults."""


def failing_traffic(failed: Sequence[FailedVisit], delivered_at: float, now: float) -> TrafficJson | None:
    """Returns the failed visits since the last delivery by any route, at `delivered_at`; None: too few to conclude that
    traffic fails as a whole."""
    since = max(delivered_at, now - WITHIN_S)
    visits = [visit for visit in failed if since < visit.at <= now]
    sites = {visit.host for visit in visits}
    if len(visits) < VISITS_MIN or len(sites) < SITES_MIN:
        return None
    text = ngettext(
        "Nothing opens: the last {count} visit failed, of {sites} sites.",
        "Nothing opens: all of the last {count} visits failed, of {sites} sites.",
        len(visits),
        sites=len(sites),
    )
    return TrafficJson(len(visits), len(sites), min(visit.at for visit in visits), text, _("`byway doctor` tests why"))
