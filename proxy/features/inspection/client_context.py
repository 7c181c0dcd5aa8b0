"""The interface between the engine and the rest of Byway for one inspected client. Imports nothing of mitmproxy.

InspectedClient names the host that a certificate is signed for, opens paths to origins, and gets the reports of the
engine; `inspector` implements it. UpstreamPath is an open path: an internal tunnel, so that a request of the engine is
planned, raced and logged like one of a browser. AddonHooks is an addon's object with hooks of mitmproxy.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from proxy.model import Destination, Outcome
from proxy.model.frozen_dataclass import frozen_dataclass

if TYPE_CHECKING:
    from proxy.extend.guard.runner import AddonRunner


@frozen_dataclass
class AddonHooks:
    """An addon's object that may have hooks of mitmproxy, and the runner of that addon."""

    runner: AddonRunner
    addon: object


@frozen_dataclass
class UpstreamPath:
    """An open path to an origin. The receiver closes `sock`."""

    sock: socket.socket
    outcome: Callable[[], Outcome]
    """The outcome so far: the plan, and the route once one has won."""


class InspectedClient(Protocol):
    """One client whose connection is inspected."""

    @property
    def host(self) -> str:
        """The requested host, the only one that a certificate is signed for."""

    @property
    def destination(self) -> Destination:
        """The requested destination; it has an address if the client named one."""

    @property
    def address(self) -> tuple[str, int]:
        """The client's own address and port."""

    @property
    def is_silent(self) -> bool:
        """Whether the client gets no error page without an answer: it is a session, which writes its own."""

    async def open(self, destination: Destination) -> UpstreamPath:
        """Opens a path. Raises DialError, whose text names no relay, since scripts of the site may read it."""

    def rejection_reason(self, chain: Sequence[bytes]) -> str:
        """Returns the reason to reject a chain (DER, the site's certificate first) that the system trusts; "": there is
        none."""

    def on_certificate_accepted(self) -> None:
        """Called when the client accepted our certificate."""

    def on_certificate_rejected(self, *, by_alert: bool) -> None:
        """Called when the client rejected it: with a TLS alert, or by closing the connection."""

    def on_origin_distrusted(self) -> None:
        """Called when the certificate of the origin turned out to be invalid."""

    def on_response(self, outcome: Outcome, method: str, target: str, size: int) -> None:
        """Called when a request was answered, with `size` bytes of body."""
