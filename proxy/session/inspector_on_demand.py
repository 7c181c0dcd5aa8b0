"""Implements session's Inspector in a run that may never inspect anything.

The MitmInspector and what it imports are made when a rule INSPECTs the first connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from proxy.model import Outcome
from proxy.net.stream import SocketStream
from proxy.session.inspector import InspectedOrigin, InspectionDecision
from proxy.wire.flight import Flight

if TYPE_CHECKING:
    from proxy.features.inspection.inspector import MitmInspector


class InspectorOnDemand:
    """Hands on to the inspector, which it makes when a session asks for it."""

    def __init__(self, make: Callable[[], MitmInspector]) -> None:
        self._make = make
        self._made: MitmInspector | None = None

    def needed(self) -> MitmInspector:
        """Returns the inspector."""
        if self._made is None:
            self._made = self._make()
        return self._made

    async def decide(self, outcome: Outcome, flight: Flight | None) -> InspectionDecision:
        """See Inspector."""
        return await self.needed().decide(outcome, flight)

    async def intercept(self, client: SocketStream, received: bytes, outcome: Callable[[], Outcome]) -> SocketStream:
        """See Inspector."""
        return await self.needed().intercept(client, received, outcome)

    async def serve(self, outcome: Outcome) -> InspectedOrigin:
        """See Inspector."""
        return await self.needed().serve(outcome)

    # The same as of MitmInspector, where there is one: without it there is nothing to do.

    def on_addons_changed(self) -> None:
        if self._made is not None:
            self._made.on_addons_changed()

    @property
    def uninspected(self) -> str:
        return "" if self._made is None else self._made.uninspected

    def forget_rejections(self) -> None:
        if self._made is not None:
            self._made.forget_rejections()

    def forget_hosts(self, meant: Callable[[str], bool]) -> None:
        if self._made is not None:
            self._made.forget_hosts(meant)

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()
