"""Learns which ways to each relay work on each network, and how the others fail.

A way counts as failed only if another way to the same relay works: if the relay or the network is down, that says
nothing about a way. A failed way is tried last, and re-tested beside a visit when that is due. The way in use stays in
use, since an untried one may stop in the middle of a page, and only a transfer shows that. A comparison of the failed
way with the working one names the obstacle: a filter on the name, a dead address, a forged answer, or stalled
transfers. Failures, and ways that are proven to carry large transfers, are kept across restarts (`remembered`,
`restore`).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

from proxy.config.detect_tuning import DetectTuning
from proxy.model import UNKNOWN_NETWORK, Destination, NetworkId, Symptom, host_and_port
from proxy.model.bounded import Bounded
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import Phrase, _, sentences
from proxy.model.relay_way import KnownWay, RelayWay, WayOrder

RELAYS_MAX = 256
"""Pairs of a relay and a network at most."""

WAYS_MAX = 64
"""Ways of each pair at most: 9 endpoints, some addresses, two strategies."""

AVOIDED_S = 60.0
"""Seconds for which a way is tried after the others: a transfer stalled on it, the relay's handshake failed on it, or
another way was faster."""

KEPT_S = 600.0
"""Seconds after its last dial for which the way in use is tried first, as RFC 6555, section 4.2, has for families."""

STALLS_APART_S = 5.0
"""Seconds between stalled transfers that count as two, since a page has many connections."""

_STALLS_WITHIN_S = 3600.0

_PROOF_SAVED_S = 86_400.0
"""Age in seconds from which a proof is saved again: large transfers come every minute."""

AFTER_HELLO = frozenset({Symptom.RESET, Symptom.EOF, Symptom.GARBAGE, Symptom.DROPPED, Symptom.SILENT})
"""Symptoms after which the ClientHello may have been filtered, so that a strategy may help."""

_AT_CONNECT = frozenset({Symptom.TIMEOUT, Symptom.UNREACHABLE})
_FIRST_STEP_FROZEN = 1  # no handshake can test a way whose transfers stall, so it is tried again later than others


class Obstacle(StrEnum):
    """The kinds of obstacles on the way to a relay. The value is the id in JSON."""

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
    at: float  # when it was last seen, seconds since the epoch
    instead: RelayWay | None = None  # the way that works
    bytes_down: int = 0  # FROZEN: bytes that had come

    def text(self, relay: str) -> str:
        """Returns sentences about the observation, and the way that is used instead."""
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
        """The obstacle in a few words, beside the relay's name."""
        if self.kind is Obstacle.ADDRESS:
            return _("no answer at {address} here", address=str(self.failed.target))
        return _WORDS[self.kind]

    def fix(self, relay: str) -> str:
        """What to do about the obstacle. The last command shows whether it helped."""
        test = f"byway relay test {relay}"
        # Put first, since a page is lost whenever the bad address is tried again.
        if self.kind is Obstacle.FROZEN and self.instead is not None:
            return _(
                "reload pages that stopped; put {address} first in its URL, then {test}",
                address=str(self.instead.target),
                test=test,
            )
        return _FIXES[self.kind].given(test=test)


_WORDS: Mapping[Obstacle, Phrase] = {
    **dict.fromkeys((Obstacle.SNI_RESET, Obstacle.SNI_DROP), _("blocked by SNI here")),
    Obstacle.DNS: _("its name gets forged answers here"),
    Obstacle.FROZEN: _("transfers stall here"),
}

_FIXES: Mapping[Obstacle, Phrase] = {
    **dict.fromkeys(
        (Obstacle.SNI_RESET, Obstacle.SNI_DROP),
        _("add another name of its certificate (?sni=NAME) or address (?alt=HOST:PORT), then {test}"),
    ),
    Obstacle.DNS: _('remove secure = "never" from [dns], or write its address into its URL, then {test}'),
    Obstacle.ADDRESS: _("if that address is gone, remove it from its URL, then {test}"),
    Obstacle.FROZEN: _("add another address of it to its URL (?alt=HOST:PORT), or use another relay, then {test}"),
}


