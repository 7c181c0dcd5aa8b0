"""What is believed of the ways to a relay: their order, re-tests, and what an obstacle is called."""

from __future__ import annotations

import random

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.relay_ways import AVOIDED_S, KEPT_S, RELAYS_MAX, STALLS_APART_S, WAYS_MAX, Obstacle, RelayWays
from proxy.model import UNKNOWN_NETWORK, Destination, NetworkId, Symptom
from proxy.model.relay_way import RelayWay, WayOrder

HOME, CAFE = NetworkId("home"), NetworkId("cafe")
VPS, OTHER = Destination("vps.test", 443), Destination("192.0.2.9", 8443)
ONE, TWO = "192.0.2.1", "192.0.2.2"
PLAIN, RECORDS, SPLIT = (RelayWay(VPS, ONE, strategy) for strategy in ("", "tlsrec", "split"))
PLAIN_2, RECORDS_2 = RelayWay(VPS, TWO), RelayWay(VPS, TWO, "tlsrec")
ALTERNATIVE, ALTERNATIVE_RECORDS = RelayWay(OTHER, OTHER.host), RelayWay(OTHER, OTHER.host, "tlsrec")
ALL = [PLAIN, RECORDS, SPLIT, PLAIN_2, RECORDS_2, ALTERNATIVE, ALTERNATIVE_RECORDS]
SETTINGS = DetectTuning(retest_blocked_s=(900.0, 3600.0), retest_jitter=0.0)
NOW = 1_700_000_000.0


@pytest.fixture
def ways() -> RelayWays:
    return RelayWays(SETTINGS, rng=random.Random(1))


def fail(ways: RelayWays, way: RelayWay, symptom: Symptom, instead: RelayWay, now: float = NOW) -> None:
    ways.worked(VPS, instead, HOME, now)
    ways.failed(VPS, way, symptom, HOME, now)


def order(ways: RelayWays, now: float = NOW, network: NetworkId = HOME, *filtered: RelayWay) -> list[RelayWay]:
    return [*(found := ways.order(VPS, ALL, network, now, filtered=filtered)).first, *found.last]


def test_without_trouble_the_order_is_the_users_and_nothing_is_fragmented(ways: RelayWays) -> None:
    assert order(ways) == [PLAIN, PLAIN_2, ALTERNATIVE]
    ways.worked(VPS, ALTERNATIVE, HOME, NOW)
    assert order(ways) == [PLAIN, PLAIN_2, ALTERNATIVE]


def test_a_hello_that_was_just_filtered_may_be_fragmented(ways: RelayWays) -> None:
    assert order(ways, NOW, HOME, PLAIN) == [PLAIN, RECORDS, SPLIT, PLAIN_2, ALTERNATIVE]


@pytest.mark.parametrize("symptom", [Symptom.RESET, Symptom.DROPPED, Symptom.EOF, Symptom.GARBAGE, Symptom.SILENT])
def test_a_filtered_hello_is_fragmented_from_then_on(ways: RelayWays, symptom: Symptom) -> None:
    fail(ways, PLAIN, symptom, RECORDS)
    assert order(ways) == [RECORDS, SPLIT, PLAIN_2, ALTERNATIVE, PLAIN]
    assert order(ways, network=CAFE) == [PLAIN, PLAIN_2, ALTERNATIVE]


def test_a_dead_address_goes_last(ways: RelayWays) -> None:
    fail(ways, PLAIN, Symptom.TIMEOUT, PLAIN_2)
    assert order(ways) == [PLAIN_2, ALTERNATIVE, PLAIN]


def test_of_failed_ways_the_one_that_failed_first_goes_first(ways: RelayWays) -> None:
    fail(ways, ALTERNATIVE, Symptom.TIMEOUT, PLAIN_2, NOW)
    fail(ways, PLAIN, Symptom.TIMEOUT, PLAIN_2, NOW + 1)
    assert order(ways) == [PLAIN_2, ALTERNATIVE, PLAIN]


