"""What an addon's code starts past its api is guarded too: nothing of it ends Byway, stops it or outlives an edit."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.extend.guard.runner import AddonRunner
from proxy.extend.guard.task_tracking import TaskTracking
from proxy.extend.guard.time_limit import TimeLimit
from tests.extend.making import made
from tests.support.waiting import until

CODE = """
import asyncio, sys, threading, time

async def exits(): sys.exit(3)
async def sleeps(): time.sleep(60)
async def waits(): await asyncio.Event().wait()
async def fails(): raise KeyError
async def answers(): return 7

def raises(): raise KeyError

def begin(work):
    return asyncio.ensure_future(work())

def in_thread():
    thread = threading.Thread(target=raises)
    thread.start()
    thread.join()
"""


@pytest_asyncio.fixture
async def runner(tmp_path: Path) -> AsyncIterator[AddonRunner]:
    limit = TimeLimit(0.1)
    limit.start()
    one = AddonRunner(made(tmp_path / "addons", CODE), limit)
    strays = TaskTracking({one.addon.module.__name__: one}.get)
    strays.start()
    strays.start()
    yield one
    strays.close()
    limit.close()
    one.cancel()
    one.addon.forget()


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ("exits", "pin.py:4: what it runs beside raised SystemExit"),
        ("sleeps", "pin.py:5: what it runs beside was"),
    ],
)
async def test_a_task_that_would_end_or_stop_byway_is_a_fault(runner: AddonRunner, work: str, said: str) -> None:
    module = runner.addon.module
    task = module.begin(getattr(module, work))
    await asyncio.wait([task])
    assert task.cancelled()
    assert runner.faults == 1
    assert said in runner.last_fault


async def test_what_a_task_raises_or_returns_is_for_who_awaits_it(runner: AddonRunner) -> None:
    module = runner.addon.module
    assert await module.begin(module.answers) == 7
    with pytest.raises(KeyError):
        await module.begin(module.fails)
    assert list(await asyncio.gather(module.answers(), module.answers())) == [7, 7]
    assert runner.faults == 0


async def test_a_task_ends_with_the_addon_and_none_begins_after(runner: AddonRunner) -> None:
    module = runner.addon.module
    task = module.begin(module.waits)
    await asyncio.sleep(0)
    runner.cancel()
    late = module.begin(module.waits)
    await asyncio.wait([task, late])
    assert task.cancelled()
    assert late.cancelled()


async def test_tasks_of_others_are_left_alone(runner: AddonRunner) -> None:
    async def ours() -> int:
        return 3

    task = asyncio.get_running_loop().create_task(ours(), name="ours")
    assert await task == 3
    assert task.get_name() == "ours"
    assert runner.calls == 0


@pytest.mark.parametrize("how", ["a task that nobody awaits", "a callback"])
async def test_what_nobody_hears_is_a_fault_of_the_addon(runner: AddonRunner, how: str) -> None:
    module, loop = runner.addon.module, asyncio.get_running_loop()
    if how == "a callback":
        loop.call_soon(module.raises)
    else:
        await asyncio.wait([module.begin(module.fails)])
        gc.collect()
    await until(lambda: runner.faults == 1)
    assert "what it runs beside raised KeyError" in runner.last_fault


async def test_what_a_thread_raises_is_a_fault_of_the_addon(
    runner: AddonRunner, capfd: pytest.CaptureFixture[str]
) -> None:
    await asyncio.to_thread(runner.addon.module.in_thread)
    await until(lambda: runner.faults == 1)
    assert "pin.py:10: what it runs beside raised KeyError" in runner.last_fault
    assert capfd.readouterr().err == ""


async def test_others_callbacks_are_told_as_ever(runner: AddonRunner) -> None:
    loop, heard = asyncio.get_running_loop(), list[object]()
    loop.set_exception_handler(lambda _, context: heard.append(type(context["exception"])))
    strays = TaskTracking({runner.addon.module.__name__: runner}.get)
    strays.start()
    loop.call_soon(list[int]().pop)
    await asyncio.sleep(0)
    strays.close()
    assert heard == [IndexError]
    assert runner.faults == 0


async def test_others_threads_are_told_as_ever(runner: AddonRunner) -> None:
    hook, heard = threading.excepthook, list[object]()
    strays = TaskTracking({runner.addon.module.__name__: runner}.get)
    threading.excepthook = lambda raised: heard.append(raised.exc_type)
    strays.start()
    try:
        thread = threading.Thread(target=dict[str, str]().__getitem__, args=("x",))
        thread.start()
        await asyncio.to_thread(thread.join)
    finally:
        strays.close()
        threading.excepthook = hook
    assert heard == [KeyError]
    assert runner.faults == 0
