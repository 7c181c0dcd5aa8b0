"""Which loop Byway runs on: its own on the Pythons that it is tested with, asyncio's on one that differs inside.

Such a Python is a process of its own, whose asyncio is changed as it is imported. That Byway serves on it is seen in
`e2e/test_event_loop`.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import logging
import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

import proxy.net.loop
from proxy.net.loop import choice, polling_loop
from proxy.net.loop.choice import BORROWED, missing, new_loop
from proxy.net.loop.polling_loop import PollingLoop
from tests.support.loops import OWN
from tests.support.other_python import Change, environment

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="not run: epoll is Linux")

LOOP, HANDLE = "asyncio.SelectorEventLoop", "asyncio.Handle"


def test_on_this_python_nothing_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    assert missing() == ""
    loop = new_loop()
    loop.close()
    assert isinstance(loop, PollingLoop)
    assert caplog.records == []


@pytest.mark.parametrize("debug", ["0", "1"])
def test_nor_in_a_process_that_is_debugged(debug: str) -> None:
    assert found_missing({"PYTHONASYNCIODEBUG": debug}) == ""


async def test_the_tests_of_this_folder_run_on_both_loops(request: pytest.FixtureRequest) -> None:
    assert isinstance(asyncio.get_running_loop(), PollingLoop) == (OWN in request.node.name)


def test_who_wants_asyncios_loop_gets_it_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    loop = new_loop("asyncio")
    loop.close()
    assert not isinstance(loop, PollingLoop)
    assert caplog.records == []


def test_without_epoll_it_is_asyncios_too(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delattr(select, "epoll")
    loop = new_loop()
    loop.close()
    assert not isinstance(loop, PollingLoop)
    assert caplog.records == []


def test_where_something_is_missing_the_log_names_it_and_the_loop_is_asyncios(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(choice, "missing", lambda: "asyncio.Handle._args")
    loop = new_loop()
    loop.close()
    assert not isinstance(loop, PollingLoop)
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith("Using asyncio's event loop, ")
    assert "needs asyncio.Handle._args, which Python 3." in said
    assert '`[limits] event_loop = "asyncio"`' in said


# -- Pythons that differ -----------------------------------------------------------------------------------------------

BASE, EVENTS, SELECTOR = "asyncio.base_events", "asyncio.events", "asyncio.selector_events"

FINAL = "    def __init_subclass__(cls): raise TypeError('final')\\n"
BESIDE = r"\1def _run_once(self):\n\1    self._run_a_pass()\n\n\1def _run_a_pass(self):"

DIFFERENT: dict[str, tuple[list[Change], str]] = {
    "a handle has one thing more": (
        [
            (EVENTS, r"__slots__ = \('_callback'", "__slots__ = ('_priority', '_callback'"),
            (EVENTS, r"( +)self\._cancelled = False\n", r"\1self._cancelled = False\n\1self._priority = 0\n"),
        ],
        f"{HANDLE}._priority",
    ),
    "no other class may be derived from a handle": (
        [(EVENTS, r"class TimerHandle\(Handle\):\n", rf"\g<0>{FINAL}")],
        f"{LOOP} (TypeError: final)",
    ),
    "a pass has another name, beside the old one": (
        [(BASE, r"self\._run_once\(\)", "self._run_a_pass()"), (BASE, r"( +)def _run_once\(self\):", BESIDE)],
        f"{LOOP}._run_once",
    ),
    "the end is told by something else, beside the old one": (
        [
            (BASE, r"self\._stopping = True", "self._ends = True"),
            (BASE, r"if self\._stopping:", "if getattr(self, '_ends', False):"),
        ],
        f"{LOOP}._stopping",
    ),
    "timers are kept elsewhere, beside the old heap": (
        [(BASE, r"heapq\.heappush\(self\._scheduled, ", "heapq.heappush(self.__dict__.setdefault('_timers', []), ")],
        f"{LOOP}._scheduled",
    ),
    "cancelled timers are counted elsewhere": (
        [(BASE, r"self\._timer_cancelled_count \+= 1", "self._cancelled_timers = 1")],
        f"{LOOP}._timer_cancelled_count",
    ),
    "callbacks wait elsewhere": (
        [(BASE, r"self\._ready\.append\(handle\)", "self.__dict__.setdefault('_soon', []).append(handle)")],
        f"{LOOP}._ready",
    ),
    "a handle keeps its arguments another way": (
        [
            (EVENTS, r"self\._args = args", "self._args = (0, *args)"),
            (EVENTS, r"self\._callback, \*self\._args\)", "self._callback, *self._args[1:])"),
        ],
        f"{LOOP} (TypeError: list.append() takes exactly one argument",
    ),
    "events are told with one thing more": (
        [(SELECTOR, r"def _process_events\(self, event_list\):", "def _process_events(self, event_list, number):")],
        f"{LOOP} (TypeError: ",
    ),
    "events are handed over, and nothing is done": (
        [(SELECTOR, r"for key, mask in event_list:", "for key, mask in ():")],
        f"{LOOP}._process_events",
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_python_that_does_it_another_way_is_found_out(tmp_path: Path, name: str) -> None:
    """What is there may do something else: so a loop is tried for a pass."""
    changes, expected = DIFFERENT[name]
    assert found_missing(environment(tmp_path, changes)).startswith(expected)


def found_missing(variables: dict[str, str]) -> str:
    """What `missing` returns in a new process. It has to end."""
    done = subprocess.run(
        [sys.executable, "-c", "from proxy.net.loop.choice import missing; print(missing())"],
        env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_of_the_package_names_all_that_is_borrowed() -> None:
    first, *others = re.split(r"^of (?=\S+, by )", proxy.net.loop.__doc__ or "", flags=re.MULTILINE)
    listed = {f"{text.partition(',')[0]}.{name}" for text in others for name in re.findall(r"\b_\w+", text)}
    assert listed == {*BORROWED, "socket.socket._accept", "ssl.SSLObject._sslobj"}
    assert not re.search(r"\b_\w+", first)


def test_the_loop_borrows_nothing_else() -> None:
    """Every private attribute that its source names is its own, or listed; and what is listed is used."""
    tree = ast.parse(Path(polling_loop.__file__).read_text())
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    with contextlib.closing(PollingLoop()) as ours, contextlib.closing(asyncio.SelectorEventLoop()) as theirs:
        own = {*vars(ours)} - {*vars(theirs)} | {*vars(polling_loop)}
    private = {name for name in used - own if name.startswith("_") and not name.startswith("__") and name != "_"}
    assert private == {name.rpartition(".")[2] for name in BORROWED} - {"_run_once"}
