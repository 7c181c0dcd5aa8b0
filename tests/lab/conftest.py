"""A country and a Byway in it; and how tests that make spaces run for a user who may not make any.

As the root of a user namespace then. A process with threads cannot step into one, so they run in one pytest of their
own, and what it reports is reported here; of several workers of pytest-xdist the first to come runs it for all. As root
nothing of this happens.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.lab.country import Country, Running
from tests.lab.spaces import may_become_root, may_make_spaces, within

HERE = Path(__file__).parent

_TOLD_TO = "BYWAY_LAB_REPORTS"
"""The file that the inner pytest writes its reports to."""

_LONGEST_S = 900

Report = pytest.TestReport
_reports: dict[str, list[Report]] = {}  # by test, once the inner pytest has run
_said: list[str] = []
_config: list[pytest.Config] = []


@pytest.fixture
async def country(tmp_path: Path) -> AsyncIterator[Country]:
    async with Country(tmp_path) as made:
        yield made


@pytest.fixture
async def byway(country: Country, tmp_path: Path, hurried: str) -> AsyncIterator[Running]:
    """At the computer in the country; `hurried` are the lines of its `[detect]` that let time pass faster, as the
    module has them."""
    async with country.byway(tmp_path / "byway", config=country.config(detect=hurried)) as running:
        yield running


def pytest_configure(config: pytest.Config) -> None:
    _config.append(config)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    if not _needs_spaces(item) or may_make_spaces() or not may_become_root():
        return None
    if not _said:
        _run_within([one.nodeid for one in item.session.items if _needs_spaces(one)], item.config)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _reports.get(item.nodeid) or [_missing(item)]:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_runtest_logreport(report: Report) -> None:
    if path := os.environ.get(_TOLD_TO):
        data = _config[0].hook.pytest_report_to_serializable(config=_config[0], report=report)
        with Path(path).open("a") as out:
            out.write(json.dumps(data) + "\n")


def _needs_spaces(item: pytest.Item) -> bool:
    return item.path.is_relative_to(HERE) and item.get_closest_marker("namespaces") is not None


def _run_within(tests: list[str], config: pytest.Config) -> None:
    with contextlib.ExitStack() as until_done:
        run = getattr(config, "workerinput", {}).get("testrunuid")  # one for all workers
        folder = Path(tempfile.gettempdir(), f"byway-lab-{os.getuid()}-{run}") if run else None
        if folder is None:
            folder = Path(until_done.enter_context(tempfile.TemporaryDirectory()))
        else:
            folder.mkdir(mode=0o700, exist_ok=True)
            until_done.enter_context(FileLock(folder / "lock"))
        told, said = folder / "reports", folder / "said"
        if not said.exists():
            _ask_inner_pytest(tests, config, folder, told, said)
        _said.append(said.read_text())
        for line in told.read_text().splitlines():
            data: dict[str, Any] = json.loads(line)
            report = config.hook.pytest_report_from_serializable(config=config, data=data)
            if isinstance(report.longrepr, list):  # a skip's place and reason: JSON knows no tuples
                report.longrepr = (str(report.longrepr[0]), int(report.longrepr[1]), str(report.longrepr[2]))
            _reports.setdefault(report.nodeid, []).append(report)


def _ask_inner_pytest(tests: list[str], config: pytest.Config, folder: Path, told: Path, said: Path) -> None:
    told.touch()
    runtime = folder / "run"  # root's own is not ours, though we are called root
    runtime.mkdir(mode=0o700)
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={folder}/tests")
    done = subprocess.run(
        within([sys.executable, "-m", "pytest", *options, *tests]),
        cwd=config.rootpath,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
        | {_TOLD_TO: str(told), "XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        timeout=_LONGEST_S,
        check=False,
    )
    said.write_text((done.stdout + done.stderr).decode(errors="replace"))


def _missing(item: pytest.Item) -> Report:
    said = f"the pytest in the user namespace did not come to this test. It said:\n{_said[0][-4000:]}"
    return Report(item.nodeid, item.location, {}, "failed", said, "call")
