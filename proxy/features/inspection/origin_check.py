"""Checks the certificate of a site before a certificate is signed in its name.

The check is a TLS handshake of our own over an internal tunnel, so it takes the routes of the plan. The chain must be
trusted by the system and contain no known interception root. A good result is cached for a short time, and so is "no
TLS" or "no answer"; a bad one never is, so that a repaired site works at once. Concurrent checks of one site share one
handshake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto

from proxy.detect.tls_interception import CHAIN_LIMIT, KnownRoots
from proxy.model import Destination, NetworkId, Route, Symptom
from proxy.model.bounded import Bounded
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.tasks import spawn
from proxy.probe.certificate_chain import FetchedChain

ANSWERS_MAX = 4096

_NO_TLS_SYMPTOMS = (Symptom.GARBAGE, Symptom.ALERT)


class CertificateStatus(Enum):
    """The result of a check."""

    GOOD = auto()
    BAD = auto()
    NO_TLS = auto()  # or no version that we speak: it cannot be inspected
    UNKNOWN = auto()  # no handshake was possible


@frozen_dataclass
class CertificateCheck:
    """The result of a check, with its reason."""

    status: CertificateStatus
    reason: str = ""  # one half-sentence, when it is bad
    cacheable: bool = True
    """Whether to cache it. A server that ignores our ClientHello is not probed each time: the engine verifies too."""


@frozen_dataclass
class OriginKey:
    """The key of the cache. It has the routes, because another route may lead to another server."""

    destination: Destination
    host: str
    routes: tuple[Route, ...]
    network: NetworkId


class OriginChecks:
    """Checks certificates and caches the results."""

    def __init__(self, roots: KnownRoots) -> None:
        self._roots = roots
        self._cache: Bounded[OriginKey, tuple[CertificateCheck, float]] = Bounded(ANSWERS_MAX)
        self._pending: dict[OriginKey, asyncio.Task[CertificateCheck]] = {}

    async def check(
        self, key: OriginKey, probe: Callable[[], Awaitable[FetchedChain]], *, keep_s: float
    ) -> CertificateCheck:
        """Returns the cached result, or that of `probe`, which is then cached for `keep_s` seconds if it may be."""
        check, until = self._cache.get(key, (None, 0.0))
        if check is not None and asyncio.get_running_loop().time() < until:
            return check
        task = self._pending.get(key)
        if task is None:
            name = f"check certificate of {key.host}"
            task = self._pending[key] = spawn(self._check(key, probe, keep_s), name=name)
        return await asyncio.shield(task)  # a cancelled caller does not cancel it for the others

    def forget(self, destination: Destination) -> None:
        """Removes the results for a destination, whose certificate turned out to be invalid."""
        for key in [key for key in self._cache if key.destination == destination]:
            del self._cache[key]

    def forget_hosts(self, meant: Callable[[str], bool]) -> None:
        """Removes the results for hosts for which `meant` returns True."""
        for key in [key for key in self._cache if meant(key.host) or meant(key.destination.host)]:
            del self._cache[key]

    async def _check(
        self, key: OriginKey, probe: Callable[[], Awaitable[FetchedChain]], keep_s: float
    ) -> CertificateCheck:
        try:
            check = self._classify(await probe())
        finally:
            del self._pending[key]
        if check.status is not CertificateStatus.BAD and check.cacheable:
            self._cache[key] = check, asyncio.get_running_loop().time() + keep_s
        return check

    def _classify(self, probe: FetchedChain) -> CertificateCheck:
        if reason := self.rejection_reason(probe.chain):
            return CertificateCheck(CertificateStatus.BAD, reason)
        if probe.verified:
            return CertificateCheck(CertificateStatus.GOOD)
        if probe.symptom is Symptom.CERTIFICATE:
            return CertificateCheck(CertificateStatus.BAD, probe.error)
        if probe.symptom in _NO_TLS_SYMPTOMS:
            return CertificateCheck(CertificateStatus.NO_TLS)
        return CertificateCheck(CertificateStatus.UNKNOWN, probe.error, cacheable=probe.symptom is Symptom.SILENT)

    def rejection_reason(self, chain: Sequence[bytes]) -> str:
        """Returns the reason to reject a chain (DER, the site's certificate first) even if the system trusts it; "":
        there is none.

        A chain longer than CHAIN_LIMIT is rejected: only that many certificates are searched for a known root."""
        if len(chain) > CHAIN_LIMIT:
            return f"its chain has {len(chain)} certificates; the limit is {CHAIN_LIMIT}"
        root = self._roots.find(chain)
        return "" if root is None else f"it is signed by a known interception CA ({root.what})"
