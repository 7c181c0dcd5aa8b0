from __future__ import annotations

from proxy.net.notify import Notify
from proxy.net.race.direct_down import MARKS_MAX, DirectDownCache


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Ringing(Notify):
    rings = 0

    def set(self) -> None:
        self.rings += 1


def test_an_alarm_lasts_as_long_as_an_attempt_may_be_left_unjudged() -> None:
    clock = Clock()
    down_cache = DirectDownCache(clock, lasts_s=7)
    assert not down_cache.is_down("blog.example")
    down_cache.mark_down("blog.example")
    assert down_cache.is_down("blog.example")
    assert not down_cache.is_down("other.example")
    clock.now += 7
    assert not down_cache.is_down("blog.example")


async def test_it_rings_for_who_listens_and_no_longer() -> None:
    down_cache = DirectDownCache(Clock())
    first, second = Ringing(), Ringing()
    down_cache.waiting |= {first: "blog.example", second: "blog.example"}
    down_cache.mark_down("blog.example")
    down_cache.mark_down("other.example")
    del down_cache.waiting[second]
    down_cache.mark_down("blog.example")
    del down_cache.waiting[first]
    down_cache.mark_down("blog.example")
    assert (first.rings, second.rings) == (2, 1)


def test_it_is_taken_back() -> None:
    down_cache = DirectDownCache(Clock())
    down_cache.mark_down("blog.example")
    down_cache.clear("blog.example")
    down_cache.clear("blog.example")
    assert not down_cache.is_down("blog.example")


def test_none_holds_on_another_network() -> None:
    down_cache = DirectDownCache(Clock())
    down_cache.mark_down("blog.example")
    down_cache.clear_all()
    assert not down_cache.is_down("blog.example")


def test_alarms_are_bounded() -> None:
    clock = Clock()
    down_cache = DirectDownCache(clock)
    for number in range(MARKS_MAX):
        down_cache.mark_down(f"{number}.example")
    clock.now += 60
    down_cache.mark_down("blog.example")
    assert down_cache.is_down("blog.example")
    for number in range(3 * MARKS_MAX):
        down_cache.mark_down(f"{number}.example")
        assert down_cache.is_down(f"{number}.example")
