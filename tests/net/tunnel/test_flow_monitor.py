"""What happens to flows, second by second, as a table under a virtual clock; and once with a real kernel."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.model import DIRECT, ClosedBy, Route, Symptom
from proxy.net.kernel import tcp_info as kernel
from proxy.net.kernel.tcp_info import FlowSample, TcpInfo
from proxy.net.poller import make_poller
from proxy.net.stream import SocketStream, Stream
from proxy.net.tunnel import blind_stall
from proxy.net.tunnel import flow_monitor as flow_watch
from proxy.net.tunnel.flow_monitor import FlowMonitor
from proxy.net.tunnel.pump import Pump, TunnelResult
from tests.net.tunnel.watching import TLSREC, Fake, FakeOracle, Listener, World, asks, new_socket, tell
from tests.support.filters import drop_all
from tests.support.sockets import tcp_pair
from tests.support.waiting import until

RESET = "the server's connection broke: Connection reset by peer"


@dataclass(frozen=True)
class Second:
    """What one second brings."""

    others: int = 0  # bytes to another direct flow
    probes: int = 0  # unanswered in a row, as the kernel says at its end
    heard_s: float = 99.0
    unacked: int = 0
    retransmits: int = 0
    down: int = 0
    up: int = 0


QUIET = Second()
BUSY = Second(others=9000)

STALLS: dict[str, tuple[list[Second], bool]] = {
    # what: (second by second from when it last brought a byte, whether it is frozen)
    "probes unanswered while others receive": (
        [BUSY, BUSY, *(Second(others=9000, probes=n) for n in (1, 2, 3, 4))],
        True,
    ),
    "data sent again and again while others receive": (
        [BUSY, BUSY, *(Second(others=9000, unacked=1, retransmits=n) for n in (1, 2, 3))],
        True,
    ),
    "an outage that begins within a second of retransmissions": (
        [
            *(BUSY, BUSY, Second(others=9000, unacked=1, retransmits=4)),
            *(Second(unacked=1, retransmits=n) for n in range(5, 9)),
            *(Second(others=9000, retransmits=9, heard_s=0.2), *[BUSY] * 3),
        ],
        False,
    ),
    "an outage that begins within two seconds of retransmissions": (
        [
            *(BUSY, BUSY, *(Second(others=9000, unacked=1, retransmits=n, heard_s=n - 0.1) for n in (1, 2))),
            *(Second(unacked=1, retransmits=n, heard_s=n - 0.1) for n in range(3, 9)),
            *(Second(others=9000, retransmits=9, heard_s=0.2), *[BUSY] * 3),
        ],
        False,
    ),
    "data sent again and again within three seconds": (
        [
            *(BUSY, BUSY, Second(others=9000, unacked=1, retransmits=1, heard_s=0.9)),
            *(Second(others=9000, unacked=1, retransmits=n + 1, heard_s=0.9 + n) for n in (1, 2)),
            Second(others=9000, retransmits=3, heard_s=0.1),
        ],
        False,
    ),
    "a finished page: its probe is answered": ([BUSY, BUSY, Second(others=9000, heard_s=0.9), *[BUSY] * 9], False),
    "an outage: nobody receives": ([QUIET, QUIET, *(Second(probes=n) for n in range(1, 15))], False),
    "an outage that ends: others receive first": (
        [
            *(BUSY, BUSY, *(Second(probes=n) for n in range(1, 7))),
            *(Second(others=9000, probes=7), Second(others=9000, heard_s=0.2)),
        ],
        False,
    ),
    "an outage that begins while it is asked": (
        [BUSY, BUSY, Second(others=9000, probes=1), *(Second(probes=n) for n in range(2, 15))],
        False,
    ),
    "a lossy link: one probe lost": (
        [BUSY, BUSY, Second(others=9000, probes=1), Second(others=9000, heard_s=0.3), *[BUSY] * 9],
        False,
    ),
    "a lone retransmission": (
        [BUSY, BUSY, Second(others=9000, unacked=1, retransmits=1), Second(others=9000, retransmits=1, heard_s=0.5)],
        False,
    ),
    "bytes again before the third": (
        [BUSY, BUSY, Second(others=9000, probes=1), Second(others=9000, probes=2, down=500), *[BUSY] * 2],
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("seconds", "is_frozen"), STALLS.values(), ids=STALLS)
def test_a_flow_that_stalls(seconds: list[Second], is_frozen: bool) -> None:
    async def story(world: World) -> None:
        fake, _ = world.open("blog.test", received=16_000)
        other, _ = world.open("news.test")
        await asyncio.sleep(0.5)  # between two looks
        for second in seconds:
            other.down.moved += second.others
            fake.down.moved += second.down
            fake.sample = FlowSample(second.probes, second.retransmits, second.unacked, second.heard_s, 1400)
            other.sample = FlowSample(heard_s=0.1)
            await asyncio.sleep(1)
        assert is_frozen or asks(fake) == (seconds[-1].probes > 0)

    world = tell(story)
    assert world.kinds == ([("blog.test", Symptom.FROZEN)] if is_frozen else [])
    if is_frozen:
        finding = world.found[0][1]
        assert finding.bytes_down == 16_000
        assert finding.evidence["stalled_s"] == 5.0 if finding.evidence["probes"] else 4.0


@pytest.mark.parametrize(("others", "is_told"), [("direct", True), ("relay", True), ("nobody", False)])
def test_a_stalled_flow_through_a_remote_relay_is_told_of(others: str, is_told: bool) -> None:
    """Also where only another connection to a relay receives: that shows the network as well."""

    async def story(world: World) -> None:
        fake, _ = world.open("blog.test", direct=False, received=16_000, stalls_count=True)
        other, _ = world.open("news.test", direct=others == "direct")
        for probes in (0, 0, 0, 1, 2, 3):
            other.down.moved += 9000 if others != "nobody" else 0
            fake.sample = FlowSample(probes, heard_s=99, segment=1400)
            await asyncio.sleep(1)

    world = tell(story)
    assert world.stalled == ([("blog.test", 16_000)] if is_told else [])
    assert world.found == []


class Witnessing(Fake):
    """The connection to a control page, of which a test says when its peer was heard."""

    def __init__(self, world: World, *, heard: bool = True) -> None:
        super().__init__(new_socket())
        world.tcp_info.tunnels.append(self)
        self.closed = False
        self.sample = FlowSample(heard_s=0.2 if heard else 99.0)

    @property
    def lowest_socket(self) -> socket.socket:
        return cast(socket.socket, self.upstream.lowest_socket)

    def abort(self) -> None:
        self.closed = True


def stall_beside(
    heard: Callable[[int], bool] | None,
    *,
    direct: bool = True,
    seconds: int = 12,
    heard_s: float = 99.0,
    unacked: int = 0,
) -> World:
    """A flow that is alone when it stalls: the kernel hears nothing of its peer for `heard_s`. From the first call for
    a witness on there is one whose own peer is `heard` or not, by the second; None: there is none."""

    async def story(world: World) -> None:
        fake, _ = world.open("blog.test", direct=direct, received=16_000, stalls_count=True)
        await asyncio.sleep(0.5)
        witness: Witnessing | None = None
        for second in range(seconds):
            fake.sample = FlowSample(0 if unacked else max(0, second - 2), second, unacked, heard_s, 1400)
            if world.unwitnessed and witness is None and heard is not None:
                witness = Witnessing(world)
                world.watch.take_witness(cast(Stream, witness))
            if witness is not None and heard is not None:
                witness.sample = FlowSample(heard_s=0.2 if heard(second) else 99.0)
            await asyncio.sleep(1)
        if witness is not None:
            assert not witness.closed
            world.watch.reset()
            assert witness.closed, "of another network it says nothing"

    return tell(story)


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "relay"])
def test_a_flow_that_stalls_alone_is_found_by_a_witness(direct: bool) -> None:
    world = stall_beside(lambda second: True, direct=direct)
    assert world.unwitnessed[0] == ("blog.test", 4.0), "when the first probe is unanswered for a second"
    assert world.kinds == ([("blog.test", Symptom.FROZEN)] if direct else [])
    assert world.stalled == ([] if direct else [("blog.test", 16_000)])
    if direct:
        assert world.found[0][1].evidence["stalled_s"] <= 8


def test_without_a_witness_a_lone_stall_says_nothing() -> None:
    world = stall_beside(None)
    assert world.found == []
    assert [second for _, second in world.unwitnessed] == [float(second) for second in range(4, 13)]


def test_what_was_sent_and_is_not_acknowledged_is_unanswered_already() -> None:
    world = stall_beside(lambda second: True, unacked=2)
    assert world.unwitnessed[0] == ("blog.test", 1.0)
    assert world.kinds == [("blog.test", Symptom.FROZEN)]


def test_a_witness_that_is_not_heard_either_freezes_nothing() -> None:
    """An outage that began before it was asked, or that comes and goes."""
    assert stall_beside(lambda second: False).found == []
    assert stall_beside(lambda second: second % 8 == 0).found == []


def test_an_origin_that_says_nothing_calls_for_no_witness() -> None:
    """Its kernel answers probes, and acknowledges what it takes."""
    for unacked in (0, 1):
        world = stall_beside(None, heard_s=0.4, unacked=unacked)
        assert (world.found, world.unwitnessed) == ([], [])


def test_a_probe_that_has_just_left_is_not_unanswered() -> None:
    async def story(world: World) -> None:
        fake, _ = world.open("blog.test", received=16_000)
        await asyncio.sleep(0.5)
        for probes in (0, 0, 0, 1, 0, 0):
            fake.sample = FlowSample(probes, heard_s=4.0 if probes else 0.9)
            await asyncio.sleep(1)

    assert tell(story).unwitnessed == []


def test_a_witness_is_probed_only_while_a_flow_stalls_and_kept_for_a_minute() -> None:
    async def story(world: World) -> None:
        witness = Witnessing(world)
        world.watch.take_witness(cast(Stream, witness))
        fake, _ = world.open("blog.test")
        other, _ = world.open("news.test")
        fake.sample = other.sample = FlowSample(heard_s=99)
        seen = []
        for second in range(8):
            fake.down.moved += second < 2 or second > 5
            other.down.moved += 900 if second < 2 or second > 3 else 0
            await asyncio.sleep(1)
            seen.append(asks(witness))
        assert seen == [False, False, True, True, True, True, False, False], "also while others receive"
        await asyncio.sleep(DetectTuning().control_interval_s - 9)
        assert not witness.closed
        await asyncio.sleep(2)
        assert witness.closed

    tell(story)


def test_a_witness_gives_way_to_the_next_one_and_ends_with_the_watch() -> None:
    made: list[Witnessing] = []

    async def story(world: World) -> None:
        for _ in range(2):
            made.append(Witnessing(world))
            world.watch.take_witness(cast(Stream, made[-1]))
        assert [witness.closed for witness in made] == [True, False]

    tell(story)
    assert all(witness.closed for witness in made)


def test_a_witness_whose_connection_broke_says_nothing() -> None:
    async def story(world: World) -> None:
        witness = Witnessing(world)
        world.watch.take_witness(cast(Stream, witness))
        fake, _ = world.open("blog.test")
        for probes in (0, 0, 0, 1, 2, 3, 4):
            fake.sample = FlowSample(probes, heard_s=99)
            if probes == 1:
                witness.sample = None
            await asyncio.sleep(1)
        assert world.found == []

    tell(story)


# -- a relay that is silent, and nobody to ask

SILENT = FlowSample(probes=3, heard_s=99.0, segment=1400, bytes_in=16_000, segments_in=12)
CHATTING = replace(SILENT, segments_in=200)


@dataclass(frozen=True)
class Alone:
    """A flow through the only relay, of which nothing more is heard."""

    what: str
    is_given_up: bool
    sample: FlowSample = SILENT
    direct: bool = False
    age_s: float = 10.0  # when it delivered for the last time
    asks: bool = False  # somebody who should answer is asked, and does not
    witness: FlowSample | None = None
    heard_again_after: float = 999.0  # seconds
    beside_s: float = 999.0  # when another flow through a relay receives, seconds


@pytest.mark.parametrize(
    "one",
    [
        Alone("a download", True),
        Alone("a request that is not acknowledged", True, sample=replace(SILENT, probes=0, unacked=2)),
        Alone("the same, direct", False, direct=True),
        Alone("a relay whose kernel answers", False, sample=replace(SILENT, probes=0, heard_s=0.4)),
        Alone("an outage of 6 s", False, heard_again_after=6.0),
        Alone("an outage in which others were asked", False, asks=True),
        Alone("others were asked, and then the network was there", True, asks=True, beside_s=4.5),
        Alone("a witness that is silent as well", False, witness=FlowSample(heard_s=9.0)),
        Alone("a witness that has been closed", True, witness=FlowSample(heard_s=9.0, is_over=True)),
        Alone("a young terminal", True, sample=CHATTING),
        Alone("an old terminal", False, sample=CHATTING, age_s=400.0),
        Alone("a long download", True, age_s=400.0),
    ],
    ids=lambda one: one.what,
)  # fmt: skip
def test_a_silent_relay_is_given_up_within_ten_seconds_where_nobody_could_be_asked(one: Alone) -> None:
    async def story(world: World) -> None:
        fake, _ = world.open("blog.test", direct=one.direct, received=16_000, stalls_count=True)
        other, _ = world.open("news.test", direct=False)
        await asyncio.sleep(one.age_s - 0.5)
        if one.witness is not None:
            witness = Witnessing(world)
            witness.sample = one.witness
            world.watch.take_witness(cast(Stream, witness))
        fake.down.moved += 1
        fake.sample = one.sample
        for second in range(10):
            if second >= one.heard_again_after:
                fake.sample = replace(SILENT, probes=0, heard_s=0.3)
            if one.asks and second == 4:
                world.watch.witness_asked()
            if second > one.beside_s:
                other.down.moved = 2
            await asyncio.sleep(1)

    world = tell(story)
    assert world.silent == ([("blog.test", 8)] if one.is_given_up else [])
    assert (world.stalled, world.found) == ([], []), "nobody is blamed"


def test_after_a_change_of_network_nobody_has_been_asked() -> None:
    async def story(world: World) -> None:
        fake, _ = world.open("blog.test", direct=False, received=16_000, stalls_count=True)
        world.watch.witness_asked()
        world.watch.reset()
        fake.sample = SILENT
        await asyncio.sleep(10)

    assert tell(story).silent == [("blog.test", 8)]


@pytest.mark.parametrize(("rtt_s", "heard_s", "is_told"), [(0.05, 6.0, True), (2.0, 6.9, False), (2.0, 7.1, True)])
def test_a_relay_that_is_far_away_is_given_time_to_answer(rtt_s: float, heard_s: float, is_told: bool) -> None:
    """Its answers to three probes in a row are under way, though others receive all the while."""

    async def story(world: World) -> None:
        fake, _ = world.open("blog.test", direct=False, received=16_000, stalls_count=True)
        other, _ = world.open("news.test")
        for probes in (0, 0, 0, 1, 2, 3):
            other.down.moved += 9000
            fake.sample = FlowSample(probes, heard_s=heard_s, segment=1400, rtt_s=rtt_s)
            await asyncio.sleep(1)

    assert tell(story).stalled == ([("blog.test", 16_000)] if is_told else [])


FREEZE = 17_000  # bytes on the wire after which the censor passes nothing more


def an_idle_one(fake: Fake) -> None:
    pass


def another_way(fake: Fake) -> None:
    fake.upstream.peer = "192.0.2.2:443"


def carried_more(fake: Fake) -> None:
    fake.sample = FlowSample(heard_s=0.1, segment=1400, bytes_in=FREEZE + 1)


def acknowledged(fake: Fake) -> None:
    """The client's word is the last, as usual with HTTP/2: a WINDOW_UPDATE."""
    fake.is_answered = False
    fake.up.moved += 35


