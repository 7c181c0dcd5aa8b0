"""Finds and remembers, by network and cause, which local strategy passes; and drops one that does harm.

A search goes on beside visits that plain direct did not carry: it tries the strategies from the simplest one on, each
on a connection of its own, and is claimed first. What fails for one host is not tried for the next one of the same
cause. What passes is used for all of them. Nothing is tried at an address in its residual window, unless it is known
that this network leaves none; that permits a search, and nothing else. Nor is anything tried against a freeze, unless
direct has carried enough of another host at that address: a strategy only hides the name. docs/detection.md, "Local
strategies".

Where no other route carried the visit either, the site may be down. What fails then is noted for that host alone, and
only changes the order in which the strategies are tried for others.

In the order of the routes that callers give, the simplest strategy is first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import Enum, auto

from proxy.detect.beliefs.counting import in_residual_window
from proxy.detect.beliefs.cut_hellos import are_punished, worked_lately
from proxy.detect.beliefs.network_health import may_learn, record_of
from proxy.detect.beliefs.retests import HOUR_S, after_burst, strategies_failed, strategy_result, take_from
from proxy.detect.beliefs.state import NEVER, BeliefState, Fares, Frozen, KnownRungs, Residue, Unserved
from proxy.detect.beliefs.tables import Key
from proxy.detect.beliefs.transitions import governing, recent_cut, troubled
from proxy.detect.scopes import address_of
from proxy.detect.signals import Observed, cause_concerns
from proxy.model import (
    NAME_CAUSES,
    TROUBLED,
    Attempt,
    Belief,
    Cause,
    Change,
    NetworkId,
    Protocol,
    Route,
    State,
)

SEARCHED_CAUSES = NAME_CAUSES | {Cause.FROZEN}
"""Causes against which a strategy may pass."""

SIMPLER_S = 86_400.0
"""The time between two trials of a simpler strategy than the one that passes."""

SEARCH_S = 160.0
"""Seconds after the claim of a search for which neither another one nor a re-test is due, unless it ends before. Three
trials and two of plain direct take 26 s each at most, with their waits, and the two with another name 12 s each; or, in
their place, the page by the route of the visit 11 s."""

CHECKED_AFTER_S = 5.0
"""Seconds after the first failure of a host, before which no check for residual blocking follows: one reset may be an
accident, and a page has several connections."""

AGAIN_S = 3.0
"""Seconds after a visit that nothing carried in which others are no second failure: a page has several connections, and
browsers try again at once."""

WINDOWS = 2
"""Residual windows for whose end a search waits at most: each visit that nothing carries begins another one."""

RESIDUE_KNOWN_S = 86_400.0
"""How long it is known that a network leaves no residual blocking: an address at which a flight was just broken has
answered another name. In memory only."""

FAILURES = 2
"""Hosts for which a strategy that had passed fails, until it is forgotten for all."""

SLOW_VISITS = 3
SLOWER, SLOWER_S = 2.0, 0.5
"""A strategy is slow when each of so many visits in a row took twice as long as by relay, and half a second more."""


class Search(Enum):
    """Whether a search for a local strategy may begin."""

    NOT_DUE = auto()
    DUE = auto()  # and claimed, as are the others
    AFTER_PLAIN = auto()  # once plain direct has failed once more: a site that works may have failed once
    AFTER_CHECK = auto()  # and the address has then answered another name: it may be in a residual window
    LATER = auto()  # once no address is in a residual window, where the next visit would only begin another one


# -- hosts that nothing delivers ---------------------------------------------------------------------------------------


def note_unserved(state: BeliefState, host: Key, observed: Sequence[Observed], now: float) -> None:
    """Nothing delivered a host, and nothing shows that it is down. If direct failed as where a name is blocked,
    searches may follow."""
    heaviest = max(observed, key=lambda each: each.signal.weight, default=None)
    if heaviest is None or heaviest.signal.cause not in NAME_CAUSES:
        return
    if not may_learn(state, host[0], now) or state.is_near(host[1]):
        return
    before = _unserved(state, host, now)
    noted = Unserved(heaviest, now, now) if before is None else replace(before, observed=heaviest, seen_at=now)
    if before is not None and now - before.seen_at >= state.settings.episode_gap_s:
        noted = replace(noted, episodes=before.episodes + 1)
    state.unserved.put(host, noted)


def served(state: BeliefState, host: Key, protocol: Protocol | None = None) -> None:
    """Direct delivered a host, in this protocol (None: in that of its searches), or a relay showed that it is down."""
    unserved = state.unserved.get(host)
    if unserved is not None and (protocol is None or cause_concerns(unserved.observed.signal.cause, protocol)):
        state.unserved.pop(host)


def as_if_blocked(state: BeliefState, host: Key, belief: Belief, now: float) -> Belief:
    """Returns the belief by which to plan a host that nothing delivered: as if it were in trouble, where a strategy
    passes against this cause for another host. Plain direct would begin a residual window before that one is tried."""
    unproven = _unproven(state, host, now)
    passing = _passing(state, host[0], unproven, now) if unproven is not None else None
    if unproven is None or passing is None:
        return belief
    return replace(unproven, why=f"{unproven.why}; {passing} passes for other sites on this network")


def _unserved(state: BeliefState, host: Key, now: float) -> Unserved | None:
    unserved, lasts_s = state.unserved.get(host), state.settings.last_good_s
    return unserved if unserved is not None and state.lasts(unserved.seen_at + lasts_s, now) else None


def _unproven(state: BeliefState, host: Key, now: float) -> Belief | None:
    """Returns what would be believed of a host that nothing delivered, if the network were at fault."""
    unserved = _unserved(state, host, now)
    if unserved is None:
        return None
    (network, name), signal = host, unserved.observed.signal
    return Belief(
        name,
        network,
        State.SUSPECT,
        signal.cause,
        since=unserved.since,
        until=unserved.seen_at + state.settings.last_good_s,
        why=f"direct failed ({signal.id})",
        rungs_failed=tuple(map(str, _in_vain(state, unserved, now))),
        rungs_failed_at=unserved.seen_at,
    )


def _in_vain(state: BeliefState, unserved: Unserved, now: float) -> list[Route]:
    return [route for route, at in unserved.failed.items() if _is_recent(state, at, now)]


def _trouble(state: BeliefState, host: Key, now: float) -> tuple[Belief | None, bool]:
    """Returns what searches go by: the belief about a troubled host, else what would be believed of one that nothing
    delivered; and whether it is the former."""
    belief = troubled(state, governing(state, host, now), now)
    return (belief, True) if belief is not None else (_unproven(state, host, now), False)


# -- searching ---------------------------------------------------------------------------------------------------------


def claim_search(
    state: BeliefState,
    host: Key,
    routes: Sequence[Route],
    addresses: Iterable[str],
    protocol: Protocol,
    now: float,
    *,
    is_carried: bool,
) -> Search:
    """See `Beliefs.search_due`."""
    network, key = host[0], governing(state, host, now)
    belief, is_believed = _trouble(state, host, now)
    unserved = _unserved(state, host, now)
    if belief is None or belief.cause not in SEARCHED_CAUSES or not may_learn(state, network, now):
        return Search.NOT_DUE
    if not is_carried and (unserved is None or unserved.seen_at - unserved.since < AGAIN_S):
        return Search.NOT_DUE  # one failure may be an accident
    if is_carried and not is_believed and _passing(state, network, belief, now) not in routes:
        return Search.NOT_DUE  # else that strategy carried it
    if belief.cause == Cause.FROZEN and not (is_carried and _may_pass_freeze(state, host, addresses, now)):
        return Search.NOT_DUE
    never_works = unserved is not None and unserved.episodes >= state.settings.blocked_alone
    if belief.cause != Cause.HTTP_HOST and (
        are_punished(state, network, now)
        or after_burst(state, host, now)
        or (belief.state is State.SUSPECT and worked_lately(state, host, now) and not never_works)
    ):
        return Search.NOT_DUE
    began = [at for at in state.searches.get(host, ()) if 0 <= now - at < HOUR_S]
    if (
        state.claims.get(key, 0.0) > now
        or len(began) >= state.settings.search_per_hour_host
        or next_rung(state, host, routes, now, in_search=False, is_carried=is_carried) is None
    ):
        return Search.NOT_DUE
    if struck_until(state, host, addresses, protocol, now):
        may_ask = not is_carried or now - belief.since >= CHECKED_AFTER_S
        if may_ask and claim_question(state, network, protocol, now):
            state.claims[key] = now + SEARCH_S
            return Search.AFTER_CHECK
        if is_carried:
            return Search.NOT_DUE
        state.claims[key] = now + WINDOWS * state.settings.residual_s
        return Search.LATER
    if not take_from(state.searched, network, state.settings.search_per_hour, now):
        return Search.NOT_DUE
    if is_carried and is_believed and _passing(state, network, belief, now) in routes:  # for a simpler one
        record_of(state, network).rungs[Cause(belief.cause)] = replace(
            _known(state, network, belief.cause), simpler_at=now
        )
    state.searches[host] = (*began, now)
    state.claims[key] = now + SEARCH_S
    # An earlier search has tried it: had plain direct been answered, the suspicion were over.
    was_searched = any(at >= belief.since for at in began)
    has_failed_again = belief.state is State.BLOCKED or belief.retest_step > 0 or was_searched
    is_due = has_failed_again or not (is_carried and is_believed)  # else visits have sent plain direct
    return Search.DUE if is_due else Search.AFTER_PLAIN


def take_back_search(state: BeliefState, host: Key) -> None:
    """See `Beliefs.take_back_search`."""
    began, spent = state.searches.get(host, ()), state.searched.get(host[0], ())
    if began and began[-1] in spent:
        state.searches[host] = began[:-1]
        state.searched[host[0]].remove(began[-1])


def _may_pass_freeze(state: BeliefState, host: Key, addresses: Iterable[str], now: float) -> bool:
    """Whether a strategy may pass a freeze of a host: it is by name, and not by time. Where nobody saw at which address
    it froze, as before a restart, it is one of these."""
    if host not in state.froze_at:
        found = frozenset(address for text in addresses if (address := address_of(text)) is not None)
        if found:
            state.froze_at.put(host, Frozen(found))
    return freezes_by_name(state, host, now) and recent_cut(state, host, now) is None


def freezes_by_name(state: BeliefState, host: Key, now: float) -> bool:
    """Whether direct has carried enough of another host at an address of this one, since its transfers froze there."""
    frozen = state.froze_at.get(host)
    if frozen is None or frozen.other_at == NEVER:
        return False
    return state.lasts(frozen.other_at + state.settings.known_s, now)


def note_carried(state: BeliefState, carrier: Key, address: str, now: float) -> None:
    """Direct has carried more of a host than a frozen connection brings: others freeze at its address by name."""
    at = address_of(address)
    for host, frozen in state.froze_at.items():
        if host[0] == carrier[0] and host != carrier and at in frozen.addresses:
            state.froze_at.put(host, frozen._replace(other_at=now))


def claim_question(state: BeliefState, network: NetworkId, protocol: Protocol, now: float) -> bool:
    """Whether to ask if this network leaves any residue, by another name to an address at which a flight has just been
    broken. True claims it for an hour."""
    known = record_of(state, network).residue
    before = known.get(protocol, Residue())
    if 0 <= now - before.asked_at < HOUR_S:
        return False
    known[protocol] = before._replace(asked_at=now)
    return True


def residue_asked(state: BeliefState, network: NetworkId, protocol: Protocol, now: float, *, is_answered: bool) -> None:
    """Notes whether the address answered the other name."""
    record_of(state, network).residue[protocol] = Residue(now, now if is_answered else NEVER)


def struck_until(state: BeliefState, host: Key, addresses: Iterable[str], protocol: Protocol, now: float) -> float:
    """See `Beliefs.struck_until`."""
    network = host[0]
    record = state.networks.get(network)
    if record is not None and 0 <= now - record.residue.get(protocol, Residue()).free_at < RESIDUE_KNOWN_S:
        return 0.0
    own = state.residual.begun_by(host, now - state.settings.residual_s)
    given = [found for address in addresses if (found := address_of(address)) is not None]
    struck = [place for place in (*given, *own) if in_residual_window(state, place, network, now)]
    return max((state.residual[network, place][0] + state.settings.residual_s for place in struck), default=0.0)


def next_rung(
    state: BeliefState, host: Key, routes: Sequence[Route], now: float, *, in_search: bool, is_carried: bool
) -> Route | None:
    """Returns the strategy to try next for a host; None: there is none. Where one passes already, that is a simpler
    one, once a day: in one search (`in_search`: it is under way). For a host that nothing delivers it is the one that
    passes for others, then those that were not tried in vain for another such host, then the others."""
    belief, is_believed = _trouble(state, host, now)
    if belief is None:
        return None
    known, left, failed = _known(state, host[0], belief.cause), list(routes), {*belief.rungs_failed}
    good = _passing(state, host[0], belief, now)
    if not (is_carried and is_believed):
        if (unserved := _unserved(state, host, now)) is not None:
            failed.update(map(str, _in_vain(state, unserved, now)))
        in_vain = {
            route
            for other, noted in state.unserved.items()
            if other[0] == host[0] and noted.observed.signal.cause == belief.cause
            for route in _in_vain(state, noted, now)
        }
        left.sort(key=lambda route: (route != good, route in in_vain))
    elif good in left:
        if not in_search and 0 <= now - known.simpler_at < SIMPLER_S:
            return None
        left = left[: left.index(good)]
    for route in left:
        if str(route) not in failed and not _is_recent(state, known.failed.get(route, NEVER), now):
            return route
    return None


def learn_tried(
    state: BeliefState, host: Key, route: Route, now: float, *, passed: bool, is_rejected: bool, is_carried: bool
) -> list[Change]:
    """Learns from a strategy that a search tried."""
    network, key = host[0], governing(state, host, now)
    belief = troubled(state, key, now)
    if not passed and (belief is None or not is_carried):
        if (unserved := state.unserved.get(host)) is not None:
            state.unserved.correct(host, replace(unserved, failed={**unserved.failed, route: now}))
        return []
    if belief is None or belief.cause not in SEARCHED_CAUSES:
        return []
    cause, known = Cause(belief.cause), _known(state, network, belief.cause)
    if passed:
        is_left_here = known.passes is not None and str(known.passes) in belief.rungs_failed
        if not (is_left_here and _is_recent(state, known.passed_at, now)):  # else it passes for others, and is simpler
            failed = {other: at for other, at in known.failed.items() if other != route}
            _remember(state, network, cause, KnownRungs(route, now, failed=failed, simpler_at=now), now)
        return strategy_result(state, key, route, now, ok=True)
    if not is_rejected:
        failed = {other: at for other, at in known.failed.items() if _is_recent(state, at, now)}
        _remember(state, network, cause, replace(known, failed={**failed, route: now}), now)
    return strategies_failed(state, key, [route], now)


def _passing(state: BeliefState, network: NetworkId, belief: Belief, now: float) -> Route | None:
    """Returns the strategy by which a troubled host is visited; None: there is none."""
    if belief.last_good and (good := Route.parse(belief.last_good)).is_direct:
        return good if belief.last_good not in belief.rungs_failed else None
    known = _known(state, network, belief.cause)
    is_left = known.passes is not None and str(known.passes) in belief.rungs_failed
    return known.passes if not is_left and _is_recent(state, known.passed_at, now) else None


# -- what is known for all ---------------------------------------------------------------------------------------------


def known_rungs(state: BeliefState, host: Key, belief: Belief, now: float) -> tuple[Route, ...]:
    """Returns the strategies that pass on the network of a belief: against its cause, or, while the host is not in
    trouble, against any, the latest first. Against a freeze, only while the host freezes by its name."""
    record = state.networks.get(belief.network)
    if record is None:
        return ()
    found = list[tuple[float, Route]]()
    for cause, known in record.rungs.items():
        is_meant = belief.state not in TROUBLED or belief.cause == cause
        if cause is Cause.FROZEN:
            is_meant = is_meant and freezes_by_name(state, host, now)
        if is_meant and known.passes is not None and _is_recent(state, known.passed_at, now):
            state.lasts(known.passed_at + state.settings.last_good_s, now)
            found.append((known.passed_at, known.passes))
    found.sort(key=lambda one: -one[0])
    return tuple(dict.fromkeys(route for _, route in found))


def note_passed(state: BeliefState, network: NetworkId, cause: Cause | str, route: Route, now: float) -> None:
    """A visit was delivered over a strategy: if it is the one that is known to pass, that stays known."""
    known = _known(state, network, cause)
    if known.passes == route and now - known.passed_at >= HOUR_S:
        _remember(state, network, Cause(cause), replace(known, passed_at=now, failures=0), now)


def note_failed(
    state: BeliefState, network: NetworkId, cause: Cause | str, routes: Iterable[Route], now: float
) -> None:
    """Strategies did harm for a host, and are left for it. After `FAILURES` hosts, the one that passed is left for
    all."""
    known = _known(state, network, cause)
    if known.passes is None or known.passes not in routes:
        return
    if known.failures + 1 < FAILURES:
        state.networks[network].rungs[Cause(cause)] = replace(known, failures=known.failures + 1)
        return
    failed = {**known.failed, known.passes: now}
    _remember(state, network, Cause(cause), replace(known, passes=None, failures=0, failed=failed), now)


def _known(state: BeliefState, network: NetworkId, cause: Cause | str) -> KnownRungs:
    record = state.networks.get(network)
    found = record.rungs.get(Cause(cause)) if record is not None and cause in SEARCHED_CAUSES else None
    return found if found is not None else KnownRungs()


def _remember(state: BeliefState, network: NetworkId, cause: Cause, known: KnownRungs, now: float) -> None:
    before = _known(state, network, cause)
    record_of(state, network).rungs[cause] = known
    is_new = known.passes != before.passes
    if is_new or (known.passes is not None and not _is_recent(state, before.passed_at, now)):
        state.generations.on_all_changed()  # every host may be planned with it


def _is_recent(state: BeliefState, at: float, now: float) -> bool:
    return 0 <= now - at < state.settings.last_good_s


# -- a strategy that makes visits slower -------------------------------------------------------------------------------


def learn_fare(state: BeliefState, host: Key, winner: Attempt, now: float) -> list[Change]:
    """Compares how long the answers of a host take over a strategy and by relay. A strategy that is slower in several
    visits in a row is left for the host."""
    key = governing(state, host, now)
    belief = troubled(state, key, now)
    if belief is None or belief.cause not in SEARCHED_CAUSES:
        return []
    fares = state.fares.get(host) or Fares()
    if winner.route.relays:
        state.fares.put(host, replace(fares, relay_s=winner.elapsed))
        return []
    if belief.cause != Cause.FROZEN:  # else a first answer shows nothing
        note_passed(state, host[0], belief.cause, winner.route, now)
    before = fares.rung_s if fares.rung == winner.route else ()
    fares = replace(fares, rung=winner.route, rung_s=(*before, winner.elapsed)[-SLOW_VISITS:])
    state.fares.put(host, fares)
    enough = max(SLOWER * fares.relay_s, fares.relay_s + SLOWER_S)
    if not fares.relay_s or len(fares.rung_s) < SLOW_VISITS or min(fares.rung_s) <= enough:
        return []
    state.fares.put(host, replace(fares, rung=None, rung_s=()))
    note_failed(state, host[0], belief.cause, [winner.route], now)
    return strategies_failed(state, key, [winner.route], now)