def test_a_way_that_works_again_has_its_place_again(ways: RelayWays) -> None:
    fail(ways, PLAIN, Symptom.RESET, RECORDS)
    ways.worked(VPS, PLAIN, HOME, NOW)
    assert order(ways) == [PLAIN, PLAIN_2, ALTERNATIVE]
    assert ways.obstacle(VPS, HOME, NOW) is None


def test_an_overtaken_way_goes_behind_the_others_for_a_while(ways: RelayWays) -> None:
    ways.overtaken(VPS, PLAIN, HOME, NOW)
    assert order(ways) == [PLAIN_2, ALTERNATIVE, PLAIN]
    assert order(ways, NOW + AVOIDED_S) == [PLAIN, PLAIN_2, ALTERNATIVE]
    ways.worked(VPS, PLAIN, HOME, NOW)
    assert order(ways) == [PLAIN, PLAIN_2, ALTERNATIVE]


def test_a_connection_that_was_opened_before_its_way_was_left_is_told_from_later_ones(ways: RelayWays) -> None:
    peer = str(PLAIN.target)
    ways.used(VPS, PLAIN, HOME, NOW)
    assert not ways.has_left(VPS, peer, HOME, NOW)
    ways.avoid(VPS, peer, HOME, NOW + 10)
    assert ways.has_left(VPS, peer, HOME, NOW)
    assert not ways.has_left(VPS, peer, HOME, NOW + 11)
    assert not ways.has_left(VPS, "192.0.2.99:1", HOME, NOW)
    assert not ways.has_left(VPS, peer, CAFE, NOW)
    ways.used(VPS, PLAIN, HOME, NOW + 12)
    ways.stalled(VPS, peer, 16_000, HOME, NOW + 20)
    assert ways.has_left(VPS, peer, HOME, NOW + 12)


def test_a_way_beyond_which_the_relay_broke_off_is_known_by_its_peer(ways: RelayWays) -> None:
    ways.avoid(VPS, str(PLAIN), HOME, NOW)  # never heard of
    assert order(ways)[0] == PLAIN
    ways.worked(VPS, PLAIN, HOME, NOW)
    ways.avoid(VPS, "192.0.2.1:443", HOME, NOW)
    assert order(ways) == [PLAIN_2, ALTERNATIVE, PLAIN]
    assert ways.obstacle(VPS, HOME, NOW) is None


def test_a_failed_way_is_due_after_each_step_and_once(ways: RelayWays) -> None:
    assert ways.due(VPS, ALL, HOME, NOW) is None
    fail(ways, PLAIN, Symptom.RESET, RECORDS)
    assert ways.due(VPS, ALL, HOME, NOW + 899) is None
    assert ways.due(VPS, ALL, CAFE, NOW + 900) is None
    assert ways.due(VPS, [PLAIN_2], HOME, NOW + 900) is None, "the name leads elsewhere now"
    assert ways.due(VPS, ALL, HOME, NOW + 900) == PLAIN
    assert ways.due(VPS, ALL, HOME, NOW + 900) is None
    ways.failed(VPS, PLAIN, Symptom.RESET, HOME, NOW + 901)
    assert ways.due(VPS, ALL, HOME, NOW + 901 + 3599) is None
    assert ways.due(VPS, ALL, HOME, NOW + 901 + 3600) == PLAIN
    ways.failed(VPS, PLAIN, Symptom.RESET, HOME, NOW + 5000)
    assert ways.due(VPS, ALL, HOME, NOW + 5000 + 3600) == PLAIN, "the last step is the longest"


def stall(ways: RelayWays, way: RelayWay, now: float = NOW) -> None:
    """Twice: that is when it counts."""
    ways.worked(VPS, way, HOME, now - 10)
    for at in (now - 10, now):
        ways.stalled(VPS, str(way.target), 16_384, HOME, at)