def waits_for_an_answer(fake: Fake) -> None:
    fake.is_answered = False
    fake.up.moved += 47


def client_takes_nothing(fake: Fake) -> None:
    fake.client_is_slow = True


def just_ended(fake: Fake) -> None:
    fake.over = True


def freeze_beside(
    change: Callable[[Fake], None], *, wire: int = FREEZE, delivers: bool = False, ages_s: tuple[int, int] = (0, 0)
) -> list[str]:
    """What is closed beside a relay's flow that freezes after `wire` bytes: an idle tunnel over the same way, but for
    what `change` makes of it. `ages_s` are those of the flow, when it stops, and of the tunnel."""

    async def story(world: World) -> None:
        other, _ = world.open("news.test")
        flow_age_s, idle_age_s = ages_s
        for left_s in range(max(ages_s), -1, -1):
            if left_s == flow_age_s:
                fake, _ = world.open("blog.test", direct=False, received=1, stalls_count=True)
            elif left_s < flow_age_s:
                fake.down.moved += 1
            if left_s == idle_age_s:
                idle, _ = world.open("idle.test", direct=False, stalls_count=True)
                idle.sample = FlowSample(heard_s=0.1, segment=1400, bytes_in=5000)
                change(idle)
            await asyncio.sleep(1 if left_s else 0)
        for probes in (0, 0, 0, 1, 2, 3):
            other.down.moved += 9000
            idle.down.moved += delivers
            fake.sample = FlowSample(probes, heard_s=99, segment=1400, bytes_in=wire)
            await asyncio.sleep(1)
        assert [host for host, _ in world.stalled] == ["blog.test"]

    return tell(story).beside


