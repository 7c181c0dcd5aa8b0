"""The events that sessions and probes emit; `app.wiring` subscribes their handlers.

Handlers run at once, in the order of subscription, on the loop that emits. An exception in a handler goes to the loop's
exception handler; the connection and the other handlers go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from proxy.model import Change, Evidence, NetworkId, Outcome, Request, Route
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.tasks import report_fault
from proxy.session.setup import Setup
from proxy.wire.flight import Flight
from proxy.wire.tls import CertificateReply


class OpenRecord(Protocol):
    """A connection record that is not in the log yet. A handler may `retain` it, add evidence, and then `release`
    it."""

    network: NetworkId

    @property
    def outcome(self) -> Outcome: ...
    async def direct_judged(self) -> None:
        """Waits until a direct attempt that the winner overtook is judged."""

    def retain(self) -> None: ...
    def release(self) -> None: ...
    def add_evidence(self, route: Route, evidence: Evidence) -> None: ...


@frozen_dataclass
class Delivered:
    """Direct delivered the first bytes of a user's visit, under the Setup in force."""

    setup: Setup
    record: OpenRecord
    flight: Flight


@frozen_dataclass
class Doubted(Delivered):
    """They are those of a page over plain HTTP that may not be the site's own (`PageDoubt`). `answer` has them all."""

    answer: bytes


@frozen_dataclass
class Rescued(Delivered):
    """Another route than direct delivered them. `outcome` is the one at that time."""

    outcome: Outcome


@frozen_dataclass
class Unserved(Delivered):
    """No route delivered them, though a whole flight was sent. The client waits no longer."""

    outcome: Outcome


@frozen_dataclass
class TransferSlow:
    """A user's transfer over plain direct was much slower than those of other hosts, at `bytes_s`, and is over, or
    rests."""

    outcome: Outcome
    network: NetworkId
    bytes_s: float


@frozen_dataclass
class TunnelEnded:
    """Both sides of a tunnel that carried TLS are closed. Its record may still be open."""

    outcome: Outcome
    reply: CertificateReply


class Routine(Protocol):
    """A connection under AUTO for which direct alone was tried, and delivered. Most handlers need only its bytes."""

    request: Request
    at: float
    bytes_up: int
    bytes_down: int

    @property
    def outcome(self) -> Outcome: ...


class Ended:
    """A connection's record is complete: the row of the log. The outcome of a `routine` connection is made when a
    handler reads it, which is rare."""

    __slots__ = ("_outcome", "network", "routine")

    def __init__(self, outcome: Outcome | None, network: NetworkId, routine: Routine | None = None) -> None:
        """With `outcome` None, the outcome is that of `routine`."""
        self._outcome = outcome
        self.network = network
        self.routine = routine

    @property
    def outcome(self) -> Outcome:
        if self._outcome is None:
            assert self.routine is not None
            self._outcome = self.routine.outcome
        return self._outcome


@frozen_dataclass
class Learned:
    """Beliefs changed."""

    changes: Sequence[Change]


@frozen_dataclass
class SignalWaits:
    """A signal was observed, which may count only after a control measurement."""


@frozen_dataclass
class HostsForgotten:
    """The user had hosts forgotten: every part that keeps names of hosts drops them."""


Event = (
    Delivered
    | Doubted
    | Rescued
    | Unserved
    | TransferSlow
    | TunnelEnded
    | Ended
    | Learned
    | SignalWaits
    | HostsForgotten
)
E = TypeVar("E", bound=Event)


class Events:
    """Calls the handlers of each event. Belongs to one loop."""

    def __init__(self) -> None:
        self._handlers: dict[type[object], tuple[Callable[[Any], None], ...]] = {}

    def on(self, kind: type[E], *handlers: Callable[[E], None]) -> None:
        """Adds handlers of one kind of event."""
        self._handlers[kind] = (*self._handlers.get(kind, ()), *handlers)

    def off(self, kind: type[E], handler: Callable[[E], None]) -> None:
        """Removes a handler of one kind of event, if it is subscribed."""
        self._handlers[kind] = tuple(each for each in self._handlers.get(kind, ()) if each != handler)

    def emit(self, event: Event) -> None:
        """Calls the handlers of this kind of event."""
        for handler in self._handlers.get(type(event), ()):
            try:
                handler(event)
            except Exception as error:
                report_fault(f"{getattr(handler, '__qualname__', handler)} on {type(event).__name__}", error)

    def without(self, *kinds: type[Event]) -> Events:
        """Returns the same handlers, except for these kinds of event."""
        events = Events()
        events._handlers = {kind: handlers for kind, handlers in self._handlers.items() if kind not in kinds}
        return events
