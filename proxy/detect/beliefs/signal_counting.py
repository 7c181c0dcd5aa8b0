"""Decides which signals count, when, and for which scope.

A signal counts when another host delivers direct, and its address is in no residual blocking window of another name;
until then it waits, and the host is suspect for two minutes. It counts for the scope that governs the host: the host
itself, or its domain once that is aggregated. When so many unrelated hosts fail that the network is at fault, the
signals say nothing about them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.basis import Bases
from proxy.detect.beliefs.belief_table import TROUBLED, BeliefTable
from proxy.detect.beliefs.host_lru import Key
from proxy.detect.beliefs.name_counter import NameCounter
from proxy.detect.beliefs.network_health import NetworkHealth
from proxy.detect.beliefs.pending_signals import PendingSignals
from proxy.detect.beliefs.residual_censorship import ResidualCensorship
from proxy.detect.beliefs.scope_aggregation import ScopeAggregation
from proxy.detect.beliefs.score import NEGLIGIBLE, aged, counted
from proxy.detect.scopes import address_of, registrable
from proxy.detect.signals import LEAVES_RESIDUE, Observed, concerns, observe
from proxy.model import (
    DIRECT,
    Attempt,
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
from proxy.model.bounded import Bounded

COUNTED_MAX = 8192
"""Connections of which the counted signals are remembered; a late judgement comes within 7 s."""

SHARED_PLACES_MAX = 256
SHARED_DOMAINS_MAX = 16
"""Redirect targets and addresses that unrelated sites may share, and domains remembered of each."""

Refine = Callable[[Outcome, Signal], Signal]
"""An addon's change of a signal before it counts; a weight of 0 removes it."""


def unrefined(_outcome: Outcome, signal: Signal) -> Signal:
    """Returns the signal as it is: no addon refines signals."""
    return signal


