"""Work that goes on whatever it raises."""

from __future__ import annotations

import ast
import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from proxy.net.faults import LIMIT, SHOWN_S, Faults
from proxy.net.tasks import BACK_OFF_MAX_S, keep_watching, report_fault, spawn
from tests.support.clock import Clock, run

PROXY = Path(__file__).parents[2] / "proxy"


def test_a_part_that_raises_is_called_again_ever_later_and_the_others_go_on() -> None:
    calls: Counter[str] = Counter()
    broken = True
    heard: list[dict[str, Any]] = []

    def fails() -> None:
        calls["fails"] += 1
        if broken:
            raise IndexError("x")

    async def waits() -> None:
        await asyncio.sleep(0)
        calls["waits"] += 1

    async def main() -> None:
        nonlocal broken
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
        task = spawn(keep_watching({"a": fails, "b": waits}, every_s=0.5), name="watch")
        await asyncio.sleep(100)
        assert 100 / BACK_OFF_MAX_S <= calls["fails"] <= 16
        assert calls["waits"] >= 190
        broken = False
        before = calls["fails"]
        await asyncio.sleep(BACK_OFF_MAX_S + 20)
        assert calls["fails"] - before >= 35, "it is called as often as ever"
        assert not task.done()
        task.cancel()

    run(main())
    assert {(context["work"], str(context["exception"])) for context in heard} == {("a", "x")}


def test_a_part_is_cancelled_with_the_whole() -> None:
    async def main() -> None:
        task = spawn(keep_watching({"a": lambda: asyncio.sleep(1000)}, every_s=0.5), name="watch")
        await asyncio.sleep(10)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run(main())


def test_without_a_loop_a_fault_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    report_fault("this work", IndexError("x"))
    assert "this work failed" in caplog.text


def _fault(name: str) -> Exception:
    try:
        raise IndexError(name)
    except IndexError as error:
        return error


async def _of_a_host() -> None:
    raise IndexError("of a task")


def test_a_fault_is_told_by_its_place_with_since_when() -> None:
    clock = Clock(1000.0)
    faults = Faults(clock)
    assert faults.note({"message": "x failed", "exception": _fault("a"), "work": "watching"})
    clock.advance(60)
    assert not faults.note({"message": "x failed", "exception": _fault("b"), "work": "watching"})
    (told,) = faults.present()
    assert (told.work, told.since, told.last, told.times) == ("watching", 1000.0, 1060.0, 2)
    assert told.place.startswith("IndexError in test_tasks.py:")
    clock.advance(SHOWN_S + 1)
    assert faults.present() == ()
    assert faults.note({"message": "x failed", "exception": _fault("c"), "work": "watching"}), "it is new again"
    assert faults.present()[0].since == clock.now
    assert faults.note({"message": "nothing was raised"})


def test_a_fault_of_a_task_names_its_function_and_no_host() -> None:
    faults = Faults(Clock())

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.note(context) or None)
        spawn(_of_a_host(), name="check DNS of secret.example")
        await asyncio.sleep(1)

    run(main())
    assert [fault.work for fault in faults.present()] == ["_of_a_host"]


def test_faults_are_bounded() -> None:
    faults = Faults(Clock())
    for number in range(3 * LIMIT):
        faults.note({"exception": type(f"Error{number}", (Exception,), {})(), "work": "w"})
    assert len(faults.present()) == LIMIT


def _endless(tree: ast.AST) -> set[str]:
    """Returns the coroutines that wait for time to pass and begin again, without end."""
    return {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.AsyncFunctionDef)
        for loop in ast.walk(function)
        if isinstance(loop, ast.While) and ast.unparse(loop.test) == "True"
        if any(
            isinstance(node, ast.Await) and ast.unparse(node.value).startswith("asyncio.sleep(")
            for node in ast.walk(loop)
        )
    }


ENDS_WITH_ITS_VISIT = {
    "control/dashboard/tab_updates.py": {"_events", "_note_network", "_note_open"},
    "features/lan/listener.py": {"_accept"},
    "probe/site_probe.py": {"_dial"},
    "session/http_exchange.py": {"run"},
}
"""Loops of one connection, page or measurement, which ends with it; and of a listener for devices, which is closed
when its loop ends, with a report."""


def test_what_goes_on_for_ever_is_watched_over() -> None:
    """A loop that polls belongs into the parts of `keep_watching`: elsewhere an exception would end it in silence."""
    found = {str(path.relative_to(PROXY)): _endless(ast.parse(path.read_text())) for path in PROXY.rglob("*.py")}
    found = {path: names for path, names in found.items() if names}
    assert found.pop("net/tasks.py") == {"keep_watching"}
    assert found == ENDS_WITH_ITS_VISIT


def _rearms_last(tree: ast.AST) -> set[str]:
    """Returns the functions that a timer calls and that set it again other than in their first statement."""
    found = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        rearmed = [
            number
            for number, statement in enumerate(function.body)
            for node in ast.walk(statement)
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("call_later")
            if any(ast.unparse(argument) == f"self.{function.name}" for argument in node.args)
        ]
        if any(rearmed):
            found.add(function.name)
    return found


def test_a_timer_that_comes_again_is_set_before_anything_can_raise() -> None:
    seen = {str(path.relative_to(PROXY)): _rearms_last(ast.parse(path.read_text())) for path in PROXY.rglob("*.py")}
    assert {path: names for path, names in seen.items() if names} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def _poll(self):\n    work()\n    self.t = loop.call_later(1, self._poll)", {"_poll"}),
        ("def _poll(self):\n    self.t = loop.call_later(1, self._poll)\n    work()", set()),
    ],
)
def test_a_timer_that_is_set_last_is_found(source: str, found: set[str]) -> None:
    """The control."""
    assert _rearms_last(ast.parse(source)) == found


def test_a_loop_that_polls_is_found() -> None:
    """The control."""
    assert _endless(ast.parse("async def f():\n    while True:\n        work()\n        await asyncio.sleep(1)")) == {
        "f"
    }
