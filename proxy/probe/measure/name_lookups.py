"""What resolvers say of a site's name, the system's and a secure one.

A name that was once suspect, or about which the system's resolver lied, is not asked in clear again; a local one is
never sent to an outside resolver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from proxy.detect.signals import NOT_JUDGED
from proxy.model import DIRECT, DOH, Evidence, IPAddress, MeasurementStep, Route, StepKind, StepResult, Symptom
from proxy.model.errors import DialError
from proxy.probe.measure.inputs import MeasurementRequest, ProbeEnvironment, Resolve
from proxy.wire.hostnames import PRIVATE_SUFFIXES


class NameLookups:
    """The names of one measurement."""

    def __init__(
        self, env: ProbeEnvironment, request: MeasurementRequest, emit: Callable[[MeasurementStep], None]
    ) -> None:
        self._env = env
        self._request = request
        self._emit = emit

    async def addresses(self) -> tuple[list[IPAddress], list[IPAddress]]:
        """What the system's resolver and the secure one say: one address of each family. A literal is both."""
        host = self._request.page.host
        literal = self._request.destination.address
        if literal is not None:
            return [literal], []
        why_not = self._why_not_in_clear()
        plain = await self._lookup(StepKind.RESOLVE, DIRECT, self._env.resolve, host, why_not)
        secure = await self._lookup(StepKind.SECURE, DOH, self._env.secure, host, self._why_not_secure(host, plain))
        if why_not:
            plain = secure  # where direct goes now
        elif plain and secure and self._env.compare is not None:
            await self._compare(host)
        return self._chosen(plain), self._chosen(secure)

    async def _lookup(
        self, part: StepKind, route: Route, resolve: Resolve | None, host: str, why_not: str
    ) -> list[IPAddress]:
        if resolve is None or why_not:
            self._emit(MeasurementStep(part, route, StepResult.NOT_TESTED, text=why_not or "no such resolver"))
            return []
        began = _now()
        try:
            found = list(await resolve(host))
        except DialError as error:
            elapsed = round(_now() - began, 4)
            ended = StepResult.NOT_TESTED if error.symptom in NOT_JUDGED else StepResult.FAILED
            self._emit(
                MeasurementStep(part, route, ended, error.symptom, str(error), "", elapsed, error.evidence.copy())
            )
            return []
        text = ", ".join(map(str, found[:4])) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
        self._emit(MeasurementStep(part, route, StepResult.OK, text=text, elapsed=round(_now() - began, 4)))
        return found

    async def _compare(self, host: str) -> None:
        assert self._env.compare is not None
        try:
            finding = await self._env.compare(host)
        except DialError:
            return  # the two questions before it have told
        if finding is not None:
            evidence: Evidence = {"dns": finding.signal}
            self._emit(
                MeasurementStep(
                    StepKind.RESOLVE, DIRECT, StepResult.FAILED, Symptom.FORGED, finding.detail, evidence=evidence
                )
            )

    def _why_not_in_clear(self) -> str:
        if self._env.settings.dns.secure == "never":
            return ""  # no other resolver may be asked
        if self._request.belief.hide_name_from_dns:
            return "suspicious names are resolved by encrypted DNS only"
        if (finding := self._env.finding(self._request.page.host)) is not None:
            return f"the system's DNS gave a wrong answer before: {finding.detail}"
        if self._env.settings.dns.secure == "always":
            return '`[dns] secure` is "always": no unencrypted DNS'
        return ""

    def _why_not_secure(self, host: str, plain: Sequence[IPAddress]) -> str:
        if self._env.settings.dns.secure == "never":
            return '`[dns] secure` is "never"'
        # Without `.localhost`, which the encrypted resolver refuses with a sentence of its own.
        local = (*PRIVATE_SUFFIXES, *self._env.settings.dns.local)
        if "." not in host or any(host == suffix or host.endswith(f".{suffix}") for suffix in local):
            return "local names are not sent to encrypted DNS"
        if plain and not self._request.thorough:
            return "the system's DNS answered"
        return ""

    def _chosen(self, addresses: Sequence[IPAddress]) -> list[IPAddress]:
        """The first of each family; in a brief measurement the first."""
        first = {address.version: address for address in reversed(addresses)}
        chosen = [address for address in addresses if first.get(address.version) is address]
        return chosen if self._request.thorough else chosen[:1]


def _now() -> float:
    return asyncio.get_running_loop().time()
