"""Ends blocks: direct is re-tested beside the user's visits, and a block ends after enough successes.

A re-test is a pair: direct, and the route that delivers now. It succeeds if direct delivers what the cause of the block
would have prevented (docs/detection.md, "Re-tests"). Local strategies are probed beside a visit in the same way, after
the residual blocking of the address. Each re-test is claimed first, from the hourly budget of its network.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

from proxy.detect.beliefs.state import BeliefState
from proxy.detect.beliefs.tables import Key
from proxy.detect.beliefs.transitions import (
    aged,
    counted,
    dated_after_failure,
    dated_after_success,
    end_block,
    enough_to_block,
    set_blocked,
    successes_needed,
    suspect_until,
    troubled,
    write,
)
from proxy.model import NAME_CAUSES, Belief, Cause, Change, NetworkId, Route, Signal, SignalId, State

HOUR_S = 3600.0

CLAIM_S = 60.0
"""Seconds for which a re-test that has been claimed is not due again, in case its result is never reported."""

Needs = Literal["byte", "hello", "page", "verified", "64k"]

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
    Cause.THROTTLED: "64k",
}


def retest_needs(belief: Belief) -> Needs:
    """Returns what direct must deliver for a re-test to succeed: what the cause would have prevented."""
    return _NEEDS.get(belief.cause, "byte")


# -- claims ------------------------------------------------------------------------------------------------------------


def claim_retest(state: BeliefState, key: Key, now: float) -> bool:
    """Whether a re-test is due beside this visit; True claims it. The suspicion does not lapse while it runs."""
    belief = troubled(state, key, now)
    if belief is None or not 0 < belief.retest_at <= now or not _claim(state, key, now):
        return False
    if belief.until < (over := now + state.settings.retest_pair_s):
        state.stored.correct(key, replace(belief, until=over))
    return True


def claim_strategies(state: BeliefState, key: Key, now: float) -> bool:
    """Whether to probe local strategies beside this visit: the block is by name, no strategy has been tried, and the
    residual blocking is over. True claims them."""
    belief = state.stored.get(key)
    if belief is None or belief.cause not in NAME_CAUSES or belief.rungs_failed or "|" in belief.last_good:
        return False
    if not max(belief.signal_at, belief.since) + state.settings.residual_s <= now:
        return False
    return troubled(state, key, now) is not None and _claim(state, key, now)


def _claim(state: BeliefState, key: Key, now: float) -> bool:
    if state.claims.get(key, 0.0) > now or not take_budget(state, key[0], now):
        return False
    state.claims.forget(lambda other: state.claims[other] <= now)
    state.claims[key] = now + CLAIM_S
    return True


def take_budget(state: BeliefState, network: NetworkId, now: float) -> bool:
    """Takes one re-test from the hourly budget of a network, `retest_per_hour`. Returns False if it is used up."""
    spent = state.spent[network] = state.spent.get(network, deque())
    while spent and not 0 <= now - spent[0] < HOUR_S:
        spent.popleft()
    if len(spent) >= state.settings.retest_per_hour:
        return False
    spent.append(now)
    return True


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
    state.claims.pop(key, None)
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
    state.claims.pop(key, None)
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
