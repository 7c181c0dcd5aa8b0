"""What an attacker would try on a real Byway, and the directions in which it must fail: closed, and silent.

A provider that speaks first, a page that reads our refusals, a neighbour that asks who we are, a file that is gone for
a moment. Whatever happens, a name that goes by relays alone is not told to anybody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.app.app import _POLL_S
from tests.support.byway import Byway, NotReady
from tests.support.client import fetch, tunnel
from tests.support.origin import Origin
from tests.support.relay import Relay
from tests.support.waiting import until

pytestmark = [pytest.mark.waits, pytest.mark.slow]

HIDDEN = "hidden.test"
HOSTS = f"""
[dns.hosts]
"{HIDDEN}" = "127.0.0.1"
"late.test" = "127.0.0.1"
"""
ONLY_BY_RELAY = f"DOMAIN,{HIDDEN},RELAY\n"


def hello(name: str) -> bytes:
    """A real ClientHello."""
    sent = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return sent.read()


class Listener:
    """A server that says `first` to whoever connects, and keeps all that it hears."""

    def __init__(self, first: bytes = b"") -> None:
        self.first = first
        self.heard = b""
        self.accepted = 0
        self.ended = asyncio.Event()
        self.port = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Listener]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        writer.write(self.first)
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.heard += data
        self.ended.set()
        writer.close()


# -- RELAY fails closed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("flight", [hello(HIDDEN), f"GET / HTTP/1.1\r\nHost: {HIDDEN}\r\n\r\n".encode()])
async def test_a_network_that_speaks_first_on_a_literal_does_not_learn_the_name(
    early: bool, flight: bytes, tmp_path: Path
) -> None:
    """The plan is made again on the flight's name also when a byte has come from the other side."""
    async with Listener(first=b"x").listening() as network, Byway(tmp_path, rules=ONLY_BY_RELAY) as byway:
        async with tunnel(f"127.0.0.1:{network.port}", byway.proxy) as (reader, writer):
            if early:
                await until(lambda: network.accepted == 1)
            else:
                assert await reader.readexactly(1) == b"x"
            writer.write(flight)
            assert await reader.read() in (b"", b"x")
        await asyncio.wait_for(network.ended.wait(), 10)
    assert network.heard == b""


async def test_a_server_that_speaks_first_is_still_served_on_a_literal(tmp_path: Path) -> None:
    async with (
        Listener(first=b"220 ready\r\n").listening() as mail,
        Byway(tmp_path, rules=ONLY_BY_RELAY) as byway,
        tunnel(f"127.0.0.1:{mail.port}", byway.proxy) as (reader, writer),
    ):
        assert await reader.readline() == b"220 ready\r\n"
        writer.write(b"EHLO me\r\n")
        await until(lambda: mail.heard == b"EHLO me\r\n")


async def test_a_tunnel_that_was_opened_ahead_follows_what_was_said_since(tmp_path: Path) -> None:
    """`site set` and an edited rule act on a tunnel through which nothing has gone yet."""
    async with Listener().listening() as origin, Byway(tmp_path, config=HOSTS) as byway:
        async with tunnel(f"late.test:{origin.port}", byway.proxy) as (reader, writer):
            await until(lambda: origin.accepted == 1)
            await byway.command("site", "set", "late.test", "RELAY")
            writer.write(hello("late.test"))
            assert await reader.read() == b""
        await asyncio.wait_for(origin.ended.wait(), 10)
    assert origin.heard == b""


async def test_a_big_plain_request_to_a_literal_is_planned_on_its_name(tmp_path: Path) -> None:
    """Cookies may be larger than what is kept for a second sending."""
    request = f"GET / HTTP/1.1\r\nHost: {HIDDEN}\r\nCookie: {'c' * 40_000}\r\n\r\n".encode()
    async with Listener().listening() as origin, Byway(tmp_path, rules=ONLY_BY_RELAY) as byway:
        async with tunnel(f"127.0.0.1:{origin.port}", byway.proxy) as (reader, writer):
            writer.write(request)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        await asyncio.wait_for(origin.ended.wait(), 10)
    assert origin.heard == b""


# -- what the user said is not lost ------------------------------------------------------------------------------------


async def set_to_relay(folder: Path) -> Byway:
    byway = Byway(folder, config=HOSTS)
    async with byway:
        await byway.command("site", "set", HIDDEN, "RELAY")
    return byway


async def assert_closed(byway: Byway, origin: Origin) -> None:
    answer = await fetch(f"http://{HIDDEN}:{origin.http_port}/", via=byway.proxy)
    assert answer.status == 502
    assert origin.requests == []


async def test_an_ephemeral_byway_keeps_to_what_site_set_said(tmp_path: Path) -> None:
    await set_to_relay(tmp_path)
    async with Origin() as origin, Byway(tmp_path, config=HOSTS, arguments=["--ephemeral"]) as byway:
        await assert_closed(byway, origin)


async def test_H1_what_site_set_said_is_kept_once_it_is_answered(tmp_path: Path) -> None:
    byway = Byway(tmp_path, config=HOSTS)
    async with byway:
        await byway.command("site", "set", HIDDEN, "RELAY")
        await byway.kill()
    async with Origin() as origin, byway:
        await assert_closed(byway, origin)


