"""The log of connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Annotated

from proxy.config.suggestions import quoted
from proxy.control.access import Refused
from proxy.control.endpoint import Endpoint
from proxy.control.frame import Frame
from proxy.control.request_parsing import FAR_FUTURE, Between, parse_field
from proxy.features.traffic.answers import ConnectionLine, LogAnswer
from proxy.features.traffic.reader import network_id, read_log
from proxy.model import DIRECT, Outcome
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.probe.site_name import scope
from proxy.store.file import LAST_ID

LOG_LIMIT = 10_000
"""The most rows in one answer."""


@frozen_dataclass
class FollowQuery:
    """Selects connections: to this site and its subdomains, with an attempt of this route, with this outcome (direct,
    relay, rescued or failed), on this network (the id, or its name in the configuration)."""

    site: str | None = None
    route: str | None = None
    outcome: str | None = None
    network: str | None = None


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
                network=asked.network,
                id=asked.id,
                before=asked.before,
                limit=asked.limit,
            )
        except ValueError as error:
            raise Refused(400, str(error)) from None

    async def follow(self, asked: FollowQuery) -> AsyncGenerator[ConnectionLine, None]:
        """Streams connections as they end, until either side closes."""
        admits = _outcome_filter(site=asked.site, route=asked.route, outcome=asked.outcome)
        on = None if asked.network is None else network_id(self.parts.settings, asked.network)
        outcomes = self.parts.follow()

        async def rows() -> AsyncGenerator[ConnectionLine, None]:
            try:
                async for outcome, network in outcomes:
                    if admits(outcome) and on in (None, network):
                        yield ConnectionLine.of(outcome, network)
            finally:
                if isinstance(outcomes, AsyncGenerator):
                    await outcomes.aclose()

        return rows()


def _outcome_filter(*, site: str | None, route: str | None, outcome: str | None) -> Callable[[Outcome], bool]:
    """Returns the filter of outcomes by `site`, `route` and `outcome`; None: any. It selects as the store does among
    its rows. Raises Refused for an unknown outcome."""
    scope_of_site = None if site is None else parse_field(scope, site)
    if outcome is not None and outcome not in _ENDS:
        raise Refused(400, f"outcome is one of {', '.join(_ENDS)}, not {quoted(outcome)}")

    def admits(ended: Outcome) -> bool:
        host = ended.host or ended.request.destination.host
        return (
            (scope_of_site is None or host == scope_of_site or host.endswith(f".{scope_of_site}"))
            and (route is None or any(str(attempt.route) == route for attempt in ended.attempts))
            and (outcome is None or _ENDS[outcome](ended))
        )

    return admits


_ENDS: Mapping[str, Callable[[Outcome], bool]] = {
    "direct": lambda outcome: outcome.winner == DIRECT,
    "relay": lambda outcome: outcome.winner is not None and not outcome.winner.is_direct,
    "rescued": lambda outcome: (
        outcome.winner not in (None, DIRECT)
        and any(attempt.route == DIRECT and not attempt.delivered for attempt in outcome.attempts)
    ),
    "failed": lambda outcome: outcome.winner is None,
}
