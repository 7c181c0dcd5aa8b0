"""What holds up everything is broken off, and what cannot be is named."""

from __future__ import annotations

import logging
import select
import signal
import threading
from collections.abc import Iterator

import pytest

from proxy.extend.guard import time_limit
from proxy.extend.guard.time_limit import BrokenOff, TimeLimit
from tests.support.waiting import until


@pytest.fixture
def limit() -> Iterator[TimeLimit]:
    made = TimeLimit(0.05)
    made.start()
    yield made
    made.close()


def forever() -> None:
    while True:
        pass


def test_what_is_quick_is_left_alone(limit: TimeLimit) -> None:
    assert limit.run(lambda: 7, "hook") == 7
    with pytest.raises(ValueError, match="its own"):
        limit.run(lambda: (_ for _ in ()).throw(ValueError("its own")), "hook")


@pytest.mark.parametrize("call", [forever, lambda: select.select([], [], [], 60)], ids=["loop", "sleep"])
def test_what_does_not_end_is_broken_off(limit: TimeLimit, call: object) -> None:
    assert callable(call)
    with pytest.raises(BrokenOff):
        limit.run(call, "hook")
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert limit.run(lambda: 7, "hook") == 7


def test_one_that_other_processes_hold_up_is_not_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither computes nor waits, and for the watchdog it begins anew. The control: a wait is broken off."""
    said = iter([(5.0, 7), (5.01, 7), (5.02, 8)])
    monkeypatch.setattr(time_limit, "cpu_and_waits", lambda: next(said))
    limit = TimeLimit(60)  # the test raises its alarms itself: two of the timer could come at once
    began = list[float]()

    def notes_its_start() -> None:
        assert limit._current is not None
        began.append(limit._current[1])

    def held_up() -> None:
        notes_its_start()
        signal.raise_signal(signal.SIGALRM)
        notes_its_start()
        signal.raise_signal(signal.SIGALRM)
        notes_its_start()

    limit.start()
    try:
        with pytest.raises(BrokenOff):
            limit.run(held_up, "hook")
    finally:
        limit.close()
    first, second = began
    assert second > first


def test_one_that_catches_it_is_broken_off_again(limit: TimeLimit) -> None:
    caught = 0

    def stubborn() -> None:
        nonlocal caught
        while caught < 2:
            try:
                forever()
            except BaseException:
                caught += 1
        forever()

    with pytest.raises(BrokenOff):
        limit.run(stubborn, "hook")
    assert caught == 2


def test_nothing_is_broken_off_once_it_has_ended(limit: TimeLimit) -> None:
    for _ in range(2000):
        limit.run(lambda: None, "hook")
    signal.raise_signal(signal.SIGALRM)  # one that was on its way


def test_a_call_within_a_call_has_the_outer_ones_time(limit: TimeLimit) -> None:
    with pytest.raises(BrokenOff):
        limit.run(lambda: limit.run(forever, "inner"), "outer")


def test_the_signal_is_given_back() -> None:
    before = signal.getsignal(signal.SIGALRM)
    limit = TimeLimit(0.05)
    limit.start()
    limit.start()
    assert signal.getsignal(signal.SIGALRM) != before
    limit.close()
    limit.close()
    assert signal.getsignal(signal.SIGALRM) == before


async def test_what_cannot_be_broken_off_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    """In another thread than the main one there is no timer, as on Windows."""
    go_on = threading.Event()

    def elsewhere() -> None:
        limit = TimeLimit(0.02)
        limit.start()
        limit.run(go_on.wait, "addon wild: plan")
        limit.close()

    thread = threading.Thread(target=elsewhere)
    with caplog.at_level(logging.ERROR, "proxy"):
        thread.start()
        await until(lambda: "addon wild: plan blocks all of Byway" in caplog.text)
        go_on.set()
        thread.join()
    assert caplog.text.count("blocks all of Byway") == 1
