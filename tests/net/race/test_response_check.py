"""A direct attempt that another route overtook is judged at its deadline, and not for the delay of our own loop. How
answers are judged in a race is told in test_race."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.model import DIRECT, Route, Stage, Symptom
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.notify import Notify
from proxy.net.poller import Poller
from proxy.net.race.candidate import Candidate, Phase
from proxy.net.race.policy import NO_POLICY
from proxy.net.race.response_check import ResponseCheck
from proxy.net.race.terms import RaceTerms
from proxy.net.stream import SocketStream
from proxy.net.tasks import spawn
from proxy.wire.flight import Flight
from tests.support.late import stall

HOST = "site.test"
Pair = tuple[socket.socket, socket.socket]


class Overtaken:
    """A direct attempt on a real connection, and who judges it."""

    def __init__(self, poller: Poller, near: socket.socket) -> None:
        self.loop = asyncio.get_running_loop()
        self.notify = Notify()
        terms = RaceTerms(cast(Any, None), direct=cast(Any, None), tcp_info=TcpInfo(), detect=DetectTuning())
        self.judge = ResponseCheck(HOST, (DIRECT,), terms, NO_POLICY, self.notify)
        self.stream = SocketStream(near, poller, "192.0.2.7:80")
        self.stream.notify = self.notify.set
        self.candidate = Candidate(DIRECT, self.loop.time())
        self.flight = Flight()
        self.flight.receive_data(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())

    async def watched(self) -> Candidate:
        await self.judge.await_verdict(self.candidate, self.flight, [self.candidate])
        return self.candidate

    def flying(self) -> None:
        self.candidate.phase, self.candidate.stream = Phase.AWAITING_ANSWER, self.stream
        self.candidate.flight_sent_at = self.loop.time()

    async def connect(self) -> None:
        """As the race does once its dialer has a connection: here that is so when a byte comes."""
        await self.stream.receive()
        self.candidate.phase, self.candidate.stream = Phase.OPEN, self.stream
        self.notify.set()


@pytest.fixture
async def overtaken(poller: Poller, pair: Pair) -> Overtaken:
    made = Overtaken(poller, pair[0])
    for _ in range(3):  # the edge that a registration makes is over
        await asyncio.sleep(0)
    return made


def _late(loop: asyncio.AbstractEventLoop, far: socket.socket) -> None:
    """The loop is held up from now on until long after every deadline; `far` speaks before, and is heard after it."""
    loop.call_at(loop.time() + 0.5, far.send, b"HTTP/1.1 200 OK\r\n\r\n")
    stall(1000)


async def test_an_answer_that_came_while_the_loop_was_late_is_in_time(overtaken: Overtaken, pair: Pair) -> None:
    overtaken.flying()
    overtaken.loop.call_soon(_late, overtaken.loop, pair[1])
    assert (await overtaken.watched()).phase is Phase.WON
    overtaken.stream.abort()


async def test_a_connection_that_opened_while_the_loop_was_late_is_in_time(overtaken: Overtaken, pair: Pair) -> None:
    connecting = spawn(overtaken.connect(), name="connect")
    overtaken.loop.call_soon(overtaken.loop.call_soon, _late, overtaken.loop, pair[1])
    assert (await overtaken.watched()).phase is Phase.OPEN
    await connecting
    overtaken.stream.abort()


@pytest.mark.parametrize("flying", [True, False], ids=["flying", "dialing"])
async def test_silence_is_judged_however_late_the_loop_is(overtaken: Overtaken, flying: bool) -> None:
    if flying:
        overtaken.flying()
    overtaken.loop.call_soon(stall, 1000)
    candidate = await overtaken.watched()
    expected = (Stage.FIRST_BYTE, Symptom.SILENT) if flying else (Stage.CONNECT, Symptom.TIMEOUT)
    assert (candidate.phase, candidate.stage, candidate.symptom) == (Phase.FAILED, *expected)
    overtaken.stream.abort()


async def test_an_overdue_relay_is_not_said_to_have_had_the_request(overtaken: Overtaken) -> None:
    """It may as well have been silent in its handshake."""
    candidate = Candidate(Route(("tor",)), overtaken.loop.time() - 3)
    overtaken.judge.time_out(candidate)
    assert (candidate.symptom, candidate.error) == (Symptom.TIMEOUT, "relay tor opened no connection within 3 s")
    overtaken.stream.abort()