class SignalCounting:
    """Counts signals into `table`. Belongs to one thread."""

    def __init__(self, settings: DetectTuning, table: BeliefTable, refine: Refine, bases: Bases) -> None:
        self._settings = settings
        self._refine = refine
        self.table = table
        self.pending = PendingSignals(settings, bases)
        self.network_health = NetworkHealth(settings, bases)
        self.aggregation = ScopeAggregation(settings, table)
        self.residual = ResidualCensorship(settings.residual_s)
        self._shared = NameCounter(places=SHARED_PLACES_MAX, names=SHARED_DOMAINS_MAX)
        self._counted: Bounded[int, Counter[SignalId]] = Bounded(COUNTED_MAX)  # request id → its counted signals

    def on_clock_set(self, now: float) -> None:
        """Drops all dates, which are void."""
        self.pending.clear()
        self.aggregation.clear()
        self.residual.clear()
        self._shared.clear()
        self.network_health.on_resume(now)

    def forget(self, meant: Callable[[Key], bool]) -> None:
        """Forgets the hosts that are meant, but for what the table holds of them."""
        for key in self.pending.hosts():
            if meant(key):
                self.pending.forget(key)
        self.aggregation.forget(meant)
        self.residual.forget(meant)
        self._shared.forget(meant)

    def on_rescue(
        self, host: Key, winner: Route, protocol: Protocol, uncounted: list[Observed], story: str, now: float
    ) -> list[Change]:
        """Another route delivered in this protocol what direct did not: the comparison gate is open."""
        self.table.transient.pop(host)
        waiting = self.pending.take_for(host, now)
        if waiting is not None:
            uncounted = [*waiting.observed, *uncounted]
        changes = self.suspect_network(host, now) if uncounted and not winner.is_direct else []
        if not self.network_health.may_learn(host[0], now):
            return changes
        self.table.works.pop(host)
        counting, waiting_for_uplink, echoes = self.split_by_control(host, uncounted, now)
        if waiting_for_uplink:
            self.pending.wait(host, waiting_for_uplink, story, now)
        why = "" if counting else _why_uncounted(waiting_for_uplink, echoes)
        hint = next((o.signal.cause for o in (*waiting_for_uplink, *echoes) if o.signal.cause), Cause.NONE)
        changes += self.count(host, counting, f"{story}{why}", now, winner=winner, protocol=protocol, hint=hint)
        return changes + self.aggregation.consider(host, now)

    def split_by_control(
        self, host: Key, uncounted: list[Observed], now: float
    ) -> tuple[list[Observed], list[Observed], list[Observed]]:
        """Returns the signals that count now, those that wait at the control gate, and those that may be residual
        blocking after another name."""
        network, name = host
        domain = registrable(name)
        counting: list[Observed] = []
        waiting: list[Observed] = []
        echoes: list[Observed] = []
        for observed in uncounted:
            address = observed.attempt.address
            if address and self.residual.in_residual_window(address, network, now, host=name):
                echoes.append(observed)
                continue
            if address and observed.signal.id in LEAVES_RESIDUE:
                self.residual.note(address, network, now, host=name)
            well = self.network_health.well_since(network, domain, observed.sent)
            (counting if well else waiting).append(observed)
        return counting, waiting, echoes

    def count(
        self,
        host: Key,
        counting: list[Observed],
        story: str,
        now: float,
        *,
        winner: Route | None,
        protocol: Protocol = Protocol.NONE,
        hint: Cause | str = Cause.NONE,
    ) -> list[Change]:
        """Adds the heaviest of the signals to the belief that governs a host; without any, the host is suspect for
        2 min. `winner` is the route that delivered instead, in `protocol`."""
        key = self.governing(host, now)
        before = self.table.current(key, now) or self.table.begin(key, now)
        if self.table.prior(key, now) >= NEGLIGIBLE:
            story = f"{story}; it is on an imported list"
        heaviest = max((o.signal for o in counting), key=lambda signal: signal.weight, default=None)
        if heaviest is None:
            after = aged(before, now, self._settings)
            if before.state in TROUBLED and (before.cause or not hint):
                story = before.why
            else:  # suspect by a rescue alone, which names no cause
                after = replace(after, cause=hint or after.cause)
        else:
            self.aggregation.note_under(key, host[1], now)
            after = counted(before, heaviest, now, self._settings)
            if before.state is State.BLOCKED and before.cause == Cause.INTERCEPTION:
                after = replace(after, cause=before.cause)  # the worst of all causes: it keeps direct closed
            story = f"{story} ({heaviest.id}, weight {heaviest.weight:g})"
            if after.cause == Cause.IP:
                after = replace(after, family=_family(counting))
        after = replace(after, why=story)
        if winner is not None and concerns(after.cause, protocol):
            after = replace(after, last_good=str(winner), last_good_at=now)
        return self.table.raise_suspicion(key, before, after, heaviest, now)

    def failed_again_later(self, key: Key, host: Key, sent: float, now: float) -> None:
        """Direct failed in a re-test while no other site was reached: the signal waits at the control gate."""
        belief = self.table.troubled(key, now)
        if belief is None or not belief.signal_weight:
            return
        signal = Signal(SignalId.RETEST, belief.signal_weight, belief.cause, now)
        self.pending.wait(host, [Observed(signal, Attempt(DIRECT, Stage.FIRST_BYTE), sent)], belief.why, now)

    def release_waiting(self, key: Key, now: float) -> list[Change]:
        """Counts the signals for which this host is a control, if it has just delivered direct."""
        if not self.pending.waiting or not self.network_health.well_since(key[0], "", now):
            return []
        return self.on_other_host_delivered(registrable(key[1]), key[0], now)

    def on_other_host_delivered(
        self, domain: str, network: NetworkId, now: float, *, came_at: float | None = None
    ) -> list[Change]:
        """A host of `domain` delivered direct, at `came_at` at the earliest (None: now): the signals that waited for a
        control count, if they are about what was sent before."""
        changes: list[Change] = []
        for host, waiting in self.pending.release(network, domain, now, came_at=came_at):
            if not self.network_health.may_learn(network, now):
                continue
            changes += self.count(host, list(waiting.observed), waiting.story, now, winner=None)
            changes += self.aggregation.consider(host, now)
        return changes

    def suspect_network(self, key: Key, now: float) -> list[Change]:
        """Direct failed for one more host, which may show that the network as a whole is at fault."""
        network, host = key
        return self.forget_recent(network, now) if self.network_health.failed(network, registrable(host), now) else []

    def forget_recent(self, network: NetworkId, now: float) -> list[Change]:
        """Forgets the suspicions and blocks since the network as a whole went wrong: they were not about the sites."""
        since = now - self._settings.restricted_window_s
        changes: list[Change] = []
        for key, belief in self.table.stored.items():
            if key[0] == network and belief.state in TROUBLED and belief.since >= since:
                changes += self.table.remove(
                    key, now, f"the network is {self.network_health.state(network)}; not the site's fault"
                )
        return changes

    def governing(self, key: Key, now: float) -> Key:
        """The scope whose belief applies to a host: its own when it is in trouble, else its troubled domain."""
        above = self.aggregation.domain_over(key, now)
        if above is None or self.table.troubled(key, now) is not None or not self.aggregation.covers(above[1], key):
            return key
        return above[0]

    def uncounted_signals(self, outcome: Outcome, key: Key, now: float) -> list[Observed]:
        """The signals of an outcome that have not counted yet, after addons; what unrelated sites share weighs more."""
        found = observe(outcome, self._settings.weights, gave_up_s=self._settings.gave_up_s)
        if not found:
            return []
        before: Counter[SignalId] = self._counted.get(outcome.request.id, Counter())
        self._counted[outcome.request.id] = Counter(observed.signal.id for observed in found)
        left = Counter(before)
        uncounted = []
        for observed in found:
            if left[observed.signal.id] > 0:
                left[observed.signal.id] -= 1
            else:
                uncounted.append(self._shared_place(observed, key, now))
        refined = [replace(observed, signal=self._refine(outcome, observed.signal)) for observed in uncounted]
        return [observed for observed in refined if observed.signal.weight > 0]

    def _shared_place(self, observed: Observed, key: Key, now: float) -> Observed:
        """A signal with the weight of its target. One redirect to another domain is a move, and one other address a
        CDN's; the same for three unrelated domains within the hour is the host of a block page, or the address that a
        lying resolver always gives."""
        place = observed.leads_to
        if not place:
            return observed
        where = (key[0], place)
        self._shared.note(where, registrable(key[1]), now)
        if self._shared.within(where, self._settings.shared_window_s, now) < self._settings.shared_domains:
            return observed
        is_redirect = observed.signal.id is SignalId.HTTP_REDIRECT
        kind = SignalId.HTTP_REDIRECTS if is_redirect else SignalId.DNS_SAME_IP
        weight = max(observed.signal.weight, getattr(self._settings.weights, kind))
        return replace(observed, signal=replace(observed.signal, id=kind, weight=weight))

    def prefix_failed(
        self,
        key: Key,
        winner: Route,
        uncounted: list[Observed],
        addresses: Callable[[str], Iterable[IPAddress]],
        now: float,
    ) -> list[Change]:
        """Notes that addresses failed at the SYN where `winner` delivered, for the belief about their prefix.
        `addresses` returns those of a host."""
        if not any(observed.signal.cause == Cause.IP for observed in uncounted) or not self.network_health.may_learn(
            key[0], now
        ):
            return []
        tried = {address for observed in uncounted for address in _addresses(observed)}
        tried = tried or set(addresses(key[1]))
        return self.aggregation.note_failure(key, tried, str(winner), now)

    def prefix_froze(self, key: Key, winner: Route, observed: list[Observed], now: float) -> list[Change]:
        """Notes the addresses at which transfers froze while `winner` carried more, for the belief about their
        prefix."""
        froze = {address for each in observed if each.signal.cause == Cause.FROZEN for address in _addresses(each)}
        return self.aggregation.note_frozen(key, froze, str(winner), now)


def _addresses(observed: Observed) -> list[IPAddress]:
    """The addresses that an attempt tried: `evidence["addresses"]`, separated by spaces, else the one it reached."""
    texts = str(observed.attempt.evidence.get("addresses", "")).split() or [observed.attempt.address]
    return [address for text in texts if (address := address_of(text)) is not None]


def _family(counting: list[Observed]) -> int:
    """The one address family, 4 or 6, in which connecting failed; 0 when it is both, or not known."""
    families = {address.version for observed in counting for address in _addresses(observed)}
    return families.pop() if len(families) == 1 else 0


def _why_uncounted(waiting: list[Observed], echoes: list[Observed]) -> str:
    """Why no signal counts yet, in words."""
    if waiting:
        return f" ({waiting[-1].signal.id}; not counted until another site works)"
    if echoes:
        return f" ({echoes[-1].signal.id}; may be residual blocking of another host on this IP)"
    return ""
