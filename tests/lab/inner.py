"""Tests in a pytest of their own, inside other namespaces; the outer pytest receives each report as soon as it is made.

The inner pytest collects all of these tests, and runs one when it is asked for it. So it starts once, a test takes as
long for the outer pytest as it does inside, and a test that hangs is ended and reported, and costs no other test. As a
plugin of the inner pytest (`-p tests.lab.inner`) this module reads what is asked for from the descriptor that ASKED
names, and writes the reports to that of REPORTS, both as JSON lines.
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

ASKED, REPORTS = "BYWAY_LAB_ASKED", "BYWAY_LAB_REPORTS"
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
    """Runs `tests`, which are node ids relative to `root`, each when it is asked for."""

    def __init__(self, tests: Sequence[str], root: Path, enter: Enter) -> None:
        self._tests = tests
        self._root = root
        self._enter = enter
        self._run: _Run | None = None
        self._broken = ""  # why nothing runs in there

    def reports(self, test: str) -> list[dict[str, Any]] | str:
        """Runs a test. Returns its reports, serialised, or the reason why there are none."""
        if self._broken:
            return self._broken
        if self._run is None:
            self._run = _Run(self._tests, self._root, self._enter)
        self._run.ask(test, self._following(test))
        found: list[dict[str, Any]] = []
        while not isinstance(event := self._run.next_event(), str):
            if "report" in event:
                found.append(event["report"])
            elif "finished" in event:
                return found
        text = f"{event}. It said:\n{self._run.said()}"
        if not self._run.has_begun:  # another run would come no further
            self._broken = text
        self.close()
        return text

    def _following(self, test: str) -> str:
        """Returns the next test if it is of the same file, whose fixtures stay until then."""
        place = self._tests.index(test) + 1
        same = place < len(self._tests) and self._tests[place].split("::")[0] == test.split("::")[0]
        return self._tests[place] if same else ""

    def close(self) -> None:
        if self._run is not None:
            self._run.close()
            self._run = None


class _Run:
    """One process."""

    def __init__(self, tests: Sequence[str], root: Path, enter: Enter) -> None:
        self.has_begun = False
        self._until_closed = contextlib.ExitStack()
        folder = Path(self._until_closed.enter_context(tempfile.TemporaryDirectory(prefix="byway-lab-")))
        runtime = folder / "run"  # root's own is not ours, though we are called root
        runtime.mkdir(mode=0o700)
        self._said = folder / "said"
        self._pipe, its_reports = os.pipe()
        its_asked, self._asked = os.pipe()
        for ours in (self._pipe, self._asked):
            self._until_closed.callback(os.close, ours)
        options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", __name__, f"--basetemp={folder}/tests")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
        own = {ASKED: str(its_asked), REPORTS: str(its_reports), "XDG_RUNTIME_DIR": str(runtime)}
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                enter(tied([sys.executable, "-m", "pytest", *options, *tests])),
                cwd=root,
                env=kept | own,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=(its_asked, its_reports),
            )
        os.close(its_asked)
        os.close(its_reports)
        self._buffer = b""

    def ask(self, test: str, following: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended: the next event says how
            os.write(self._asked, json.dumps([test, following]).encode() + b"\n")

    def next_event(self) -> dict[str, Any] | str:
        """Returns its next event, or the reason why no more come."""
        gives_up = time.monotonic() + SILENT_S
        while b"\n" not in self._buffer:
            if time.monotonic() >= gives_up:
                self._abort()
                return f"the pytest in the namespaces reported nothing for {SILENT_S:g} s and was ended"
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
        self.has_begun = True
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


class _Runner:
    def __init__(self, config: pytest.Config, asked: int, reports: int) -> None:
        for descriptor in (asked, reports):
            os.set_inheritable(descriptor, False)
        self._config = config
        self._asked = os.fdopen(asked)
        self._out = os.fdopen(reports, "w", buffering=1)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        tests = {item.nodeid: item for item in session.items}
        for line in self._asked:
            test, following = json.loads(line)
            if test not in tests:
                break  # its file cannot be collected: what is said at the end tells why
            self._config.hook.pytest_runtest_protocol(item=tests[test], nextitem=tests.get(following))
        return True

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
    if asked := os.environ.pop(ASKED, ""):
        config.pluginmanager.register(_Runner(config, int(asked), int(os.environ.pop(REPORTS))))
