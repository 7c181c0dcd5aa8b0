"""When overrides end, whatever the clock of this computer is set to; in use in test_reload.py."""

from __future__ import annotations

import time

from proxy.app.override_ends import OverrideEnds, steady_clock
from proxy.model import Action, Override
from tests.app.test_reload import SetClock

HOUR = 3600.0


def test_an_override_of_a_start_ends_after_what_is_left_of_it() -> None:
    clock = SetClock()
    overrides = {
        "a.example": Override(Action.RELAY, until=clock.now() + HOUR),
        "b.example": Override(Action.RELAY),
        "c.example": Override(Action.RELAY, until=clock.now() - 1),
    }
    ends = OverrideEnds(overrides, clock.now, clock.steady)
    assert ends.ended() == ["c.example"]
    assert [ends.has_ended(host) for host in (*overrides, "d.example")] == [False, False, True, False]
    ends.set("c.example", None)
    clock.set(by=-2 * HOUR)
    clock.passes(HOUR)
    assert ends.ended() == ["a.example"], "a clock that is set back makes it no longer"


def test_a_clock_that_is_corrected_a_little_has_not_jumped() -> None:
    clock = SetClock()
    override = Override(Action.BLOCK, until=clock.now() + HOUR)
    ends = OverrideEnds({"a.example": override}, clock.now, clock.steady)
    for seconds in (2, -20):
        clock.set(by=seconds)
        assert ends.moved({"a.example": override}) == {}
    clock.set(by=-HOUR)
    assert ends.moved({"a.example": override}) == {"a.example": Override(Action.BLOCK, until=clock.now() + HOUR)}
    assert OverrideEnds({}, clock.now, clock.steady).moved({}) == {}


def test_the_steady_clock_goes_on() -> None:
    first = steady_clock()
    assert steady_clock() >= first
    assert abs(steady_clock() - first) < time.time()
