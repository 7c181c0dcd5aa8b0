"""Whatever a hook does, what comes out is an answer of the right kind or nothing, and it is said once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.extend.guard import runner as runner_module
from proxy.extend.guard.hook_results import WrongAnswer
from proxy.extend.guard.runner import QUEUE_MAX, AddonRunner
from proxy.extend.guard.time_limit import TimeLimit
from proxy.extend.hooks import HOOKS
from tests.extend.making import made
from tests.support.waiting import until

Make = Callable[..., AddonRunner]


@pytest.fixture
def limit() -> Iterator[TimeLimit]:
    limit = TimeLimit(0.1)
    limit.start()
    yield limit
    limit.close()


@pytest.fixture
def make(tmp_path: Path, limit: TimeLimit) -> Make:
    return lambda text, *more, **named: AddonRunner(made(tmp_path, text), limit, *more, **named)


def any_text(answer: Any) -> str | None:
    if answer is not None and not isinstance(answer, str):
        raise WrongAnswer(f"returned {answer!r}")
    return answer


async def ask(runner: AddonRunner, hook: str, *args: Any) -> str | None:
    (function,) = runner.addon.hooks[hook]
    return await runner.call(HOOKS[hook], function, *args, check=any_text)


async def test_an_answer_comes_through(make: Make) -> None:
    assert await ask(make("def admit(request):\n    return request + '!'\n"), "admit", "no") == "no!"
    waiting = "import asyncio\nasync def admit(request):\n    await asyncio.sleep(0)\n    return request + '!'\n"
    assert await ask(make(waiting), "admit", "no") == "no!"


FAULTS = {
    "exception": "raise KeyError",
    "exit": "raise SystemExit(3)",
    "interrupt": "raise KeyboardInterrupt",
    "cancelled": "raise asyncio.CancelledError",
    "end of the task": "asyncio.current_task().cancel()\n    await asyncio.sleep(0)",
    "wrong kind": "return 3",
    "loop": "while True: pass",
    "sleep": "time.sleep(60)",
    "never": "await asyncio.Event().wait()",
    "a coroutine": "return asyncio.sleep",
}


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("code", FAULTS.values(), ids=FAULTS)
async def test_a_fault_is_no_answer(make: Make, code: str, is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
    if "await" in code and not is_async:
        code = f"raise ValueError({code[:5]!r})"
    start = "    await asyncio.sleep(0)\n" if is_async else ""
    text = f"import asyncio, time\n{'async ' if is_async else ''}def admit(request):\n{start}    {code}\n"
    runner = make(text, patience_s=0.5)
    caplog.set_level(logging.WARNING, "proxy")
    assert await ask(runner, "admit", "x") is None
    assert runner.faults == 1
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{runner.addon.file}:")
    assert "addon pin: admit " in record.getMessage()
    assert record.exc_info is None


async def test_the_line_is_the_addons_own(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    runner = make("import json\n\ndef admit(request):\n    x = 1\n    return json.loads(request)\n")
    await ask(runner, "admit", "{")
    assert f"{runner.addon.file}:5: addon pin: admit raised JSONDecodeError; the request continues" in caplog.text
    assert "Expecting property name" not in caplog.text, "it may hold the name of a site"


async def test_with_v_the_text_is_said_without_passwords(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    runner = make("def admit(request):\n    raise ValueError('at socks5h://u:secret@h:1')\n")
    caplog.set_level(logging.INFO, "proxy")
    await ask(runner, "admit", "x")
    assert "raised ValueError: at socks5h://u:***@h:1" in caplog.text


async def test_three_faults_switch_it_off_and_that_is_said(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    switched: list[AddonRunner] = []
    runner = make("def admit(request):\n    1 / 0\n", switched.append)
    for _ in range(5):
        assert await ask(runner, "admit", "x") is None
    assert switched == [runner]
    assert runner.is_off
    assert [record.getMessage() for record in caplog.records if "raised" in record.getMessage()] != []
    assert caplog.text.count("raised ZeroDivisionError") == 1
    assert caplog.text.count("addon pin: disabled after 3 faults, until ") == 1
    assert runner.calls == 3, "it is asked no more"


async def test_a_slow_hook_is_a_fault_and_its_answer_counts(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    runner = make("import time\ndef admit(request):\n    time.sleep(0.07)\n    return 'no'\n")
    assert await ask(runner, "admit", "x") == "no"
    assert runner.faults == 1
    assert runner.slowest_s > 0.05
    assert f"{runner.addon.file}:2: addon pin: admit took " in caplog.text
    assert "all connections wait for it; the limit is 50 ms" in caplog.text


async def test_a_hook_that_nobody_waits_for_is_told_of_and_not_counted(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    runner = make("import time\ndef outcome(outcome):\n    time.sleep(0.07)\n")
    await ask(runner, "outcome", "x")
    assert "outcome took " in caplog.text
    assert runner.faults == 0


async def test_what_waits_without_holding_anybody_up_is_not_slow(make: Make) -> None:
    runner = make("import asyncio\nasync def admit(request):\n    await asyncio.sleep(0.07)\n    return 'no'\n")
    assert await ask(runner, "admit", "x") == "no"
    assert runner.faults == 0


async def test_when_the_processor_was_others_it_is_not_the_hooks_doing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "had_no_cpu", lambda began: True)
    runner = make("import time\ndef admit(request):\n    time.sleep(0.07)\n    return 'no'\n")
    assert await ask(runner, "admit", "x") == "no"
    assert runner.faults == 0


@pytest.mark.parametrize("keyword", ["def", "async def"])
async def test_a_path_that_cannot_be_opened_is_no_fault(make: Make, keyword: str) -> None:
    runner = make(f"{keyword} dial(route, destination):\n    raise ConnectionRefusedError\n")
    with pytest.raises(ConnectionRefusedError):
        await ask(runner, "dial", 1, 2)
    assert runner.faults == 0
    runner = make(f"{keyword} dial(route, destination):\n    raise KeyError\n")
    assert await ask(runner, "dial", 1, 2) is None
    assert runner.faults == 1


def test_what_must_answer_at_once_may_not_be_async(make: Make) -> None:
    runner = make("def signal(request, signal):\n    return later()\nasync def later(): ...\n")
    (function,) = runner.addon.hooks["signal"]
    assert runner.call_sync(HOOKS["signal"], function, 1, 2, check=any_text) is None
    assert "is async, and must answer at once" in runner.last_fault


async def test_who_waits_and_leaves_leaves_nothing_behind(make: Make) -> None:
    text = """
    import asyncio
    left = []
    async def admit(request):
        try:
            await asyncio.Event().wait()
        finally:
            left.append(request)
    """
    runner = make(text)
    asking = asyncio.ensure_future(ask(runner, "admit", "x"))  # noqa: TID251
    await until(lambda: runner.calls > 0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until(lambda: runner.addon.module.left == ["x"])
    assert runner.faults == 0


async def test_what_is_opened_too_late_is_closed(make: Make) -> None:
    text = """
    import asyncio
    class Path:
        aborted = False
        def abort(self):
            self.aborted = True
    path = Path()
    async def admit(request):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return path
    """
    runner = make(text, patience_s=0.05)
    assert await ask(runner, "admit", "x") is None
    await until(lambda: runner.addon.module.path.aborted)


async def test_what_it_is_told_comes_in_order_and_nobody_waits(make: Make) -> None:
    text = (
        "import asyncio\nheard = []\nasync def change(change):\n    await asyncio.sleep(0)\n    heard.append(change)\n"
    )
    runner = make(text)
    (function,) = runner.addon.hooks["change"]
    for number in range(50):
        runner.notify(HOOKS["change"], function, number)
    assert runner.addon.module.heard == []
    await until(lambda: runner.addon.module.heard == list(range(50)))


async def test_what_it_does_not_keep_up_with_is_dropped_and_counted(make: Make) -> None:
    runner = make("heard = []\ndef change(change):\n    heard.append(change)\n")
    (function,) = runner.addon.hooks["change"]
    for number in range(QUEUE_MAX + 5):
        runner.notify(HOOKS["change"], function, number)
    await until(lambda: len(runner.addon.module.heard) == QUEUE_MAX)
    assert runner.dropped == 5
    assert runner.addon.module.heard[0] == 5


async def test_its_tasks_end_with_it(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    text = """
    import asyncio
    ended = []
    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)
    async def fail():
        raise SystemExit
    """
    runner = make(text)
    runner.spawn(runner.addon.module.work())
    await runner.spawn(runner.addon.module.fail())
    assert "addon pin: api.spawn raised SystemExit" in caplog.text
    runner.cancel()
    await until(lambda: runner.addon.module.ended == [1])


async def test_a_task_of_its_own_that_stops_everything_is_broken_off(make: Make) -> None:
    runner = make("async def work():\n    while True: pass\n")
    started = time.monotonic()
    await runner.spawn(runner.addon.module.work())
    assert time.monotonic() - started < 30, "it came back at all"
    assert "api.spawn was stopped after blocking all of Byway" in runner.last_fault


async def test_what_is_opened_as_its_asker_leaves_is_closed(make: Make) -> None:
    """Both in the same turn of the loop."""
    text = """
    import asyncio
    class Path:
        aborted = False
        def abort(self):
            self.aborted = True
    path, gate = Path(), None
    async def admit(request):
        global gate
        gate = asyncio.get_running_loop().create_future()
        await gate
        return path
    """
    runner = make(text)
    asking = asyncio.ensure_future(ask(runner, "admit", "x"))  # noqa: TID251
    module = runner.addon.module
    await until(lambda: module.gate is not None)
    module.gate.set_result(None)
    await asyncio.sleep(0)  # the hook has ended, and who waits for it has not heard yet
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until(lambda: module.path.aborted)
