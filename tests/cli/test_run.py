"""`byway run`: what the command line asks of the application."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.app import process
from proxy.app.app import RunOptions
from tests.cli.conftest import Byway, Home


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[RunOptions]:
    asked: list[RunOptions] = []

    def run(options: RunOptions) -> int:
        asked.append(options)
        return 1 if options.port == 1 else 0

    monkeypatch.setattr(process, "run", run)
    return asked


def test_nothing_said_leaves_everything_to_the_configuration(byway: Byway, home: Home, asked: list[RunOptions]) -> None:
    assert byway("run").code == 0
    assert asked == [RunOptions(config=home.config, state=home.state)]
    assert asked[0].flags == {}


def test_every_flag_arrives(byway: Byway, asked: list[RunOptions]) -> None:
    words = (
        "run --port 0 --listen ::1 --allow 127.0.0.1:* --allow 198.18.0.0/15 --ephemeral -vv -q --config c --state s"
    )
    assert byway(*words.split()).code == 0
    assert asked == [
        RunOptions(
            config=Path("c"),
            state=Path("s"),
            port=0,
            listen="::1",
            allow=("127.0.0.1:*", "198.18.0.0/15"),
            ephemeral=True,
            verbose=2,
            quiet=True,
        )
    ]


def test_the_exit_code_is_the_applications(byway: Byway, asked: list[RunOptions]) -> None:
    assert byway("run", "--port", "1").code == 1


@pytest.mark.parametrize("port", ["-1", "65536", "http", ""])
def test_what_is_no_port_is_wrong_usage(byway: Byway, asked: list[RunOptions], port: str) -> None:
    assert byway("run", "--port", port).code == 2
    assert asked == []
