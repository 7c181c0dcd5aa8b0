"""`byway mode` and `byway pause` with a real Byway: from the next request on, and nothing is learned meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.byway import IMPATIENT, TYPED, Byway
from tests.support.client import fetch
from tests.support.origin import Origin

pytestmark = pytest.mark.waits

CONFIG = f"""{IMPATIENT}
[dns.hosts]
"one.test" = "127.0.0.1"
"two.test" = "127.0.0.1"
[[relay]]
name = "dead"
url = "socks5h://127.0.0.1:1"
"""


async def _status(byway: Byway, host: str, port: int) -> int:
    return (await fetch(f"http://{host}:{port}/", via=byway.proxy)).status


def _learned(status: dict[str, Any]) -> tuple[int, list[Any]]:
    """Sites in trouble, and what is held against relays."""
    return len(status["sites"]), [relay["fault"] or relay["error"] for relay in status["relays"]]


@pytest.mark.slow
async def test_a_mode_and_a_pause_hold_from_the_next_request_on(tmp_path: Path) -> None:
    async with Origin() as origin, Byway(tmp_path, config=CONFIG, rules="DOMAIN,two.test,RELAY\n") as byway:
        port = origin.http_port
        for _ in range(2):  # its plan is kept now
            assert await _status(byway, "one.test", port) == 200
        await byway.command("mode", "relay")
        assert await _status(byway, "one.test", port) == 502  # the relay is dead, and AUTO fails closed
        status = await byway.read("status")
        assert status["mode"] == {"mode": "relay", "paused_until": None}
        assert _learned(status) == (0, [""])
        assert "mode relay, so relays only" in (await byway.command("rule", "test", "one.test")).stdout
        assert (await byway.command("status", "--plain")).stdout.splitlines()[1].startswith("mode\t\tMode relay: ")

        await byway.command("pause", "10m")
        assert await _status(byway, "one.test", port) == 200
        assert await _status(byway, "two.test", port) == 502  # a rule holds
        assert _learned(await byway.read("status")) == (0, [""])
        paused_until = (await byway.read("mode"))["mode"]["paused_until"]

        assert await byway.stop() == 0
        await byway.start()
        assert abs((await byway.read("mode"))["mode"]["paused_until"] - paused_until) < 1
        assert await _status(byway, "one.test", port) == 200
        await byway.command("resume")
        assert await _status(byway, "one.test", port) == 502  # back in mode relay
        await byway.command("mode", "auto")
        assert await _status(byway, "one.test", port) == 200

        assert await _status(byway, "two.test", port) == 502
        assert _learned(await byway.read("status")) != (0, [""])  # the control: now the relay's fault is learned


@pytest.mark.slow
async def test_a_pause_ends_by_itself(tmp_path: Path) -> None:
    async with Origin() as origin, Byway(tmp_path, config=CONFIG) as byway:
        await byway.command("mode", "relay")
        await byway.command("pause", "1s")
        while await _status(byway, "one.test", origin.http_port) != 502:  # asked anew each time
            pass


async def test_wrong_words_are_refused(tmp_path: Path) -> None:
    async with Byway(tmp_path) as byway:
        for words, said in (
            (("pause", "soon"), "'soon' is not a length of time"),
            (("pause", "30d"), f"A pause lasts 1 s to 7 days. To go direct until you change it: `{TYPED} mode direct`"),
            (("mode", "fast"), 'unknown mode "fast"; it can be auto, direct or relay'),
        ):
            done = await byway.command(*words, check=False)
            assert done.returncode == 2
            assert said in done.stderr
        assert "No relay is configured" in (await byway.command("mode", "relay")).stderr