def test_an_idle_tunnel_is_closed_with_the_one_that_froze_beside_it() -> None:
    """A browser asks again over the connection that it still has, which would stall as well."""
    assert freeze_beside(an_idle_one) == ["idle.test"]
    assert freeze_beside(an_idle_one, ages_s=(200, 280)) == ["idle.test"]
    assert freeze_beside(acknowledged, ages_s=(10, 20)) == ["idle.test"]


@pytest.mark.parametrize(
    "change",
    [another_way, carried_more, waits_for_an_answer, client_takes_nothing, just_ended],
    ids=lambda f: f.__name__,
)
def test_a_tunnel_that_may_well_live_is_not_closed_with_one_that_froze(change: Callable[[Fake], None]) -> None:
    assert freeze_beside(change) == []


def test_what_delivers_is_old_or_stalled_late_says_nothing_of_the_others() -> None:
    assert freeze_beside(an_idle_one, delivers=True) == []
    assert freeze_beside(an_idle_one, wire=70_000) == [], "no new connection stops so late"
    assert freeze_beside(an_idle_one, ages_s=(301, 0)) == [], "its mapping in a router may be gone"
    assert freeze_beside(an_idle_one, ages_s=(0, 301)) == [], "it may be a terminal's session"


def test_a_direct_flow_that_freezes_closes_no_other() -> None:
    async def story(world: World) -> None:
        world.open("idle.test")
        fake, _ = world.open("blog.test", received=16_000)
        other, _ = world.open("news.test")
        for probes in (0, 0, 0, 1, 2, 3):
            other.down.moved += 9000
            fake.sample = FlowSample(probes, heard_s=99, segment=1400, bytes_in=FREEZE)
            await asyncio.sleep(1)

    world = tell(story)
    assert world.kinds == [("blog.test", Symptom.FROZEN)]
    assert world.beside == []


