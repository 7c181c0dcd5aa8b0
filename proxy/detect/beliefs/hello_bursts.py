"""Learns whether a network counts ClientHellos and punishes a burst of them (docs/detection.md, "Own ClientHellos").

Such a network lets nothing pass to an address for two minutes after more than three hellos of one name at once. A burst
that went unanswered, while another site delivered, and a hello outside of a burst that was answered later are a sign of
it. A server that limits the connections of one client gives the same sign. So two unrelated sites have to show it, at
two addresses, and not at once: an outage may begin while a page is opened. What the punished minutes taught about these
sites is then withdrawn.
"""

from __future__ import annotations

from itertools import combinations

from proxy.detect.beliefs import counting
from proxy.detect.beliefs.aggregation import note_recovered
from proxy.detect.beliefs.cut_hellos import PUNISHED_S, RECOVERS_S, is_unanswered
from proxy.detect.beliefs.network_health import may_learn, record_of, well_since
from proxy.detect.beliefs.state import NEVER, BeliefState, Burst, NetworkRecord
from proxy.detect.beliefs.tables import Key
from proxy.detect.beliefs.transitions import remove
from proxy.detect.scopes import prefix_around, registrable
from proxy.model import DIRECT, Belief, Change, NetworkId, Outcome, Protocol

ONE_OUTAGE_S = 5.0
"""Seconds within which one outage may stop several bursts: those whose answers are due when it begins. Once it has
begun, no connection opens, so that no hello is sent."""

_WHY = "this network punishes more than three ClientHellos at once; not the site's fault"


def are_counted(state: BeliefState, network: NetworkId, now: float) -> bool:
    """Whether this network punished bursts of hellos within `PUNISHED_S`."""
    record = state.networks.get(network)
    return record is not None and 0 <= now - record.hellos_counted_at < PUNISHED_S


def learn_bursts(state: BeliefState, outcome: Outcome, key: Key, now: float) -> list[Change]:
    """Learns from a direct attempt of which it is known how many hellos left at once (`evidence["hellos"]`)."""
    direct = outcome.direct_attempt
    if direct is None or outcome.protocol is not Protocol.TLS:
        return []
    tried = [direct] if direct.delivered else [attempt for attempt in outcome.attempts if attempt.route == DIRECT]
    if not (hellos := max(attempt.evidence.get("hellos", 0) for attempt in tried)):
        return []
    network, host = key
    if hellos <= state.settings.hello_burst:
        return lone_answered(state, key, now) if direct.delivered else []
    record = record_of(state, network)
    if direct.delivered:  # and so were the others of the burst, only later
        record.bursts.pop(host, None)
        if record.counted.pop(registrable(host), None) is not None and not _is_shown(record, now):
            record.hellos_counted_at = NEVER
        return []
    is_silent = any(is_unanswered(attempt) and "hellos" in attempt.evidence for attempt in tried)
    if is_silent and may_learn(state, network, now):
        bursts, sent = record.bursts, max(outcome.at + direct.started, outcome.flight_at)
        burst = bursts.get(host)
        if burst is None or not 0 <= now - burst.at < RECOVERS_S:
            burst = Burst(sent, prefix_around(direct.address), is_well=False)
        bursts[host] = burst._replace(is_well=burst.is_well or well_since(state, network, registrable(host), sent))
    return []


def lone_answered(state: BeliefState, key: Key, now: float) -> list[Change]:
    """A hello that was in no burst was answered. If a burst for the same host went unanswered before, this is a sign
    that the network counts; two of them show it."""
    network, host = key
    record = state.networks.get(network)
    burst = record.bursts.pop(host, None) if record is not None else None
    if record is None or burst is None or not burst.is_well or not 0 <= now - burst.at < RECOVERS_S:
        return []
    record.counted[registrable(host)] = burst._replace(answered_at=now)
    if _is_shown(record, now):
        record.hellos_counted_at = now
    if not are_counted(state, network, now):
        return []
    signs = _signs(record, now).items()
    return [change for domain, sign in signs for change in _withdraw(state, network, domain, sign, now)]


def _signs(record: NetworkRecord, now: float) -> dict[str, Burst]:
    return {domain: sign for domain, sign in record.counted.items() if 0 <= now - sign.at < PUNISHED_S}


def _is_shown(record: NetworkRecord, now: float) -> bool:
    """Whether two signs are at different addresses and of different moments."""
    pairs = combinations(_signs(record, now).values(), 2)
    return any(one.prefix != other.prefix and abs(one.at - other.at) >= ONE_OUTAGE_S for one, other in pairs)


def _withdraw(state: BeliefState, network: NetworkId, domain: str, sign: Burst, now: float) -> list[Change]:
    """Forgets what was learned about a domain from the burst on until a hello was answered, and the signals that wait
    about its hosts."""

    def is_meant(key: Key, belief: Belief) -> bool:
        is_of_domain = key[0] == network and registrable(key[1].removeprefix("*.")) == domain
        return is_of_domain and sign.at <= belief.since <= sign.answered_at

    for key in [key for key, belief in state.transient.items() if is_meant(key, belief)]:
        state.transient.pop(key)
    changes: list[Change] = []
    for key in [key for key, belief in state.stored.items() if is_meant(key, belief)]:
        changes += note_recovered(state, key, now) + remove(state, key, now, _WHY)
        counting.cancel(state, key)
        state.unproven.pop(key)
    return changes