async def test_rules_hold_while_an_editor_saves_them(tmp_path: Path) -> None:
    """Some take the old file away, or empty it, and write the new one a moment later: before two polls see the same.
    What took longer, on a machine that stood still, shows nothing, and is tried again. Between two moments polls see
    the rules again."""
    in_time = 0
    async with Origin() as origin, Byway(tmp_path, config=HOSTS, rules=ONLY_BY_RELAY) as byway:
        while in_time < 2:
            seen, began = [], time.monotonic()
            byway.rules.unlink()
            for until_s, text in ((_POLL_S / 3, ""), (_POLL_S * 2 / 3, ONLY_BY_RELAY)):
                while time.monotonic() < began + until_s:
                    seen.append((await fetch(f"http://{HIDDEN}:{origin.http_port}/", via=byway.proxy)).status)
                    await asyncio.sleep(0.01)
                byway.rules.write_text(text)
            if time.monotonic() < began + _POLL_S:
                assert set(seen) == {502}
                in_time += 1
            await asyncio.sleep(4 * _POLL_S)
            async with asyncio.timeout(30):
                while (await fetch(f"http://{HIDDEN}:{origin.http_port}/", via=byway.proxy)).status != 502:
                    pass


async def test_what_site_set_said_survives_a_damaged_log(tmp_path: Path) -> None:
    file = (await set_to_relay(tmp_path)).state / "byway.sqlite"
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version = 99")
    async with Origin() as origin, Byway(tmp_path, config=HOSTS) as byway:
        assert list(byway.state.glob("*.corrupt-*"))
        await assert_closed(byway, origin)


async def test_what_site_set_said_holds_while_the_log_is_locked(tmp_path: Path) -> None:
    file = (await set_to_relay(tmp_path)).state / "byway.sqlite"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("BEGIN EXCLUSIVE")
        async with Origin() as origin:
            try:
                async with Byway(tmp_path, config=HOSTS) as byway:
                    await assert_closed(byway, origin)
            except NotReady:
                pass  # not to start is closed as well


async def test_a_rules_file_that_is_a_link_to_nowhere_is_a_fault(tmp_path: Path) -> None:
    """A folder that is not mounted must not look like no rules."""
    byway = Byway(tmp_path)
    byway.rules.symlink_to(tmp_path / "not mounted" / "rules.txt")
    with pytest.raises(NotReady):
        async with byway:
            pass
    assert "rules.txt" in byway.said.read_text()


# -- nobody is let in --------------------------------------------------------------------------------------------------

LAN = """
[listen]
address = "0.0.0.0"
user = "me"
password_cmd = "printf sesame"
"""


async def test_G3_a_reload_does_not_open_a_proxy_that_listens_beyond_this_computer(tmp_path: Path) -> None:
    async with Origin() as origin, Byway(tmp_path, config=LAN) as byway:
        byway.config.write_text("config_version = 1\n")
        byway.reload()
        await until(lambda: "listen" in byway.said.read_text().lower().split("browser's proxy")[-1])
        answer = await fetch(f"http://127.0.0.1:{origin.http_port}/", via=byway.proxy)
    assert answer.status == 407


async def ask(byway: Byway, request: str) -> bytes:
    """What a neighbour gets, who reaches us at an address of ours that is not loopback: {address} in the request."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address beyond loopback")
        address = probe.getsockname()[0]
    reader, writer = await asyncio.open_connection(address, byway.port)
    writer.write(request.format(port=byway.port, address=address).encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert b"{address}" not in answer
    return answer.replace(address.encode(), b"{address}").replace(str(byway.port).encode(), b"{port}")


@pytest.mark.parametrize(
    "request_",
    [
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n",
        "GET http://byway.internal/ HTTP/1.1\r\nHost: byway.internal\r\n\r\n",
        "GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: byway.internal\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: {address}:{port}\r\n\r\n",
        "GET /proxy.pac HTTP/1.1\r\nHost: {address}:{port}\r\n\r\n",
    ],
)
async def test_a_neighbour_without_the_password_is_not_told_what_this_is(request_: str, tmp_path: Path) -> None:
    async with Byway(tmp_path, config=LAN) as byway:
        assert b"byway" not in (await ask(byway, request_)).lower()


async def test_a_neighbour_gets_the_set_up_alone_and_only_by_the_address_itself(tmp_path: Path) -> None:
    def get(path: str, host: str) -> str:
        return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"

    async with Byway(tmp_path, config=LAN) as byway:
        assert b'"PROXY {address}:{port}; DIRECT"' in await ask(byway, get("/proxy.pac", "{address}:{port}"))
        assert b'"PROXY {address}:{port}"' in await ask(byway, get("/strict.pac", "{address}:{port}"))
        assert b"http://{address}:{port}/proxy.pac" in await ask(byway, get("/", "{address}:{port}"))
        for host in ("{address}", "{address}:1", "localhost:{port}", "wpad", "0.0.0.0:{port}"):
            assert (await ask(byway, get("/proxy.pac", host))).startswith(b"HTTP/1.1 421 ")
        for path in ("/v1/status", "/other"):
            assert (await ask(byway, get(path, "{address}:{port}"))).startswith(b"HTTP/1.1 404 ")


# -- what others get to know -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", [80, 443, 8443])
async def test_our_own_name_is_asked_of_no_resolver_and_no_relay(port: int, tmp_path: Path) -> None:
    """Browsers that want https first ask for a tunnel there."""
    async with Relay({}) as relay:
        config = f'[[relay]]\nname = "away"\nurl = "socks5h://{relay.address}:{relay.port}"\n'
        async with Byway(tmp_path, config=config) as byway:
            reader, writer = await asyncio.open_connection(*byway.proxy)
            writer.write(f"CONNECT byway.internal:{port} HTTP/1.1\r\nHost: byway.internal:{port}\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert relay.asked == []


async def test_a_page_that_reads_our_refusal_learns_nothing_of_the_relays(tmp_path: Path) -> None:
    """A script may read answers to its own site's plain HTTP requests, ours included."""
    with socket.create_server(("127.0.0.9", 0)) as taken:
        dead = taken.getsockname()[1]
    config = f'[[relay]]\nname = "berlin"\nurl = "socks5h://127.0.0.9:{dead}"\n{HOSTS}'
    async with Byway(tmp_path, config=config) as byway:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            nobody = taken.getsockname()[1]
        answer = await fetch(f"http://late.test:{nobody}/", via=byway.proxy)
        row = (await byway.read("log"))["rows"][0]
    assert answer.status == 502
    assert b"127.0.0.9" not in answer.body
    assert b"berlin" not in answer.body
    assert "berlin" in row["error"]


