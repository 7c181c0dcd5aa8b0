"""What is believed of the ways to each relay, on each network: which one worked, which one failed and how.

A way counts as failed only when another way to the same relay worked: a relay that is down, or a network that is,
says nothing of its ways. A failed way goes last, and is re-tested beside a visit when it is due. The way in use stays
in use: an untried one may stop half-way through a page, and only a transfer shows that. What failed and what worked
instead, compared, name the obstacle: a filter on the name, a dead address, a forged answer, a transfer that stalls.
Where something failed it is kept over a restart (`remembered`, `restore`), and so is which way is proven to carry more
than stalled transfers bring: else each start would have to find it out again.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from types import MappingProxyType

from proxy.config.detect_tuning import DetectTuning
from proxy.model import UNKNOWN_NETWORK, Destination, NetworkId, Symptom, host_and_port
from proxy.model.bounded import Bounded
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import Phrase, _, sentences
from proxy.model.relay_way import KnownWay, RelayWay, WayOrder

RELAYS_MAX = 256
"""Relays times networks that are remembered."""

WAYS_MAX = 64
"""Ways that are remembered of each: 9 endpoints, some addresses, two strategies."""

AVOIDED_S = 60.0
"""Seconds for which a way goes behind the others after the relay broke off or was silent beyond it."""

KEPT_S = 600.0
"""Seconds after its last dial for which the way in use is tried first; as in RFC 6555, section 4.2, for families."""

STALLS_APART_S = 5.0
"""Seconds between two stalled transfers that count as two: a page has many connections."""

_STALLS_WITHIN_S = 3600.0

_PROOF_SAVED_S = 86_400.0
"""A proof that is younger is not saved again: large transfers come every minute."""

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

    def text(self, relay: str) -> str:
        """In words: what is observed, and what is used instead."""
        where, kib = str(self.failed.target), max(1, round(self.bytes_down / 1024))
        match self.kind:
            case Obstacle.SNI_RESET:
                what = _(
                    "Relay {relay} is blocked by SNI on this network (connection reset after the TLS ClientHello)."
                )
            case Obstacle.SNI_DROP:
                what = _("Relay {relay} is blocked by SNI on this network (its TLS ClientHello is dropped).")
            case Obstacle.DNS:
                what = _("The name of relay {relay} gets forged answers on this network: {where} is another server.")
            case Obstacle.FROZEN:
                what = _("Transfers through relay {relay} stall after {kib} KB on this network ({where}).")
            case Obstacle.ADDRESS if self.symptom in AFTER_HELLO:
                what = _("TLS with relay {relay} fails at {where} on this network, by the network or by that server.")
            case Obstacle.ADDRESS:
                what = _("Relay {relay} does not answer at {where} on this network: that address is blocked, or down.")
        what = what.given(relay=relay, where=where, kib=kib)
        if self.instead is None:
            return what
        if self.instead.strategy and self.instead.plain == self.failed:
            return sentences([what, _("A fragmented ClientHello works and is used.")])
        return sentences([what, _("{address} works and is used.", address=str(self.instead.target))])

    @property
    def words(self) -> str:
        """In a few words, to stand beside the relay's name."""
        if self.kind is Obstacle.ADDRESS:
            return _("no answer at {address} here", address=str(self.failed.target))
        return _WORDS[self.kind]

    def fix(self, relay: str) -> str:
        """What to do about it: the last command shows whether it helped."""
        test = f"byway relay test {relay}"
        # Else a page is lost when the other one is tried again.
        if self.kind is Obstacle.FROZEN and self.instead is not None:
            return _(
                "reload pages that stopped; put {address} first in its URL, then {test}",
                address=str(self.instead.target),
                test=test,
            )
        return _FIXES[self.kind].given(test=test)


_WORDS: Mapping[Obstacle, Phrase] = MappingProxyType(
    {
        Obstacle.SNI_RESET: _("blocked by SNI here"),
        Obstacle.SNI_DROP: _("blocked by SNI here"),
        Obstacle.DNS: _("its name gets forged answers here"),
        Obstacle.FROZEN: _("transfers stall here"),
    }
)

