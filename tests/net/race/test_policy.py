"""A race that is told nothing tries whatever its plan names, and delivers whatever comes."""

from __future__ import annotations

import pytest

from proxy.model import DIRECT, Protocol, Route
from proxy.net.race.policy import NO_POLICY
from proxy.wire.tls import Verdict
from tests.support.outcomes import TOR, failed


@pytest.mark.parametrize("route", [DIRECT, TOR, Route(wrap=("doh",)), Route(wrap=("tlsrec",))])
def test_every_route_may_help(route: Route) -> None:
    for protocol in Protocol:
        for attempts in ((), (failed(),)):
            assert NO_POLICY.may_help(route, attempts, protocol=protocol, ech=True, last_resort=True)


@pytest.mark.parametrize("ended", [True, False])
def test_every_page_is_the_sites(ended: bool) -> None:
    look = NO_POLICY.classify(b"HTTP/1.1 200 OK\r\n\r\nThis page is blocked", "example.test", complete=ended)
    assert (look.verdict, look.symptom, dict(look.evidence), look.answer_fingerprint) == (Verdict.VALID, "", {}, "")


def test_nobody_has_noticed_anything() -> None:
    assert dict(NO_POLICY.dns_evidence("example.test")) == {}
