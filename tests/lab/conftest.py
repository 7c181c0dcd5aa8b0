"""A folder and a country; and the way in which tests that make spaces run for a user who may not make any.

They run as the root of a user namespace then. A process with threads cannot step into one, so these tests run in a
pytest of their own (`inner.py`), and each test is reported here as soon as it has ended. As root none of this happens.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.country import Country
from tests.lab.inner import InnerPytest
from tests.lab.spaces import may_become_root, may_make_spaces, within

HERE = Path(__file__).parent

_running: dict[pytest.Session, InnerPytest] = {}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path that is short enough for a control socket."""
    with tempfile.TemporaryDirectory(prefix="byway-lab-", ignore_cleanup_errors=True) as made:
        yield Path(made)


@pytest.fixture
async def country(tmp_path: Path) -> AsyncIterator[Country]:
    async with Country(tmp_path) as made:
        yield made


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if not _needs_spaces(item) or may_make_spaces() or not may_become_root():
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _reports_of(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    item.session._setupstate.teardown_exact(nextitem)  # a test of this file that ran out here left its module set up
    return True


def pytest_unconfigure() -> None:
    for inner in _running.values():
        inner.close()


def _needs_spaces(item: pytest.Item) -> bool:
    return item.path.is_relative_to(HERE) and item.get_closest_marker("namespaces") is not None


def _reports_of(item: pytest.Item) -> list[pytest.TestReport]:
    if item.session not in _running:
        tests = [one.nodeid for one in item.session.items if _needs_spaces(one)]
        _running[item.session] = InnerPytest(tests, item.config.rootpath, within)
    found = _running[item.session].reports(item.nodeid)
    if isinstance(found, str):
        return [pytest.TestReport(item.nodeid, item.location, {}, "failed", found, "call")]
    return [_read(item.config, data) for data in found]


def _read(config: pytest.Config, data: dict[str, Any]) -> pytest.TestReport:
    if isinstance(data["longrepr"], list):  # a skip's place and reason: JSON knows no tuples
        data["longrepr"] = tuple(data["longrepr"])
    report: pytest.TestReport = config.hook.pytest_report_from_serializable(config=config, data=data)
    return report
