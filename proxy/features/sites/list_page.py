"""The list of sites: a page of rows, filters, a search, and the success of routes for these sites."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote, urlencode

from aiohttp import web

from proxy.control.answers.overrides import OverrideJson
from proxy.control.dashboard.override_forms import override_text
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.kept_sites import KeptSites
from proxy.control.request_parsing import parse_field, parse_number
from proxy.control.site_days import SiteDays, site_days
from proxy.control.site_states import KnownSite
from proxy.detect.verdict.labels import plain_cause
from proxy.detect.verdict.site_status import SiteStatus
from proxy.features.sites.answers import SiteJson
from proxy.features.sites.route_matrix import RouteMatrix, route_matrix
from proxy.model import NetworkId, Override
from proxy.model.document import fields_of
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext
from proxy.probe.site_name import scope
from proxy.store.route_queries import SiteRoute, site_routes

_MATRIX_S = 7 * 86_400.0

ROWS = 50
"""Sites on a page."""


@frozen_dataclass
class SitesFilter:
    """The filter of the list. An empty field admits all sites."""

    status: str = ""
    cause: str = ""
    network: str = ""
    name: str = ""
    page: int = 1

    def query(self, page: int) -> str:
        """Returns the query of another page of the same list."""
        return urlencode({name: value for name, value in fields_of(replace(self, page=page)).items() if value})

    @property
    def is_narrow(self) -> bool:
        """Whether some sites of the network are left out."""
        return bool(self.status or self.cause or self.name)

    def chosen(self, sites: Sequence[KnownSite]) -> Sequence[KnownSite]:
        """Returns the sites that the filter admits, of those on the chosen networks. A name is found with and without
        `www.`, a cause by its plain word."""
        if not self.is_narrow:
            return sites
        typed = self.name.strip().lower().removeprefix("www.")
        word = plain_cause(self.cause) if self.cause else ""
        return [
            site
            for site in sites
            if typed in site.name
            and self.status in ("", site.state.status)
            and (not word or plain_cause(site.state.cause) == word)
        ]


@frozen_dataclass
class SiteRow:
    """A line of the list. `override` is the override of the site in words; empty: none. `days` are None for a site on
    another network."""

    site: SiteJson
    override: str
    days: SiteDays | None


@frozen_dataclass
class Chosen:
    """The page of the list that is asked for. `troubled` of `count` sites on all pages have a problem."""

    asked: SitesFilter
    sites: Sequence[KnownSite]
    count: int
    troubled: int
    pages: int
    causes: Mapping[str, str]
    is_empty: bool


@frozen_dataclass
class SitesView:
    """The values for the template of the list."""

    sentence: str
    asked: SitesFilter
    rows: Sequence[SiteRow]
    pages: int
    statuses: Mapping[SiteStatus, str]
    causes: Mapping[str, str]
    empty: str
    matrix: RouteMatrix | None


def choose(kept: KeptSites, network: NetworkId, asked: SitesFilter) -> Chosen:
    """Returns the page of the list that is asked for. `network` is the present one."""
    networks: Iterable[NetworkId] = [network]
    if asked.network == "all":
        networks = [network, *sorted(it for it in kept.networks() if it != network)]
    counts = kept.counts()
    chosen = [site for each in networks for site in asked.chosen(kept.on_network(each))]
    if asked.is_narrow:
        troubled = sum(site.is_trouble for site in chosen)
    else:
        troubled = sum(count for kind, count in counts.items() if kind.network in networks and kind.status.is_trouble)
    pages = max(1, -(-len(chosen) // ROWS))
    page = min(asked.page, pages)
    by_word = {plain_cause(kind.cause): kind.cause for kind in counts if kind.cause}
    return Chosen(
        replace(asked, page=page),
        chosen[(page - 1) * ROWS : page * ROWS],
        len(chosen),
        troubled,
        pages,
        {by_word[word]: word for word in sorted(by_word)},
        not counts,
    )


def sites_view(
    chosen: Chosen,
    overrides: Mapping[str, Override],
    days: Mapping[str, SiteDays],
    seen: Sequence[SiteRoute],
    here: NetworkId,
) -> SitesView:
    """Returns the page. `days` and `seen`, the results of routes, are those of its sites on the present network
    (`here`)."""
    nothing = _("Nothing is stored about any site. Sites that simply work are not listed.")
    return SitesView(
        sentence=(
            _(
                "{troubled} with a problem, {others} without.",
                troubled=_count(chosen.troubled),
                others=_count(chosen.count - chosen.troubled),
            )
            if chosen.count
            else ""
        ),
        asked=chosen.asked,
        rows=[
            SiteRow(
                SiteJson.of_known(site),
                _override_of(site.name, overrides),
                days.get(site.name) if site.stored.network == here else None,
            )
            for site in chosen.sites
        ],
        pages=chosen.pages,
        statuses={status: status.in_words for status in SiteStatus},
        causes=chosen.causes,
        empty=nothing if chosen.is_empty else _("No site matches. Clear the filter to see all."),
        matrix=route_matrix(seen),
    )


def _override_of(scope: str, overrides: Mapping[str, Override]) -> str:
    return override_text(OverrideJson.of(scope, overrides[scope])) if scope in overrides else ""


def _count(count: int) -> str:
    return ngettext("{count} site", "{count} sites", count)


async def _list(visit: Visit) -> web.Response:
    query = visit.query("status", "cause", "network", "name", "page")
    page = parse_field(lambda text: int(parse_number(text, least=1, most=1e6)), query.get("page", "1"))
    asked = SitesFilter(
        query.get("status", ""), query.get("cause", ""), query.get("network", ""), query.get("name", ""), page
    )
    now, parts = time.time(), visit.parts
    here = parts.network()
    chosen = choose(await visit.frame.sites.kept(now), here, asked)
    shown = [site for site in chosen.sites if site.stored.network == here]
    days = await site_days(parts, shown, now)
    hosts = [site.name for site in shown]

    def seen(db: sqlite3.Connection) -> list[SiteRoute]:
        return site_routes(db, now - _MATRIX_S, here, hosts)

    view = sites_view(chosen, parts.overrides, days, await parts.read(seen), here)
    return await visit.page("sites.html", title=_("Sites"), here="sites", view=view)


async def _chosen_site(visit: Visit) -> web.Response:
    """Redirects to the page of a typed host."""
    host = parse_field(scope, visit.query("host").get("host", "").strip())
    return visit.see_other(f"sites/{quote(host, safe='')}")


async def _why(visit: Visit) -> web.Response:
    """Redirects from the earlier page of a measurement to the page of the site, which has it."""
    text = visit.query("site").get("site", "").strip()
    return visit.see_other(f"sites/{quote(parse_field(scope, text), safe='')}#measurement" if text else "sites")


ROUTES = (Route("GET", "sites", _list), Route("GET", "sites/", _chosen_site), Route("GET", "why", _why))
