"""Decides which signals count, when, and for which scope (docs/detection.md, "Two gates").

Comparison gate: another route must deliver the same host within `rescue_window_s` (30 s). Control gate: another host
must deliver direct within `uplink_window_s` (10 s), which `network_health` knows; until then the host is suspect for
two minutes. A frozen or throttled flow waits for a relay to carry what direct did not. A signal that waits longer is
dropped and never counts.

A signal counts for the scope that governs the host: the host itself, or its domain once that is aggregated. When so
many unrelated hosts fail that the network is at fault, the signals say nothing about them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from proxy.detect.beliefs.aggregation import consider, note_failure, note_slowed
from proxy.detect.beliefs.network_health import may_learn, suspect_network, well_since
from proxy.detect.beliefs.state import BeliefState, Waiting
from proxy.detect.beliefs.tables import Key
from proxy.detect.beliefs.transitions import (
    NEGLIGIBLE,
    aged,
    begin,
    counted,
    current,
    end_working,
    governing,
    note_under,
    prior,
    raise_suspicion,
    troubled,
)
from proxy.detect.scopes import address_of, registrable
from proxy.detect.signals import LEAVES_RESIDUE, Observed, concerns, observe
from proxy.model import (
    DIRECT,
    TROUBLED,
    Attempt,
    Belief,
    Cause,
    Change,
    IPAddress,
    NetworkId,
    Outcome,
    Protocol,
    Route,
    Signal,
    SignalId,
    Stage,
    State,
)

OBSERVED_MAX = 8
"""Signals of one host that wait at the control gate; the heaviest of them counts."""

_SILENCES = frozenset({SignalId.TLS_SILENT, SignalId.TLS_SILENT_BLIND})


# -- the signals of an outcome -----------------------------------------------------------------------------------------


def uncounted_signals(state: BeliefState, outcome: Outcome, key: Key, now: float) -> list[Observed]:
    """Returns the signals of an outcome that have not counted yet, as addons weigh them. A place that unrelated sites
    share weighs more."""
    found = observe(outcome, state.settings.weights, gave_up_s=state.settings.gave_up_s)
    if not found:
        return []
    before: Counter[SignalId] = state.counted.get(outcome.request.id, Counter())
    state.counted[outcome.request.id] = Counter(observed.signal.id for observed in found)
    left = Counter(before)
    uncounted = []
    for observed in found:
        if left[observed.signal.id] > 0:
            left[observed.signal.id] -= 1
        else:
            uncounted.append(_weighed_by_place(state, observed, key, now))
    at = state.other_hellos.get(key)
    if at is not None and 0 <= now - at < state.settings.proof_apart_s:  # silence says nothing about the host
        uncounted = [observed for observed in uncounted if observed.signal.id not in _SILENCES]
    refined = [replace(observed, signal=state.refine(outcome, observed.signal)) for observed in uncounted]
    return [observed for observed in refined if observed.signal.weight > 0]


def _weighed_by_place(state: BeliefState, observed: Observed, key: Key, now: float) -> Observed:
    """Returns a signal with the weight of its target. One redirect to another domain is a move, and one other address
    is a CDN's. The same target for three unrelated domains within the hour is the host of a block page, or the address
    that a lying resolver always gives."""
    place, settings = observed.leads_to, state.settings
    if not place:
        return observed
    where = (key[0], place)
    state.shared.note(where, registrable(key[1]), now)
    if len(state.shared.within(where, settings.shared_window_s, now)) < settings.shared_domains:
        return observed
    is_redirect = observed.signal.id is SignalId.HTTP_REDIRECT
    kind = SignalId.HTTP_REDIRECTS if is_redirect else SignalId.DNS_SAME_IP
    weight = max(observed.signal.weight, getattr(settings.weights, kind))
    return replace(observed, signal=replace(observed.signal, id=kind, weight=weight))


# -- comparison gate: another route ------------------------------------------------------------------------------------


def on_rescue(
    state: BeliefState,
    host: Key,
    winner: Route,
    protocol: Protocol,
    uncounted: list[Observed],
    story: str,
    now: float,
) -> list[Change]:
    """Counts signals of direct, since another route delivered in this protocol: the comparison gate is open."""
    state.transient.pop(host)
    waiting = take_for(state, host, now)
    if waiting is not None:
        uncounted = [*waiting.observed, *uncounted]
    changes = suspect_network(state, host, now) if uncounted and not winner.is_direct else []
    if not may_learn(state, host[0], now):
        return changes
    end_working(state, host)
    counting, waiting_for_control, echoes = split_by_control(state, host, uncounted, now)
    if waiting_for_control:
        wait(state, host, waiting_for_control, story, now)
    if not counting and waiting_for_control:
        story = f"{story} ({waiting_for_control[-1].signal.id}; not counted until another site works)"
    elif not counting and echoes:
        story = f"{story} ({echoes[-1].signal.id}; may be residual blocking of another host on this IP)"
    hint = next((o.signal.cause for o in (*waiting_for_control, *echoes) if o.signal.cause), Cause.NONE)
    changes += count(state, host, counting, story, now, winner=winner, protocol=protocol, hint=hint)
    return changes + consider(state, host, now)


def await_other_route(
    state: BeliefState, key: Key, observed: list[Observed], now: float, *, compared: bool = True
) -> None:
    """Keeps the signals of a host that no route delivered: they count if another route delivers soon. `compared`:
    another route could be tried."""
    state.unexplained.put(key, Waiting(tuple(observed), now, compared=compared))


def uncompared(state: BeliefState, key: Key, now: float) -> Waiting | None:
    """Returns the signals of direct if no other route has been tried since, for as long as a rescue makes a suspect."""
    if (unexplained := state.unexplained.get(key)) is None:
        return None
    waiting = _young(unexplained, now, state.settings.rescue_suspect_s)
    return waiting if waiting is not None and not waiting.compared else None


def compared(state: BeliefState, key: Key) -> None:
    """Notes that another route has been tried since, and failed as well."""
    waiting = state.unexplained.get(key)
    if waiting is not None:
        state.unexplained.correct(key, replace(waiting, compared=True))


def take_for(state: BeliefState, key: Key, now: float) -> Waiting | None:
    """Removes and returns the signals that waited for the route that has just delivered."""
    return _young(state.unexplained.pop(key), now, state.settings.rescue_window_s)


def prove_later(state: BeliefState, key: Key, waiting: Waiting) -> None:
    """Keeps the signals of a flow that froze, was throttled or was cut: they count if a relay does better."""
    state.unproven.put(key, waiting)


def proven(state: BeliefState, key: Key, now: float, *, lasted_s: float = 0.0) -> Waiting | None:
    """Removes and returns the signals that waited for a relay to do better: by a connection that began `lasted_s` ago,
    in time."""
    waiting = state.unproven.pop(key)
    if waiting is None:
        return None
    return _young(waiting, max(min(waiting.since, now), now - lasted_s), state.settings.rescue_suspect_s)


def cancel(state: BeliefState, key: Key) -> None:
    """Drops the signals that wait about a host, since direct delivered it."""
    if state.unexplained.get(key) is not None:
        state.unexplained.pop(key)
    if state.at_control:
        state.at_control.pop(key, None)


def _young(waiting: Waiting | None, now: float, limit_s: float) -> Waiting | None:
    return waiting if waiting is not None and 0 <= now - waiting.since <= limit_s else None


# -- control gate: another host ----------------------------------------------------------------------------------------


def split_by_control(
    state: BeliefState, host: Key, uncounted: list[Observed], now: float
) -> tuple[list[Observed], list[Observed], list[Observed]]:
    """Returns the signals that count now, those that wait at the control gate, and those that may be residual blocking
    after another name."""
    network, name = host
    domain = registrable(name)
    counting, waiting, echoes = list[Observed](), list[Observed](), list[Observed]()
    for observed in uncounted:
        address = observed.attempt.address
        if address and in_residual_window(state, address, network, now, host=name):
            echoes.append(observed)
            continue
        if address and observed.signal.id in LEAVES_RESIDUE:
            note_residue(state, address, network, now, host=name)
        well = well_since(state, network, domain, observed.sent)
        (counting if well else waiting).append(observed)
    return counting, waiting, echoes


def wait(state: BeliefState, key: Key, observed: list[Observed], story: str, now: float) -> None:
    """Keeps signals of a host until another host delivers direct."""
    before = state.at_control.pop(key, None)
    window_s = state.settings.uplink_window_s
    old = [] if before is None else [o for o in before.observed if now - o.signal.at <= window_s]
    state.at_control[key] = Waiting((*old, *observed)[-OBSERVED_MAX:], now, story)


def waits(state: BeliefState, network: NetworkId, now: float) -> bool:
    """Whether anything waits at the control gate of a network."""
    return bool(_alive(state, network, now))


def pending_for_domain(state: BeliefState, network: NetworkId, domain: str, now: float) -> bool:
    """Whether a host of `domain` waits at the control gate: it cannot be its own control."""
    return any(registrable(host) == domain for _, host in _alive(state, network, now))


def failed_again_later(state: BeliefState, key: Key, host: Key, sent: float, now: float) -> None:
    """Keeps the signal of a failed re-test until another site is reached direct. The sentence of a domain names other
    hosts, which may be forgotten meanwhile: it is taken when the signal counts."""
    belief = troubled(state, key, now)
    if belief is None or not belief.signal_weight:
        return
    signal = Signal(SignalId.RETEST, belief.signal_weight, belief.cause, now)
    story = belief.why if key == host else ""
    wait(state, host, [Observed(signal, Attempt(DIRECT, Stage.FIRST_BYTE), sent)], story, now)


def on_other_host_delivered(
    state: BeliefState, domain: str, network: NetworkId, now: float, *, came_at: float | None = None
) -> list[Change]:
    """Counts the signals that waited for a control, since a host of `domain` delivered direct. That was at `came_at` at
    the earliest (None: now), and is a control for everything sent before."""
    changes: list[Change] = []
    for host, waiting in release(state, network, domain, now, came_at=came_at):
        if not may_learn(state, network, now):
            continue
        changes += count(state, host, list(waiting.observed), waiting.story, now, winner=None)
        changes += consider(state, host, now)
    return changes


def release(
    state: BeliefState, network: NetworkId, domain: str, now: float, *, came_at: float | None = None
) -> list[tuple[Key, Waiting]]:
    """Removes and returns the signals for which a host of `domain` is a control: it delivered direct, at `came_at` at
    the earliest (None: now), after the flights that they are about were sent."""
    before = now if came_at is None else came_at
    through = [
        (key, waiting)
        for key, waiting in _alive(state, network, now).items()
        if registrable(key[1]) != domain and all(observed.sent <= before for observed in waiting.observed)
    ]
    for key, _ in through:
        del state.at_control[key]
    return through


def _alive(state: BeliefState, network: NetworkId, now: float) -> dict[Key, Waiting]:
    """Returns the signals that wait on a network, and drops those that have waited too long."""
    waiting = {key: old for key, old in state.at_control.items() if key[0] == network}
    for key in [key for key, old in waiting.items() if _young(old, now, state.settings.uplink_window_s) is None]:
        del waiting[key], state.at_control[key]
    return waiting


# -- residual censorship -----------------------------------------------------------------------------------------------
#
# Some censors break every connection between the same addresses and port for minutes after they have seen a forbidden
# name (60 to 180 s in the papers on China's and Iran's). Failures in this window say nothing about another name or
# strategy, so they are not counted, and the next attempt uses another address, or a relay.


def note_residue(
    state: BeliefState, address: str | IPAddress, network: NetworkId, now: float, *, host: str = ""
) -> None:
    """Begins a residual window at `address` (with or without a port): a ClientHello or request for `host` was reset or
    dropped there."""
    found = address_of(str(address))
    if found is None:
        return
    if host and in_residual_window(state, found, network, now, host=host):
        return  # it may be residual blocking after another name, whose window does not grow by it
    state.residual[network, found] = (now, host)


def take_back_residue(state: BeliefState, address: str | IPAddress, network: NetworkId, host: str) -> None:
    """Ends the residual window that `host` began at `address`, since a flight that looked dropped was answered."""
    found = address_of(str(address))
    if found is not None and state.residual.get((network, found), (0.0, None))[1] == host:
        del state.residual[network, found]


def in_residual_window(
    state: BeliefState, address: str | IPAddress, network: NetworkId, now: float, *, host: str = ""
) -> bool:
    """Whether a failure at `address` may be residual blocking after a name; with `host`, after another name than
    `host`."""
    if not state.residual:
        return False
    found = address_of(str(address))
    noted = state.residual.get((network, found)) if found is not None else None
    if noted is None:
        return False
    at, name = noted
    return 0 <= now - at < state.settings.residual_s and not (host and name == host)


# -- counting ----------------------------------------------------------------------------------------------------------


def count(
    state: BeliefState,
    host: Key,
    counting: list[Observed],
    story: str,
    now: float,
    *,
    winner: Route | None,
    protocol: Protocol = Protocol.NONE,
    hint: Cause | str = Cause.NONE,
    is_proof: bool = False,
) -> list[Change]:
    """Adds the heaviest of the signals to the belief that governs a host; without any, the host is suspect for 2 min.
    Without a `story` the belief keeps its sentence. `winner` is the route that delivered instead, in `protocol`. A
    proof blocks at once."""
    key = governing(state, host, now)
    before = current(state, key, now) or begin(state, key, now)
    story = story or before.why or "direct failed in a re-test, and another route delivered"
    if prior(state, key, now) >= NEGLIGIBLE:
        story = f"{story}; it is on an imported list"
    heaviest = max((o.signal for o in counting), key=lambda signal: signal.weight, default=None)
    if heaviest is None:
        after = aged(before, now, state.settings)
        if before.state in TROUBLED and (before.cause or not hint):
            story = before.why
        else:  # suspect by a rescue alone, which names no cause
            after = replace(after, cause=hint or after.cause)
    else:
        note_under(state, key, host[1], now)
        after = counted(before, heaviest, now, state.settings)
        if before.state is State.BLOCKED and before.cause == Cause.INTERCEPTION:
            after = replace(after, cause=before.cause)  # the worst of all causes: it keeps direct closed
        story = f"{story} ({heaviest.id}, weight {heaviest.weight:g})"
        if after.cause == Cause.IP:
            after = replace(after, family=_family(counting))
    if after.cause == Cause.IP:
        after = replace(after, protocol=_protocol(before, counting, protocol))
    after = replace(after, why=story)
    if winner is not None and concerns(after, protocol):
        after = replace(after, last_good=str(winner), last_good_at=now)
    return raise_suspicion(state, key, before, after, heaviest, now, is_proof=is_proof)


def prefix_failed(state: BeliefState, key: Key, winner: Route, uncounted: list[Observed], now: float) -> list[Change]:
    """Notes the addresses that failed at the SYN where a relay delivered, for the belief about their prefix."""
    is_of_address = any(observed.signal.cause == Cause.IP for observed in uncounted)
    if not is_of_address or not winner.relays or not may_learn(state, key[0], now):
        return []
    tried = {address for observed in uncounted for address in _addresses(observed)}
    return note_failure(state, key, tried or {*state.addresses(key[1])}, str(winner), now)


def prefix_slowed(state: BeliefState, key: Key, winner: Route, observed: list[Observed], now: float) -> list[Change]:
    """Notes the addresses at which transfers froze or were throttled while a relay carried more, for the belief about
    their prefix."""
    if not winner.relays:
        return []
    changes: list[Change] = []
    for cause in (Cause.FROZEN, Cause.THROTTLED):
        addresses = {address for each in observed if each.signal.cause == cause for address in _addresses(each)}
        changes += note_slowed(state, key, cause, addresses, str(winner), now)
    return changes


def _addresses(observed: Observed) -> list[IPAddress]:
    """Returns the addresses that an attempt tried: `evidence["addresses"]`, separated by spaces, else the one it
    reached."""
    texts = str(observed.attempt.evidence.get("addresses", "")).split() or [observed.attempt.address]
    return [address for text in texts if (address := address_of(text)) is not None]


def _family(counting: list[Observed]) -> int:
    """Returns the one address family, 4 or 6, in which connecting failed; 0 if both did or it is not known."""
    families = {address.version for observed in counting for address in _addresses(observed)}
    return families.pop() if len(families) == 1 else 0


def _protocol(before: Belief, counting: list[Observed], rescued: Protocol) -> Protocol:
    """Returns the one protocol in which connecting failed, now and before; NONE if several did or it is not known.
    `rescued` is that of the connection which another route delivered."""
    protocols = {rescued, *(observed.protocol for observed in counting)} - {Protocol.NONE}
    if before.state in TROUBLED and before.cause == Cause.IP:
        protocols.add(before.protocol)
    return protocols.pop() if len(protocols) == 1 else Protocol.NONE
