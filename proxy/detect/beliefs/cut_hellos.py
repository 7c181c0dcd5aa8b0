"""Learns whether a network punishes cut ClientHellos (docs/detection.md, "Local strategies").

Such a network drops a ClientHello in several pieces, and then for a while all that goes to its address: a site that
works becomes one that does not. Three observations show it together: a cut hello went unanswered at an address that had
just answered, if only with a reset; a whole one then went unanswered there, while another site delivered; and later
direct delivered. A server that rejects cut hellos closes or sends an alert, and answers the next whole one. One that is
down, or behind a network that counts ClientHellos, was silent before. One site may fail by accident, so two unrelated
ones have to show it. Where a cut hello is answered, the network does not punish them.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.detect.beliefs.network_health import may_learn, record_of, well_since
from proxy.detect.beliefs.state import NEVER, BeliefState
from proxy.detect.beliefs.tables import AddressTable, Key
from proxy.detect.scopes import address_of, registrable
from proxy.model import Attempt, CutHellos, IPAddress, NetworkId, Outcome, Protocol, Stage, Symptom
from proxy.wire.fragmentation import is_cut

PUNISHED_S = 86_400.0
"""How long a network that punished ClientHellos, cut ones or many at once, is known for it. In memory only."""

RECOVERS_S = 600.0
"""Seconds within which a punishment is over: several times the longest that was reported. An outage may take longer."""

PUNISHED_DOMAINS = 2

_ANSWERS = frozenset({Symptom.RESET, Symptom.EOF, Symptom.GARBAGE, Symptom.ALERT})
_UNANSWERED = frozenset({Symptom.DROPPED, Symptom.SILENT, Symptom.TIMEOUT})


def cut_hellos(state: BeliefState, host: str, addresses: Iterable[str], network: NetworkId, now: float) -> CutHellos:
    """See `Beliefs.cut_hellos`."""
    if are_punished(state, network, now):
        return CutHellos.NEVER
    if state.cut_unanswered and not _pass(state, network, now):
        places = [(network, found) for address in addresses if (found := address_of(address)) is not None]
        if any(_lasts(state, state.cut_unanswered, place, now) for place in places):
            return CutHellos.NEVER
    return CutHellos.LAST if worked_lately(state, (network, host), now) else CutHellos.ALLOWED


def are_punished(state: BeliefState, network: NetworkId, now: float) -> bool:
    """Whether this network punished cut hellos within `PUNISHED_S`."""
    record = state.networks.get(network)
    return record is not None and 0 <= now - record.cuts_punished_at < PUNISHED_S


def worked_lately(state: BeliefState, key: Key, now: float) -> bool:
    """Whether direct delivered a host within `known_s`, and no cut hello has delivered it since."""
    working = state.works.get(key)
    at = working.at if working is not None else state.worked_at.get(key)
    return at is not None and 0 <= now - at < state.settings.known_s


def learn_cuts(state: BeliefState, outcome: Outcome, key: Key, now: float) -> None:
    """Learns from the cut and the whole hellos of a connection."""
    if outcome.protocol is not Protocol.TLS:
        return
    network, host = key
    has_answered = set[tuple[NetworkId, IPAddress]]()
    for attempt in outcome.attempts:
        if attempt.route.relays:
            continue
        places = _places(attempt, network)
        if not is_cut(attempt.route.wrap):
            if attempt.stage is Stage.FIRST_BYTE and attempt.symptom in _ANSWERS:
                has_answered.update(places)
        elif attempt.delivered:
            cut_answered(state, key, now)
        elif is_unanswered(attempt):
            for place in places:
                if not _lasts(state, state.cut_unanswered, place, now):
                    state.cut_unanswered[place] = (now, host)
                    if place in has_answered:
                        state.cut_silenced[place] = (now, host)
    direct = outcome.direct_attempt
    if direct is None or not state.cut_unanswered:
        return
    if direct.delivered:
        whole_answered(state, key, now)
    elif is_unanswered(direct) and may_learn(state, network, now):
        sent = max(outcome.at + direct.started, outcome.flight_at)
        for place in _places(direct, network):
            cut_at, _ = state.cut_silenced.get(place, (now, ""))
            comes_later = cut_at < sent and _lasts(state, state.cut_silenced, place, now)
            if comes_later and well_since(state, network, registrable(host), sent):
                state.whole_unanswered[place] = (now, host)


def cut_answered(state: BeliefState, key: Key, now: float) -> None:
    """A cut hello was answered: this network does not punish them, and they help this host."""
    network = key[0]
    record = record_of(state, network)
    record.cut_answered_at, record.cuts_punished_at = now, NEVER
    record.punished_cuts.clear()
    state.worked_at.pop(key)


def whole_answered(state: BeliefState, key: Key, now: float) -> None:
    """Direct delivered a host. If a cut hello for it and then whole ones went unanswered just before, the network
    punished it."""
    network, host = key
    places = [place for place, (_, named) in state.cut_unanswered.items() if place[0] == network and named == host]
    dead_at = [noted[0] for place in places if (noted := state.whole_unanswered.pop(place, None)) is not None]
    for place in places:
        del state.cut_unanswered[place]
        state.cut_silenced.pop(place, None)
    if not any(0 <= now - at < RECOVERS_S for at in dead_at) or _pass(state, network, now):
        return
    record, domain = record_of(state, network), registrable(host)
    record.punished_cuts[domain] = now
    if sum(0 <= now - at < PUNISHED_S for at in record.punished_cuts.values()) >= PUNISHED_DOMAINS:
        record.cuts_punished_at = now


def _pass(state: BeliefState, network: NetworkId, now: float) -> bool:
    """Whether a cut hello was answered on this network within `PUNISHED_S`."""
    record = state.networks.get(network)
    return record is not None and 0 <= now - record.cut_answered_at < PUNISHED_S


def _lasts(state: BeliefState, table: AddressTable, place: tuple[NetworkId, IPAddress], now: float) -> bool:
    noted = table.get(place)
    return noted is not None and 0 <= now - noted[0] < state.settings.residual_s


def is_unanswered(attempt: Attempt) -> bool:
    """Whether a hello, or already the SYN, went unanswered. One that was given up when a relay delivered counts if the
    kernel had sent it again."""
    if attempt.stage not in (Stage.CONNECT, Stage.FIRST_BYTE):
        return False
    sent_again = attempt.symptom is Symptom.ABANDONED and bool(attempt.evidence.get("retransmits"))
    return attempt.symptom in _UNANSWERED or sent_again


def _places(attempt: Attempt, network: NetworkId) -> list[tuple[NetworkId, IPAddress]]:
    """The address that an attempt reached, or those to which it was connecting."""
    texts = [attempt.address] if attempt.address else str(attempt.evidence.get("addresses", "")).split()
    return [(network, found) for text in texts if (found := address_of(text)) is not None]
