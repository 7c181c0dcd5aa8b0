"""Which ways to a relay are tried, when, and what is reported of them; under a virtual clock."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import pytest

from proxy.model import Destination, IPAddress, NetworkId, Stage, Symptom
from proxy.model.errors import DialError
from proxy.model.relay_way import RelayWay, WayOrder
from proxy.net.dialers.dialer import HANDSHAKE_TIMEOUT_S
from proxy.net.dialers.evasion import FragmentingStream
from proxy.net.dialers.relay_ways import ADDRESSES_MAX, RelayWaysDialer
from proxy.net.dialers.road import NoWayBeliefs, RoadToRelays
from proxy.net.dialers.tcp import AddressLookup
from proxy.net.dialers.tls import TlsDialer
from proxy.net.stream import Stream
from proxy.net.tasks import cancel_all, spawn
from tests.support.clock import run as play
from tests.support.late import stall
from tests.support.scripted import FakeOracle, Script, ScriptedDialer, ScriptedStream

VPS, OTHER = Destination("vps.test", 443), Destination("192.0.2.9", 8443)
ONE, TWO, OTHERS = "192.0.2.1:443", "192.0.2.2:443", "192.0.2.9:8443"
FOREVER = 3600.0
REFUSED = DialError("refused", stage=Stage.CONNECT, symptom=Symptom.REFUSED)
RESET = DialError("reset", stage=Stage.RELAY, symptom=Symptom.RELAY_DOWN, evidence={"relay": Symptom.RESET})
BAD_CERTIFICATE = DialError(
    "bad certificate", stage=Stage.RELAY, symptom=Symptom.RELAY_AUTH, evidence={"relay": Symptom.CERTIFICATE}
)
Hello = float | DialError | None
"""Seconds until its answer, how it fails after 0.1 s, or None: it is dropped."""


class Beliefs(NoWayBeliefs):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, str]] = []
        self.to_retest: list[RelayWay] = []
        self.stalled: set[str] = set()

    def of(self, way: str) -> list[str]:
        return [what for what, about in self.reports if about == way]

    def used(self, relay: Destination, way: RelayWay, network: NetworkId, now: float) -> None:
        self.reports.append(("used", str(way)))

    def worked(self, relay: Destination, way: RelayWay, network: NetworkId, now: float) -> None:
        self.reports.append(("worked", str(way)))

    def failed(self, relay: Destination, way: RelayWay, symptom: Symptom, network: NetworkId, now: float) -> None:
        self.reports.append((symptom, str(way)))

    def overtaken(self, relay: Destination, way: RelayWay, network: NetworkId, now: float) -> None:
        self.reports.append(("overtaken", str(way)))

    def avoid(self, relay: Destination, peer: str, network: NetworkId, now: float) -> None:
        self.reports.append(("avoid", peer))

    def order(
        self,
        relay: Destination,
        ways: Sequence[RelayWay],
        network: NetworkId,
        now: float,
        *,
        filtered: Sequence[RelayWay],
    ) -> WayOrder:
        ways = super().order(relay, ways, network, now, filtered=filtered).first
        return WayOrder(
            [way for way in ways if str(way) not in self.stalled], [way for way in ways if str(way) in self.stalled]
        )

    def due(self, relay: Destination, ways: Sequence[RelayWay], network: NetworkId, now: float) -> RelayWay | None:
        return self.to_retest.pop() if self.to_retest else None


class World(AddressLookup):
    """A relay, what its ways do, and a name that leads to two addresses after `lookup_s`."""

    def __init__(self) -> None:
        self.scripts = {way: Script(connect=0.1, acknowledged=False, retransmits=2) for way in (ONE, TWO, OTHERS)}
        self.hellos: dict[str, Hello] = {}  # by way; "|" behind it: fragmented
        self.lookup_s = 0.0
        self.addresses: list[str] | DialError = ["192.0.2.1"]
        self.beliefs = Beliefs()
        self.secured: list[str] = []

    def dialer(
        self,
        *endpoints: Destination,
        tls: bool = True,
        strategies: tuple[str, ...] = ("tlsrec",),
        retests: bool = True,
    ) -> Dialer:
        road = RoadToRelays(
            lookup=self,
            beliefs=self.beliefs,
            tcp_info=FakeOracle(),
            strategies=strategies if tls else (),
            retests=retests,
        )
        secure = cast(TlsDialer, self) if tls else None
        return RelayWaysDialer(self, endpoints or (VPS, OTHER), road, tls=secure, relay="vps")

    async def dial(self, destination: Destination) -> Stream:
        stream = await ScriptedDialer(self.scripts[str(destination)]).dial(destination)
        stream.peer = str(destination)
        return stream

    async def secure(self, inner: Stream, destination: Destination) -> Stream:
        key = f"{destination}{'|' if isinstance(inner, FragmentingStream) else ''}"
        self.secured.append(key)
        stream = cast(ScriptedStream, inner.lowest_socket)
        stream.flight_sent_at = asyncio.get_running_loop().time()
        hello = self.hellos.get(key, 0.1)
        try:
            if isinstance(hello, DialError):
                await asyncio.sleep(0.1)
                raise hello
            await asyncio.sleep(FOREVER if hello is None else hello)
        except BaseException:
            inner.abort()
            raise
        return inner

    async def resolve(self, host: str) -> Sequence[IPAddress]:
        await asyncio.sleep(self.lookup_s)
        if isinstance(self.addresses, DialError):
            raise self.addresses
        return [ipaddress.ip_address(address) for address in self.addresses]

    def cached(self, host: str) -> tuple[IPAddress, ...] | None:
        if self.lookup_s or isinstance(self.addresses, DialError):
            return None
        return tuple(ipaddress.ip_address(address) for address in self.addresses)

    @property
    def dialed(self) -> dict[str, list[float]]:
        return {way: [round(at, 2) for at in script.dialed] for way, script in self.scripts.items() if script.dialed}

    @property
    def open(self) -> list[str]:
        """The streams that nobody has closed."""
        return [stream.peer for script in self.scripts.values() for stream in script.streams if not stream.closed]


Dialer = RelayWaysDialer


def scene(test: Callable[[World], Awaitable[None]]) -> Callable[[], None]:
    """Plays a test in a world of its own; whatever it leaves under way is ended."""

    async def played() -> None:
        await test(World())
        await cancel_all()

    def run() -> None:
        play(played())

    return run


@scene
async def test_a_way_that_works_is_the_only_one_tried(world: World) -> None:
    world.addresses = ["192.0.2.1", "192.0.2.2"]
    stream = await world.dialer().dial(VPS)
    assert stream.peer == ONE
    assert world.dialed == {ONE: [0.0]}
    assert world.beliefs.reports == [("used", ONE)]


@scene
async def test_where_nobody_listens_the_alternative_is_tried_at_once(world: World) -> None:
    world.scripts[ONE].connect = REFUSED
    assert (await world.dialer().dial(VPS)).peer == OTHERS
    assert world.dialed == {ONE: [0.0], OTHERS: [0.0]}
    assert world.beliefs.reports == [("used", OTHERS), ("refused", ONE)]


@scene
async def test_a_silent_address_is_hedged_and_judged_later(world: World) -> None:
    world.scripts[ONE].connect = FOREVER
    assert (await world.dialer().dial(VPS)).peer == OTHERS
    assert world.dialed == {ONE: [0.0], OTHERS: [1.5]}
    assert world.beliefs.reports == [("used", OTHERS), ("overtaken", ONE)]
    await asyncio.sleep(5)
    assert world.beliefs.of(ONE) == ["overtaken", "timeout"]


@scene
async def test_every_address_of_the_name_is_tried_and_staggered(world: World) -> None:
    world.addresses = ["192.0.2.1", "192.0.2.2"]
    world.scripts[ONE].connect = FOREVER
    assert (await world.dialer(VPS).dial(VPS)).peer == TWO
    assert world.dialed == {ONE: [0.0], TWO: [0.25]}
    await asyncio.sleep(10)
    assert world.beliefs.reports == [("used", TWO)], "a quarter of a second is no evidence"


@scene
async def test_an_address_beyond_which_the_hello_is_lost_is_left_for_the_next(world: World) -> None:
    world.addresses = ["192.0.2.1", "192.0.2.2"]
    world.hellos = {ONE: RESET}
    assert (await world.dialer(VPS, strategies=()).dial(VPS)).peer == TWO
    assert world.beliefs.of(ONE) == ["reset"]


@scene
async def test_a_hello_that_is_reset_is_fragmented(world: World) -> None:
    world.hellos[ONE] = RESET
    assert (await world.dialer().dial(VPS)).peer == ONE
    assert world.secured == [ONE, f"{ONE}|"]
    assert world.beliefs.reports == [("used", f"{ONE}|tlsrec"), ("reset", ONE)]


@scene
async def test_a_hello_that_is_dropped_costs_two_retransmissions_and_no_timeout(world: World) -> None:
    world.hellos[ONE] = None
    loop = asyncio.get_running_loop()
    await world.dialer().dial(VPS)
    assert loop.time() < 1.0
    assert world.beliefs.reports == [("used", f"{ONE}|tlsrec"), ("overtaken", ONE)]
    await asyncio.sleep(5)
    assert world.beliefs.of(ONE) == ["overtaken", "dropped"]
    assert world.open == [ONE], "the winner's"


@scene
async def test_an_answer_that_came_while_the_loop_stood_still_is_in_time(world: World) -> None:
    """The connect took 4.9 s of 5."""
    world.scripts[ONE].connect = 4.9
    await world.dialer(tls=False).dial(VPS)
    assert world.beliefs.reports == [("used", OTHERS), ("overtaken", ONE)]
    loop = asyncio.get_running_loop()
    loop.call_at(4.8, stall, 3.0)
    await asyncio.sleep(10)
    assert world.beliefs.of(ONE) == ["overtaken", "worked"]


@scene
async def test_a_way_that_answers_after_all_is_slow_and_not_blocked(world: World) -> None:
    world.hellos[ONE] = 2.0
    await world.dialer().dial(VPS)
    await asyncio.sleep(10)
    assert world.beliefs.of(ONE) == ["overtaken", "worked"]
    assert len(world.open) == 1, "the winner's"


@scene
async def test_a_way_that_looked_dropped_and_wins_after_all_stays_open(world: World) -> None:
    world.hellos = {ONE: 2.0, f"{ONE}|": None, OTHERS: None, f"{OTHERS}|": None}
    stream = await world.dialer().dial(VPS)
    assert stream.peer == ONE
    assert len(world.secured) > 1, "others were begun beside it"
    await asyncio.sleep(10)
    assert world.open == [ONE], "the winner's"
    assert world.beliefs.of(ONE) == ["used"]


@scene
async def test_of_one_way_one_attempt_at_once_is_judged(world: World) -> None:
    world.hellos[ONE] = None
    dialer = world.dialer()
    for _ in range(3):
        await dialer.dial(VPS)
    await asyncio.sleep(10)
    assert world.beliefs.of(ONE).count("dropped") == 1


@scene
async def test_without_tls_nothing_is_fragmented(world: World) -> None:
    world.scripts[ONE].connect = REFUSED
    assert (await world.dialer(tls=False).dial(VPS)).peer == OTHERS
    assert world.secured == []


@scene
async def test_when_all_fail_the_first_says_why_and_nothing_is_learned(world: World) -> None:
    world.hellos = {ONE: RESET, f"{ONE}|": BAD_CERTIFICATE, OTHERS: BAD_CERTIFICATE}
    with pytest.raises(DialError, match=r"^reset \(also tried: 192.0.2.1:443\|tlsrec, 192.0.2.9:8443\)$") as caught:
        await world.dialer().dial(VPS)
    assert (caught.value.symptom, caught.value.evidence) == (Symptom.RELAY_DOWN, {"relay": "reset"})
    assert world.beliefs.reports == []
    assert world.open == []


@scene
async def test_a_certificate_that_is_refused_is_refused_on_each_way(world: World) -> None:
    world.hellos = {ONE: BAD_CERTIFICATE}
    assert (await world.dialer().dial(VPS)).peer == OTHERS
    assert world.secured == [ONE, OTHERS], "fragments do not help against it"
    assert world.beliefs.of(ONE) == ["certificate"]


@scene
async def test_a_lookup_that_fails_leaves_the_alternative(world: World) -> None:
    world.addresses = DialError("no answer", stage=Stage.RESOLVE, symptom=Symptom.RESOLVE_FAILED)
    assert (await world.dialer().dial(VPS)).peer == OTHERS
    with pytest.raises(DialError, match=r"^no answer$") as caught:
        await world.dialer(VPS).dial(VPS)
    assert caught.value.stage is Stage.RESOLVE


@scene
async def test_a_way_that_stalls_is_no_hedge(world: World) -> None:
    """It would win the handshake, and the page on it would stop half-way."""
    world.beliefs.stalled = {ONE}
    for hello in (2.0, None):
        world.scripts[OTHERS].connect = 4.0  # a lost SYN or two, or a busy computer
        world.hellos[OTHERS] = hello
        world.scripts[ONE].dialed.clear()
        dialing = spawn(world.dialer(strategies=()).dial(VPS), name="dial")
        await asyncio.wait({dialing}, timeout=9)
        assert world.dialed == {OTHERS: world.dialed[OTHERS]}
        assert dialing.done() is (hello is not None)
        dialing.cancel()
        await asyncio.wait({dialing})


@scene
async def test_a_way_that_stalls_is_tried_when_all_others_have_failed(world: World) -> None:
    world.beliefs.stalled = {ONE, f"{ONE}|tlsrec"}
    world.scripts[OTHERS].connect = 0.5
    world.hellos = {OTHERS: RESET, f"{OTHERS}|": RESET, ONE: RESET}
    assert (await world.dialer().dial(VPS)).peer == ONE
    assert world.secured == [OTHERS, f"{OTHERS}|", ONE, f"{ONE}|"]
    assert world.dialed[ONE][0] >= 1.2, "0.5 + 0.1 s, twice"


@scene
async def test_ways_that_stall_are_hedged_among_themselves(world: World) -> None:
    world.beliefs.stalled = {ONE, f"{ONE}|tlsrec"}
    world.hellos = {ONE: None}
    assert (await world.dialer(VPS).dial(VPS)).peer == ONE
    assert asyncio.get_running_loop().time() < 1.0
    assert world.beliefs.of(ONE) == ["overtaken"]


@scene
async def test_a_way_that_stalls_is_all_there_is(world: World) -> None:
    world.beliefs.stalled = {ONE}
    assert (await world.dialer(VPS, strategies=()).dial(VPS)).peer == ONE
    assert world.dialed == {ONE: [0.0]}


@scene
async def test_a_way_that_stalls_waits_for_the_name_of_another(world: World) -> None:
    world.beliefs.stalled = {OTHERS}
    world.lookup_s = 3.0
    assert (await world.dialer().dial(VPS)).peer == ONE
    assert world.dialed == {ONE: [3.0]}


@scene
async def test_a_late_lookup_is_waited_for_as_a_late_connection_is(world: World) -> None:
    world.lookup_s = 1.0
    assert (await world.dialer().dial(VPS)).peer == ONE
    assert world.dialed == {ONE: [1.0]}
    world.lookup_s = FOREVER
    assert (await world.dialer().dial(VPS)).peer == OTHERS
    assert world.dialed[OTHERS] == [1.0 + 0.2 + 1.5]


@scene
async def test_a_relay_behind_another_is_dialed_by_its_names(world: World) -> None:
    first, second = Destination("a.test", 1), Destination("b.test", 2)
    world.scripts = {"a.test:1": Script(connect=REFUSED), "b.test:2": Script()}
    road = RoadToRelays(tcp_info=FakeOracle())
    assert (await RelayWaysDialer(world, (first, second), road, relay="vps").dial(first)).peer == "b.test:2"


@scene
async def test_a_failed_way_is_tested_again_beside_a_dial_that_went_well(world: World) -> None:
    for hello, verdict in ((0.1, "worked"), (RESET, "reset"), (None, "dropped")):
        world.hellos[OTHERS] = hello
        world.beliefs.to_retest = [RelayWay(OTHER, OTHER.host)]
        world.beliefs.reports.clear()
        await world.dialer().dial(VPS)
        assert world.beliefs.of(ONE) == ["used"], "nothing waits for it"
        await asyncio.sleep(10)
        assert world.beliefs.of(OTHERS) == [verdict]
    assert set(world.open) == {ONE}
    world.beliefs.to_retest = [RelayWay(OTHER, OTHER.host)]
    await world.dialer(retests=False).dial(VPS)
    assert world.beliefs.to_retest, "the user wants none"


@scene
async def test_a_dial_that_is_cancelled_leaves_nothing_open(world: World) -> None:
    world.hellos[ONE] = None
    dialing = spawn(world.dialer().dial(VPS), name="dial")
    await asyncio.sleep(0.5)
    dialing.cancel()
    await asyncio.sleep(1)
    assert (world.open, world.beliefs.reports) == ([], [])


@scene
async def test_a_handshake_that_breaks_off_is_reported_by_its_peer(world: World) -> None:
    dialer = world.dialer()
    dialer.broke(await dialer.dial(VPS))
    assert world.beliefs.reports[-1] == ("avoid", ONE)


def test_a_name_has_only_so_many_ways() -> None:
    play(_count_ways())


async def _count_ways() -> None:
    dialer = World().dialer()
    assert len(dialer.ways_to(VPS, [f"192.0.2.{number}" for number in range(9)])) == 2 * ADDRESSES_MAX


@scene
async def test_a_name_that_is_known_late_is_dialed_all_the_same(world: World) -> None:
    """As after a sleep of this computer in the middle of the lookup: its answer came when the dial was over, which then
    failed with an IndexError."""
    world.lookup_s = 3 * HANDSHAKE_TIMEOUT_S
    assert (await world.dialer(VPS).dial(VPS)).peer == ONE
    world.beliefs.stalled = {ONE}
    assert (await world.dialer(VPS).dial(VPS)).peer == ONE
