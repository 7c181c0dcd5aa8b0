"""What holds for every test: one that hangs fails by itself, and programs from outside may be missing on a developer's
machine, but never in CI."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from proxy.model.bounded import Bounded
from tests.support import inspection, loops, other_users, programs
from tests.support.hanging import Hanging
from tests.support.scheduling import Durations, SlowFirst, marks_of, shuffled

if TYPE_CHECKING:
    from typer import Typer
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

    from proxy.model.feature import Feature

hanging = Hanging()
durations = Durations()
_NOT_RUN = "not run for want of"  # the property of a report that the summary is made of: workers print none
_CLOSED = "namespaces"
_INSPECTION = "inspection"
_not_run: dict[str, list[str]] = {}  # program, _CLOSED or _INSPECTION → the tests that could not run without it
_passed = Bounded[str, None](10_000)  # hashes of lists
_SLOW = "slow"
_LEAVES_OUT = f"not {_SLOW}"  # the -m of `make test`
_EXAMPLES = 30  # of each property in `make test`; all runs have others
_left_out: set[str] = set()  # tests marked slow, and files that are slow as a whole, that were not asked for


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shuffle", type=int, metavar="SEED", help="run the test files, and the tests of each, in another order"
    )


def pytest_configure(config: pytest.Config) -> None:
    """A shell that starts the tests in the background has them ignore interrupts, and all that they start as well."""
    if os.environ.get("CI") and (reason := inspection.missing()):
        raise pytest.UsageError(f"CI leaves no test out: {reason}")
    # Of properties too, no timing decides: by itself hypothesis fails an example that takes 0.2 s.
    settings.register_profile(
        "byway",
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        max_examples=_EXAMPLES if config.option.markexpr == _LEAVES_OUT else 100,
    )
    settings.load_profile("byway")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each Byway that a test starts is compiled anew
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    hanging.start()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SlowFirst | None:
    if config.getoption("dist") != "loadfile":
        return None  # as pytest-xdist does it
    return SlowFirst(config, log)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """To import what is not run takes long. Returns None where others decide."""
    if not collection_path.match("test_*.py") or not _is_left_out(collection_path, config):
        return None
    _left_out.add(str(collection_path.relative_to(config.rootpath)))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is made here stays to the end: none of it is garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def _is_left_out(file: Path, config: pytest.Config) -> bool:
    return config.option.markexpr == _LEAVES_OUT and _SLOW in marks_of(file)


def pytest_collection_finish() -> None:
    _freeze()


def _freeze() -> None:
    """The tests of a whole run, and the reports of those that have run, are some hundred thousand objects that stay to
    its end. Collections of garbage, which many tests ask for, leave them out: of a full one they took half a second."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where Byway has an event loop of its own, `make test` leaves out the tests on the other one."""
    if (seed := config.getoption("shuffle")) is not None:
        items[:] = shuffled(items, seed)
    for item in items:
        if loops.ASYNCIO in item.name and loops.runs_own():
            item.add_marker(_SLOW)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    _left_out.update(item.nodeid for item in items if item.get_closest_marker(_SLOW))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output[_SLOW] = sorted(_left_out)
    else:
        durations.keep(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: WorkerController) -> None:
    _left_out.update(getattr(node, "workeroutput", {}).get(_SLOW, ()))


class _NotImported(pytest.Module):
    """A test file that cannot be imported here. The summary lists it."""

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        return []


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if inspection.missing() and inspection.imports_mitmproxy(module_path):
        return _NotImported.from_parent(parent, path=module_path)
    return None  # pytest makes it


@pytest.fixture
def features() -> Sequence[Feature]:
    """All features, for tests of what takes them as an argument. Tests of the core, and those of one feature, import no
    other: that, and all commands, they have from here."""
    from proxy.features.table import FEATURES

    return FEATURES


@pytest.fixture
def commands() -> Typer:
    """All commands in one tree."""
    from proxy.cli.commands import app

    return app


