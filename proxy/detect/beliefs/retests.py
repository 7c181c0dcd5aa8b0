"""Ends blocks: direct is re-tested beside the user's visits, and a block ends after enough successes.

A re-test is a pair: direct, and the route that delivers now. It succeeds if direct delivers what the cause of the block
would have prevented (docs/detection.md, "Re-tests"). Each re-test is claimed first, from the hourly budget of its
network. So are the experiments about a silence and, while enough is left, the comparisons of speed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from proxy.detect.beliefs.cut_hellos import RECOVERS_S
from proxy.detect.beliefs.state import BeliefState, Speeds
from proxy.detect.beliefs.tables import Key
from proxy.detect.beliefs.transitions import (
    aged,
    counted,
    dated_after_failure,
    dated_after_success,
    end_block,
    enough_to_block,
    governing,
    recent_cut,
    set_blocked,
    successes_needed,
    suspect_until,
    troubled,
    write,
)
from proxy.detect.scopes import registrable
from proxy.model import Belief, Cause, Change, NetworkId, Route, Signal, SignalId, State
from proxy.model.bounded import Bounded

HOUR_S = 3600.0
DAY_S = 86_400.0

Claim = tuple[Key, float]
"""A re-test or a search that was claimed: its key, and when the claim ends. No other one has both in common."""

CLAIM_S = 60.0
"""Seconds for which a re-test that has been claimed is not due again, in case its result is never reported."""

LEFT_FOR_SPEEDS = 3
"""Re-tests of the hour that must be left for a comparison of speeds to be made."""

Needs = Literal["byte", "hello", "page", "verified", "64k", "speed"]

_NEEDS: Mapping[Cause | str, Needs] = {
    Cause.DNS: "verified",  # a verified handshake at the system's address
    Cause.IP: "byte",
    Cause.SNI_RESET: "hello",  # a ServerHello to a ClientHello like the browser's
    Cause.SNI_DROP: "hello",
    Cause.ECH: "hello",
    Cause.HTTP_HOST: "byte",
    Cause.BLOCK_PAGE: "page",  # an answer that is neither a block page nor a redirect elsewhere
    Cause.INTERCEPTION: "verified",
    Cause.FROZEN: "64k",  # at least 64 KiB on one connection
    Cause.THROTTLED: "speed",  # not much less than the other route
}


def retest_needs(belief: Belief) -> Needs:
    """Returns what direct must deliver for a re-test to succeed: what the cause would have prevented."""
    return _NEEDS.get(belief.cause, "byte")


# -- claims ------------------------------------------------------------------------------------------------------------


def claim_retest(state: BeliefState, key: Key, now: float) -> bool:
    """Whether a re-test is due beside this visit; True claims it. The suspicion does not lapse while it runs. It is put
    off where it would show nothing: it is shorter than the connections that are cut."""
    belief = troubled(state, key, now)
    if belief is None or not 0 < belief.retest_at <= now:
        return False
    if belief.cause == Cause.FROZEN and (cut := recent_cut(state, key, now)) is not None:
        state.stored.correct(key, replace(belief, retest_at=cut.at + state.settings.cut_known_s))
        return False
    if not _claim(state, key, now):
        return False
    if belief.until < (over := now + state.settings.retest_pair_s):
        state.stored.correct(key, replace(belief, until=over))
    return True


def _claim(state: BeliefState, key: Key, now: float) -> bool:
    if state.claims.get(key, 0.0) > now or not take_budget(state, key[0], now):
        return False
    state.claims.forget(lambda other: state.claims[other] <= now)
    state.claims[key] = now + CLAIM_S
    return True


def claim_proof(state: BeliefState, key: Key, now: float) -> bool:
    """Whether an experiment about a silence of this host is due; True claims it. Not while a belief that it could only
    confirm is held, nor while the silence may be the punishment of a burst of ClientHellos."""
    if after_burst(state, key, now):
        return False
    before = state.proofs.get(key)
    if before is not None and 0 <= now - before < state.settings.proof_apart_s:
        return False
    belief = troubled(state, key, now)
    if (belief is not None and belief.state is State.BLOCKED) or not take_budget(state, key[0], now):
        return False
    state.proofs[key] = now
    return True


def after_burst(state: BeliefState, key: Key, now: float) -> bool:
    """Whether a failure of this host may be the punishment of a burst of its ClientHellos: it is over soon."""
    record = state.networks.get(key[0])
    burst = record.bursts.get(key[1]) if record is not None else None
    return burst is not None and 0 <= now - burst.at < RECOVERS_S


def claim_speed_check(state: BeliefState, key: Key, routes: Sequence[Route], now: float) -> Route | None:
    """Returns the one of `routes` whose speed is to be compared with that of direct for a host that was slow, and
    claims the comparison; None: none is due. Of a host in trouble the way around is known. A route that was much faster
    is compared once more; else the next one is, as the only comparison of the hour. Sites that work are slow as well,
    and CDNs number their hosts: the limits are those of a domain, and most of the budget is left for re-tests."""
    settings, (network, host) = state.settings, key
    if not routes or _left(state.spent, network, settings.retest_per_hour, now) < LEFT_FOR_SPEEDS:
        return None
    if troubled(state, governing(state, key, now), now) is not None:
        return None
    domain, before = registrable(host), state.speeds.get(key, Speeds())
    alike = [s for other, s in state.speeds.items() if other[0] == network and registrable(other[1]) == domain]
    times = sorted(at for speeds in alike for at in speeds.times if 0 <= now - at < DAY_S)
    if (
        len(times) >= settings.compared_per_day
        or (times and now - times[-1] < settings.compared_apart_s)
        or any(0 <= now - speeds.not_shown_at < DAY_S for speeds in alike)
    ):
        return None
    faster = faster_route(before, now)
    is_second = faster in routes
    if not is_second and not take_from(state.speed_checks, network, settings.compared_per_hour, now):
        return None
    take_budget(state, network, now)
    own = tuple(at for at in before.times if 0 <= now - at < DAY_S)
    state.speeds[key] = before._replace(times=(*own, now))
    if is_second:
        return faster
    return next((route for route in routes if route not in before.alike), routes[0])


def faster_route(speeds: Speeds, now: float) -> Route | None:
    """Returns the route that was much faster in the last comparison, within a day."""
    return speeds.faster if 0 <= now - speeds.faster_at < DAY_S else None


def speed_not_shown(state: BeliefState, key: Key, now: float) -> None:
    """Notes that the first page of a host shows no speed, unless it was forgotten meanwhile."""
    if (before := state.speeds.get(key)) is not None:
        state.speeds[key] = before._replace(not_shown_at=now)


def take_budget(state: BeliefState, network: NetworkId, now: float) -> bool:
    """Takes one re-test or experiment from the hourly budget of a network, `retest_per_hour`. Returns False if it is
    used up."""
    return take_from(state.spent, network, state.settings.retest_per_hour, now)


def take_from(budget: Bounded[NetworkId, deque[float]], network: NetworkId, per_hour: int, now: float) -> bool:
    """Takes one from a budget of so many an hour and network. Returns False if it is used up."""
    if _left(budget, network, per_hour, now) <= 0:
        return False
    budget[network].append(now)
    return True


def _left(budget: Bounded[NetworkId, deque[float]], network: NetworkId, per_hour: int, now: float) -> int:
    """Returns how much of such a budget is left."""
    spent = budget[network] = budget.get(network, deque())
    while spent and not 0 <= now - spent[0] < HOUR_S:
        spent.popleft()
    return per_hour - len(spent)


# -- results -----------------------------------------------------------------------------------------------------------


def succeeded(state: BeliefState, key: Key, belief: Belief, now: float, why: str) -> list[Change]:
    """Learns that direct delivered a troubled host. A suspicion ends; a block ends after enough successes, far enough
    apart."""
    if belief.state is State.SUSPECT:
        return end_block(state, key, belief, now, why)
    if belief.successes and now - belief.success_at < state.settings.retest_apart_s:
        state.stored.correct(key, dated_after_success(state, belief, now))
        return []
    after = replace(belief, successes=belief.successes + 1, success_at=now)
    if after.successes < successes_needed(belief, now, state.settings):
        return write(state, key, belief, dated_after_success(state, after, now), now)
    cleared = replace(after, score=0.0, scored_at=now, signal_at=0.0, signal_weight=0.0, episodes=0)
    return end_block(state, key, cleared, now, f"{why}, {after.successes} times in a row")


def failed(state: BeliefState, key: Key, now: float, *, other_ok: bool, counts: bool) -> list[Change]:
    """Learns that direct failed in a re-test. If both routes failed, only the next date changes. Otherwise the same
    evidence has been seen again, and the next step of the schedule follows. `counts`: it adds to the score."""
    belief = troubled(state, key, now)
    if belief is None:
        return []
    if not other_ok:
        state.stored.correct(key, dated_after_failure(state, belief, now))
        return []
    settings = state.settings
    signal = Signal(SignalId.RETEST, belief.signal_weight if counts else 0.0, belief.cause, now)
    after = counted(belief, signal, now, settings) if signal.weight else aged(belief, now, settings)
    after = replace(after, successes=0, last_good_at=now)
    if belief.state is State.SUSPECT and enough_to_block(after, signal, settings):
        return set_blocked(state, key, belief, after, now)
    after = dated_after_failure(state, after, now)
    if belief.state is State.SUSPECT:
        after = replace(after, until=suspect_until(state, after, now))
    return write(state, key, belief, after, now)


def strategy_result(state: BeliefState, key: Key, route: Route, now: float, *, ok: bool) -> list[Change]:
    """Learns whether a local strategy worked beside a visit."""
    if not ok:
        return strategies_failed(state, key, [route], now)
    belief = troubled(state, key, now)
    if belief is None:
        return []
    others = tuple(failed for failed in belief.rungs_failed if failed != str(route))
    return write(state, key, belief, replace(belief, last_good=str(route), last_good_at=now, rungs_failed=others), now)


def strategies_failed(state: BeliefState, key: Key, routes: Iterable[Route], now: float) -> list[Change]:
    """Notes local strategies that failed where another route delivered."""
    belief = troubled(state, key, now)
    if belief is None:
        return []
    useless = tuple(dict.fromkeys((*belief.rungs_failed, *map(str, routes))))
    if useless == belief.rungs_failed:
        return []
    return write(state, key, belief, replace(belief, rungs_failed=useless, rungs_failed_at=now), now)
