"""Real programs that `byway relay scan` finds, and that nothing is passed on by its questions; the command itself."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.features.relays.scan import scan, try_out
from proxy.model import Destination
from proxy.probe.local_proxies import KnownPort
from tests.support import programs
from tests.support.command_line import Byway, Home
from tests.support.one_answer import answering
from tests.support.programs_running import free_port

pytestmark = pytest.mark.waits

_START_S = 60.0


@contextlib.contextmanager
def running(folder: Path, port: int, program: str, *arguments: str) -> Iterator[Path]:
    """A program that listens on a port; what it says is in the file."""
    said = folder / f"{program}.txt"
    with said.open("wb") as log:
        process = subprocess.Popen([programs.require(program), *arguments], stdout=log, stderr=log, cwd=folder)
        try:
            _wait_for(port, process, said)
            yield said
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], said: Path) -> None:
    for _ in range(int(_START_S / 0.05)):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            break
    raise AssertionError(f"{process.args!r} does not listen on {port}: {said.read_text(errors='replace')[-2000:]}")


def words(port: int) -> str:
    (listener,) = scan([KnownPort(port)], own=())
    return listener.words


def leads_out(port: int, to: int) -> tuple[bool, bool | None]:
    """Whether a connection through it opens, by our dialer and by PySocks."""
    listeners = scan([KnownPort(port)], own=())
    (tried,) = try_out(listeners, Destination("127.0.0.1", to))
    return tried.trial.ok, tried.pysocks_ok


# -- real programs -----------------------------------------------------------------------------------------------------


@pytest.mark.needs("microsocks")
def test_microsocks(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, port, "microsocks", "-i", "127.0.0.1", "-p", str(port)) as said, answering(b"x") as origin:
        assert words(port) == "SOCKS5 proxy"
        assert "connected to" not in said.read_text(), "it was asked nothing that it passes on"
        assert leads_out(port, origin) == (True, True)
        assert leads_out(port, free_port()) == (False, False)


@pytest.mark.needs("microsocks")
def test_microsocks_with_a_password(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, port, "microsocks", "-i", "127.0.0.1", "-p", str(port), "-u", "me", "-P", "secret"):
        assert words(port) == "SOCKS5 proxy, wants a user and password"


@pytest.mark.needs("tinyproxy")
@pytest.mark.parametrize("auth", ["", "BasicAuth me secret\n"])
def test_tinyproxy(tmp_path: Path, auth: str) -> None:
    port, settings = free_port(), tmp_path / "tinyproxy.conf"
    log = tmp_path / "log.txt"
    settings.write_text(f'Port {port}\nListen 127.0.0.1\nTimeout 60\nLogFile "{log}"\nLogLevel Connect\n{auth}')
    with running(tmp_path, port, "tinyproxy", "-d", "-c", str(settings)), answering(b"x") as origin:
        expected = "HTTP proxy, wants a user and password" if auth else "HTTP proxy"
        assert words(port) == expected
        assert "Established connection to host" not in log.read_text()
        if not auth:
            assert leads_out(port, origin) == (True, True)


@pytest.mark.slow
@pytest.mark.needs("squid")
def test_squid(tmp_path: Path) -> None:
    port, settings = free_port(), tmp_path / "squid.conf"
    user = f"cache_effective_user {pwd.getpwuid(os.getuid()).pw_name}\n" if os.getuid() else ""
    tmp_path.chmod(0o777)
    settings.write_text(
        f"http_port 127.0.0.1:{port}\npid_filename none\naccess_log none\ncache_log {tmp_path}/cache.log\n"
        f"cache deny all\nhttp_access allow all\nshutdown_lifetime 0 seconds\nnetdb_filename none\n{user}"
    )
    with running(tmp_path, port, "squid", "-N", "-f", str(settings)), answering(b"x") as origin:
        assert words(port) == "HTTP proxy"
        assert leads_out(port, origin) == (True, True)


@pytest.mark.needs("tor")
def test_tor_that_has_no_circuit(tmp_path: Path) -> None:
    port = free_port()
    # A bridge where nothing listens: Tor asks it and nobody else, and has no circuit.
    arguments = ("--SocksPort", f"127.0.0.1:{port}", "--DataDirectory", str(tmp_path / "data"), "--ClientOnly", "1")
    bridge = ("--UseBridges", "1", "--Bridge", f"127.0.0.1:{free_port()}")
    (tmp_path / "torrc").write_text("")
    with running(tmp_path, port, "tor", *arguments, *bridge, "-f", str(tmp_path / "torrc")):
        assert words(port) == "SOCKS5 proxy"


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.needs("microsocks")
def test_found_proxies_are_added_as_relays_when_asked_for(byway: Byway, home: Home, tmp_path: Path) -> None:
    port, closed = free_port(), free_port()
    with (
        running(tmp_path, port, "microsocks", "-i", "127.0.0.1", "-p", str(port)),
        answering(b"\x05\xff") as locked,
        answering(b"x") as origin,
    ):
        home.config.write_text(f'[auto]\ncontrols = ["http://127.0.0.1:{origin}/"]\n')
        asked = f"{port},{locked},{closed}"
        ran = byway("relay", "scan", "--ports", asked)
        assert ran.rows == [
            ["port", "usually", "found", "leads out", "relay"],
            [str(port), "", "SOCKS5 proxy", "", ""],
            [str(locked), "", "SOCKS5 proxy, wants a user and password", "not tried", ""],
        ]
        assert f"byway relay add socks5h://USER@127.0.0.1:{locked}" in ran.err
        assert "[[relay]]" not in home.config.read_text(), "nothing is added unless it is asked for"
        document = byway("relay", "scan", "--ports", asked, "--try-out", "--add", "--json").json
        found = document["listeners"]
        assert [(each["leads_out"], each["pysocks_leads_out"]) for each in found] == [(True, True), (None, None)]
        assert document["added"] == ["local"]
        assert json.loads(json.dumps(document))["asked"] == [port, locked, closed]
        assert byway("relay", "scan", "--ports", asked, "--add").rows[1][-1] == "local", "it is a relay already"
        assert home.config.read_text().count("[[relay]]") == 1


@pytest.mark.usefixtures("person")
def test_a_person_is_asked_before_anything_leaves_and_before_a_relay_is_added(
    byway: Byway, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    questions: list[str] = []
    answers = iter([False, True])

    def confirm(question: str) -> bool:
        questions.append(question)
        return next(answers)

    monkeypatch.setattr("proxy.features.relays.commands.confirm", confirm)
    with answering(b"\x05\x00") as port:
        ran = byway("relay", "scan", "--ports", str(port))
    assert questions == [
        "Open two connections to example.com:443 through each, to see whether it leads out?",
        f"Add as relays: {port}?",
    ]
    assert "SOCKS5 proxy" in ran.out
    assert f"socks5h://127.0.0.1:{port}" in home.config.read_text()


def test_what_is_no_port_is_refused(byway: Byway, home: Home) -> None:
    for wrong in ("0", "65536", "socks", "1080,", "-1"):
        assert byway("relay", "scan", "--ports", wrong).code == 2
    ran = byway("relay", "scan", "--ports", str(free_port()))
    assert (ran.code, "No proxy was found" in ran.err) == (0, True)
    assert "Byway's own port was not asked: 8119." in byway("relay", "scan", "--ports", "8119").err


def test_that_nothing_left_is_said_only_when_it_is_so(byway: Byway, home: Home) -> None:
    with answering(b"\x05\x00") as port:
        assert "Asked 1 ports of this computer; nothing left it." in byway("relay", "scan", "--ports", str(port)).err
        tried = byway("relay", "scan", "--ports", str(port), "--try-out")
    assert "Asked 1 ports of this computer." in tried.err
