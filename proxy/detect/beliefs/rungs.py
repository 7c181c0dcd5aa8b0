"""Finds and remembers, by network and cause, which local strategy passes; and drops one that does harm.

A search goes on beside visits over another route than direct: it tries the strategies from the simplest one on, each on
a connection of its own, and is claimed first. What fails for one host is not tried for the next one of the same cause.
What passes is used for all of them. Nothing is tried at an address in its residual window, unless it is known that this
network leaves none; that permits a search, and nothing else. Nor is anything tried against a freeze, unless direct has
carried enough of another host at that address: a strategy only hides the name. docs/detection.md, "Local strategies".

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
from proxy.detect.beliefs.state import NEVER, BeliefState, Fares, Frozen, KnownRungs, Residue
from proxy.detect.beliefs.tables import Key
from proxy.detect.beliefs.transitions import governing, recent_cut, troubled
from proxy.detect.scopes import address_of
from proxy.model import (
    NAME_CAUSES,
    TROUBLED,
    Attempt,
    Belief,
    Cause,
    Change,
    IPAddress,
    NetworkId,
    Protocol,
    Route,
    State,
)

SEARCHED_CAUSES = NAME_CAUSES | {Cause.FROZEN}
"""Causes against which a strategy may pass."""

SIMPLER_S = 86_400.0
"""The time between two trials of a simpler strategy than the one that passes."""

SEARCH_S = 150.0
"""Seconds after the claim of a search for which neither another one nor a re-test is due, unless it ends before. Three
trials and two of plain direct take 26 s each at most, with their waits, and the question about residue 12 s; or, in its
place, the page by the route of the visit 11 s."""

CHECKED_AFTER_S = 5.0
"""Seconds after the first failure of a host, before which no check for residual blocking follows: one reset may be an
accident, and a page has several connections."""

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


# -- searching ---------------------------------------------------------------------------------------------------------


def claim_search(
    state: BeliefState, host: Key, routes: Sequence[Route], addresses: Iterable[str], protocol: Protocol, now: float
) -> Search:
    """See `Beliefs.search_due`."""
    network, key = host[0], governing(state, host, now)
    belief = troubled(state, key, now)
    if belief is None or belief.cause not in SEARCHED_CAUSES or not may_learn(state, network, now):
        return Search.NOT_DUE
    if belief.cause == Cause.FROZEN and not _may_pass_freeze(state, host, addresses, now):
        return Search.NOT_DUE
    if belief.cause != Cause.HTTP_HOST and (
        are_punished(state, network, now)
        or after_burst(state, host, now)
        or (belief.state is State.SUSPECT and worked_lately(state, host, now))
    ):
        return Search.NOT_DUE
    began = [at for at in state.searches.get(host, ()) if 0 <= now - at < HOUR_S]
    if (
        state.claims.get(key, 0.0) > now
        or len(began) >= state.settings.search_per_hour_host
        or next_rung(state, host, routes, now, in_search=False) is None
    ):
        return Search.NOT_DUE
    if struck(state, host, addresses, protocol, now):
        if now - belief.since < CHECKED_AFTER_S or not claim_question(state, network, protocol, now):
            return Search.NOT_DUE
        state.claims[key] = now + SEARCH_S
        return Search.AFTER_CHECK
    if not take_from(state.searched, network, state.settings.search_per_hour, now):
        return Search.NOT_DUE
    if _passing(state, network, belief, now) in routes:  # the search is for a simpler one
        record_of(state, network).rungs[Cause(belief.cause)] = replace(
            _known(state, network, belief.cause), simpler_at=now
        )
    state.searches[host] = (*began, now)
    state.claims[key] = now + SEARCH_S
    # An earlier search has tried it: had plain direct been answered, the suspicion were over.
    was_searched = any(at >= belief.since for at in began)
    has_failed_again = belief.state is State.BLOCKED or belief.retest_step > 0 or was_searched
    return Search.DUE if has_failed_again else Search.AFTER_PLAIN


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


def struck(
    state: BeliefState, host: Key, addresses: Iterable[str], protocol: Protocol, now: float
) -> Sequence[IPAddress]:
    """See `Beliefs.struck`."""
    network = host[0]
    record = state.networks.get(network)
    if record is not None and 0 <= now - record.residue.get(protocol, Residue()).free_at < RESIDUE_KNOWN_S:
        return ()
    own = state.residual.begun_by(host, now - state.settings.residual_s)
    given = [found for address in addresses if (found := address_of(address)) is not None]
    places = dict.fromkeys((*given, *own))
    return [address for address in places if in_residual_window(state, address, network, now)]


def next_rung(state: BeliefState, host: Key, routes: Sequence[Route], now: float, *, in_search: bool) -> Route | None:
    """Returns the strategy to try next for a host; None: there is none. Where one passes already, that is a simpler
    one, once a day: in one search (`in_search`: it is under way)."""
    key = governing(state, host, now)
    belief = troubled(state, key, now)
    if belief is None:
        return None
    known, left = _known(state, host[0], belief.cause), list(routes)
    if (good := _passing(state, host[0], belief, now)) in left:
        if not in_search and 0 <= now - known.simpler_at < SIMPLER_S:
            return None
        left = left[: left.index(good)]
    for route in left:
        if str(route) not in belief.rungs_failed and not _is_recent(state, known.failed.get(route, NEVER), now):
            return route
    return None


def learn_tried(
    state: BeliefState, host: Key, route: Route, now: float, *, passed: bool, is_rejected: bool
) -> list[Change]:
    """Learns from a strategy that a search tried."""
    network, key = host[0], governing(state, host, now)
    belief = troubled(state, key, now)
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
