"""Watches a plain HTTP exchange through a relay like a tunnel: the connection to the relay may stop for good.

A connection serves one exchange after the other, so each is watched only while it runs.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from proxy.model import ClosedBy, Route
from proxy.net.stream import Stream
from proxy.net.tunnel.pump import TunnelResult
from proxy.session.connection_record import ConnectionRecord
from proxy.session.http_exchange import Exchange, Exchanged


class Moved:
    """Bytes that went one way."""

    __slots__ = ("_exchange", "_way")

    def __init__(self, exchange: Exchange, way: int) -> None:
        self._exchange = exchange
        self._way = way

    @property
    def moved(self) -> int:
        return self._exchange.bytes_moved[self._way]


class WatchedExchange:
    """An exchange in the form that the flow monitor watches. `abort` ends it as if the server had broken off."""

    __slots__ = ("_exchange", "down", "over", "up", "upstream")

    def __init__(self, exchange: Exchange, upstream: Stream) -> None:
        self._exchange = exchange
        self.upstream = upstream
        self.up, self.down = Moved(exchange, 0), Moved(exchange, 1)
        self.over = False

    @property
    def client_is_slow(self) -> bool:
        return self._exchange.client_is_slow

    def abort(self, why: str) -> None:
        self._exchange.break_off(why)


async def watched(
    exchange: Exchange, run: Coroutine[Any, Any, Exchanged], record: ConnectionRecord, route: Route, upstream: Stream
) -> Exchanged:
    """Runs `run`, which is `exchange.run`, and watches it meanwhile. Returns and raises as it does."""
    transfer = WatchedExchange(exchange, upstream)
    finish = record.watch_exchange(transfer, route)
    error = "it broke off"
    try:
        exchanged = await run
        error = exchanged.error
        return exchanged
    finally:
        transfer.over = True
        finish(TunnelResult(*exchange.bytes_moved, ClosedBy.SERVER, error))
