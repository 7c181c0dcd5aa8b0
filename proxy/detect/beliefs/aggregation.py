"""Aggregates beliefs: from hosts to their domain, and to their address prefix.

If two hosts of a registrable domain are in trouble for the same cause, the domain gets a belief with the sum of their
scores. It replaces theirs and covers all hosts of the domain except those that work direct. If three hosts of a prefix
fail at the SYN and nothing in it works, the prefix is suspect for an hour; and so is the /16 or /32 around it if four
hosts in four prefixes fail, of three domains. If transfers of three hosts freeze or are throttled, it is suspect
whatever else works in it: such a censor spares names and lets every first byte pass.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from proxy.detect.beliefs.state import NEVER, PREFIXES_MAX, BeliefState, Frozen
from proxy.detect.beliefs.tables import Key, NameCounter
from proxy.detect.beliefs.transitions import (
    current,
    end_working,
    note_under,
    raise_suspicion,
    remove,
    score_now,
    set_blocked,
    troubled,
    unknown,
    write,
)
from proxy.detect.scopes import domain_scope, prefix_around, prefix_scope, registrable, wide_scope
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
        end_working(state, key)
    return changes


# -- prefixes ----------------------------------------------------------------------------------------------------------


def prefix_over(state: BeliefState, network: NetworkId, addresses: Iterable[IPAddress], now: float) -> Belief | None:
    """Returns the belief of a suspect prefix if all addresses are in suspect prefixes."""
    found = None
    _drop_ended(state, now)
    for address in addresses:
        around = ((network, scope) for scope in _scopes_around(prefix_scope(address)))
        found = next((troubled(state, key, now) for key in around if key in state.prefixes), None)
        if found is None:
            return None
    return found


def note_failure(
    state: BeliefState, key: Key, addresses: Iterable[IPAddress], last_good: str, now: float
) -> list[Change]:
    """Notes that a host failed at the SYN at these addresses while a relay reached it."""
    changes: list[Change] = []
    wide: dict[Key, None] = {}  # each once
    for prefix, hosts in _noted(state, state.failing_in, key, addresses, now):
        wide[key[0], wide_scope(prefix[1])] = None
        if hosts >= state.settings.prefix_hosts and not _has_worked(state, prefix, now):
            why = f"{hosts} hosts in it accepted no connection, relays reached them, and none in it worked for an hour"
            changes += _lift_prefix(state, prefix, Cause.IP, last_good, why, now)
    for around in wide:
        changes += _consider_wide(state, around, last_good, now)
    return changes


def _consider_wide(state: BeliefState, wide: Key, last_good: str, now: float) -> list[Change]:
    """Makes a /16 or /32 suspect if hosts in enough prefixes of it failed at the SYN, and nothing in it worked. They
    must be of unrelated domains: the addresses of one site often stand in several prefixes, and fail together."""
    settings = state.settings
    has_worked = 0 <= now - state.worked_around.get(wide, NEVER) < settings.prefix_s
    if has_worked or troubled(state, wide, now) is not None:
        return []
    inside = (prefix for prefix in state.failing_in.places_on(wide[0]) if wide_scope(prefix[1]) == wide[1])
    by_prefix = [hosts for prefix in inside if (hosts := state.failing_in.within(prefix, settings.prefix_s, now))]
    failing = {host for hosts in by_prefix for host in hosts}
    domains = {registrable(host) for host in failing}
    if min(len(by_prefix), len(failing)) < settings.wide_prefix_hosts or len(domains) < settings.wide_prefix_domains:
        return []
    why = (
        f"{len(failing)} hosts of {len(domains)} domains in {len(by_prefix)} prefixes of it accepted no connection, "
        "relays reached them, and none in it worked for an hour"
    )
    return _lift_prefix(state, wide, Cause.IP, last_good, why, now)


def note_slowed(
    state: BeliefState, key: Key, cause: Cause, addresses: Collection[IPAddress], last_good: str, now: float
) -> list[Change]:
    """Notes that a transfer of a host froze or was throttled at these addresses, and that `last_good` carried more."""
    changes: list[Change] = []
    if cause is Cause.FROZEN and addresses:
        state.froze_at.put(key, Frozen(frozenset(addresses)))
    for prefix, hosts in _noted(state, _slowed(state, cause), key, addresses, now):
        if hosts >= state.settings.prefix_hosts:
            why = f"transfers of {hosts} hosts in it {_SLOWED[cause]}, and relays carried more"
            changes += _lift_prefix(state, prefix, cause, last_good, why, now)
    return changes


def _noted(
    state: BeliefState, counter: NameCounter, key: Key, addresses: Iterable[IPAddress], now: float
) -> Iterator[tuple[Key, int]]:
    """Notes a host in the prefixes of its addresses. Yields each prefix, and the number of hosts noted in it lately."""
    network, host = key
    for scope in sorted({prefix_scope(address) for address in addresses}):
        counter.note((network, scope), host, now)
        yield (network, scope), len(counter.within((network, scope), state.settings.prefix_s, now))


def note_recovered(state: BeliefState, key: Key, now: float) -> list[Change]:
    """Notes that direct carried enough of a host. If its transfers froze or were throttled before, the beliefs of its
    prefixes end."""
    state.froze_at.pop(key)
    changes: list[Change] = []
    for cause in _SLOWED:
        counter = _slowed(state, cause)
        for prefix in counter.places_of(*key):
            counter.pop(prefix)
            changes += _end_prefix(state, prefix, cause, "direct carried enough of a host in it", now)
    return changes


_SLOWED: Mapping[Cause, str] = {Cause.FROZEN: "froze", Cause.THROTTLED: "were slow"}


def _slowed(state: BeliefState, cause: Cause) -> NameCounter:
    return state.frozen_in if cause is Cause.FROZEN else state.slow_in


def note_success(state: BeliefState, network: NetworkId, address: str, now: float) -> list[Change]:
    """Notes that an address, with or without a port, answered direct, which ends the beliefs that its prefixes are
    unreachable."""
    if not (scope := prefix_around(address)):
        return []
    prefix = (network, scope)
    state.worked_in[prefix] = state.worked_around[network, wide_scope(scope)] = now
    state.failing_in.pop(prefix)
    changes: list[Change] = []
    if state.prefixes:
        for around in _scopes_around(scope):
            changes += _end_prefix(state, (network, around), Cause.IP, "an address in it answered direct", now)
    return changes


def _scopes_around(scope: str) -> tuple[str, str]:
    """Returns a prefix and the wide one around it."""
    return scope, wide_scope(scope)


def _has_worked(state: BeliefState, prefix: Key, now: float) -> bool:
    """Whether an address in the prefix answered direct within the hour."""
    return 0 <= now - state.worked_in.get(prefix, NEVER) < state.settings.prefix_s


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
