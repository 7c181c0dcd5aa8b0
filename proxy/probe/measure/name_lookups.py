"""The name lookups of a measurement: by the system's resolver, and by encrypted DNS.

A suspect name, or one that the system's resolver answered wrongly before, is not looked up unencrypted again; a local
name is never sent to an outside resolver. The lookups also show whether only the local network's resolver knows the
name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from proxy.detect.signals import NOT_JUDGED
from proxy.model import DIRECT, DOH, Cause, Evidence, IPAddress, MeasurementStep, Route, StepKind, StepResult, Symptom
from proxy.model.errors import DialError
from proxy.model.phrase import _
from proxy.probe.measure.inputs import MeasurementRequest, ProbeEnvironment
from proxy.wire.hostnames import PRIVATE_SUFFIXES


class NameLookups:
    def __init__(
        self, env: ProbeEnvironment, request: MeasurementRequest, emit: Callable[[MeasurementStep], None]
    ) -> None:
        self._env = env
        self._request = request
        self._emit = emit
        self.place_known = asyncio.Event()
        """Set when the lookups have shown whether the name is one of the local network, and when they cannot show
        it."""

    async def addresses(self) -> tuple[list[IPAddress], list[IPAddress]]:
        """Returns the addresses from the system's resolver, and those from encrypted DNS: the first of each family;
        only the first in a brief measurement. Those from encrypted DNS are also among the system's if its whole answer
        has them: servers give the addresses of a site in any order. A literal host needs no lookup."""
        host = self._request.page.host
        literal = self._request.destination.address
        if literal is not None:
            return [literal], []
        why_not = self._why_not_plain()
        plain = await self._lookup(StepKind.RESOLVE, DIRECT, self._env.resolve, host, why_not)
        if (plain or why_not) and not self._env.may_be_local_zone(host):
            self.place_known.set()
        secure = await self._lookup(StepKind.SECURE, DOH, self._env.secure, host, self._why_not_secure(host, plain))
        self.place_known.set()
        if why_not:
            plain = await self._where_visits_go(host) or secure
        if plain and secure and plain is not secure:
            await self._compare(host)
        chosen = self._chosen(secure)
        return [*dict.fromkeys((*self._chosen(plain), *(each for each in chosen if each in plain)))], chosen

    async def _lookup(
        self,
        kind: StepKind,
        route: Route,
        resolve: Callable[[str], Awaitable[Sequence[IPAddress]]],
        host: str,
        why_not: str,
    ) -> list[IPAddress]:
        if why_not:
            self._emit(MeasurementStep(kind, route, StepResult.NOT_TESTED, text=why_not))
            return []
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            addresses = list(await resolve(host))
        except DialError as error:
            elapsed = round(loop.time() - began, 4)
            result = StepResult.NOT_TESTED if error.symptom in NOT_JUDGED else StepResult.FAILED
            self._emit(
                MeasurementStep(kind, route, result, error.symptom, str(error), "", elapsed, error.evidence.copy())
            )
            return []
        text = ", ".join(map(str, addresses[:4]))
        if len(addresses) > 4:
            text = _("{addresses} and {count} more", addresses=text, count=len(addresses) - 4)
        self._emit(MeasurementStep(kind, route, StepResult.OK, text=text, elapsed=round(loop.time() - began, 4)))
        return addresses

    async def _where_visits_go(self, host: str) -> list[IPAddress]:
        """Returns the address to which direct visits go while the name is not suspect, where the system's resolver led
        elsewhere than encrypted DNS. Else nothing: direct then connects to the addresses of encrypted DNS."""
        if self._request.belief.cause == Cause.DNS:  # it is known already
            return []
        address = await self._env.elsewhere(host)
        return [] if address is None else [address]

    async def _compare(self, host: str) -> None:
        """Emits a failed step when the system's answer is wrong by comparison."""
        try:
            finding = await self._env.compare(host)
        except DialError:
            return  # the two lookups have emitted their own steps
        if finding is not None:
            evidence: Evidence = {"dns": finding.signal}
            self._emit(
                MeasurementStep(
                    StepKind.RESOLVE, DIRECT, StepResult.FAILED, Symptom.FORGED, finding.detail, evidence=evidence
                )
            )

    def _why_not_plain(self) -> str:
        if self._env.settings.dns.secure == "never" or self._request.plan.is_home:
            return ""  # there is no other resolver
        if self._request.belief.hide_name_from_dns:
            return _("suspicious names are resolved by encrypted DNS only")
        if (finding := self._env.finding(self._request.page.host)) is not None:
            return _("the system's DNS gave a wrong answer before: {detail}", detail=finding.detail)
        if self._env.settings.dns.secure == "always":
            return _('`[dns] secure` is "always": no unencrypted DNS')
        return ""

    def _why_not_secure(self, host: str, plain: Sequence[IPAddress]) -> str:
        if self._env.settings.dns.secure == "never":
            return _('`[dns] secure` is "never"')
        # Without `.localhost`, which the encrypted resolver refuses with its own sentence.
        local = (*PRIVATE_SUFFIXES, *self._env.settings.dns.local)
        is_local = "." not in host or any(host == suffix or host.endswith(f".{suffix}") for suffix in local)
        if is_local or self._request.plan.is_home:
            return _("local names are not sent to encrypted DNS")
        if plain and not self._request.thorough and not self._env.may_be_local_zone(host):
            return _("the system's DNS answered")
        return ""

    def _chosen(self, addresses: Sequence[IPAddress]) -> list[IPAddress]:
        first = {address.version: address for address in reversed(addresses)}
        chosen = [address for address in addresses if first.get(address.version) is address]
        return chosen if self._request.thorough else chosen[:1]