def test_what_relays_receive_says_nothing_of_a_direct_flow() -> None:
    async def story(world: World) -> None:
        fake, _ = world.open("blog.test", received=16_000)
        relayed, _ = world.open("news.test", direct=False, stalls_count=True)
        for probes in (0, 0, 0, 1, 2, 3):
            relayed.down.moved += 9000
            fake.sample = FlowSample(probes, heard_s=99, segment=1400)
            await asyncio.sleep(1)

    assert tell(story).found == []


def test_a_relays_tunnel_that_lived_between_two_looks_received_too() -> None:
    async def story(world: World) -> None:
        fake, _ = world.open("blog.test", direct=False, received=16_000, stalls_count=True)
        for probes in (0, 0, 0, 1, 2, 3):
            _, short = world.open("news.test", direct=False)
            world.watch.ended(short, TunnelResult(100, 9000, ClosedBy.SERVER))
            fake.sample = FlowSample(probes, heard_s=99, segment=1400)
            await asyncio.sleep(1)

    assert tell(story).stalled == [("blog.test", 16_000)]


@dataclass(frozen=True)
class Page:
    """A flow whose last bytes came between two looks."""

    down: int = 16_000
    age_s: int = 0  # when they came
    direct: bool = True


@pytest.mark.parametrize(
    ("page", "heard_s", "begins_s"),
    [
        (Page(), 0.9, 1), (Page(), 0.25, 1), (Page(), 0.2, 2), (Page(direct=False), 0.9, 1),
        (Page(down=65_535), 0.9, 1), (Page(down=65_536), 0.9, 2),
        (Page(age_s=28), 0.9, 1), (Page(age_s=30), 0.9, 2),
    ],
)  # fmt: skip
def test_a_young_flow_that_brought_little_is_asked_as_soon_as_it_is_silent(
    page: Page, heard_s: float, begins_s: int
) -> None:
    """`heard_s`: how long it was silent at the look that notices its last bytes."""

    async def story(world: World) -> None:
        fake, _ = world.open("blog.test", direct=page.direct, received=page.down - 1, stalls_count=True)
        fake.sample = FlowSample(segment=1400)
        await asyncio.sleep(page.age_s + 0.5)
        fake.down.moved += 1
        await asyncio.sleep(1)
        seen = []
        for second in range(3):
            fake.sample = FlowSample(heard_s=heard_s + second + 1, segment=1400)
            await asyncio.sleep(1)
            seen.append(asks(fake))
        assert seen.index(True) + 1 == begins_s

    tell(story)


@pytest.mark.parametrize("others", [True, False])
def test_a_probe_is_sent_at_once_and_two_a_second_of_a_flow_that_is_alone(
    others: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[float] = []

    def note(world: World, fake: Fake, sock: socket.socket) -> None:
        sent.extend([world.second] if sock is fake.upstream.lowest_socket else [])

    async def story(world: World) -> None:
        fake, _ = world.open("blog.test")
        monkeypatch.setattr(kernel.Keepalive, "probe", lambda _, sock: note(world, fake, sock))
        other, _ = world.open("news.test")
        other.sample = FlowSample(heard_s=0.1)
        await asyncio.sleep(0.5)
        fake.down.moved += 1
        for second in range(12):
            other.down.moved += 900 if others else 0
            fake.sample = FlowSample(max(0, second - 2), heard_s=second + 0.5, segment=1400)
            await asyncio.sleep(1)

    world = tell(story)
    assert bool(world.found) is others
    doubled = [4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5]  # the first one is unanswered, and there is no witness
    assert sent == ([2.0] if others else [2.0, *doubled])


def test_a_flow_that_goes_on_gets_no_second_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[float] = []

    def note(world: World, fake: Fake, sock: socket.socket) -> None:
        sent.extend([world.second] if sock is fake.upstream.lowest_socket else [])

    async def story(world: World) -> None:
        fake, _ = world.open("blog.test")
        monkeypatch.setattr(kernel.Keepalive, "probe", lambda _, sock: note(world, fake, sock))
        await asyncio.sleep(0.5)
        fake.down.moved += 1
        for second in range(5):
            fake.sample = FlowSample(max(0, second - 1), heard_s=second + 0.5, segment=1400)
            await asyncio.sleep(1)
        fake.down.moved += 1
        await asyncio.sleep(0.7)
        assert asks(fake) is False

    tell(story)
    assert sent == [2.0, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5]


def test_only_a_stalled_direct_flow_that_owes_something_is_asked() -> None:
    async def story(world: World) -> None:
        silent, _ = world.open("silent.test", received=0)  # has not delivered
        relayed, _ = world.open("relayed.test", direct=False)
        full, _ = world.open("full.test")  # the client takes nothing
        full.client_is_slow = True
        stalled, _ = world.open("stalled.test")
        await asyncio.sleep(1.5)
        assert not asks(stalled)
        await asyncio.sleep(1)
        assert [asks(fake) for fake in (silent, relayed, full, stalled)] == [False, False, False, True]

    tell(story)


def test_who_gave_a_sign_of_life_is_asked_again_only_after_it_moved_and_a_while() -> None:
    async def story(world: World) -> None:
        fake, _ = world.open("blog.test")
        seen = []
        for second in range(40):
            if second == 8:  # the client asks for more, and nothing comes
                fake.up.moved += 100
            await asyncio.sleep(1)
            seen.append(asks(fake))
            fake.sample = FlowSample(heard_s=0.0 if asks(fake) else 99.0, segment=1400)
        assert [n for n, asked in enumerate(seen) if asked] == [1, 11]

    assert tell(story).found == []


def test_a_flow_that_nothing_is_known_of_is_let_be() -> None:
    async def story(world: World) -> None:
        fake, _ = world.open("blog.test")
        await asyncio.sleep(2.5)
        assert asks(fake)
        fake.sample = None
        await asyncio.sleep(1)
        assert not asks(fake)

    tell(story)


def test_it_is_not_asked_for_ever() -> None:
    """The kernel would break the connection after 127 probes."""

    async def story(world: World) -> None:
        fake, _ = world.open("blog.test")
        asked = 0
        for second in range(120):
            fake.sample = FlowSample(probes=max(0, second - 1), heard_s=99)
            await asyncio.sleep(1)
            asked += asks(fake)
        assert DetectTuning().control_interval_s < asked == 80

    assert tell(story).found == []


def test_its_options_are_as_before() -> None:
    async def story(world: World) -> None:
        fake, _ = world.open("blog.test")
        sock = fake.upstream.lowest_socket
        names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        before = [sock.getsockopt(socket.IPPROTO_TCP, name) for name in names]
        await asyncio.sleep(2.5)
        assert [sock.getsockopt(socket.IPPROTO_TCP, name) for name in names] == [1, 1, 127]
        fake.down.moved += 1
        await asyncio.sleep(1)
        assert not asks(fake)
        assert [sock.getsockopt(socket.IPPROTO_TCP, name) for name in names] == before

    tell(story)


def test_two_tunnels_of_one_connection_probe_it_together_and_leave_its_options_as_before() -> None:
    async def story(world: World) -> None:
        one, _ = world.open("one.test")
        two, flow = world.open("two.test")
        sock = two.upstream.lowest_socket = one.upstream.lowest_socket
        one.upstream.is_shared = two.upstream.is_shared = True
        one.sample = FlowSample(heard_s=99.0, segment=1400)
        before = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        await asyncio.sleep(2.5)
        assert asks(one)
        one.down.moved += 1
        await asyncio.sleep(1)
        assert asks(two), "the other one still waits"
        two.over = True
        world.watch.ended(flow, TunnelResult(0, two.down.moved, ClosedBy.CLIENT))
        assert not asks(two), "the connection goes on"
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == before

    tell(story)


def test_after_a_sleep_all_begins_anew() -> None:
    async def story(world: World) -> None:
        fake, _ = world.open("blog.test")
        other, _ = world.open("news.test")
        for probes in (0, 0, 1, 2):
            fake.sample = FlowSample(probes=probes, heard_s=99)
            other.down.moved += 9000
            await asyncio.sleep(1)
        world.watch.reset()
        assert not asks(fake)
        fake.sample = FlowSample(probes=3, heard_s=99)
        other.down.moved += 9000
        await asyncio.sleep(1)

    assert tell(story).found == []


def test_after_a_sleep_a_flow_is_given_its_time_again() -> None:
    async def story(world: World) -> None:
        fake, _ = world.open("blog.test")
        await asyncio.sleep(1.5)  # a second later it would be asked
        world.watch.reset()
        await asyncio.sleep(1)
        assert not asks(fake)
        await asyncio.sleep(2)
        assert asks(fake)

    tell(story)


def test_signs_of_life_are_those_of_this_network() -> None:
    async def story(world: World) -> None:
        other, _ = world.open("news.test")
        fake, _ = world.open("blog.test")
        await asyncio.sleep(2.5)
        fake.sample = FlowSample(heard_s=0.0, segment=1400)
        await asyncio.sleep(1)
        world.watch.reset()
        for probes in (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3):
            fake.sample = FlowSample(probes=probes, heard_s=99)
            fake.down.moved += not probes
            other.down.moved += 9000
            await asyncio.sleep(1)
        for probes in (4, 5, 6, 7, 8):
            fake.sample = FlowSample(probes=probes, heard_s=99)
            other.down.moved += 9000
            await asyncio.sleep(1)

    world = tell(story)
    assert world.kinds == [("blog.test", Symptom.FROZEN)]
    assert world.found[0][1].evidence["answered"] == 0


def test_what_was_cut_before_a_sleep_is_no_first_time() -> None:
    async def story(world: World) -> None:
        await live(world, Life())
        world.watch.reset()
        await live(world, Life(bytes_each=8_000))

    assert tell(story).found == []


def test_what_broke_before_a_sleep_is_no_first_time() -> None:
    async def story(world: World) -> None:
        for _ in range(2):
            _, flow = world.open("blog.test", received=0)
            world.watch.ended(flow, TunnelResult(500, 15_000, ClosedBy.SERVER, RESET))
            world.watch.reset()

    assert tell(story).found == []


# -- without TCP_INFO --------------------------------------------------------------------------------------------------


def keepalive_count(fake: Fake) -> int:
    return int(fake.upstream.lowest_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT))


