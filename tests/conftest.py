"""What holds for every test: one that hangs fails by itself, and programs from outside may be missing on a developer's
machine, but never in CI."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support import other_users, programs
from tests.support.hanging import Hanging

hanging = Hanging()
_missing: dict[str, list[str]] = {}  # program → the tests that could not run without it


def pytest_configure() -> None:
    """A shell that starts the tests in the background has them ignore interrupts, and all that they start as well."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    hanging.start()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    with hanging.watching():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    with hanging.raising():
        _check_needs(item)
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    with hanging.raising():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    with hanging.raising():
        return (yield)


def _check_needs(item: pytest.Item) -> None:
    wanted = {str(name) for marker in item.iter_markers("needs") for name in marker.args}
    missing = sorted(name for name in wanted if programs.find(name) is None)
    for name in missing:
        _missing.setdefault(name, []).append(item.nodeid)
    if missing:
        reason = f"{', '.join(missing)} not installed"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}: CI skips nothing for want of a program", pytrace=False)
        pytest.skip(reason)
    if item.get_closest_marker("namespaces") and not programs.namespaces_open():
        pytest.skip("not run: this machine does not let us make namespaces (unshare -Urnm)")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _missing:
        return
    terminalreporter.section("not run for want of a program")
    for name, tests in sorted(_missing.items()):
        terminalreporter.write_line(f"{name}: {len(tests)} test{'s' if len(tests) > 1 else ''}")
    terminalreporter.write_line("To run them too, as root on Debian: make test-deps, which is")
    terminalreporter.write_line(f"  {programs.install_command(set(_missing))}")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """In place of `tmp_path` where it matters who else could write."""
    with other_users.open_folder() as folder:
        yield folder
