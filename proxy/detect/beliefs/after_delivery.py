"""Learns from direct attempts that delivered: flows that stop, wrong certificates, refusals.

A flow that froze or was slow makes its host suspect at once, and counts once a relay has carried more. So does the
second that was cut as late as the one before, once a relay's connection has lasted longer. What stops over a local
strategy counts against the strategy, with the same proof. A certificate signed by a known interception root blocks at
once, one of an unknown issuer after two checks.

A site may answer 403, 429 or 451 in plain HTTP on one route and not on another. That is the site's right, not a block:
it shows only which route to prefer for a while.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from proxy.detect.beliefs import counting, retests, rungs
from proxy.detect.beliefs.aggregation import consider
from proxy.detect.beliefs.network_health import may_learn, network_state
from proxy.detect.beliefs.network_health import resigned as network_resigned
from proxy.detect.beliefs.state import BeliefState, Cut, Waiting
from proxy.detect.beliefs.tables import Key
from proxy.detect.beliefs.transitions import (
    current,
    end_working,
    governing,
    remove,
    set_blocked,
    set_transient,
    troubled,
    unknown,
    write,
)
from proxy.detect.signals import REFUSALS, Observed
from proxy.model import (
    DIRECT,
    TROUBLED,
    Attempt,
    Belief,
    Cause,
    Change,
    NetworkId,
    NetworkState,
    Outcome,
    Route,
    Signal,
    SignalId,
    Stage,
    State,
    Symptom,
)
from proxy.model.frozen_dataclass import frozen_dataclass

AGAIN_S = 3600.0
"""A second early reset within this time is a signal."""

_WHOLE_TIMES = 2
"""A whole answer proves a freeze if it is this many times as long as what direct brought: a relay's own network may
freeze connections as well, after some more bytes."""

_NEED_PROOF = frozenset({SignalId.FROZEN, SignalId.THROTTLED, SignalId.CUT_LATER})
"""Signals that count once a relay has carried what direct did not."""

_STOPPED: Mapping[Symptom, SignalId] = {
    Symptom.FROZEN: SignalId.FROZEN,
    Symptom.THROTTLED: SignalId.THROTTLED,
    Symptom.RESET: SignalId.EARLY_RESET,
}
"""The signals of a transfer over a local strategy."""


@frozen_dataclass
class Preference:
    """A route that is preferred because the site refuses another one."""

    route: Route
    status: int
    all_refuse: bool = False


def carried(
    state: BeliefState,
    key: Key,
    route: Route,
    now: float,
    *,
    count: int,
    bytes_s: float = math.inf,
    lasted_s: float = 0.0,
    is_whole: bool = False,
) -> list[Change]:
    """Counts the signals of a frozen, throttled or cut flow, since a relay carried `count` bytes, at up to `bytes_s`,
    the last of them `lasted_s` after its handshake, or until its connection ended (`is_whole`). They wait on if that
    does not prove them all: the site may be slow on every route."""
    waiting = counting.proven(state, key, now, lasted_s=lasted_s)
    if waiting is None or not may_learn(state, key[0], now):
        return []
    if not all(_is_proven(state, each, count, bytes_s, lasted_s, is_whole=is_whole) for each in waiting.observed):
        counting.prove_later(state, key, waiting)
        return []
    if waiting.observed[0].attempt.route != DIRECT:
        return _strategies_stop(state, key, [observed.attempt for observed in waiting.observed], now)
    changes = counting.count(state, key, list(waiting.observed), waiting.story, now, winner=route)
    changes += consider(state, key, now)
    return changes + counting.prefix_slowed(state, key, route, list(waiting.observed), now)


def strategy_broke(
    state: BeliefState, key: Key, attempt: Attempt, others: tuple[Route, ...], now: float
) -> list[Change]:
    """Leaves the strategies out of the next plans (`without_broken`), so that a relay can show whether one is to blame
    for a transfer that stopped."""
    signal = Signal(_STOPPED[attempt.symptom], 0.0, Cause.NONE, now)
    stopped = [replace(attempt, route=route) for route in (attempt.route, *others)]
    counting.prove_later(state, key, Waiting(tuple(Observed(signal, each, now) for each in stopped), now))
    return []


def without_broken(state: BeliefState, key: Key, belief: Belief, now: float) -> Belief:
    """Returns the belief as plans are to be made by it: without the strategies that wait for a relay to carry more."""
    waiting = state.unproven.get(key)
    broken = [o.attempt.route for o in waiting.observed if o.attempt.route != DIRECT] if waiting is not None else []
    if waiting is None or not broken or not state.lasts(waiting.since + state.settings.rescue_suspect_s, now):
        return belief
    return replace(belief, rungs_failed=(*belief.rungs_failed, *map(str, broken)), rungs_failed_at=now)


def _strategies_stop(state: BeliefState, key: Key, stopped: list[Attempt], now: float) -> list[Change]:
    """A relay carried more than a local strategy. So would the other strategies freeze or be slow, which only hide the
    same name otherwise; a reset may be about the strategy. Only the one that was in use is blamed for other hosts."""
    scope = governing(state, key, now)
    belief = troubled(state, scope, now)
    if belief is None:
        return []
    routes = [attempt.route for attempt in stopped]
    rungs.note_failed(state, key[0], belief.cause, routes[:1], now)
    alike = routes[:1] if stopped[0].symptom is Symptom.RESET else routes
    return retests.strategies_failed(state, scope, alike, now)


def spoiled(state: BeliefState, key: Key, uncounted: list[Observed], direct: Attempt, now: float) -> list[Change]:
    """Makes a host suspect whose direct attempt delivered with signals. They count when another route does better."""
    cut_s = direct.evidence.get("cut_s")
    if direct.symptom is Symptom.RESET and cut_s is None and not _early_again(state, key, now):
        return []
    if not uncounted or not may_learn(state, key[0], now):
        return []
    if cut_s is not None:
        state.cuts.put(key, Cut(now, cut_s))
    end_working(state, key)
    proofs = [observed for observed in uncounted if observed.signal.id in _NEED_PROOF]
    others = [observed for observed in uncounted if observed.signal.id not in _NEED_PROOF]
    ids = ", ".join(observed.signal.id for observed in uncounted)
    story = f"direct answered, but: {ids}{f' ({direct.error})' if direct.error else ''}"
    if proofs:
        counting.prove_later(state, key, Waiting(tuple(proofs), now, story))
    if others:
        counting.await_other_route(state, key, others, now)
    return counting.count(state, key, [], story, now, winner=None, hint=uncounted[-1].signal.cause)


def _early_again(state: BeliefState, key: Key, now: float) -> bool:
    """Whether a reset early in the answer is the second within the hour. Many programs close one connection that
    way."""
    before = state.early_resets.get(key)
    state.early_resets.put(key, now)
    return before is not None and 0 <= now - before <= AGAIN_S


def refused(state: BeliefState, outcome: Outcome, key: Key, now: float) -> list[Change]:
    """Prefers a route for `refused_s` where a site answers 403, 429 or 451 on another one."""
    preferred = preference(state, key, outcome, now)
    if preferred is None:
        return []
    lasts_s = state.settings.refused_s
    if preferred.all_refuse:
        why = f"every tested route gets HTTP {preferred.status}"
        set_transient(state, key, State.REFUSED, Cause.REFUSED, why, lasts_s=lasts_s, now=now)
        return []
    belief = current(state, key, now)
    if preferred.route.is_direct or (belief is not None and belief.state in TROUBLED):
        return []
    end_working(state, key)
    before = belief or unknown(key, now)
    why = f"direct gets HTTP {preferred.status}, {preferred.route} does not"
    after = replace(
        before,
        state=State.SUSPECT,
        cause=Cause.REFUSED,
        since=now,
        began=before.began or now,
        until=now + lasts_s,
        last_good=str(preferred.route),
        last_good_at=now,
        why=why,
    )
    return write(state, key, before, after, now)


def preference(state: BeliefState, key: Key, outcome: Outcome, now: float) -> Preference | None:
    """Stores the HTTP statuses of an outcome. Returns the route to prefer; None if the statuses do not show one."""
    known = state.statuses.get(key) or {}
    answered = {
        a.route: a.evidence["status"] for a in outcome.attempts if a.stage is Stage.DONE and "status" in a.evidence
    }
    if not known and REFUSALS.isdisjoint(answered.values()):
        return None
    recent = {route: known[route] for route, (at, _) in known.items() if 0 <= now - at < state.settings.refused_s}
    recent |= {route: (now, int(status)) for route, status in answered.items()}
    state.statuses.put(key, recent)
    refused = {route: status for route, (_, status) in recent.items() if status in REFUSALS}
    admitted = [route for route in recent if route not in refused]
    if not refused:
        return None
    status = next(iter(refused.values()))
    if admitted:
        return Preference(min(admitted, key=lambda route: not route.is_direct), status)
    kinds = {route.is_direct for route in refused}
    return Preference(next(iter(refused)), status, all_refuse=True) if len(kinds) == 2 else None


def resigned(
    state: BeliefState, host: str, issuer: str, network: NetworkId, now: float, *, control: bool
) -> list[Change]:
    """Notes a trusted certificate for `host` whose issuer is in no public log. If that shows that the whole network is
    inspected, beliefs of interception are forgotten."""
    if not network_resigned(state, network, host, issuer, control=control):
        return []
    changes: list[Change] = []
    for key, belief in state.stored.items():
        if key[0] == network and belief.state in TROUBLED and belief.cause == Cause.INTERCEPTION:
            why = "TLS is intercepted on this network by a CA that this computer trusts"
            changes += remove(state, key, now, why)
    return changes


def intercepted_by_known(state: BeliefState, key: Key, fingerprint: str, now: float) -> list[Change]:
    """Blocks a host whose certificate a known interception root signed. That is proof and needs no gate."""
    before = current(state, key, now) or unknown(key, now)
    after = replace(
        before,
        cause=Cause.INTERCEPTION,
        why=f"certificate signed by a known interception root ({fingerprint[:16]})",
    )
    if before.state is State.BLOCKED:
        return write(state, key, before, replace(after, until=now + state.settings.unvisited_s), now)
    end_working(state, key)
    return set_blocked(state, key, before, after, now)


def intercepted(state: BeliefState, key: Key, fingerprint: str, now: float) -> list[Change]:
    """Counts a certificate of an unknown issuer, which the system does not trust."""
    if network_state(state, key[0]) is NetworkState.INSPECTED or not may_learn(state, key[0], now):
        return []
    end_working(state, key)
    signal = Signal(SignalId.TLS_BAD_CERT, state.settings.weights.tls_bad_cert, Cause.INTERCEPTION, now)
    seen = Observed(signal, Attempt(DIRECT, Stage.DONE), now - state.settings.uplink_window_s)
    story = f"wrong certificate, from an unknown issuer ({fingerprint[:16]})"
    counts, waiting, _ = counting.split_by_control(state, key, [seen], now)
    if waiting:
        counting.wait(state, key, waiting, story, now)
    return counting.count(state, key, counts, story, now, winner=None, hint=Cause.INTERCEPTION)


def _is_proven(
    state: BeliefState, observed: Observed, count: int, bytes_s: float, lasted_s: float, *, is_whole: bool
) -> bool:
    """Whether a relay did enough better than the direct flow of a signal. A flow that fell silent as late as the one
    before it may have been stopped after as many bytes, so that bytes prove this as well."""
    settings, attempt = state.settings, observed.attempt
    evidence = attempt.evidence
    passed = count >= settings.proof_bytes
    if is_whole:  # a small page may end before so many
        passed = passed or count >= max(settings.proof_bytes / 2, _WHOLE_TIMES * evidence.get("bytes", math.inf))
    if observed.signal.id is SignalId.CUT_LATER:
        if lasted_s >= settings.cut_outlived * evidence.get("cut_s", math.inf):
            return True
        return attempt.symptom is Symptom.FROZEN and passed
    direct_bytes_s = evidence.get("bytes_s", 0) if observed.signal.id is SignalId.THROTTLED else 0
    return passed and bytes_s >= settings.throttled_faster * direct_bytes_s
