"""The first minute of a person who has set up nothing: what `byway run` prints without a relay, then `byway browser`
with a page that the provider blocks."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.lab import places
from tests.lab.country import Country
from tests.lab.rules import SniReset
from tests.lab.views import View
from tests.support.streams import listening
from tests.support.terminal import Terminal
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

# The test's own, behind `--`: who makes spaces is root there, and Chromium's list of CAs is not the lab's.
OPTIONS = ("--no-sandbox", "--headless", "--dump-dom", "--ignore-certificate-errors")


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("is_rescued", [True, False])
async def test_a_browser_opens_a_blocked_page_without_any_setting(
    country: Country, tmp_path: Path, is_rescued: bool
) -> None:
    """A local strategy opens the page. The control is a provider that reassembles the records of TLS, which takes a
    relay."""
    blog = country.add_site("ivanov.livejournal.test")
    country.rules.set([SniReset("livejournal.test", view=View.TCP if is_rescued else View.RECORDS)])
    async with country.byway(tmp_path / "byway", config=country.config(no_relay=True)) as byway:
        with byway.at_terminal("-v", "browser", "chromium", blog.url(), "--", *OPTIONS, columns=200) as terminal:
            await terminal.until("says hello" if is_rescued else "ERR_")
            assert ("says hello" in terminal.printed) is is_rescued, terminal.printed

        async def reset_rows() -> list[dict[str, Any]]:
            """Returns the connections that were reset direct; each is logged once it has ended."""
            rows = await byway.rows(blog.name)
            return [row for row in rows if any(attempt["symptom"] == "reset" for attempt in row["attempts"])]

        async def winners() -> list[str | None]:
            return [row["winner"] for row in await reset_rows()]

        async def is_logged() -> bool:  # a browser opens several connections, and may leave one
            return any(winner is not None for winner in await winners()) or (not is_rescued and bool(await winners()))

        await until_read(is_logged)
        assert any(winner is not None and winner.startswith("direct|") for winner in await winners()) is is_rescued


async def test_a_relay_that_runs_here_is_found_and_not_used_and_nothing_leaves_this_computer(
    country: Country, tmp_path: Path
) -> None:
    """One program answers as Tor does, one never does: the line waits for that one, Byway does not."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(64))
        writer.write(b"\x05\x00")
        await writer.drain()
        asked.append(await reader.read(64))

    config, here = tmp_path / "config.toml", country.client
    config.write_text("config_version = 1\n")
    files = ("--config", str(config), "--state", str(tmp_path / "state"))
    words = [*here.entering, sys.executable, "-P", "-m", "proxy", "run", "--port", "0", *files]
    since = await country.caught_up()
    with tempfile.TemporaryDirectory(prefix="byway-") as runtime, here.create_server(("127.0.0.1", 1080)):
        environment = {**os.environ, "HOME": str(tmp_path), "TERM": "xterm", "XDG_RUNTIME_DIR": runtime}
        async with listening(answer, sock=here.create_server(("127.0.0.1", 9050))):
            with Terminal(words, environment) as terminal:
                await terminal.until("Browser: ")
                assert "Relays: " not in terminal.printed, "what answers late delays nothing"
                await terminal.until("Relays: ")
                terminal.process.send_signal(signal.SIGINT)
                assert await terminal.ends() == 0
    listens, network, browser, relays, _end = terminal.lines
    await country.caught_up()
    assert listens.endswith("(no relay). Ctrl-C stops it.")
    assert network.startswith("Network: connected, not tested yet.")
    assert browser.startswith("Browser: ")
    assert "port 9050 (SOCKS5 proxy, usually Tor). " in relays
    assert relays.endswith(" relay scan` adds them.")
    assert asked == [b"\x05\x01\x00", b""], "a greeting, and no request"
    assert {seen.packet.target for seen in country.router.events.packets(since=since)} == {places.PORTAL}, "our mark"