def test_a_stalled_transfer_moves_new_connections_elsewhere_at_once(ways: RelayWays) -> None:
    ways.worked(VPS, PLAIN, HOME, NOW)
    ways.stalled(VPS, "192.0.2.1:443", 16_384, HOME, NOW)
    assert order(ways) == [PLAIN_2, ALTERNATIVE, PLAIN]
    assert ways.obstacle(VPS, HOME, NOW) is None, "once may be chance"
    ways.stalled(VPS, "192.0.2.1:443", 16_384, HOME, NOW + STALLS_APART_S - 0.1)
    assert ways.obstacle(VPS, HOME, NOW) is None, "and so may many connections of one page"


def test_a_way_on_which_transfers_stall_has_failed_until_one_does_not(ways: RelayWays) -> None:
    stall(ways, PLAIN)
    assert order(ways) == [PLAIN_2, ALTERNATIVE, RECORDS, SPLIT, PLAIN]
    ways.worked(VPS, PLAIN, HOME, NOW + 1)
    assert order(ways)[-1] == PLAIN, "a handshake is no proof"
    assert ways.due(VPS, ALL, HOME, NOW + 3600) is None, "nor is a re-test, which is one"
    assert order(ways, NOW + 3600)[0] == PLAIN
    ways.carried(VPS, "192.0.2.1:443", HOME, NOW + 3601)
    assert order(ways, NOW + 3601) == [PLAIN, PLAIN_2, ALTERNATIVE]
    assert ways.obstacle(VPS, HOME, NOW + 3601) is None


def test_a_way_that_stalls_when_it_is_tried_again_has_failed_again(ways: RelayWays) -> None:
    """Else a page would be lost on it after each pause."""
    stall(ways, PLAIN)
    ways.used(VPS, PLAIN, HOME, NOW + 3600)
    for _ in range(3):  # the connections of one page
        ways.stalled(VPS, "192.0.2.1:443", 16_384, HOME, NOW + 3610)
    assert order(ways, NOW + 3610 + AVOIDED_S)[-1] == PLAIN
    assert order(ways, NOW + 3610 + 3599)[-1] == PLAIN
    assert order(ways, NOW + 3610 + 3600)[0] == PLAIN


def test_one_stalled_transfer_counts_when_another_way_carries_more(ways: RelayWays) -> None:
    for way in (PLAIN, ALTERNATIVE):
        ways.worked(VPS, way, HOME, NOW)
    ways.stalled(VPS, "192.0.2.1:443", 16_384, HOME, NOW)
    ways.carried(VPS, "192.0.2.9:8443", HOME, NOW + SETTINGS.rescue_window_s)
    obstacle = ways.obstacle(VPS, HOME, NOW + SETTINGS.rescue_window_s)
    assert obstacle is not None
    assert (obstacle.kind, obstacle.failed, obstacle.instead) == (Obstacle.FROZEN, PLAIN, ALTERNATIVE)


def test_where_transfers_stall_nothing_is_tried_before_all_others_have_failed(ways: RelayWays) -> None:
    fail(ways, PLAIN_2, Symptom.TIMEOUT, PLAIN, NOW - 60)
    stall(ways, PLAIN)
    found = ways.order(VPS, ALL, HOME, NOW)
    assert found == WayOrder([ALTERNATIVE], [RECORDS, SPLIT, PLAIN, PLAIN_2]), "nor a dead one, which is worse"
    ways.used(VPS, ALTERNATIVE, HOME, NOW)
    assert ways.order(VPS, ALL, HOME, NOW).first == [ALTERNATIVE]
    ways.overtaken(VPS, ALTERNATIVE, HOME, NOW)
    assert ways.order(VPS, ALL, HOME, NOW).first == [ALTERNATIVE], "behind the others, and these are none"


