"""What the flow monitor sees of an exchange through a relay, and when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.model import ClosedBy, Route, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.tunnel.pump import TunnelResult
from proxy.session.http_exchange import Exchanged
from proxy.session.watched_exchange import WatchedExchange, watched
from tests.support.outcomes import TOR

STREAM: Any = SimpleNamespace(peer="192.0.2.1:1080")
DONE = Exchanged(200, 30, 500, True, True, False, ClosedBy.SERVER)


class Fake:
    """An exchange whose counters a test moves."""

    def __init__(self) -> None:
        self.bytes_moved = (0, 0)
        self.client_is_slow = False
        self.broken_off: list[str] = []

    def break_off(self, why: str) -> None:
        self.broken_off.append(why)


class Record:
    def __init__(self) -> None:
        self.seen: list[tuple[WatchedExchange, Route]] = []
        self.results: list[TunnelResult] = []

    def watch_exchange(self, exchange: WatchedExchange, route: Route) -> Any:
        self.seen.append((exchange, route))
        return self.results.append


async def test_it_is_watched_for_as_long_as_it_runs() -> None:
    fake, record = Fake(), Record()

    async def run() -> Exchanged:
        ((watching, route),) = record.seen
        assert (route, watching.upstream, watching.over) == (TOR, STREAM, False)
        fake.bytes_moved, fake.client_is_slow = (30, 500), True
        assert (watching.up.moved, watching.down.moved, watching.client_is_slow) == (30, 500, True)
        watching.abort("the relay was silent")
        return DONE._replace(error="it stopped")

    found = await watched(cast(Any, fake), run(), cast(Any, record), TOR, STREAM)
    assert found.error == "it stopped"
    assert fake.broken_off == ["the relay was silent"]
    assert record.results == [TunnelResult(30, 500, ClosedBy.SERVER, "it stopped")]
    assert record.seen[0][0].over


async def test_one_that_fails_has_ended_too_and_counts_for_no_upload() -> None:
    fake, record = Fake(), Record()

    async def run() -> Exchanged:
        fake.bytes_moved = (40_000, 0)
        raise DialError("gone", stage=Stage.FIRST_BYTE, symptom=Symptom.EOF)

    with pytest.raises(DialError, match="gone"):
        await watched(cast(Any, fake), run(), cast(Any, record), TOR, STREAM)
    (result,) = record.results
    assert result.error
    assert record.seen[0][0].over