@pytest.mark.parametrize("umask", [0o000, 0o077])
async def test_every_file_and_folder_that_is_made_is_the_users_alone(umask: int, tmp_path: Path) -> None:
    prefix = ["sh", "-c", f'umask {umask:03o}; exec "$@"', "sh"]
    byway = Byway(tmp_path, config=HOSTS, prefix=prefix)
    config = byway.config
    byway.config = tmp_path / "made" / "new" / "config.toml"
    await byway.command("relay", "add", "socks5h://me:sesame@127.0.0.1:1080")
    byway.config = config
    async with byway:
        await fetch("http://late.test:9/", via=byway.proxy)
        await byway.command("site", "set", HIDDEN, "RELAY")
        assert (await byway.read("log"))["rows"]
        found = [path for top in (tmp_path / "made", byway.state) for path in (top, *top.rglob("*"))]
        assert {"config.toml", "run.json", "lock", "byway.sqlite", "byway.sqlite-wal"} <= {path.name for path in found}
        assert {path: oct(path.lstat().st_mode) for path in found if path.lstat().st_mode & 0o077} == {}


@pytest.mark.usefixtures("own_log")
async def test_a_fault_in_byway_names_no_destination_in_the_journal(capsys: pytest.CaptureFixture[str]) -> None:
    from proxy.app.process import _log_fault, _log_to_stderr
    from proxy.app.run_options import RunOptions
    from proxy.net.faults import Faults

    _log_to_stderr(RunOptions())
    _log_fault(
        Faults(),
        asyncio.get_running_loop(),
        {"message": f"task dial direct {HIDDEN}:443 failed", "exception": RuntimeError(f"no {HIDDEN}")},
    )
    said = capsys.readouterr().err
    assert "internal error: RuntimeError" in said
    assert HIDDEN not in said


# -- bounds ------------------------------------------------------------------------------------------------------------


async def test_B14_a_tunnel_through_which_nothing_ever_goes_ends_at_the_idle_limit(tmp_path: Path) -> None:
    config = "[limits]\nidle_timeout_s = 0.5\n"
    async with (
        Listener().listening() as origin,
        Byway(tmp_path, config=config) as byway,
        tunnel(f"127.0.0.1:{origin.port}", byway.proxy) as (reader, _writer),
    ):
        assert await asyncio.wait_for(reader.read(), 10) == b""


@pytest.mark.parametrize("flight", [hello("late.test"), b"GET / HTTP/1.1\r\nHost: late.test\r\n\r\n"])
async def test_a_flight_that_is_never_answered_ends_at_the_idle_limit(flight: bytes, tmp_path: Path) -> None:
    config = f"{HOSTS}[limits]\nidle_timeout_s = 0.5\n"
    async with (
        Listener().listening() as origin,
        Byway(tmp_path, config=config) as byway,
        tunnel(f"late.test:{origin.port}", byway.proxy) as (reader, writer),
    ):
        writer.write(flight)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_a_plain_request_that_is_never_answered_ends_at_the_exchange_limit(tmp_path: Path) -> None:
    config = f"{HOSTS}[limits]\nexchange_timeout_s = 0.5\n"
    async with Listener().listening() as origin, Byway(tmp_path, config=config) as byway:
        answer = await asyncio.wait_for(fetch(f"http://late.test:{origin.port}/", via=byway.proxy), 10)
    assert answer.status == 504