def test_one_stalled_transfer_is_enough_not_to_be_hedged_to(ways: RelayWays) -> None:
    ways.used(VPS, PLAIN, HOME, NOW)
    ways.stalled(VPS, "192.0.2.1:443", 16_384, HOME, NOW)
    ways.overtaken(VPS, ALTERNATIVE, HOME, NOW)
    assert ways.order(VPS, ALL, HOME, NOW) == WayOrder([PLAIN_2, ALTERNATIVE], [PLAIN])
    assert ways.order(VPS, ALL, HOME, NOW + AVOIDED_S) == WayOrder([PLAIN, PLAIN_2, ALTERNATIVE])


def test_the_way_in_use_stays_in_use(ways: RelayWays) -> None:
    ways.used(VPS, ALTERNATIVE, HOME, NOW)
    assert order(ways) == [ALTERNATIVE, PLAIN, PLAIN_2]
    assert order(ways, network=CAFE) == [PLAIN, PLAIN_2, ALTERNATIVE]
    ways.worked(VPS, PLAIN, HOME, NOW + 1)
    assert order(ways, NOW + 1) == [ALTERNATIVE, PLAIN, PLAIN_2], "a handshake shows no more than the other's"
    ways.failed(VPS, PLAIN_2, Symptom.TIMEOUT, HOME, NOW + 1)
    assert order(ways, NOW + 1) == [ALTERNATIVE, PLAIN, PLAIN_2], "the same in trouble"
    assert order(ways, NOW + KEPT_S) == [PLAIN, ALTERNATIVE, PLAIN_2], "not used for a while"


@pytest.mark.parametrize("how", ["stalled", "avoid", "overtaken"])
def test_a_way_in_use_that_is_in_trouble_loses_its_place(ways: RelayWays, how: str) -> None:
    ways.used(VPS, ALTERNATIVE, HOME, NOW)
    match how:
        case "stalled":
            ways.stalled(VPS, str(OTHER), 16_384, HOME, NOW)
        case "avoid":
            ways.avoid(VPS, str(OTHER), HOME, NOW)
        case _:
            ways.overtaken(VPS, ALTERNATIVE, HOME, NOW)
    assert order(ways) == [PLAIN, PLAIN_2, ALTERNATIVE]
    assert order(ways, NOW + AVOIDED_S) == [PLAIN, PLAIN_2, ALTERNATIVE]


def test_a_way_that_works_again_is_no_longer_replaced(ways: RelayWays) -> None:
    ways.used(VPS, ALTERNATIVE, HOME, NOW)
    ways.failed(VPS, PLAIN, Symptom.TIMEOUT, HOME, NOW)
    assert order(ways) == [ALTERNATIVE, PLAIN_2, PLAIN]
    ways.used(VPS, ALTERNATIVE, HOME, NOW + 899)
    ways.worked(VPS, PLAIN, HOME, NOW + 900)
    assert order(ways, NOW + 900) == [PLAIN, PLAIN_2, ALTERNATIVE]


def test_a_preferred_way_that_was_never_tried_is_due_once(ways: RelayWays) -> None:
    """Else nothing would show that it is blocked, where its name came late once."""
    assert ways.due(VPS, ALL, HOME, NOW) is None
    ways.used(VPS, ALTERNATIVE, HOME, NOW)
    assert ways.due(VPS, [ALTERNATIVE], HOME, NOW) is None, "its name is not resolved yet"
    assert ways.due(VPS, ALL, HOME, NOW) == PLAIN
    ways.failed(VPS, PLAIN, Symptom.TIMEOUT, HOME, NOW + 5)
    obstacle = ways.obstacle(VPS, HOME, NOW + 5)
    assert obstacle is not None
    assert (obstacle.kind, obstacle.failed, obstacle.instead) == (Obstacle.ADDRESS, PLAIN, ALTERNATIVE)
    assert ways.due(VPS, ALL, HOME, NOW + 6) == PLAIN_2
    assert ways.due(VPS, ALL, HOME, NOW + 7) is None


def test_the_other_addresses_of_the_way_in_use_need_no_test(ways: RelayWays) -> None:
    ways.used(VPS, PLAIN_2, HOME, NOW)
    assert ways.due(VPS, ALL, HOME, NOW) is None, "they are as good, and a quarter of a second late is no evidence"


