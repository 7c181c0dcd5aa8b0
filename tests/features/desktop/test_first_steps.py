"""What a person at a terminal reads after "listens", with a relay and without; nothing is sent meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from proxy.features.desktop.first_steps import FirstSteps
from proxy.model import Destination
from proxy.net.poller import make_poller
from proxy.probe.local_proxies import KnownPort, Listener
from proxy.setup.desktop.programs import DesktopError
from proxy.wire.relay_url import RelayKind
from tests.support.byway import Byway
from tests.support.terminal import Terminal
from tests.support.waiting import until

TOR = Listener(KnownPort(9050, "tor", "Tor"), RelayKind.SOCKS5H, is_proxy=True)
SQUID = Listener(KnownPort(3128, "squid", "squid"), RelayKind.HTTP, is_proxy=True, wants_user=True)
WEB_SERVER = Listener(KnownPort(8080, "http", "Psiphon, others"), RelayKind.HTTP)


@pytest.fixture
async def steps() -> FirstSteps:
    poller = make_poller(asyncio.get_running_loop())
    return FirstSteps(Destination("127.0.0.1", 8119), poller, command=".venv/bin/byway")


@pytest.mark.parametrize(
    ("has_link", "connectivity", "line"),
    [
        (False, [], "this computer has no network connection. Connect to a network; Byway need not restart."),
        (False, ["u 4", "b true"], "this computer has no network connection. Connect to a network; Byway need not res"),
        (True, ["u 2", "b true"], "captive portal. Open any page in a browser and log in to the network."),
        (
            True,
            ["u 3", "b true"],
            "connected, but NetworkManager's check failed. `.venv/bin/byway doctor` finds the reason.",
        ),
        (True, ["u 4", "b true"], "internet access works (NetworkManager's check)."),
        (True, ["u 4", "b false"], "connected, not tested yet."),  # it tests nothing, and says "full" of any network
        (True, ["u 0", "b true"], "connected, not tested yet."),
        (True, ["something else"], "connected, not tested yet."),
        (True, [], "connected, not tested yet. `.venv/bin/byway doctor` tests it."),
    ],
)
async def test_the_network(steps: FirstSteps, has_link: bool, connectivity: Sequence[str], line: str) -> None:
    assert steps.network_line(has_link, connectivity).startswith(f"Network: {line}")


async def test_the_browser(steps: FirstSteps) -> None:
    assert "`.venv/bin/byway browser`, in a second terminal." in steps.browser_line(True)
    assert steps.browser_line(False).startswith("Browser: set 127.0.0.1:8119 as its HTTP proxy; http://127.0.0.1:8119/")


async def test_relays_are_offered_and_a_web_server_is_not(steps: FirstSteps) -> None:
    none = "Relays: none found on this computer. `.venv/bin/byway relay add URL` adds one."
    assert steps.relays_line([]) == none
    assert steps.relays_line([WEB_SERVER, Listener(KnownPort(1080))]) == none
    assert steps.relays_line([TOR, WEB_SERVER, SQUID]) == (
        "Relays: found on this computer, not used yet: port 9050 (SOCKS5 proxy, usually Tor), "
        "port 3128 (HTTP proxy, wants a user and password, usually squid). `.venv/bin/byway relay scan` adds them."
    )
    assert " and 2 more. " in steps.relays_line([TOR] * 5)


@pytest.mark.skipif(sys.platform != "linux", reason="NetworkManager is Linux only")
async def test_without_networkmanager_nothing_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    def run(*words: str) -> str:
        asked.extend(words)
        raise DesktopError("busctl is not installed")

    poller = make_poller(asyncio.get_running_loop())
    steps = FirstSteps(Destination("127.0.0.1", 8119), poller, command="byway", run=run)
    await steps.print_all()
    assert "get-property" in asked
    assert capsys.readouterr().out.startswith(("Network: connected, not tested yet.", "Network: this computer has no"))


# -- the real thing ----------------------------------------------------------------------------------------------------


def command(folder: Path, *words: str, config: str = "") -> list[str]:
    """`byway run` with a folder of its own."""
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text(f"config_version = 1\n{config}")
    files = ("--config", str(folder / "config.toml"), "--state", str(folder / "state"))
    return [sys.executable, "-P", "-m", "proxy", "run", "--port", "0", *files, *words]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """The folder of sockets is the test's own: in a namespace this user has another number, and the folder of that
    number may be somebody else's."""
    with tempfile.TemporaryDirectory(prefix="byway-") as runtime:
        yield {**os.environ, "HOME": str(tmp_path), "TERM": "xterm", "XDG_RUNTIME_DIR": runtime}


async def test_with_a_relay_only_the_browser_is_left_to_tell(tmp_path: Path, environment: Mapping[str, str]) -> None:
    relay = '[[relay]]\nname = "r"\nurl = "socks5h://127.0.0.1:9"\n'
    with Terminal(command(tmp_path, config=relay), environment) as terminal:
        await terminal.until("Browser: ")
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.ends() == 0
        first, second, last = terminal.lines
    assert first.endswith("for HTTP, SOCKS4 and SOCKS5 (relays: r). Ctrl-C stops it.")
    assert second.startswith("Browser: ")
    assert last.endswith(" Byway ends; open connections may finish. Ctrl-C again ends at once")


async def test_in_a_pipe_and_with_quiet_there_are_no_steps(tmp_path: Path, environment: Mapping[str, str]) -> None:
    async with Byway(tmp_path) as byway:
        await byway.stop()
    assert len(byway.said.read_text().splitlines()) == 2
    with Terminal(command(tmp_path / "quiet", "-q"), environment) as terminal:
        state = tmp_path / "quiet" / "state" / "run.json"
        await until(state.exists)
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.ends() == 0
        assert terminal.printed == ""


@pytest.mark.namespaces
@pytest.mark.needs("ip", "unshare")
async def test_without_a_network_it_says_so_and_serves(tmp_path: Path, environment: Mapping[str, str]) -> None:
    alone = ["unshare", "-Urn", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    with Terminal([*alone, *command(tmp_path)], environment) as terminal:
        await terminal.until("Relays: none found")
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.ends() == 0
    assert terminal.lines[1].startswith("Network: this computer has no network connection.")
