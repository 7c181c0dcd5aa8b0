"""What an addon may ask of Byway."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.extend.api import Api
from proxy.extend.guard.runner import AddonRunner
from proxy.extend.guard.time_limit import TimeLimit
from proxy.model import Destination
from tests.extend.making import STREAM, Backend, made
from tests.support.waiting import until


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path / "state" / "addons")


def api_of(runner: AddonRunner, backend: Backend) -> Api:
    return Api(runner.name, runner.addon.options, backend, runner.spawn)


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[AddonRunner]:
    limit = TimeLimit()
    limit.start()
    yield AddonRunner(made(tmp_path / "addons", "x = 1\n"), limit)
    limit.close()


async def test_it_lends_what_the_core_has(runner: AddonRunner, backend: Backend) -> None:
    api = api_of(runner, backend)
    assert (api.name, api.options, api.now(), api.network(), api.relays) == ("pin", None, 5.0, "home", ("tor",))
    assert await api.dial("tor", Destination("a.test", 1)) is STREAM


def test_its_folder_is_its_own(runner: AddonRunner, backend: Backend) -> None:
    folder = api_of(runner, backend).folder
    assert folder.parent == backend.folder
    assert folder.name == "pin"
    assert (folder.stat().st_mode & 0o777, folder.parent.stat().st_mode & 0o777) == (0o700, 0o700)


def test_where_nothing_may_be_kept_nothing_is(runner: AddonRunner, backend: Backend) -> None:
    api = api_of(runner, replace(backend, folder=None))
    folder = api.folder
    (folder / "x").touch()
    assert api.folder == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    api.close()
    api.close()
    assert not folder.exists()


def test_its_lines_carry_its_name_and_no_password(
    runner: AddonRunner, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    said = api_of(runner, backend).log
    caplog.set_level(logging.INFO, "proxy")
    for say in (said.debug, said.info, said.warning, said.error):
        say("http://u:secret@h:1\nand\x1b[31m more")
    text = "addon pin: http://u:***@h:1 and\\x1b[31m more"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", text),
        ("WARNING", text),
        ("ERROR", text),
    ]


async def test_what_it_starts_ends_with_it(runner: AddonRunner, backend: Backend) -> None:
    task = api_of(runner, backend).spawn(asyncio.sleep(3600))
    runner.cancel()
    await until(task.done)
    assert task.cancelled()


async def test_notifications_are_made_inert_and_are_not_too_many(runner: AddonRunner, backend: Backend) -> None:
    api = api_of(runner, backend)
    for number in range(10):
        api.notify("-t", f"text {number}\n")
    backend.may_show.set()
    await until(lambda: not runner._tasks)
    assert backend.shown == [("-t", f"text {number}") for number in range(2)]
    api.notify("again")
    await until(lambda: not runner._tasks)
    assert len(backend.shown) == 3
