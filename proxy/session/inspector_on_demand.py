"""An Inspector that makes the real one, with its imports, when a rule INSPECTs the first connection."""

from __future__ import annotations

from collections.abc import Callable

from proxy.model import Outcome
from proxy.model.errors import BywayError
from proxy.net.stream import SocketStream
from proxy.session.inspector import InspectedOrigin, InspectionDecision, MadeInspector
from proxy.wire.flight import Flight


class InspectorOnDemand:
    """Forwards all calls to the inspector, which the first session that needs it makes."""

    def __init__(self, make: Callable[[], MadeInspector]) -> None:
        self._make = make
        self._made: MadeInspector | None = None

    def needed(self) -> MadeInspector:
        """Returns the inspector. Raises BywayError where none can be made."""
        if self._made is None:
            self._made = self._make()
        return self._made

    async def decide(self, outcome: Outcome, flight: Flight | None) -> InspectionDecision:
        """See Inspector."""
        try:
            inspector = self.needed()
        except BywayError as error:  # a connection that cannot be inspected is refused
            return InspectionDecision(refusal=f"{outcome.request.destination} is not inspected: {error}")
        return await inspector.decide(outcome, flight)

    async def intercept(self, client: SocketStream, received: bytes, outcome: Callable[[], Outcome]) -> SocketStream:
        """See Inspector."""
        return await self.needed().intercept(client, received, outcome)

    async def serve(self, outcome: Outcome) -> InspectedOrigin:
        """See Inspector."""
        return await self.needed().serve(outcome)

    # The methods of MadeInspector do nothing before the inspector is made.

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
