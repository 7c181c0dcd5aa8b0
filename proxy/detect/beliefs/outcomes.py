"""Learns from the outcome of a connection: which routes delivered and which failed, compared with each other.

Most visits teach nothing: the host works direct as before, or a relay delivers as before. These two cost a few
look-ups. All others are read as a whole.
"""

from __future__ import annotations

from dataclasses import replace

from proxy.detect.beliefs import counting, network_health, retests, rungs
from proxy.detect.beliefs.after_delivery import carried, refused, spoiled
from proxy.detect.beliefs.aggregation import note_success
from proxy.detect.beliefs.cut_hellos import learn_cuts
from proxy.detect.beliefs.hello_bursts import learn_bursts
from proxy.detect.beliefs.state import BeliefState, SettledVisit
from proxy.detect.beliefs.tables import Key
from proxy.detect.beliefs.transitions import (
    NEGLIGIBLE,
    RENEW_S,
    current,
    governing,
    mark_working,
    score_now,
    set_transient,
    set_works,
    suspect_until,
    troubled,
    write,
)
from proxy.detect.scopes import registrable
from proxy.detect.signals import (
    NOT_JUDGED,
    REFUSALS,
    Observed,
    concerns,
    observe_plain,
    redirected_only_direct,
    same_for_all,
)
from proxy.detect.verdict.results import DIRECT_WORKS_S
from proxy.detect.verdict.site_status import HTTPS
from proxy.model import (
    DIRECT,
    NO_EVIDENCE,
    REUSED,
    SURVIVES_FIRST_BYTE,
    TROUBLED,
    Attempt,
    Belief,
    Cause,
    Change,
    Inbound,
    NetworkId,
    NetworkState,
    Outcome,
    Route,
    Stage,
    State,
    Symptom,
)
from proxy.wire.fragmentation import is_cut

_UNCOMPARED = (Symptom.SKIPPED, Symptom.LOCAL, Symptom.ABANDONED)

VISIT_S = 3600.0
"""Seconds between two visits that each extend the belief about a blocked host, and are stored."""


def learn_outcome(state: BeliefState, outcome: Outcome, network: NetworkId, now: float) -> list[Change]:
    """Learns from a connection; see `Beliefs.learn`."""
    if state.ignored and ignores(state, outcome.request.id):
        return []
    key = (network, outcome.host or outcome.request.destination.host)
    winner = outcome.winner
    if winner is not None and len(outcome.attempts) == 1:
        if not winner.relays and not winner.wrap:
            changes = works_again(state, key, outcome.attempts[0], now)
            if changes is not None:
                return changes
        elif _is_served_again(state, key, outcome, now):
            return []
    if outcome.request.inbound is Inbound.RETEST:  # `Retested` tells of the pair
        return []
    return _read(state, outcome, key, now)


def ignores(state: BeliefState, request: int) -> bool:
    """See `Beliefs.ignores`."""
    return any(request in ids for ids in state.ignored)


# -- visits that teach nothing -----------------------------------------------------------------------------------------


def works_again(state: BeliefState, key: Key, attempt: Attempt, now: float) -> list[Change] | None:
    """See `Beliefs.works_again`."""
    working = state.works.get(key)
    if working is None or now >= working.renew_at or not working.is_undisturbed:
        return None
    evidence = attempt.evidence
    if attempt.stage is not Stage.DONE or attempt.symptom is not Symptom.NONE:
        return None
    if (
        evidence is not NO_EVIDENCE
        and evidence is not REUSED
        and (
            "dns" in evidence
            or "elsewhere" in evidence
            or "hellos" in evidence
            or "doubt" in evidence
            or evidence.get("status") in REFUSALS
        )
    ):
        return None
    working.at = now
    if working.is_near:
        return []
    network = key[0]
    if state.results.waiting:
        state.results.on_direct_delivery(network, working.domain, now)
    record = state.networks.get(network)
    if record is None or record.last is not working or record.state is not NetworkState.OK:
        network_health.on_direct_delivery(state, network, working)
    if state.at_control:
        return counting.on_other_host_delivered(state, working.domain, network, now)
    return []


def disturb(state: BeliefState, key: Key) -> None:
    """Has the next visit to a host read as a whole, since something else was noted."""
    state.settled.pop(key, None)
    if (working := state.works.get(key)) is not None:
        working.is_undisturbed = False


def _is_served_again(state: BeliefState, key: Key, outcome: Outcome, now: float) -> bool:
    """Whether a relay delivered as it did before, which teaches nothing."""
    settled = state.settled.get(key)
    return (
        settled is not None
        and now < settled.until
        and settled.generation == state.generations.of(*key)
        and not state.at_control
        and settled.route == outcome.winner
        and settled.protocol is outcome.protocol
        and settled.port == outcome.request.destination.port
        and _is_unremarkable(state, outcome)
    )


