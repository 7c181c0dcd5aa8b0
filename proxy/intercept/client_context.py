"""What the engine and the rest of Byway share about one inspected client. Imports nothing of mitmproxy.

InspectedClient names the host that a certificate is signed for, opens paths to origins, and has a callback for each
thing that the engine reports. UpstreamPath is a path that was opened: an internal tunnel, so that a request of the
engine is planned, raced and logged like one of a browser. AddonHooks is an addon's object with hooks of mitmproxy.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from proxy.extend.guard.runner import AddonRunner
from proxy.model import Destination, Outcome


@dataclass(frozen=True, slots=True)
class AddonHooks:
    """An addon's object that may have hooks of mitmproxy, and the runner of that addon."""

    runner: AddonRunner
    addon: object


@dataclass(frozen=True, slots=True)
class UpstreamPath:
    """An open path to an origin. The receiver closes `sock`."""

    sock: socket.socket
    outcome: Callable[[], Outcome]
    """The outcome so far: the plan, and the route once one has won."""


@dataclass(frozen=True, slots=True)
class InspectedClient:
    """One client whose connection is inspected."""

    host: str
    """The host that the client asked for, the only one that a certificate is signed for."""
    destination: Destination
    """Its destination; it has an address when the client gave one."""
    client: tuple[str, int]
    open: Callable[[Destination], Awaitable[UpstreamPath]]
    """Opens a path. Raises DialError, whose text names no relay: scripts of the site may read it."""
    on_certificate_accepted: Callable[[], None]
    """The client accepted our certificate."""
    on_certificate_rejected: Callable[[bool], None]
    """The client rejected it: with a TLS alert (True), or by closing the connection (False)."""
    on_origin_distrusted: Callable[[], None]
    """The certificate of the origin turned out to be invalid."""
    rejection_reason: Callable[[list[bytes]], str]
    """Why a chain (DER, the site's certificate first) is rejected although the system trusts it; "" if it is not."""
    is_silent: bool
    """Sends no error page when there is no answer: the client is a session of Byway, which writes its own."""
    on_response: Callable[[Outcome, str, str, int], None]
    """A request was answered: outcome, method, target, and size of the answer in bytes."""
