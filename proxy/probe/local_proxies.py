"""Finds the SOCKS and HTTP proxies that listen on this computer, and the kind of each.

It connects to known ports on 127.0.0.1, and sends requests that no proxy passes on: a SOCKS5 greeting, an HTTP request
about the server itself, a SOCKS4 command that does not exist. So nothing leaves this computer. Only a connection
through a proxy shows whether it reaches the internet, and the user has to allow that.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from proxy.model import Destination
from proxy.model.errors import DialError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.deadline import deadline
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.dns.resolver import Resolver
from proxy.net.poller import Poller
from proxy.wire import socks
from proxy.wire.relay_url import RelayKind

LOOPBACK = "127.0.0.1"
ANSWER_S = 2.0
"""Seconds for the answer to one request. The listener is on this computer; a Tor that is starting answers as fast."""

_ANSWER_LIMIT = 8192
_NO_METHOD = 0xFF
_SOCKS4_NOTHING = b"\x04\x00\x00\x01\x00\x00\x00\x01\x00\x00"
"""SOCKS4 command 0, for port 1 of no host. The command does not exist, so a proxy can only refuse it."""

# Header fields of proxies. Via is not among them: gateways of web servers, such as Caddy and Varnish, add it too.
_OF_PROXIES = re.compile(
    rb"^(?:proxy-[a-z-]+|x-squid-error|x-cache-lookup):|^server:.*(?:squid|tinyproxy|privoxy)", re.I | re.M
)


@frozen_dataclass
class KnownPort:
    """A port where programs offer a proxy by default. `name` is the name for a relay that is found there."""

    port: int
    name: str = "local"
    programs: str = ""


@frozen_dataclass
class Listener:
    """A listener on one port. `kind` is None when it answers neither as SOCKS nor as HTTP: some proxies answer only a
    request for a connection, or only over TLS. `is_proxy` is False for an HTTP server that may be no proxy.
    `wants_user`: it requires a user and password, or another authentication."""

    known: KnownPort
    kind: RelayKind | None = None
    is_proxy: bool = False
    wants_user: bool = False

    @property
    def url(self) -> str:
        return f"{self.kind}://{LOOPBACK}:{self.known.port}" if self.kind is not None else ""

    @property
    def words(self) -> str:
        """The kind, in words for people."""
        if self.kind is None:
            return "listens, but does not answer as a SOCKS or HTTP proxy"
        word = _WORDS[self.kind] if self.is_proxy else "HTTP: a proxy, or a web server"
        return f"{word}, wants a user and password" if self.wants_user else word


_WORDS = {RelayKind.SOCKS5H: "SOCKS5 proxy", RelayKind.SOCKS4A: "SOCKS4a proxy", RelayKind.HTTP: "HTTP proxy"}


def known_ports() -> list[KnownPort]:
    """Returns the known ports, as `local_proxies.csv` lists them."""
    lines = Path(__file__).with_name("local_proxies.csv").read_text("utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return [KnownPort(int(row["port"]), row["name"], row["programs"]) for row in rows]


async def find_listeners(ports: Iterable[KnownPort], poller: Poller, *, own: Collection[int]) -> list[Listener]:
    """Returns the listeners on these ports of 127.0.0.1, in about 3 × ANSWER_S, since all are tried at once. `own` are
    Byway's own ports, which are skipped."""
    dialer = loopback_dialer(poller)
    listeners = await asyncio.gather(*(_listener(dialer, each) for each in ports if each.port not in own))
    return [listener for listener in listeners if listener is not None]


def loopback_dialer(poller: Poller) -> TcpDialer:
    """Returns a dialer for 127.0.0.1 alone, so that requests from here never leave this computer."""

    def refuse_others(destination: Destination, address: object) -> str | None:
        return None if destination.host == LOOPBACK else f"{destination} is not on this computer"

    return TcpDialer(poller, Resolver(), refuse_others, connect_timeout_s=ANSWER_S)


async def _listener(dialer: TcpDialer, known_port: KnownPort) -> Listener | None:
    """Returns the listener on a port; None when there is none."""
    endpoint = Destination(LOOPBACK, known_port.port)
    # Offers no password: Tor would choose it where both are offered, although it requires none.
    answer = await _ask(dialer, endpoint, socks.socks5_greeting(with_password=False), 2)
    if answer is None:
        return None
    if answer[:1] == b"\x05" and len(answer) >= 2 and answer[1] in (socks.NO_AUTH, _NO_METHOD):
        return Listener(known_port, RelayKind.SOCKS5H, is_proxy=True, wants_user=answer[1] != socks.NO_AUTH)
    head = f"OPTIONS * HTTP/1.1\r\nHost: {endpoint}\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n".encode()
    answer = await _ask(dialer, endpoint, head, _ANSWER_LIMIT)
    if answer is not None and answer.startswith(b"HTTP/1."):
        wants_user = answer.split(b" ", 2)[1:2] == [b"407"]
        is_proxy = wants_user or _OF_PROXIES.search(answer) is not None
        return Listener(known_port, RelayKind.HTTP, is_proxy=is_proxy, wants_user=wants_user)
    answer = await _ask(dialer, endpoint, _SOCKS4_NOTHING, 8)
    if answer is not None and answer[:1] == b"\0" and answer[1:2] in (b"\x5b", b"\x5c", b"\x5d"):
        return Listener(known_port, RelayKind.SOCKS4A, is_proxy=True)
    return Listener(known_port)


async def _ask(dialer: TcpDialer, endpoint: Destination, question: bytes, size: int) -> bytes | None:
    """Sends a request, and returns the first bytes of the answer: `size` at most, and fewer when no more come in time
    or the other side closes. None: nothing listens there."""
    try:
        stream = await dialer.dial(endpoint)
    except DialError:
        return None
    answer = b""
    try:
        with contextlib.suppress(TimeoutError, OSError), deadline(ANSWER_S):
            await stream.send(question)
            while len(answer) < size and (part := await stream.receive(size - len(answer))):
                answer += part
    finally:
        with contextlib.suppress(OSError):
            stream.close()
    return answer
