"""What a session asks of the inspector of decrypted traffic, which `intercept` implements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from proxy.model import Outcome
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.stream import SocketStream
from proxy.wire.flight import Flight


@frozen_dataclass
class InspectionDecision:
    """The decision about one connection. With neither field set, it goes on uninspected."""

    inspect: bool = False
    refusal: str = ""
    """One sentence: why the connection must end; empty when it may go on."""


DO_NOT_INSPECT = InspectionDecision()


@frozen_dataclass
class InspectedOrigin:
    """The inspector in place of an origin, for one plain HTTP request."""

    stream: SocketStream
    """Ends without a byte when there is no answer."""
    inside: Callable[[], Outcome | None]
    """The outcome of the inspector's own tunnel to the origin; None: it opened none."""


class Inspector(Protocol):
    """Decrypts and inspects the connections that a rule INSPECTs."""

    async def decide(self, outcome: Outcome, flight: Flight | None) -> InspectionDecision:
        """Decides twice: without a `flight` before the client gets its "connected", and again with one."""

    async def intercept(self, client: SocketStream, received: bytes, outcome: Callable[[], Outcome]) -> SocketStream:
        """Takes over a client from which `received` was read. Returns the stream on which the inspector is the
        session's client from then on; `outcome` returns the session's outcome so far. Raises OSError."""

    async def serve(self, outcome: Outcome) -> InspectedOrigin:
        """Takes the place of an origin, for one plain HTTP request and its answer. Raises OSError."""


class MadeInspector(Inspector, Protocol):
    """An Inspector, for those who made it."""

    @property
    def uninspected(self) -> str:
        """The hosts that are not inspected for now, since a client rejected their certificate; empty: none."""
        ...

    def on_addons_changed(self) -> None:
        """Other addons see requests from now on."""

    def forget_rejections(self) -> None:
        """Inspects again what clients had rejected."""

    def forget_hosts(self, meant: Callable[[str], bool]) -> None:
        """Forgets what is known of hosts, but for those of open connections."""

    async def close(self) -> None:
        """Ends all inspected connections."""