_FIXES: Mapping[Obstacle, Phrase] = MappingProxyType(
    {
        Obstacle.SNI_RESET: _(
            "add another name of its certificate (?sni=NAME) or address (?alt=HOST:PORT), then {test}"
        ),
        Obstacle.SNI_DROP: _(
            "add another name of its certificate (?sni=NAME) or address (?alt=HOST:PORT), then {test}"
        ),
        Obstacle.DNS: _('remove secure = "never" from [dns], or write its address into its URL, then {test}'),
        Obstacle.ADDRESS: _("if that address is gone, remove it from its URL, then {test}"),
        Obstacle.FROZEN: _("add another address of it to its URL (?alt=HOST:PORT), or use another relay, then {test}"),
    }
)


@dataclass(slots=True)
class _Record:
    """One way. Times are in seconds since the epoch; 0: never."""

    worked_at: float = 0.0
    failed_at: float = 0.0
    failures: int = 0  # in a row; 0: the way does not count as failed
    symptom: Symptom = Symptom.NONE
    due_at: float = 0.0  # when it is tried again
    avoided_until: float = 0.0
    stalled_at: float = 0.0  # when a transfer stopped for good …
    bytes_down: int = 0  # … after so many
    carried_at: float = 0.0  # when a transfer brought more than that


_FIELDS = tuple(field.name for field in fields(_Record))

_Records = Bounded[RelayWay, _Record]


@dataclass(slots=True)
class _Relay:
    """One relay on one network."""

    ways: _Records
    in_use: RelayWay | None = None  # the way that a dial took last, unless it was seen to fail since …
    used_at: float = 0.0  # … and when that was

    def leave(self, way: RelayWay) -> None:
        """`way` is no longer in use."""
        if self.in_use == way:
            self.in_use = None


_NO_RECORDS: Mapping[RelayWay, _Record] = MappingProxyType({})


