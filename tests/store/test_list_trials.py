"""Lists are read to the end in a process of their own first, which has bounds and can be ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from proxy.model.errors import ConfigError
from proxy.store import list_trials as module
from proxy.store.list_trials import ListTrials
from tests.support.waiting import until

LIST = b"a.example\nb.example\n"


def require(
    trials: ListTrials,
    data: bytes = LIST,
    *,
    source: str = "l",
    format: str = "auto",  # noqa: A002
    allow_suffixes: bool = False,
    folder: Path | None = None,
) -> None:
    trials.require(data, source=source, format=format, allow_suffixes=allow_suffixes, folder=folder)


def worker(code: str) -> Sequence[str]:
    return (sys.executable, "-P", "-c", code)


PASSES = worker("import sys; sys.stdin.read()")
FAILS = worker("import sys; sys.stdin.read(); sys.exit(9)")
EXPONENTIAL = worker("import re; re.match('(a|a)*b', 'a' * 100)")
"""Holds the interpreter's lock: nothing in its own process could end it."""

HUNGRY = worker(
    "import sys, proxy.setup.list_trial as trial\n"
    "from proxy.routing.lists import formats\n"
    "trial.MEMORY_LIMIT = 300 * 1024 * 1024\n"
    "def parse(pieces, builder): bytearray(1024 * 1024 * 1024)\n"
    "formats.FORMATS['plain'] = formats.ListFormat(lambda text: True, parse)\n"
    "sys.exit(trial.main())"
)


@pytest.mark.parametrize(
    "data", [LIST, b"", b"\xff\xfe", b"function FindProxyForURL(", b"include:other\nfull:a.test\n"]
)
def test_a_list_that_can_be_read_or_refused_passes(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "other").write_text("b.test\n")
    require(ListTrials(None), data, source="list", format="auto", folder=tmp_path)


def test_the_other_process_reads_the_files_that_a_list_includes(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("b.test\n")
    code = (
        "import sys, proxy.setup.list_trial as trial\n"
        "def parse(*_, siblings, **__): sys.exit(7 if ''.join(siblings('other')[1]) == 'b.test\\n' else 8)\n"
        "trial.parse_list = parse\n"
        "sys.exit(trial.main())"
    )
    with pytest.raises(ConfigError, match=r"the process that tried it out ended with 7$"):
        require(ListTrials(None, worker=worker(code)), folder=tmp_path)


def test_one_that_takes_for_ever_is_ended_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRIAL_S", 0.5)
    trials = ListTrials(None, worker=EXPONENTIAL)
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"^mine\.txt: takes too long to read, and was stopped; it may be made"):
            require(trials, source="mine.txt", format="auto")
    assert not trials._running


@pytest.mark.skipif(sys.platform == "win32", reason="bounds no process")
def test_its_time_is_that_of_a_processor() -> None:
    """A busy computer ends no trial."""
    code = (
        "import re, sys, proxy.setup.list_trial as trial\n"
        "trial.CPU_S = 1\n"
        "trial.parse_list = lambda *_, **__: re.match('(a|a)*b', 'a' * 100)\n"
        "sys.exit(trial.main())"
    )
    with pytest.raises(ConfigError, match=r"^l: takes too long to read"):
        require(ListTrials(None, worker=worker(code)))


def test_the_other_process_ends_by_itself_when_nobody_is_left_to_end_it() -> None:
    code = (
        "import re, sys, proxy.setup.list_trial as trial\n"
        "trial.TRIAL_S = -4.5\n"
        "trial.parse_list = lambda *_, **__: re.match('(a|a)*b', 'a' * 100)\n"
        "sys.exit(trial.main())"
    )
    with pytest.raises(ConfigError, match=r"the process that tried it out ended with 1$"):
        require(ListTrials(None, worker=worker(code)))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems bound time alone")
def test_one_that_takes_too_much_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^l: takes more than 1024 MB of memory to read; it may be made to do harm$"):
        require(ListTrials(None, worker=HUNGRY))


