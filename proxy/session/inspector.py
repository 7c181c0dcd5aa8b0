"""What a session asks of the inspector: it looks into what a rule INSPECTs, and `intercept` has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from proxy.model import Outcome
from proxy.net.stream import SocketStream
from proxy.wire.flight import Flight


@dataclass(frozen=True, slots=True)
class InspectionDecision:
    """What an inspector makes of a connection. Neither: it goes on as if no rule had said INSPECT."""

    inspect: bool = False
    refusal: str = ""
    """One sentence: why nothing of it may go on."""


DO_NOT_INSPECT = InspectionDecision()


@dataclass(frozen=True, slots=True)
class InspectedOrigin:
    """What stands in for an origin, for one plain HTTP request."""

    stream: SocketStream
    """It ends without a word where no answer came."""
    inside: Callable[[], Outcome | None]
    """How it went on from there; None: it did not."""


class Inspector(Protocol):
    """Looks into what a rule INSPECTs. `intercept` has it; here is what a session asks of it."""

    async def decide(self, outcome: Outcome, flight: Flight | None) -> InspectionDecision:
        """What becomes of a connection: first before its client is told "connected", without a `flight`, then with."""

    async def intercept(self, client: SocketStream, said: bytes, outcome: Callable[[], Outcome]) -> SocketStream:
        """Takes over a client that has `said` its first words. On what is returned the inspector speaks as the client
        of the session; `outcome` tells what has become of that. Raises OSError."""

    async def serve(self, outcome: Outcome) -> InspectedOrigin:
        """Takes the place of an origin, for one plain HTTP request and its answer. Raises OSError."""
