"""A direct attempt that another route overtook is judged at its deadline, and not for the delay of our own loop. How
races come to have one is told in test_race."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.model import DIRECT, Attempt, Destination, Stage, Symptom
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.notify import Notify
from proxy.net.poller import Poller
from proxy.net.race.candidate import Candidate, Phase
from proxy.net.race.late_direct import LateDirect
from proxy.net.race.response_check import ResponseCheck
from proxy.net.race.terms import RaceTerms
from proxy.net.race.tries import Tries
from proxy.net.stream import SocketStream
from proxy.net.tasks import spawn
from proxy.wire.flight import Flight
from tests.support.late import stall

HOST = "site.test"
Pair = tuple[socket.socket, socket.socket]


class Overtaken:
    """A direct attempt on a real connection."""

    def __init__(self, poller: Poller, near: socket.socket) -> None:
        self.loop = asyncio.get_running_loop()
        self.notify = Notify()
        self._stream = SocketStream(near, poller, "192.0.2.7:80")
        self._stream.notify = self.notify.set
        self._candidate = Candidate(DIRECT, self.loop.time())

    async def judged(self) -> Attempt:
        terms = RaceTerms(cast(Any, None), direct=cast(Any, None), tcp_info=TcpInfo(), detect=DetectTuning())
        tries = Tries(Destination(HOST, 80), (DIRECT,), terms, self.notify, self._candidate.started_at)
        tries.candidates.append(self._candidate)
        flight = Flight()
        flight.receive_data(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        check = ResponseCheck(tries)
        attempt = await LateDirect(self._candidate, flight, tries, check).judge()
        self._stream.abort()
        return attempt

    def flying(self) -> None:
        self._candidate.phase, self._candidate.stage = Phase.AWAITING_ANSWER, Stage.FIRST_BYTE
        self._candidate.stream, self._candidate.flight_sent_at = self._stream, self.loop.time()

    async def connect(self) -> None:
        """As the race does once its dialer has a connection: here that is so when a byte comes."""
        await self._stream.receive()
        self._candidate.phase, self._candidate.stream = Phase.OPEN, self._stream
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
    assert (await overtaken.judged()).delivered


async def test_an_answer_is_looked_for_once_more_when_something_else_ended_the_wait(
    overtaken: Overtaken, pair: Pair
) -> None:
    def wake() -> None:
        overtaken.notify.set()
        pair[1].send(b"HTTP/1.1 200 OK\r\n\r\n")
        stall(1000)

    overtaken.flying()
    overtaken.loop.call_soon(wake)
    assert (await overtaken.judged()).delivered


async def test_a_connection_that_opened_while_the_loop_was_late_is_in_time(overtaken: Overtaken, pair: Pair) -> None:
    """What it would have answered is not known."""
    connecting = spawn(overtaken.connect(), name="connect")
    overtaken.loop.call_soon(overtaken.loop.call_soon, _late, overtaken.loop, pair[1])
    assert (await overtaken.judged()).symptom is Symptom.ABANDONED
    await connecting


@pytest.mark.parametrize("flying", [True, False], ids=["flying", "dialing"])
async def test_silence_is_judged_however_late_the_loop_is(overtaken: Overtaken, flying: bool) -> None:
    if flying:
        overtaken.flying()
    overtaken.loop.call_soon(stall, 1000)
    attempt = await overtaken.judged()
    expected = (Stage.FIRST_BYTE, Symptom.SILENT) if flying else (Stage.CONNECT, Symptom.TIMEOUT)
    assert (attempt.stage, attempt.symptom) == expected
