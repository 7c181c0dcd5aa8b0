"""The answers of routing, detection, the resolver and the relays' health to a race, under one Setup."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from proxy.detect.relay_health import relay_name
from proxy.model import Attempt, Evidence, Protocol, Route, Symptom
from proxy.model.evidence import frozen_evidence
from proxy.net.dns.resolver import Resolver
from proxy.net.race.policy import ClassifiedAnswer
from proxy.routing.strategies import fits
from proxy.setup.runtime import Runtime
from proxy.wire.tls import Verdict

if TYPE_CHECKING:
    from proxy.detect.pages.block_pages import BlockPages

_MORE = ClassifiedAnswer(Verdict.MORE)


@lru_cache(maxsize=1024)
def _valid(status: int) -> ClassifiedAnswer:
    return ClassifiedAnswer(Verdict.VALID, evidence=frozen_evidence({"status": status}))


class SetupPolicy:
    """The RacePolicy of the application."""

    def __init__(self, resolver: Resolver, pages: Callable[[], BlockPages], runtime: Runtime) -> None:
        """`resolver` is that of direct routes. `pages` is asked with each answer of plain HTTP."""
        self._resolver = resolver
        self._pages = pages
        self._runtime = runtime

    def classify(self, answer: bytes, host: str, *, complete: bool) -> ClassifiedAnswer:
        from proxy.detect.pages.page_classifier import PageKind, classify_page  # TLS has no pages that could be read

        classify = self._runtime.page_classifier()
        page = classify_page(answer, host, ended=complete, pages=self._pages(), classify=classify)
        match page.kind:
            case PageKind.MORE:
                return _MORE
            case PageKind.BLOCK_PAGE:
                return ClassifiedAnswer(
                    Verdict.GARBAGE, Symptom.BLOCK_PAGE, {"page": page.detail, "status": page.status}
                )
            case PageKind.REDIRECTED:
                return ClassifiedAnswer(
                    Verdict.GARBAGE,
                    Symptom.REDIRECTED,
                    {"elsewhere": page.detail, "status": page.status},
                    answer_fingerprint=f"elsewhere {page.detail}",
                )
        return _valid(page.status)

    def may_help(
        self, route: Route, attempts: Sequence[Attempt], *, protocol: Protocol, ech: bool, last_resort: bool
    ) -> bool:
        return fits(route, attempts, protocol=protocol, ech=ech, last_resort=last_resort)

    def dns_evidence(self, host: str) -> Evidence:
        finding = self._resolver.finding(host)
        return {} if finding is None else {"dns": finding.signal, "dns_detail": finding.detail}

    def is_local_zone(self, host: str) -> bool:
        return self._resolver.is_local_zone(host)

    def may_be_local_zone(self, host: str) -> bool:
        return self._resolver.may_be_local_zone(host)

    def is_portal(self) -> bool:
        return self._runtime.is_portal()

    def is_failing(self, route: Route) -> bool:
        return self._runtime.is_failing(relay_name(route))

    def report_broken_flight(self, address: str, host: str) -> None:
        self._runtime.report_broken_flight(address, host)

    def report_answered_flight(self, address: str, host: str) -> None:
        self._runtime.report_answered_flight(address, host)
