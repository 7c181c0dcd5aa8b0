"""Checks, after a rescued visit, whether direct failed because of a wrong DNS answer.

The failure alone names no cause: a wrong address refuses, resets or stays silent like a blocked one. So the encrypted
resolver is asked as well, and where it gives other addresses, they are probed. The finding is added to the evidence of
the direct attempt, and `detect` learns once more from the outcome. The check does not delay the user and sends nothing
to the system's resolver.
"""

from __future__ import annotations

from proxy.detect.signals import NOT_JUDGED
from proxy.model import DIRECT, DOH, Action, DnsFinding, Outcome, Protocol, Route, SignalId, Stage
from proxy.net.tasks import spawn
from proxy.probe.same_flight import answers
from proxy.session.events import Delivered, Learned, OpenRecord
from proxy.session.services import Services
from proxy.session.setup import Setup
from proxy.wire.flight import Flight


class DnsCheck:
    """Starts checks beside rescued visits."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_delivered(self, visit: Delivered) -> None:
        """Starts a check when the visit was rescued from a failure that a wrong DNS answer can explain."""
        if self._is_due(visit.setup, visit.record.outcome):
            visit.record.retain()
            spawn(self._run(visit.setup, visit.record, visit.flight), name=f"diagnose {visit.record.outcome.host}")

    def _is_due(self, setup: Setup, visit: Outcome) -> bool:
        direct = next((a for a in visit.attempts if a.route == DIRECT), None)
        return (
            visit.winner not in (None, DIRECT)
            and visit.plan.action is Action.AUTO
            and direct is not None
            and direct.symptom not in NOT_JUDGED
            and "dns" not in direct.evidence
            and visit.request.destination.address is None
            and setup.settings.dns.secure == "on-suspicion"
            and not self._services.is_private(visit.host)
        )

    async def _run(self, setup: Setup, record: OpenRecord, flight: Flight) -> None:
        visit = record.outcome
        try:
            finding = await setup.resolver.compare(visit.request.destination.host)
            if finding is None:
                return
            works_there = await self._works_there(setup, visit, flight, finding)
            if works_there is not False:
                record.add_evidence(DIRECT, {"dns": finding.signal, "dns_detail": finding.detail})
            if (
                works_there and self._services.network() == record.network
            ):  # so the next visit can go direct by encrypted DNS
                now, host = self._services.now(), visit.host
                changes = self._services.beliefs.rung_result(host, DOH, ok=True, network=record.network, now=now)
                self._services.events.emit(Learned(changes))
        finally:
            record.release()

    async def _works_there(self, setup: Setup, visit: Outcome, flight: Flight, finding: DnsFinding) -> bool | None:
        """Whether direct works at the addresses that the secure resolver names; None when nothing hangs on it. A name
        that the system's resolver alone denies needs no more. Other addresses may as well be a CDN's, which names those
        near to who asks: they explain the failure when direct works there."""
        if finding.signal != SignalId.DNS_MISMATCH or any(_is_secure(a.route) and a.delivered for a in visit.attempts):
            return None
        tried = next((a for a in visit.attempts if a.route == DOH and a.stage is Stage.FIRST_BYTE), None)
        if tried is not None or flight.protocol not in (Protocol.TLS, Protocol.HTTP):
            return False
        return await answers(setup, self._services.tcp_info, visit, flight, DOH)


def _is_secure(route: Route) -> bool:
    return route.is_direct and "doh" in route.wrap
