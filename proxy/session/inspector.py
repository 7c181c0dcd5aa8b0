"""The interface between a session and the inspector of decrypted traffic, which the inspection feature implements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from proxy.model import Outcome
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.stream import SocketStream
from proxy.wire.flight import Flight


@frozen_dataclass
class InspectionDecision:
    """The decision about one connection. With neither field set, the connection goes on uninspected."""

    inspect: bool = False
    refusal: str = ""
    """One sentence: why the connection must end; empty when it may go on."""


DO_NOT_INSPECT = InspectionDecision()


@frozen_dataclass
class InspectedOrigin:
    """The inspector in place of an origin, for one plain HTTP request."""

    stream: SocketStream
    """Carries the answer; EOF without a byte when there is none."""
    inside: Callable[[], Outcome | None]
    """Returns the outcome of the inspector's own tunnel to the origin; None when it opened none."""


class Inspector(Protocol):
    """Decrypts and inspects the connections that a rule INSPECTs."""

    async def decide(self, outcome: Outcome, flight: Flight | None) -> InspectionDecision:
        """Decides about a connection. Called before the client gets "connected", without a `flight`, and again with
        it."""

    async def intercept(self, client: SocketStream, received: bytes, outcome: Callable[[], Outcome]) -> SocketStream:
        """Takes over a client from which `received` was read. Returns a stream: its other end, the inspector, is the
        client of the session from then on. `outcome` returns the session's outcome so far. Raises OSError."""

    async def serve(self, outcome: Outcome) -> InspectedOrigin:
        """Takes the place of an origin, for one plain HTTP request and its answer. Raises OSError."""


class MadeInspector(Inspector, Protocol):
    """An Inspector, with the methods for its owner."""

    @property
    def uninspected(self) -> str:
        """The hosts that are not inspected for now, because a client rejected their certificate; empty when none."""
        ...

    def on_addons_changed(self) -> None:
        """Shows later requests to the present addons."""

    def forget_rejections(self) -> None:
        """Inspects hosts again whose certificate a client had rejected."""

    def forget_hosts(self, meant: Callable[[str], bool]) -> None:
        """Forgets the data about the hosts that `meant` selects, except those of open connections."""

    async def close(self) -> None:
        """Ends all inspected connections."""
