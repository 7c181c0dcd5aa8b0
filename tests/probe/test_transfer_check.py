"""Which visits bring a check of transfers, what it sends, what it takes for a stall, and which way the visit takes
then: over scripted ways to a relay under a virtual clock, with real beliefs; and over TLS on loopback."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.config.schema import Auto, Settings
from proxy.detect.relay_ways import Obstacle, RelayWays
from proxy.model import DIRECT, Destination, NetworkId, Route, Stage, Symptom
from proxy.model.errors import DialError
from proxy.model.relay_way import RelayWay
from proxy.net.dialers import tls
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.kernel.tcp_info import FlowSample, TcpInfo
from proxy.net.stream import Stream
from proxy.net.tasks import cancel_all, spawn
from proxy.probe.transfer_check import AGAIN_S, EXTRA_MAX, REFUSED_MAX, REQUESTS_MAX, WITHIN_S, TransferCheck
from proxy.session.setup import Setup
from tests.lab.authorities import Authority
from tests.support.answering import LeadsTo, answering
from tests.support.clock import run as play
from tests.support.outcomes import AWAY, HOME
from tests.support.rows import each_row
from tests.support.scripted import Script, ScriptedStream

RELAY, OTHER = Destination("192.0.2.1", 443), Destination("192.0.2.9", 8443)
MAIN, SECOND = RelayWay(RELAY, RELAY.host), RelayWay(OTHER, OTHER.host)
VPS = Route(("vps",))
SITE = Destination("www.example.test", 80)
REQUEST = f"GET / HTTP/1.1\r\nHost: {SITE.host}\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n".encode()
ENOUGH = DetectTuning().proof_bytes
NO_WAY = DialError("no way there", stage=Stage.CONNECT, symptom=Symptom.RELAY_DOWN)
NEVER = 1 << 30


@dataclass
class Road:
    """What one way to the relay does: `page` is the size of an answer, which comes `takes_s` after the request, each
    `piece` of it `apart_s` after the one before; at `stops_at` bytes the connection freezes, for `frozen_s`."""

    page: int = 100_000
    takes_s: float = 0.1
    piece: int = 4096
    apart_s: float = 0.0
    stops_at: int = NEVER
    frozen_s: float = math.inf
    status: str = "200 OK"
    keeps: bool = True  # the connection open
    hints: bytes = b""  # before each answer
    opens_s: float = 0.0  # until a connection is there
    connections: int = NEVER  # it refuses more
    kernel: Mapping[str, float] = field(default_factory=dict)  # what it says, whatever happens, once a request was sent
    streams: list[Connection] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return len(self.streams) < self.connections

    @property
    def asked(self) -> list[int]:
        """The requests on each connection that had any."""
        return [stream.requests for stream in self.streams if stream.requests]


class Connection(ScriptedStream):
    """A connection over a way, and what the kernel would say of it."""

    def __init__(self, road: Road, peer: str) -> None:
        super().__init__(Script())
        self.road, self.peer = road, peer
        self.requests = self.brought = 0
        self.stopped_at = math.inf
        self.unacked_at = math.inf
        self.heard_at = asyncio.get_running_loop().time()

    @property
    def is_frozen(self) -> bool:
        return 0 <= asyncio.get_running_loop().time() - self.stopped_at < self.road.frozen_s

    def send_nowait(self, data: bytes | memoryview) -> int:
        assert not self.closed
        count, rest = divmod(len(data), len(REQUEST))
        assert not rest
        assert bytes(data) == REQUEST * count, "no cookies, and no path of the user"
        loop = asyncio.get_running_loop()
        self.requests += count
        if self.is_frozen:
            self.unacked_at = min(self.unacked_at, loop.time())
        else:
            self.heard_at = loop.time()
            for _ in range(count):
                loop.call_later(self.road.takes_s, self._answer)
        return len(data)

    def _answer(self) -> None:
        closes = "" if self.road.keeps else "Connection: close\r\n"
        head = f"HTTP/1.1 {self.road.status}\r\nContent-Length: {self.road.page:6}\r\n{closes}\r\n".encode()
        answer = self.road.hints + head + bytes(self.road.page)
        self._send_on(answer)

    def _send_on(self, answer: bytes) -> None:
        loop = asyncio.get_running_loop()
        while answer:
            piece, answer = answer[: self.road.piece], answer[self.road.piece :]
            if self.brought + len(piece) > self.road.stops_at:
                if not self.is_frozen:
                    self.stopped_at = loop.time()
                    if self.road.frozen_s < math.inf:
                        loop.call_later(self.road.frozen_s, self._thaw)
                return
            self.brought += len(piece)
            self._bring(piece)
            if self.road.apart_s:
                loop.call_later(self.road.apart_s, self._send_on, answer)
                return

    def _thaw(self) -> None:
        self.stopped_at = self.unacked_at = math.inf
        self._bring(bytes(10))
        self.brought += 10

    def _bring(self, data: bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        if not self.closed:
            self._arrive(data)

    @property
    def sample(self) -> FlowSample:
        now = asyncio.get_running_loop().time()
        unacked_s = now - self.unacked_at
        again = 0 if unacked_s < 0.05 else 1 if unacked_s < 0.3 else 2  # a tail loss probe, a retransmission
        sample = FlowSample(
            retransmits=again,
            unacked=int(unacked_s >= 0),
            heard_s=now - self.heard_at,
            bytes_in=self.brought,
        )
        return replace(sample, **cast(Any, self.road.kernel)) if self.requests else sample


class Kernel(TcpInfo):
    """Reads the scripts; of a real socket, the kernel."""

    def __init__(self, *, usable: bool = True) -> None:
        super().__init__()
        self.usable = usable

    def sample(self, sock: Any) -> FlowSample | None:
        return sock.sample if isinstance(sock, Connection) else super().sample(sock)


class Scene:
    """A relay at two addresses, and a Byway that has just started."""

    def __init__(
        self, main: Road, second: Road | None = None, *, auto: Auto | None = None, usable: bool = True
    ) -> None:
        self.roads = {MAIN: main, SECOND: second or Road()}
        self.network: NetworkId = HOME
        self.ways = RelayWays(DetectTuning())
        self.ways.keep([RELAY], [RELAY])
        self.with_alternatives = {"vps": RELAY}
        self.dialed: list[Destination] = []
        setup = SimpleNamespace(registry=self, settings=Settings(auto=auto or Auto()))
        self.setup = cast(Setup, setup)
        self.check = TransferCheck(self.ways, Kernel(usable=usable), lambda: self.network, DetectTuning(), self.now)

    @staticmethod
    def now() -> float:
        return asyncio.get_running_loop().time() + 1_700_000_000.0

    def dialer(self, route: Route, *, avoid_residual: bool = True) -> Dialer:
        return self

    async def dial(self, destination: Destination) -> Stream:
        """As a dialer of ways does: by the first that leads there, in the order of what is believed."""
        self.dialed.append(destination)
        await asyncio.sleep(0.1)
        order = self.ways.order(RELAY, [MAIN, SECOND], self.network, self.now())
        for way in (*order.first, *order.last):
            if (road := self.roads[way]).is_open:
                await asyncio.sleep(road.opens_s)
                self.ways.used(RELAY, way, self.network, self.now())
                road.streams.append(Connection(road, str(way.target)))
                return road.streams[-1]
        raise NO_WAY

    async def visit(self, site: Destination = SITE) -> Stream:
        """The path that a visit gets."""
        return await self.check.dialer_for(self.setup)(VPS).dial(site)

    @property
    def obstacle(self) -> Obstacle | None:
        found = self.ways.obstacle(RELAY, self.network, self.now())
        return found.kind if found is not None else None

    @property
    def requests(self) -> int:
        return sum(sum(road.asked) for road in self.roads.values())

    def open(self) -> list[str]:
        return [stream.peer for road in self.roads.values() for stream in road.streams if not stream.closed]


def scene(*roads: Road, **given: Any) -> Callable[[Callable[[Scene], Awaitable[None]]], Callable[[], None]]:
    """Plays a test in a scene of its own. Whatever it leaves under way is ended, and closes what it opened."""

    def decorate(test: Callable[[Scene], Awaitable[None]]) -> Callable[[], None]:
        async def played() -> None:
            failed: list[Any] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
            for road in roads:
                road.streams.clear()
            await test(Scene(*roads, **given))
            await asyncio.sleep(WITHIN_S)  # what is left under way has its end
            await cancel_all()
            assert failed == []

        def run() -> None:
            play(played())

        return run

    return decorate


FROZEN = Road(stops_at=16_384)


# -- what is shown -----------------------------------------------------------------------------------------------------


@scene(Road())
async def test_a_way_on_which_a_transfer_passes_is_proven_once(scene: Scene) -> None:
    assert (await scene.visit()).peer == str(RELAY)
    assert scene.roads[MAIN].asked == [1]
    assert scene.open() == [str(RELAY)], "the visit's; nothing was sent on it"
    for _ in range(3):
        assert (await scene.visit()).peer == str(RELAY)
    assert scene.requests == 1
    assert len(scene.dialed) == 1 + 1 + 3
    assert scene.obstacle is None


@scene(FROZEN)
async def test_where_a_transfer_stops_the_visit_takes_the_other_way(scene: Scene) -> None:
    began = scene.now()
    assert (await scene.visit()).peer == str(OTHER)
    assert scene.now() - began < 3.0
    assert scene.open() == [str(OTHER)]
    assert scene.obstacle is Obstacle.FROZEN
    found = scene.ways.obstacle(RELAY, HOME, scene.now())
    assert found is not None
    assert found.instead == SECOND
    assert found.bytes_down == 16_384
    requests = scene.requests
    assert (await scene.visit()).peer == str(OTHER)
    assert scene.requests == requests
    assert scene.ways.remembered(), "it is known after a restart"


@scene(Road(page=400, stops_at=16_384), Road(page=400))
async def test_small_pages_show_a_stall_and_prove_nothing(scene: Scene) -> None:
    assert (await scene.visit()).peer == str(OTHER)
    assert scene.roads[SECOND].asked == [REQUESTS_MAX]
    assert scene.obstacle is None
    scene.ways.carried(RELAY, str(OTHER), HOME, scene.now())  # by the page of the visit
    assert scene.obstacle is Obstacle.FROZEN


@scene(Road(page=400))
async def test_of_a_small_page_no_more_than_so_many_are_requested(scene: Scene) -> None:
    assert (await scene.visit()).peer == str(RELAY)
    assert scene.roads[MAIN].asked == [REQUESTS_MAX]


@scene(Road(page=ENOUGH // 2))
async def test_of_a_larger_page_no_more_is_requested_than_proves_the_way(scene: Scene) -> None:
    await scene.visit()
    assert scene.roads[MAIN].asked == [2]
    assert not scene.ways.is_unproven(RELAY, str(RELAY), HOME, scene.now())


@each_row(
    ("status", "requests"),
    [("429 Too Many Requests", 1), ("503 Unavailable", 1), ("403 Forbidden", REFUSED_MAX), ("301 Moved", REQUESTS_MAX)],
)
def test_a_site_that_refuses_is_asked_less_often(status: str, requests: int) -> None:
    @scene(Road(status=status, page=400))
    async def test(scene: Scene) -> None:
        assert (await scene.visit()).peer == str(RELAY)
        assert scene.roads[MAIN].asked == [requests]
        assert scene.ways.is_unproven(RELAY, str(RELAY), HOME, scene.now())

    test()


@scene(Road(page=20_000, hints=b"HTTP/1.1 103 Early Hints\r\n\r\n"))
async def test_early_hints_are_no_answer(scene: Scene) -> None:
    await scene.visit()
    assert scene.roads[MAIN].asked == [4]


@scene(Road(takes_s=3.0, stops_at=16_384), Road(takes_s=3.0))
async def test_each_way_has_its_own_time(scene: Scene) -> None:
    assert (await scene.visit()).peer == str(OTHER)
    assert scene.obstacle is Obstacle.FROZEN


@scene(Road(takes_s=3.8, stops_at=16_384))
async def test_a_transfer_that_stops_just_before_its_time_is_over_is_seen_to_stall(scene: Scene) -> None:
    began = scene.now()
    assert (await scene.visit()).peer == str(OTHER)
    assert scene.obstacle is Obstacle.FROZEN
    assert scene.now() - began > WITHIN_S, "it showed after that"


@scene(Road(takes_s=2.0, apart_s=0.9, stops_at=16_384))
async def test_a_transfer_is_not_left_while_it_comes(scene: Scene) -> None:
    assert (await scene.visit()).peer == str(OTHER)
    assert scene.obstacle is Obstacle.FROZEN


@scene(Road(takes_s=1.0, apart_s=0.5))
async def test_a_way_that_brings_enough_slowly_is_proven(scene: Scene) -> None:
    assert (await scene.visit()).peer == str(RELAY)
    assert not scene.ways.is_unproven(RELAY, str(RELAY), HOME, scene.now())


@scene(Road(piece=100, apart_s=0.8))
async def test_one_that_brings_too_little_is_awaited_for_the_time_of_two_ways(scene: Scene) -> None:
    began = scene.now()
    assert (await scene.visit()).peer == str(RELAY)
    assert scene.now() - began == pytest.approx(0.1 + 2 * WITHIN_S, abs=0.2)
    assert scene.roads[SECOND].streams == []
    assert scene.obstacle is None


@scene(FROZEN, Road(stops_at=8192, frozen_s=0.68))
async def test_what_looked_like_a_stall_and_goes_on_is_another_way(scene: Scene) -> None:
    assert (await scene.visit()).peer == str(OTHER)
    assert len(scene.dialed) == 5, "the visit, the check three times, and the visit again"
    assert scene.open() == [str(OTHER)]
    scene.ways.carried(RELAY, str(OTHER), HOME, scene.now())
    assert scene.obstacle is Obstacle.FROZEN


@scene(Road(page=ENOUGH // 2, keeps=False))
async def test_a_server_that_closes_is_not_dialed_again(scene: Scene) -> None:
    assert (await scene.visit()).peer == str(RELAY)
    assert scene.roads[MAIN].asked == [1]
    assert len(scene.dialed) == 2


@scene(Road(stops_at=16_384, kernel={"unacked": 0}))
async def test_in_pauses_of_a_server_only_some_more_pages_are_requested(scene: Scene) -> None:
    assert (await scene.visit()).peer == str(RELAY)
    assert scene.roads[MAIN].asked == [1 + EXTRA_MAX]


@scene(Road(status="403 Forbidden", page=7000, stops_at=16_384))
async def test_the_page_of_a_site_that_asks_for_a_browser_is_enough(scene: Scene) -> None:
    assert (await scene.visit()).peer == str(OTHER)
    assert scene.obstacle is Obstacle.FROZEN


# -- what is no stall --------------------------------------------------------------------------------------------------


@scene(Road(takes_s=3600.0))
async def test_a_server_that_is_slow_is_no_stall_and_is_not_waited_for_long(scene: Scene) -> None:
    began = scene.now()
    assert (await scene.visit()).peer == str(RELAY)
    assert scene.now() - began == pytest.approx(0.1 + WITHIN_S)
    assert scene.roads[SECOND].streams == []
    assert scene.obstacle is None
    assert scene.open() == [str(RELAY)]


@scene(Road(takes_s=2.5))
async def test_a_slow_relay_proves_itself(scene: Scene) -> None:
    assert (await scene.visit()).peer == str(RELAY)
    assert not scene.ways.is_unproven(RELAY, str(RELAY), HOME, scene.now())


@scene(Road(page=20_000, takes_s=0.9))
async def test_pauses_of_a_server_are_no_stall(scene: Scene) -> None:
    assert (await scene.visit()).peer == str(RELAY)
    assert scene.roads[SECOND].streams == []
    assert not scene.ways.is_unproven(RELAY, str(RELAY), HOME, scene.now())


@scene(Road(stops_at=16_384, frozen_s=1.2))
async def test_a_short_outage_moves_nothing_for_good(scene: Scene) -> None:
    scene.roads[SECOND].takes_s = 1.0
    await scene.visit()
    assert scene.roads[SECOND].asked == [1], "it looked like a stall"
    scene.ways.carried(RELAY, str(OTHER), HOME, scene.now())
    assert scene.obstacle is None


LATER = {"unacked": 1, "retransmits": 2, "heard_s": 1.0}


@pytest.mark.parametrize("kernel", [LATER | {"unacked": 0}, LATER | {"retransmits": 1}, LATER | {"heard_s": 0.2}])
def test_what_the_other_end_acknowledges_is_no_stall(kernel: Mapping[str, float]) -> None:
    @scene(Road(takes_s=2.0, kernel=kernel))
    async def test(scene: Scene) -> None:
        assert (await scene.visit()).peer == str(RELAY)
        assert scene.roads[SECOND].streams == []

    test()


@scene(Road(takes_s=2.0, kernel=LATER))
async def test_what_is_sent_again_and_again_in_silence_is_a_stall(scene: Scene) -> None:
    await scene.visit()
    assert scene.roads[SECOND].asked == [1]


@scene(FROZEN, Road(connections=0))
async def test_without_another_way_the_visit_keeps_what_it_has(scene: Scene) -> None:
    assert (await scene.visit()).peer == str(RELAY)
    assert len(scene.dialed) == 3, "the visit, and the check twice"
    assert scene.open() == [str(RELAY)]
    assert scene.obstacle is None
    scene.ways.carried(RELAY, str(RELAY), HOME, scene.now())
    assert scene.obstacle is None, "one stall without a comparison shows nothing"


@scene(FROZEN, Road(opens_s=3600.0))
async def test_another_way_that_does_not_open_is_not_waited_for_long(scene: Scene) -> None:
    began = scene.now()
    assert (await scene.visit()).peer == str(RELAY)
    assert scene.now() - began < 2.0 + WITHIN_S
    assert scene.obstacle is None


@scene(FROZEN, Road(stops_at=8192))
async def test_where_every_way_stops_the_visit_keeps_what_it_has(scene: Scene) -> None:
    assert (await scene.visit()).peer == str(RELAY)
    assert [len(road.asked) for road in scene.roads.values()] == [1, 1]
    assert len(scene.dialed) == 4, "the visit, and the check three times"
    assert scene.obstacle is None


@scene(Road(stops_at=16_384, connections=2), Road(connections=1))
async def test_a_relay_that_is_gone_after_the_check_leaves_the_visit_what_it_has(scene: Scene) -> None:
    assert (await scene.visit()).peer == str(RELAY)
    assert scene.open() == [str(RELAY)]


@scene(Road(connections=1), Road(connections=0))
async def test_a_relay_that_takes_no_second_connection_is_not_checked(scene: Scene) -> None:
    assert (await scene.visit()).peer == str(RELAY)
    assert scene.requests == 0


@scene(FROZEN)
async def test_what_another_network_shows_is_not_learned(scene: Scene) -> None:
    visit = spawn(scene.visit(), name="visit")
    await asyncio.sleep(0.5)
    scene.network = AWAY
    assert (await visit).peer == str(RELAY)
    for network in (HOME, AWAY):
        scene.network = network
        scene.ways.carried(RELAY, str(OTHER), network, scene.now())
        assert scene.obstacle is None
    assert scene.roads[SECOND].streams == []
    assert len(scene.dialed) == 2


@scene(FROZEN, Road(takes_s=1.0))
async def test_nor_is_what_the_next_way_shows_there(scene: Scene) -> None:
    visit = spawn(scene.visit(), name="visit")
    await until_asked(scene.roads[SECOND])
    scene.network = AWAY
    await visit
    scene.network = HOME
    scene.ways.carried(RELAY, str(OTHER), HOME, scene.now())
    assert scene.obstacle is None


async def until_asked(road: Road) -> None:
    for _ in range(600):
        if road.asked:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it is not asked")


# -- who waits ---------------------------------------------------------------------------------------------------------


@scene(FROZEN)
async def test_all_visits_wait_for_one_check(scene: Scene) -> None:
    sites = [SITE, Destination("a.test", 443), Destination("b.test", 443)]
    visits = [spawn(scene.visit(site), name="visit") for site in sites]
    await asyncio.sleep(0.15)
    late = spawn(scene.visit(Destination("late.test", 80)), name="visit")
    assert [(await visit).peer for visit in (*visits, late)] == [str(OTHER)] * 4
    assert [len(road.asked) for road in scene.roads.values()] == [1, 1]
    assert scene.open() == [str(OTHER)] * 4


@scene(FROZEN)
async def test_what_is_no_web_site_by_a_name_goes_on_at_once(scene: Scene) -> None:
    waiting = spawn(scene.visit(), name="visit")
    await asyncio.sleep(0.15)
    began = scene.now()
    for site in (Destination("mail.test", 993), Destination("192.0.2.77", 443)):
        assert (await scene.visit(site)).peer == str(RELAY)
    assert scene.now() - began == pytest.approx(0.2)
    waiting.cancel()


@scene(Road(connections=0), Road(connections=0))
async def test_a_relay_that_is_down_is_not_waited_for(scene: Scene) -> None:
    with pytest.raises(DialError, match="no way there"):
        await scene.visit()
    assert scene.dialed == [SITE]
    assert scene.now() == pytest.approx(1_700_000_000.1)


@scene(FROZEN)
async def test_who_leaves_closes_its_own_path_and_the_check_serves_the_next(scene: Scene) -> None:
    visit = spawn(scene.visit(), name="visit")
    await asyncio.sleep(0.4)
    own, _ = scene.roads[MAIN].streams
    visit.cancel()
    await asyncio.wait({visit})
    assert own.closed
    await asyncio.sleep(WITHIN_S)
    assert scene.open() == []
    assert scene.obstacle is Obstacle.FROZEN
    assert (await scene.visit()).peer == str(OTHER)


@scene(FROZEN)
async def test_a_shutdown_closes_everything(scene: Scene) -> None:
    visit = spawn(scene.visit(), name="visit")
    await asyncio.sleep(0.9)
    assert len(scene.open()) == 2, "that of the visit and that of the check"
    await cancel_all()
    assert scene.open() == []
    assert visit.done()


@scene(Road(page=400))
async def test_a_check_that_shows_nothing_is_repeated_by_a_later_visit(scene: Scene) -> None:
    checks = [1]
    await scene.visit()
    for wait_s in (*AGAIN_S, AGAIN_S[-1]):
        await scene.visit()
        await asyncio.sleep(wait_s - 2)
        await scene.visit()
        checks.append(len(scene.roads[MAIN].asked))
        await asyncio.sleep(2)
        await scene.visit()
    assert checks == [1, 1, 2, 3, 4]
    scene.ways.carried(RELAY, str(RELAY), HOME, scene.now())  # by a page of the user's
    await asyncio.sleep(AGAIN_S[-1])
    await scene.visit()
    assert len(scene.roads[MAIN].asked) == 5


@scene(FROZEN)
async def test_the_wait_is_not_held_against_the_route(scene: Scene) -> None:
    stream = await scene.visit()
    assert stream.held_s == pytest.approx(scene.now() - 1_700_000_000.0 - 0.2)
    assert (await scene.visit()).held_s == 0


# -- where nothing is checked ------------------------------------------------------------------------------------------


@scene(FROZEN)
async def test_only_relays_with_alternatives_get_another_dialer(scene: Scene) -> None:
    dialer_for = scene.check.dialer_for(scene.setup)
    assert dialer_for(DIRECT) is scene
    assert dialer_for(Route(("tor",))) is scene
    assert dialer_for(Route(("vps", "tor"))) is not scene, "what matters is the first relay of a chain"


@pytest.mark.parametrize("given", [{"auto": Auto(retest=False)}, {"usable": False}], ids=["retest", "usable"])
def test_nothing_is_checked_without_retests_or_where_the_kernel_cannot_be_asked(given: dict[str, Any]) -> None:
    @scene(FROZEN, **given)
    async def test(scene: Scene) -> None:
        assert (await scene.visit()).peer == str(RELAY)
        assert scene.requests == 0
        assert scene.dialed == [SITE]

    test()


# -- over TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    """An authority that this system trusts, and no other."""
    with Authority("Public") as authority:
        bundle = tmp_path / "trust.pem"
        bundle.write_text(authority.pem)
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        tls._system_context.cache_clear()
        yield authority
        tls._system_context.cache_clear()


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("is_trusted", [True, False])
async def test_over_tls_the_certificate_is_verified(to_relays: TcpDialer, trusted: Authority, is_trusted: bool) -> None:
    with Authority("Another") as another:
        context = (trusted if is_trusted else another).server()
        async with answering(to_relays, b"HTTP/1.1 200 OK\r\n\r\n" + bytes(2 * ENOUGH), context) as dialer:
            peer = await _peer_of(dialer)
            relay = Destination("127.0.0.1", int(peer.rpartition(":")[2]))
            ways, now = RelayWays(DetectTuning()), 1_700_000_000.0
            ways.keep([relay], [relay])
            ways.used(relay, RelayWay(relay, relay.host), HOME, now)
            check = TransferCheck(ways, TcpInfo(), lambda: HOME, DetectTuning(), lambda: now)
            site = Destination("www.example.test", 443)
            assert not await check.stalling(dialer, relay, peer, site)
            assert ways.is_unproven(relay, peer, HOME, now) is not is_trusted


async def _peer_of(dialer: LeadsTo) -> str:
    stream = await dialer.dial(SITE)
    stream.abort()
    return stream.peer
