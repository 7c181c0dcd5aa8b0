"""The entry points of learning: `learn` for events that may change a stored belief, `note` for circumstances.

`outcomes` learns from an Outcome. `LEARNERS` has a function for each other kind of event: from flows, control pages,
measurements, re-tests and checks of certificates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs import after_delivery, counting, events, network_health, page_doubts, retests, rungs
from proxy.detect.beliefs.aggregation import consider, note_recovered, note_success
from proxy.detect.beliefs.clock import CLOCK_AHEAD_S, advance
from proxy.detect.beliefs.cut_hellos import cut_answered, whole_answered
from proxy.detect.beliefs.hello_bursts import lone_answered
from proxy.detect.beliefs.outcomes import learn_outcome, story
from proxy.detect.beliefs.state import ALIKE_MAX, BeliefState, Delivery, Speeds
from proxy.detect.beliefs.tables import Key, on_network
from proxy.detect.beliefs.transitions import (
    current,
    end_working,
    forget_stored,
    governing,
    mark_working,
    note_under,
    recent_cut,
    remove,
    represents,
    set_works,
    troubled,
)
from proxy.detect.scopes import registrable
from proxy.detect.signals import NEEDS_BYTES_PROOF, SNI_SWAP_WEIGHT, Observed, concerns
from proxy.model import (
    DIRECT,
    TROUBLED,
    UNKNOWN_NETWORK,
    Attempt,
    Belief,
    Cause,
    Change,
    ConnectivityResult,
    NetworkId,
    NetworkState,
    Outcome,
    Protocol,
    Route,
    Signal,
    SignalId,
    Stage,
    State,
)
from proxy.wire.fragmentation import is_cut


def learn(state: BeliefState, event: events.Event, network: NetworkId, now: float) -> list[Change]:
    """See `Beliefs.learn`."""
    if state.latest <= now <= state.now + CLOCK_AHEAD_S:  # the usual case
        state.now = state.latest = now
    else:
        advance(state, now)
    changes = LEARNERS[type(event)](state, event, network, now)
    if state.untold:
        changes, state.untold = [*state.untold, *changes], []
    return changes


def note(state: BeliefState, event: events.Circumstance, network: NetworkId, now: float) -> None:
    """See `Beliefs.note`."""
    advance(state, now)
    match event:
        case events.ComputerResumed():
            network_health.on_resume(state, now)
        case events.ClockMeasured(ahead):
            state.clock_ahead = (ahead, now)
        case events.ResolverMeasured(unresolved) if unresolved:
            network_health.on_unresolved(state, network, *unresolved)
        case events.ResolverMeasured():
            network_health.on_resolved(state, network)
        case events.PortalSuspected():
            network_health.suspect_portal(state, network)
        case events.PageDoubted(host):
            state.unlike_pages[network, host] = now
        case events.SpeedNotShown(host):
            retests.speed_not_shown(state, (network, host), now)
        case events.CertificateAccepted():
            network_health.on_certificate_accepted(state, network, now)
        case events.PlainPageRequested(came):
            network_health.on_plain_page(state, network, came=came)
        case events.FlowStalled(host):
            network_health.on_unwitnessed_stall(state, network, registrable(host), now)
        case events.FlightBroken(address, host):
            counting.note_residue(state, address, network, now, host=host)
        case events.FlightAnswered(address, host):
            counting.take_back_residue(state, address, network, host)
        case events.ResidueAsked(protocol, is_answered):
            rungs.residue_asked(state, network, protocol, now, is_answered=is_answered)


def _network_left(state: BeliefState, event: events.NetworkLeft, network: NetworkId, now: float) -> list[Change]:
    """Drops the signals that wait, since no control can come any more, and the claims of re-tests, which will not be
    reported. Forgets the beliefs of an unidentified network, since the next one may be unidentified too. A visit may
    have found that there is no network before it was left."""
    network_health.drop_waiting(state)
    state.claims.clear()
    meant = on_network(UNKNOWN_NETWORK, None)
    for table in state.host_tables:
        table.forget(meant)
    changes = forget_stored(state, meant, "left a network that cannot be identified")
    network_health.forget(state, UNKNOWN_NETWORK)
    if event.before != network and network_health.online(state, event.before) and network == UNKNOWN_NETWORK:
        network_health.offline(state, network)
    return changes


def _direct_delivered(
    state: BeliefState, event: events.DirectDelivered, network: NetworkId, now: float
) -> list[Change]:
    if state.results.waiting:
        state.results.on_direct_delivery(network, registrable(event.host), now)
    changes = note_success(state, network, event.address, now) if event.address else []
    return changes + _delivers(state, event.host, network, now, came_at=now if event.since is None else event.since)


def _delivers(state: BeliefState, host: str, network: NetworkId, now: float, *, came_at: float) -> list[Change]:
    """Learns that direct delivered a host, at `came_at` at the earliest: it is a control for all others."""
    if state.is_near(host):
        return []
    domain = registrable(host)
    network_health.on_direct_delivery(state, network, Delivery(domain, came_at))
    return counting.on_other_host_delivered(state, domain, network, now, came_at=came_at)


def _carried(state: BeliefState, event: events.Carried, network: NetworkId, now: float) -> list[Change]:
    host_key = (network, event.host)
    if not event.route.is_direct:
        return after_delivery.carried(
            state, host_key, event.route, now,
            count=event.count, bytes_s=event.bytes_s, lasted_s=event.lasted_s, is_whole=event.is_whole,
        )  # fmt: skip
    if event.address and event.count >= state.settings.proof_bytes:
        rungs.note_carried(state, host_key, event.address, now)
    key = governing(state, host_key, now)
    belief = current(state, key, now)
    if belief is None or belief.cause not in NEEDS_BYTES_PROOF or event.count < state.settings.whole_bytes:
        return []
    cut = recent_cut(state, host_key, now)
    if cut is not None and event.lasted_s < state.settings.cut_outlived * cut.after_s:
        return []
    state.cuts.pop(host_key)
    changes = note_recovered(state, host_key, now)
    if not represents(state, key, event.host):
        mark_working(state, host_key, now)
        return changes
    why = f"direct carried {event.count} bytes"
    if belief.state not in TROUBLED:  # a suspicion that has lapsed: its episodes add to no later one
        return changes + (set_works(state, key, belief, belief, now, why) if belief.episodes else [])
    return changes + retests.succeeded(state, key, belief, now, why)


def _control_answered(
    state: BeliefState, event: events.ControlAnswered, network: NetworkId, now: float
) -> list[Change]:
    host, result = event.host, event.result
    domain = registrable(host)
    if state.results.waiting and result is ConnectivityResult.WELL:
        state.results.on_direct_delivery(network, domain, now)
    news = network_health.on_control_answer(
        state,
        network,
        host,
        result,
        now,
        domestic=event.domestic,
        portal_page=event.portal,
        requested_at=event.started,
    )
    if result is ConnectivityResult.RESIGNED and event.issuer:
        return after_delivery.resigned(state, host, event.issuer, network, now, control=True)
    is_portal = network_health.network_state(state, network) is NetworkState.PORTAL
    if is_portal:
        network_health.drop_waiting(state)
    if news and is_portal:
        state.results.forget_recent(network, now - state.settings.restricted_window_s)
    if news:
        return network_health.forget_recent(state, network, now)
    if result in (ConnectivityResult.WELL, ConnectivityResult.RESIGNED) and event.started <= now:
        return counting.on_other_host_delivered(state, domain, network, now)
    return []


def _block_measured(state: BeliefState, event: events.BlockMeasured, network: NetworkId, now: float) -> list[Change]:
    """Counts the signal of a measurement. Both gates were open when it was made."""
    found = Observed(event.signal, Attempt(DIRECT, Stage.DONE, address=event.address), now, event.protocol)
    story = f"a measurement found: {event.text}; {event.winner} delivered"
    return _found(state, (network, event.host), found, event.winner, story, now)


def _found(
    state: BeliefState, key: Key, found: Observed, winner: Route, story: str, now: float, *, is_proof: bool = False
) -> list[Change]:
    """Counts a signal at once: it was found by a comparison that opens both gates."""
    if state.is_near(key[1]) or not network_health.may_learn(state, key[0], now):
        return []
    state.transient.pop(key)
    end_working(state, key)
    protocol = found.protocol
    changes = counting.count(state, key, [found], story, now, winner=winner, protocol=protocol, is_proof=is_proof)
    return changes + consider(state, key, now) + counting.prefix_slowed(state, key, winner, [found], now)


def is_proof(event: events.SilenceExplained, settings: DetectTuning) -> bool:
    """Whether an experiment proves that the answers to the name are dropped on the direct way. Each gate lets an
    innocent site go (docs/detection.md, "Re-tests")."""
    soon_s = settings.silent_s * settings.proof_share
    return (
        # The site was up and reachable then. One that came back later was down.
        bool(event.winner.relays)
        and 0 <= event.delivered_s <= settings.rescue_window_s
        # A site that is slow for everybody is slow through a relay, too.
        and event.relay_s <= soon_s
        # The address answers, and so the way to it is open.
        and event.neutral_s <= soon_s
        # It was no fault of one moment or one server, such as a restart.
        and event.again_s >= settings.silent_s
    )


def _silence_explained(
    state: BeliefState, event: events.SilenceExplained, network: NetworkId, now: float
) -> list[Change]:
    """Learns that a silence is a block by name, if the experiment proves it and direct has not delivered since; or that
    it depends on the program. A host that was forgotten while it was made does not come back."""
    key = (network, event.host)
    if key not in state.proofs:
        return []
    if event.other_s < math.inf:
        return _answers_other_hello(state, key, event.winner, now)
    if not is_proof(event, state.settings):
        return []
    working = state.works.get(key)
    if working is not None and working.at >= event.sent:
        return []
    signal = Signal(SignalId.SNI_SWAP, SNI_SWAP_WEIGHT, Cause.SNI_DROP, now)
    found = Observed(signal, Attempt(DIRECT, Stage.FIRST_BYTE), event.sent, Protocol.TLS)
    story = (
        f"direct did not answer within {state.settings.silent_s:g} s, nor once more, while its server answered another"
        f" name; {event.winner} delivered"
    )
    return _found(state, key, found, event.winner, story, now, is_proof=True)


def _answers_other_hello(state: BeliefState, key: Key, winner: Route, now: float) -> list[Change]:
    """Learns that direct answers the name in another program's ClientHello alone: a censor, or a device on the way,
    dislikes that of this one. That is nothing about the host. What is believed of it is forgotten, unless it is
    blocked, and for a day no silence counts; the visit was rescued all the same."""
    if not network_health.may_learn(state, key[0], now):
        return []
    state.other_hellos[key] = now
    belief = troubled(state, key, now)
    if belief is None or belief.state is State.BLOCKED:
        return []
    story = f"direct answers another program's ClientHello for this name, not this one's; {winner} delivered"
    changes = remove(state, key, now, "its silence depends on the program's ClientHello")
    return changes + counting.count(state, key, [], story, now, winner=winner, protocol=Protocol.TLS)


def _page_compared(state: BeliefState, event: events.PageCompared, network: NetworkId, now: float) -> list[Change]:
    return page_doubts.compared(state, event, (network, event.host), now)


def _speeds_compared(state: BeliefState, event: events.SpeedsCompared, network: NetworkId, now: float) -> list[Change]:
    """Learns that a host is throttled, if a route was much faster than direct twice in a row within a day, and far
    enough apart: one moment shows little about speed."""
    key, settings = (network, event.host), state.settings
    before = state.speeds.get(key)
    if before is None or not network_health.may_learn(state, network, now):  # the former: it was forgotten meanwhile
        return []
    if event.bytes_s < settings.compared_faster * event.direct_bytes_s:
        alike = (*(route for route in before.alike if route != event.route), event.route)[-ALIKE_MAX:]
        state.speeds[key] = before._replace(faster=None, alike=alike)
        return []
    first_at = before.faster_at if event.route == retests.faster_route(before, now) else now
    if now - first_at < settings.compared_apart_s:
        state.speeds[key] = before._replace(faster=event.route, faster_at=first_at, alike=())
        return []
    state.speeds[key] = Speeds(before.times)
    signal = Signal(SignalId.THROTTLED, settings.weights.throttled, Cause.THROTTLED, now)
    found = Observed(signal, Attempt(DIRECT, Stage.DONE, address=event.address), now, event.protocol)
    story = (
        f"direct carried {event.direct_bytes_s / 1000:.0f} kB/s and {event.route} {event.bytes_s / 1000:.0f} kB/s,"
        " the second time in a row"
    )
    return _found(state, key, found, event.route, story, now)


_NOT_SEEN = frozenset({Cause.ECH, Cause.THROTTLED})
"""Causes of which a measurement that opens a site shows no end."""


def _open_measured(state: BeliefState, event: events.OpenMeasured, network: NetworkId, now: float) -> list[Change]:
    """Learns from a measurement that opened a site direct, like from a re-test. Its ClientHello was another program's,
    which shows nothing where that of browsers is blocked; nor does it compare speeds."""
    key = (network, event.host)
    if state.is_near(event.host) or not network_health.may_learn(state, network, now):
        return []
    belief = troubled(state, governing(state, key, now), now)
    if belief is not None and (belief.cause in _NOT_SEEN or not concerns(belief, event.protocol)):
        return []
    state.transient.pop(key)
    rungs.served(state, key, event.protocol)
    changes = note_success(state, network, event.address, now)
    return changes + _direct_opens(state, key, now, "direct delivered in a measurement")


def _direct_opens(state: BeliefState, host_key: Key, now: float, why: str) -> list[Change]:
    """Learns that direct delivered what the cause of a block would have prevented. `why` describes the observation."""
    network, host = host_key
    key = governing(state, host_key, now)
    represents_scope = represents(state, key, host)
    belief = troubled(state, key, now)
    if belief is not None and belief.cause == Cause.FROZEN and recent_cut(state, host_key, now) is not None:
        return _delivers(state, host, network, now, came_at=now)  # only a longer connection shows that it is over
    if belief is not None and (key == host_key or not represents_scope):
        mark_working(state, host_key, now)
    changes: list[Change] = []
    if belief is not None and represents_scope:
        changes += retests.succeeded(state, key, belief, now, why)
    if belief is not None and belief.cause in NEEDS_BYTES_PROOF:
        changes += note_recovered(state, host_key, now)
    counting.cancel(state, host_key)
    whole_answered(state, host_key, now)
    changes += lone_answered(state, host_key, now)
    return changes + _delivers(state, host, network, now, came_at=now)


def _intercepted(state: BeliefState, event: events.Intercepted, network: NetworkId, now: float) -> list[Change]:
    key = (network, event.host)
    if event.known:
        return after_delivery.intercepted_by_known(state, key, event.fingerprint, now)
    if event.trusted:
        return after_delivery.resigned(state, event.host, event.fingerprint, network, now, control=False)
    return after_delivery.intercepted(state, key, event.fingerprint, now)


def _retested(state: BeliefState, event: events.Retested, network: NetworkId, now: float) -> list[Change]:
    host_key = (network, event.host)
    key = governing(state, host_key, now)
    state.claims.pop(key, None)
    if event.direct_ok:
        rungs.served(state, host_key)
    if key not in state.stored:
        return []  # the host was forgotten meanwhile: what is re-tested is stored
    if event.direct_ok:
        return _direct_opens(state, host_key, now, "direct delivered in a re-test")
    sent = now - state.settings.retest_pair_s
    may_learn = network_health.may_learn(state, network, now)
    is_well = may_learn and network_health.well_since(state, network, registrable(event.host), sent)
    belief = troubled(state, key, now)
    alike = event.forged or belief is None or belief.cause != Cause.INTERCEPTION
    changes = retests.failed(state, key, now, other_ok=event.other_ok, counts=is_well and alike)
    if event.other_ok:
        note_under(state, key, event.host, now)
        if alike and may_learn and not is_well:
            counting.failed_again_later(state, key, host_key, sent, now)
    return changes


def _strategy_tried(state: BeliefState, event: events.StrategyTried, network: NetworkId, now: float) -> list[Change]:
    key = governing(state, (network, event.host), now)
    belief = troubled(state, key, now)
    if event.ok:
        _strategy_passed(state, network, event.host, event.route, belief, now)
    return retests.strategy_result(state, key, event.route, now, ok=event.ok)


def _strategy_broke(state: BeliefState, event: events.StrategyBroke, network: NetworkId, now: float) -> list[Change]:
    return after_delivery.strategy_broke(state, (network, event.host), event.attempt, event.others, now)


def _rung_tried(state: BeliefState, event: events.RungTried, network: NetworkId, now: float) -> list[Change]:
    key, passed, changes = (network, event.host), event.result is events.RungResult.PASSED, list[Change]()
    if passed:
        belief = troubled(state, governing(state, key, now), now)
        if belief is None and (unserved := state.unserved.get(key)) is not None:
            # No other route had delivered what direct did not. Now this one has.
            seen = unserved.observed
            why = story(seen.attempt, event.route)
            changes = counting.on_rescue(state, key, event.route, seen.protocol, [seen], why, now)
            belief = troubled(state, key, now)
        _strategy_passed(state, network, event.host, event.route, belief, now)
    is_rejected = event.result is events.RungResult.REJECTED
    return changes + rungs.learn_tried(
        state, key, event.route, now, passed=passed, is_rejected=is_rejected, is_carried=event.is_carried
    )


def _strategy_passed(
    state: BeliefState, network: NetworkId, host: str, route: Route, belief: Belief | None, now: float
) -> None:
    """A fragmented ClientHello that was answered shows that this network does not punish them."""
    if is_cut(route.wrap) and (belief is None or belief.cause != Cause.HTTP_HOST):
        cut_answered(state, (network, host), now)


_Learner = Callable[[BeliefState, Any, NetworkId, float], list[Change]]

LEARNERS: Mapping[type[events.Event], _Learner] = {
    Outcome: learn_outcome,
    events.DirectDelivered: _direct_delivered,
    events.Carried: _carried,
    events.ControlAnswered: _control_answered,
    events.BlockMeasured: _block_measured,
    events.SilenceExplained: _silence_explained,
    events.PageCompared: _page_compared,
    events.SpeedsCompared: _speeds_compared,
    events.OpenMeasured: _open_measured,
    events.Intercepted: _intercepted,
    events.Retested: _retested,
    events.StrategyTried: _strategy_tried,
    events.StrategyBroke: _strategy_broke,
    events.RungTried: _rung_tried,
    events.NetworkLeft: _network_left,
}