TIMED_OUT = "the server's connection broke: Connection timed out"


def blind(others: str, *, unacked: str = "", breaks: bool = False, direct: bool = True) -> tuple[World, list[int]]:
    """A flow that stalls where TCP_INFO cannot be read. `others` receive in the seconds with "r"; something is not
    acknowledged in those of `unacked` with a digit, so many bytes. The kernel `breaks` the connection once it may.
    Returns also the counts of probes after which it may, by the second."""
    counts: list[int] = []
    waiting: dict[socket.socket, int] = {}

    async def story(world: World) -> None:
        fake, flow = world.open("blog.test", direct=direct, stalls_count=True)
        other, _ = world.open("news.test")
        fake.sample = other.sample = None
        await asyncio.sleep(0.5)
        for second, news in enumerate(others):
            other.down.moved += 900 if news == "r" else 0
            waiting[fake.upstream.lowest_socket] = int(unacked[second]) if second < len(unacked) else 0
            await asyncio.sleep(1)
            counts.append(keepalive_count(fake) if asks(fake) else 0)
            if breaks and counts[-1] == 4:
                world.watch.ended(flow, TunnelResult(1, fake.down.moved, ClosedBy.SERVER, TIMED_OUT))
                break

    with pytest.MonkeyPatch.context() as patch:
        for module in (flow_watch, blind_stall):
            patch.setattr(module, "unacknowledged_bytes", lambda sock: waiting.get(sock, 0))
        return tell(story, usable=False), counts


def test_a_kernel_breaks_what_is_silent_only_after_seconds_in_which_others_received() -> None:
    world, counts = blind("r" * 12)
    assert counts == [0, 127, 127, 127, 127, 127, 127, 4, 4, 0, 0, 0], "then it was answered"
    assert world.found == []

    world, counts = blind("r" * 12, breaks=True)
    assert counts[-1] == 4
    ((host, signal),) = world.found
    assert (host, signal.kind, signal.evidence["probes"]) == ("blog.test", Symptom.FROZEN, 4)


def test_others_may_rest_for_a_second() -> None:
    assert 4 in blind("r.r.r.r.r.r.r.r.")[1]


def test_a_relay_that_is_broken_so_has_stalled() -> None:
    world, _ = blind("r" * 12, breaks=True, direct=False)
    assert (world.stalled, world.found) == ([("blog.test", 1)], [])


@pytest.mark.parametrize(
    "others",
    [
        "." * 90,  # alone
        "rrr" + "." * 90,
        "rr..rr..rr..rr..rr..rr..",  # no probe can be answered before the next outage
        "rrrrrrr....rr",  # an outage ends
    ],
)
def test_no_connection_is_at_risk_in_an_outage(others: str) -> None:
    world, counts = blind(others)
    assert 4 not in counts
    assert (world.found, world.unwitnessed) == ([], [])


