"""The success of routes by site: a table of sites and routes, each cell with a colour, a pattern and two numbers.

It has only sites for which a route failed; sites that simply work need no comparison.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from proxy.control.dashboard.kinds import route_kind
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext, sentences
from proxy.store.route_queries import SiteRoute

SITES_MAX, ROUTES_MAX = 15, 8


@frozen_dataclass
class Cell:
    """The success of a route for a site. `kind` names the pattern; empty: the route was not tried."""

    kind: str
    text: str


@frozen_dataclass
class RouteMatrix:
    """The table: the most visited sites first; direct, then the routes that delivered most."""

    conclusion: str
    routes: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]


def route_matrix(seen: Sequence[SiteRoute]) -> RouteMatrix | None:
    """Returns the table; None when no route failed for any site."""
    sites: dict[str, dict[str, SiteRoute]] = defaultdict(dict)
    delivered: dict[str, int] = defaultdict(int)
    for each in seen:
        sites[each.host][each.route] = each
        delivered[each.route] += each.delivered
    if not sites:
        return None
    # Direct comes first: the others are compared with it.
    routes = sorted(delivered, key=lambda route: (route != "direct", -delivered[route], route))[:ROUTES_MAX]
    order = sorted(sites, key=lambda host: (-sum(it.delivered + it.failed for it in sites[host].values()), host))
    hosts = order[:SITES_MAX]
    opened = {route: sum(bool(of.get(route) and of[route].delivered) for of in sites.values()) for route in routes}
    best = max((route for route in routes if route != "direct"), key=lambda route: opened[route], default="")
    conclusion: list[str] = [
        ngettext(
            "Some route failed for {count} site; direct opened {direct} of them.",
            "Some route failed for {count} sites; direct opened {direct} of them.",
            len(sites),
            direct=opened.get("direct", 0),
        )
    ]
    if best and opened[best]:
        conclusion.append(_("{route} opened {opened} of {all}.", route=best, opened=opened[best], all=len(sites)))
    return RouteMatrix(
        conclusion=sentences(conclusion),
        routes=routes,
        rows=[(host, [_cell(sites[host].get(route)) for route in routes]) for host in hosts],
    )


def _cell(seen: SiteRoute | None) -> Cell:
    if seen is None:
        return Cell("", "–")
    text = _("{delivered} of {all}", delivered=seen.delivered, all=seen.delivered + seen.failed)
    return Cell(route_kind(seen.route) if seen.delivered else "failed", text)
