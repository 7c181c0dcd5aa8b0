"""Faults of relays, and obstacles on the way to them, for `relay list` and `why`."""

from __future__ import annotations

from proxy.detect.relay_faults import NotedFault, RelayFault
from proxy.detect.relay_ways import Obstacle, RelayObstacle
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.relay_url import redact


@frozen_dataclass
class RelayFaultJson:
    """A fault of a relay. `fault` is its id, `text` describes it, `do` is the remedy, which ends with a command;
    `error` is the sentence of the last failure, with addresses."""

    relay: str
    fault: RelayFault
    text: str
    do: str
    since: float
    seen_at: float
    error: str

    @classmethod
    def of(cls, name: str, noted: NotedFault, *, network_allows_few: bool = False) -> RelayFaultJson:
        """`network_allows_few`: see `RelayFault.fix`."""
        return cls(
            relay=name,
            fault=noted.fault,
            text=noted.fault.text,
            do=noted.fault.fix(name, network_allows_few=network_allows_few),
            since=noted.since,
            seen_at=noted.seen_at,
            error=redact(noted.error),
        )


@frozen_dataclass
class RelayObstacleJson:
    """An obstacle on the way to a relay on this network. `obstacle` is its id, `words` and `text` describe it, `do` is
    the remedy, which ends with a command; `way` is the way that failed, `instead` the one that works (empty: none)."""

    relay: str
    obstacle: Obstacle
    words: str
    text: str
    do: str
    at: float
    way: str
    instead: str

    @classmethod
    def of(cls, name: str, obstacle: RelayObstacle) -> RelayObstacleJson:
        return cls(
            relay=name,
            obstacle=obstacle.kind,
            words=obstacle.words,
            text=obstacle.text(name),
            do=obstacle.fix(name),
            at=obstacle.at,
            way=str(obstacle.failed),
            instead="" if obstacle.instead is None else str(obstacle.instead),
        )
