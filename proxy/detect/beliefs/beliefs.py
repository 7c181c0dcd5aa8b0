"""What we hold about each host on each network, and what an outcome changes about it.

Evidence before belief, a control before blame: a host becomes suspect only when another route delivered what direct did
not (the comparison gate of docs/detection.md, "Two gates"), and what was seen adds to its score only when another host
delivered direct meanwhile (the control gate). When nothing delivers it is `down` for a minute and nothing is learned.
Every belief has an age, a cause and a way back. Outcomes go in, changes come out for the store to keep; time and
network are arguments, and nothing is ever done by itself.

All of it is asked and told here, and done next door: outcomes are read in `learning`, which evidence counts is decided
in `judging`, what a belief becomes in `table`; the way back is in `recovery`, and what is seen apart from failing
attempts in `findings`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable

from proxy.config.schema import Detect
from proxy.detect.beliefs.belief_table import TROUBLED, BeliefTable, on_network
from proxy.detect.beliefs.network_health import Moment
from proxy.detect.beliefs.outcome_learning import DIRECT_WORKS_S, OutcomeLearning
from proxy.detect.beliefs.post_delivery import PostDelivery
from proxy.detect.beliefs.recovery import Recovery
from proxy.detect.beliefs.signal_counting import Refine, SignalCounting, unrefined
from proxy.detect.relay_health import Conditions
from proxy.detect.scopes import registrable
from proxy.detect.signals import NEEDS_BYTES_PROOF, concerns
from proxy.detect.verdict.results import Results, Visited
from proxy.detect.verdict.site_status import LastResult
from proxy.model import (
    UNKNOWN_NETWORK,
    Belief,
    Cause,
    Change,
    ConnectivityResult,
    IPAddress,
    NetworkId,
    NetworkState,
    Outcome,
    Protocol,
    Route,
    State,
)


class Beliefs:
    """All beliefs. Belongs to one thread."""

    def __init__(
        self,
        settings: Detect,
        known: Iterable[Belief] = (),
        *,
        rng: random.Random | None = None,
        listed: Callable[[str], bool] = lambda host: False,
        near: Callable[[str], bool] = lambda host: False,
        refine: Refine = unrefined,
    ) -> None:
        """`known` is what the store kept. `rng` draws the jitter of re-tests. `listed` says whether an imported list
        names a host: a prior for when something is seen of it, and no reason to doubt it before. `near` says whether a
        host is this computer or on its own network: that it delivers says nothing of the uplink. `refine` weighs each
        signal before it counts."""
        self._settings = settings
        self._table = BeliefTable(settings, known, rng if rng is not None else random.SystemRandom(), listed, near)
        self._counting = SignalCounting(settings, self._table, refine)
        self._post_delivery = PostDelivery(settings, self._counting)
        self._recovery = Recovery(settings, self._table)
        self._results = Results(settings)
        self._learning = OutcomeLearning(settings, self._counting, self._post_delivery, self._recovery, self._results)
        registrable("example.org")  # reads the suffix list now, and not while a first visitor waits
        self.residual = self._counting.residual
        """Addresses at which names were just broken off: what is tried there now fails for no reason of its own."""

    # -- asking ----------------------------------------------------------------------------------------------------

    def lookup(self, host: str, *, network: NetworkId, now: float, addresses: Iterable[IPAddress] = ()) -> Belief:
        """What we hold about `host`: itself, else the domain that speaks for it, else the prefix that holds all of its
        `addresses`. Its state is `unknown` when nothing is held."""
        self._tell_time(now)
        key = (network, host)
        held = self._table.current(key, now)
        if held is not None and held.state in TROUBLED:
            return held
        above = self._counting.aggregation.domain_over(key, now)
        if above is not None and self._counting.aggregation.speaks_for(above[1], key):
            return above[1]
        passing = self._table.current_transient(key, now)
        if passing is not None:
            return passing
        if held is not None and held.state is State.WORKS:
            return held
        working = self._table.working(key, now)
        if working is not None:
            return working.belief
        prefix = self._counting.aggregation.prefix_over(network, addresses, now)
        if prefix is not None:
            return prefix
        return held if held is not None else Belief(host, network)

    def all(self, *, now: float) -> list[Belief]:
        """Every belief but those of hosts that simply work."""
        self._tell_time(now)
        current = [belief for key in self._table.held if (belief := self._table.current(key, now)) is not None]
        passing = [belief for belief in self._table.transient.values() if now < belief.until]
        return [belief for belief in current if belief.state is not State.UNKNOWN] + passing

    def network_state(self, network: NetworkId) -> NetworkState:
        """What is held about a network as a whole."""
        return self._counting.network_health.state(network)

    def network_state_for(self, host: str, *, network: NetworkId, now: float) -> NetworkState:
        """The same as far as it concerns one host: a restricted network does not keep from it what delivered direct
        within the hour."""
        state = self._counting.network_health.state(network)
        if state is NetworkState.RESTRICTED:
            working = self._table.works.get((network, host))
            if working is not None and 0 <= now - working.at <= self._settings.restricted_known_s:
                return NetworkState.OK
        return state

    def comparison_due(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether the next plain HTTP request to `host` that is sent once only shall take another route than direct.

        A race compares routes with one request, which it sends on the second route when the first one fails. A POST is
        sent once, so a site that is only ever POSTed to would fail for ever: nothing else was tried, so nothing may be
        believed (comparison gate), so direct goes first again. Therefore direct's failure asks for the comparison: the
        next request makes it. Nothing is believed of the host until another route has delivered."""
        self._tell_time(now)
        waiting = self._counting.pending.uncompared((network, host), now)
        if waiting is None or self.is_near(host):
            return False
        return any(concerns(observed.signal.cause, Protocol.HTTP) for observed in waiting.observed)

    def is_near(self, host: str) -> bool:
        """Whether a host is this computer or on its own network, and no uplink leads there."""
        return self._table.is_near(host)

    def is_uneasy(self, network: NetworkId) -> bool:
        """Whether a control is to be asked beside visits though no signal waits: the network is in trouble that may
        end, or what came in the place of one site may come in the place of all."""
        return self._counting.network_health.is_uneasy(network)

    # -- results ---------------------------------------------------------------------------------------------------

    def last_result(self, host: str, *, network: NetworkId, now: float) -> LastResult | None:
        """What the last measurement of `host`, or the last connection to it that failed, came to; None: there was none
        of late, or it has been delivered since."""
        self._tell_time(now)
        return self._results.of((network, host), now)

    def recent_results(self, *, network: NetworkId, now: float, within_s: float) -> list[tuple[str, LastResult]]:
        """The hosts with a result of the last `within_s`, the latest first."""
        self._tell_time(now)
        return self._results.recent(network, now, within_s)

    def measured(self, host: str, result: LastResult, *, network: NetworkId) -> None:
        """Takes what a measurement of `host` came to."""
        key = (network, host)
        self._results.note(key, result)
        if (working := self._table.works.get(key)) is not None:
            working.renew_at = result.at  # its next success shall not take the short way past the results

    def visited(self, host: str, *, network: NetworkId) -> Visited | None:
        """What a client last asked `host` for; None when that is not known."""
        return self._results.visited((network, host))

    def may_blame_relays(self, network: NetworkId, now: float) -> bool:
        """Whether what fails at a relay may be its own fault: not offline, behind a portal, or just after waking."""
        return self._counting.network_health.may_blame_relays(network, now)

    def relay_conditions(self, host: str, *, network: NetworkId, now: float) -> Conditions:
        """Under which conditions relays were tried for `host` just now."""
        return Conditions(
            may_blame=self.may_blame_relays(network, now),
            clock_is_right=self._counting.network_health.certificates_are_valid(network, now),
            is_near=self.is_near(host),
            direct_worked_at=self._counting.network_health.worked_at(network),
        )

    # -- learning --------------------------------------------------------------------------------------------------

    def learn(
        self, outcome: Outcome, *, network: NetworkId, now: float, addresses: Iterable[IPAddress] = ()
    ) -> list[Change]:
        """Takes what one connection showed; `addresses` are what its name resolved to, where that is known. To be
        called when its race is decided, and again when an overtaken direct attempt has been judged
        (`Outcome.with_attempt`) or more was found out about it: what counted before does not count again.

        A Change whose `before` equals its `after` carries new numbers for the same state: to be kept, not told.
        """
        self._tell_time(now)
        return self._learning.learn(outcome, network=network, now=now, addresses=addresses)

    # -- the uplink ------------------------------------------------------------------------------------------------

    def delivered_direct(
        self, host: str, *, network: NetworkId, now: float, since: float | None = None
    ) -> list[Change]:
        """A direct connection to `host` brings bytes: of a tunnel that was opened long ago, say. It is no visit, and
        proves that the uplink is well. They may have come as early as `since`; without it, just now."""
        self._tell_time(now)
        if self.is_near(host):
            return self._table.with_pending([])
        domain = registrable(host)
        came_at = now if since is None else since
        self._counting.network_health.on_direct_delivery(network, Moment(domain, came_at))
        return self._table.with_pending(self._counting.on_other_host_delivered(domain, network, now, came_at=came_at))

    def control_wanted(self, network: NetworkId, now: float) -> bool:
        """Whether to ask a control page now, beside a visit: a signal waits, and the user's own traffic has not shown
        that the uplink is well; the caller has given it `control_after_s` for that. True claims it, for a minute; the
        caller reports with `on_control_answer`."""
        self._tell_time(now)
        return self._counting.network_health.control_wanted(
            network, now, waits=self._counting.pending.waits(network, now)
        )

    def may_be_control(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether a page of `host` can tell of the uplink: not while it is in trouble itself, or a sign waits of its
        domain."""
        if self.lookup(host, network=network, now=now).state in TROUBLED:
            return False
        return not self._counting.pending.pending_for_domain(network, registrable(host), now)

    def all_controls_wanted(self, network: NetworkId, now: float) -> bool:
        """Whether to ask all of them at once: so many unrelated hosts have failed that it may be the network, which
        only all together tell."""
        self._tell_time(now)
        return self._counting.network_health.seems_restricted(network, now)

    def suspect_portal(self, network: NetworkId) -> None:
        """Something came in a site's place, as a login page does: a control shall tell."""
        self._counting.network_health.suspect_portal(network)

    def doubt_if_quiet(self, network: NetworkId, now: float) -> bool:
        """A relay failed of itself: unless direct works, a control shall tell whether it is the network, as behind a
        captive portal. True: one is due."""
        if self._counting.network_health.well_since(network, "", now - DIRECT_WORKS_S):
            return False
        self.suspect_portal(network)
        return True

    def certificate_taken(self, network: NetworkId, now: float) -> None:
        """A client went on once it had seen the certificate that direct brought: it was no login page's."""
        self._tell_time(now)
        self._counting.network_health.trusted(network, now)

    def on_control_answer(
        self,
        host: str,
        sounding: ConnectivityResult,
        *,
        network: NetworkId,
        started: float,
        now: float,
        domestic: bool = False,
        issuer: str = "",
    ) -> list[Change]:
        """Takes what asking the control page of `host` showed, asked at `started`. `domestic`: its host is in the
        country itself; `issuer`: the fingerprint of who re-signed its certificate."""
        self._tell_time(now)
        news = self._counting.network_health.on_control_answer(network, host, sounding, now, domestic=domestic)
        if sounding is ConnectivityResult.RESIGNED and issuer:
            return self._table.with_pending(self._post_delivery.resigned(host, issuer, network, now, control=True))
        if self.network_state(network) is NetworkState.PORTAL:
            self._counting.pending.clear()
        if news:
            return self._table.with_pending(self._counting.forget_recent(network, now))
        if sounding in (ConnectivityResult.WELL, ConnectivityResult.RESIGNED) and started <= now:
            return self._table.with_pending(self._counting.on_other_host_delivered(registrable(host), network, now))
        return self._table.with_pending([])

    def network_changed(self, now: float) -> list[Change]:
        """Another uplink: what waits for a control can have none any more, and re-tests under way on the old one are
        not reported. Of a network without an identity nothing is kept, since the next one has none either."""
        self._tell_time(now)
        self._counting.pending.clear()
        self._recovery.forget_claims()
        self._counting.network_health.forget(UNKNOWN_NETWORK)
        self._counting.aggregation.forget(UNKNOWN_NETWORK)
        meant = on_network(UNKNOWN_NETWORK, None)
        return self._table.with_pending(self._table.forget(meant, "left a network that cannot be identified"))

    def on_resume(self, now: float) -> None:
        """The machine slept: what waits is void, and for a moment nothing is learned."""
        self._tell_time(now)
        self._counting.pending.clear()
        self._counting.network_health.on_resume(now)

    # -- flows, refusals, certificates -----------------------------------------------------------------------------

    def carried(
        self,
        host: str,
        route: Route,
        *,
        bytes_down: int,
        network: NetworkId,
        now: float,
        bytes_s: float = math.inf,
    ) -> list[Change]:
        """A route has carried `bytes_down` of a host so far, on one connection, up to `bytes_s` in a second. When a
        relay has carried enough, a direct flow that stopped was frozen by the network, and one that crawled was
        throttled when the relay is much faster; when direct has, it is no more."""
        self._tell_time(now)
        host_key = (network, host)
        if not route.is_direct:
            enough = bytes_down >= self._settings.proof_bytes
            return self._table.with_pending(
                self._post_delivery.carried(host_key, route, now, bytes_s=bytes_s) if enough else []
            )
        key = self._counting.governing(host_key, now)
        held = self._table.troubled(key, now)
        if held is None or held.cause not in NEEDS_BYTES_PROOF or bytes_down < self._settings.whole_bytes:
            return self._table.with_pending([])
        if not self._counting.aggregation.tells_of(key, host):
            self._table.mark_working(host_key, now)
            return self._table.with_pending([])
        return self._table.with_pending(self._recovery.succeeded(key, held, now, f"direct carried {bytes_down} bytes"))

    def intercepted(
        self,
        host: str,
        *,
        known: bool,
        fingerprint: str,
        network: NetworkId,
        now: float,
        trusted: bool = False,
    ) -> list[Change]:
        """Takes what a probe saw: a certificate of `host` that is not the site's, while a relay's was. `known`: signed
        by a root that is known to intercept, found anywhere in the chain; else `trusted` says whether the system trusts
        it, as it does an office's or an antivirus's. `fingerprint` is the root's, or the issuer's."""
        self._tell_time(now)
        key = (network, host)
        if known:
            return self._table.with_pending(self._post_delivery.intercepted_by_known(key, fingerprint, now))
        if trusted:
            return self._table.with_pending(
                self._post_delivery.resigned(host, fingerprint, network, now, control=False)
            )
        return self._table.with_pending(self._post_delivery.intercepted(key, fingerprint, now))

    # -- the way back ----------------------------------------------------------------------------------------------

    def retest_due(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether direct shall be tried beside this visit. True claims the re-test: the caller runs it and reports
        with `retested`; what success means, `recovery.retest_needs` says. Whether re-tests are wanted for this host at
        all is for the caller to know."""
        self._tell_time(now)
        return self._recovery.due(self._counting.governing((network, host), now), now)

    def retested(
        self,
        host: str,
        *,
        network: NetworkId,
        now: float,
        direct_ok: bool,
        other_ok: bool,
        forged: bool = False,
    ) -> list[Change]:
        """Takes what a pair of direct and another route showed. When both failed nothing changes. `forged`: direct
        brought a certificate that is not the site's, without which nothing more is known of an interception."""
        self._tell_time(now)
        key = self._counting.governing((network, host), now)
        is_told = self._counting.aggregation.tells_of(key, host)
        if direct_ok and (key == (network, host) or not is_told) and self._table.troubled(key, now) is not None:
            self._table.mark_working((network, host), now)
        uplink, sent = self._counting.network_health, now - self._settings.retest_pair_s
        well = uplink.well_since(network, registrable(host), sent) and uplink.may_learn(network, now)
        held = self._table.troubled(key, now)
        alike = forged or held is None or held.cause != Cause.INTERCEPTION
        changes: list[Change] = []
        if direct_ok and not is_told:
            self._recovery.release(key)
        else:
            changes += self._recovery.retested(key, now, direct_ok=direct_ok, other_ok=other_ok, counts=well and alike)
        if not direct_ok and other_ok:
            self._counting.aggregation.note_under(key, host, now)
        if not direct_ok and other_ok and alike and not well:
            self._counting.failed_again_later(key, (network, host), sent, now)
        if direct_ok:
            self._counting.pending.cancel((network, host))
            changes += self.delivered_direct(host, network=network, now=now)
        return self._table.with_pending(changes)

    def retest_unreported(self, host: str, *, network: NetworkId, now: float) -> None:
        """What `retest_due` or `rung_due` claimed has ended without a report: it is due again beside the next visit."""
        self._tell_time(now)
        self._recovery.release(self._counting.governing((network, host), now))

    def rung_due(self, host: str, *, network: NetworkId, now: float) -> bool:
        """Whether the local means shall be tried beside this visit of a host that a relay carries. True claims it: the
        caller tries them and reports each with `rung_result`."""
        self._tell_time(now)
        return self._recovery.rung_due(self._counting.governing((network, host), now), now)

    def rung_result(self, host: str, route: Route, *, ok: bool, network: NetworkId, now: float) -> list[Change]:
        """Takes whether a local means passed, tried beside a visit or in a race that found no echo of a name."""
        self._tell_time(now)
        key = self._counting.governing((network, host), now)
        return self._table.with_pending(self._recovery.rung_result(key, route, now, ok=ok))

    # -- forgetting ------------------------------------------------------------------------------------------------

    def forget(self, scope: str | None = None, network: NetworkId | None = None) -> list[Change]:
        """Forgets a host and all below it, with the domain that speaks for it, or all hosts; on one network, or on
        all."""
        meant = on_network(network, scope)
        for key in self._counting.pending.hosts():
            if meant(key):
                self._counting.pending.forget(key)
        for key in self._results.known():
            if meant(key):
                self._results.forget(key)
        if scope is None:
            self._counting.network_health.forget(network)
        return self._table.forget(meant)

    # -- below -----------------------------------------------------------------------------------------------------

    def _tell_time(self, now: float) -> None:
        if self._table.tell_time(now):
            self._counting.clock_set(now)
            self._post_delivery.clock_set()
            self._results.clock_set()
            self._recovery.forget_claims()
