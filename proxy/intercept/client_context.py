"""What the engine and the rest of Byway know of each other, for one inspected client. No mitmproxy here.

A Meeting says for whom our certificate is, how the engine reaches origins, and whom it tells what its client thinks of
the certificate. A Way is a path that was opened for it: an inner tunnel of Byway's, so that what the engine sends is
planned, raced, rescued and logged as if a browser had sent it. A Guest is an addon that the engine lets take part.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from proxy.extend.guard.runner import AddonRunner
from proxy.model import Destination, Outcome


@dataclass(frozen=True, slots=True)
class AddonHooks:
    """An object of the user's that may have hooks of mitmproxy's, and the guard of the addon that it belongs to."""

    runner: AddonRunner
    addon: object


@dataclass(frozen=True, slots=True)
class UpstreamPath:
    """An open path to an origin, which belongs to who got it."""

    sock: socket.socket
    outcome: Callable[[], Outcome]
    """How it goes: the plan, and the route once one has won."""


@dataclass(frozen=True, slots=True)
class InspectedClient:
    """One client whose connection is looked into."""

    host: str
    """Whom the client asked for, and the only one in whose name anything is signed for it."""
    destination: Destination
    """Where that is: an address when the client came with one."""
    client: tuple[str, int]
    open: Callable[[Destination], Awaitable[UpstreamPath]]
    """Raises DialError, with a sentence that names no relay: scripts of the site may read it."""
    on_certificate_accepted: Callable[[], None]
    """The client has taken our certificate."""
    on_certificate_rejected: Callable[[bool], None]
    """It has not: it said so in an alert, or (False) it just left when it had seen it."""
    on_origin_distrusted: Callable[[], None]
    """The certificate of an origin was not good after all."""
    rejection_reason: Callable[[list[bytes]], str]
    """What speaks against a presented chain (DER, the site's first) that the system trusts; empty when nothing does."""
    is_silent: bool
    """Where no answer comes, the client is told nothing: it is a session of ours, with words of its own for that."""
    on_response: Callable[[Outcome, str, str, int], None]
    """A request was answered: how it went, its method and target, and the bytes of the answer."""