def test_a_transfer_that_stalled_long_ago_is_no_comparison(ways: RelayWays) -> None:
    for way in (PLAIN, ALTERNATIVE):
        ways.worked(VPS, way, HOME, NOW)
    ways.stalled(VPS, "192.0.2.1:443", 16_384, HOME, NOW)
    ways.carried(VPS, "192.0.2.9:8443", HOME, NOW + SETTINGS.rescue_window_s + 1)
    ways.stalled(VPS, "192.0.2.1:443", 16_384, HOME, NOW + 3600)
    assert ways.obstacle(VPS, HOME, NOW + 3600) is None


OBSTACLES = [
    (PLAIN, Symptom.RESET, RECORDS, Obstacle.SNI_RESET),
    (PLAIN, Symptom.EOF, SPLIT, Obstacle.SNI_RESET),
    (PLAIN, Symptom.DROPPED, RECORDS, Obstacle.SNI_DROP),
    (PLAIN, Symptom.SILENT, RECORDS, Obstacle.SNI_DROP),
    (PLAIN, Symptom.RESET, RECORDS_2, Obstacle.ADDRESS),  # of another address it proves nothing about the name
    (PLAIN, Symptom.TIMEOUT, ALTERNATIVE, Obstacle.ADDRESS),
    (PLAIN, Symptom.UNREACHABLE, PLAIN_2, Obstacle.ADDRESS),
    (PLAIN, Symptom.CERTIFICATE, ALTERNATIVE, Obstacle.DNS),
    (ALTERNATIVE, Symptom.CERTIFICATE, PLAIN, None),  # an address is an address
    (PLAIN, Symptom.REFUSED, ALTERNATIVE, None),  # nobody listens there: that is no block
    (RECORDS, Symptom.EOF, PLAIN, None),  # some servers take no fragments
]


@pytest.mark.parametrize(("failed", "symptom", "instead", "kind"), OBSTACLES)
def test_what_failed_and_what_worked_instead_name_the_obstacle(
    ways: RelayWays, failed: RelayWay, symptom: Symptom, instead: RelayWay, kind: Obstacle | None
) -> None:
    fail(ways, failed, symptom, instead)
    obstacle = ways.obstacle(VPS, HOME, NOW)
    if kind is None:
        assert obstacle is None
    else:
        assert obstacle is not None
        assert (obstacle.kind, obstacle.failed, obstacle.instead) == (kind, failed, instead)
    assert ways.obstacle(VPS, CAFE, NOW) is None


def test_without_a_way_that_works_nothing_is_named(ways: RelayWays) -> None:
    fail(ways, PLAIN, Symptom.RESET, RECORDS)
    ways.failed(VPS, RECORDS, Symptom.RESET, HOME, NOW + 1)
    assert ways.obstacle(VPS, HOME, NOW + 1) is None


def test_a_stalled_transfer_is_named_without_another_way(ways: RelayWays) -> None:
    for at in (NOW - 10, NOW):  # of a relay that has one way, which nobody reports
        ways.stalled(VPS, "192.0.2.1:443", 16_384, HOME, at)
    obstacle = ways.obstacle(VPS, HOME, NOW)
    assert obstacle is not None
    assert (obstacle.kind, obstacle.bytes_down, obstacle.failed) == (Obstacle.FROZEN, 16_384, PLAIN)
    assert obstacle.instead is None
    ways.worked(VPS, RECORDS, HOME, NOW)
    obstacle = ways.obstacle(VPS, HOME, NOW)
    assert obstacle is not None
    assert obstacle.instead is None, "a handshake is no proof that transfers do not stall"


