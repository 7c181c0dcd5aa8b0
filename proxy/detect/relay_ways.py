"""What is believed of the ways to each relay, on each network: which one worked, which one failed and how.

A way counts as failed only when another way to the same relay worked: a relay that is down, or a network that is,
says nothing of its ways. A failed way goes last, and is re-tested beside a visit when it is due. What failed and what
worked instead, compared, name the obstacle: a filter on the name, a dead address, a forged answer, a transfer that
stalls. In memory only: to learn it again costs one visit a moment.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from proxy.config.detect_tuning import DetectTuning
from proxy.model import Destination, NetworkId, Symptom, host_and_port
from proxy.model.bounded import Bounded
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.relay_way import RelayWay

RELAYS_MAX = 256
"""Relays times networks that are remembered."""

WAYS_MAX = 64
"""Ways that are remembered of each: 9 endpoints, some addresses, two strategies."""

AVOIDED_S = 60.0
"""Seconds for which a way goes behind the others after the relay broke off or was silent beyond it."""

AFTER_HELLO = frozenset({Symptom.RESET, Symptom.EOF, Symptom.GARBAGE, Symptom.DROPPED, Symptom.SILENT})
"""Failures by which a ClientHello may have been filtered, so that a strategy may help."""

_AT_CONNECT = frozenset({Symptom.TIMEOUT, Symptom.UNREACHABLE})
_FIRST_STEP_FROZEN = 1  # a way whose transfers stall is not tested by a handshake, so it is tried again later


class Obstacle(StrEnum):
    """What is in the way to a relay. The value is the id in JSON."""

    SNI_RESET = "sni_reset"
    SNI_DROP = "sni_drop"
    DNS = "dns"
    ADDRESS = "address"
    FROZEN = "frozen"


@frozen_dataclass
class RelayObstacle:
    """An obstacle on this network, with the evidence for it."""

    kind: Obstacle
    failed: RelayWay
    symptom: Symptom
    at: float  # seconds since the epoch: when it was last seen
    instead: RelayWay | None = None  # the way that works
    bytes_down: int = 0  # FROZEN: after so many


@dataclass(slots=True)
class _Record:
    """One way. Times are in seconds since the epoch; 0: never."""

    worked_at: float = 0.0
    failed_at: float = 0.0
    failures: int = 0  # in a row; 0: the way does not count as failed
    symptom: Symptom = Symptom.NONE
    due_at: float = 0.0  # when it is tried again
    avoided_until: float = 0.0
    bytes_down: int = 0


_Records = Bounded[RelayWay, _Record]


_NO_RECORDS: Mapping[RelayWay, _Record] = MappingProxyType({})


class RelayWays:
    """The ways to all relays. Belongs to one thread. A relay is known by the endpoint of its URL."""

    def __init__(self, settings: DetectTuning, *, rng: random.Random | None = None) -> None:
        self._settings = settings
        self._rng = rng if rng is not None else random.SystemRandom()
        self._ways: Bounded[tuple[NetworkId, Destination], _Records] = Bounded(RELAYS_MAX)
        self._troubled: set[tuple[NetworkId, Destination]] = set()  # where a way failed or is avoided

    def order(
        self,
        relay: Destination,
        ways: Sequence[RelayWay],
        network: NetworkId,
        now: float,
        *,
        filtered: Collection[RelayWay] = (),
    ) -> Sequence[RelayWay]:
        """Returns the ways to try, in order. `ways` are all of them, the preferred first, each strategy behind the way
        without one. A strategy is tried where the hello was filtered: as far as is known, or now (`filtered`). Failed
        ways come last, the one that failed longest ago first."""
        if (network, relay) not in self._troubled and not filtered:
            return [way for way in ways if not way.strategy]  # the usual case
        records = self._known(network, relay)
        ranked = [(_rank(way, records, filtered, now), way) for way in ways]
        return [way for rank, way in sorted(ranked, key=lambda item: item[0]) if rank < _NOT_NOW]

    def worked(self, relay: Destination, way: RelayWay, network: NetworkId, now: float) -> None:
        """The way led to the relay. This takes nothing back of a transfer that stalled."""
        record = self._record(network, relay, way)
        record.worked_at, record.avoided_until = now, 0.0
        if record.failures and record.symptom is not Symptom.FROZEN:
            record.failures, record.symptom = 0, Symptom.NONE
            self._note_trouble(network, relay)

    def failed(self, relay: Destination, way: RelayWay, symptom: Symptom, network: NetworkId, now: float) -> None:
        """The way failed, and another way to the relay worked."""
        self._fail(self._record(network, relay, way), symptom, now)
        self._troubled.add((network, relay))

    def froze(self, relay: Destination, peer: str, bytes_down: int, network: NetworkId, now: float) -> None:
        """A transfer over the way to `peer` ("address:port") stopped for good, while others went on."""
        way = self._in_use(network, relay, peer) or RelayWay(relay, host_and_port(peer)[0])
        record = self._record(network, relay, way)
        record.worked_at = now  # up to there
        record.bytes_down = bytes_down
        self._fail(record, Symptom.FROZEN, now)
        self._troubled.add((network, relay))

    def carried(self, relay: Destination, peer: str, network: NetworkId, now: float) -> None:
        """A transfer over the way to `peer` brought more than stalled ones ever do."""
        way = self._in_use(network, relay, peer)
        record = self._record(network, relay, way) if way is not None else None
        if record is not None and record.failures and record.symptom is Symptom.FROZEN:
            record.failures, record.symptom = 0, Symptom.NONE
            self._note_trouble(network, relay)

    def overtaken(self, relay: Destination, way: RelayWay, network: NetworkId, now: float) -> None:
        """Another way was quicker, and the verdict on this one is to come: the others go first for a while."""
        self._record(network, relay, way).avoided_until = now + AVOIDED_S
        self._troubled.add((network, relay))

    def avoid(self, relay: Destination, peer: str, network: NetworkId, now: float) -> None:
        """The way to `peer` was open, and the relay's handshake then failed on it: the others go first for a while."""
        if (way := self._in_use(network, relay, peer)) is not None:
            self.overtaken(relay, way, network, now)

    def due(self, relay: Destination, ways: Collection[RelayWay], network: NetworkId, now: float) -> RelayWay | None:
        """Returns a failed way among `ways` that is to be re-tested now, and counts that as done."""
        if (network, relay) not in self._troubled:
            return None
        for way, record in self._known(network, relay).items():
            if record.failures and record.symptom is not Symptom.FROZEN and now >= record.due_at and way in ways:
                record.due_at = now + self._delay(record.failures)
                return way
        return None

    def obstacle(self, relay: Destination, network: NetworkId, now: float) -> RelayObstacle | None:
        """Returns what is in the way to the relay on this network, the gravest; None when nothing is known to be."""
        if (network, relay) not in self._troubled:
            return None
        records = self._known(network, relay)
        works = {
            way: record.worked_at
            for way, record in records.items()
            if not record.failures and now - record.worked_at < self._settings.unvisited_s
        }
        found = []
        for way, record in records.items():
            if not record.failures or now - record.failed_at >= self._settings.unvisited_s:
                continue
            kind = _kind(way, record.symptom, works)
            if kind is not None:
                instead = _instead(way, works)
                found.append(RelayObstacle(kind, way, record.symptom, record.failed_at, instead, record.bytes_down))
        return min(found, key=lambda obstacle: _GRAVEST_FIRST.index(obstacle.kind), default=None)

    def keep(self, relays: Collection[Destination]) -> None:
        """Forgets every relay that is not among `relays`: after a reload."""
        for key in [key for key in self._ways if key[1] not in relays]:
            del self._ways[key]
            self._troubled.discard(key)

    def _known(self, network: NetworkId, relay: Destination) -> Mapping[RelayWay, _Record]:
        return self._ways.get((network, relay), _NO_RECORDS)

    def _record(self, network: NetworkId, relay: Destination, way: RelayWay) -> _Record:
        records = self._ways.get((network, relay))
        if records is None:
            records = self._ways[network, relay] = _Records(WAYS_MAX)
            self._troubled.intersection_update(self._ways)
        record = records.get(way)
        if record is None:
            record = records[way] = _Record()
        return record

    def _fail(self, record: _Record, symptom: Symptom, now: float) -> None:
        record.failures += 1
        record.failed_at, record.symptom = now, symptom
        step = record.failures + (_FIRST_STEP_FROZEN if symptom is Symptom.FROZEN else 0)
        record.due_at = now + self._delay(step)

    def _delay(self, step: int) -> float:
        """Seconds until the re-test after the failure of this number."""
        steps = self._settings.retest_blocked_s
        return steps[min(step, len(steps)) - 1] * (1 + self._settings.retest_jitter * self._rng.random())

    def _in_use(self, network: NetworkId, relay: Destination, peer: str) -> RelayWay | None:
        """The way to `peer` that worked last; None: unknown, or it has never worked."""
        records = self._known(network, relay)
        there = [way for way, record in records.items() if record.worked_at and str(way.target) == peer]
        return max(there, key=lambda way: records[way].worked_at, default=None)

    def _note_trouble(self, network: NetworkId, relay: Destination) -> None:
        records = self._known(network, relay)
        if not any(record.failures or record.avoided_until for record in records.values()):
            self._troubled.discard((network, relay))


