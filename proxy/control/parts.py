"""What the control server needs of the rest, and no more.

It reads; the little that it changes goes through three functions of the application, which keeps the memory, the store
and the plans in step. The Protocols name only what is used, so that tests bring small parts of their own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from proxy.config.schema import Settings
from proxy.control.trial import Relays
from proxy.detect.health import RelayHealth
from proxy.model import (
    Belief,
    Change,
    Destination,
    NetworkId,
    Outcome,
    Override,
    Plan,
    Request,
)
from proxy.routing.rules import Rules


class Loaded(Protocol):
    """Where the configuration came from."""

    @property
    def path(self) -> Path | None: ...
    @property
    def notices(self) -> Sequence[str]: ...


class Router(Protocol):
    """Says what would be done with a request, and why."""

    def plan(
        self, request: Request, belief: Belief, *, relays: Sequence[str], now: float, host: str | None = None
    ) -> Plan: ...
    def trace(self, destination: Destination) -> Sequence[str]: ...
    @property
    def rules(self) -> Rules: ...
    @property
    def overrides(self) -> Mapping[str, Override]: ...


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


class Beliefs(Protocol):
    """What is held about hosts."""

    def lookup(self, host: str, *, network: NetworkId, now: float) -> Belief: ...
    def all(self, *, now: float) -> Iterable[Belief]: ...
    def forget(self, scope: str | None = None, network: NetworkId | None = None) -> Sequence[Change]: ...


class Health(Protocol):
    """How the relays do."""

    def order(self, names: Sequence[str], now: float) -> Sequence[str]: ...
    def of(self, name: str) -> RelayHealth: ...
    def is_open(self, name: str, now: float) -> bool: ...


class Store(Protocol):
    """The log. What reads may wait for the disk, and is called in a thread."""

    @property
    def trouble(self) -> str: ...
    @property
    def notices(self) -> Sequence[str]: ...
    def flush(self, timeout_s: float = ...) -> bool: ...

    def log(
        self, *, since: float, site: str | None, route: str | None, outcome: str | None, limit: int
    ) -> list[dict[str, Any]]: ...
    def changes(self, scope: str | None = None) -> list[dict[str, Any]]: ...
    def route_success(self, since: float) -> list[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that the control server speaks to."""

    setup: Callable[[], Setup]
    beliefs: Beliefs
    health: Health
    store: Store
    network: Callable[[], NetworkId]
    reload: Callable[[], list[str]]
    """Reads the configuration and the rules again. Returns the problems; none: it was taken."""
    live: Callable[[], Mapping[str, int | float | str]]
    """Counters of the moment: port, started_at, clients, tunnels, …"""
    follow: Callable[[], AsyncIterator[Outcome]]
    """Outcomes from now on, as they are recorded."""
    believe: Callable[[Sequence[Change]], None]
    """Keeps what beliefs have become."""
    override: Callable[[str, Override | None], None]
    """Sets what `byway site set` says of a host and all below it; None clears it."""
