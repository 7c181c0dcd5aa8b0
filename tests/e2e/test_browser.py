"""`byway browser` with a real Chromium and a real Firefox: what they open, and what never goes around Byway.

They run without a window and, as root, without Chromium's sandbox: both are the test's own options, behind `--`."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e.test_inspection import inspecting
from tests.features.inspection.mitm.site import Site
from tests.support import chromium, firefox, programs
from tests.support.at_once import all_of
from tests.support.authority import Authority
from tests.support.browsers import is_running, pid_of
from tests.support.byway import Byway
from tests.support.censor import Behaviour, Censor
from tests.support.chromium import Tab
from tests.support.firefox import Page
from tests.support.origin import Origin
from tests.support.relay import Relay
from tests.support.waiting import until, until_read

pytestmark = [pytest.mark.alone, pytest.mark.slow]

CHROMIUM = ("--no-sandbox", "--headless", "--remote-debugging-port=0")
BROWSERS = [pytest.param(kind, marks=pytest.mark.needs(kind)) for kind in ("chromium", "firefox")]

CANDIDATES = """(async () => {
  const peer = new RTCPeerConnection({ iceServers: [{ urls: "stun:127.0.0.1:PORT" }] }), found = [];
  peer.createDataChannel("x");
  const all = new Promise(done => {
    peer.onicecandidate = event => { event.candidate ? found.push(event.candidate.candidate) : done(); };
  });
  await peer.setLocalDescription(await peer.createOffer());
  await Promise.race([all, new Promise(done => setTimeout(done, 5000))]);
  return found;
})()"""
"""Everything through which WebRTC would let another peer reach this browser. Without any a browser may try for minutes.
The control is asked again until it has found some: on a busy machine the first takes longer."""

DNS_MODE = "chrome.settingsPrivate.getPref('dns_over_https.mode').then(setting => setting.value)"


@contextlib.asynccontextmanager
async def opened(byway: Byway, kind: str, *words: str) -> AsyncIterator[Tab | Page]:
    """The page of `byway browser KIND …`."""
    profile = byway.state / "browser" / kind
    options = CHROMIUM if kind == "chromium" else firefox.OPTIONS
    await byway.command("browser", kind, *words, "--", *options)
    if kind == "firefox":
        async with firefox.attached(profile) as page:
            pid = pid_of(profile)
            yield page
    else:
        async with chromium.attached(profile) as tab:
            pid = pid_of(profile)
            try:
                yield tab
            finally:
                await tab.call("Browser.close")
    await until(lambda: not is_running(pid))  # else it writes into a folder that is being removed


@pytest.mark.parametrize("kind", BROWSERS)
async def test_a_window_takes_all_from_byway(kind: str, tmp_path: Path) -> None:
    """The stories of one window, in turn, and the controls of two of them in the same browser without our settings."""
    at = {"first.test": "127.0.0.1", "second.test": "127.0.0.1", "blocked.test": "127.0.0.2"}
    hosts = "".join(f'"{host}" = "{address}"\n' for host, address in at.items())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.setblocking(False)
        script = CANDIDATES.replace("PORT", str(peer.getsockname()[1]))
        async with (
            Origin() as origin,
            Censor("127.0.0.2", origin.http_port, origin="127.0.0.1", behaviour=Behaviour.RESET) as censor,
            Relay({"blocked.test": "127.0.0.1"}) as relay,
            Byway(
                tmp_path,
                config=f'[[relay]]\nname = "relay"\nurl = "socks5h://{relay.address}:{relay.port}"\n[dns.hosts]\n{hosts}',
                rules="DOMAIN,first.test,DIRECT\nDOMAIN,second.test,DIRECT\nDOMAIN,blocked.test,AUTO\nMATCH,BLOCK\n",
            ) as byway,
            opened(byway, kind) as page,
        ):

            async def the_first_rows_of_the_log_are_the_users() -> None:
                """What Chromium asks for by itself at its start would be the first that a censor sees. (Firefox still
                asks for its list of revoked certificates, which keeps its user safe.)"""
                for host in ("first.test", "second.test"):
                    await page.open(f"http://{host}:{origin.http_port}/")
                    assert "says hello" in await page.text()
                rows = (await byway.read("log"))["rows"]
                assert kind == "firefox" or {row["host"] for row in rows} == {"first.test", "second.test"}

            async def byways_own_page_knows_it() -> None:
                await page.open("http://byway.internal/")
                assert "✓ Yes." in await page.text()
                folder = byway.state / "browser" / kind
                assert folder.stat().st_mode & 0o777 == 0o700
                assert folder.parent.stat().st_mode & 0o777 == 0o700

            async def it_opens_a_blocked_site_and_a_page_of_this_computer() -> None:
                """The site is reset on the direct route, and a relay brings it. Pages of this computer do not go
                through Byway."""
                await page.open(f"http://blocked.test:{origin.http_port}/")
                assert "says hello" in await page.text()
                assert censor.struck
                assert relay.asked
                rows = (await byway.read("log", "--site", "blocked.test"))["rows"]
                assert {row["winner"] for row in rows} == {"relay"}
                await page.open(f"http://127.0.0.1:{origin.http_port}/")
                assert "says hello" in await page.text(), "and Byway would have refused it"

            async def webrtc_does_not_go_around_byway() -> None:
                await page.open("http://byway.internal/")
                assert await page.evaluate(script) == []
                assert not heard(peer)

            async def chromium_takes_its_dns_from_byway_alone() -> None:
                await page.open("chrome://settings/security")
                assert await page.evaluate(DNS_MODE) == "off"

            async def without_our_settings_both_is_otherwise() -> None:
                await others_have_candidates(kind, tmp_path / "other", byway.url, script)
                if kind == "chromium":  # Firefox asks no server on loopback: its candidates are the control
                    await until(lambda: heard(peer))

            stories = [
                the_first_rows_of_the_log_are_the_users,
                byways_own_page_knows_it,
                it_opens_a_blocked_site_and_a_page_of_this_computer,
                webrtc_does_not_go_around_byway,
                *([chromium_takes_its_dns_from_byway_alone] if kind == "chromium" else []),
                without_our_settings_both_is_otherwise,
            ]
            await all_of({story.__name__: story() for story in stories}, most=1)


def heard(peer: socket.socket) -> bool:
    """Whether packets have come, which are taken."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while peer.recv(2048):
            count += 1
    return count > 0


