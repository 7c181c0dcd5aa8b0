"""The connections that are open now: which there are, and closing one."""

from __future__ import annotations

import asyncio
import time
from itertools import islice
from typing import Annotated

from proxy.config.suggestions import quoted
from proxy.control.access import Refused
from proxy.control.endpoint import Endpoint
from proxy.control.frame import Frame
from proxy.control.request_parsing import Between, parse_field
from proxy.features.traffic.answers import ClosedConnectionAnswer, OpenConnectionJson, OpenConnectionsAnswer
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.probe.site_name import scope
from proxy.session.open_connections import OpenConnection

CONNECTIONS_LIMIT = 1000
"""The most connections in one answer."""

_LASTING_S = 1.0
"""The age from which the program of a connection is looked up for a list."""

_DIGITS_MAX = 18
_AT_A_TIME = 1000


def connection_id(text: str) -> int:
    """Parses the id of a connection. Raises ValueError."""
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise ValueError(f"{quoted(text)} is not the id of a connection")
    return int(text)


@frozen_dataclass
class OpenConnectionsQuery:
    """Selects connections: to this site and its subdomains, by this route, of this client program; and at most `limit`
    of them, the newest."""

    site: str | None = None
    route: str | None = None
    program: str | None = None
    limit: Annotated[int, Between(1, CONNECTIONS_LIMIT)] = 200


class ConnectionEndpoints:
    """Lists open connections, and closes one."""

    def __init__(self, frame: Frame) -> None:
        self.parts = frame.parts

    def routes(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/v1/connections/open", self.list_open),
            Endpoint("DELETE", "/v1/connections/open/{connection}", self.close),
        ]

    async def list_open(self, asked: OpenConnectionsQuery) -> OpenConnectionsAnswer:
        """Lists the open connections, the newest first."""
        registry = self.parts.services.open_connections
        matching = count = len(registry.entries)
        if (asked.site, asked.route, asked.program) == (None, None, None):
            listed = [*islice(registry.newest_first(), asked.limit)]
        else:
            selected = await self._select(asked)
            listed, matching = selected[: asked.limit], len(selected)
        # Many connections end before anybody reads their row, and the kernel's table may be long.
        lasting = [each for each in listed if each.opened_at <= time.time() - _LASTING_S]
        programs = await registry.programs(lasting, self.parts.services.programs)
        rows = tuple(OpenConnectionJson.of(each, programs.get(each.request.id)) for each in listed)
        return OpenConnectionsAnswer(rows, matching, count)

    async def _select(self, asked: OpenConnectionsQuery) -> list[OpenConnection]:
        """Returns the connections that match the query, also beyond its limit."""
        site = None if asked.site is None else parse_field(scope, asked.site)
        selected, registry = [], self.parts.services.open_connections
        for number, each in enumerate(registry.newest_first(), 1):
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)  # connections go on meanwhile
            if (site is None or each.host == site or each.host.endswith(f".{site}")) and (
                asked.route is None or str(each.route) == asked.route
            ):
                selected.append(each)
        if asked.program is not None:
            programs = await registry.programs(selected, self.parts.services.programs)
            selected = [each for each in selected if programs[each.request.id] == asked.program.lower()]
        return selected

    async def close(self, connection: str) -> ClosedConnectionAnswer:
        """Closes an open connection, by its id."""
        closed = self.parts.services.open_connections.close(parse_field(connection_id, connection))
        if closed is None:
            raise Refused(404, f"There is no open connection {connection}: it has ended.")
        return ClosedConnectionAnswer(OpenConnectionJson.of(closed, None))
