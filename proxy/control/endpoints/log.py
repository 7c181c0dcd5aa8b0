"""The log of connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from aiohttp import web

from proxy.control.access import Refused
from proxy.control.answers.connections import ConnectionJson, LogAnswer
from proxy.control.dependencies import Dependencies
from proxy.control.request_parsing import FAR_FUTURE, parse_field, parse_number, parse_query
from proxy.control.responses import answer
from proxy.control.site import scope
from proxy.control.site_reader import SiteReader
from proxy.control.streaming import Followers, outcome_filter
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.file import LAST_ID

LOG_LIMIT = 10_000
"""Rows in one answer, at most."""


@frozen_dataclass
class LogEndpoints:
    """Answers with rows of the log, and streams new ones."""

    parts: Dependencies
    sites: SiteReader
    followers: Followers

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/log", self.log),
            web.get("/v1/log/follow", self.follow, allow_head=False),
        ]

    async def log(self, request: web.Request) -> web.Response:
        asked = parse_query(request, "since", "site", "route", "outcome", "id", "limit")
        since = parse_field(lambda text: parse_number(text, least=0, most=FAR_FUTURE), asked.get("since", "0"))
        limit = parse_field(lambda text: parse_number(text, least=1, most=LOG_LIMIT), asked.get("limit", "200"))
        only = parse_field(scope, asked["site"]) if "site" in asked else None
        row_id = (
            parse_field(lambda text: parse_number(text, least=0, most=LAST_ID), asked["id"]) if "id" in asked else None
        )
        try:
            rows = await self.sites.rows(
                since=since,
                site=only,
                route=asked.get("route"),
                outcome=asked.get("outcome"),
                row_id=None if row_id is None else int(row_id),
                limit=int(limit),
            )
        except ValueError as error:
            raise Refused(400, str(error)) from None
        return answer(LogAnswer(tuple(rows)))

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """Streams one JSON object a line, as connections end, until either side closes."""
        is_wanted = outcome_filter(parse_query(request, "site", "route", "outcome"))
        outcomes = self.parts.follow()

        async def rows() -> AsyncGenerator[ConnectionJson, None]:
            try:
                async for outcome, network in outcomes:
                    if is_wanted(outcome):
                        yield ConnectionJson.of(outcome, network)
            finally:
                if isinstance(outcomes, AsyncGenerator):
                    await outcomes.aclose()

        return await self.followers.answer(request, rows())
