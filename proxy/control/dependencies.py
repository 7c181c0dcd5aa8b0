"""What the control server needs of the rest, and no more.

It reads; the little that it changes goes through three functions of the application, which keeps the memory, the store
and the plans in step. The Protocols stand for what is made from files and sockets: tests bring small ones of their own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from proxy.config.schema import Settings
from proxy.control.relay_test import Relays
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.relay_health import Health
from proxy.extend.manager import AddonState
from proxy.model import NetworkId, Outcome, Override, Plan, Request
from proxy.net.dns.resolver import Resolver
from proxy.probe.measure.inputs import ProbeEnvironment
from proxy.routing.router import Router
from proxy.session.events import Events
from proxy.store.relay_tests import RelayTests
from proxy.store.store import Store


class Loaded(Protocol):
    """Where the configuration came from."""

    @property
    def path(self) -> Path | None: ...
    @property
    def notices(self) -> Sequence[str]: ...


class Setup(Protocol):
    """What the user configured, as it is now."""

    @property
    def settings(self) -> Settings: ...
    @property
    def loaded(self) -> Loaded: ...
    @property
    def router(self) -> Router: ...
    @property
    def registry(self) -> Relays: ...
    @property
    def resolver(self) -> Resolver: ...


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Everything that the control server speaks to."""

    setup: Callable[[], Setup]
    beliefs: Beliefs
    health: Health
    store: Store
    network: Callable[[], NetworkId]
    reload: Callable[[], Awaitable[list[str]]]
    """Reads the configuration and the rules again. Returns the problems; none: it was taken."""
    live: Callable[[], Mapping[str, int | float | str]]
    """Counters of the moment: port, started_at, clients, tunnels, …"""
    follow: Callable[[], AsyncIterator[tuple[Outcome, NetworkId]]]
    """Outcomes from now on, as they are recorded, each with the network where it began."""
    events: Events
    override: Callable[[str, Override | None], None]
    """Sets what `byway site set` says of a host and all below it; None clears it."""
    means: Callable[[], ProbeEnvironment]
    """What sites are measured with, under the Setup of the moment."""
    plan: Callable[[Request], Awaitable[Plan]]
    """What would be done with a request now."""
    relay_tests: RelayTests
    """The last test of each relay."""
    addons: Callable[[], Sequence[AddonState]]
    """All addons that were found."""
