"""A log that is damaged while Byway runs, seen from the command line: the commands answer, and what was set for sites
still holds after a restart, also where Byway was killed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.byway import Byway
from tests.support.client import fetch
from tests.support.origin import Origin
from tests.support.waiting import until_read

pytestmark = pytest.mark.slow

CONFIG = '[dns.hosts]\n"one.test" = "127.0.0.1"\n"two.test" = "127.0.0.1"\n[log]\nhosts = "all"\n'


def _overwrite(path: Path) -> None:
    with path.open("r+b") as opened:
        opened.write(random.Random(3).randbytes(path.stat().st_size))


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut to nothing": lambda path: os.truncate(path, 0),
    "overwritten": _overwrite,
    "deleted": lambda path: path.unlink(),
    "a folder in its place": _replace_by_folder,
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_H4_H6_commands_answer_and_overrides_hold(tmp_path: Path, name: str) -> None:
    async with Origin() as origin:
        url = f"http://one.test:{origin.http_port}/"
        async with Byway(tmp_path, config=CONFIG) as byway:
            assert (await fetch(url, via=byway.proxy)).status == 200
            await byway.command("site", "set", "two.test", "block")
            log = byway.state / "byway.sqlite"
            DAMAGES[name](log)
            status = await byway.read("status")
            assert not [problem for problem in status["problems"] if "log" in problem["text"]]
            assert len([notice for notice in status["notices"] if "log" in notice]) <= 1
            assert (await byway.read("why", url))["verdict"]
            assert (await fetch(url, via=byway.proxy)).status == 200

            async def is_logged() -> bool:
                return [row["host"] for row in (await byway.read("log"))["rows"]][-1:] == ["one.test"]

            await until_read(is_logged)
            await byway.kill()
            assert byway.said.read_text().count("new log was started") <= 1
            assert "Traceback" not in byway.said.read_text()
            await byway.start()
            assert (await fetch(f"http://two.test:{origin.http_port}/", via=byway.proxy)).status == 403
