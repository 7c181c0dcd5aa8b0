"""Lists: what they hold, fetching them, and comparing them with visits."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator

from aiohttp import web

from proxy.config.suggestions import quoted, suggestion
from proxy.control import lists
from proxy.control.access import Refused
from proxy.control.answers.lists import ListReportAnswer, ListsAnswer, RefreshedLine, RefreshEndLine
from proxy.control.dependencies import Dependencies
from proxy.control.request_parsing import parse_body, parse_query
from proxy.control.responses import answer
from proxy.control.site_reader import SiteReader
from proxy.control.streaming import Followers
from proxy.model import State
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.rules import Rule, RuleType
from proxy.wire.relay_url import redact

_VISITS_LIMIT = 10_000
"""Rows of the log that a report reads, at most."""


@frozen_dataclass
class ListEndpoints:
    """Answers about lists, and fetches them."""

    parts: Dependencies
    sites: SiteReader
    followers: Followers

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/lists", self.lists),
            web.post("/v1/lists/refresh", self.refresh_lists),
            web.get("/v1/lists/{name}/report", self.report_list),
        ]

    async def lists(self, request: web.Request) -> web.Response:
        parse_query(request)
        parts, configured = self.parts, await self.parts.configured_lists()
        in_use = parts.setup().router.rules.lists
        return answer(ListsAnswer(await lists.describe(configured, in_use, parts.copies, time.time())))

    async def refresh_lists(self, request: web.Request) -> web.StreamResponse:
        """Fetches lists, by name or all whose source is a URL. Streams one JSON object a line: the result of each list
        when it is there, then `problem`: why the configuration with the new lists is not in use."""
        asked = await parse_body(request, {"names": list, "accept_smaller": bool})
        configured, names = await self.parts.configured_lists(), [str(name) for name in asked.get("names", ())]
        try:
            wanted = lists.wanted_lists(configured, names)
        except ValueError as error:
            raise Refused(400, str(error)) from None
        results = self.parts.list_refresh.refresh(wanted, asked=True, accept_smaller=asked.get("accept_smaller", False))

        async def results_then_end() -> AsyncGenerator[RefreshedLine | RefreshEndLine, None]:
            async with contextlib.aclosing(results):
                async for result in results:
                    yield RefreshedLine.of(result)
            yield RefreshEndLine(redact(str(self.parts.counters().get("config_problem", ""))))

        return await self.followers.answer(request, results_then_end())

    async def report_list(self, request: web.Request) -> web.Response:
        """Compares a list with the user's visits on this network; with `diff`, returns a diff of its text as well."""
        asked, name = parse_query(request, "diff"), request.match_info["name"]
        parts, now = self.parts, time.time()
        in_use = parts.setup().router.rules.lists
        item = next((item for item in parts.setup().settings.list if item.name == name), None)
        if item is None or name not in in_use:
            raise Refused(404, f"unknown list {quoted(name)}{suggestion(name, in_use)}")
        network, visited = parts.network(), dict[str, float]()
        for row in await self.sites.rows(outcome="direct", limit=_VISITS_LIMIT):
            if row.network == network:
                visited[row.host] = max(visited.get(row.host, 0.0), row.at)
        for host, at in parts.beliefs.working_direct(network=network):
            visited[host] = max(visited.get(host, 0.0), at)
        open_hosts = {
            host: at
            for host, at in visited.items()
            if not parts.store.is_private(host)
            and self.sites.belief(host, now).state not in (State.SUSPECT, State.BLOCKED)
        }
        troubled = [
            site for site in self.sites.all(now) if site.network == network and not parts.store.is_private(site.scope)
        ]
        compared = await asyncio.to_thread(lists.compare, name, in_use, open_hosts, troubled)
        diff = None
        if "diff" in asked and (compared.remove or compared.add):
            text = await parts.list_text(item)
            diff = await asyncio.to_thread(lists.diff, name, text, in_use[name], compared)
        return answer(
            ListReportAnswer(
                name=name,
                network=network,
                network_state=parts.beliefs.network_state(network),
                rules=tuple(str(rule.action) for rule in parts.setup().router.rules.rules if _is_of_list(rule, name)),
                free=compared.free,
                blocked=compared.blocked,
                diff=diff,
            )
        )


def _is_of_list(rule: Rule, name: str) -> bool:
    return rule.type is RuleType.LIST and rule.value == name
