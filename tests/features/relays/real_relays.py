"""Relays that people run, on loopback: microsocks, tinyproxy and stunnel, each with a user and a password."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import programs
from tests.support.authority import Authority
from tests.support.programs_running import free_port

USER, PASSWORD = "someone", "correct-horse"
_START_S = 20.0


@dataclass(frozen=True)
class RealRelays:
    """Ports on 127.0.0.1: an origin that accepts and closes, and the relays."""

    origin: int
    microsocks: int
    tinyproxy: int
    stunnel: int
    ca: Path

    def url(self, program: str, *, password: str = PASSWORD) -> str:
        user = f"{USER}:{password}@127.0.0.1"
        return {
            "microsocks": f"socks5://{user}:{self.microsocks}",
            "tinyproxy": f"http://{user}:{self.tinyproxy}",
            "stunnel": f"https://{user}:{self.stunnel}?ca={self.ca}",
        }[program]


@contextlib.contextmanager
def real_relays(folder: Path) -> Iterator[RealRelays]:
    """Starts them, and ends them on leaving."""
    authority = Authority()
    certificate, key = authority.write_server(folder, "127.0.0.1")
    with contextlib.ExitStack() as stack:
        origin = stack.enter_context(_origin())
        microsocks, tinyproxy, stunnel = (free_port() for _ in range(3))
        proxy_settings = folder / "tinyproxy.conf"
        proxy_settings.write_text(
            f"Port {tinyproxy}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nLogLevel Connect\n"
            f"BasicAuth {USER} {PASSWORD}\n"
        )
        tls_settings = folder / "stunnel.conf"
        tls_settings.write_text(
            f"foreground = yes\npid =\ndebug = notice\nsyslog = no\n[relay]\naccept = 127.0.0.1:{stunnel}\n"
            f"connect = 127.0.0.1:{tinyproxy}\ncert = {certificate}\nkey = {key}\n"
        )
        log = stack.enter_context((folder / "relays.txt").open("wb"))
        for port, command in (
            (microsocks, ["microsocks", "-i", "127.0.0.1", "-p", str(microsocks), "-u", USER, "-P", PASSWORD]),
            (tinyproxy, ["tinyproxy", "-d", "-c", str(proxy_settings)]),
            (stunnel, ["stunnel", str(tls_settings)]),
        ):
            program, *arguments = command
            process = subprocess.Popen([programs.require(program), *arguments], stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            _wait_for(port, process)
        yield RealRelays(origin, microsocks, tinyproxy, stunnel, authority.write(folder))


@contextlib.contextmanager
def _origin() -> Iterator[int]:
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                server.accept()[0].close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)  # it may have ended instead
    raise AssertionError(f"{process.args!r} does not listen on {port}")
