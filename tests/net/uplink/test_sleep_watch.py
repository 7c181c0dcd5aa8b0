from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

import pytest

from proxy.net.kernel.tcp_info import PROBES_MAX, Keepalive
from proxy.net.uplink import sleep_watch as wake
from proxy.net.uplink.sleep_watch import Clocks, Resumed, SleepWatch, detect_resume, reset_stale_connections
from tests.support import clock
from tests.support.filters import drop_all
from tests.support.rows import each_row
from tests.support.sockets import reset, tcp_pair

HOUR = 3600.0


@dataclass(frozen=True)
class Tick:
    """How far each clock went in one."""

    always: float = 1.0
    wall: float = 1.0


TICKS: dict[str, tuple[Tick, Resumed | None]] = {
    "a second": (Tick(), None),
    "a loop that is held up": (Tick(4, 4), None),
    "asleep for two hours": (Tick(2 * HOUR + 1, 2 * HOUR + 1), Resumed(2 * HOUR)),
    "asleep, and the wall clock not yet told": (Tick(HOUR + 1, 1), Resumed(HOUR, -HOUR)),
    "stopped for a minute": (Tick(61, 61), Resumed(60)),
    "stopped for a minute, and the clock set": (Tick(61, 61 + 2 * HOUR), Resumed(60, 2 * HOUR)),
    "set ahead by ten years": (Tick(wall=315_360_001), Resumed(0, 315_360_000)),
    "set back by a year": (Tick(wall=1 - 31_536_000), Resumed(0, -31_536_000)),
    "nudged": (Tick(wall=3), None),
}


@each_row(("tick", "expected"), TICKS.values(), ids=TICKS)
def test_what_happened_between_two_ticks(tick: Tick, expected: Resumed | None) -> None:
    before = Clocks(5000.0, 1_700_000_000.0)
    now = Clocks(before.always + tick.always, before.wall + tick.wall)
    assert detect_resume(before, now, asleep_s=5, jump_s=10) == expected


def test_it_tells_once_and_goes_on() -> None:
    slept = 0.0
    told: list[Resumed] = []

    async def live() -> None:
        nonlocal slept
        loop = asyncio.get_running_loop()

        def read() -> Clocks:
            return Clocks(loop.time() + slept, loop.time() + slept)

        watch = SleepWatch(told.append, asleep_s=5, jump_s=10, read=read)
        watch.close()  # harmless before the start
        watch.start()
        await asyncio.sleep(3.5)
        slept = HOUR
        await asyncio.sleep(3.5)
        slept += 30
        await asyncio.sleep(1)
        watch.close()
        slept += HOUR
        await asyncio.sleep(3)

    clock.run(live())
    assert told == [Resumed(HOUR), Resumed(30)]


def test_the_clocks_of_this_machine_can_be_read() -> None:
    before, now = Clocks.read(), Clocks.read()
    assert detect_resume(before, now, asleep_s=5, jump_s=10) is None


# -- which connections outlived it -------------------------------------------------------------------------------------


def keepalive(sock: socket.socket) -> tuple[int, ...]:
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
    times = (sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names if hasattr(socket, name))
    return (sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *times)


async def test_the_dead_are_ended_and_the_others_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake, "_is_beyond", lambda _: True)  # here everything is on this computer
    dead, silent = tcp_pair()
    live, answering = tcp_pair()
    with dead, silent, live, answering:
        drop_all(silent)
        before = keepalive(live)
        await reset_stale_connections([dead, live])
        assert keepalive(live) == before
        live.send(b"still here")
        assert answering.recv(100) == b"still here"
        with pytest.raises(TimeoutError):
            dead.send(b"?")


async def test_connections_within_this_computer_and_closed_ones_are_not_asked() -> None:
    near, far = tcp_pair()
    gone, other = tcp_pair()
    with near, far, other:
        before = keepalive(near)
        reset(gone)
        await reset_stale_connections([near, gone])  # returns at once: a hang would fail the run
        assert keepalive(near) == before


async def test_one_that_ends_meanwhile_is_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake, "_is_beyond", lambda _: True)
    monkeypatch.setattr(wake, "_PROBES", -2)  # no wait
    near, far = tcp_pair()

    class Ended(Keepalive):
        @classmethod
        def begin(cls, sock: socket.SocketType, *, count: int = PROBES_MAX) -> Keepalive:
            sock.close()
            return super().begin(sock, count=count)

    monkeypatch.setattr(wake, "Keepalive", Ended)
    with far:
        await reset_stale_connections([near])
        assert near.fileno() == -1
