"""Aggregates beliefs: from hosts to their domain, and to their address prefix.

If two hosts of a registrable domain are in trouble for the same cause, the domain gets a belief with the sum of their
scores. It replaces theirs and covers all hosts of the domain except those that work direct. If three hosts of a prefix
fail at the SYN and nothing in it works, the prefix is suspect for an hour. If transfers of three hosts freeze, it is
suspect whatever else works in it: such a censor spares names and lets every first byte pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from proxy.detect.beliefs.state import NEVER, PREFIXES_MAX, BeliefState
from proxy.detect.beliefs.tables import Key, NameCounter
from proxy.detect.beliefs.transitions import (
    current,
    note_under,
    raise_suspicion,
    remove,
    score_now,
    set_blocked,
    troubled,
    unknown,
    write,
)
from proxy.detect.scopes import domain_scope, prefix_around, prefix_scope
from proxy.model import TROUBLED, Belief, Cause, Change, IPAddress, NetworkId, Protocol, Signal, SignalId, State

# -- domains -----------------------------------------------------------------------------------------------------------


def consider(state: BeliefState, key: Key, now: float) -> list[Change]:
    """Aggregates the domain of a troubled host if a sibling is in trouble for the same cause."""
    scope = domain_scope(key[1])
    host = troubled(state, key, now)
    if not scope or host is None or not host.cause:
        return []
    above = (key[0], scope)
    if troubled(state, above, now) is not None:  # also if it is that of the domain
        return []
    siblings = [
        (other, belief)
        for other in state.stored.siblings(key)
        if not other[1].startswith("*.")
        and (belief := troubled(state, other, now)) is not None
        and belief.cause == host.cause
    ]
    apart_s = state.settings.lift_apart_s
    earlier = [belief for other, belief in siblings if other != key and now - belief.since >= apart_s]
    if not earlier:
        return []
    heaviest = max(earlier, key=lambda belief: score_now(belief, now, state.settings))
    score = sum(score_now(belief, now, state.settings) for belief in (host, heaviest))
    if score < state.settings.suspect_score:
        return []  # neither has counted yet
    return _lift(state, above, host, heaviest, [other for other, _ in siblings], score, now)


def _lift(
    state: BeliefState, above: Key, host: Belief, other: Belief, covered: list[Key], score: float, now: float
) -> list[Change]:
    before = current(state, above, now) or unknown(above, now)
    newer = max(host, other, key=lambda belief: belief.last_good_at)
    weight = max(host.signal_weight, other.signal_weight)
    after = replace(
        before,
        cause=host.cause,
        score=min(state.settings.score_cap, score),
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
        protocol=host.protocol if host.protocol is other.protocol else Protocol.NONE,
        exits=tuple(sorted({*before.exits, *host.exits, *other.exits})),
        why=(
            f"{host.scope} and {other.scope} fail the same way ({host.cause}); status applied to {above[1]}: {host.why}"
        ),
    )
    if State.BLOCKED in (host.state, other.state):
        changes = set_blocked(state, above, before, after, now)
    else:
        changes = raise_suspicion(state, above, before, after, Signal(SignalId.LIFT, weight, host.cause, now), now)
    state.failed_under.pop(above)
    for key in covered:
        note_under(state, above, key[1], now)
        changes += remove(state, key, now, f"covered by {above[1]}")
        state.works.pop(key)
    return changes


# -- prefixes ----------------------------------------------------------------------------------------------------------


def prefix_over(state: BeliefState, network: NetworkId, addresses: Iterable[IPAddress], now: float) -> Belief | None:
    """Returns the belief of a suspect prefix if all addresses are in suspect prefixes."""
    found = None
    _drop_ended(state, now)
    for address in addresses:
        key = (network, prefix_scope(address))
        found = troubled(state, key, now) if key in state.prefixes else None
        if found is None:
            return None
    return found


def note_failure(
    state: BeliefState, key: Key, addresses: Iterable[IPAddress], last_good: str, now: float
) -> list[Change]:
    """Notes that a host failed at the SYN at these addresses while a relay reached it."""
    changes: list[Change] = []
    for prefix, hosts in _noted(state, state.failing_in, key, addresses, now):
        has_worked = 0 <= now - state.worked_in.get(prefix, NEVER) < state.settings.prefix_s
        if hosts >= state.settings.prefix_hosts and not has_worked:
            why = f"{hosts} hosts in it did not answer a SYN, relays reached them, and none in it worked for an hour"
            changes += _lift_prefix(state, prefix, Cause.IP, last_good, why, now)
    return changes


def note_frozen(
    state: BeliefState, key: Key, addresses: Iterable[IPAddress], last_good: str, now: float
) -> list[Change]:
    """Notes that a transfer of a host froze at these addresses, and that `last_good` carried more."""
    changes: list[Change] = []
    for prefix, hosts in _noted(state, state.frozen_in, key, addresses, now):
        if hosts >= state.settings.prefix_hosts:
            why = f"transfers of {hosts} hosts in it froze, and relays carried more"
            changes += _lift_prefix(state, prefix, Cause.FROZEN, last_good, why, now)
    return changes


def _noted(
    state: BeliefState, counter: NameCounter, key: Key, addresses: Iterable[IPAddress], now: float
) -> Iterator[tuple[Key, int]]:
    """Notes a host in the prefixes of its addresses. Yields each prefix, and the number of hosts noted in it lately."""
    network, host = key
    for scope in sorted({prefix_scope(address) for address in addresses}):
        counter.note((network, scope), host, now)
        yield (network, scope), counter.within((network, scope), state.settings.prefix_s, now)


def note_thawed(state: BeliefState, key: Key, now: float) -> list[Change]:
    """Notes that direct carried enough of a host. If its transfers froze before, the beliefs of its prefixes end."""
    changes: list[Change] = []
    for prefix in state.frozen_in.places_of(*key):
        state.frozen_in.pop(prefix)
        changes += _end_prefix(state, prefix, Cause.FROZEN, "direct carried enough of a host in it", now)
    return changes


def note_success(state: BeliefState, network: NetworkId, address: str, now: float) -> list[Change]:
    """Notes that an address, with or without a port, answered direct, which ends the belief that its prefix is
    unreachable."""
    if not (scope := prefix_around(address)):
        return []
    prefix = (network, scope)
    state.worked_in[prefix] = now
    state.failing_in.pop(prefix)
    if prefix not in state.prefixes:
        return []
    return _end_prefix(state, prefix, Cause.IP, "an address in it answered direct", now)


def _end_prefix(state: BeliefState, prefix: Key, cause: Cause, why: str, now: float) -> list[Change]:
    """Removes the belief about a prefix if it has this cause."""
    if prefix not in state.prefixes:
        return []
    belief = troubled(state, prefix, now)
    if belief is not None and belief.cause != cause:
        return []
    return remove(state, prefix, now, why)


def _drop_ended(state: BeliefState, now: float) -> None:
    """Drops the prefixes whose time is over. While there is a suspect prefix, first visits need their addresses."""
    while state.prefixes and troubled(state, first := next(iter(state.prefixes)), now) is None:
        state.prefixes.pop(first, None)


def _lift_prefix(state: BeliefState, prefix: Key, cause: Cause, last_good: str, why: str, now: float) -> list[Change]:
    before = current(state, prefix, now) or unknown(prefix, now)
    if before.state in TROUBLED:
        return []
    after = replace(
        before,
        state=State.SUSPECT,
        cause=cause,
        since=now,
        began=before.began or now,
        until=now + state.settings.prefix_s,
        last_good=last_good,
        last_good_at=now,
        family=6 if ":" in prefix[1] else 4,
        why=why,
    )
    changes = []
    _drop_ended(state, now)
    state.prefixes.pop(prefix, None)
    if len(state.prefixes) >= PREFIXES_MAX:
        oldest = next(iter(state.prefixes))
        changes = remove(state, oldest, now, "removed to limit memory: the oldest suspect prefix")
    state.prefixes[prefix] = None
    return changes + write(state, prefix, before, after, now)
