"""A test of a relay by PySocks, which shares no code with Byway: an independent check of our own dialers.

PySocks blocks, so each test has a daemon thread and a deadline. Tests are left out that it would do wrongly (a name
over 127 bytes, of which it sends a wrong one; an IPv6 literal over HTTP or SOCKS4), and unsafe ones (credentials in the
clear; a relay by its name, which it would look up with this network's name servers).
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from concurrent.futures import Future

from proxy.model import Destination, literal
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.relay_url import RelayKind, RelayUrl, redact

NAME_LIMIT = 127
"""The most bytes of a name that PySocks encodes correctly."""

TIMEOUT_S = 10
_DEADLINE_S = 12.0
"""Total time limit. PySocks limits only each read, so a relay that sends a byte a second would never time out."""

_TYPES = {
    RelayKind.SOCKS5H: "SOCKS5",
    RelayKind.SOCKS5: "SOCKS5",
    RelayKind.SOCKS4A: "SOCKS4",
    RelayKind.SOCKS4: "SOCKS4",
    RelayKind.HTTP: "HTTP",
}
"""The kinds that PySocks supports, by its own names."""


@frozen_dataclass
class Opinion:
    """The result of PySocks. With `asked` False, `error` is the reason for which it was not used."""

    asked: bool
    ok: bool = False
    elapsed_s: float = 0.0
    error: str = ""


async def second_opinion(relay: RelayUrl, destination: Destination, *, may_send_credentials: bool) -> Opinion:
    """Opens a path to `destination` through `relay` with PySocks, and closes it."""
    if reason := _why_not(relay, destination, may_send_credentials=may_send_credentials):
        return Opinion(asked=False, error=reason)
    answer: Future[Opinion] = Future()
    threading.Thread(target=_ask, args=(relay, destination, answer), name="PySocks", daemon=True).start()
    try:
        return await asyncio.wait_for(asyncio.wrap_future(answer), _DEADLINE_S)
    except TimeoutError:
        return Opinion(asked=True, elapsed_s=_DEADLINE_S, error=f"no complete answer within {_DEADLINE_S:g} s")


def _why_not(relay: RelayUrl, destination: Destination, *, may_send_credentials: bool) -> str:
    address, at = destination.address, literal(relay.host)
    if relay.kind is RelayKind.ADDON:
        return "PySocks cannot test a relay of an addon"
    if relay.kind is RelayKind.KEY:
        return "PySocks does not support keys"
    if relay.kind is RelayKind.HTTPS:
        return "PySocks does not support TLS to relays"
    if relay.kind not in _TYPES:
        return f"PySocks does not support {relay.kind} relays"
    if relay.alternatives:
        return "PySocks does not support alternatives (?alt=)"
    if len(destination.host.encode()) > NAME_LIMIT:
        return f"PySocks sends a wrong destination for names over {NAME_LIMIT} bytes"
    if (
        address is not None
        and address.version == 6
        and relay.kind in (RelayKind.HTTP, RelayKind.SOCKS4, RelayKind.SOCKS4A)
    ):
        return f"PySocks does not support IPv6 addresses over {relay.kind}"
    if address is None and relay.needs_address:
        return "PySocks would resolve the name itself"
    if relay.sends_credentials and not may_send_credentials and not (at is not None and at.is_loopback):
        return "the user and password may not be sent without TLS"
    if at is None:
        return "PySocks would ask the system's name servers for the relay"
    return ""


def _ask(relay: RelayUrl, destination: Destination, answer: Future[Opinion]) -> None:
    began = time.monotonic()
    try:
        _connect(relay, destination).close()
        opinion = Opinion(asked=True, ok=True, elapsed_s=time.monotonic() - began)
    except Exception as error:  # a wrong answer of the relay can make PySocks raise anything
        text = redact(str(error)).splitlines()[0] if str(error) else type(error).__name__
        opinion = Opinion(asked=True, elapsed_s=time.monotonic() - began, error=text)
    if not answer.cancelled():
        answer.set_result(opinion)


def _connect(relay: RelayUrl, destination: Destination) -> socket.socket:
    """Connects as socks.create_connection does, but closes the socket whatever PySocks raises."""
    import socks

    failure: OSError = OSError(f"{relay.host} has no address")
    for family, kind, protocol, _, _ in socket.getaddrinfo(relay.host, relay.port, type=socket.SOCK_STREAM):
        sock = socks.socksocket(family, kind, protocol)
        try:
            sock.settimeout(TIMEOUT_S)
            proxy_type = socks.PROXY_TYPES[_TYPES[relay.kind]]
            # rdns True: the relay resolves the name.
            sock.set_proxy(proxy_type, relay.host, relay.port, True, relay.user or None, relay.password or None)
            sock.connect((destination.host, destination.port))
            return sock
        except OSError as error:
            _close(sock)
            failure = error
        except BaseException:
            _close(sock)
            raise
    raise failure


def _close(sock: socket.socket) -> None:
    """Closes the socket, even when PySocks has a file object on it, which would keep it open."""
    if (descriptor := sock.detach()) >= 0:
        socket.close(descriptor)