class RelayWays:
    """The ways to all relays. Belongs to one thread. A relay is known by the endpoint of its URL."""

    def __init__(self, settings: DetectTuning, *, rng: random.Random | None = None) -> None:
        self._settings = settings
        self._rng = rng if rng is not None else random.SystemRandom()
        self._relays: Bounded[tuple[NetworkId, Destination], _Relay] = Bounded(RELAYS_MAX)
        self._troubled: set[tuple[NetworkId, Destination]] = set()  # where a way failed or is avoided
        self._several: frozenset[Destination] = frozenset()  # the relays with alternatives
        self.version = 0
        """Grows when a way fails, stalls, is proven or no longer counts as failed: then what is `remembered` has to be
        saved."""

    def remembered(self) -> list[KnownWay]:
        """Returns the ways to each relay of which one failed, or of which one is proven and there are others, on
        networks that can be recognised."""
        return [
            KnownWay(network, relay, way, **{name: getattr(record, name) for name in _FIELDS})
            for (network, relay), known in self._relays.items()
            if network != UNKNOWN_NETWORK
            and (
                (network, relay) in self._troubled
                or (relay in self._several and any(record.carried_at for record in known.ways.values()))
            )
            for way, record in known.ways.items()
        ]

    def restore(self, remembered: Iterable[KnownWay], now: float) -> None:
        """Takes over what was `remembered` by another process, but for what is too old or of the future: the clock was
        set back."""
        for known in remembered:
            last = max(known.worked_at, known.failed_at, known.stalled_at)
            if 0 <= now - last < self._settings.unvisited_s:
                record = self._record(known.network, known.relay, known.way)
                for name in _FIELDS:
                    setattr(record, name, getattr(known, name))
                if record.failures or record.avoided_until:
                    self._troubled.add((known.network, known.relay))

    def forget(self) -> None:
        """Forgets everything."""
        self._relays.clear()
        self._troubled.clear()
        self.version += 1

    def order(
        self,
        relay: Destination,
        ways: Sequence[RelayWay],
        network: NetworkId,
        now: float,
        *,
        filtered: Collection[RelayWay] = (),
    ) -> WayOrder:
        """Returns the ways to try. `ways` are all of them, the preferred first, each strategy behind the way without
        one. The way in use goes before them. A strategy is tried where the hello was filtered: as far as is known, or
        now (`filtered`). Where transfers stall, no strategy is known to help, so those ways are for when all others
        have failed. Failed ways come last, the one that failed longest ago first."""
        known = self._relays.get((network, relay))
        in_use = known.in_use if known is not None and now - known.used_at < KEPT_S else None
        if (network, relay) not in self._troubled and not filtered:  # the usual case
            first = [way for way in ways if not way.strategy]
            if in_use is not None and in_use in first:
                first.sort(key=lambda way: way != in_use)
            return WayOrder(first)
        records = self._known(network, relay)
        ranked = [(_rank(way, records, filtered, now), way != in_use, way) for way in ways]
        ranked.sort(key=lambda item: item[:2])
        tried = [(rank, way) for rank, _, way in ranked if rank < _NOT_NOW]
        first = [way for rank, way in tried if rank < _BEHIND]
        if not any(_BEHIND <= rank < _FAILED for rank, _ in tried):
            return WayOrder([way for _, way in tried])
        return WayOrder(first, [way for _, way in tried[len(first) :]])

    def used(self, relay: Destination, way: RelayWay, network: NetworkId, now: float) -> None:
        """A dial took the way, which led to the relay."""
        self.worked(relay, way, network, now)
        known = self._relays[network, relay]
        known.in_use, known.used_at = way, now

    def worked(self, relay: Destination, way: RelayWay, network: NetworkId, now: float) -> None:
        """The way led to the relay. This takes nothing back of a transfer that stalled. One that had failed has its
        place in the order again."""
        record = self._record(network, relay, way)
        record.worked_at, record.avoided_until = now, 0.0
        if record.failures and record.symptom is not Symptom.FROZEN:
            record.failures, record.symptom = 0, Symptom.NONE
            self.version += 1
            self._relays[network, relay].in_use = None
            self._note_trouble(network, relay)

    def failed(self, relay: Destination, way: RelayWay, symptom: Symptom, network: NetworkId, now: float) -> None:
        """The way failed, and another way to the relay worked."""
        self._fail(self._record(network, relay, way), symptom, now)
        self._troubled.add((network, relay))

    def stalled(self, relay: Destination, peer: str, bytes_down: int, network: NetworkId, now: float) -> None:
        """A transfer over the way to `peer` ("address:port") stopped for good after `bytes_down`, while others went on.
        The way failed when that happens twice, or once and another way carries more, or once when it is tried again
        after that. Until then it is avoided."""
        way = self._in_use(network, relay, peer) or RelayWay(relay, host_and_port(peer)[0])
        record = self._record(network, relay, way)
        before, record.stalled_at, record.bytes_down = record.stalled_at, now, bytes_down
        record.worked_at = record.worked_at or now
        on_trial = record.failures > 0 and record.symptom is Symptom.FROZEN and now >= record.due_at
        if on_trial or (before and STALLS_APART_S <= now - before < _STALLS_WITHIN_S):
            self._fail(record, Symptom.FROZEN, now)
        else:
            record.stalled_at = before if now - before < STALLS_APART_S else now
            record.avoided_until = now + AVOIDED_S
        self._relays[network, relay].leave(way)
        self._troubled.add((network, relay))
        self.version += 1

    def carried(self, relay: Destination, peer: str, network: NetworkId, now: float) -> None:
        """A transfer over the way to `peer` brought more than stalled ones do (`proof_bytes`)."""
        if (network, relay) not in self._troubled and relay not in self._several:
            return
        if (way := self._in_use(network, relay, peer)) is None:
            return
        for other, record in self._known(network, relay).items():
            if other == way:
                if relay in self._several and now - record.carried_at >= _PROOF_SAVED_S:
                    self.version += 1
                record.stalled_at, record.carried_at = 0.0, now
                if record.failures and record.symptom is Symptom.FROZEN:
                    record.failures, record.symptom = 0, Symptom.NONE
                    self.version += 1
            elif (
                record.stalled_at and not record.failures and now - record.stalled_at <= self._settings.rescue_window_s
            ):
                self._fail(record, Symptom.FROZEN, now)
        self._note_trouble(network, relay)

    def is_unproven(self, relay: Destination, peer: str, network: NetworkId, now: float) -> bool:
        """Whether it is worth finding out if transfers pass over the way to `peer`, which a dial has just taken. Not
        without an alternative; not when one brought more than stalled ones do; and not when one stalled and the way is
        not to be tried again yet: then all others have failed."""
        if relay not in self._several or (way := self._in_use(network, relay, peer)) is None:
            return False
        record = self._known(network, relay)[way]
        if record.failures and record.symptom is Symptom.FROZEN:
            return now >= record.due_at
        if record.stalled_at:
            return now >= record.avoided_until
        return not record.carried_at or now - record.carried_at >= self._settings.unvisited_s

    def overtaken(self, relay: Destination, way: RelayWay, network: NetworkId, now: float) -> None:
        """Another way was quicker, and the verdict on this one is to come: the others go first for a while."""
        self._record(network, relay, way).avoided_until = now + AVOIDED_S
        self._relays[network, relay].leave(way)
        self._troubled.add((network, relay))

    def avoid(self, relay: Destination, peer: str, network: NetworkId, now: float) -> None:
        """The way to `peer` was open, and the relay's handshake then failed on it: the others go first for a while."""
        if (way := self._in_use(network, relay, peer)) is not None:
            self.overtaken(relay, way, network, now)

    def due(self, relay: Destination, ways: Collection[RelayWay], network: NetworkId, now: float) -> RelayWay | None:
        """Returns a way among `ways` that is to be tested now, and counts that as done: a failed one whose re-test is
        due, or one that is preferred to the way in use and was never tried, as after a slow lookup."""
        known = self._relays.get((network, relay))
        if known is None:
            return None
        if (network, relay) in self._troubled:
            for way, record in known.ways.items():
                if record.failures and record.symptom is not Symptom.FROZEN and now >= record.due_at and way in ways:
                    record.due_at = now + self._delay(record.failures)
                    return way
        for way in ways:
            if known.in_use is None or way.endpoint == known.in_use.endpoint:
                return None
            if not way.strategy and way not in known.ways:
                self._record(network, relay, way)
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
                proven = {each: at for each, at in works.items() if records[each].carried_at}
                instead = _instead(way, proven if kind is Obstacle.FROZEN else works)
                found.append(RelayObstacle(kind, way, record.symptom, record.failed_at, instead, record.bytes_down))
        return min(found, key=lambda obstacle: _GRAVEST_FIRST.index(obstacle.kind), default=None)

    def keep(self, relays: Collection[Destination], several: Collection[Destination] = ()) -> None:
        """Forgets every relay that is not among `relays`: after a reload. `several`: those with alternatives."""
        self._several = frozenset(several)
        for key in [key for key in self._relays if key[1] not in relays]:
            del self._relays[key]
            self._troubled.discard(key)
            self.version += 1

    def _known(self, network: NetworkId, relay: Destination) -> Mapping[RelayWay, _Record]:
        known = self._relays.get((network, relay))
        return _NO_RECORDS if known is None else known.ways

    def _record(self, network: NetworkId, relay: Destination, way: RelayWay) -> _Record:
        known = self._relays.get((network, relay))
        if known is None:
            known = self._relays[network, relay] = _Relay(_Records(WAYS_MAX))
            self._troubled.intersection_update(self._relays)
        record = known.ways.get(way)
        if record is None:
            record = known.ways[way] = _Record()
        return record

    def _fail(self, record: _Record, symptom: Symptom, now: float) -> None:
        self.version += 1
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


_USUAL, _AVOIDED, _BEHIND, _STALLED, _FAILED, _NOT_NOW = ((float(rank), 0.0) for rank in range(6))
"""From _BEHIND to _STALLED: ways of an address on which transfers stall."""


def _rank(
    way: RelayWay, records: Mapping[RelayWay, _Record], filtered: Collection[RelayWay], now: float
) -> tuple[float, float]:
    """Where a way stands in the order; ways of one rank keep theirs."""
    record = records.get(way)
    if record is not None and record.failures and not (record.symptom is Symptom.FROZEN and now >= record.due_at):
        return (_STALLED if record.symptom is Symptom.FROZEN else _FAILED)[0], record.failed_at
    if record is not None and now < record.avoided_until:
        return _STALLED if record.stalled_at else _AVOIDED
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
