from __future__ import annotations

import sys
from pathlib import Path

import pytest

from proxy.features.demo import byway_process as instance
from proxy.model.errors import BywayError
from tests.support.client import fetch
from tests.support.origin import Origin

CONFIG = 'config_version = 1\n[safety]\nallow = ["127.0.0.1:*"]\n'


@pytest.mark.uses("today")
async def test_starts_serves_answers_and_ends(tmp_path: Path) -> None:
    async with Origin() as origin, instance.start(tmp_path, CONFIG) as byway:
        answer = await fetch(f"http://127.0.0.1:{origin.http_port}/part/1", via=("127.0.0.1", byway.port))
        assert answer.status == 200
        assert (await byway.read("status"))["live"]["port"] == byway.port
        assert (tmp_path / "state" / "run.json").exists()
    assert not (tmp_path / "state" / "run.json").exists()
    with pytest.raises(ConnectionRefusedError):
        await fetch("http://127.0.0.1:9/", via=("127.0.0.1", byway.port))


async def test_a_configuration_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(BywayError, match=r"config\.toml:2: "):
        async with instance.start(tmp_path, "config_version = 1\nlissten = 1\n"):
            raise AssertionError("it started")


async def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    async with instance.start(tmp_path, CONFIG) as byway:
        with pytest.raises(BywayError, match="exit code 2"):
            await byway.read("no-such-command")


def test_a_command_is_of_this_installation() -> None:
    assert instance.command("log") == [sys.executable, "-P", "-m", "proxy", "log"]
