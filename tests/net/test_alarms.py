from __future__ import annotations

from proxy.net.alarms import RAISED_MAX, Alarms
from proxy.net.bell import Bell


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Ringing(Bell):
    rings = 0

    def ring(self) -> None:
        self.rings += 1


def test_an_alarm_lasts_as_long_as_an_attempt_may_be_left_unjudged() -> None:
    clock = Clock()
    alarms = Alarms(clock, lasts_s=7)
    assert not alarms.holds("blog.example")
    alarms.raise_for("blog.example")
    assert alarms.holds("blog.example")
    assert not alarms.holds("other.example")
    clock.now += 7
    assert not alarms.holds("blog.example")


def test_it_rings_for_who_listens_and_no_longer() -> None:
    alarms = Alarms(Clock())
    first, second = Ringing(), Ringing()
    with alarms.heard_by(first, "blog.example"):
        with alarms.heard_by(second, "blog.example"):
            alarms.raise_for("blog.example")
            alarms.raise_for("other.example")
        alarms.raise_for("blog.example")
    alarms.raise_for("blog.example")
    assert (first.rings, second.rings) == (2, 1)


def test_it_is_taken_back() -> None:
    alarms = Alarms(Clock())
    alarms.raise_for("blog.example")
    alarms.clear("blog.example")
    alarms.clear("blog.example")
    assert not alarms.holds("blog.example")


def test_none_holds_on_another_network() -> None:
    alarms = Alarms(Clock())
    alarms.raise_for("blog.example")
    alarms.void()
    assert not alarms.holds("blog.example")


def test_alarms_are_bounded() -> None:
    clock = Clock()
    alarms = Alarms(clock)
    for number in range(RAISED_MAX):
        alarms.raise_for(f"{number}.example")
    clock.now += 60
    alarms.raise_for("blog.example")
    assert alarms.holds("blog.example")
    for number in range(3 * RAISED_MAX):
        alarms.raise_for(f"{number}.example")
        assert alarms.holds(f"{number}.example")
