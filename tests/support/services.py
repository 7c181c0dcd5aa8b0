"""The services of sessions for tests; parts that a test does not give do nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.relay_groups import RelayGroups
from proxy.detect.relay_health import Health
from proxy.detect.tls_interception import KnownRoots
from proxy.extend.dispatch import Addons
from proxy.model import Change, NetworkId, Outcome
from proxy.net.client_programs import ClientPrograms
from proxy.net.race.shared_findings import SharedFindings
from proxy.session.events import Delivered, Ended, Events, Learned, OpenRecord, Rescued, SignalWaits, TunnelEnded
from proxy.session.services import Services
from proxy.wire.flight import Flight
from tests.support.outcomes import HOME


async def _nowhere(_host: str) -> None:
    return None


NO_RESOLVER: Any = SimpleNamespace(
    known=lambda _host: (),
    finding=lambda _host: None,
    is_local_zone=lambda _host: False,
    may_be_local_zone=lambda _host: False,
    elsewhere=_nowhere,
)
"""A resolver that knows nothing."""

NO_PAGES: Any = None
"""The block pages of a Setup under which nothing classifies an answer."""


class NoFlows:
    """A replacement for the watch over flows."""

    def __init__(self) -> None:
        self.watched: list[tuple[Any, ...]] = []

    def watch(self, *given: Any, **named: Any) -> object:
        self.watched.append(given)
        return object()

    def ended(self, flow: object, carried: object) -> None:
        pass


def events_to(
    *,
    believe: Callable[[Sequence[Change]], object] | None = None,
    record: Callable[[Outcome, NetworkId], object] | None = None,
    sound: Callable[[], object] | None = None,
    tunnel_ended: Callable[[Outcome], object] | None = None,
    delivered: Callable[[Delivered], None] | None = None,
) -> Events:
    """Returns Events with these handlers."""
    events = Events()
    if believe is not None:
        events.on(Learned, lambda learned: void(believe(learned.changes)))
    if record is not None:
        events.on(Ended, lambda ended: void(record(ended.outcome, ended.network)))
    if sound is not None:
        events.on(SignalWaits, lambda _: void(sound()))
    if tunnel_ended is not None:
        events.on(TunnelEnded, lambda ended: void(tunnel_ended(ended.outcome)))
    if delivered is not None:
        events.on(Delivered, delivered)
        events.on(Rescued, delivered)
    return events


NO_SETUP: Any = None
"""For a record without a plan and a race."""


def visit_of(setup: Any, outcome: Outcome, flight: Flight) -> Rescued:
    """Returns a Rescued for handlers that read only its record and flight. It also stands for a Delivered."""
    return Rescued(setup, cast(OpenRecord, Judged(outcome)), flight, outcome)


class Judged:
    """The record of a visit whose attempts are all judged."""

    network = HOME

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    async def direct_judged(self) -> None:
        pass

    def retain(self) -> None:
        pass

    def release(self) -> None:
        pass


def void(_: object) -> None:
    pass


def services(*, events: Events | None = None, **given: Any) -> Services:
    """Returns services with these parts; the others do nothing. `believe`, `record`, `sound`, `tunnel_ended` and
    `delivered` are handlers of events."""
    told = {name: given.pop(name, None) for name in ("believe", "record", "sound", "tunnel_ended", "delivered")}
    defaults: dict[str, Any] = {
        "setup": None,
        "beliefs": Beliefs(DetectTuning()),
        "health": Health(DetectTuning()),
        "pump": None,
        "tcp_info": None,
        "network": lambda: HOME,
        "now": lambda: 1000.0,
        "request_ids": itertools.count(1),
        "events": events or events_to(**told),
        "is_private": lambda _host: False,
        "adopt": None,
        "findings": SharedFindings(lambda: 0.0),
        "flows": NoFlows(),
        "roots": KnownRoots,
        "addons": Addons(),
        "inspector": None,
        "programs": ClientPrograms(lambda: 0),
    }
    made = defaults | given
    return Services(**cast(Any, {"groups": RelayGroups(made["health"])} | made))