@dataclass(slots=True)
class _Record:
    """The history of one way. Times are in seconds since the epoch; 0: never."""

    worked_at: float = 0.0
    failed_at: float = 0.0
    failures: int = 0  # in a row; 0: the way does not count as failed
    symptom: Symptom = Symptom.NONE
    due_at: float = 0.0  # when it is tried again
    avoided_until: float = 0.0
    stalled_at: float = 0.0  # when a transfer stopped for good
    bytes_down: int = 0  # the bytes that had come then
    carried_at: float = 0.0  # when a transfer brought more than stalled ones do


_FIELDS = tuple(field.name for field in fields(_Record))

_Records = Bounded[RelayWay, _Record]


@dataclass(slots=True)
class _Relay:
    """One relay on one network."""

    ways: _Records
    in_use: RelayWay | None = None  # the way of the last dial; None: there was none, or the way has failed since
    used_at: float = 0.0  # when a dial last used it

    def leave(self, way: RelayWay) -> None:
        """Ends the use of `way`, if it is in use."""
        if self.in_use == way:
            self.in_use = None


_NO_RECORDS: Mapping[RelayWay, _Record] = {}


class RelayWays:
    """The ways to all relays. Belongs to one thread. The endpoint of its URL identifies a relay."""

    def __init__(self, settings: DetectTuning, *, rng: random.Random | None = None) -> None:
        self._settings = settings
        self._rng = rng if rng is not None else random.SystemRandom()
        self._relays: Bounded[tuple[NetworkId, Destination], _Relay] = Bounded(RELAYS_MAX)
        self._troubled: set[tuple[NetworkId, Destination]] = set()  # the relays of which a way failed or is avoided
        self._several: frozenset[Destination] = frozenset()  # the relays with alternatives
        self.version = 0
        """Grows when a way fails, stalls, is proven, or no longer counts as failed, so that `remembered` has to be
        saved."""

    def remembered(self) -> list[KnownWay]:
        """Returns the ways to keep across a restart: all ways of each relay of which one failed, or of which one is
        proven and there are alternatives, on networks that can be recognized."""
        return [
            KnownWay(network, relay, way, **{name: getattr(record, name) for name in _FIELDS})
            for (network, relay), here in self._relays.items()
            if network != UNKNOWN_NETWORK
            and (
                (network, relay) in self._troubled
                or (relay in self._several and any(record.carried_at for record in here.ways.values()))
            )
            for way, record in here.ways.items()
        ]

    def restore(self, remembered: Iterable[KnownWay], now: float) -> None:
        """Restores ways that an earlier process `remembered`. Those that are too old are left out, and those of the
        future, from before the clock was set back."""
        for saved in remembered:
            last = max(saved.worked_at, saved.failed_at, saved.stalled_at)
            if 0 <= now - last < self._settings.unvisited_s:
                record = self._record(saved.network, saved.relay, saved.way)
                for name in _FIELDS:
                    setattr(record, name, getattr(saved, name))
                if record.failures or record.avoided_until:
                    self._troubled.add((saved.network, saved.relay))

    def forget(self) -> None:
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
        """Returns the ways to try in this order: the way in use, then the others. `ways` are all ways, the preferred
        first, each strategy after the plain way. A strategy is tried only if the ClientHello was filtered, lately or in
        this dial (`filtered`). No strategy is known to help against stalled transfers, so ways of such an address come
        after all others. Failed ways are last, the one that failed longest ago first."""
        here = self._relays.get((network, relay))
        in_use = here.in_use if here is not None and now - here.used_at < KEPT_S else None
        if (network, relay) not in self._troubled and not filtered:  # the usual case
            first = [way for way in ways if not way.strategy]
            if in_use is not None and in_use in first:
                first.sort(key=lambda way: way != in_use)
            return WayOrder(first)
        records = self._records(network, relay)
        ranked = [(_rank(way, records, filtered, now), way != in_use, way) for way in ways]
        ranked.sort(key=lambda item: item[:2])
        tried = [(rank, way) for rank, _, way in ranked if rank < _NOT_NOW]
        first = [way for rank, way in tried if rank < _BEHIND]
        if not any(_BEHIND <= rank < _FAILED for rank, _ in tried):
            return WayOrder([way for _, way in tried])
        return WayOrder(first, [way for _, way in tried[len(first) :]])

    def used(self, relay: Destination, way: RelayWay, network: NetworkId, now: float) -> None:
        """Notes that a dial reached the relay on this way, which is then in use."""
        self.worked(relay, way, network, now)
        here = self._relays[network, relay]
        here.in_use, here.used_at = way, now

    def worked(self, relay: Destination, way: RelayWay, network: NetworkId, now: float) -> None:
        """Notes that the relay was reached on this way. A failed way then has its usual place in the order again, but
        not one that failed because a transfer stalled."""
        record = self._record(network, relay, way)
        record.worked_at, record.avoided_until = now, 0.0
        if record.failures and record.symptom is not Symptom.FROZEN:
            record.failures, record.symptom = 0, Symptom.NONE
            self.version += 1
            self._relays[network, relay].in_use = None
            self._note_trouble(network, relay)

    def failed(self, relay: Destination, way: RelayWay, symptom: Symptom, network: NetworkId, now: float) -> None:
        """Notes that the way failed while another way to the relay worked."""
        self._fail(self._record(network, relay, way), symptom, now)
        self._troubled.add((network, relay))

    def stalled(self, relay: Destination, peer: str, bytes_down: int, network: NetworkId, now: float) -> None:
        """Notes that a transfer on the way to `peer` ("address:port") stopped for good after `bytes_down`, while others
        went on. The way counts as failed after a second stall, or after one if another way carries more or if the way
        was on trial. Until then it is avoided."""
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
        """Notes that a transfer on the way to `peer` brought more than stalled ones do (`proof_bytes`)."""
        if (network, relay) not in self._troubled and relay not in self._several:
            return
        if (way := self._in_use(network, relay, peer)) is None:
            return
        for other, record in self._records(network, relay).items():
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
        """Whether to check if transfers pass on the way to `peer`, which a dial has just used. False without an
        alternative, after a large transfer on this way, and after a stall until the way may be tried again: then it is
        in use only because all others have failed."""
        if relay not in self._several or (way := self._in_use(network, relay, peer)) is None:
            return False
        record = self._records(network, relay)[way]
        if record.failures and record.symptom is Symptom.FROZEN:
            return now >= record.due_at
        if record.stalled_at:
            return now >= record.avoided_until
        return not record.carried_at or now - record.carried_at >= self._settings.unvisited_s

    def overtaken(self, relay: Destination, way: RelayWay, network: NetworkId, now: float) -> None:
        """Notes that another way was faster, before it is known whether this one works. The others are tried first for
        AVOIDED_S."""
        self._record(network, relay, way).avoided_until = now + AVOIDED_S
        self._relays[network, relay].leave(way)
        self._troubled.add((network, relay))

    def avoid(self, relay: Destination, peer: str, network: NetworkId, now: float) -> None:
        """Notes that the relay's handshake failed on the open way to `peer`. The others are tried first for
        AVOIDED_S."""
        if (way := self._in_use(network, relay, peer)) is not None:
            self.overtaken(relay, way, network, now)

    def has_left(self, relay: Destination, peer: str, network: NetworkId, since: float) -> bool:
        """Whether a way to `peer` failed, stalled or was avoided later than `since`, seconds since the epoch."""
        if (network, relay) not in self._troubled:
            return False
        return any(
            max(record.failed_at, record.stalled_at, record.avoided_until - AVOIDED_S) > since
            for way, record in self._records(network, relay).items()
            if str(way.target) == peer
        )

    def due(self, relay: Destination, ways: Collection[RelayWay], network: NetworkId, now: float) -> RelayWay | None:
        """Returns a way among `ways` to test now, and counts the test as done: a failed way whose re-test is due, or
        one that is preferred to the way in use and was never tried, as after a slow lookup. None: there is none."""
        here = self._relays.get((network, relay))
        if here is None:
            return None
        if (network, relay) in self._troubled:
            for way, record in here.ways.items():
                if record.failures and record.symptom is not Symptom.FROZEN and now >= record.due_at and way in ways:
                    record.due_at = now + self._delay(record.failures)
                    return way
        for way in ways:
            if here.in_use is None or way.endpoint == here.in_use.endpoint:
                return None
            if not way.strategy and way not in here.ways:
                self._record(network, relay, way)
                return way
        return None

    def obstacle(self, relay: Destination, network: NetworkId, now: float) -> RelayObstacle | None:
        """Returns the gravest obstacle on the way to the relay on this network; None: none is known."""
        if (network, relay) not in self._troubled:
            return None
        records = self._records(network, relay)
        works = {
            way: record.worked_at
            for way, record in records.items()
            if not record.failures and now - record.worked_at < self._settings.unvisited_s
        }
        obstacles = []
        for way, record in records.items():
            if not record.failures or now - record.failed_at >= self._settings.unvisited_s:
                continue
            kind = _kind(way, record.symptom, works)
            if kind is not None:
                proven = {each: at for each, at in works.items() if records[each].carried_at}
                there = proven if kind is Obstacle.FROZEN else works
                # the one that worked last, preferably at the same address
                instead = max(there, key=lambda each: (each.plain == way.plain, there[each]), default=None)
                obstacles.append(RelayObstacle(kind, way, record.symptom, record.failed_at, instead, record.bytes_down))
        return min(obstacles, key=lambda obstacle: _GRAVEST_FIRST.index(obstacle.kind), default=None)

    def keep(self, relays: Collection[Destination], several: Collection[Destination] = ()) -> None:
        """Forgets every relay that is not in `relays`, after a reload. `several` are those with alternatives."""
        self._several = frozenset(several)
        for key in [key for key in self._relays if key[1] not in relays]:
            del self._relays[key]
            self._troubled.discard(key)
            self.version += 1

    def _records(self, network: NetworkId, relay: Destination) -> Mapping[RelayWay, _Record]:
        here = self._relays.get((network, relay))
        return _NO_RECORDS if here is None else here.ways

    def _record(self, network: NetworkId, relay: Destination, way: RelayWay) -> _Record:
        here = self._relays.get((network, relay))
        if here is None:
            here = self._relays[network, relay] = _Relay(_Records(WAYS_MAX))
            self._troubled.intersection_update(self._relays)
        record = here.ways.get(way)
        if record is None:
            record = here.ways[way] = _Record()
        return record

    def _fail(self, record: _Record, symptom: Symptom, now: float) -> None:
        self.version += 1
        record.failures += 1
        record.failed_at, record.symptom = now, symptom
        step = record.failures + (_FIRST_STEP_FROZEN if symptom is Symptom.FROZEN else 0)
        record.due_at = now + self._delay(step)

    def _delay(self, step: int) -> float:
        """Returns the seconds until the re-test after failure number `step`."""
        steps = self._settings.retest_blocked_s
        return steps[min(step, len(steps)) - 1] * (1 + self._settings.retest_jitter * self._rng.random())

    def _in_use(self, network: NetworkId, relay: Destination, peer: str) -> RelayWay | None:
        """Returns the way to `peer` that worked last; None: none ever did."""
        records = self._records(network, relay)
        there = [way for way, record in records.items() if record.worked_at and str(way.target) == peer]
        return max(there, key=lambda way: records[way].worked_at, default=None)

    def _note_trouble(self, network: NetworkId, relay: Destination) -> None:
        records = self._records(network, relay)
        if not any(record.failures or record.avoided_until for record in records.values()):
            self._troubled.discard((network, relay))


_USUAL, _AVOIDED, _BEHIND, _STALLED, _FAILED, _NOT_NOW = ((float(rank), 0.0) for rank in range(6))
"""Ranks of ways, in order. _BEHIND and _STALLED are for ways of an address on which transfers stall."""


def _rank(
    way: RelayWay, records: Mapping[RelayWay, _Record], filtered: Collection[RelayWay], now: float
) -> tuple[float, float]:
    """Returns the rank of a way. Ways of the same rank keep their order."""
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
    """Returns the obstacle that the failure of a way shows, compared with the ways that work; None: it shows none."""
    if symptom is Symptom.FROZEN:
        return Obstacle.FROZEN
    if way.strategy or not works:
        return None
    if symptom in AFTER_HELLO and any(other.strategy and other.plain == way for other in works):
        return Obstacle.SNI_DROP if symptom in (Symptom.DROPPED, Symptom.SILENT) else Obstacle.SNI_RESET
    if symptom is Symptom.CERTIFICATE and way.endpoint.address is None:
        return Obstacle.DNS
    return Obstacle.ADDRESS if symptom in _AT_CONNECT or symptom in AFTER_HELLO else None
