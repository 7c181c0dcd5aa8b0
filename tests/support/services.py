"""What sessions share, for tests of what uses it: silence where nothing else was given."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any, cast

from proxy.config.schema import Detect
from proxy.detect.beliefs import Beliefs
from proxy.detect.health import Health
from proxy.detect.interception import KnownRoots
from proxy.extend.addons import Addons
from proxy.net.alarms import Alarms
from proxy.services import Services
from tests.support.outcomes import HOME

NO_RESOLVER: Any = SimpleNamespace(known=lambda _host: (), finding=lambda _host: None)
"""One that knows nothing and is asked nothing."""


class NoFlows:
    """In place of the watch over flows."""

    def __init__(self) -> None:
        self.watched: list[tuple[Any, ...]] = []

    def watch(self, *given: Any, **named: Any) -> object:
        self.watched.append(given)
        return object()

    def ended(self, flow: object, carried: object) -> None:
        pass


def services(**given: Any) -> Services:
    """Services with these parts, and the rest as for nobody."""
    defaults: dict[str, Any] = {
        "setup": None,
        "beliefs": Beliefs(Detect()),
        "health": Health(Detect()),
        "pump": None,
        "oracle": None,
        "network": lambda: HOME,
        "now": lambda: 1000.0,
        "request_ids": itertools.count(1),
        "believe": lambda _changes: None,
        "record": lambda _outcome, _network: None,
        "is_private": lambda _host: False,
        "adopt": None,
        "alarms": Alarms(lambda: 0.0),
        "known_addresses": lambda _host: (),
        "sound": lambda: None,
        "flows": NoFlows(),
        "roots": KnownRoots(),
        "visit_won": lambda _outcome: None,
        "tunnel_ended": lambda _outcome: None,
        "addons": Addons(),
        "inspector": None,
    }
    return Services(**cast(Any, defaults | given))
