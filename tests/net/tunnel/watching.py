"""A monitor of flows under a virtual clock, with tunnels whose counters a test moves, and what it reported."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

from proxy.config.detect_tuning import DetectTuning
from proxy.model import DIRECT, Route, Symptom
from proxy.net.kernel.tcp_info import FlowSample
from proxy.net.tunnel.flow_monitor import FlowMonitor
from proxy.net.tunnel.pump import Tunnel
from proxy.net.tunnel.watched_flow import FlowSignal, WatchedFlow, WatchedTransfer
from tests.support import clock
from tests.support.sockets import tcp_pair

RELAY, TLSREC = Route(("vps",)), Route(wrap=("tlsrec",))


class Fake:
    """A tunnel whose counters a test moves, and what the kernel says of it."""

    def __init__(self, sock: socket.socket) -> None:
        self.down = SimpleNamespace(moved=0)
        self.up = SimpleNamespace(moved=0)
        self.client_is_slow = False
        self.over = False
        self.upstream = SimpleNamespace(lowest_socket=sock, peer="192.0.2.1:443", is_shared=False)
        self.sample: FlowSample | None = FlowSample(segment=1400)
        self.is_answered = True


class FakeOracle:
    """Tells what the tunnel with that socket says."""

    def __init__(self, *, usable: bool = True) -> None:
        self.usable = usable
        self.tunnels: list[Fake] = []
        self.asked = 0

    def sample(self, sock: socket.socket) -> FlowSample | None:
        self.asked += 1
        return self._of(sock).sample

    def answered_after(self, sock: socket.socket) -> float | None:
        return 0.1 if self._of(sock).is_answered else None

    def _of(self, sock: socket.socket) -> Fake:
        return next(fake for fake in self.tunnels if fake.upstream.lowest_socket is sock)


@dataclass
class Listener:
    """Records the signals of one flow."""

    world: World
    host: str

    def on_flow_signal(self, signal: FlowSignal, tunnel: WatchedTransfer) -> None:
        self.world.found.append((self.host, signal))

    def on_unwitnessed_stall(self) -> None:
        self.world.unwitnessed.append((self.host, self.world.second))

    def on_slow(self, bytes_s: float) -> None:
        self.world.slow.append((self.host, bytes_s, self.world.second))

    def on_direct_bytes(self, within_s: float) -> None:
        self.world.brought.append((self.host, within_s))

    def on_direct_carried(self, bytes_down: int, lasted_s: float) -> None:
        self.world.carried.append((self.host, bytes_down))
        self.world.lasted.append(round(lasted_s, 1))

    def on_relay_whole(self, bytes_down: int) -> None:
        self.world.whole.append((self.host, bytes_down))

    def on_relay_lasted(self, lasted_s: float) -> None:
        self.world.lasted.append(round(lasted_s, 1))

    def on_relay_upload(self, bytes_up: int) -> None:
        self.world.taken.append((self.host, bytes_up))

    def on_relay_bytes(self, bytes_down: int, bytes_s: float, tunnel: WatchedTransfer) -> None:
        self.world.proven.append((bytes_down, bytes_s))

    def on_relay_stalled(self, bytes_down: int, tunnel: WatchedTransfer) -> None:
        self.world.stalled.append((self.host, bytes_down))

    def on_relay_silent(self, silent_s: float, tunnel: WatchedTransfer) -> None:
        self.world.silent.append((self.host, round(silent_s)))

    def on_way_stalled(self, tunnel: WatchedTransfer) -> None:
        self.world.beside.append(self.host)


@dataclass
class World:
    """A watch with tunnels, and what it found."""

    watch: FlowMonitor
    tcp_info: FakeOracle
    found: list[tuple[str, FlowSignal]] = field(default_factory=list)
    proven: list[tuple[int, float]] = field(default_factory=list)
    whole: list[tuple[str, int]] = field(default_factory=list)  # small answers of relays
    carried: list[tuple[str, int]] = field(default_factory=list)
    lasted: list[float] = field(default_factory=list)
    stalled: list[tuple[str, int]] = field(default_factory=list)
    silent: list[tuple[str, int]] = field(default_factory=list)  # given up after so many seconds, unwitnessed
    beside: list[str] = field(default_factory=list)  # idle, on a way on which another one stalled
    taken: list[tuple[str, int]] = field(default_factory=list)
    brought: list[tuple[str, float]] = field(default_factory=list)
    unwitnessed: list[tuple[str, float]] = field(default_factory=list)  # a stall without a witness, and when
    slow: list[tuple[str, float, float]] = field(default_factory=list)  # how slow, and when it was reported
    began_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    @property
    def second(self) -> float:
        return round(asyncio.get_running_loop().time() - self.began_at, 1)

    def open(
        self, host: str, *, direct: bool = True, route: Route = DIRECT, received: int = 1, stalls_count: bool = False
    ) -> tuple[Fake, WatchedFlow]:
        fake = Fake(new_socket())
        self.tcp_info.tunnels.append(fake)
        fake.down.moved = received
        flow = self.watch.watch(
            cast(Tunnel, fake), host, Listener(self, host), route=route if direct else RELAY, stalls_count=stalls_count
        )
        return fake, flow

    @property
    def kinds(self) -> list[tuple[str, Symptom]]:
        return [(host, finding.kind) for host, finding in self.found]


_made: list[socket.socket] = []


def new_socket() -> socket.socket:
    """A real one, so that its options can be set."""
    near, far = tcp_pair()
    _made.extend((near, far))
    return near


def close_sockets() -> None:
    while _made:
        _made.pop().close()


def tell(story: object, *, usable: bool = True, **settings: float) -> World:
    """Runs `story(world)` in virtual time. Without `usable`, TCP_INFO cannot be read."""

    async def run() -> World:
        tcp_info = FakeOracle(usable=usable)
        world = World(FlowMonitor(tcp_info, DetectTuning(**settings)), tcp_info)  # type: ignore[arg-type]  # numbers by name
        await story(world)  # type: ignore[operator]  # a story is an async function
        world.watch.close()
        return world

    return clock.run(run())


def asks(fake: Fake) -> bool:
    return bool(fake.upstream.lowest_socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
