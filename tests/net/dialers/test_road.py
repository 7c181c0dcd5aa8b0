"""The order of ways where nothing is believed of them."""

from __future__ import annotations

from proxy.model import Destination
from proxy.model.relay_way import RelayWay
from proxy.net.dialers.road import NoWayBeliefs, RoadToRelays

RELAY = Destination("relay.example", 443)


def test_without_beliefs_the_order_is_that_of_the_configuration() -> None:
    plain, cut = RelayWay(RELAY, "192.0.2.1", ""), RelayWay(RELAY, "192.0.2.1", "tlsrec")
    other = RelayWay(RELAY, "192.0.2.2", "")
    ways = [plain, cut, other]
    beliefs = NoWayBeliefs()
    assert list(beliefs.order(RELAY, ways, []).first) == [plain, other]
    assert list(beliefs.order(RELAY, ways, [plain]).first) == ways  # its hello was filtered just now
    assert beliefs.due(RELAY, ways) is None


def test_a_road_of_its_own_has_no_strategies() -> None:
    assert RoadToRelays().strategies == ()
    assert RoadToRelays().lookup is None