@pytest.fixture
def lists_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that passed its trial passes in later tests too: each trial is a process, which takes 0.1 s."""
    from proxy.store.list_trials import ListTrials

    make = ListTrials.__init__

    def made(trials: ListTrials, *given: Any, **named: Any) -> None:
        make(trials, *given, **named)
        trials._passed = _passed

    monkeypatch.setattr(ListTrials, "__init__", made)


@pytest.fixture
def own_log() -> Iterator[None]:
    """Byway's log as it was, after a test that sets it up as `byway run` does."""
    log = logging.getLogger("proxy")
    handlers, level, propagates = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:] = handlers
    log.setLevel(level)
    log.propagate = propagates


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    with hanging.watching():
        done = yield
    if nextitem is None or nextitem.path != item.path:
        _freeze()
    return done


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
    if missing := sorted(name for name in wanted if programs.find(name) is None):
        reason = f"{', '.join(missing)} not installed"
        item.user_properties.append((_NOT_RUN, missing))
        if os.environ.get("CI"):
            pytest.fail(f"{reason}: CI skips nothing for want of a program", pytrace=False)
        pytest.skip(reason)
    if item.get_closest_marker("inspection") and (reason := inspection.missing()):
        item.user_properties.append((_NOT_RUN, [_INSPECTION]))
        pytest.skip(f"not run: {reason}")
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("not run: only root can do what it does")
    if item.get_closest_marker("namespaces") and not programs.namespaces_open():
        item.user_properties.append((_NOT_RUN, [_CLOSED]))
        pytest.skip("not run: this machine does not let us make namespaces (unshare -Urnm)")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Reports come here from every worker, and from the lab's own pytest."""
    durations.add(report)
    if report.when == "setup":
        for name, wanted in report.user_properties:
            if name == _NOT_RUN and isinstance(wanted, list):
                for key in wanted:
                    _not_run.setdefault(key, []).append(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    _write_not_run(terminalreporter)
    if _left_out:
        terminalreporter.section("left out: slow tests")
        tests = sorted(name for name in _left_out if "::" in name)
        files = f"{len(_left_out) - len(tests)} whole files"
        terminalreporter.write_line(f"{files}, and {_tests(tests)} of others. `make test-all` runs all.")
    if terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"):
        terminalreporter.section("what to do next")
        terminalreporter.write_line("Those that failed, one after the other:  .venv/bin/pytest --last-failed")
        terminalreporter.write_line("The first of them, in a debugger:        .venv/bin/pytest --last-failed -x --pdb")
        terminalreporter.write_line("How tests are written here:              CONTRIBUTING.md")


def _write_not_run(terminalreporter: pytest.TerminalReporter) -> None:
    marked = _not_run.pop(_INSPECTION, [])
    if reason := inspection.missing():
        terminalreporter.section(f"not run: {reason}")
        for name in (*(str(path.relative_to(inspection.ROOT)) for path in inspection.files()), *marked):
            terminalreporter.write_line(name)
        terminalreporter.write_line("`make setup` takes the newest Python that it finds; or name one, as in:")
        terminalreporter.write_line("  make PYTHON=python3.12 test")
    if closed := _not_run.pop(_CLOSED, []):
        terminalreporter.section("not run: namespaces are closed to us")
        terminalreporter.write_line(
            f"{_tests(closed)} would make namespaces of their own, as `unshare -Urnm true` does."
        )
        terminalreporter.write_line(
            "What may forbid it: sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces and"
            " kernel.apparmor_restrict_unprivileged_userns; a container without CAP_SYS_ADMIN."
        )
    if not _not_run:
        return
    terminalreporter.section("not run for want of a program")
    for name, tests in sorted(_not_run.items()):
        terminalreporter.write_line(f"{name}: {_tests(tests)}")
    terminalreporter.write_line("To run them too, as root on Debian: make test-deps, which is")
    terminalreporter.write_line(f"  {programs.install_command(set(_not_run))}")


def _tests(names: list[str]) -> str:
    return f"{len(names)} test{'s' if len(names) > 1 else ''}"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """In place of `tmp_path` where it matters who else could write."""
    with other_users.open_folder() as folder:
        yield folder