async def others_have_candidates(kind: str, folder: Path, proxy: str, script: str) -> None:
    """The control: the same browser finds some where it only has a proxy. Chromium may ask for names elsewhere
    there."""

    async def found(page: Tab | Page) -> bool:
        return bool(await page.evaluate(script))

    if kind == "chromium":
        async with chromium.tab(folder, f"--proxy-server={proxy}") as tab:
            await until_read(lambda: found(tab))
            await tab.open("chrome://settings/security")
            assert await tab.evaluate(DNS_MODE) != "off"
        return
    folder.mkdir()  # noqa: ASYNC240
    process = await asyncio.create_subprocess_exec(
        programs.require("firefox"), "--profile", str(folder), *firefox.OPTIONS, "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with firefox.attached(folder) as page:
            await until_read(lambda: found(page))
    finally:
        await process.wait()


@pytest.mark.needs("certutil")
@pytest.mark.inspection
@pytest.mark.parametrize("kind", BROWSERS)
async def test_with_inspection_on_it_trusts_byways_ca_and_no_other(kind: str, tmp_path: Path) -> None:
    authority = Authority()
    async with (
        Site(authority) as site,
        inspecting(tmp_path, authority) as byway,
        opened(byway, kind) as page,
    ):
        await page.open(f"{site.url}/")
        assert "shown by the addon" in await page.text()
        assert {folder.parent for folder in stores_below(tmp_path)} <= {byway.state / "browser"}


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder with a short name, as XDG_RUNTIME_DIR has it: the path of a socket has to fit."""
    with tempfile.TemporaryDirectory(prefix="byway-", dir="/tmp") as folder:
        yield Path(folder)


def left(folder: Path) -> list[Path]:
    """Temporary profiles."""
    return [path for path in folder.glob("byway-browser-*") if path.is_dir()]


def stores_below(folder: Path) -> list[Path]:
    """Folders in which a browser or Byway has put certificates."""
    return [path.parent for path in folder.rglob("cert9.db")]


@pytest.mark.parametrize("kind", BROWSERS)
async def test_a_byway_that_stores_nothing_keeps_no_profile(kind: str, tmp_path: Path, temporary: Path) -> None:
    """The command waits for the window, and removes the profile."""
    environment = {"TMPDIR": str(temporary), "XDG_RUNTIME_DIR": ""}
    async with Byway(tmp_path, rules="MATCH,BLOCK\n", arguments=["--ephemeral"], environment=environment) as byway:
        options = CHROMIUM if kind == "chromium" else firefox.OPTIONS
        running = asyncio.get_running_loop().create_task(byway.command("browser", kind, "--", *options))
        await until(lambda: bool(left(temporary)) or running.done())
        (profile,) = left(temporary)
        assert profile.stat().st_mode & 0o777 == 0o700
        if kind == "firefox":
            async with firefox.attached(profile):
                pass
        else:
            async with chromium.attached(profile) as tab:
                await tab.call("Browser.close")
        await running
        assert not left(temporary)
        assert not (byway.state / "browser").exists()


@pytest.mark.parametrize("kind", BROWSERS)
async def test_a_profile_whose_command_was_killed_goes_at_the_next_start(
    kind: str, tmp_path: Path, temporary: Path
) -> None:
    """But not while its window is open."""
    environment = {"TMPDIR": str(temporary), "XDG_RUNTIME_DIR": ""}
    async with Byway(tmp_path, rules="MATCH,BLOCK\n", arguments=["--ephemeral"], environment=environment) as byway:
        options = CHROMIUM if kind == "chromium" else firefox.OPTIONS
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "proxy", "--config", str(byway.config), "--state", str(byway.state)),
            *("browser", kind, "--", *options),
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, **environment, "HOME": str(tmp_path / "home")},
        )  # fmt: skip
        await until(lambda: bool(left(temporary)))
        (profile,) = left(temporary)
        async with firefox.attached(profile) if kind == "firefox" else chromium.attached(profile) as page:
            command.kill()
            await command.wait()
            assert await byway.stop() == 0
            await byway.start()
            assert await byway.stop() == 0, "when all is removed that may be"
            assert left(temporary) == [profile]
            if isinstance(page, Tab):
                await page.call("Browser.close")
        await until(lambda: is_free(profile.with_name(f"{profile.name}.lock")))
        await byway.start()
        await until(lambda: not left(temporary))


def is_free(lock: Path) -> bool:
    """Whether no process holds it."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
