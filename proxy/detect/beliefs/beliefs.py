"""What is believed about each host on each network, and how outcomes change it.

A host becomes suspect only when another route delivered what direct did not (the comparison gate of docs/detection.md,
"Two gates"), and a signal adds to its score only when another host delivered direct meanwhile (the control gate). When
no route delivers, the host is `down` for a minute and nothing is learned. Every belief has an age, a cause and a way to
end. Outcomes go in and changes for the store come out; time and network are arguments, and nothing runs by itself.

`Beliefs` owns one `BeliefState` and answers from it; `learn` is the one entry of what happened. Functions over the
state decide what is learned: `learning` takes each kind of event, `outcomes` reads connections, `after_delivery` reads
what goes wrong after direct has delivered, `page_doubts` which pages may not be the site's, `rungs` finds local
strategies, `retests` ends blocks, `counting` decides which signals count, `aggregation` for which scope,
`network_health` whether the network is at fault, and `transitions` makes beliefs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs import counting, cut_hellos, hello_bursts, network_health, page_doubts, retests, rungs
from proxy.detect.beliefs.after_delivery import without_broken
from proxy.detect.beliefs.aggregation import prefix_over
from proxy.detect.beliefs.clock import CLOCK_AHEAD_S, advance
from proxy.detect.beliefs.events import Circumstance, Event
from proxy.detect.beliefs.learning import learn, note
from proxy.detect.beliefs.outcomes import disturb, ignores, works_again
from proxy.detect.beliefs.retests import Claim
from proxy.detect.beliefs.rungs import Search
from proxy.detect.beliefs.state import NEVER, BeliefState, Refine, unrefined
from proxy.detect.beliefs.tables import Key, Meant, on_network
from proxy.detect.beliefs.transitions import (
    covers,
    current,
    current_transient,
    domain_over,
    forget_stored,
    governing,
    remove,
)
from proxy.detect.relay_health import Conditions
from proxy.detect.scopes import registrable
from proxy.detect.signals import cause_concerns
from proxy.detect.verdict.results import DIRECT_WORKS_S, NO_RESULT_STORE, ResultStore, Visited
from proxy.detect.verdict.site_status import LastResult
from proxy.model import (
    TROUBLED,
    Attempt,
    Belief,
    Change,
    CutHellos,
    IPAddress,
    NetworkId,
    NetworkState,
    PageDoubt,
    Protocol,
    Route,
    State,
    StoredResult,
)
from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class HostAnswer:
    """What the plan for a host depends on. It stays the same before `until`, while the generation is not raised; if
    `until` is not after the time of the answer, it may change at any time."""

    belief: Belief
    network_state: NetworkState
    """That of the network, as it applies to the host: on a restricted one, a host that direct delivered within
    `restricted_known_s` is treated as on any other."""
    fails_direct: bool
    """Whether direct failed for the site within this time and has not delivered since. On a restricted network relays
    go first for it; others may be domestic."""
    generation: int
    until: float
    rungs: tuple[Route, ...] = ()
    """Local strategies that pass on the network: against the cause of the host's trouble, or against any."""


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
        self._state = state = BeliefState(
            settings,
            known,
            rng=rng if rng is not None else random.SystemRandom(),
            listed=listed,
            is_near=near,
            addresses=addresses,
            refine=refine,
            results=results,
            store=store,
        )
        self.prefixes: Collection[Key] = state.prefixes
        """The prefixes that are in trouble. While there is none, `lookup` needs no addresses."""
        self.is_near = near
        """Whether a host is this computer or on its own network."""
        self.generation = state.generations.of
        """The generation of a host on a network: what `about` returned is the same while it is not raised."""
        # Answers about networks, and one about an address, that need no look at what has lapsed.
        self.needs_control = partial(network_health.needs_control, state)
        self.portal_page = partial(network_health.portal_page, state)
        self.delivered_at = partial(network_health.worked_at, state)
        self.stall_waits = partial(network_health.stall_waits, state)
        self.may_blame_relays = partial(network_health.may_blame_relays, state)
        self.resolver_fails = partial(network_health.resolver_fails, state)
        self.clock_ahead = partial(network_health.clock_ahead, state)
        self.hellos_are_counted = partial(hello_bursts.are_counted, state)
        self.cuts_are_punished = partial(cut_hellos.are_punished, state)
        self.in_residual_window = partial(counting.in_residual_window, state)
        self.results_since = state.results.since
        self.awaits_proof = state.unproven.get
        """Returns what waits for a relay to carry more of a host; None: nothing does."""

    # -- asking --------------------------------------------------------------------------------------------------------

    def lookup(self, host: str, *, network: NetworkId, now: float, addresses: Iterable[IPAddress] = ()) -> Belief:
        """Returns the belief that applies to `host`: its own, else that of its domain, else that of the prefix of all
        of its `addresses`. Its state is `unknown` if there is none."""
        state, key = self._at(now), (network, host)
        belief = current(state, key, now) if state.stored.get(key) is not None else None
        if belief is not None and belief.state in TROUBLED:
            return belief
        if state.domains:
            above = domain_over(state, key, now)
            if above is not None and covers(state, above[1], key):
                return above[1]
        if state.transient.get(key) is not None:
            transient = current_transient(state, key, now)
            if transient is not None:
                return transient
        if belief is not None and belief.state is State.WORKS:
            return belief
        working = state.works.get(key)
        if working is not None and state.lasts(working.at + state.settings.known_s, now):
            return working.belief
        if state.prefixes:
            state.holds_until = now  # those of the next visit may be other addresses
            prefix = prefix_over(state, network, addresses, now)
            if prefix is not None:
                return prefix
        return belief if belief is not None else Belief(host, network)

    def about(self, host: str, *, network: NetworkId, now: float, addresses: Iterable[IPAddress] = ()) -> HostAnswer:
        """Returns what the plan for a host depends on, with any addresses."""
        state = self._at(now)
        state.begin_reading(now, CLOCK_AHEAD_S)
        belief = self.lookup(host, network=network, now=now, addresses=addresses)
        network_state, fails_direct = network_health.network_state(state, network), False
        if network_state in (NetworkState.RESTRICTED, NetworkState.NO_HTTPS):
            working, lasts_s = state.works.get((network, host)), state.settings.restricted_known_s
            failed_at = network_health.failed_at(state, network, registrable(host))
            if working is not None and working.at <= now and state.lasts(working.at + lasts_s, now):
                network_state = NetworkState.OK
            else:
                fails_direct = NEVER < failed_at <= now and state.lasts(failed_at + lasts_s, now)
        if state.unproven.get((network, host)) is not None:
            belief = without_broken(state, (network, host), belief, now)
        record = state.networks.get(network)
        key = (network, host)
        if state.unserved.get(key) is not None and belief.state not in TROUBLED:
            belief = rungs.as_if_blocked(state, key, belief, now)
        passing = rungs.known_rungs(state, key, belief, now) if record is not None and record.rungs else ()
        return HostAnswer(
            belief, network_state, fails_direct, state.generations.of(network, host), state.holds_until, passing
        )

    def all(self, *, now: float) -> list[Belief]:
        """Returns every belief except those of hosts that simply work."""
        state = self._at(now)
        held = [belief for key in state.stored if (belief := current(state, key, now)) is not None]
        transient = [belief for belief in state.transient.values() if now < belief.until]
        return [belief for belief in held if belief.state is not State.UNKNOWN] + transient

    def domains(self, network: NetworkId) -> set[Key]:
        """Returns the registrable domains of which anything is stored on any network, or that have a result on
        `network`, each with its network."""
        state = self._state
        results = (domain for domain in state.results.domains() if domain[0] == network)
        return {*state.stored.domains(), *state.transient.domains(), *results}

    def of_domain(self, domain: Key, *, now: float) -> tuple[list[Belief], Mapping[str, tuple[LastResult, ...]]]:
        """Returns the beliefs that `all` returns about the hosts under a registrable domain on its network, and about
        the domain itself; and the results that `results_by_port` returns of its hosts, by host."""
        state = self._at(now)
        stored = [belief for key in state.stored.under(domain) if (belief := current(state, key, now)) is not None]
        others = [state.transient.get(key) for key in state.transient.under(domain)]
        transient = [belief for belief in others if belief is not None and state.lasts(belief.until, now)]
        known = [belief for belief in stored if belief.state is not State.UNKNOWN]
        results = state.results.under(domain, now)
        for result in chain.from_iterable(results.values()):
            state.lasts(result.at + state.settings.known_s, now)
        return [*known, *transient], results

    def mark(self) -> int:
        """Returns a mark of the present state, for `changed_since`."""
        return self._state.generations.latest

    def changed_since(self, mark: int) -> list[Key] | None:
        """Returns the registrable domains, each with its network, of which any belief, result or visit has changed
        since `mark`; None: all may have. What has ended by time alone is not among them."""
        return self._state.generations.changed_since(mark)

    def begin_reading(self, now: float) -> None:
        """Begins to note until when the answers hold that are read from now on: see `holds_until`."""
        self._at(now).begin_reading(now, CLOCK_AHEAD_S)

    @property
    def holds_until(self) -> float:
        """Until when the beliefs that were read since `begin_reading`, and the results of `of_domain`, hold without a
        change, in seconds since the epoch."""
        return self._state.holds_until

    def held(self, scopes: Collection[str], *, now: float) -> list[Belief]:
        """Returns the beliefs about these scopes on any network. A suspicion that time has ended is among them while it
        matters, with the state `unknown`."""
        state = self._at(now)
        keys = [key for key in state.stored if key[1] in scopes]
        return [belief for key in keys if (belief := current(state, key, now)) is not None]

    def network_state(self, network: NetworkId) -> NetworkState:
        return network_health.network_state(self._state, network)

    def comparison_due(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether the next plain HTTP request to `host` that may be sent only once shall take another route than
        direct.

        A race compares routes by sending a request again on the next route. A POST is sent only once, so a site that
        gets only POSTs would never pass the comparison gate and fail for ever. So after direct fails, the next request
        makes the comparison. Nothing is believed about the host until another route has delivered."""
        waiting = counting.uncompared(self._at(now), (network, host), now)
        if waiting is None or self.is_near(host):
            return False
        return any(cause_concerns(observed.signal.cause, Protocol.HTTP) for observed in waiting.observed)

    # -- results -------------------------------------------------------------------------------------------------------

    def results_by_port(self, host: str, *, network: NetworkId, now: float) -> tuple[LastResult, ...]:
        """Returns the last result of each port of `host` that has one."""
        return self._at(now).results.by_port((network, host), now)

    def last_result(self, host: str, *, network: NetworkId, now: float) -> LastResult | None:
        """Returns the result of the last measurement of `host`, or of its last connection that failed. None: there was
        none within `known_s`, or a route has delivered since. Of several ports, that of the site's usual one."""
        return self._at(now).results.of((network, host), now)

    def recent_results(self, *, network: NetworkId, now: float) -> list[tuple[str, LastResult]]:
        """Returns the hosts with a result that `last_result` would return, the latest first, once for each port."""
        return self._at(now).results.recent(network, now)

    def working_direct(self, *, network: NetworkId) -> list[tuple[str, float]]:
        """Returns the hosts that direct delivered since the start, and when it last did, in seconds since the epoch."""
        return [(host, working.at) for (where, host), working in self._state.works.items() if where == network]

    def visited(self, host: str, *, network: NetworkId) -> Visited | None:
        """Returns the protocol and port of the last visit to `host`; None if it is not known."""
        return self._state.results.visited((network, host))

    def own_port(self, host: str, *, network: NetworkId) -> int:
        """Returns the port that people mean when they name `host`: that of https, or of http if they visited that
        last."""
        return self._state.results.own_port((network, host))

    def certificates_are_valid(self, network: NetworkId, now: float) -> bool:
        """Whether a site or a control page had a valid certificate over direct within the hour: no captive portal
        answered in its place."""
        return network_health.certificates_are_valid(self._state, network, now)

    def relay_conditions(self, host: str, *, network: NetworkId, now: float) -> Conditions:
        """Returns the conditions under which relays were tried for `host` just now."""
        return Conditions(
            may_blame=self.may_blame_relays(network, now),
            clock_is_right=self.certificates_are_valid(network, now),
            is_near=self.is_near(host),
            direct_worked_at=self.delivered_at(network),
        )

    # -- learning ------------------------------------------------------------------------------------------------------

    def learn(self, event: Event, *, network: NetworkId, now: float) -> list[Change]:
        """Learns from what happened on a network: a connection, or what was found out beside connections.

        An Outcome is learned from when the race is decided, and again when a late direct attempt has been judged
        (`Outcome.with_attempt`) or more evidence is known: no signal counts twice.

        A Change whose `before` equals its `after` has new numbers for the same state: store it, but show it to nobody.
        """
        return learn(self._state, event, network, now)

    def note(self, event: Circumstance, *, network: NetworkId, now: float) -> None:
        """Takes a circumstance that changes no stored belief, but what may be learned from later events."""
        note(self._state, event, network, now)

    def works_again(self, host: str, attempt: Attempt, *, network: NetworkId, now: float) -> list[Change] | None:
        """Learns from a connection whose only attempt was direct and delivered. Nearly all such connections show only
        that the host still works. Returns None without learning anything if this one may show more."""
        return works_again(self._at(now), (network, host), attempt, now)

    def measured(self, host: str, result: LastResult, *, network: NetworkId) -> None:
        """Takes the result of a measurement of `host`."""
        state, key = self._state, (network, host)
        known_at = max(result.at, state.now)
        is_troubled = self.lookup(host, network=network, now=known_at).state in TROUBLED
        state.results.note(key, result, is_troubled=is_troubled)
        disturb(state, key)  # else the fast paths of `learn` would not clear this result

    # -- the network ---------------------------------------------------------------------------------------------------

    def control_wanted(self, network: NetworkId, now: float) -> bool:
        """Whether to request a control page now: a signal or a stalled flow waits, and the user's own traffic has not
        shown within `control_after_s` that internet access works. True claims the check for a minute; the caller
        reports with `ControlAnswered`."""
        state = self._at(now)
        return network_health.control_wanted(state, network, now, waits=counting.waits(state, network, now))

    def may_be_control(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether a page of `host` can be a control: not while it is suspect or blocked, or a signal or a stalled flow
        of its domain waits."""
        if self.lookup(host, network=network, now=now).state in TROUBLED:
            return False
        domain = registrable(host)
        if network_health.stall_waits(self._state, network, now, domain=domain):
            return False
        return not counting.pending_for_domain(self._state, network, domain, now)

    def all_controls_wanted(self, network: NetworkId, now: float) -> bool:
        """Whether to request all control pages at once: so many unrelated hosts have failed that the network may be
        restricted, which only all of them together can show."""
        return network_health.seems_restricted(self._at(now), network, now)

    def suspect_portal_if_quiet(self, network: NetworkId, now: float) -> bool:
        """Suspects the network, for example a captive portal, since a relay failed, unless direct worked lately.
        Returns whether a control page is due."""
        if network_health.well_since(self._state, network, "", now - DIRECT_WORKS_S):
            return False
        network_health.suspect_portal(self._state, network)
        return True

    def cut_hellos(self, host: str, addresses: Iterable[str], *, network: NetworkId, now: float) -> CutHellos:
        """Returns whether a race to `host`, which plain direct did not deliver at these addresses, may send its
        ClientHello in pieces."""
        return cut_hellos.cut_hellos(self._at(now), host, addresses, network, now)

    # -- pages over plain HTTP -----------------------------------------------------------------------------------------

    def page_doubt(self, host: str, mark: int, address: str, *, network: NetworkId, now: float) -> PageDoubt | None:
        """Returns why a page that direct has just brought for `host` from `address` ("address:port") may not be the
        site's own; None: it is not doubted. `mark`: that of the page, which is remembered."""
        return page_doubts.doubt(self._at(now), (network, host), mark, address, now)

    def page_check_due(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether a doubted page of `host` is to be compared with that of another route beside this visit. True claims
        it: the caller makes the comparison and reports with `PageCompared`. The caller knows whether the host may be
        tested at all."""
        return page_doubts.claim_page_check(self._at(now), (network, host), now)

    # -- re-tests ------------------------------------------------------------------------------------------------------

    def retest_due(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether a re-test of direct is due beside this visit. True claims it: the caller runs it, reports with
        `Retested`, and in the end releases the claim. `retests.retest_needs` says what a success is. The caller knows
        whether the host may be re-tested at all."""
        state = self._at(now)
        return retests.claim_retest(state, governing(state, (network, host), now), now)

    def claim_of(self, host: str, *, network: NetworkId, now: float) -> Claim | None:
        """Returns the claim that `retest_due` or `search_due` has just taken for `host`."""
        state = self._at(now)
        key = governing(state, (network, host), now)
        until = state.claims.get(key)
        return None if until is None else (key, until)

    def release(self, claim: Claim | None) -> None:
        """Ends a claim, unless it has ended: what it was for is due again beside the next visit."""
        if claim is not None and self._state.claims.get(claim[0]) == claim[1]:
            del self._state.claims[claim[0]]

    def proof_due(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether an experiment about the silence of `host` is due beside this visit. True claims it: the caller makes
        it and reports with `SilenceExplained`. The caller knows whether the host may be tested at all."""
        state = self._at(now)
        return network_health.may_learn(state, network, now) and retests.claim_proof(state, (network, host), now)

    def speed_check_due(self, host: str, routes: Sequence[Route], *, network: NetworkId, now: float) -> Route | None:
        """Returns the one of `routes` to compare with direct, which was slow to `host`, and claims the comparison: the
        caller makes it and reports with `SpeedsCompared`. None: none is due. The caller knows whether the host may be
        tested at all."""
        state = self._at(now)
        if self.is_near(host) or not network_health.may_learn(state, network, now):
            return None
        return retests.claim_speed_check(state, (network, host), routes, now)

    # -- local strategies ----------------------------------------------------------------------------------------------

    def search_due(
        self,
        host: str,
        routes: Sequence[Route],
        addresses: Iterable[str],
        protocol: Protocol,
        *,
        network: NetworkId,
        now: float,
        is_carried: bool = True,
    ) -> Search:
        """Whether to search for a local strategy among `routes`, the simplest first, beside this visit, which another
        route than direct carried, or, without `is_carried`, none. `addresses`: of the host, with or without a port.
        Other results than NOT_DUE claim it: the caller tries one `next_rung` after the other, reports each with
        `RungTried`, and in the end releases the claim. It ends once the address is struck."""
        key = (network, host)
        return rungs.claim_search(self._at(now), key, routes, addresses, protocol, now, is_carried=is_carried)

    def next_rung(
        self, host: str, routes: Sequence[Route], *, network: NetworkId, now: float, is_carried: bool = True
    ) -> Route | None:
        """Returns the strategy to try next in a search that is under way; None: there is none."""
        key = (network, host)
        return rungs.next_rung(self._at(now), key, routes, now, in_search=True, is_carried=is_carried)

    def take_back_search(self, host: str, *, network: NetworkId) -> None:
        """Does not count the last search for `host`, which has sent nothing."""
        rungs.take_back_search(self._state, (network, host))

    def unserved_at(self, host: str, *, network: NetworkId) -> float:
        """Returns when a visit to `host` that nothing carried was last noted, in seconds since the epoch; NEVER: none
        was."""
        unserved = self._state.unserved.get((network, host))
        return NEVER if unserved is None else unserved.seen_at

    def residue_question_due(self, protocol: Protocol, *, network: NetworkId, now: float) -> bool:
        """Whether to ask if an address at which a flight was just broken answers another name. True claims it: the
        caller asks, and reports with `ResidueAsked`."""
        return rungs.claim_question(self._at(now), network, protocol, now)

    def struck_until(
        self, host: str, addresses: Iterable[str], protocol: Protocol, *, network: NetworkId, now: float
    ) -> float:
        """Returns until when no strategy may be tried for a host, in seconds since the epoch: one of its addresses, or
        of those at which its flights were broken, is in a residual window. 0: none is, or the network is known to leave
        no residue."""
        return rungs.struck_until(self._at(now), (network, host), addresses, protocol, now)

    # -- forgetting ----------------------------------------------------------------------------------------------------

    def ignore(self, requests: Collection[int]) -> None:
        """Learns nothing more from the connections of these requests, by their ids: they are open, and their hosts have
        been forgotten and must not come back."""
        if requests:
            self._state.ignored.append(requests)

    def ignores(self, request: int) -> bool:
        """Whether nothing is learned from the connections of this request, by its id: see `ignore`."""
        return ignores(self._state, request)

    def forget(self, scope: str | None = None, network: NetworkId | None = None) -> list[Change]:
        """Forgets a host and its subdomains, with the belief of its domain, or all hosts; on one network, or on all."""
        changes = self._forget(on_network(network, scope))
        if scope is None:
            network_health.forget(self._state, network)
        return changes

    def forget_unstored(self) -> list[Change]:
        """Forgets every host without a stored status and without a result, since it is not known when these were
        visited."""
        state = self._state
        return self._forget(lambda key: key not in state.stored and not state.results.knows(key))

    def _forget(self, meant: Meant) -> list[Change]:
        state = self._state
        for table in state.host_tables:
            table.forget(meant)
        state.results.forget_all(meant)
        network_health.forget_hosts(state, meant)
        changes = forget_stored(state, meant)
        state.generations.on_all_changed()  # it names domains, too
        return changes

    def forget_home(self, is_home: Callable[[str], bool]) -> list[Change]:
        """Forgets the beliefs about hosts and prefixes of the home network, as the configuration defines it now."""
        state = self._state
        why, at = "it is on the local network", max(0.0, state.now)
        at_home = [key for key in state.stored if is_home(key[1].removeprefix("*.").partition("/")[0])]
        return [change for key in at_home for change in remove(state, key, at, why)]

    # -- below ---------------------------------------------------------------------------------------------------------

    def _at(self, now: float) -> BeliefState:
        state = self._state
        if state.latest <= now <= state.now + CLOCK_AHEAD_S:  # the usual case
            state.now = state.latest = now
        else:
            advance(state, now)
        return state
