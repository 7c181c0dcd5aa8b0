"""A way to a relay, as a value."""

from __future__ import annotations

from proxy.model import Destination
from proxy.model.relay_way import RelayWay

VPS = Destination("vps.test", 443)
PLAIN, RECORDS = RelayWay(VPS, "192.0.2.1"), RelayWay(VPS, "192.0.2.1", "tlsrec")


def test_a_way_says_where_it_leads() -> None:
    assert (str(PLAIN), str(RECORDS)) == ("192.0.2.1:443", "192.0.2.1:443|tlsrec")
    assert PLAIN.target == RECORDS.target == Destination("192.0.2.1", 443)
    assert RelayWay(VPS).target == VPS


def test_a_strategy_can_be_taken_off() -> None:
    assert RECORDS.plain == PLAIN == PLAIN.plain