def _settle(state: BeliefState, outcome: Outcome, key: Key, winner: Route) -> None:
    """Notes that the next visit like this one teaches nothing, as long as what was read for this one holds."""
    if (
        _is_unremarkable(state, outcome)
        and network_health.network_state(state, key[0]) is NetworkState.OK
        and state.statuses.get(key) is None
        and not state.results.knows(key)
    ):
        port, generation = outcome.request.destination.port, state.generations.of(*key)
        state.settled[key] = SettledVisit(winner, outcome.protocol, port, state.holds_until, generation)


def _is_unremarkable(state: BeliefState, outcome: Outcome) -> bool:
    """Whether one route was tried and delivered, its evidence has no more than the time until it was open, and its
    bytes prove nothing."""
    if len(outcome.attempts) != 1 or outcome.bytes_down >= state.settings.proof_bytes:
        return False
    attempt = outcome.attempts[0]
    evidence = attempt.evidence
    return (
        attempt.stage is Stage.DONE
        and attempt.symptom is Symptom.NONE
        and (not evidence or (len(evidence) == 1 and "opened_s" in evidence))
    )


# -- all others --------------------------------------------------------------------------------------------------------


def _read(state: BeliefState, outcome: Outcome, key: Key, now: float) -> list[Change]:
    """Reads a visit as a whole: for the last result of its host, for the system's resolver, and for beliefs."""
    winner, port = outcome.winner, outcome.request.destination.port
    state.begin_reading(now, RENEW_S)
    if (working := state.works.get(key)) is not None:
        working.is_undisturbed = False
    state.settled.pop(key, None)
    if state.unresolved or (outcome.attempts and outcome.attempts[0].stage is Stage.RESOLVE):
        network_health.note_resolver(state, outcome, key)
    since = min(outcome.at or now, now) - DIRECT_WORKS_S
    direct_works = network_health.well_since(state, key[0], registrable(key[1]), since)
    if working is not None and working.at >= since and port != HTTPS:
        direct_works = True  # the site itself, on another port
    state.results.learn(outcome, key, now, direct_works=direct_works)
    if outcome.plan.is_home:  # no other route may be compared, and it tells nothing about the uplink
        if winner is not None:
            mark_working(state, key, now, is_home=True)
        return []
    changes = compare(state, outcome, key, now)
    attempts = outcome.attempts
    # One whole ClientHello on direct, with none beside it that anyone knows of, teaches neither.
    is_plain = len(attempts) == 1 and attempts[0].route == DIRECT and "hellos" not in attempts[0].evidence
    if not is_plain or state.cut_unanswered:
        learn_cuts(state, outcome, key, now)
        changes += learn_bursts(state, outcome, key, now)
    if state.statuses.get(key) is not None and (working := state.works.get(key)) is not None:
        working.is_undisturbed = False  # a later status counts, too
    if winner is not None and winner.relays and not changes:
        _settle(state, outcome, key, winner)
    return changes


def compare(state: BeliefState, outcome: Outcome, key: Key, now: float) -> list[Change]:
    """Compares the routes of an outcome: direct delivered, another route did, or none."""
    winner, direct = outcome.winner, outcome.direct_attempt
    uncounted = counting.uncounted_signals(state, outcome, key, now)
    network_health.learn_network(state, outcome, key, now)
    # A page that may be a censor's or a portal's shows neither that the site opens nor that others do.
    is_doubted = direct is not None and "doubt" in direct.evidence
    is_control = winner is not None and not winner.relays and not is_doubted
    # Another route is redirected to the same place as direct: then direct reaches the site.
    is_sites_own = direct is not None and direct.symptom is Symptom.REDIRECTED and same_for_all(outcome, direct)
    is_direct = is_sites_own or (direct.stage is Stage.DONE if direct is not None else winner == DIRECT)
    if is_direct and direct is not None and not is_sites_own and (uncounted or direct.symptom):
        changes = spoiled(state, key, uncounted, direct, now)
    elif is_direct:
        late = direct is not None and winner != DIRECT
        if late and not is_doubted:
            is_control = True
            network_health.on_host_delivery(state, key, now)
        is_unconfirmed = is_doubted or (direct is not None and redirected_only_direct(outcome, direct))
        changes = _direct_delivered(state, key, outcome, late=late, is_doubted=is_unconfirmed, now=now)
        if direct is not None:
            changes += note_success(state, key[0], direct.address, now)
        changes += refused(state, outcome, key, now)
    elif winner is None or winner == DIRECT:  # the latter: direct's invalid answer was the best there was
        return _nothing_delivered(state, key, outcome, uncounted, now)
    else:
        changes = _another_delivered(state, key, winner, outcome, uncounted, now)
    if is_control and state.at_control and not state.is_near(key[1]):
        changes += counting.on_other_host_delivered(state, registrable(key[1]), key[0], now)
    if not is_direct and outcome.bytes_down >= state.settings.proof_bytes and winner is not None:
        changes += carried(state, key, winner, now, count=outcome.bytes_down)
    return changes


