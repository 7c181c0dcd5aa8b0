"""The order of ways where nothing is believed of them."""

from __future__ import annotations

import time

from proxy.model import Destination, NetworkId
from proxy.model.relay_way import RelayWay
from proxy.net.dialers.road import NoWayBeliefs, RoadToRelays

RELAY = Destination("relay.example", 443)


def test_without_beliefs_the_order_is_that_of_the_configuration() -> None:
    plain, cut = RelayWay(RELAY, "192.0.2.1", ""), RelayWay(RELAY, "192.0.2.1", "tlsrec")
    other = RelayWay(RELAY, "192.0.2.2", "")
    ways = [plain, cut, other]
    beliefs, here = NoWayBeliefs(), RoadToRelays().here()
    assert list(beliefs.order(RELAY, ways, *here, filtered=[]).first) == [plain, other]
    assert list(beliefs.order(RELAY, ways, *here, filtered=[plain]).first) == ways  # its hello was filtered just now
    assert beliefs.due(RELAY, ways, *here) is None


def test_a_road_of_its_own_has_no_strategies() -> None:
    assert RoadToRelays().strategies == ()
    assert RoadToRelays().lookup is None


def test_ways_are_believed_of_the_current_network_at_the_time() -> None:
    network = NetworkId("home")
    road = RoadToRelays(network=lambda: network)
    before = time.time()
    where, now = road.here()
    assert where == "home"
    assert before <= now <= time.time()
    network = NetworkId("cafe")
    assert road.here()[0] == "cafe"
