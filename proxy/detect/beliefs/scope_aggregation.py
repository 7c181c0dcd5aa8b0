"""Aggregates beliefs: from hosts to their domain, and to their address prefix.

When two hosts of a registrable domain are in trouble for the same cause, the domain is, with the sum of their scores.
It replaces their beliefs and covers all its hosts but those that work direct. When three hosts of a prefix fail at the
SYN while nothing in it works, the prefix is suspect for an hour. So it is when transfers of three of its hosts freeze,
whatever else works in it: such a censor spares names, and lets every first byte pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.belief_table import TROUBLED, BeliefTable, unknown
from proxy.detect.beliefs.host_lru import Key
from proxy.detect.beliefs.name_counter import NameCounter
from proxy.detect.beliefs.score import score_now
from proxy.detect.scopes import domain_scope, prefix_around, prefix_scope
from proxy.model import Belief, Cause, Change, IPAddress, NetworkId, Signal, SignalId, State
from proxy.model.bounded import Bounded

KEEPS_S = 600.0
"""A host that worked direct at most this long before its domain was aggregated stays direct."""

PREFIXES_MAX = 1024
"""Prefixes that are suspect, and those that are on the way to it."""

HOSTS_MAX = 8
"""Failing hosts remembered of one prefix."""

DOMAINS_MAX = 1024
FAILED_MAX = 64
"""Hosts remembered of one troubled domain for having failed."""


class ScopeAggregation:
    """The domains and prefixes in `table`. Belongs to one thread."""

    def __init__(self, settings: DetectTuning, table: BeliefTable) -> None:
        self._settings = settings
        self._table = table
        self.domains = {key for key in table.stored if key[1].startswith("*.")}
        suspect = [
            (belief.until, key) for key, belief in table.stored.items() if "/" in key[1] and belief.state in TROUBLED
        ]
        self.prefixes: dict[Key, None] = dict.fromkeys(key for _, key in sorted(suspect))
        """The suspect prefixes, in the order in which they end: all are suspect for the same time."""
        self._failed = NameCounter(places=DOMAINS_MAX, names=FAILED_MAX)  # hosts that failed in a domain
        self._failing = NameCounter(places=PREFIXES_MAX, names=HOSTS_MAX)  # hosts that failed at the SYN in a prefix
        self._frozen = NameCounter(places=PREFIXES_MAX, names=HOSTS_MAX)  # hosts whose transfers froze in a prefix
        self._worked: Bounded[Key, float] = Bounded(PREFIXES_MAX)

    # -- reading ---------------------------------------------------------------------------------------------------

    def domain_over(self, key: Key, now: float) -> tuple[Key, Belief] | None:
        """The domain of a host and its belief, when it is in trouble."""
        above = (key[0], domain_scope(key[1]))
        if above not in self.domains:
            return None
        belief = self._table.troubled(above, now)
        if belief is None and above not in self._table.stored:
            self.domains.discard(above)
        return (above, belief) if belief is not None else None

    def covers(self, domain: Belief, key: Key) -> bool:
        """Whether the belief of a domain applies to its host: not when the host works direct."""
        working = self._table.works.get(key)
        return working is None or working.at < domain.since - KEEPS_S

    def represents(self, scope: Key, host: str) -> bool:
        """Whether a success of `host` says that the trouble of its scope is over: not when only other hosts of the
        domain failed. After a restart it is not known which did, and any host counts."""
        return scope not in self._failed or host == scope[1] or self._failed.saw(scope, host)

    def prefix_over(self, network: NetworkId, addresses: Iterable[IPAddress], now: float) -> Belief | None:
        """The belief of a suspect prefix, when all addresses are in such ones."""
        found = None
        self._drop_ended(now)
        for address in addresses:
            key = (network, prefix_scope(address))
            found = self._table.troubled(key, now) if key in self.prefixes else None
            if found is None:
                return None
        return found

    # -- learning --------------------------------------------------------------------------------------------------

    def consider(self, key: Key, now: float) -> list[Change]:
        """Aggregates the domain of a host that is in trouble, when a sibling is in trouble for the same cause."""
        scope = domain_scope(key[1])
        host = self._table.troubled(key, now)
        if not scope or host is None or not host.cause or key[1].startswith("*."):
            return []
        above = (key[0], scope)
        if self._table.troubled(above, now) is not None:
            return []
        siblings = [
            (other, belief)
            for other in self._table.stored.siblings(key)
            if not other[1].startswith("*.")
            and (belief := self._table.troubled(other, now)) is not None
            and belief.cause == host.cause
        ]
        apart_s = self._settings.lift_apart_s
        earlier = [belief for other, belief in siblings if other != key and now - belief.since >= apart_s]
        if not earlier:
            return []
        heaviest = max(earlier, key=lambda belief: score_now(belief, now, self._settings))
        score = sum(score_now(belief, now, self._settings) for belief in (host, heaviest))
        if score < self._settings.suspect_score:
            return []  # neither has counted yet
        return self._lift(above, host, heaviest, [other for other, _ in siblings], score, now)

    def note_under(self, scope: Key, host: str, now: float) -> None:
        """Notes that direct failed for a host that `scope` covers."""
        if host != scope[1]:
            self._failed.note(scope, host, now)

    def note_failure(self, key: Key, addresses: Iterable[IPAddress], last_good: str, now: float) -> list[Change]:
        """Notes that a host failed at the SYN at these addresses while a relay reached it."""
        network, host = key
        changes: list[Change] = []
        for scope in sorted({prefix_scope(address) for address in addresses}):
            prefix = (network, scope)
            self._failing.note(prefix, host, now)
            recent = self._failing.within(prefix, self._settings.prefix_s, now)
            has_worked = 0 <= now - self._worked.get(prefix, float("-inf")) < self._settings.prefix_s
            if recent >= self._settings.prefix_hosts and not has_worked:
                what = "did not answer a SYN, relays reached them, and none in it worked for an hour"
                why = f"{recent} hosts in it {what}"
                changes += self._lift_prefix(prefix, Cause.IP, last_good, why, now)
        return changes

    def note_frozen(self, key: Key, addresses: Iterable[IPAddress], last_good: str, now: float) -> list[Change]:
        """Notes that a transfer of a host froze at these addresses, and that `last_good` carried more."""
        network, host = key
        changes: list[Change] = []
        for scope in sorted({prefix_scope(address) for address in addresses}):
            prefix = (network, scope)
            self._frozen.note(prefix, host, now)
            hosts = self._frozen.within(prefix, self._settings.prefix_s, now)
            if hosts >= self._settings.prefix_hosts:
                why = f"transfers of {hosts} hosts in it froze, and relays carried more"
                changes += self._lift_prefix(prefix, Cause.FROZEN, last_good, why, now)
        return changes

    def note_thawed(self, key: Key, now: float) -> list[Change]:
        """Notes that direct carried enough of a host. If its transfers froze before, those of its prefix are free."""
        changes: list[Change] = []
        for prefix in self._frozen.places_of(*key):
            self._frozen.pop(prefix)
            changes += self._end_prefix(prefix, Cause.FROZEN, "direct carried enough of a host in it", now)
        return changes

    def note_success(self, network: NetworkId, address: str, now: float) -> list[Change]:
        """Notes that an address, with or without a port, answered direct: its prefix is reachable."""
        if not (scope := prefix_around(address)):
            return []
        prefix = (network, scope)
        self._worked[prefix] = now
        self._failing.pop(prefix)
        if prefix not in self.prefixes:
            return []
        return self._end_prefix(prefix, Cause.IP, "an address in it answered direct", now)

    def _end_prefix(self, prefix: Key, cause: Cause, why: str, now: float) -> list[Change]:
        """Removes the belief about a prefix, if that is its cause."""
        if prefix not in self.prefixes:
            return []
        belief = self._table.troubled(prefix, now)
        if belief is not None and belief.cause != cause:
            return []
        self.prefixes.pop(prefix, None)
        return self._table.remove(prefix, now, why)

    def _drop_ended(self, now: float) -> None:
        """Leaves the prefixes whose time is over: while there is one, first visits are looked up."""
        while self.prefixes and self._table.troubled(first := next(iter(self.prefixes)), now) is None:
            del self.prefixes[first]

    def clear(self) -> None:
        """Forgets the failures that no belief was made from yet: the clock was set."""
        self._failing.clear()
        self._frozen.clear()
        self._worked.clear()

    def forget(self, meant: Callable[[Key], bool]) -> None:
        """Forgets the hosts, domains and prefixes that are meant, but for what the table holds of them."""
        self.domains.difference_update([*filter(meant, self.domains)])
        for key in [*filter(meant, self.prefixes)]:
            del self.prefixes[key]
        self._failing.forget(meant)
        self._frozen.forget(meant)
        self._failed.forget(meant)
        for key in [key for key in self._worked if meant(key)]:
            del self._worked[key]

    def _lift(
        self, above: Key, host: Belief, other: Belief, covered: list[Key], score: float, now: float
    ) -> list[Change]:
        before = self._table.current(above, now) or unknown(above, now)
        newer = max(host, other, key=lambda belief: belief.last_good_at)
        weight = max(host.signal_weight, other.signal_weight)
        after = replace(
            before,
            cause=host.cause,
            score=min(self._settings.score_cap, score),
            scored_at=now,
            signal_at=host.signal_at,  # 0 while its signal waits: it will count in full
            signal_weight=weight,
            began=min(filter(None, (before.began, host.began, other.began)), default=now),
            episodes=max(2, before.episodes),
            episode_at=now,
            last_good=newer.last_good,
            last_good_at=newer.last_good_at,
            rungs_failed=tuple(dict.fromkeys((*host.rungs_failed, *other.rungs_failed))),
            rungs_failed_at=max(host.rungs_failed_at, other.rungs_failed_at),
            family=host.family if host.family == other.family else 0,
            exits=tuple(sorted({*before.exits, *host.exits, *other.exits})),
            why=(
                f"{host.scope} and {other.scope} fail the same way ({host.cause}); "
                f"status applied to {above[1]}: {host.why}"
            ),
        )
        if State.BLOCKED in (host.state, other.state):
            changes = self._table.set_blocked(above, before, after, now)
        else:
            changes = self._table.raise_suspicion(
                above, before, after, Signal(SignalId.LIFT, weight, host.cause, now), now
            )
        self.domains.add(above)
        self._failed.pop(above)
        for key in covered:
            self.note_under(above, key[1], now)
            changes += self._table.remove(key, now, f"covered by {above[1]}")
            self._table.works.pop(key)
        return changes

    def _lift_prefix(self, prefix: Key, cause: Cause, last_good: str, why: str, now: float) -> list[Change]:
        before = self._table.current(prefix, now) or unknown(prefix, now)
        if before.state in TROUBLED:
            return []
        after = replace(
            before,
            state=State.SUSPECT,
            cause=cause,
            since=now,
            began=before.began or now,
            until=now + self._settings.prefix_s,
            last_good=last_good,
            last_good_at=now,
            family=6 if ":" in prefix[1] else 4,
            why=why,
        )
        changes = []
        self._drop_ended(now)
        self.prefixes.pop(prefix, None)
        if len(self.prefixes) >= PREFIXES_MAX:
            oldest = next(iter(self.prefixes))
            del self.prefixes[oldest]
            changes = self._table.remove(oldest, now, "removed to limit memory: the oldest suspect prefix")
        self.prefixes[prefix] = None
        return changes + self._table.write(prefix, before, after, now)
