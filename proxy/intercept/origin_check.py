"""Whether a site shows a good certificate, before anything is signed in its name.

Asked with a hello of our own, over an inner tunnel, so by the very routes that the plan has, and held to the system's
trust and to the roots that are known to intercept. A good answer is remembered for a short time, as is that no TLS is
spoken, or nothing; a bad one never is, so that a site that was mended is taken at once. Several who ask at the same
time wait for one answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from proxy.detect.tls_interception import CHAIN_LIMIT, KnownRoots
from proxy.model import Destination, NetworkId, Route, Symptom
from proxy.model.bounded import Bounded
from proxy.net.tasks import spawn
from proxy.probe.certificate_chain import FetchedChain

ANSWERS_MAX = 4096

_NO_TLS_SYMPTOMS = (Symptom.GARBAGE, Symptom.ALERT)


class CertificateStatus(Enum):
    """What a site's certificate is worth."""

    GOOD = auto()
    BAD = auto()
    NO_TLS = auto()  # or none that we speak: it cannot be looked into
    UNKNOWN = auto()  # it could not be asked


@dataclass(frozen=True, slots=True)
class CertificateCheck:
    """The answer."""

    status: CertificateStatus
    reason: str = ""  # one half-sentence, when it is bad
    cacheable: bool = True
    """Worth remembering. Who is silent to a hello need not be asked each time: the engine verifies too."""


@dataclass(frozen=True, slots=True)
class OriginKey:
    """Of whom, by which way: another way may lead to somebody else."""

    destination: Destination
    host: str
    routes: tuple[Route, ...]
    network: NetworkId


class OriginChecks:
    """Remembers who was vouched for."""

    def __init__(self, roots: KnownRoots) -> None:
        self._roots = roots
        self._cache: Bounded[OriginKey, tuple[CertificateCheck, float]] = Bounded(ANSWERS_MAX)
        self._pending: dict[OriginKey, asyncio.Task[CertificateCheck]] = {}

    async def check(
        self, asked: OriginKey, probe: Callable[[], Awaitable[FetchedChain]], *, keep_s: float
    ) -> CertificateCheck:
        """The answer that is kept, or what a `probe` brings, to be kept for `keep_s` when it may be."""
        check, until = self._cache.get(asked, (None, 0.0))
        if check is not None and asyncio.get_running_loop().time() < until:
            return check
        task = self._pending.get(asked)
        if task is None:
            task = self._pending[asked] = spawn(self._check(asked, probe, keep_s), name=f"vouch for {asked.host}")
        return await asyncio.shield(task)  # one who leaves does not take the answer from the others

    def forget(self, destination: Destination) -> None:
        """It was not good after all."""
        for asked in [asked for asked in self._cache if asked.destination == destination]:
            del self._cache[asked]

    async def _check(
        self, asked: OriginKey, probe: Callable[[], Awaitable[FetchedChain]], keep_s: float
    ) -> CertificateCheck:
        try:
            check = self._classify(await probe())
        finally:
            del self._pending[asked]
        if check.status is not CertificateStatus.BAD and check.cacheable:
            self._cache[asked] = check, asyncio.get_running_loop().time() + keep_s
        return check

    def _classify(self, probe: FetchedChain) -> CertificateCheck:
        if rejection_reason := self.rejection_reason(probe.chain):
            return CertificateCheck(CertificateStatus.BAD, rejection_reason)
        if probe.verified:
            return CertificateCheck(CertificateStatus.GOOD)
        if probe.symptom is Symptom.CERTIFICATE:
            return CertificateCheck(CertificateStatus.BAD, probe.error)
        if probe.symptom in _NO_TLS_SYMPTOMS:
            return CertificateCheck(CertificateStatus.NO_TLS)
        return CertificateCheck(CertificateStatus.UNKNOWN, probe.error, cacheable=probe.symptom is Symptom.SILENT)

    def rejection_reason(self, chain: Sequence[bytes]) -> str:
        """What speaks against a presented chain (DER, the site's first), whoever trusts it; empty when nothing does. No
        more than so many are looked at for a known root, and what comes behind them could be signed by one."""
        if len(chain) > CHAIN_LIMIT:
            return f"its chain has {len(chain)} certificates; the limit is {CHAIN_LIMIT}"
        root = self._roots.find(chain)
        return "" if root is None else f"it is signed by a known interception CA ({root.what})"