def _direct_delivered(
    state: BeliefState, key: Key, outcome: Outcome, *, late: bool, is_doubted: bool, now: float
) -> list[Change]:
    """Learns that direct delivered. `late`: after another route had won. `is_doubted`: a page, or a redirect that no
    relay got, which does not show that a block by pages is over."""
    settings = state.settings
    if state.transient.get(key) is not None:
        state.transient.pop(key)
    belief = current(state, key, now) if state.stored.get(key) is not None else None
    if belief is not None and belief.state in TROUBLED and not concerns(belief, outcome.protocol):
        return []
    counting.cancel(state, key)
    if state.unserved.get(key) is not None:
        rungs.served(state, key, outcome.protocol)
    if late and belief is not None:
        return _slow(state, key, belief, now)
    if belief is not None and belief.cause == Cause.BLOCK_PAGE and is_doubted:
        return []  # it may be the censor's, also once the suspicion has lapsed
    mark_working(state, key, now)
    if belief is None or (belief.state is State.WORKS and belief.score < NEGLIGIBLE):
        return []
    if belief.state in TROUBLED and belief.cause in SURVIVES_FIRST_BYTE:
        return []  # a first byte always came, also while it was blocked
    if belief.cause in SURVIVES_FIRST_BYTE:  # so it shows no more once the suspicion has lapsed
        if belief.state is not State.UNKNOWN:
            return []
        return set_works(state, key, belief, belief, now, "direct answered", episodes=belief.episodes)
    # In this minute a failure or a success has counted already.
    if now - belief.scored_at < settings.signal_interval_s:
        if belief.state is not State.UNKNOWN:
            return []
        return set_works(state, key, belief, belief, now, "direct answered")
    if belief.state is State.BLOCKED:
        return retests.succeeded(state, key, belief, now, "a visit was delivered direct")
    score = score_now(belief, now, settings) / settings.whole_page_divisor
    better = replace(belief, score=score, scored_at=now)
    if belief.state is State.SUSPECT and score >= settings.suspect_score:
        return write(state, key, belief, replace(better, until=suspect_until(state, better, now)), now)
    return set_works(state, key, belief, better, now, "direct answered")


def _slow(state: BeliefState, key: Key, belief: Belief, now: float) -> list[Change]:
    """Clears a host that direct answered after another route had won: a slow host is not suspect."""
    settings = state.settings
    if belief.state is State.BLOCKED or (belief.signal_at and now - belief.signal_at < settings.signal_interval_s):
        return []
    if belief.state is State.SUSPECT and score_now(belief, now, settings) >= settings.suspect_score:
        return []
    mark_working(state, key, now)
    return set_works(state, key, belief, belief, now, "direct was slow and answered after another route")


def _nothing_delivered(
    state: BeliefState, key: Key, outcome: Outcome, uncounted: list[Observed], now: float
) -> list[Change]:
    """Learns that no route delivered. The signals of direct wait for another route for half a minute, unless a relay
    failed for the host as well: then the site may be down, and a relay that delivers later shows only that it is up
    again. Without such a relay nobody can tell a block from a fault of the site, which is not called down."""
    is_compared = any(attempt.route.relays and _is_comparison(attempt) for attempt in outcome.attempts)
    if is_compared:
        state.unexplained.pop(key)
        rungs.served(state, key)
    elif uncounted:
        counting.await_other_route(state, key, uncounted, now, compared=_was_compared(outcome))
    elif _was_compared(outcome):
        counting.compared(state, key)
    if not is_compared:
        rungs.note_unserved(state, key, observe_plain(outcome, state.settings.weights), now)
    if not uncounted:
        return []
    changes = network_health.suspect_network(state, key, now)
    if outcome.request.destination.port != HTTPS and state.works.get(key) is not None:
        return changes  # a port that is closed is not the site
    undecided = any(a.pending or a.symptom is Symptom.ABANDONED for a in outcome.attempts)
    if undecided or troubled(state, governing(state, key, now), now) is not None:
        return changes
    others = sum(not a.route.is_direct for a in outcome.attempts)
    kind = uncounted[-1].signal.id
    why = f"no route delivered: direct failed ({kind}), and {others} more failed" if others else (
        f"direct failed ({kind}); no other route to compare"
    )  # fmt: skip
    entered, cause = (State.DOWN, Cause.DOWN) if is_compared else (State.UNKNOWN, Cause.NONE)
    set_transient(state, key, entered, cause, why, lasts_s=state.settings.down_s, now=now)
    return changes


