"""Lists: their content, fetches, and comparison with visits."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator

from proxy.config.suggestions import quoted, suggestion
from proxy.control.access import Refused
from proxy.control.endpoint import Endpoint
from proxy.control.frame import Frame
from proxy.control.request_parsing import parse_field
from proxy.features.rules import lists
from proxy.features.rules.list_answers import ListReportAnswer, ListsAnswer, RefreshedLine, RefreshEndLine
from proxy.model import State
from proxy.model.feature import Role
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.rule import RuleType
from proxy.wire.relay_url import redact

_VISITS_LIMIT = 10_000
"""The most rows of the log that a report reads."""


@frozen_dataclass
class ListRefreshRequest:
    """The lists to fetch; empty: all whose source is a URL. `accept_smaller`: accepts a copy with less than half of the
    entries."""

    names: tuple[str, ...] = ()
    accept_smaller: bool = False


@frozen_dataclass
class ListReportQuery:
    """`diff`: any text requests a diff of the list's text, too."""

    diff: str | None = None


class ListEndpoints:
    """Answers about lists, and fetches them."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self.parts = frame.parts
        self.sites = frame.sites

    def routes(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/v1/lists", self.lists),
            Endpoint("POST", "/v1/lists/refresh", self.refresh_lists),
            Endpoint("GET", "/v1/lists/{name}/report", self.report_list),
        ]

    async def lists(self) -> ListsAnswer:
        """Describes the configured lists."""
        parts, configured = self.parts, (await self.parts.configured()).list
        in_use = parts.setup().router.rules.lists
        return ListsAnswer(await lists.describe(configured, in_use, parts.copies, time.time()))

    async def refresh_lists(self, asked: ListRefreshRequest) -> AsyncGenerator[RefreshedLine | RefreshEndLine, None]:
        """Fetches lists. Streams the result of each, then the end."""
        configured = (await self.parts.configured()).list
        fetched = parse_field(lambda names: lists.wanted_lists(configured, names), asked.names)
        results = self.parts.list_refresh.refresh(fetched, asked=True, accept_smaller=asked.accept_smaller)

        async def results_then_end() -> AsyncGenerator[RefreshedLine | RefreshEndLine, None]:
            async with contextlib.aclosing(results):
                async for result in results:
                    yield RefreshedLine.of(result)
            yield RefreshEndLine(redact(str(self.parts.counters().get("config_problem", ""))))

        return results_then_end()

    async def report_list(self, name: str, asked: ListReportQuery) -> ListReportAnswer:
        """Compares a list with the user's visits on this network. With `diff`, returns a diff of its text, too."""
        parts, now = self.parts, time.time()
        in_use = parts.setup().router.rules.lists
        item = next((item for item in parts.settings.list if item.name == name), None)
        if item is None or name not in in_use:
            raise Refused(404, f"unknown list {quoted(name)}{suggestion(name, in_use)}")
        network, visited = parts.network(), dict[str, float]()
        for row in await self.sites.rows(outcome="direct", limit=_VISITS_LIMIT):
            if row.network == network:
                visited[row.host] = max(visited.get(row.host, 0.0), row.at)
        for host, at in parts.beliefs.working_direct(network=network):
            visited[host] = max(visited.get(host, 0.0), at)
        states = self.sites.states(now)
        open_hosts = {
            host: at
            for host, at in visited.items()
            if not parts.store.is_private(host) and states.belief(host).state not in (State.SUSPECT, State.BLOCKED)
        }
        here = [
            site
            for site in await self.sites.known(now)
            if site.stored.network == network and not parts.store.is_private(site.stored.scope)
        ]
        compared = await asyncio.to_thread(lists.compare, name, in_use, open_hosts, here)
        sites_json = self._frame.provided(Role.SITES)
        diff = None
        if asked.diff is not None and (compared.remove or compared.add):
            text = await parts.list_text(item)
            diff = await asyncio.to_thread(lists.diff, name, text, in_use[name], compared)
        return ListReportAnswer(
            name=name,
            network=network,
            network_state=parts.beliefs.network_state(network),
            rules=tuple(
                str(rule.action)
                for rule in parts.setup().router.rules.rules.of_kind(lambda kind: kind.type is RuleType.LIST)
                if rule.value == name
            ),
            free=compared.free,
            blocked=() if sites_json is None else await sites_json(compared.blocked),
            diff=diff,
        )