TEXTS = [
    (PLAIN, Symptom.RESET, RECORDS, "Relay vps is blocked by SNI on this network (connection reset after the TLS "
     "ClientHello). A fragmented ClientHello works and is used."),
    (PLAIN, Symptom.DROPPED, RECORDS, "Relay vps is blocked by SNI on this network (its TLS ClientHello is dropped). A "
     "fragmented ClientHello works and is used."),
    (PLAIN, Symptom.CERTIFICATE, ALTERNATIVE, "The name of relay vps gets forged answers on this network: "
     "192.0.2.1:443 is another server. 192.0.2.9:8443 works and is used."),
    (PLAIN, Symptom.TIMEOUT, ALTERNATIVE, "Relay vps does not answer at 192.0.2.1:443 on this network: that address is "
     "blocked, or down. 192.0.2.9:8443 works and is used."),
    (PLAIN, Symptom.RESET, ALTERNATIVE, "TLS with relay vps fails at 192.0.2.1:443 on this network, by the network or "
     "by that server. 192.0.2.9:8443 works and is used."),
]  # fmt: skip


@pytest.mark.parametrize(("failed", "symptom", "instead", "text"), TEXTS)
def test_an_obstacle_in_words(
    ways: RelayWays, failed: RelayWay, symptom: Symptom, instead: RelayWay, text: str
) -> None:
    fail(ways, failed, symptom, instead)
    obstacle = ways.obstacle(VPS, HOME, NOW)
    assert obstacle is not None
    assert obstacle.text("vps") == text
    assert obstacle.fix("vps").endswith(", then byway relay test vps")


def test_a_stall_in_words(ways: RelayWays) -> None:
    stall(ways, PLAIN)
    obstacle = ways.obstacle(VPS, HOME, NOW)
    assert obstacle is not None
    assert obstacle.text("vps") == "Transfers through relay vps stall after 16 KB on this network (192.0.2.1:443)."
    assert obstacle.fix("vps").startswith("add another address of it to its URL (?alt=HOST:PORT), or use another relay")
    ways.worked(VPS, ALTERNATIVE, HOME, NOW)
    ways.carried(VPS, "192.0.2.9:8443", HOME, NOW)
    obstacle = ways.obstacle(VPS, HOME, NOW)
    assert obstacle is not None
    assert obstacle.text("vps").endswith("(192.0.2.1:443). 192.0.2.9:8443 works and is used.")
    assert obstacle.fix("vps") == (
        "reload pages that stopped; put 192.0.2.9:8443 first in its URL, then byway relay test vps"
    )


def test_an_old_obstacle_is_none(ways: RelayWays) -> None:
    fail(ways, PLAIN, Symptom.RESET, RECORDS)
    assert ways.obstacle(VPS, HOME, NOW + SETTINGS.unvisited_s) is None


def test_there_is_a_limit_to_all_of_it(ways: RelayWays) -> None:
    for number in range(WAYS_MAX + 1):
        ways.failed(VPS, RelayWay(VPS, f"2001:db8::{number:x}"), Symptom.RESET, HOME, NOW)
    assert len(ways._records(HOME, VPS)) == WAYS_MAX
    for number in range(RELAYS_MAX):
        ways.failed(Destination("a.test", 1 + number), PLAIN, Symptom.RESET, HOME, NOW)
    assert len(ways._records(HOME, VPS)) == 0
    assert order(ways) == [PLAIN, PLAIN_2, ALTERNATIVE]
    assert len(ways._troubled) <= RELAYS_MAX + 1


def test_a_relay_that_is_gone_is_forgotten(ways: RelayWays) -> None:
    fail(ways, PLAIN, Symptom.RESET, RECORDS)
    ways.keep([VPS])
    assert order(ways)[0] == RECORDS
    ways.keep([OTHER])
    assert order(ways) == [PLAIN, PLAIN_2, ALTERNATIVE]


# -- over a restart ----------------------------------------------------------------------------------------------------


def restarted(ways: RelayWays, now: float) -> RelayWays:
    after = RelayWays(SETTINGS)
    after.restore(ways.remembered(), now)
    return after


