"""Tests in a pytest of their own, inside other namespaces; the outer pytest receives each report as soon as it is made.

The outer pytest waits for one test at a time, so a test takes as long for it as it does inside: a test that hangs is
ended and reported, and costs no other test. As a plugin of the inner pytest (`-p tests.lab.inner`) this module writes
the reports, as JSON lines, to the descriptor that REPORTS names.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.lab.spaces import tied

REPORTS = "BYWAY_LAB_REPORTS"
SILENT_S = 285.0
"""A test counts as hanging after this time without a report from inside. The inner pytest fails a test after 240 s
(tests/conftest.py), so this one hangs for good; the outer pytest would end itself after 300 s (`faulthandler_timeout`),
with all tests that are left to it."""
_ABORTED_S = 10.0
"""The time in which the inner pytest can write its position after the signal to end."""
_LOOK_S = 1.0
_SAID_MAX = 6000  # characters of what it said last

Enter = Callable[[Sequence[str]], Sequence[str]]
"""Returns the command that runs a command in there."""


class InnerPytest:
    """Runs `tests`, which are node ids, from the first call of `reports` on. The ids are relative to `root`."""

    def __init__(self, tests: Sequence[str], root: Path, enter: Enter, *, silent_s: float = SILENT_S) -> None:
        self._left = list(tests)
        self._root = root
        self._enter = enter
        self._silent_s = silent_s  # once the first test has begun
        self._run: _Run | None = None
        self._reports: dict[str, list[dict[str, Any]]] = {}
        self._lost: dict[str, str] = {}  # tests that ended their run, and what was said of it
        self._broken = ""  # why nothing runs in there

    def reports(self, test: str) -> list[dict[str, Any]] | str:
        """Returns the test's reports, serialised, or the reason why there are none. Waits until the test has ended."""
        while test in self._left:
            if self._broken:
                return self._broken
            if self._run is None:
                self._run = _Run(self._left, self._root, self._enter)
            event = self._run.next_event(self._silent_s if self._run.has_begun else SILENT_S)
            if isinstance(event, str):
                self._end_run(event)
            elif "report" in event:
                self._reports.setdefault(event["report"]["nodeid"], []).append(event["report"])
            elif event.get("finished") in self._left:
                self._left.remove(event["finished"])
        return self._lost.get(test) or self._reports.pop(test, [])

    def close(self) -> None:
        if self._run is not None:
            self._run.close()
            self._run = None

    def _end_run(self, why: str) -> None:
        """Leaves the remaining tests to another run, without the one that ended this run. If no test had begun, another
        run would come no further, so there is none."""
        assert self._run is not None
        text, test = f"{why}. It said:\n{self._run.said()}", self._run.running
        self.close()
        if test in self._left:
            self._left.remove(test)
            self._lost[test] = text
        else:
            self._broken = text


class _Run:
    """One process."""

    def __init__(self, tests: Sequence[str], root: Path, enter: Enter) -> None:
        self.running: str | None = None  # the test that has begun and not ended
        self.has_begun = False
        self._until_closed = contextlib.ExitStack()
        folder = Path(self._until_closed.enter_context(tempfile.TemporaryDirectory(prefix="byway-lab-")))
        runtime = folder / "run"  # root's own is not ours, though we are called root
        runtime.mkdir(mode=0o700)
        self._said = folder / "said"
        self._pipe, ours = os.pipe()
        self._until_closed.callback(os.close, self._pipe)
        options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", __name__, f"--basetemp={folder}/tests")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                enter(tied([sys.executable, "-m", "pytest", *options, *tests])),
                cwd=root,
                env=kept | {REPORTS: str(ours), "XDG_RUNTIME_DIR": str(runtime)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=(ours,),
            )
        os.close(ours)
        self._buffer = b""

    def next_event(self, silent_s: float) -> dict[str, Any] | str:
        """Returns its next report, or the reason why no more come."""
        gives_up = time.monotonic() + silent_s
        while b"\n" not in self._buffer:
            if time.monotonic() >= gives_up:
                self._abort()
                return f"the pytest in the namespaces reported nothing for {silent_s:g} s and was ended"
            waiting = select.poll()
            waiting.register(self._pipe, select.POLLIN)
            if waiting.poll(_LOOK_S * 1000):
                data = os.read(self._pipe, 65536)
            elif self._process.poll() is None:
                continue
            else:
                data = b""
            if not data:
                self._process.wait()
                return f"the pytest in the namespaces ended with exit code {self._process.returncode}"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        if "started" in event:
            self.running, self.has_begun = event["started"], True
        elif "finished" in event:
            self.running = None
        return event

    def said(self) -> str:
        return self._said.read_text(errors="replace")[-_SAID_MAX:]

    def _abort(self) -> None:
        """Makes faulthandler write the position of every thread, and ends the process."""
        self._process.send_signal(signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_ABORTED_S)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._until_closed.close()


# -- the plugin --------------------------------------------------------------------------------------------------------


class _Reporter:
    def __init__(self, config: pytest.Config, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._config = config
        self._out = os.fdopen(descriptor, "w", buffering=1)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write({"started": nodeid})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._write({"report": data})

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._write({"finished": nodeid})

    def _write(self, event: dict[str, Any]) -> None:
        self._out.write(json.dumps(event) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    if descriptor := os.environ.pop(REPORTS, ""):
        config.pluginmanager.register(_Reporter(config, int(descriptor)))
