"""Tests of the response check alone; how a race judges answers by it is tested in test_race."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from proxy.config.detect_tuning import DetectTuning
from proxy.model import Destination, Route, Symptom
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.notify import Notify
from proxy.net.race.candidate import Candidate
from proxy.net.race.response_check import ResponseCheck
from proxy.net.race.terms import RaceTerms
from proxy.net.race.tries import Tries

TOR = Route(("tor",))


async def test_an_overdue_relay_is_not_said_to_have_had_the_request() -> None:
    """It may as well have been silent in its handshake."""
    candidate = Candidate(TOR, asyncio.get_running_loop().time() - 3)
    terms = RaceTerms(cast(Any, None), direct=cast(Any, None), tcp_info=TcpInfo(), detect=DetectTuning())
    tries = Tries(Destination("site.test", 443), (TOR,), terms, Notify(), candidate.started_at)
    ResponseCheck(tries).time_out(candidate)
    assert (candidate.symptom, candidate.error) == (Symptom.TIMEOUT, "relay tor opened no connection within 3 s")
