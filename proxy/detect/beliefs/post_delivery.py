"""Signals from direct attempts that delivered: flows that stop, wrong certificates, refusals.

A flow that froze or was slow makes its host suspect at once, and counts when a relay has carried more. A certificate of
a known interception root blocks at once, one of an unknown issuer after two checks. A site that refuses one route and
not another is reached by the other, and that is no block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.belief_table import TROUBLED, BeliefTable, unknown
from proxy.detect.beliefs.host_lru import HostLru, Key
from proxy.detect.beliefs.pending_signals import Waiting
from proxy.detect.beliefs.signal_counting import SignalCounting
from proxy.detect.beliefs.site_refusals import SiteRefusals
from proxy.detect.signals import Observed
from proxy.model import (
    DIRECT,
    Attempt,
    Cause,
    Change,
    NetworkId,
    NetworkState,
    Outcome,
    Route,
    Signal,
    SignalId,
    Stage,
    State,
    Symptom,
)

AGAIN_S = 3600.0
"""A second early reset within this time is a signal."""

_NEED_BYTES_PROOF = frozenset({SignalId.FROZEN, SignalId.THROTTLED})
"""Signals that count once a relay has carried what direct did not."""


class PostDelivery:
    """Finds the signals of direct attempts that delivered. Belongs to one thread."""

    def __init__(self, settings: DetectTuning, counting: SignalCounting) -> None:
        self._settings = settings
        self._counting = counting
        self._table: BeliefTable = counting.table
        self._refusals = SiteRefusals(settings)
        self.statuses_of = self._refusals.statuses_of
        """The statuses of a site that are compared with those of other routes; None: there are none."""
        self._early: HostLru[float] = HostLru(total=settings.hosts_max, per_domain=settings.hosts_per_domain_max)

    def on_clock_set(self) -> None:
        """Drops all dates, which are void."""
        self._refusals.clear()
        self._early.clear()

    def forget(self, meant: Callable[[Key], bool]) -> None:
        """Forgets the hosts that are meant."""
        self._refusals.forget(meant)
        for key in filter(meant, self._early):
            self._early.pop(key)

    def carried(self, key: Key, route: Route, now: float, *, bytes_s: float = math.inf) -> list[Change]:
        """A relay has carried enough, at up to `bytes_s`: the signals of a frozen or throttled flow count, unless the
        site is slow on every route."""
        waiting = self._counting.pending.proven(key, now)
        if waiting is None or not self._counting.network_health.may_learn(key[0], now):
            return []
        if bytes_s < self._settings.throttled_faster * max(map(_direct_rate, waiting.observed)):
            self._counting.pending.prove_later(key, waiting)  # it may become faster yet
            return []
        changes = self._counting.count(key, list(waiting.observed), waiting.story, now, winner=route)
        changes += self._counting.aggregation.consider(key, now)
        return changes + self._counting.prefix_froze(key, route, list(waiting.observed), now)

    def spoiled(self, key: Key, uncounted: list[Observed], direct: Attempt, now: float) -> list[Change]:
        """Direct delivered, but with signals: the host is suspect at once, and they count when another route does
        better."""
        if direct.symptom is Symptom.RESET and not self._early_again(key, now):
            return []
        if not uncounted or not self._counting.network_health.may_learn(key[0], now):
            return []
        self._table.works.pop(key)
        proofs = [observed for observed in uncounted if observed.signal.id in _NEED_BYTES_PROOF]
        others = [observed for observed in uncounted if observed.signal.id not in _NEED_BYTES_PROOF]
        ids = ", ".join(observed.signal.id for observed in uncounted)
        story = f"direct answered, but: {ids}{f' ({direct.error})' if direct.error else ''}"
        if proofs:
            self._counting.pending.prove_later(key, Waiting(tuple(proofs), now, story))
        if others:
            self._counting.pending.await_other_route(key, others, now)
        return self._counting.count(key, [], story, now, winner=None, hint=uncounted[-1].signal.cause)

    def _early_again(self, key: Key, now: float) -> bool:
        """Whether a reset early in the answer is the second within the hour: many programs close that way once."""
        before = self._early.get(key)
        self._early.put(key, now)
        return before is not None and 0 <= now - before <= AGAIN_S

    def refused(self, outcome: Outcome, key: Key, now: float) -> list[Change]:
        """A site that answers 403, 429 or 451 on one route and not on another prefers the other for `refused_s`."""
        preferred = self._refusals.note(key, outcome, now)
        if preferred is None:
            return []
        lasts_s = self._settings.refused_s
        if preferred.all_refuse:
            why = f"every tested route gets HTTP {preferred.status}"
            self._table.set_transient(key, State.REFUSED, Cause.REFUSED, why, lasts_s=lasts_s, now=now)
            return []
        belief = self._table.current(key, now)
        if preferred.route.is_direct or (belief is not None and belief.state in TROUBLED):
            return []
        self._table.works.pop(key)
        before = belief or unknown(key, now)
        why = f"direct gets HTTP {preferred.status}, {preferred.route} does not"
        after = replace(
            before,
            state=State.SUSPECT,
            cause=Cause.REFUSED,
            since=now,
            began=before.began or now,
            until=now + lasts_s,
            last_good=str(preferred.route),
            last_good_at=now,
            why=why,
        )
        return self._table.write(key, before, after, now)

    def resigned(self, host: str, issuer: str, network: NetworkId, now: float, *, control: bool) -> list[Change]:
        """A trusted certificate of an issuer in no public log came for `host`. When that shows that the whole network
        is inspected, beliefs of interception are forgotten."""
        if not self._counting.network_health.resigned(network, host, issuer, control=control):
            return []
        changes: list[Change] = []
        for key, belief in self._table.stored.items():
            if key[0] == network and belief.state in TROUBLED and belief.cause == Cause.INTERCEPTION:
                changes += self._table.remove(
                    key, now, "TLS is intercepted on this network by a CA that this computer trusts"
                )
        return changes

    def intercepted_by_known(self, key: Key, fingerprint: str, now: float) -> list[Change]:
        """A root that is known to intercept signed the certificate: proof, which needs no gate."""
        before = self._table.current(key, now) or unknown(key, now)
        after = replace(
            before,
            cause=Cause.INTERCEPTION,
            why=f"certificate signed by a known interception root ({fingerprint[:16]})",
        )
        if before.state is State.BLOCKED:
            return self._table.write(key, before, replace(after, until=now + self._settings.unvisited_s), now)
        self._table.works.pop(key)
        return self._table.set_blocked(key, before, after, now)

    def intercepted(self, key: Key, fingerprint: str, now: float) -> list[Change]:
        """An unknown issuer, which the system does not trust, signed the certificate."""
        uplink = self._counting.network_health
        if uplink.state(key[0]) is NetworkState.INSPECTED or not uplink.may_learn(key[0], now):
            return []
        self._table.works.pop(key)
        signal = Signal(SignalId.TLS_BAD_CERT, self._settings.weights.tls_bad_cert, Cause.INTERCEPTION, now)
        seen = Observed(signal, Attempt(DIRECT, Stage.DONE), now - self._settings.uplink_window_s)
        story = f"wrong certificate, from an unknown issuer ({fingerprint[:16]})"
        counting, waiting, _ = self._counting.split_by_control(key, [seen], now)
        if waiting:
            self._counting.pending.wait(key, waiting, story, now)
        return self._counting.count(key, counting, story, now, winner=None, hint=Cause.INTERCEPTION)


def _direct_rate(observed: Observed) -> float:
    """Bytes a second of a direct flow that was throttled; 0 when it stopped."""
    rate = observed.attempt.evidence.get("bytes_s", 0)
    return float(rate) if observed.signal.id is SignalId.THROTTLED else 0.0