def _another_delivered(
    state: BeliefState, key: Key, winner: Route, outcome: Outcome, uncounted: list[Observed], now: float
) -> list[Change]:
    """Learns that another route delivered, and what stopped direct if it was tried."""
    direct = outcome.direct_attempt
    if direct is not None and direct.symptom not in NOT_JUDGED:
        changes = counting.on_rescue(state, key, winner, outcome.protocol, uncounted, story(direct, winner), now)
        changes += counting.prefix_failed(state, key, winner, uncounted, now)
    else:
        changes = _other_delivered(state, key, winner, outcome, now)
    changes += _learn_strategies(state, outcome, key, now)
    won = next((attempt for attempt in outcome.attempts if attempt.route == winner and attempt.delivered), None)
    if won is not None and (winner.relays or is_cut(winner.wrap)):
        changes += rungs.learn_fare(state, key, won, now)
    return changes + refused(state, outcome, key, now)


def _other_delivered(state: BeliefState, host: Key, winner: Route, outcome: Outcome, now: float) -> list[Change]:
    """Learns that another route delivered where direct was not tried, or was stopped by no fault of the network."""
    state.transient.pop(host)
    late = counting.uncompared(state, host, now)
    waiting = counting.take_for(state, host, now)
    if (unexplained := waiting or late) is not None:
        kind = unexplained.observed[-1].signal.id
        why = f"direct failed ({kind}); {winner} delivered {now - unexplained.since:.0f} s later"
        # After the comparison gate has closed it is still a rescue, by two requests, but no evidence.
        observed = list(waiting.observed) if waiting is not None else []
        return counting.on_rescue(state, host, winner, outcome.protocol, observed, why, now)
    key = governing(state, host, now)
    belief = troubled(state, key, now)
    if belief is None or not concerns(belief, outcome.protocol):
        return []
    renewed = replace(belief, last_good=str(winner), last_good_at=now)
    if belief.state is State.BLOCKED:
        renewed = replace(renewed, until=now + state.settings.unvisited_s)
    if renewed.last_good == belief.last_good and now - belief.last_good_at < VISIT_S:
        return []
    return write(state, key, belief, renewed, now)


def _learn_strategies(state: BeliefState, outcome: Outcome, host: Key, now: float) -> list[Change]:
    """Learns which local strategies failed where another route delivered."""
    tried = [attempt for attempt in outcome.attempts if attempt.route.wrap]
    if not any(attempt.symptom for attempt in tried):
        return []
    key = governing(state, host, now)
    belief = troubled(state, key, now)
    if belief is None or not concerns(belief, outcome.protocol):
        return []
    useless = [attempt.route for attempt in tried if _is_useless(state, attempt, outcome, host, now)]
    rungs.note_failed(state, host[0], belief.cause, useless, now)
    return retests.strategies_failed(state, key, useless, now)


def _is_useless(state: BeliefState, rung: Attempt, outcome: Outcome, host: Key, now: float) -> bool:
    """Whether a strategy that failed cannot help here. An alert or a close comes from a server that rejects a
    fragmented ClientHello. Any other failure may be residual blocking after the plain one of the same race."""
    undecided = (*NOT_JUDGED, Symptom.NONE, Symptom.ABANDONED)
    if not rung.route.is_direct or rung.stage is not Stage.FIRST_BYTE or rung.symptom in undecided:
        return False
    if rung.symptom in (Symptom.ALERT, Symptom.EOF):
        return True
    plain = any(a.route == DIRECT and a.stage is Stage.FIRST_BYTE for a in outcome.attempts)
    return not plain and not counting.in_residual_window(state, rung.address, host[0], now)


def _was_compared(outcome: Outcome) -> bool:
    """Whether the race could try other routes than direct with this request, or tried one to its end."""
    http = outcome.request.http
    return (
        http is None
        or http.is_repeatable
        or any(attempt.route != DIRECT and _is_comparison(attempt) for attempt in outcome.attempts)
    )


def _is_comparison(attempt: Attempt) -> bool:
    """Whether a failed attempt shows how the site does on its route. A fault of a relay itself does not show that."""
    return not attempt.pending and attempt.symptom not in _UNCOMPARED and not attempt.symptom.blames_relay


def story(direct: Attempt, winner: Route) -> str:
    """Says how direct failed and another route delivered, in half a sentence."""
    from proxy.detect.verdict.labels import stage_in_words  # with the first site that is rescued

    if direct.pending or direct.symptom is Symptom.ABANDONED:
        return (
            f"direct did not answer within {direct.elapsed:.1f} s ({stage_in_words(direct.stage)}); {winner} delivered"
        )
    said = direct.error or str(direct.symptom)
    where = "" if direct.stage is Stage.FIRST_BYTE else f" ({stage_in_words(direct.stage)})"
    after = f" after {direct.elapsed:.1f} s" if direct.elapsed >= 0.1 else ""
    return f"direct failed{after}{where}: {said}; {winner} delivered"
