"""A list that takes for ever to read holds up nothing, and Byway ends at once whatever a list does.

No reader is known to be so any more: one is planted in the process that tries lists out.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from proxy.config.paths import Paths
from proxy.config.schema import ListConfig
from proxy.setup.rule_files import read_lists, try_lists
from proxy.store.list_copies import ListCopies
from proxy.store.list_trials import ListTrials
from tests.support.byway import Byway
from tests.support.client import fetch
from tests.support.waiting import until

LIST = '[[list]]\nname = "mine"\nsource = "mine.txt"\n'
PLANT = """
import os, sys
if "proxy.setup.list_trial" in sys.orig_argv:
    data = sys.stdin.buffer.read()
    if b"forever" in data:
        import re, resource
        resource.setrlimit(resource.RLIMIT_CPU, (15, 15))  # SIGTERM at a start leaves it to its own bounds
        open({marker!r}, "a").close()
        re.match("(a|a)*b", "a" * 100)
    os._exit(0)
"""
AT_ONCE_S = 10.0
"""By far less than a trial may take."""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that is there once a trial hangs."""
    (tmp_path / "planted").mkdir()
    marker = tmp_path / "hangs"
    (tmp_path / "planted" / "sitecustomize.py").write_text(PLANT.format(marker=str(marker)))
    return marker


def _byway(folder: Path, text: str) -> Byway:
    byway = Byway(folder / "b", config=LIST, environment={"PYTHONPATH": str(folder / "planted")})
    byway.config.with_name("mine.txt").write_text(text)
    return byway


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
async def test_a_start_that_waits_for_a_list_ends_at_once(tmp_path: Path, marker: Path, name: signal.Signals) -> None:
    byway = _byway(tmp_path, "forever.example\n")
    starting = asyncio.ensure_future(byway.start())  # noqa: TID251  # of the test
    await until(marker.exists)
    assert byway.process is not None
    byway.process.send_signal(name)
    async with asyncio.timeout(AT_ONCE_S):
        await byway.process.wait()
    with pytest.raises(BaseException):  # noqa: B017, PT011  # it is not ready
        await starting
    assert not byway.said.read_text().count("Traceback")


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
async def test_an_edited_list_holds_up_nothing_and_byway_ends_at_once(
    tmp_path: Path, marker: Path, name: signal.Signals
) -> None:
    async with _byway(tmp_path, "a.example\n") as byway:
        byway.config.with_name("mine.txt").write_text("forever.example\n")
        await until(marker.exists)
        assert (await fetch("http://127.0.0.1:1/", via=byway.proxy)).status in (502, 504, 403)
        assert byway.process is not None
        byway.process.send_signal(name)
        async with asyncio.timeout(AT_ONCE_S):
            await byway.process.wait()
    assert "Traceback" not in byway.said.read_text()


async def test_a_known_list_is_not_tried_out_at_the_next_start(tmp_path: Path, marker: Path) -> None:
    async with _byway(tmp_path, "a.example\n") as byway:
        kept = byway.state / "lists" / "tried.json"
        assert kept.exists()
        assert await byway.stop() == 0
        before = kept.read_text()
        (tmp_path / "planted" / "sitecustomize.py").write_text(
            "import os, sys\nif 'proxy.setup.list_trial' in sys.orig_argv:\n    os._exit(9)\n"
        )
        await byway.start()
        assert kept.read_text() == before


def test_the_plant_hangs(tmp_path: Path, marker: Path) -> None:
    """The control: without an end from outside it would not end."""
    import subprocess

    command = [sys.executable, "-P", "-m", "proxy.setup.list_trial", "auto", ""]
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(command, input=b"forever", env={"PYTHONPATH": str(tmp_path / "planted")}, timeout=2, check=False)


def test_who_reads_a_list_names_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(ListTrials, "require", lambda *_, allow_suffixes, **__: asked.append(allow_suffixes))
    paths = Paths.locate({}, config=tmp_path / "config.toml", state=tmp_path / "state")
    (tmp_path / "l.txt").write_text("com\n")
    for allow_suffixes in (True, False):
        item = ListConfig("l", "l.txt", allow_suffixes=allow_suffixes)
        read_lists([item], paths)
        try_lists([item], paths, ListCopies(tmp_path))
    assert asked == [True, True, False, False]
