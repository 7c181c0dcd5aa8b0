"""`relay add KEY --pin ask`: what is shown is what the server shows, and it is kept only if the person says so."""

from __future__ import annotations

import hashlib
import socket
import ssl
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.features.relays import commands
from tests.support.authority import Authority
from tests.support.command_line import Byway, Home
from tests.support.rows import each_row

PASSWORD = "hunter2hunter2"


class Server:
    """A TLS server with a certificate of its own. It keeps what comes after each handshake, and the names asked for."""

    def __init__(self, folder: Path) -> None:
        chain, key = Authority().write_server(folder, "hidden.test")
        own = chain.read_text().partition("-----END CERTIFICATE-----")
        self.pin = hashlib.sha256(ssl.PEM_cert_to_DER_cert(own[0] + own[1])).hexdigest()
        self.came: list[bytes] = []
        self.names: list[str | None] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(chain, key)
        self._context.sni_callback = lambda _, name, __: self.names.append(name)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            plain.settimeout(20)
            try:
                with self._context.wrap_socket(plain, server_side=True) as stream:
                    self.came.append(stream.recv(1000))
            except OSError:
                self.came.append(b"")  # it was reset: nothing came

    def close(self) -> None:
        """Ends the thread, after which `came` is whole."""
        if self._thread.is_alive():
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._thread.join()

    def link(self, scheme: str = "trojan", fields: str = "sni=hidden.test&allowInsecure=1") -> str:
        return f"{scheme}://{PASSWORD}@127.0.0.1:{self.port}{fields and '?'}{fields}#mine"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.close()


def relays(home: Home) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(home.config.read_text()).get("relay", [])
    return found


def test_what_the_server_shows_is_kept_if_the_person_says_so(byway: Byway, home: Home, server: Server) -> None:
    ran = byway("relay", "add", server.link(), "--pin", "ask", "--yes", "--local", "--no-test")
    assert ran.code == 0
    assert f"SHA-256 {server.pin}." in ran.err
    assert "from the key's owner" in ran.err
    assert PASSWORD not in ran.out + ran.err
    assert [(relay["name"], relay["pin"]) for relay in relays(home)] == [("mine", server.pin)]
    assert server.names == ["hidden.test"]
    server.close()
    assert server.came == [b""], "nothing of the key was sent"


@each_row(("answer", "kept"), [(False, 0), (True, 1)])
def test_at_a_terminal_the_person_is_asked(
    byway: Byway, home: Home, server: Server, monkeypatch: pytest.MonkeyPatch, answer: bool, kept: int
) -> None:
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return answer

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(commands, "confirm", confirm)
    ran = byway("relay", "add", server.link(), "--pin", "ask", "--local", "--no-test")
    assert ran.code == 0
    assert len(asked) == 1
    assert len(relays(home)) == kept


def test_where_nobody_can_be_asked_it_is_told_and_not_kept(byway: Byway, home: Home, server: Server) -> None:
    ran = byway("relay", "add", server.link(), "--pin", "ask", "--local", "--no-test")
    assert ran.code == 2
    assert server.pin in ran.err
    assert relays(home) == []


def test_no_server_in_the_local_network_is_asked_without_local(byway: Byway, home: Home, server: Server) -> None:
    ran = byway("relay", "add", server.link(), "--pin", "ask", "--yes")
    assert ran.code != 0
    assert (
        "the server of this key, 127.0.0.1, is in the local network; to add it all the same: `byway relay add --local`"
        in ran.err
    )
    assert "config.toml" not in ran.err
    assert server.names == []
    assert relays(home) == []


@each_row(
    ("scheme", "fields", "why"),
    [
        ("hysteria2", "sni=hidden.test&insecure=1", "reached over UDP"),
        ("vless", "security=none", "has no certificate"),
        ("socks5h", "", "is for one key"),
    ],
)
def test_what_shows_no_certificate_is_not_asked(
    byway: Byway, home: Home, server: Server, scheme: str, fields: str, why: str
) -> None:
    ran = byway("relay", "add", server.link(scheme, fields), "--pin", "ask", "--yes", "--local", "--no-test")
    assert ran.code == 2
    assert why in ran.err
    assert server.names == []
    assert relays(home) == []


def test_a_server_that_speaks_no_tls_is_told(byway: Byway, home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def refuse() -> None:
            plain, _ = listener.accept()
            with plain:
                plain.recv(1000)
                plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        link = f"trojan://{PASSWORD}@127.0.0.1:{port}?allowInsecure=1"
        ran = byway("relay", "add", link, "--pin", "ask", "--yes", "--local", "--no-test")
        thread.join()
    assert ran.code != 0
    assert "does not answer as a TLS server" in ran.err
    assert relays(home) == []