def test_a_flow_that_is_alone_and_owes_nothing_gets_no_probe() -> None:
    assert {*blind("." * 100)[1]} == {0}


@pytest.mark.parametrize(
    ("others", "unacked", "is_frozen"),
    [
        ("r" * 12, "5" * 12, True),
        ("r" * 12, "5555522222", False),  # some of it was acknowledged
        ("r" * 12, "00000000" + "5" * 4, False),  # a request has just left
        ("." * 8 + "r" * 11, "5" * 19, False),  # the kernel may send again as late as the outage was long
        ("." * 4 + "r" * 12, "5" * 16, True),
    ],
)
def test_what_is_not_acknowledged_while_others_receive_is_frozen(others: str, unacked: str, is_frozen: bool) -> None:
    world, _ = blind(others, unacked=unacked)
    assert world.kinds == ([("blog.test", Symptom.FROZEN)] if is_frozen else [])
    if is_frozen:
        assert world.found[0][1].evidence["unacked"] == 1


def test_a_flow_that_is_alone_calls_for_a_witness_when_something_is_not_acknowledged() -> None:
    world, _ = blind("." * 6, unacked="5" * 6)
    assert [second for _, second in world.unwitnessed] == [4.0, 5.0, 6.0]


# -- how they end ------------------------------------------------------------------------------------------------------

ENDS: dict[str, tuple[list[TunnelResult], int]] = {
    "reset early": ([TunnelResult(500, 4096, ClosedBy.SERVER, RESET)], 1),
    "reset late": ([TunnelResult(500, 4097, ClosedBy.SERVER, RESET)], 0),
    "reset late, twice at the same count": ([TunnelResult(500, 15_000, ClosedBy.SERVER, RESET)] * 2, 1),
    "reset late, at other counts": (
        [TunnelResult(500, 15_000, ClosedBy.SERVER, RESET), TunnelResult(500, 15_001, ClosedBy.SERVER, RESET)],
        0,
    ),
    "closed early": ([TunnelResult(500, 100, ClosedBy.SERVER)], 0),
    "the client reset it": ([TunnelResult(500, 100, ClosedBy.CLIENT, RESET.replace("server", "client"))], 0),
    "timed out": ([TunnelResult(500, 100, ClosedBy.SERVER, "the server's connection broke: Connection timed out")], 0),
    "nothing delivered": ([TunnelResult(500, 0, ClosedBy.SERVER, RESET)], 0),
}


@pytest.mark.parametrize(("ends", "found"), ENDS.values(), ids=ENDS)
def test_an_early_reset(ends: list[TunnelResult], found: int) -> None:
    async def story(world: World) -> None:
        for carried in ends:
            _, flow = world.open("blog.test", received=0)
            world.watch.ended(flow, carried)
            world.watch.ended(flow, carried)  # harmless
        assert len(world.watch) == 0

    assert tell(story).kinds == [("blog.test", Symptom.RESET)] * found


@pytest.mark.parametrize(("second", "found"), [(TLSREC, 1), (DIRECT, 0)])
def test_a_strategys_resets_are_compared_with_its_own(second: Route, found: int) -> None:
    async def story(world: World) -> None:
        for route in (TLSREC, second):
            _, flow = world.open("blog.test", route=route, received=0)
            world.watch.ended(flow, TunnelResult(500, 15_000, ClosedBy.SERVER, RESET))

    world = tell(story)
    assert [signal.route for _, signal in world.found] == [TLSREC] * found


def test_a_strategy_that_freezes_is_told_of_as_itself_and_carries_nothing_for_direct() -> None:
    async def story(world: World) -> None:
        fake, _ = world.open("blog.test", route=TLSREC)
        other, _ = world.open("news.test", route=TLSREC)
        for probes in (0, 0, 1, 2, 3):
            fake.sample = FlowSample(probes=probes, heard_s=99)
            other.down.moved += 900
            await asyncio.sleep(1)
        _, whole = world.open("big.test", route=TLSREC)
        world.watch.ended(whole, TunnelResult(1, 90_000, ClosedBy.SERVER))

    world = tell(story)
    assert [(host, signal.kind, signal.route) for host, signal in world.found] == [
        ("blog.test", Symptom.FROZEN, TLSREC)
    ]
    assert world.carried == []
    assert {host for host, _ in world.brought} == {"news.test"}, "bytes of a strategy show that the uplink works"


@dataclass(frozen=True)
class Life:
    """A direct flow that brings bytes each second until it is reset."""

    lasts_s: float = 5.3
    idle_s: float = 0.0  # before its end: nothing comes …
    asked_s: float = 0.0  # … and a request has waited for so long
    bytes_each: int = 9_001
    pause_s: float = 1.0  # before the next one is opened
    host: str = "blog.test"
    route: Route = DIRECT


async def live(world: World, life: Life) -> None:
    fake, flow = world.open(life.host, route=life.route)
    began_at = asyncio.get_running_loop().time()

    def left_s() -> float:
        return began_at + life.lasts_s - asyncio.get_running_loop().time()

    while left_s() > max(life.idle_s, 0.1):
        fake.down.moved += life.bytes_each
        await asyncio.sleep(min(0.1, left_s()))
    if life.idle_s:
        await asyncio.sleep(max(0.0, left_s() - life.asked_s))
    if life.asked_s:
        fake.up.moved += 500
    await asyncio.sleep(left_s())
    world.watch.ended(flow, TunnelResult(fake.up.moved, fake.down.moved, ClosedBy.SERVER, RESET))
    await asyncio.sleep(life.pause_s)


LIVES: dict[str, tuple[list[Life], list[float]]] = {
    "cut once": ([Life()], []),
    "cut as late twice": ([Life(), Life(bytes_each=8_000)], [5.3]),
    "cut a fourth later": ([Life(), Life(6.6)], [6.6]),
    "cut much later": ([Life(), Life(6.8)], []),
    "each later than the one before it": ([Life(4.0), Life(6.0), Life(8.5)], []),
    "cut as late a third time": ([Life(), Life(5.5, bytes_each=8_000), Life(5.4)], [5.5, 5.4]),
    "soon after the handshake": ([Life(0.9, bytes_each=9_000), Life(0.9)], []),
    "after more than a minute": ([Life(61), Life(61, bytes_each=9_000)], []),
    "of two hosts": ([Life(), Life(host="news.test")], []),
    "direct, and over a strategy": ([Life(), Life(route=TLSREC)], []),
    "after as many bytes, too": ([Life(), Life()], [5.3]),
    "an hour apart": ([Life(pause_s=3600), Life(bytes_each=8_000)], []),
    "idle: a server with a short keep-alive": ([Life(8, idle_s=5), Life(8, idle_s=5, bytes_each=8_000)], []),
    "idle, as a request leaves": (
        [Life(8, idle_s=5, asked_s=0.5), Life(8, idle_s=5, asked_s=1.4, bytes_each=8_000)],
        [],
    ),
    "while a request waits": ([Life(8, idle_s=5, asked_s=4), Life(8, idle_s=5, asked_s=4, bytes_each=8_000)], [8]),
}


