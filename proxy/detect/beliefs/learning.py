"""The entry points of learning: `learn` for events that may change a stored belief, `note` for circumstances.

`outcomes` learns from an Outcome. `LEARNERS` has a function for each other kind of event: from flows, control pages,
measurements, re-tests and checks of certificates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.detect.beliefs import after_delivery, counting, events, network_health, retests
from proxy.detect.beliefs.aggregation import consider, note_success, note_thawed
from proxy.detect.beliefs.clock import CLOCK_AHEAD_S, advance
from proxy.detect.beliefs.outcomes import learn_outcome
from proxy.detect.beliefs.state import BeliefState, Delivery
from proxy.detect.beliefs.tables import Key, on_network
from proxy.detect.beliefs.transitions import forget_stored, governing, mark_working, note_under, represents, troubled
from proxy.detect.scopes import registrable
from proxy.detect.signals import NEEDS_BYTES_PROOF, Observed, concerns
from proxy.model import (
    DIRECT,
    UNKNOWN_NETWORK,
    Attempt,
    Cause,
    Change,
    ConnectivityResult,
    NetworkId,
    NetworkState,
    Outcome,
    Stage,
)


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
        case events.CertificateAccepted():
            network_health.on_certificate_accepted(state, network, now)
        case events.FlowStalled(host):
            network_health.on_unwitnessed_stall(state, network, registrable(host), now)
        case events.FlightBroken(address, host):
            counting.note_residue(state, address, network, now, host=host)
        case events.FlightAnswered(address, host):
            counting.take_back_residue(state, address, network, host)


def _network_left(state: BeliefState, _: events.NetworkLeft, network: NetworkId, now: float) -> list[Change]:
    """Drops the signals that wait, since no control can come any more, and the claims of re-tests, which will not be
    reported. Forgets the beliefs of an unidentified network, since the next one may be unidentified too."""
    network_health.drop_waiting(state)
    state.claims.clear()
    meant = on_network(UNKNOWN_NETWORK, None)
    for table in state.host_tables:
        table.forget(meant)
    changes = forget_stored(state, meant, "left a network that cannot be identified")
    network_health.forget(state, UNKNOWN_NETWORK)
    return changes


def _direct_delivered(
    state: BeliefState, event: events.DirectDelivered, network: NetworkId, now: float
) -> list[Change]:
    if state.results.waiting:
        state.results.on_direct_delivery(network, registrable(event.host), now)
    return _delivers(state, event.host, network, now, came_at=now if event.since is None else event.since)


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
        if event.count < state.settings.proof_bytes:
            return []
        return after_delivery.carried(state, host_key, event.route, now, bytes_s=event.bytes_s)
    key = governing(state, host_key, now)
    belief = troubled(state, key, now)
    if belief is None or belief.cause not in NEEDS_BYTES_PROOF or event.count < state.settings.whole_bytes:
        return []
    thawed = note_thawed(state, host_key, now)
    if not represents(state, key, event.host):
        mark_working(state, host_key, now)
        return thawed
    return thawed + retests.succeeded(state, key, belief, now, f"direct carried {event.count} bytes")


def _control_answered(
    state: BeliefState, event: events.ControlAnswered, network: NetworkId, now: float
) -> list[Change]:
    host, result = event.host, event.result
    domain = registrable(host)
    if state.results.waiting and result is ConnectivityResult.WELL:
        state.results.on_direct_delivery(network, domain, now)
    news = network_health.on_control_answer(
        state, network, host, result, now, domestic=event.domestic, portal_page=event.portal
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
    key = (network, event.host)
    if state.is_near(event.host) or not network_health.may_learn(state, network, now):
        return []
    state.transient.pop(key)
    state.works.pop(key)
    seen = [Observed(event.signal, Attempt(DIRECT, Stage.DONE, address=event.address), now, event.protocol)]
    story = f"a measurement found: {event.text}; {event.winner} delivered"
    changes = counting.count(state, key, seen, story, now, winner=event.winner, protocol=event.protocol)
    return changes + consider(state, key, now) + counting.prefix_froze(state, key, event.winner, seen, now)


def _open_measured(state: BeliefState, event: events.OpenMeasured, network: NetworkId, now: float) -> list[Change]:
    """Learns from a measurement that opened a site direct, like from a re-test. Its ClientHello was another program's,
    which shows nothing where that of browsers is blocked."""
    key = (network, event.host)
    if state.is_near(event.host) or not network_health.may_learn(state, network, now):
        return []
    belief = troubled(state, governing(state, key, now), now)
    if belief is not None and (belief.cause == Cause.ECH or not concerns(belief, event.protocol)):
        return []
    state.transient.pop(key)
    changes = note_success(state, network, event.address, now)
    return changes + _direct_opens(state, key, now, "direct delivered in a measurement")


def _direct_opens(state: BeliefState, host_key: Key, now: float, why: str) -> list[Change]:
    """Learns that direct delivered what the cause of a block would have prevented. `why` describes the observation."""
    network, host = host_key
    key = governing(state, host_key, now)
    represents_scope = represents(state, key, host)
    belief = troubled(state, key, now)
    if belief is not None and (key == host_key or not represents_scope):
        mark_working(state, host_key, now)
    state.claims.pop(key, None)
    changes: list[Change] = []
    if belief is not None and represents_scope:
        changes += retests.succeeded(state, key, belief, now, why)
    if belief is not None and belief.cause in NEEDS_BYTES_PROOF:
        changes += note_thawed(state, host_key, now)
    counting.cancel(state, host_key)
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
    if event.direct_ok:
        return _direct_opens(state, host_key, now, "direct delivered in a re-test")
    key = governing(state, host_key, now)
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
    return retests.strategy_result(state, key, event.route, now, ok=event.ok)


_Learner = Callable[[BeliefState, Any, NetworkId, float], list[Change]]

LEARNERS: Mapping[type[events.Event], _Learner] = {
    Outcome: learn_outcome,
    events.DirectDelivered: _direct_delivered,
    events.Carried: _carried,
    events.ControlAnswered: _control_answered,
    events.BlockMeasured: _block_measured,
    events.OpenMeasured: _open_measured,
    events.Intercepted: _intercepted,
    events.Retested: _retested,
    events.StrategyTried: _strategy_tried,
    events.NetworkLeft: _network_left,
}
