"""A state folder in which nothing is what it should be: Byway starts, says so, and serves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.at_once import AtOnce
from tests.support.byway import Byway
from tests.support.client import fetch
from tests.support.origin import Origin

pytestmark = pytest.mark.slow

at_once = AtOnce(most=4)

FILES = (
    "mode.json", "relay-addresses.json", "relay-ways.json", "relay-tests.json", "relay-health.json",
    "override-clock.json",
    "relay-selection.json", "system-proxy.json", "network.key", "run.json",
)  # fmt: skip
CONFIG = """
[[relay]]
name = "tor"
url = "socks5h://127.0.0.1:1"
[[group]]
name = "eu"
relays = ["tor"]
policy = "select"
"""


def nested(path: Path) -> None:
    path.write_text("[" * 60_000)


KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "nested": nested,
    "nothing": Path.touch,
    "no text": lambda path: path.write_bytes(bytes(range(256)) * 10),
    "link to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("kind", KINDS)
@at_once
async def test_byway_starts_and_serves(folder: Path, *, kind: str) -> None:
    byway = Byway(folder, config=CONFIG)
    for name in FILES:
        if name != "run.json" or kind not in ("folder",):  # it is written anew at each start
            KINDS[kind](byway.state / name)
    async with Origin() as origin, byway:
        said = await byway.command("mode", "auto", check=False)
        assert said.returncode == (1 if kind == "folder" else 0)  # it is in effect, and cannot be stored
        answer = await fetch(f"http://127.0.0.1:{origin.http_port}/", via=byway.proxy)
        assert answer.status == 200
        assert (await byway.read("status"))["mode"]["mode"] == "auto"
        doctor = await byway.command("doctor", check=False)
        assert "Traceback" not in byway.said.read_text() + doctor.stdout + doctor.stderr


@at_once
async def test_commands_without_a_running_byway_do_not_hang(folder: Path) -> None:
    byway = Byway(folder, config=CONFIG)
    for name in FILES:
        os.mkfifo(byway.state / name)
    for words in (("status",), ("mode",), ("doctor",), ("relay", "list"), ("system", "off")):
        ran = await byway.command(*words, check=False)
        assert "Traceback" not in ran.stdout + ran.stderr, words