@pytest.mark.parametrize(("lives", "found"), LIVES.values(), ids=LIVES)
def test_connections_that_are_reset_as_late_as_each_other(lives: list[Life], found: list[float]) -> None:
    async def story(world: World) -> None:
        for life in lives:
            await live(world, life)

    evidence = [signal.evidence for _, signal in tell(story).found]
    assert [each["cut_s"] for each in evidence if "cut_s" in each] == found


def test_one_event_that_resets_all_connections_is_no_cut_by_time() -> None:
    async def story(world: World) -> None:
        await asyncio.gather(live(world, Life()), live(world, Life(bytes_each=8_000)))

    assert tell(story).found == []


def test_a_connection_that_falls_silent_as_late_as_the_one_before_was_cut() -> None:
    async def story(world: World) -> None:
        other, _ = world.open("news.test")
        for idle_since in (5, 5, 2):
            fake, flow = world.open("blog.test")
            for second in range(12):
                other.down.moved += 9_000
                heard_s = max(0.0, second + 0.9 - 5)
                if second < idle_since:
                    fake.down.moved += 8_000
                elif idle_since == 2:  # its last request was sent long after its last byte
                    fake.up.moved += 500 if second == 8 else 0
                fake.sample = FlowSample(probes=max(0, second - 7), heard_s=heard_s)
                await asyncio.sleep(1)
            world.watch.ended(flow, TunnelResult(1, fake.down.moved, ClosedBy.BYWAY, "it froze"))

    signals = [signal for _, signal in tell(story).found]
    assert [signal.kind for signal in signals[:2]] == [Symptom.FROZEN] * 2
    assert [signal.evidence.get("cut_s") for signal in signals[:2]] == [None, pytest.approx(5, abs=1.1)]
    assert all("cut_s" not in signal.evidence for signal in signals[2:]), "nobody knows when it was cut"


def test_a_relay_that_outlives_what_was_cut_is_told_of_once() -> None:
    async def story(world: World) -> None:
        relay, _ = world.open("blog.test", direct=False)
        other, _ = world.open("news.test", direct=False)
        await live(world, Life(4.0))
        for _ in range(8):
            relay.down.moved += 100
            other.down.moved += 100
            await asyncio.sleep(1)

    (lasted_s,) = tell(story).lasted
    assert 8 <= lasted_s <= 9


def test_a_whole_direct_flow_is_told_of_with_the_time_of_its_last_byte() -> None:
    async def story(world: World) -> None:
        for idle_s in (0, 6):
            fake, flow = world.open("blog.test")
            for _ in range(4):
                fake.down.moved += 20_000
                await asyncio.sleep(1)
            await asyncio.sleep(idle_s)
            fake.down.moved += 0 if idle_s else 7
            world.watch.ended(flow, TunnelResult(1, fake.down.moved, ClosedBy.CLIENT))

    lasted = tell(story).lasted
    assert lasted == [pytest.approx(4, abs=1), pytest.approx(4, abs=1)]


def test_a_relay_that_carries_enough_proves_it_and_again_when_it_is_faster() -> None:
    async def story(world: World) -> None:
        long, _ = world.open("blog.test", direct=False)
        _, short = world.open("blog.test", direct=False)
        _, small = world.open("blog.test", direct=False)
        for count in (20_000, 30_000, 20_000, 90_000, 50_000):
            long.down.moved += count
            await asyncio.sleep(1)
        world.watch.ended(short, TunnelResult(1, 65_536, ClosedBy.SERVER))
        world.watch.ended(small, TunnelResult(1, 65_535, ClosedBy.SERVER, RESET))

    world = tell(story)
    assert world.proven == [(70_001, 30_000), (160_001, 90_000), (65_536, 65_535)]
    assert world.found == []
    assert world.whole == []


@pytest.mark.parametrize(
    ("result", "rest_s", "counts"),
    [
        (TunnelResult(1, 32_768, ClosedBy.SERVER), 60, True),
        (TunnelResult(1, 32_768, ClosedBy.CLIENT), 0, True),
        (TunnelResult(1, 32_768, ClosedBy.CLIENT), 2, True),
        (TunnelResult(1, 32_768, ClosedBy.CLIENT), 4, False),
        (TunnelResult(1, 32_768, ClosedBy.SERVER, RESET), 0, False),
        (TunnelResult(1, 32_767, ClosedBy.SERVER), 0, False),
        (TunnelResult(1, 65_535, ClosedBy.SERVER), 0, True),
        (TunnelResult(1, 65_536, ClosedBy.SERVER), 0, False),
    ],
    ids=["by the site", "by the client", "a little later", "later", "broken off", "too small", "larger", "enough"],
)
def test_a_small_answer_of_a_relay_is_whole(result: TunnelResult, rest_s: float, counts: bool) -> None:
    """A client that leaves later may have waited in vain."""

    async def story(world: World) -> None:
        for direct in (False, True):
            fake, flow = world.open("blog.test", direct=direct)
            fake.down.moved = result.bytes_down
            await asyncio.sleep(rest_s)
            world.watch.ended(flow, result)

    assert tell(story).whole == ([("blog.test", result.bytes_down)] if counts else [])


def test_a_direct_flow_that_ended_whole_has_carried_enough() -> None:
    async def story(world: World) -> None:
        ends = (
            (True, TunnelResult(1, 65_536, ClosedBy.SERVER)),
            (True, TunnelResult(1, 65_535, ClosedBy.SERVER)),
            (True, TunnelResult(1, 90_000, ClosedBy.SERVER, RESET)),
            (False, TunnelResult(1, 90_000, ClosedBy.SERVER)),
        )
        for direct, end in ends:
            world.watch.ended(world.open("blog.test", direct=direct)[1], end)

    assert tell(story).carried == [("blog.test", 65_536)]


