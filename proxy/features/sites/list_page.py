"""The list of sites, with a filter, and the success of routes for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote, urlencode

from aiohttp import web

from proxy.control.answers.overrides import OverrideJson
from proxy.control.dashboard.override_forms import override_text
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.request_parsing import parse_field, parse_number
from proxy.control.site_states import KnownSite
from proxy.detect.verdict.labels import plain_cause
from proxy.detect.verdict.site_status import SiteStatus
from proxy.features.sites.answers import SiteJson
from proxy.features.sites.route_matrix import RouteMatrix, route_matrix
from proxy.model import NetworkId, Override
from proxy.model.document import fields_of
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext
from proxy.probe.site_name import names_of, scope
from proxy.store.route_queries import SiteRoute

_MATRIX_S = 7 * 86_400.0

ROWS = 200
"""Sites on a page."""


@frozen_dataclass
class SitesFilter:
    """The filter of the list. An empty field admits all sites. `cause` admits all causes of the same plain word."""

    status: str = ""
    cause: str = ""
    network: str = ""
    name: str = ""
    page: int = 1

    def query(self, page: int) -> str:
        """Returns the query of another page of the same list."""
        return urlencode({name: value for name, value in fields_of(replace(self, page=page)).items() if value})

    def admits(self, site: KnownSite, network: str) -> bool:
        """Whether a site is in the list. `network` is the present one."""
        return (
            (self.network == "all" or site.stored.network == network)
            and self.status in ("", site.state.status)
            and (not self.cause or plain_cause(self.cause) == plain_cause(site.state.cause))
            and self.name.lower() in site.name
        )


@frozen_dataclass
class SiteRow:
    """A line of the list. `override` is the override of the site in words; empty: none."""

    site: SiteJson
    override: str


@frozen_dataclass
class SitesView:
    """The values for the template of the list."""

    sentence: str
    asked: SitesFilter
    rows: Sequence[SiteRow]
    pages: int
    statuses: Mapping[SiteStatus, str]
    causes: Mapping[str, str]
    """The plain words of the causes in the list, each by one of the causes that share it."""
    empty: str
    matrix: RouteMatrix | None
    known: Sequence[str]
    """Names of sites, to complete the input."""


def sites_view(
    sites: Sequence[KnownSite],
    network: NetworkId,
    overrides: Mapping[str, Override],
    asked: SitesFilter,
    seen: Sequence[SiteRoute],
) -> SitesView:
    """Returns the requested page of the list: problem sites first, the latest of them first. `network` is the present
    one; `seen` are the results of routes there."""
    listed = sorted(
        (site for site in sites if asked.admits(site, network)),
        key=lambda site: (not site.is_trouble, -site.state.since, site.name),
    )
    pages = max(1, -(-len(listed) // ROWS))
    page = min(asked.page, pages)
    trouble = sum(site.is_trouble for site in listed)
    is_filtered = bool(asked.status or asked.cause or asked.name)
    names = {site.name for site in listed}
    nothing = _("Nothing is stored about any site. Sites that simply work are not listed.")
    return SitesView(
        sentence=(
            _(
                "{troubled} with a problem, {others} without.",
                troubled=_count(trouble),
                others=_count(len(listed) - trouble),
            )
            if listed
            else _("No such sites.")
        ),
        asked=replace(asked, page=page),
        rows=[
            SiteRow(SiteJson.of_known(site), _override_of(site.name, overrides))
            for site in listed[(page - 1) * ROWS : page * ROWS]
        ],
        pages=pages,
        statuses={status: status.in_words for status in SiteStatus},
        causes=_causes(sites),
        empty=_("No site matches. Clear the filter to see all.") if sites else nothing,
        known=names_of(site.name for site in sites),
        matrix=route_matrix([each for each in seen if not is_filtered or each.host in names]),
    )


def _override_of(scope: str, overrides: Mapping[str, Override]) -> str:
    return override_text(OverrideJson.of(scope, overrides[scope])) if scope in overrides else ""


def _causes(sites: Iterable[KnownSite]) -> Mapping[str, str]:
    by_word = {plain_cause(site.state.cause): str(site.state.cause) for site in sites if site.state.cause}
    return {by_word[word]: word for word in sorted(by_word)}


def _count(count: int) -> str:
    return ngettext("{count} site", "{count} sites", count)


async def _list(visit: Visit) -> web.Response:
    query = visit.query("status", "cause", "network", "name", "page")
    page = parse_field(lambda text: int(parse_number(text, least=1, most=1e6)), query.get("page", "1"))
    chosen = SitesFilter(
        query.get("status", ""), query.get("cause", ""), query.get("network", ""), query.get("name", ""), page
    )
    overrides, network = visit.parts.overrides, visit.parts.network()
    known = await visit.frame.sites.known(time.time())
    rows = await asyncio.to_thread(visit.parts.store.site_routes, time.time() - _MATRIX_S, network)
    # In a thread, because the sort of 10,000 sites takes 20 ms.
    view = await asyncio.to_thread(sites_view, known, network, overrides, chosen, rows)
    return await visit.page("sites.html", title=_("Sites"), here="sites", view=view)


async def _chosen_site(visit: Visit) -> web.Response:
    """Redirects to the page of a typed host."""
    host = parse_field(scope, visit.query("host").get("host", "").strip())
    return visit.see_other(f"sites/{quote(host, safe='')}")


ROUTES = (Route("GET", "sites", _list), Route("GET", "sites/", _chosen_site))