async def test_ending_ends_what_runs_and_allows_no_more() -> None:
    trials = ListTrials(None, worker=EXPONENTIAL)
    waiting = asyncio.gather(asyncio.to_thread(require, trials), return_exceptions=True)
    await until(lambda: bool(trials._running))
    trials.end()
    (refused,) = await waiting
    assert str(refused) == "l: was not read to the end, since Byway ends"
    with pytest.raises(ConfigError, match="was not read, since Byway ends"):
        require(trials)


def test_what_passed_is_remembered_also_across_restarts(tmp_path: Path) -> None:
    file = tmp_path / "lists" / "tried.json"
    require(ListTrials(file, worker=PASSES))
    again = ListTrials(file, worker=FAILS)
    require(again)
    for data, form in ((LIST + b"#", "auto"), (LIST, "hosts")):
        with pytest.raises(ConfigError, match="the process that tried it out ended with 9"):
            require(again, data, source="l", format=form)
    assert len(json.loads(file.read_text())["passed"]) == 1
    assert "example" not in file.read_text()


def test_an_update_tries_all_lists_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "tried.json"
    require(ListTrials(file, worker=PASSES))
    monkeypatch.setattr(module, "_code", lambda: "another version")
    with pytest.raises(ConfigError):
        require(ListTrials(file, worker=FAILS))


def test_what_includes_other_files_is_tried_each_time(tmp_path: Path) -> None:
    including = b"include:other\n"
    require(ListTrials(tmp_path / "tried.json", worker=PASSES), including, folder=tmp_path)
    assert not (tmp_path / "tried.json").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"passed": 1}', '{"passed": [1, null]}', "\x00"])
def test_a_damaged_file_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "tried.json").write_text(content)
    require(ListTrials(tmp_path / "tried.json", worker=PASSES))
    assert len(json.loads((tmp_path / "tried.json").read_text())["passed"]) == 1


def test_who_writes_nothing_reads_what_passed(tmp_path: Path) -> None:
    file = tmp_path / "tried.json"
    require(ListTrials(file, ephemeral=True, worker=PASSES))
    assert not file.exists()
    require(ListTrials(file, worker=PASSES))
    require(ListTrials(file, ephemeral=True, worker=FAILS))


def test_without_a_process_to_be_had_the_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^l: cannot be tried out in a process of its own: "):
        require(ListTrials(None, worker=[str(tmp_path / "none")]))


def test_a_fault_of_the_computer_is_not_that_of_the_list(tmp_path: Path) -> None:
    """No process was to be had, or the system ended it for want of memory: the next one may do."""
    trials = ListTrials(None, worker=[str(tmp_path / "none")])
    for other in (FAILS, worker("import os; os.kill(os.getpid(), 9)")):
        with pytest.raises(ConfigError):
            require(trials)
        trials._worker = other
    with pytest.raises(ConfigError):
        require(trials)
    trials._worker = PASSES
    require(trials)


def test_what_is_remembered_of_lists_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    trials = ListTrials(None)
    for faults in (module._TOO_LONG, ""):
        monkeypatch.setattr(trials, "_try", lambda *_, fault=faults: fault)
        for number in range(9):
            with contextlib.suppress(ConfigError):
                require(trials, b"%d.example\n" % number)
    assert (len(trials._failed), len(trials._passed)) == (3, 3)


def test_a_list_is_tried_with_the_options_with_which_it_is_read() -> None:
    """One could be harmless with some and not with others."""
    with_suffixes = worker("import sys; sys.stdin.read(); sys.exit(9 if 'allow_suffixes' in sys.argv else 0)")
    trials = ListTrials(None, worker=with_suffixes)
    require(trials)
    with pytest.raises(ConfigError, match="ended with 9"):
        require(trials, allow_suffixes=True)
    code = (
        "import sys, proxy.setup.list_trial as trial\n"
        "trial.parse_list = lambda *_, **options: sys.exit(5 + options['allow_suffixes'])\n"
        "sys.exit(trial.main())"
    )
    for allow_suffixes in (False, True):
        with pytest.raises(ConfigError, match=f"ended with {5 + allow_suffixes}"):
            require(ListTrials(None, worker=worker(code)), allow_suffixes=allow_suffixes)