def test_an_upload_is_taken_once_the_relay_has_acknowledged_it_and_the_site_answers() -> None:
    async def story(world: World) -> None:
        silent, _ = world.open("silent.test", direct=False)
        buffered, _ = world.open("buffered.test", direct=False)
        small, _ = world.open("small.test", direct=False)
        direct, _ = world.open("direct.test")
        taken, _ = world.open("taken.test", direct=False)
        for fake in (silent, buffered, direct, taken):
            fake.up.moved += 65_536
        small.up.moved += 65_535
        buffered.sample = FlowSample(unacked=9)
        await asyncio.sleep(1)
        assert world.taken == [], "a kernel's buffer holds as much"
        for fake in (buffered, small, direct, taken):
            fake.down.moved += 300
        await asyncio.sleep(1)
        assert world.taken == [("taken.test", 65_536)]
        for fake in (buffered, taken):
            fake.down.moved += 300
            fake.sample = FlowSample()
        await asyncio.sleep(1)
        assert world.taken == [("taken.test", 65_536), ("buffered.test", 65_536)], "each once"

    tell(story)


@pytest.mark.parametrize(
    ("result", "counts"),
    [
        (TunnelResult(100_000, 300, ClosedBy.CLIENT), True),
        (TunnelResult(100_000, 0, ClosedBy.CLIENT), False),
        (TunnelResult(100_000, 300, ClosedBy.SERVER, RESET), False),
        (TunnelResult(65_535, 300, ClosedBy.CLIENT), False),
    ],
    ids=["answered", "not answered", "broken off", "too small"],
)
def test_an_upload_that_lived_between_two_looks(result: TunnelResult, counts: bool) -> None:
    async def story(world: World) -> None:
        _, flow = world.open("blog.test", direct=False)
        world.watch.ended(flow, result)

    assert tell(story).taken == ([("blog.test", 100_000)] if counts else [])


def test_a_tunnel_that_lived_between_two_looks_shows_that_the_uplink_is_well() -> None:
    async def story(world: World) -> None:
        fake, _ = world.open("blog.test")
        for probes in (0, 0, 1, 2, 3):
            fake.sample = FlowSample(probes=probes, heard_s=99)
            _, short = world.open("news.test", received=0)
            world.watch.ended(short, TunnelResult(1, 900, ClosedBy.SERVER))
            await asyncio.sleep(1)

    assert tell(story).kinds == [("blog.test", Symptom.FROZEN)]


# -- with a kernel -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="not run: TCP_INFO is Linux")
async def test_a_connection_that_nothing_comes_through_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real tunnels: one freezes, another goes on. The first probe is a second away, and so is each next one."""
    monkeypatch.setattr(flow_watch, "SAMPLE_S", 0.1)
    poller = make_poller(asyncio.get_running_loop())
    pump = Pump(idle_timeout_s=600, half_open_timeout_s=600)
    watch = FlowMonitor(TcpInfo(), DetectTuning(stalled_s=0.2))
    world = World(watch, FakeOracle())
    ends: list[socket.socket] = []

    def tunnel(host: str) -> tuple[socket.socket, socket.socket]:
        near_client, client = tcp_pair()
        near_upstream, server = tcp_pair()
        ends.extend((client, server))
        carrying = pump.start(
            SocketStream(near_client, poller, "client"), SocketStream(near_upstream, poller, "server"), lambda _: None
        )
        watch.watch(carrying, host, Listener(world, host), route=DIRECT)
        return client, server

    try:
        client, server = tunnel("blog.test")
        _, other = tunnel("news.test")
        server.send(bytes(1000))
        await asyncio.get_running_loop().sock_recv(client, 2000)
        drop_all(server)

        def others_go_on_until_it_is_frozen() -> bool:
            other.send(b"more")
            return bool(world.found)

        await until(others_go_on_until_it_is_frozen)
        assert world.kinds == [("blog.test", Symptom.FROZEN)]
        assert world.found[0][1].evidence["probes"] == 3
        assert pump.active == 2
    finally:
        watch.close()
        await pump.close(0)
        poller.close()
        for sock in ends:
            sock.close()


@pytest.mark.slow
async def test_without_tcp_info_the_kernel_breaks_the_connection_that_is_silent_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Real tunnels in real seconds: one freezes and is broken, one is idle and stays, and another goes on."""
    monkeypatch.setattr(kernel, "_TCP_INFO", None)
    poller = make_poller(asyncio.get_running_loop())
    pump = Pump(idle_timeout_s=600, half_open_timeout_s=600)
    watch = FlowMonitor(TcpInfo(), DetectTuning())
    world = World(watch, FakeOracle())
    ends: list[socket.socket] = []
    results: dict[str, TunnelResult] = {}

    async def tunnel(host: str) -> socket.socket:
        near_client, client = tcp_pair()
        near_upstream, server = tcp_pair()
        ends.extend((client, server))

        def ended(result: TunnelResult) -> None:
            results[host] = result
            watch.ended(flow, result)

        upstream = SocketStream(near_upstream, poller, "server")
        carrying = pump.start(SocketStream(near_client, poller, "client"), upstream, ended)
        flow = watch.watch(carrying, host, Listener(world, host), route=DIRECT)
        server.send(bytes(1000))
        await asyncio.get_running_loop().sock_recv(client, 2000)
        return server

    try:
        frozen, other = await tunnel("blog.test"), await tunnel("news.test")
        await tunnel("idle.test")
        drop_all(frozen)
        began_at = asyncio.get_running_loop().time()

        def others_go_on_until_it_is_frozen() -> bool:
            other.send(b"more")
            return bool(world.found)

        await until(others_go_on_until_it_is_frozen)
        assert asyncio.get_running_loop().time() - began_at > 7, "an outage may be as long"
        assert world.kinds == [("blog.test", Symptom.FROZEN)]
        assert results["blog.test"].has_timed_out
        assert [*results] == ["blog.test"]
        assert pump.active == 2
    finally:
        watch.close()
        await pump.close(0)
        poller.close()
        for sock in ends:
            sock.close()


def test_G1_a_flow_that_goes_on_says_so_after_each_second_with_bytes() -> None:
    async def story(world: World) -> None:
        radio, _ = world.open("radio.example")
        relayed, _ = world.open("relayed.example", direct=False)
        world.open("idle.example")
        for _ in range(2):
            radio.down.moved += 2000
            relayed.down.moved += 2000
            await asyncio.sleep(1.0)
        await asyncio.sleep(3.0)

    brought = tell(story).brought
    assert [host for host, _ in brought] == ["radio.example"] * 2
    assert [within_s for _, within_s in brought] == [pytest.approx(1.0)] * 2
