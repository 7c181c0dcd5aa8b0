"""Reads an outcome: which routes delivered and which failed, compared with each other.

Whether direct delivered, another route did, or none, each says something else about the host and about the network.
Which signals count is decided in `signal_counting`, and what becomes of a belief in `belief_table`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.basis import Bases, Basis
from proxy.detect.beliefs.belief_table import RENEW_S, TROUBLED, BeliefTable
from proxy.detect.beliefs.host_lru import Key
from proxy.detect.beliefs.network_health import Delivery
from proxy.detect.beliefs.post_delivery import PostDelivery
from proxy.detect.beliefs.recovery import Recovery
from proxy.detect.beliefs.score import NEGLIGIBLE, score_now
from proxy.detect.beliefs.signal_counting import SignalCounting
from proxy.detect.beliefs.site_refusals import REFUSALS
from proxy.detect.scopes import registrable
from proxy.detect.signals import (
    NOT_JUDGED,
    SURVIVES_FIRST_BYTE,
    Observed,
    concerns,
    redirected_only_direct,
    same_for_all,
)
from proxy.detect.verdict.results import DIRECT_WORKS_S, HTTPS, Results
from proxy.model import (
    DIRECT,
    DOH,
    NO_EVIDENCE,
    REUSED,
    Attempt,
    Belief,
    Cause,
    Change,
    Inbound,
    IPAddress,
    NetworkId,
    NetworkState,
    Outcome,
    Protocol,
    Route,
    Stage,
    State,
    Symptom,
    literal,
)
from proxy.model.bounded import Bounded

_UNTRIED = (Symptom.SKIPPED, Symptom.LOCAL)
_UNCOMPARED = (*_UNTRIED, Symptom.ABANDONED)

VISIT_S = 3600.0
"""Seconds between two visits that each extend the belief about a blocked host, and are stored."""

_SETTLED_MAX = 4096
"""Hosts of which a settled visit is remembered."""


class _SettledVisit(NamedTuple):
    """A visit that a relay delivered, and that taught nothing: nor does the next one like it."""

    route: Route
    protocol: Protocol
    port: int
    until: float
    basis: Basis
    """What was believed of the host."""


class OutcomeLearning:
    """Reads outcomes. Belongs to one thread."""

    def __init__(
        self,
        settings: DetectTuning,
        counting: SignalCounting,
        post_delivery: PostDelivery,
        recovery: Recovery,
        results: Results,
        addresses: Callable[[str], Iterable[IPAddress]],
        bases: Bases,
    ) -> None:
        self._settings = settings
        self._addresses = addresses
        self._results = results
        self._counting = counting
        self._table: BeliefTable = counting.table
        self._network_health = counting.network_health
        self._post_delivery = post_delivery
        self._recovery = recovery
        self._bases = bases
        self._settled: Bounded[Key, _SettledVisit] = Bounded(_SETTLED_MAX)

    def learn(self, outcome: Outcome, *, network: NetworkId, now: float) -> list[Change]:
        """See `Beliefs.learn`."""
        key = (network, outcome.host or outcome.request.destination.host)
        winner = outcome.winner
        if winner is not None and len(outcome.attempts) == 1:
            if not winner.relays and not winner.wrap:
                changes = self.works_again(key, outcome.attempts[0], now)
                if changes is not None:
                    return changes
            elif self._is_served_again(key, outcome, now):
                return []
        if outcome.request.inbound is Inbound.RETEST:  # `Retested` tells of the pair
            return self._table.with_pending([])
        if (working := self._table.works.get(key)) is not None:
            working.is_undisturbed = False
        self._settled.pop(key, None)
        if self._network_health.unresolved or (outcome.attempts and outcome.attempts[0].stage is Stage.RESOLVE):
            self._note_resolver(key, outcome)
        since = min(outcome.at or now, now) - DIRECT_WORKS_S
        direct_works = self._network_health.well_since(network, registrable(key[1]), since)
        if working is not None and working.at >= since and outcome.request.destination.port != HTTPS:
            direct_works = True  # the site itself, on another port
        self._results.learn(outcome, key, now, direct_works=direct_works)
        if outcome.plan.is_home:  # no other route may be compared, and it tells nothing about the uplink
            if winner is not None:
                self._table.mark_working(key, now, is_home=True)
            return self._table.with_pending([])
        changes = self._learn(outcome, key, now)
        if self._post_delivery.statuses_of(key) is not None and (working := self._table.works.get(key)) is not None:
            working.is_undisturbed = False  # a later status counts, too
        if winner is not None and winner.relays and not changes and self._is_settled(outcome, key):
            port, basis = outcome.request.destination.port, self._bases.get(key)
            if basis is not None:
                self._settled[key] = _SettledVisit(
                    winner, outcome.protocol, port, min(now + RENEW_S, basis.until), basis
                )
        return self._table.with_pending(changes)

    def _note_resolver(self, key: Key, outcome: Outcome) -> None:
        """Notes whether the system's resolver answered. Of a name that is hidden from it, plain direct asks encrypted
        DNS, and there is no other route that does."""
        direct, (network, host) = outcome.direct_attempt, key
        if direct is None or direct.symptom in NOT_JUDGED:
            return
        if direct.stage is Stage.RESOLVE:
            is_silent = direct.symptom in (Symptom.RESOLVE_FAILED, Symptom.TIMEOUT)
            if is_silent and any(attempt.route == DOH for attempt in outcome.attempts):
                self._network_health.on_unresolved(network, registrable(host))
            return
        belief = self._table.stored.get(key)
        if direct.address and literal(host) is None and not (belief is not None and belief.hide_name_from_dns):
            self._network_health.on_resolved(network)

    def disturb(self, key: Key | None = None) -> None:
        """Something else was noted of a host, or of all hosts, so that the next visit is read as a whole."""
        if key is None:
            self._settled.clear()
            return
        self._settled.pop(key, None)
        if (working := self._table.works.get(key)) is not None:
            working.is_undisturbed = False

    def _is_settled(self, outcome: Outcome, key: Key) -> bool:
        """Whether the next visit like this one teaches nothing, as long as the beliefs about the host stay."""
        return (
            self._is_unremarkable(outcome)
            and self._network_health.state(key[0]) is NetworkState.OK
            and self._post_delivery.statuses_of(key) is None
            and not self._results.knows(key)
        )

    def _is_served_again(self, key: Key, outcome: Outcome, now: float) -> bool:
        """Whether a relay delivered as it did before, which teaches nothing."""
        settled = self._settled.get(key)
        return (
            settled is not None
            and now < settled.until
            and not settled.basis.changed
            and not self._counting.pending.waiting
            and settled.route == outcome.winner
            and settled.protocol is outcome.protocol
            and settled.port == outcome.request.destination.port
            and self._is_unremarkable(outcome)
        )

    def _is_unremarkable(self, outcome: Outcome) -> bool:
        """Whether one route was tried and delivered, nothing is to be said of it but how soon it was open, and its
        bytes prove nothing."""
        if len(outcome.attempts) != 1 or outcome.bytes_down >= self._settings.proof_bytes:
            return False
        attempt = outcome.attempts[0]
        evidence = attempt.evidence
        return (
            attempt.stage is Stage.DONE
            and attempt.symptom is Symptom.NONE
            and (not evidence or (len(evidence) == 1 and "opened_s" in evidence))
        )

    def works_again(self, key: Key, attempt: Attempt, now: float) -> list[Change] | None:
        """See `Beliefs.works_again`."""
        working = self._table.works.get(key)
        if working is None or now >= working.renew_at or not working.is_undisturbed:
            return None
        evidence = attempt.evidence
        if attempt.stage is not Stage.DONE or attempt.symptom is not Symptom.NONE:
            return None
        if (
            evidence is not NO_EVIDENCE
            and evidence is not REUSED
            and ("dns" in evidence or "elsewhere" in evidence or evidence.get("status") in REFUSALS)
        ):
            return None
        working.at = now
        if working.is_near:
            return []
        if self._results.waiting:
            self._results.on_direct_delivery(key[0], working.domain, now)
        network = key[0]
        record = self._network_health.records.get(network)
        if record is None or record.last is not working or record.state is not NetworkState.OK:
            self._network_health.on_direct_delivery(network, working)
        if self._counting.pending.waiting:
            return self._counting.on_other_host_delivered(working.domain, network, now)
        return []

    def _learn(self, outcome: Outcome, key: Key, now: float) -> list[Change]:
        winner, direct = outcome.winner, outcome.direct_attempt
        uncounted = self._counting.uncounted_signals(outcome, key, now)
        self._learn_network(outcome, direct, key, now)
        # Another route is redirected to the same place as direct: then direct reaches the site.
        is_sites_own = direct is not None and direct.symptom is Symptom.REDIRECTED and same_for_all(outcome, direct)
        if is_sites_own or (direct.stage is Stage.DONE if direct is not None else winner == DIRECT):
            if direct is not None and not is_sites_own and (uncounted or direct.symptom):
                return self._post_delivery.spoiled(key, uncounted, direct, now) + self._counting.release_waiting(
                    key, now
                )
            late = direct is not None and winner != DIRECT
            if late:
                self._on_direct_delivery(key, now)
            changes = self._direct_delivered(key, outcome.protocol, late=late, now=now)
            if direct is not None:
                changes += self._counting.aggregation.note_success(key[0], direct.address, now)
            return changes + self._post_delivery.refused(outcome, key, now) + self._counting.release_waiting(key, now)
        if winner is None or winner == DIRECT:  # the latter: direct's invalid answer was the best there was
            return self._nothing_delivered(key, outcome, uncounted, now)
        if direct is not None and direct.symptom not in NOT_JUDGED:
            changes = self._counting.on_rescue(key, winner, outcome.protocol, uncounted, _story(direct, winner), now)
            changes += self._counting.prefix_failed(key, winner, uncounted, self._addresses, now)
        else:
            changes = self._other_delivered(key, winner, outcome.protocol, now)
        changes += self._learn_strategies(outcome, key, now)
        changes += self._post_delivery.refused(outcome, key, now) + self._counting.release_waiting(key, now)
        if outcome.bytes_down >= self._settings.proof_bytes:
            changes += self._post_delivery.carried(key, winner, now)
        return changes

    def _learn_network(self, outcome: Outcome, direct: Attempt | None, key: Key, now: float) -> None:
        """Learns about the network, whatever the outcome says about the host."""
        network, winner = key[0], outcome.winner
        if winner is not None and not winner.relays:
            self._on_direct_delivery(key, now)
        elif winner is not None:
            self._network_health.online(network)
        if (by_relay := _got_through(outcome)) is not None:
            self._network_health.relayed(network, delivered=by_relay)
        if winner is None and _is_name(outcome) and _has_no_way_out(outcome, direct):
            self._network_health.offline(network)
            self._counting.pending.clear()
        if direct is not None and "elsewhere" in direct.evidence and redirected_only_direct(outcome, direct):
            self._network_health.suspect_portal(network)
        if winner is None and direct is not None and direct.symptom is Symptom.FORGED:
            self._network_health.suspect_portal(network)  # one that leads all names to itself does so, too

    def _on_direct_delivery(self, key: Key, now: float) -> None:
        if not self._table.is_near(key[1]):
            self._network_health.on_direct_delivery(key[0], Delivery(registrable(key[1]), now))
            if self._results.waiting:
                self._results.on_direct_delivery(key[0], registrable(key[1]), now)

    def _direct_delivered(self, key: Key, protocol: Protocol, *, late: bool, now: float) -> list[Change]:
        if self._table.transient.get(key) is not None:
            self._table.transient.pop(key)
        belief = self._table.current(key, now) if self._table.stored.get(key) is not None else None
        if belief is not None and belief.state in TROUBLED and not concerns(belief.cause, protocol):
            return []
        self._counting.pending.cancel(key)
        if late and belief is not None:
            return self._slow(key, belief, now)
        self._table.mark_working(key, now)
        if belief is None or (belief.state is State.WORKS and belief.score < NEGLIGIBLE):
            return []
        if belief.state in TROUBLED and belief.cause in SURVIVES_FIRST_BYTE:
            return []  # a first byte always came, also while it was blocked
        # In this minute a failure or a success has counted already.
        if now - belief.scored_at < self._settings.signal_interval_s:
            return (
                []
                if belief.state is not State.UNKNOWN
                else self._table.set_works(key, belief, belief, now, "direct answered")
            )
        if belief.state is State.BLOCKED:
            return self._recovery.succeeded(key, belief, now, "a visit was delivered direct")
        score = score_now(belief, now, self._settings) / self._settings.whole_page_divisor
        better = replace(belief, score=score, scored_at=now)
        if belief.state is State.SUSPECT and score >= self._settings.suspect_score:
            return self._table.write(key, belief, replace(better, until=self._table.suspect_until(better, now)), now)
        return self._table.set_works(key, belief, better, now, "direct answered")

    def _slow(self, key: Key, belief: Belief, now: float) -> list[Change]:
        """Direct answered after another route had won: a slow host is not a suspect one."""
        if belief.state is State.BLOCKED or (
            belief.signal_at and now - belief.signal_at < self._settings.signal_interval_s
        ):
            return []
        if belief.state is State.SUSPECT and score_now(belief, now, self._settings) >= self._settings.suspect_score:
            return []
        self._table.mark_working(key, now)
        return self._table.set_works(key, belief, belief, now, "direct was slow and answered after another route")

    def _nothing_delivered(self, key: Key, outcome: Outcome, uncounted: list[Observed], now: float) -> list[Change]:
        """Nothing to compare with: the signals of direct wait in case another route delivers within half a minute."""
        compared = _was_compared(outcome)
        if not uncounted:
            if compared:
                self._counting.pending.compared(key)
            return []
        self._counting.pending.await_other_route(key, uncounted, now, compared=compared)
        changes = self._counting.suspect_network(key, now)
        if outcome.request.destination.port != HTTPS and self._table.works.get(key) is not None:
            return changes  # a port that is closed is not the site
        undecided = any(a.pending or a.symptom is Symptom.ABANDONED for a in outcome.attempts)
        if undecided or self._table.troubled(self._counting.governing(key, now), now) is not None:
            return changes
        others = sum(not a.route.is_direct for a in outcome.attempts)
        kind = uncounted[-1].signal.id
        why = f"no route delivered: direct failed ({kind}), and {others} more failed" if others else (
            f"direct failed ({kind}); no other route to compare"
        )  # fmt: skip
        self._table.set_transient(key, State.DOWN, Cause.DOWN, why, lasts_s=self._settings.down_s, now=now)
        return changes

    def _other_delivered(self, host: Key, winner: Route, protocol: Protocol, now: float) -> list[Change]:
        """Another route delivered, and direct was not tried, or what stopped it says nothing."""
        self._table.transient.pop(host)
        late = self._counting.pending.uncompared(host, now)
        waiting = self._counting.pending.take_for(host, now)
        if (unexplained := waiting or late) is not None:
            kind = unexplained.observed[-1].signal.id
            why = f"direct failed ({kind}); {winner} delivered {now - unexplained.since:.0f} s later"
            # After the comparison gate has closed it is still a rescue, by two requests, but no evidence.
            observed = list(waiting.observed) if waiting is not None else []
            return self._counting.on_rescue(host, winner, protocol, observed, why, now)
        key = self._counting.governing(host, now)
        belief = self._table.troubled(key, now)
        if belief is None or not concerns(belief.cause, protocol):
            return []
        renewed = replace(belief, last_good=str(winner), last_good_at=now)
        if belief.state is State.BLOCKED:
            renewed = replace(renewed, until=now + self._settings.unvisited_s)
        if renewed.last_good == belief.last_good and now - belief.last_good_at < VISIT_S:
            return []
        return self._table.write(key, belief, renewed, now)

    def _learn_strategies(self, outcome: Outcome, host: Key, now: float) -> list[Change]:
        """Learns which local strategies failed where another route delivered."""
        if not [attempt for attempt in outcome.attempts if attempt.route.wrap and attempt.symptom]:
            return []
        key = self._counting.governing(host, now)
        belief = self._table.troubled(key, now)
        if belief is None or not concerns(belief.cause, outcome.protocol):
            return []
        useless = [a.route for a in outcome.attempts if a.route.wrap and self._is_useless(a, outcome, host, now)]
        return self._recovery.strategies_failed(key, useless, now)

    def _is_useless(self, rung: Attempt, outcome: Outcome, host: Key, now: float) -> bool:
        """Whether a strategy that failed cannot help here. An alert or a close comes from a server that rejects a
        fragmented ClientHello. Any other failure may be residual blocking after the plain one of the same race."""
        if not rung.route.is_direct or rung.symptom in NOT_JUDGED or rung.symptom in (Symptom.NONE, Symptom.ABANDONED):
            return False
        if rung.stage is not Stage.FIRST_BYTE:
            return False
        if rung.symptom in (Symptom.ALERT, Symptom.EOF):
            return True
        plain = any(a.route == DIRECT and a.stage is Stage.FIRST_BYTE for a in outcome.attempts)
        return not plain and not self._counting.residual.in_residual_window(rung.address, host[0], now)


def _was_compared(outcome: Outcome) -> bool:
    """Whether the race could try other routes than direct with this request, or tried one to its end. A fault of a
    relay itself is no comparison."""
    http = outcome.request.http
    return (
        http is None
        or http.is_repeatable
        or any(
            a.route != DIRECT and not a.pending and a.symptom not in _UNCOMPARED and not a.symptom.blames_relay
            for a in outcome.attempts
        )
    )


def _has_no_way_out(outcome: Outcome, direct: Attempt | None) -> bool:
    """Whether this computer has no route to the site. Where the resolver runs on this computer and only says that it
    failed, other attempts show it."""
    if direct is None or direct.symptom is Symptom.OFFLINE:
        return direct is not None
    failed = direct.stage is Stage.RESOLVE and direct.symptom is Symptom.RESOLVE_FAILED
    return failed and any(attempt.symptom is Symptom.OFFLINE for attempt in outcome.attempts)


def _is_name(outcome: Outcome) -> bool:
    """Whether the destination is a name: a computer without IPv6 has no route to an IPv6 literal, and is online."""
    return outcome.request.destination.address is None


def _got_through(outcome: Outcome) -> bool | None:
    """Whether a relay delivered, of those that were tried to the end; None: none was."""
    relayed = [attempt for attempt in outcome.attempts if attempt.route.relays]
    if not relayed:
        return None  # most
    if any(attempt.delivered for attempt in relayed):
        return True
    left = outcome.winner is None
    tried = [
        a for a in relayed if a.symptom not in _UNTRIED and not (left and (a.pending or a.symptom is Symptom.ABANDONED))
    ]
    return False if tried else None


def _story(direct: Attempt, winner: Route) -> str:
    """How direct failed and another route delivered, in half a sentence."""
    from proxy.detect.verdict.labels import stage_in_words  # with the first site that is rescued

    if direct.pending or direct.symptom is Symptom.ABANDONED:
        return (
            f"direct did not answer within {direct.elapsed:.1f} s ({stage_in_words(direct.stage)}); {winner} delivered"
        )
    said = direct.error or str(direct.symptom)
    where = "" if direct.stage is Stage.FIRST_BYTE else f" ({stage_in_words(direct.stage)})"
    after = f" after {direct.elapsed:.1f} s" if direct.elapsed >= 0.1 else ""
    return f"direct failed{after}{where}: {said}; {winner} delivered"
