"""The log of connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

from proxy.control.access import Refused
from proxy.control.endpoint import Endpoint
from proxy.control.frame import Frame
from proxy.control.request_parsing import FAR_FUTURE, Between
from proxy.features.traffic.answers import ConnectionLine, LogAnswer
from proxy.features.traffic.outcome_filter import outcome_filter
from proxy.features.traffic.reader import read_log
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.file import LAST_ID

LOG_LIMIT = 10_000
"""The most rows in one answer."""


@frozen_dataclass
class FollowQuery:
    """Selects connections: to this site and its subdomains, with an attempt of this route, with this outcome (direct,
    relay, rescued or failed)."""

    site: str | None = None
    route: str | None = None
    outcome: str | None = None


@frozen_dataclass
class LogQuery(FollowQuery):
    """Selects rows, besides: those since a moment and before another, the one with this id, those older than the one
    with the id `before`; and at most `limit` of them, the newest."""

    since: Annotated[float, Between(0, FAR_FUTURE)] = 0.0
    until: Annotated[float, Between(0, FAR_FUTURE)] | None = None
    id: Annotated[int, Between(0, LAST_ID)] | None = None
    before: Annotated[int, Between(0, LAST_ID)] | None = None
    limit: Annotated[int, Between(1, LOG_LIMIT)] = 200


class LogEndpoints:
    """Answers with rows of the log, and streams new ones."""

    def __init__(self, frame: Frame) -> None:
        self.parts = frame.parts

    def routes(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/v1/log", self.log),
            Endpoint("GET", "/v1/log/follow", self.follow),
        ]

    async def log(self, asked: LogQuery) -> LogAnswer:
        """Reads the log."""
        try:
            return await read_log(
                self.parts,
                since=asked.since,
                until=asked.until,
                site=asked.site,
                route=asked.route,
                outcome=asked.outcome,
                id=asked.id,
                before=asked.before,
                limit=asked.limit,
            )
        except ValueError as error:
            raise Refused(400, str(error)) from None

    async def follow(self, asked: FollowQuery) -> AsyncGenerator[ConnectionLine, None]:
        """Streams connections as they end, until either side closes."""
        is_wanted = outcome_filter(site=asked.site, route=asked.route, outcome=asked.outcome)
        outcomes = self.parts.follow()

        async def rows() -> AsyncGenerator[ConnectionLine, None]:
            try:
                async for outcome, network in outcomes:
                    if is_wanted(outcome):
                        yield ConnectionLine.of(outcome, network)
            finally:
                if isinstance(outcomes, AsyncGenerator):
                    await outcomes.aclose()

        return rows()
