"""Checks, after a rescued visit, whether direct failed because of a wrong DNS answer.

The failure alone shows no cause: a wrong address refuses, resets or stays silent like a blocked one. So the name is
resolved by encrypted DNS as well, and if that gives other addresses, they are probed. The finding is added to the
evidence of the direct attempt, and `detect` learns again from the outcome. The check does not delay the user and sends
nothing to the system's resolver.
"""

from __future__ import annotations

from proxy.detect.beliefs.events import StrategyTried
from proxy.detect.signals import NOT_JUDGED
from proxy.model import DIRECT, DOH, Action, DnsFinding, Outcome, Protocol, SignalId, Stage, Symptom
from proxy.net.tasks import spawn
from proxy.probe.same_flight import gets_answer
from proxy.session.events import OpenRecord, Rescued
from proxy.session.services import Services
from proxy.session.setup import Setup
from proxy.wire.flight import Flight


class DnsCheck:
    """Starts checks beside rescued visits."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_rescued(self, visit: Rescued) -> None:
        """Starts a check when the visit was rescued from a failure that a wrong DNS answer can explain."""
        if self._is_due(visit.setup, visit.outcome):
            visit.record.retain()
            spawn(self._run(visit.setup, visit.record, visit.flight), name=f"check DNS of {visit.outcome.host}")

    def _is_due(self, setup: Setup, visit: Outcome) -> bool:
        if visit.winner in (None, DIRECT) or visit.plan.action is not Action.AUTO:
            return False
        direct = next((a for a in visit.attempts if a.route == DIRECT), None)
        return (
            direct is not None
            and direct.symptom not in NOT_JUDGED
            and "dns" not in direct.evidence
            and visit.request.destination.address is None
            and setup.settings.dns.secure == "on-suspicion"
            and not self._services.is_private(visit.host)
        )

    async def _run(self, setup: Setup, record: OpenRecord, flight: Flight) -> None:
        visit = record.outcome
        try:
            if any(a.pending and a.stage is not Stage.RESOLVE for a in visit.attempts):
                await record.direct_judged()  # another route starts beside a direct attempt that may only be slow
                direct = record.outcome.direct_attempt
                if direct is None or direct.delivered or direct.symptom is Symptom.ABANDONED:
                    return
            finding = await setup.resolver.compare(visit.request.destination.host)
            if finding is None:
                return
            works = await self._works_by_doh(setup, visit, flight, finding)
            if works is not False:
                record.add_evidence(DIRECT, {"dns": finding.signal, "dns_detail": finding.detail})
            if works and self._services.network() == record.network:
                # The next visit can go direct to the address from encrypted DNS.
                self._services.learn(StrategyTried(visit.host, DOH, ok=True), record.network)
        finally:
            record.release()

    async def _works_by_doh(self, setup: Setup, visit: Outcome, flight: Flight, finding: DnsFinding) -> bool | None:
        """Whether direct works at the addresses from encrypted DNS; None when the finding needs no such proof. A CDN
        gives different addresses to different resolvers, so other addresses explain the failure of direct only when
        direct works there."""
        delivered_by_doh = any(a.delivered and a.route.is_direct and "doh" in a.route.wrap for a in visit.attempts)
        if finding.signal != SignalId.DNS_MISMATCH or delivered_by_doh:
            return None
        failed_by_doh = any(a.route == DOH and a.stage is Stage.FIRST_BYTE for a in visit.attempts)
        if failed_by_doh or flight.protocol not in (Protocol.TLS, Protocol.HTTP):
            return False
        services = self._services
        return await gets_answer(setup, services.tcp_info, services.hello_turn, visit, flight, DOH)
