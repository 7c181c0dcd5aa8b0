from __future__ import annotations

import asyncio
import random
from functools import partial

from proxy.net.loop import timers
from proxy.net.loop.timers import call_at, cancel


async def test_timers_are_due_in_the_order_of_their_times() -> None:
    loop = asyncio.get_running_loop()
    due: list[int] = []
    now = loop.time()
    order = list(range(50))
    random.Random(1).shuffle(order)
    for number in order:
        call_at(now + number / 1000, partial(due.append, number))
    done = asyncio.Event()
    call_at(now + 0.06, done.set)
    await done.wait()
    assert due == list(range(50))


async def test_timers_of_one_time_are_due_in_the_order_of_their_making() -> None:
    due: list[int] = []
    when = asyncio.get_running_loop().time() + 0.01
    for number in range(5):
        call_at(when, partial(due.append, number))
    done = asyncio.Event()
    call_at(when, done.set)
    await done.wait()
    assert due == [0, 1, 2, 3, 4]


async def test_a_cancelled_timer_is_not_called() -> None:
    due: list[int] = []
    when = asyncio.get_running_loop().time() + 0.01
    cancelled = call_at(when, partial(due.append, 1))
    call_at(when, partial(due.append, 2))
    done = asyncio.Event()
    call_at(when, done.set)
    cancel(cancelled)
    cancel(cancelled)
    await done.wait()
    assert due == [2]


async def test_an_earlier_timer_comes_first_though_it_was_made_later() -> None:
    loop = asyncio.get_running_loop()
    late = call_at(loop.time() + 3600, lambda: None)
    done = asyncio.Event()
    call_at(loop.time(), done.set)
    await asyncio.wait_for(done.wait(), 10)
    assert late[2] is not None
    cancel(late)


async def test_cancelled_timers_do_not_pile_up() -> None:
    when = asyncio.get_running_loop().time() + 3600
    kept = call_at(when, lambda: None)
    for _ in range(10_000):
        cancel(call_at(when, lambda: None))
    assert timers._latest is not None
    assert len(timers._latest.heap) < 1000
    assert any(timer is kept for timer in timers._latest.heap)
    cancel(kept)


async def test_the_loop_is_not_woken_for_cancelled_timers() -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    soon = loop.time() + 0.01
    for number in range(20):
        cancel(call_at(soon + 1 + number, lambda: None))
    kept = call_at(soon + 100, lambda: None)
    call_at(soon, done.set)
    await done.wait()
    assert timers._latest is not None
    assert timers._latest.armed_for == kept[0]
    assert timers._latest.heap == [kept]
    cancel(kept)


async def test_the_loop_goes_through_its_passes_before_the_call() -> None:
    passed = 0
    done = asyncio.Event()
    call_at(asyncio.get_running_loop().time(), done.set, passes=7)
    while not done.is_set():
        passed += 1
        await asyncio.sleep(0)
    assert passed > 7


async def test_a_timer_may_be_cancelled_in_its_passes() -> None:
    due: list[int] = []
    timer = call_at(asyncio.get_running_loop().time(), partial(due.append, 1), passes=7)
    for _ in range(4):
        await asyncio.sleep(0)
    cancel(timer)
    for _ in range(20):
        await asyncio.sleep(0)
    assert due == []


async def test_a_fault_in_one_callback_goes_to_the_handler_and_costs_the_others_nothing() -> None:
    loop = asyncio.get_running_loop()
    faults: list[str] = []
    loop.set_exception_handler(lambda _, context: faults.append(str(context["exception"])))

    def fail() -> None:
        raise RuntimeError("a fault")

    when = loop.time() + 0.01
    call_at(when, fail)
    done = asyncio.Event()
    call_at(when, done.set)
    await done.wait()
    assert faults == ["a fault"]


def test_each_loop_has_timers_of_its_own() -> None:
    async def due() -> bool:
        done = asyncio.Event()
        call_at(asyncio.get_running_loop().time(), done.set)
        await asyncio.wait_for(done.wait(), 10)
        return done.is_set()

    assert asyncio.run(due())
    assert asyncio.run(due())
    assert timers._latest is not None
