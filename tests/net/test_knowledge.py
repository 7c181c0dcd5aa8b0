"""A race that is told nothing tries whatever its plan names, and delivers whatever comes."""

from __future__ import annotations

import pytest

from proxy.model import DIRECT, UNKNOWN_NETWORK, Destination, NetworkId, Protocol, Route
from proxy.net.knowledge import NOTHING_KNOWN, NothingKnown
from proxy.wire.tls import Verdict
from tests.support.outcomes import TOR, failed
from tests.support.rows import each_row


@each_row("route", [DIRECT, TOR, Route(wrap=("doh",)), Route(wrap=("tlsrec",))])
def test_every_route_may_help(route: Route) -> None:
    for protocol in Protocol:
        for attempts in ((), (failed(),)):
            assert NOTHING_KNOWN.may_help(route, attempts, protocol=protocol, ech=True, last_resort=True)


@pytest.mark.parametrize("ended", [True, False])
def test_every_page_is_the_sites(ended: bool) -> None:
    look = NOTHING_KNOWN.classify(b"HTTP/1.1 200 OK\r\n\r\nThis page is blocked", "example.test", complete=ended)
    assert (look.verdict, look.symptom, dict(look.evidence), look.answer_fingerprint) == (Verdict.VALID, "", {}, "")


def test_the_network_is_unknown_unless_it_is_given() -> None:
    assert NOTHING_KNOWN.network() == UNKNOWN_NETWORK
    assert NothingKnown(lambda: NetworkId("home")).network() == "home"


async def test_no_addon_opens_a_path() -> None:
    assert await NOTHING_KNOWN.dial_by_addon("ways", TOR, Destination("example.test", 443)) is None
