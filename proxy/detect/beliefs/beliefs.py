"""What is believed about each host on each network, and how outcomes change it.

A host becomes suspect only when another route delivered what direct did not (the comparison gate of docs/detection.md,
"Two gates"), and a signal adds to its score only when another host delivered direct meanwhile (the control gate). When
no route delivers, the host is `down` for a minute and nothing is learned. Every belief has an age, a cause and a way to
end. Outcomes go in and changes for the store come out; time and network are arguments, and nothing runs by itself.

`Beliefs` is the interface, and `learn` the one entry of what happened. Behind it `outcome_learning` reads outcomes,
`event_learning` what was found out beside connections, `signal_counting` decides which signals count, `belief_table`
keeps the states, `recovery` ends blocks, and `post_delivery` reads what goes wrong after direct has delivered.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.basis import Bases, Basis
from proxy.detect.beliefs.belief_table import CLOCK_AHEAD_S, TROUBLED, BeliefTable, on_network
from proxy.detect.beliefs.event_learning import EventLearning
from proxy.detect.beliefs.events import ControlAnswered, DirectDelivered, Event
from proxy.detect.beliefs.host_lru import Key
from proxy.detect.beliefs.outcome_learning import OutcomeLearning
from proxy.detect.beliefs.post_delivery import PostDelivery
from proxy.detect.beliefs.recovery import Recovery
from proxy.detect.beliefs.signal_counting import Refine, SignalCounting, unrefined
from proxy.detect.relay_health import Conditions
from proxy.detect.scopes import registrable
from proxy.detect.signals import concerns
from proxy.detect.verdict.results import DIRECT_WORKS_S, NO_RESULT_STORE, Results, ResultStore, Visited
from proxy.detect.verdict.site_status import LastResult
from proxy.model import (
    UNKNOWN_NETWORK,
    Attempt,
    Belief,
    Change,
    ConnectivityResult,
    IPAddress,
    NetworkId,
    NetworkState,
    Outcome,
    Protocol,
    State,
    StoredResult,
)


class Beliefs:
    """All beliefs. Belongs to one thread."""

    def __init__(
        self,
        settings: DetectTuning,
        known: Iterable[Belief] = (),
        *,
        rng: random.Random | None = None,
        listed: Callable[[str], bool] = lambda host: False,
        near: Callable[[str], bool] = lambda host: False,
        addresses: Callable[[str], Iterable[IPAddress]] = lambda host: (),
        refine: Refine = unrefined,
        results: Iterable[StoredResult] = (),
        store: ResultStore = NO_RESULT_STORE,
    ) -> None:
        """`known` and `results` come from the store, and `store` keeps the last results. `rng` draws the jitter of
        re-tests. `listed` says whether an imported list names a host, which adds weight to its first signal. `near`
        says whether a host is this computer or on its own network: its deliveries say nothing about internet access.
        `addresses` returns what a name resolved to, where that is known; it is called only when they may teach
        something. `refine` weighs each signal before it counts."""
        rng = rng if rng is not None else random.SystemRandom()
        self._settings = settings
        self._bases = Bases()
        self._table = BeliefTable(settings, known, rng, listed, near, self._bases)
        self._counting = SignalCounting(settings, self._table, refine, self._bases)
        self._post_delivery = PostDelivery(settings, self._counting)
        self._recovery = Recovery(settings, self._table)
        self._results = Results(settings, results, store)
        self._outcome_learning = OutcomeLearning(
            settings, self._counting, self._post_delivery, self._recovery, self._results, addresses, self._bases
        )
        self._event_learning = EventLearning(settings, self._counting, self._post_delivery, self._recovery)
        self._ignored: list[Collection[int]] = []
        self.prefixes: Collection[Key] = self._counting.aggregation.prefixes
        """The prefixes that are in trouble. While there is none, `lookup` needs no addresses."""
        self.residual = self._counting.residual
        """Addresses in a residual blocking window: whatever is tried there may fail."""
        self.is_near = near
        """Whether a host is this computer or on its own network."""
        self.needs_control = self._counting.network_health.needs_control
        """Whether to request control pages beside visits on a network though no signal waits: a restriction or portal
        may have ended, or a portal is suspected."""

    # -- asking ----------------------------------------------------------------------------------------------------

    def lookup(self, host: str, *, network: NetworkId, now: float, addresses: Iterable[IPAddress] = ()) -> Belief:
        """The belief that applies to `host`: its own, else that of its domain, else that of the prefix of all of its
        `addresses`. The state is `unknown` when there is none."""
        self._update_clock(now)
        table, aggregation = self._table, self._counting.aggregation
        key = (network, host)
        belief = table.current(key, now) if table.stored.get(key) is not None else None
        if belief is not None and belief.state in TROUBLED:
            return belief
        if aggregation.domains:
            above = aggregation.domain_over(key, now)
            if above is not None and aggregation.covers(above[1], key):
                return above[1]
        if table.transient.get(key) is not None:
            transient = table.current_transient(key, now)
            if transient is not None:
                return transient
        if belief is not None and belief.state is State.WORKS:
            return belief
        working = table.works.get(key)
        if working is not None and now < working.at + self._settings.known_s:
            return working.belief
        if aggregation.prefixes:
            prefix = aggregation.prefix_over(network, addresses, now)
            if prefix is not None:
                return prefix
        return belief if belief is not None else Belief(host, network)

    def basis(self, host: str, *, network: NetworkId, now: float) -> Basis:
        """What `lookup` of this host with any addresses, `network_state_for`, `fails_direct` and `comparison_due` rest
        on: at each time from `now` and before `until` they return what they return at `now`, as long as the basis has
        not changed and `near` says the same of the host. An `until` that is not after `now`: they may change at any
        time.

        A clock that is set back changes every basis at the next call that takes the time."""
        self._update_clock(now)
        table, aggregation, settings = self._table, self._counting.aggregation, self._settings
        key = (network, host)
        if (known := self._bases.get(key)) is not None and now < known.until:
            return known
        if now < table.latest:
            return self._bases.add(network, host, now)
        ends = [now + CLOCK_AHEAD_S]
        belief = table.current(key, now) if table.stored.get(key) is not None else None
        above = aggregation.domain_over(key, now) if aggregation.domains else None
        for held in (belief, above[1] if above is not None else None):
            if held is not None:
                ends.append(held.until)
                if held.last_good:
                    ends.append(held.last_good_at + settings.last_good_s)
                if held.rungs_failed:
                    ends.append(held.rungs_failed_at + settings.last_good_s)
        if table.transient.get(key) is not None and (transient := table.current_transient(key, now)) is not None:
            ends.append(transient.until)
        record = self._counting.network_health.records.get(network)
        is_usual = record is None or record.state is NetworkState.OK
        is_restricted = not is_usual and self.network_state(network) is NetworkState.RESTRICTED
        if (working := table.works.get(key)) is not None:  # the next success may move its dates
            ends += [working.renew_at, working.at + settings.known_s]
            if is_restricted:
                ends.append(working.at + settings.restricted_known_s)
        elif aggregation.prefixes and (belief is None or belief.state is State.UNKNOWN):
            ends.append(now)  # it depends on the addresses
        if is_restricted:
            failed_at = self._counting.network_health.failed_at(network, registrable(host))
            if now <= failed_at + settings.restricted_known_s:
                ends.append(failed_at + settings.restricted_known_s)
        if (waiting := self._counting.pending.uncompared(key, now)) is not None:
            ends.append(waiting.since + settings.rescue_suspect_s)
        return self._bases.add(network, host, max(now, min(ends)))

    def all(self, *, now: float) -> list[Belief]:
        """Every belief but those of hosts that simply work."""
        self._update_clock(now)
        current = [belief for key in self._table.stored if (belief := self._table.current(key, now)) is not None]
        transient = [belief for belief in self._table.transient.values() if now < belief.until]
        return [belief for belief in current if belief.state is not State.UNKNOWN] + transient

    def held(self, scopes: Collection[str], *, now: float) -> list[Belief]:
        """What is believed about these scopes on any network, and what is kept of suspicions that time ended, whose
        state is unknown."""
        self._update_clock(now)
        keys = [key for key in self._table.stored if key[1] in scopes]
        return [belief for key in keys if (belief := self._table.current(key, now)) is not None]

    def portal_page(self, network: NetworkId) -> str:
        """The URL of the login page of the captive portal on this network; empty: none, or not known."""
        return self._counting.network_health.portal_page(network)

    def clock_ahead(self, now: float) -> float:
        """Seconds by which this computer's clock is ahead; see `NetworkHealth`. 0: it may be right."""
        return self._counting.network_health.clock_ahead(now)

    def on_wrong_clock(self, ahead: float, now: float) -> None:
        """A measurement has shown that this computer's clock is wrong; `ahead` infinite: by an unknown time."""
        self._counting.network_health.on_wrong_clock(ahead, now)

    def resolver_fails(self, network: NetworkId) -> bool:
        """Whether the system's resolver fails for all names on a network, as far as visits and measurements showed."""
        return self._counting.network_health.resolver_fails(network)

    def on_resolver_measured(self, network: NetworkId, domains: Collection[str]) -> None:
        """A measurement has asked the system's resolver: it failed for these unrelated domains, or, if there are none,
        it works."""
        if domains:
            self._counting.network_health.on_unresolved(network, *domains)
        else:
            self._counting.network_health.on_resolved(network)

    def network_state(self, network: NetworkId) -> NetworkState:
        """The state of a network as a whole."""
        return self._counting.network_health.state(network)

    def network_state_for(self, host: str, *, network: NetworkId, now: float) -> NetworkState:
        """The same as it applies to one host: on a restricted network one that delivered direct within
        `restricted_known_s` is treated as on any other."""
        record = self._counting.network_health.records.get(network)
        if record is None or record.state is NetworkState.OK:
            return NetworkState.OK  # the usual case
        state = self._counting.network_health.state(network)
        if state is NetworkState.RESTRICTED:
            working = self._table.works.get((network, host))
            if working is not None and 0 <= now - working.at <= self._settings.restricted_known_s:
                return NetworkState.OK
        return state

    def fails_direct(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether direct failed for a site within `restricted_known_s`, and has not delivered since. On a restricted
        network relays go first for it; others may be domestic."""
        failed_at = self._counting.network_health.failed_at(network, registrable(host))
        return 0 <= now - failed_at < self._settings.restricted_known_s

    def comparison_due(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether the next plain HTTP request to `host` that may be sent only once shall take another route than
        direct.

        A race compares routes by sending a request again on the next route. A POST is sent only once, so a site that
        gets only POSTs would never pass the comparison gate and fail for ever. So after direct fails, the next request
        makes the comparison. Nothing is believed about the host until another route has delivered."""
        self._update_clock(now)
        waiting = self._counting.pending.uncompared((network, host), now)
        if waiting is None or self.is_near(host):
            return False
        return any(concerns(observed.signal.cause, Protocol.HTTP) for observed in waiting.observed)

    # -- results ---------------------------------------------------------------------------------------------------

    def results_by_port(self, host: str, *, network: NetworkId, now: float) -> tuple[LastResult, ...]:
        """The last result of each port of `host` that has one."""
        self._update_clock(now)
        return self._results.by_port((network, host), now)

    def last_result(self, host: str, *, network: NetworkId, now: float) -> LastResult | None:
        """The result of the last measurement of `host`, or of the last connection to it that failed; None when there
        was none within `known_s`, or a route has delivered since. Of several ports, that of the site's usual one."""
        self._update_clock(now)
        return self._results.of((network, host), now)

    def recent_results(self, *, network: NetworkId, now: float) -> list[tuple[str, LastResult]]:
        """The hosts with a result that `last_result` knows, the latest first, once for each port."""
        self._update_clock(now)
        return self._results.recent(network, now)

    def results_since(self, at: float) -> set[str]:
        """The hosts with a result that came then or later, on any network."""
        return self._results.since(at)

    def working_direct(self, *, network: NetworkId) -> list[tuple[str, float]]:
        """The hosts that answered direct since the start, and when each last did, in seconds since the epoch."""
        return [(host, working.at) for (where, host), working in self._table.works.items() if where == network]

    def delivered_at(self, network: NetworkId) -> float:
        """When direct last delivered any site on a network, in seconds since the epoch; -inf: never."""
        return self._counting.network_health.worked_at(network)

    def measured(self, host: str, result: LastResult, *, network: NetworkId) -> None:
        """Takes the result of a measurement of `host`."""
        key = (network, host)
        known_at = max(result.at, self._table.now)
        is_troubled = self.lookup(host, network=network, now=known_at).state in TROUBLED
        self._results.note(key, result, is_troubled=is_troubled)
        self._outcome_learning.disturb(key)  # else the fast paths of `learn` would not clear this result

    def visited(self, host: str, *, network: NetworkId) -> Visited | None:
        """The protocol and port of the last visit to `host`; None when that is not known."""
        return self._results.visited((network, host))

    def own_port(self, host: str, *, network: NetworkId) -> int:
        """The port that people mean when they name `host`: that of https, or of http if they visited that last."""
        return self._results.own_port((network, host))

    def may_blame_relays(self, network: NetworkId, now: float) -> bool:
        """Whether a failure of a relay may be its own fault: not while offline, behind a portal, or just after
        resume."""
        return self._counting.network_health.may_blame_relays(network, now)

    def relay_conditions(self, host: str, *, network: NetworkId, now: float) -> Conditions:
        """The conditions under which relays were tried for `host` just now."""
        return Conditions(
            may_blame=self.may_blame_relays(network, now),
            clock_is_right=self._counting.network_health.certificates_are_valid(network, now),
            is_near=self.is_near(host),
            direct_worked_at=self._counting.network_health.worked_at(network),
        )

    # -- learning --------------------------------------------------------------------------------------------------

    def learn(self, event: Event, *, network: NetworkId, now: float) -> list[Change]:
        """Learns from what happened on a network: a connection, or what was found out beside connections.

        An Outcome is learned from when the race is decided, and again when a late direct attempt has been judged
        (`Outcome.with_attempt`) or more evidence is known: no signal counts twice.

        A Change whose `before` equals its `after` has new numbers for the same state: store it, but show it to nobody.
        """
        self._update_clock(now)
        if isinstance(event, Outcome):
            if self._ignored and any(event.request.id in ids for ids in self._ignored):
                return []
            return self._outcome_learning.learn(event, network=network, now=now)
        if self._results.waiting and (domain := _delivered_direct(event)):
            self._results.on_direct_delivery(network, domain, now)
        if not isinstance(event, ControlAnswered):
            return self._table.with_pending(self._event_learning.learn(event, network, now))
        before = self.network_state(network)
        changes = self._table.with_pending(self._event_learning.learn(event, network, now))
        if before is not NetworkState.PORTAL and self.network_state(network) is NetworkState.PORTAL:
            self._results.forget_recent(network, now - self._settings.restricted_window_s)
        return changes

    def works_again(self, host: str, attempt: Attempt, *, network: NetworkId, now: float) -> list[Change] | None:
        """Learns from a connection whose only attempt was direct and delivered, if it shows no more than that its host
        still works, as nearly all do. None: it may show more, and nothing was learned."""
        self._update_clock(now)
        return self._outcome_learning.works_again((network, host), attempt, now)

    # -- the network -----------------------------------------------------------------------------------------------

    def control_wanted(self, network: NetworkId, now: float) -> bool:
        """Whether to request a control page now: a signal or a stalled flow waits, and the user's own traffic has not
        shown within `control_after_s` that internet access works. True claims the check for a minute; the caller
        reports with `ControlAnswered`."""
        self._update_clock(now)
        return self._counting.network_health.control_wanted(
            network, now, waits=self._counting.pending.waits(network, now)
        )

    def may_be_control(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether a page of `host` can be a control: not while it is suspect or blocked, or a signal or a stalled flow
        of its domain waits."""
        if self.lookup(host, network=network, now=now).state in TROUBLED:
            return False
        domain = registrable(host)
        if self._counting.network_health.stall_waits(network, now, domain=domain):
            return False
        return not self._counting.pending.pending_for_domain(network, domain, now)

    def all_controls_wanted(self, network: NetworkId, now: float) -> bool:
        """Whether to request all control pages at once: so many unrelated hosts have failed that the network may be
        restricted, which only all of them together can show."""
        self._update_clock(now)
        return self._counting.network_health.seems_restricted(network, now)

    def suspect_portal(self, network: NetworkId) -> None:
        """Something else answered in place of a site, as a captive portal does: a control page must show whether."""
        self._counting.network_health.suspect_portal(network)

    def suspect_portal_if_quiet(self, network: NetworkId, now: float) -> bool:
        """A relay failed. Unless direct worked lately, the network may be at fault, as behind a captive portal. Returns
        whether a control page is due."""
        if self._counting.network_health.well_since(network, "", now - DIRECT_WORKS_S):
            return False
        self.suspect_portal(network)
        return True

    def on_unwitnessed_stall(self, host: str, *, network: NetworkId, now: float) -> None:
        """A flow of `host` stalled, and nothing shows that the network is there: a control page of another site is due,
        unless the flow is answered or another one receives meanwhile."""
        self._update_clock(now)
        self._counting.network_health.on_unwitnessed_stall(network, registrable(host), now)

    def stall_waits(self, *, network: NetworkId, now: float) -> bool:
        """Whether a flow has stalled and waits for a witness."""
        return self._counting.network_health.stall_waits(network, now)

    def on_certificate_accepted(self, network: NetworkId, now: float) -> None:
        """A client accepted a certificate that came over direct, so no portal presented it."""
        self._update_clock(now)
        self._counting.network_health.on_certificate_accepted(network, now)

    def network_changed(self, now: float) -> list[Change]:
        """Another network: signals that wait can pass no control gate any more, and re-tests of the old network are not
        reported. The beliefs of an unidentified network are dropped, since the next one may be unidentified too."""
        self._update_clock(now)
        self._counting.pending.clear()
        self._recovery.forget_claims()
        self._counting.network_health.forget(UNKNOWN_NETWORK)
        meant = on_network(UNKNOWN_NETWORK, None)
        self._counting.aggregation.forget(meant)
        return self._table.with_pending(self._table.forget(meant, "left a network that cannot be identified"))

    def on_resume(self, now: float) -> None:
        """This computer was suspended: signals that wait are dropped, and for `wake_s` nothing is learned."""
        self._update_clock(now)
        self._counting.pending.clear()
        self._counting.network_health.on_resume(now)

    # -- re-tests --------------------------------------------------------------------------------------------------

    def retest_due(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether a re-test of direct is due beside this visit. True claims it: the caller runs it and reports with
        `Retested`. `recovery.retest_needs` says what a success is. The caller knows whether the host may be re-tested
        at all."""
        self._update_clock(now)
        return self._recovery.due(self._counting.governing((network, host), now), now)

    def retest_unreported(self, host: str, *, network: NetworkId, now: float) -> None:
        """What `retest_due` or `strategies_due` claimed ended without a report: it is due again beside the next
        visit."""
        self._update_clock(now)
        self._recovery.release(self._counting.governing((network, host), now))

    def strategies_due(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether local strategies are to be probed beside this visit, which a relay carried. True claims them: the
        caller probes them and reports each with `StrategyTried`."""
        self._update_clock(now)
        return self._recovery.strategies_due(self._counting.governing((network, host), now), now)

    # -- forgetting ------------------------------------------------------------------------------------------------

    def ignore(self, requests: Collection[int]) -> None:
        """Learns nothing more from the connections of these requests, by their ids: they are open, and their hosts have
        been forgotten and must not come back."""
        if requests:
            self._ignored.append(requests)

    def forget(self, scope: str | None = None, network: NetworkId | None = None) -> list[Change]:
        """Forgets a host and its subdomains, with the belief of its domain, or all hosts; on one network, or on all."""
        changes = self._forget(on_network(network, scope))
        if scope is None:
            self._counting.network_health.forget(network)
        return changes

    def forget_unstored(self) -> list[Change]:
        """Forgets every host without a stored status and without a result: of others it is not known when they were
        visited."""
        known = {*self._table.stored, *self._results.with_result()}
        return self._forget(lambda key: key not in known)

    def _forget(self, meant: Callable[[Key], bool]) -> list[Change]:
        self._outcome_learning.disturb()
        self._counting.forget(meant)
        self._post_delivery.forget(meant)
        self._recovery.forget_claims(meant)
        self._bases.forget(meant)
        for key in self._results.known():
            if meant(key):
                self._results.forget(key)
        self._counting.network_health.forget_hosts(meant)
        return self._table.forget(meant)

    def forget_home(self, is_home: Callable[[str], bool]) -> list[Change]:
        """Forgets what is stored of hosts and prefixes that belong to the home network, as the configuration has it
        now: nothing is believed of these."""
        why, at = "it is on the local network", max(0.0, self._table.now)
        at_home = [key for key in self._table.stored if is_home(key[1].removeprefix("*.").partition("/")[0])]
        return [change for key in at_home for change in self._table.remove(key, at, why)]

    # -- below -----------------------------------------------------------------------------------------------------

    def _update_clock(self, now: float) -> None:
        table = self._table
        if table.latest <= now <= table.now + CLOCK_AHEAD_S:  # the usual case
            table.now = table.latest = now
        elif table.update_clock(now):
            self._counting.on_clock_set(now)
            self._post_delivery.on_clock_set()
            self._results.on_clock_set()
            self._recovery.forget_claims()


def _delivered_direct(event: Event) -> str:
    """The domain of the host that direct delivered, by an event beside connections; empty: none."""
    match event:
        case DirectDelivered(host):
            return registrable(host)
        case ControlAnswered(host, ConnectivityResult.WELL):
            return registrable(host)
    return ""
