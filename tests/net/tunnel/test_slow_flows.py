"""Which flows are slow beside those of other hosts, and when that is reported, under a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from proxy.model import DIRECT, ClosedBy, Route, Symptom
from proxy.net.kernel.tcp_info import FlowSample
from proxy.net.tunnel.flow_monitor import FlowMonitor
from proxy.net.tunnel.pump import TunnelResult
from tests.net.tunnel.watching import TLSREC, World, tell


@dataclass(frozen=True)
class Crawl:
    down: int = 8_000  # bytes each second
    others: int = 200_000
    other_host: str = "news.test"
    segment: int = 1400
    client_is_slow: bool = False
    pause_each: int = 0  # seconds after which some bring nothing
    pause: int = 1
    in_short: bool = False  # the others are tunnels that live between two looks
    windows: int = 3


CRAWLS: dict[str, tuple[Crawl, bool]] = {
    "slow while another host is fast": (Crawl(), True),
    "twice only": (Crawl(windows=2), False),
    "all is slow": (Crawl(others=12_000), False),
    "alone": (Crawl(others=0), False),
    "only itself is fast, on another connection": (Crawl(other_host="blog.test"), False),
    "fast enough": (Crawl(down=30_000), False),
    "a radio: small segments": (Crawl(segment=500), False),
    "a chat: pauses": (Crawl(pause_each=5, pause=2, windows=5), False),
    "slowed down by dropping: a second without a byte now and then": (Crawl(pause_each=5, windows=4), True),
    "while others load pages": (Crawl(in_short=True), True),
    "while others load small pages": (Crawl(in_short=True, others=12_000), False),
    "while itself loads pages": (Crawl(in_short=True, other_host="blog.test"), False),
    "the client takes no more": (Crawl(client_is_slow=True), False),
}


@pytest.mark.parametrize(("crawl", "is_throttled"), CRAWLS.values(), ids=CRAWLS)
def test_a_flow_that_crawls(crawl: Crawl, is_throttled: bool) -> None:
    async def story(world: World) -> None:
        fake, _ = world.open("blog.test")
        other, _ = world.open(crawl.other_host)
        fake.client_is_slow = crawl.client_is_slow
        came = 0
        await asyncio.sleep(0.5)
        for second in range(10 * crawl.windows):
            if not (crawl.pause_each and second % crawl.pause_each < crawl.pause):
                fake.down.moved += crawl.down
                came += crawl.down
            if crawl.in_short:
                _, short = world.open(crawl.other_host, received=0)
                world.watch.ended(short, TunnelResult(1, crawl.others, ClosedBy.CLIENT))
            else:
                other.down.moved += crawl.others
            fake.sample = FlowSample(segment=1400, bytes_in=came, segments_in=-(-came // crawl.segment), heard_s=0.1)
            await asyncio.sleep(1)

    world = tell(story)
    assert world.kinds == ([("blog.test", Symptom.THROTTLED)] if is_throttled else [])
    if is_throttled:
        evidence = world.found[0][1].evidence
        assert evidence["bytes_s"] == (8_000 if not crawl.pause_each else 6_400)
        assert (evidence["others_bytes_s"], evidence["times"]) == (200_000, 3)


def test_once_it_is_known_each_window_more_is_found() -> None:
    async def story(world: World) -> None:
        fake, _ = world.open("blog.test")
        other, _ = world.open("news.test")
        await asyncio.sleep(0.5)
        for _ in range(50):
            fake.down.moved += 8_000
            other.down.moved += 200_000
            await asyncio.sleep(1)

    assert tell(story).kinds == [("blog.test", Symptom.THROTTLED)] * 3


SLOWER: dict[str, tuple[Crawl, Route, bool]] = {
    "a third of what another host brings": (Crawl(130_000, 390_000, windows=1), DIRECT, True),
    "not that slow": (Crawl(131_000, 390_000, windows=1), DIRECT, False),
    "fast enough for anybody": (Crawl(300_000, 10**7, windows=1), DIRECT, False),
    "just not": (Crawl(299_999, 10**7, windows=1), DIRECT, True),
    "a crawl is a signal of its own": (Crawl(19_999, 10**7, windows=1), DIRECT, False),
    "all is slow": (Crawl(130_000, 130_000, windows=1), DIRECT, False),
    "only itself is fast, on another connection": (
        Crawl(130_000, 390_000, other_host="blog.test", windows=1), DIRECT, False
    ),
    "a stream of small segments": (Crawl(130_000, 390_000, segment=500, windows=1), DIRECT, False),
    "with pauses": (Crawl(130_000, 390_000, pause_each=5, pause=2, windows=3), DIRECT, False),
    "the client takes no more": (Crawl(130_000, 390_000, client_is_slow=True, windows=1), DIRECT, False),
    "over a strategy": (Crawl(130_000, 390_000, windows=1), TLSREC, False),
}  # fmt: skip


@pytest.mark.parametrize(("crawl", "route", "is_told"), SLOWER.values(), ids=SLOWER)
def test_a_flow_that_is_slower_than_others_is_told_of_when_it_rests(crawl: Crawl, route: Route, is_told: bool) -> None:
    world = tell(lambda world: transfer(world, crawl, route))
    assert world.kinds == []
    assert world.slow == ([("blog.test", float(crawl.down), 10 * crawl.windows + 2)] if is_told else [])


async def transfer(world: World, crawl: Crawl, route: Route = DIRECT) -> None:
    """Whole windows of it, and then ten seconds in which only others receive."""
    fake, _ = world.open("blog.test", route=route)
    other, _ = world.open(crawl.other_host)
    fake.client_is_slow = crawl.client_is_slow
    came = 0
    await asyncio.sleep(0.5)
    for second in range(10 * crawl.windows + 10):
        is_over = second >= 10 * crawl.windows
        if not is_over and not (crawl.pause_each and second % crawl.pause_each < crawl.pause):
            fake.down.moved += crawl.down
            came += crawl.down
        other.down.moved += crawl.others
        fake.sample = FlowSample(segment=1400, bytes_in=came, segments_in=-(-came // crawl.segment), heard_s=0.1)
        await asyncio.sleep(1)


@pytest.mark.parametrize("ends", [False, True], ids=["it rests", "it ends"])
def test_a_slow_host_is_told_of_once_nothing_more_comes_from_it(ends: bool) -> None:
    """A comparison beside another of its transfers would be slower for that."""

    async def story(world: World) -> None:
        slow, flow = world.open("blog.test")
        more, _ = world.open("blog.test")
        other, _ = world.open("news.test")
        await asyncio.sleep(0.5)
        for second in range(20):
            slow.down.moved += 130_000 if second < 10 else 0
            more.down.moved += 130_000 if second < 15 else 0
            other.down.moved += 500_000
            if ends and second == 12:
                world.watch.ended(flow, TunnelResult(1, slow.down.moved, ClosedBy.CLIENT))
            await asyncio.sleep(1)

    assert tell(story).slow == [("blog.test", 130_000.0, 17)]


def test_a_slow_flow_that_ended_last_is_told_of_as_well() -> None:
    async def story(world: World) -> None:
        slow, flow = world.open("blog.test")
        other, beside = world.open("news.test")
        await asyncio.sleep(0.5)
        for _ in range(10):
            slow.down.moved += 130_000
            other.down.moved += 500_000
            await asyncio.sleep(1)
        world.watch.ended(beside, TunnelResult(1, other.down.moved, ClosedBy.CLIENT))
        world.watch.ended(flow, TunnelResult(1, slow.down.moved, ClosedBy.CLIENT))
        await asyncio.sleep(2)

    assert [host for host, _, _ in tell(story).slow] == ["blog.test"]


@pytest.mark.parametrize("void", [FlowMonitor.reset, FlowMonitor.forget_hosts])
def test_what_was_slow_before_a_sleep_or_is_forgotten_is_not_told_of(void: Callable[[FlowMonitor], None]) -> None:
    async def story(world: World) -> None:
        asyncio.get_running_loop().call_later(11.2, void, world.watch)
        await transfer(world, Crawl(130_000, 390_000, windows=1))

    assert tell(story).slow == []


@pytest.mark.parametrize("voided_at", [None, 5, 20, 25])
def test_what_crawled_before_a_sleep_says_nothing_after_it(voided_at: int | None) -> None:
    async def story(world: World) -> None:
        fake, _ = world.open("blog.test")
        other, _ = world.open("news.test")
        await asyncio.sleep(0.5)
        for second in range(30):
            if second == voided_at:
                world.watch.reset()
            fake.down.moved += 8_000
            other.down.moved += 200_000
            await asyncio.sleep(1)

    assert tell(story).kinds == ([("blog.test", Symptom.THROTTLED)] if voided_at is None else [])