def test_what_failed_is_known_after_a_restart(ways: RelayWays) -> None:
    stall(ways, PLAIN)
    ways.used(VPS, ALTERNATIVE, HOME, NOW)
    ways.carried(VPS, "192.0.2.9:8443", HOME, NOW)
    fail(ways, PLAIN_2, Symptom.TIMEOUT, ALTERNATIVE)
    after = restarted(ways, NOW + 3000)
    assert order(after, NOW + 3000) == order(ways, NOW + 3000)
    assert order(after, NOW + 3000)[0] == ALTERNATIVE
    assert after.obstacle(VPS, HOME, NOW + 3000) == ways.obstacle(VPS, HOME, NOW + 3000)
    assert after.due(VPS, ALL, HOME, NOW + 899) is None
    assert after.due(VPS, ALL, HOME, NOW + 900) == PLAIN_2
    assert after.version == 0, "there is nothing new to save"


def test_a_transfer_that_stalled_once_is_known_after_a_restart(ways: RelayWays) -> None:
    ways.used(VPS, PLAIN, HOME, NOW)
    ways.stalled(VPS, "192.0.2.1:443", 16_000, HOME, NOW)
    after = restarted(ways, NOW + 10)
    assert order(after, NOW + 10)[-1] == PLAIN
    after.used(VPS, ALTERNATIVE, HOME, NOW + 10)
    after.carried(VPS, "192.0.2.9:8443", HOME, NOW + 11)
    assert after.obstacle(VPS, HOME, NOW + 11) is not None


def test_where_nothing_failed_nothing_is_remembered(ways: RelayWays) -> None:
    ways.used(VPS, PLAIN, HOME, NOW)
    ways.carried(VPS, "192.0.2.1:443", HOME, NOW)
    ways.failed(VPS, PLAIN, Symptom.RESET, UNKNOWN_NETWORK, NOW)
    assert ways.remembered() == []
    fail(ways, PLAIN, Symptom.RESET, RECORDS)
    assert {known.way for known in ways.remembered()} == {PLAIN, RECORDS}


@pytest.mark.parametrize("after_s", [-1.0, SETTINGS.unvisited_s])
def test_what_is_old_or_of_the_future_is_not_taken_over(ways: RelayWays, after_s: float) -> None:
    fail(ways, PLAIN, Symptom.RESET, RECORDS)
    after = restarted(ways, NOW + after_s)
    assert order(after, NOW + after_s) == [PLAIN, PLAIN_2, ALTERNATIVE]
    assert after.remembered() == []


def test_only_what_changes_a_choice_is_news(ways: RelayWays) -> None:
    """What is remembered is written to the disk then, which no usual connection may cause."""
    seen = [ways.version]

    def is_news() -> bool:
        seen.append(ways.version)
        return seen[-1] != seen[-2]

    ways.used(VPS, PLAIN, HOME, NOW)
    ways.carried(VPS, "192.0.2.1:443", HOME, NOW)
    ways.overtaken(VPS, PLAIN_2, HOME, NOW)
    assert not is_news()
    ways.stalled(VPS, "192.0.2.1:443", 16_000, HOME, NOW)
    assert is_news()
    ways.failed(VPS, PLAIN_2, Symptom.RESET, HOME, NOW)
    assert is_news()
    ways.stalled(VPS, "192.0.2.1:443", 16_000, HOME, NOW + STALLS_APART_S)
    assert is_news()
    for is_first in (True, False):  # both work again
        ways.used(VPS, PLAIN_2, HOME, NOW + 60)
        assert is_news() is is_first
        ways.carried(VPS, "192.0.2.1:443", HOME, NOW + 60)
        assert is_news() is is_first
    ways.keep([VPS])
    assert not is_news()
    ways.keep([])
    assert is_news()


# -- which way is proven -----------------------------------------------------------------------------------------------


@pytest.fixture
def several(ways: RelayWays) -> RelayWays:
    """The relay has an alternative, and a dial has just taken its first way."""
    ways.keep([VPS], [VPS])
    ways.used(VPS, PLAIN, HOME, NOW)
    return ways