_USUAL, _BEHIND, _AVOIDED, _FAILED, _NOT_NOW = ((float(rank), 0.0) for rank in range(5))


def _rank(
    way: RelayWay, records: Mapping[RelayWay, _Record], filtered: Collection[RelayWay], now: float
) -> tuple[float, float]:
    """Where a way stands in the order; ways of one rank keep theirs."""
    record = records.get(way)
    if record is not None and record.failures and not (record.symptom is Symptom.FROZEN and now >= record.due_at):
        return _FAILED[0], record.failed_at
    if record is not None and now < record.avoided_until:
        return _AVOIDED
    if not way.strategy or way.plain in filtered:
        return _USUAL
    plain = records.get(way.plain)
    if plain is None or not plain.failures:
        return _NOT_NOW
    return _USUAL if plain.symptom in AFTER_HELLO else _BEHIND if plain.symptom is Symptom.FROZEN else _NOT_NOW


_GRAVEST_FIRST = (Obstacle.FROZEN, Obstacle.SNI_RESET, Obstacle.SNI_DROP, Obstacle.DNS, Obstacle.ADDRESS)


def _kind(way: RelayWay, symptom: Symptom, works: Collection[RelayWay]) -> Obstacle | None:
    """What the failure of a way means beside the ways that work; None: nothing that the network must have done."""
    if symptom is Symptom.FROZEN:
        return Obstacle.FROZEN
    if way.strategy or not works:
        return None
    if symptom in AFTER_HELLO and any(other.strategy and other.plain == way for other in works):
        return Obstacle.SNI_DROP if symptom in (Symptom.DROPPED, Symptom.SILENT) else Obstacle.SNI_RESET
    if symptom is Symptom.CERTIFICATE and way.endpoint.address is None:
        return Obstacle.DNS
    return Obstacle.ADDRESS if symptom in _AT_CONNECT or symptom in AFTER_HELLO else None


def _instead(failed: RelayWay, works: dict[RelayWay, float]) -> RelayWay | None:
    """The way that worked last, one at the same address before others."""
    return max(works, key=lambda way: (way.plain == failed.plain, works[way]), default=None)
