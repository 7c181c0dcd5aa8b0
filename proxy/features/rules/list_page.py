"""The page of a list: what it has, where it comes from, the user's sites that are on it, and a fetch of it now."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from urllib.parse import quote, urlencode

from aiohttp import web

from proxy.config.suggestions import quoted, suggestion
from proxy.control.access import Refused
from proxy.control.dashboard.rendering import STREAM, render
from proxy.control.dashboard.visit import Part, Route, Visit
from proxy.control.request_parsing import parse_field, parse_number
from proxy.control.site_states import KnownSite
from proxy.features.rules.answers import RuleJson
from proxy.features.rules.list_answers import ListJson, RefreshedLine, RefreshEndLine
from proxy.features.rules.list_endpoints import ListEndpoints, ListRefreshRequest
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext
from proxy.probe.list_refresh import Remedy
from proxy.routing.lists.domain_list import DomainList
from proxy.routing.rule import RuleType

ROWS = 50
"""Sites on a page."""


@frozen_dataclass
class ListedSite:
    """A site of the user that is on the list, and the entry that covers it. `works_at` is when direct last delivered
    it, in seconds since the epoch; 0: not since the start."""

    known: KnownSite
    entry: str
    works_at: float


@frozen_dataclass
class ListView:
    """The values for the template of the page."""

    list: ListJson
    rules: Sequence[RuleJson]
    hits: int
    sentence: str
    sites: Sequence[ListedSite]
    page: int
    pages: int

    def query(self, page: int) -> str:
        """Returns the query of another page of sites."""
        return urlencode({"page": page})


@frozen_dataclass
class OnList:
    """A page of hosts that are on a list, each with the entry that covers it; the number of that page, and that of all
    such hosts."""

    entries: Mapping[str, str]
    page: int
    count: int


def on_list(
    listed: DomainList, sites: Sequence[KnownSite], hosts: Iterable[str], working: Mapping[str, float], page: int
) -> OnList:
    """Returns the sites of a network that are on a list. `sites` are those with a status, in the order of lists, and
    come first; `hosts` are others that are known there, and `working` those that direct delivered, with the time of the
    last delivery."""
    contains = listed.contains
    names = (site.name.removeprefix("*.") for site in sites if "/" not in site.name)
    first = [host for host in dict.fromkeys(names) if contains(host)]
    others = {*hosts, *working}.difference(first)
    rest = sorted(filter(contains, others), key=lambda host: (-working.get(host, 0.0), host))
    order = [*first, *rest]
    page = min(page, max(1, -(-len(order) // ROWS)))
    shown = order[(page - 1) * ROWS : page * ROWS]
    return OnList({host: listed.covering(host) or "" for host in shown}, page, len(order))


async def _list(visit: Visit) -> web.Response:
    name, asked = visit.fields["name"], visit.query("page")
    page = parse_field(lambda text: int(parse_number(text, least=1, most=1e6)), asked.get("page", "1"))
    parts, now = visit.parts, time.time()
    lists = {each.name: each for each in (await visit.frame.one(ListEndpoints).lists()).lists}
    if name not in lists:
        raise Refused(404, f"unknown list {quoted(name)}{suggestion(name, lists)}")
    rules, counted = parts.setup().router.rules, parts.services.rule_hits
    of_kind = rules.rules.of_kind(lambda kind: kind.type is RuleType.LIST)
    naming = [RuleJson.of(rule, hits=counted.of(rule.text)) for rule in of_kind if rule.value == name]
    found, network = OnList({}, 1, 0), parts.network()
    working, states = dict(parts.beliefs.working_direct(network=network)), visit.frame.sites.states(now)
    if (listed := rules.lists.get(name)) is not None:
        sites = (await visit.frame.sites.kept(now)).on_network(network)
        hosts = [host for host, _at in parts.beliefs.recent_results(network=network, now=now)]
        found = await asyncio.to_thread(on_list, listed, sites, hosts, working, page)
    view = ListView(
        list=lists[name],
        rules=naming,
        hits=sum(rule.hits or 0 for rule in naming),
        sentence=ngettext(
            "{count} of the sites that Byway knows on this network is on this list.",
            "{count} of the sites that Byway knows on this network are on this list.",
            found.count,
        ),
        sites=[ListedSite(states.host(host), entry, working.get(host, 0.0)) for host, entry in found.entries.items()],
        page=found.page,
        pages=max(1, -(-found.count // ROWS)),
    )
    return await visit.page("list.html", title=_("List {name}", name=name), here="rules", view=view)


async def _fetch(visit: Visit) -> web.StreamResponse:
    """Fetches a list now, and streams the result."""
    form = await visit.form("name", "do")
    name = form.get("name", "")
    if form.get("do", "") not in ("fetch", "smaller"):
        raise Refused(400, _("The form asks for something unknown."))
    request = ListRefreshRequest((name,), accept_smaller=form["do"] == "smaller")
    lines = await visit.frame.one(ListEndpoints).refresh_lists(request)
    view = {"name": name, "stream": STREAM}
    page = visit.render("list_fetch.html", title=_("Fetching {name}", name=name), here="rules", view=view)
    return await visit.stream(page, _fetched(visit, lines))


async def _fetched(
    visit: Visit, lines: AsyncGenerator[RefreshedLine | RefreshEndLine, None]
) -> AsyncGenerator[Part, None]:
    last: RefreshedLine | None = None
    async with contextlib.aclosing(lines):
        async for line in lines:
            if isinstance(line, RefreshedLine):
                last = line
                yield Part(render("list_fetched.html", visit.session, visit.language, view=line))
            elif last is not None:
                view = {
                    "line": last,
                    "problem": line.problem,
                    "path": f"rules/lists/{quote(last.list, safe='')}",
                    "is_smaller": last.remedy is Remedy.ACCEPT_SMALLER,
                }
                text = render("list_fetch_end.html", visit.session, visit.language, view=view)
                yield Part(text, is_behind_list=True)


ROUTES = (Route("GET", "rules/lists/{name}", _list), Route("POST", "rules/fetch", _fetch))