MAIN, SECOND = "192.0.2.1:443", "192.0.2.9:8443"


def test_a_way_is_proven_by_a_transfer_that_passes_and_for_some_days(several: RelayWays) -> None:
    assert several.is_unproven(VPS, MAIN, HOME, NOW)
    several.carried(VPS, MAIN, HOME, NOW)
    assert not several.is_unproven(VPS, MAIN, HOME, NOW + SETTINGS.unvisited_s - 1)
    assert several.is_unproven(VPS, MAIN, HOME, NOW + SETTINGS.unvisited_s)


def test_each_way_is_proven_by_itself_on_each_network(several: RelayWays) -> None:
    several.carried(VPS, MAIN, HOME, NOW)
    several.used(VPS, ALTERNATIVE, HOME, NOW)
    several.used(VPS, PLAIN, CAFE, NOW)
    assert several.is_unproven(VPS, SECOND, HOME, NOW)
    assert several.is_unproven(VPS, MAIN, CAFE, NOW)
    assert not several.is_unproven(VPS, "192.0.2.7:1", HOME, NOW), "no dial took it"


def test_without_an_alternative_nothing_is_to_be_proven(ways: RelayWays) -> None:
    ways.used(VPS, PLAIN, HOME, NOW)
    assert not ways.is_unproven(VPS, MAIN, HOME, NOW)


def test_a_way_that_stalled_is_not_proven_again_before_it_is_tried_again(several: RelayWays) -> None:
    several.carried(VPS, MAIN, HOME, NOW)
    several.stalled(VPS, MAIN, 16_000, HOME, NOW)
    assert not several.is_unproven(VPS, MAIN, HOME, NOW + AVOIDED_S - 1)
    assert several.is_unproven(VPS, MAIN, HOME, NOW + AVOIDED_S)
    several.stalled(VPS, MAIN, 16_000, HOME, NOW + AVOIDED_S)
    due_at = NOW + AVOIDED_S + SETTINGS.retest_blocked_s[1]
    assert not several.is_unproven(VPS, MAIN, HOME, due_at - 1)
    assert several.is_unproven(VPS, MAIN, HOME, due_at)
    several.carried(VPS, MAIN, HOME, due_at)
    assert not several.is_unproven(VPS, MAIN, HOME, due_at)


def test_a_proof_is_known_after_a_restart_and_saved_once_a_day(several: RelayWays) -> None:
    before = several.version
    several.carried(VPS, MAIN, HOME, NOW)
    assert several.version == before + 1
    several.carried(VPS, MAIN, HOME, NOW + 86_399)
    assert several.version == before + 1
    later = NOW + 2 * 86_400
    several.carried(VPS, MAIN, HOME, later)
    assert several.version == before + 2
    after = restarted(several, later)
    after.keep([VPS], [VPS])
    after.used(VPS, PLAIN, HOME, later)
    assert not after.is_unproven(VPS, MAIN, HOME, later)
    assert after.version == 0
    after.keep([VPS])
    assert after.remembered() == [], "it has no alternative any more"
    after.keep([VPS], [VPS])
    after.forget()
    after.used(VPS, PLAIN, HOME, later)
    assert after.is_unproven(VPS, MAIN, HOME, later)


def test_a_proof_is_no_news_without_an_alternative(ways: RelayWays) -> None:
    fail(ways, PLAIN_2, Symptom.TIMEOUT, PLAIN)
    before = ways.version
    ways.carried(VPS, MAIN, HOME, NOW)
    assert ways.version == before


def test_the_user_may_have_all_forgotten(ways: RelayWays) -> None:
    fail(ways, PLAIN, Symptom.RESET, RECORDS)
    before = ways.version
    ways.forget()
    assert ways.version != before
    assert ways.remembered() == []
    assert order(ways) == [PLAIN, PLAIN_2, ALTERNATIVE]
