"""Reads what was found out beside connections: by their flows, control pages, measurements, re-tests and checks of
certificates.

What an Outcome teaches is in `outcome_learning`.
"""

from __future__ import annotations

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.belief_table import BeliefTable
from proxy.detect.beliefs.events import (
    BlockMeasured,
    Carried,
    ControlAnswered,
    DirectDelivered,
    EventBeside,
    Intercepted,
    OpenMeasured,
    Retested,
    StrategyTried,
)
from proxy.detect.beliefs.host_lru import Key
from proxy.detect.beliefs.network_health import Delivery, NetworkHealth
from proxy.detect.beliefs.post_delivery import PostDelivery
from proxy.detect.beliefs.recovery import Recovery
from proxy.detect.beliefs.signal_counting import SignalCounting
from proxy.detect.scopes import registrable
from proxy.detect.signals import NEEDS_BYTES_PROOF, Observed, concerns
from proxy.model import DIRECT, Attempt, Cause, Change, ConnectivityResult, NetworkId, NetworkState, Stage


class EventLearning:
    """Learns from what happened beside connections. Belongs to one thread."""

    def __init__(
        self, settings: DetectTuning, counting: SignalCounting, post_delivery: PostDelivery, recovery: Recovery
    ) -> None:
        self._settings = settings
        self._counting = counting
        self._table: BeliefTable = counting.table
        self._network_health: NetworkHealth = counting.network_health
        self._post_delivery = post_delivery
        self._recovery = recovery

    def learn(self, event: EventBeside, network: NetworkId, now: float) -> list[Change]:
        """See `Beliefs.learn`."""
        match event:
            case DirectDelivered():
                return self._direct_delivered(event, network, now)
            case Carried():
                return self._carried(event, network, now)
            case ControlAnswered():
                return self._control_answered(event, network, now)
            case BlockMeasured():
                return self._block_measured(event, network, now)
            case OpenMeasured():
                return self._open_measured(event, network, now)
            case Intercepted():
                return self._intercepted(event, network, now)
            case Retested():
                return self._retested(event, network, now)
            case StrategyTried(host, route, ok):
                key = self._counting.governing((network, host), now)
                return self._recovery.strategy_result(key, route, now, ok=ok)

    def _direct_delivered(self, event: DirectDelivered, network: NetworkId, now: float) -> list[Change]:
        if self._table.is_near(event.host):
            return []
        domain = registrable(event.host)
        came_at = now if event.since is None else event.since
        self._network_health.on_direct_delivery(network, Delivery(domain, came_at))
        return self._counting.on_other_host_delivered(domain, network, now, came_at=came_at)

    def _carried(self, event: Carried, network: NetworkId, now: float) -> list[Change]:
        host_key = (network, event.host)
        if not event.route.is_direct:
            if event.count < self._settings.proof_bytes:
                return []
            return self._post_delivery.carried(host_key, event.route, now, bytes_s=event.bytes_s)
        key = self._counting.governing(host_key, now)
        belief = self._table.troubled(key, now)
        if belief is None or belief.cause not in NEEDS_BYTES_PROOF or event.count < self._settings.whole_bytes:
            return []
        thawed = self._counting.aggregation.note_thawed(host_key, now)
        if not self._counting.aggregation.represents(key, event.host):
            self._table.mark_working(host_key, now)
            return thawed
        return thawed + self._recovery.succeeded(key, belief, now, f"direct carried {event.count} bytes")

    def _control_answered(self, event: ControlAnswered, network: NetworkId, now: float) -> list[Change]:
        host, result = event.host, event.result
        news = self._network_health.on_control_answer(
            network, host, result, now, domestic=event.domestic, portal_page=event.portal
        )
        if result is ConnectivityResult.RESIGNED and event.issuer:
            return self._post_delivery.resigned(host, event.issuer, network, now, control=True)
        if self._network_health.state(network) is NetworkState.PORTAL:
            self._counting.pending.clear()
        if news:
            return self._counting.forget_recent(network, now)
        if result in (ConnectivityResult.WELL, ConnectivityResult.RESIGNED) and event.started <= now:
            return self._counting.on_other_host_delivered(registrable(host), network, now)
        return []

    def _block_measured(self, event: BlockMeasured, network: NetworkId, now: float) -> list[Change]:
        """Both gates were open when the measurement was made."""
        key, counting = (network, event.host), self._counting
        if self._table.is_near(event.host) or not self._network_health.may_learn(network, now):
            return []
        self._table.transient.pop(key)
        self._table.works.pop(key)
        seen = [Observed(event.signal, Attempt(DIRECT, Stage.DONE, address=event.address), now)]
        story = f"a measurement found: {event.text}; {event.winner} delivered"
        changes = counting.count(key, seen, story, now, winner=event.winner, protocol=event.protocol)
        changes += counting.aggregation.consider(key, now)
        return changes + counting.prefix_froze(key, event.winner, seen, now)

    def _open_measured(self, event: OpenMeasured, network: NetworkId, now: float) -> list[Change]:
        """A success like that of a re-test. Another program's hello opened the site: where the hello of browsers is
        what is blocked, that shows nothing."""
        key = (network, event.host)
        if self._table.is_near(event.host) or not self._network_health.may_learn(network, now):
            return []
        belief = self._table.troubled(self._counting.governing(key, now), now)
        if belief is not None and (belief.cause == Cause.ECH or not concerns(belief.cause, event.protocol)):
            return []
        self._table.transient.pop(key)
        changes = self._counting.aggregation.note_success(network, event.address, now)
        return changes + self._direct_opens(key, now, "direct delivered in a measurement")

    def _direct_opens(self, host_key: Key, now: float, why: str) -> list[Change]:
        """Direct brought what the cause of a block would have prevented, as `why` says."""
        network, host = host_key
        key = self._counting.governing(host_key, now)
        represents_scope = self._counting.aggregation.represents(key, host)
        belief = self._table.troubled(key, now)
        if belief is not None and (key == host_key or not represents_scope):
            self._table.mark_working(host_key, now)
        self._recovery.release(key)
        changes: list[Change] = []
        if belief is not None and represents_scope:
            changes += self._recovery.succeeded(key, belief, now, why)
        if belief is not None and belief.cause in NEEDS_BYTES_PROOF:
            changes += self._counting.aggregation.note_thawed(host_key, now)
        self._counting.pending.cancel(host_key)
        return changes + self._direct_delivered(DirectDelivered(host), network, now)

    def _intercepted(self, event: Intercepted, network: NetworkId, now: float) -> list[Change]:
        key = (network, event.host)
        if event.known:
            return self._post_delivery.intercepted_by_known(key, event.fingerprint, now)
        if event.trusted:
            return self._post_delivery.resigned(event.host, event.fingerprint, network, now, control=False)
        return self._post_delivery.intercepted(key, event.fingerprint, now)

    def _retested(self, event: Retested, network: NetworkId, now: float) -> list[Change]:
        host = event.host
        if event.direct_ok:
            return self._direct_opens((network, host), now, "direct delivered in a re-test")
        key = self._counting.governing((network, host), now)
        sent = now - self._settings.retest_pair_s
        well = self._network_health.well_since(network, registrable(host), sent) and self._network_health.may_learn(
            network, now
        )
        belief = self._table.troubled(key, now)
        alike = event.forged or belief is None or belief.cause != Cause.INTERCEPTION
        changes = self._recovery.failed(key, now, other_ok=event.other_ok, counts=well and alike)
        if event.other_ok:
            self._counting.aggregation.note_under(key, host, now)
            if alike and not well:
                self._counting.failed_again_later(key, (network, host), sent, now)
        return changes
