from __future__ import annotations

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs import network_health
from proxy.detect.beliefs.events import CertificateAccepted, ClockMeasured, ComputerResumed, FlowStalled
from proxy.detect.beliefs.state import FAILING_MAX, NETWORKS_MAX, Delivery
from proxy.detect.beliefs.tables import on_network
from proxy.detect.relay_health import Conditions
from proxy.model import ConnectivityResult, NetworkId, NetworkState, Stage, Symptom
from tests.detect.seen import OTHER, Seen
from tests.detect.world import over
from tests.support.outcomes import AWAY, HOME, HOST, TOR, failed, outcome

NOW = 1_000_000.0


class _Moving:
    """A host whose date moves on by itself."""

    def __init__(self, domain: str, at: float) -> None:
        self.domain = domain
        self.at = at


def test_when_another_domain_was_heard() -> None:
    uplink = over(network_health)
    assert not uplink.well_since(HOME, "a", NOW)
    uplink.on_direct_delivery(HOME, Delivery("a", NOW))
    uplink.on_direct_delivery(HOME, Delivery("b", NOW + 1))
    uplink.on_direct_delivery(HOME, Delivery("b", NOW + 2))

    assert [uplink.well_since(HOME, "a", NOW + at) for at in (2, 2.1)] == [True, False]
    assert [uplink.well_since(HOME, "b", NOW + at) for at in (0, 0.1)] == [True, False]
    assert [uplink.well_since(HOME, "c", NOW + at) for at in (2, 2.1)] == [True, False]
    assert not uplink.well_since(AWAY, "a", NOW)


def test_what_is_told_late_takes_no_later_ones_place() -> None:
    uplink = over(network_health)
    uplink.on_direct_delivery(HOME, Delivery("example.net", NOW))
    uplink.on_direct_delivery(HOME, Delivery("example.com", NOW + 5))
    uplink.on_direct_delivery(HOME, Delivery("example.org", NOW + 3))

    assert uplink.well_since(HOME, "example.org", NOW + 5)
    assert uplink.well_since(HOME, "example.com", NOW + 3)
    assert not uplink.well_since(HOME, "example.com", NOW + 4)


def test_a_date_that_moves_on_is_followed() -> None:
    uplink = over(network_health)
    moving = _Moving("a", NOW)
    uplink.on_direct_delivery(HOME, moving)
    moving.at = NOW + 50
    assert uplink.networks[HOME].last is moving
    assert AWAY not in uplink.networks
    assert uplink.well_since(HOME, "b", NOW + 50)
    uplink.on_direct_delivery(HOME, Delivery("b", NOW + 60))

    assert uplink.networks[HOME].last is not moving
    assert uplink.well_since(HOME, "b", NOW + 50)


def test_five_domains_and_both_controls_within_ten_minutes() -> None:
    def restricted(*, domains: int = 5, apart_s: float = 10.0, controls: int = 2, domestic: bool = True) -> bool:
        uplink = over(network_health)
        news = [uplink.failed(HOME, f"d{number}", NOW + number * apart_s) for number in range(domains)]
        now = NOW + domains * apart_s
        if domestic:
            uplink.on_control_answer(HOME, "egov.example", ConnectivityResult.WELL, now, domestic=True)
        news += [
            uplink.on_control_answer(HOME, f"c{n}", ConnectivityResult.FAILED, now, domestic=False)
            for n in range(controls)
        ]
        assert any(news) == (uplink.network_state(HOME) is NetworkState.RESTRICTED)
        return any(news)

    assert restricted()
    assert not restricted(domains=4)
    assert not restricted(apart_s=150)
    assert not restricted(controls=1)
    assert not restricted(domestic=False)  # then nothing works: an outage


@pytest.mark.parametrize(("failing", "delivering", "is_enough"), [(4, 2, True), (4, 1, False), (3, 2, False)])
def test_one_domain_less_is_enough_while_two_others_deliver(failing: int, delivering: int, is_enough: bool) -> None:
    uplink = over(network_health)
    for number in range(failing):
        uplink.failed(HOME, f"d{number}", NOW + number)
    for number in range(4):
        uplink.on_direct_delivery(HOME, Delivery(f"shop{number % delivering}", NOW + 10 + number))
    assert uplink.seems_restricted(HOME, NOW + 20) is is_enough


def test_an_outage_after_a_page_that_worked_is_no_restricted_network() -> None:
    for domestic in (ConnectivityResult.FAILED, None):
        uplink = over(network_health)
        uplink.on_direct_delivery(HOME, Delivery("worked", NOW))
        for number in range(5):
            uplink.failed(HOME, f"d{number}", NOW + 1 + number)
        if domestic is not None:
            uplink.on_direct_delivery(HOME, Delivery("flaps", NOW + 7))
            uplink.on_control_answer(HOME, "egov.example", domestic, NOW + 10, domestic=True)
        assert not any(
            uplink.on_control_answer(HOME, f"c{n}", ConnectivityResult.FAILED, NOW + 20, domestic=False)
            for n in range(2)
        )

        uplink.on_direct_delivery(HOME, Delivery("works", NOW + 60))
        if domestic is not None:
            assert not uplink.failed(HOME, "d6", NOW + 70), "of what failed in the outage nothing is left to tell"


def test_the_domestic_control_may_be_the_last_to_answer() -> None:
    uplink = over(network_health)
    for number in range(5):
        uplink.failed(HOME, f"d{number}", NOW)
    assert not any(
        uplink.on_control_answer(HOME, f"c{n}", ConnectivityResult.FAILED, NOW + 1, domestic=False) for n in range(2)
    )
    assert uplink.on_control_answer(HOME, "egov.example", ConnectivityResult.WELL, NOW + 2, domestic=True)


def test_a_restriction_is_over_when_what_failed_delivers_again() -> None:
    uplink = over(network_health)
    for number in range(5):
        uplink.failed(HOME, f"d{number}", NOW)
    uplink.on_control_answer(HOME, "egov.example", ConnectivityResult.WELL, NOW + 1, domestic=True)
    assert any(
        uplink.on_control_answer(HOME, f"c{n}", ConnectivityResult.FAILED, NOW + 1, domestic=False) for n in range(2)
    )
    for domain in ("domestic", "domestic-too", "d0", "d0"):
        uplink.on_direct_delivery(HOME, Delivery(domain, NOW + 2))
        assert uplink.network_state(HOME) is NetworkState.RESTRICTED

    uplink.on_direct_delivery(HOME, Delivery("d1", NOW + 3))
    assert uplink.network_state(HOME) is NetworkState.OK
    assert not any(uplink.failed(HOME, f"blocked{n}", NOW + 4) for n in range(2)), "what failed before is over too"


def test_a_domain_that_answers_again_is_no_failing_one() -> None:
    uplink = over(network_health)
    for number in range(5):
        uplink.failed(HOME, f"d{number}", NOW)
    uplink.on_direct_delivery(HOME, Delivery("d3", NOW + 1))

    assert not any(
        uplink.on_control_answer(HOME, f"c{n}", ConnectivityResult.FAILED, NOW + 2, domestic=False) for n in range(2)
    )


def test_nothing_is_learned_for_a_moment_after_waking() -> None:
    uplink = over(network_health)
    uplink.on_direct_delivery(HOME, Delivery("a", NOW))
    uplink.on_resume(NOW)

    assert not uplink.well_since(HOME, "b", NOW - 5)
    assert [uplink.may_learn(HOME, NOW + at) for at in (9.9, 10)] == [False, True]


def test_an_inspected_network_is_learned_on_and_a_portal_is_not() -> None:
    uplink = over(network_health)
    assert not uplink.resigned(HOME, "a.one.example", "issuer", control=False)
    assert not uplink.resigned(HOME, "b.one.example", "issuer", control=True)
    assert not uplink.resigned(HOME, "two.example", "issuer", control=False)
    assert not uplink.resigned(HOME, "three.example", "another", control=False)
    assert uplink.resigned(HOME, "three.example", "issuer", control=False)
    assert not uplink.resigned(HOME, "four.example", "issuer", control=False)  # told once
    assert (uplink.network_state(HOME), uplink.may_learn(HOME, NOW)) == (NetworkState.INSPECTED, True)

    assert uplink.on_control_answer(HOME, "control.example", ConnectivityResult.PORTAL, NOW, domestic=False)
    assert not uplink.on_control_answer(HOME, "control.example", ConnectivityResult.PORTAL, NOW, domestic=False)
    assert not uplink.may_learn(HOME, NOW)
    a = Delivery("a", NOW)
    uplink.on_direct_delivery(HOME, a)
    assert uplink.network_state(HOME) is NetworkState.PORTAL
    uplink.on_certificate_accepted(HOME, NOW)
    assert uplink.network_state(HOME) is NetworkState.OK


def test_one_page_in_whose_place_something_comes_is_no_portal_where_clients_trust_what_comes() -> None:
    """A control may be blocked itself, by an address that leads to somebody else."""
    uplink = over(network_health)
    uplink.on_certificate_accepted(HOME, NOW)
    assert not uplink.on_control_answer(HOME, "control.example", ConnectivityResult.PORTAL, NOW + 60, domestic=False)
    assert uplink.network_state(HOME) is NetworkState.OK
    assert uplink.control_wanted(HOME, NOW + 60, waits=False), "it is asked again"

    assert uplink.on_control_answer(HOME, "control.example", ConnectivityResult.PORTAL, NOW + 120, domestic=False)
    assert uplink.needs_control(HOME)
    assert not uplink.on_control_answer(HOME, "control.example", ConnectivityResult.WELL, NOW + 180, domestic=False)
    assert (uplink.network_state(HOME), uplink.needs_control(HOME)) == (NetworkState.OK, False)


def test_a_certificate_of_a_later_time_shows_nothing() -> None:
    """The clock was set back a little."""
    uplink = over(network_health)
    uplink.on_certificate_accepted(HOME, NOW + 0.5)
    assert uplink.on_control_answer(HOME, "control.example", ConnectivityResult.PORTAL, NOW, domestic=False)


def test_nobody_inspects_any_more_when_a_control_shows_its_own_certificate() -> None:
    uplink = over(network_health)
    for host in ("one.example", "two.example", "control.example"):
        uplink.resigned(HOME, host, "issuer", control=host.startswith("control"))
    uplink.on_control_answer(HOME, "other.example", ConnectivityResult.WELL, NOW, domestic=False)
    assert uplink.network_state(HOME) is NetworkState.INSPECTED

    uplink.on_control_answer(HOME, "control.example", ConnectivityResult.WELL, NOW, domestic=False)
    assert uplink.network_state(HOME) is NetworkState.OK


def test_all_controls_are_wanted_when_so_many_domains_fail() -> None:
    uplink = over(network_health)
    for number in range(5):
        assert not uplink.seems_restricted(HOME, NOW)
        uplink.failed(HOME, f"d{number}", NOW)
    assert uplink.seems_restricted(HOME, NOW)
    assert not uplink.seems_restricted(HOME, NOW + 601)
    uplink.offline(HOME)
    assert not uplink.seems_restricted(HOME, NOW)


def test_controls_are_asked_though_domestic_sites_answer_for_the_uplink() -> None:
    uplink = over(network_health)
    for number in range(5):
        uplink.failed(HOME, f"d{number}", NOW)
    assert uplink.control_wanted(HOME, NOW, waits=False)
    uplink.on_control_answer(HOME, "abroad.example", ConnectivityResult.WELL, NOW, domestic=False)
    assert not uplink.seems_restricted(HOME, NOW)
    assert not uplink.control_wanted(HOME, NOW + 60, waits=False), "five sites are blocked, and the others are not"
    for number in range(5):
        uplink.failed(HOME, f"d{number}", NOW + 70)
    assert uplink.control_wanted(HOME, NOW + 70, waits=False), "it may have begun since"


def test_offline_is_news_once_and_over_with_anything_that_delivers() -> None:
    uplink = over(network_health)
    assert [uplink.offline(HOME), uplink.offline(HOME)] == [True, False]
    uplink.online(HOME)
    uplink.online(AWAY)

    assert uplink.network_state(HOME) is NetworkState.OK
    uplink.offline(HOME)
    uplink.forget(HOME)
    assert uplink.network_state(HOME) is NetworkState.OK


@pytest.mark.parametrize("symptom", [Symptom.FORGED, Symptom.RESET])
def test_a_false_address_may_be_that_of_a_portal(symptom: Symptom) -> None:
    """One that leads all names to itself, when no route delivers."""
    seen = Seen()
    seen.learn(outcome(failed(symptom), failed(Symptom.RELAY_REFUSED, Stage.RELAY, TOR), at=seen.now))
    assert seen.wants_a_control() is (symptom is Symptom.FORGED)


def test_a_relay_that_fails_may_be_the_fault_of_the_network_unless_direct_works() -> None:
    seen = Seen()
    seen.works()
    seen.after(60)
    assert not seen.beliefs.suspect_portal_if_quiet(HOME, seen.now)
    assert not seen.wants_a_control()
    seen.after(0.5)
    assert seen.beliefs.suspect_portal_if_quiet(HOME, seen.now)
    assert seen.wants_a_control()


def test_a_relay_is_blamed_only_where_the_network_and_the_clock_are_well() -> None:
    seen = Seen(near=["192.168.1.10"])

    def conditions(host: str = HOST) -> Conditions:
        return seen.beliefs.relay_conditions(host, network=HOME, now=seen.now)

    assert (conditions().may_blame, conditions().clock_is_right, conditions().is_near) == (True, False, False)
    assert conditions("192.168.1.10").is_near
    seen.beliefs.note(CertificateAccepted(), network=HOME, now=seen.now)
    assert conditions().clock_is_right
    seen.after(3600)
    assert conditions().clock_is_right
    seen.after(1)
    assert not conditions().clock_is_right
    seen.beliefs.note(ComputerResumed(), network=HOME, now=seen.now)
    seen.after(9.5)
    assert not conditions().may_blame
    seen.after(1)
    assert conditions().may_blame
    seen.learn(outcome(failed(Symptom.OFFLINE, Stage.CONNECT), at=seen.now))
    assert not conditions().may_blame


def test_a_network_that_is_offline_does_not_become_restricted() -> None:
    uplink = over(network_health)
    uplink.offline(HOME)
    assert not uplink.failed(HOME, "a", NOW)
    assert not uplink.on_control_answer(HOME, "control.example", ConnectivityResult.FAILED, NOW, domestic=False)
    assert uplink.network_state(HOME) is NetworkState.OFFLINE


def test_a_flow_that_stalls_waits_for_a_control_page_of_another_site() -> None:
    seen = Seen()
    beliefs = seen.beliefs
    assert not beliefs.stall_waits(HOME, seen.now)
    beliefs.note(FlowStalled(OTHER), network=HOME, now=seen.now)
    assert [beliefs.may_be_control(host, network=HOME, now=seen.now) for host in (OTHER, HOST)] == [False, True]
    assert beliefs.stall_waits(HOME, seen.after(3).now)
    assert not beliefs.stall_waits(AWAY, seen.now)
    assert seen.wants_a_control()
    assert not beliefs.stall_waits(HOME, seen.after(0.1).now)
    assert beliefs.may_be_control(OTHER, network=HOME, now=seen.now)


def test_a_wrong_clock_is_known_for_an_hour() -> None:
    seen = Seen()
    assert seen.beliefs.clock_ahead(seen.now) == 0
    seen.beliefs.note(ClockMeasured(90.0), network=HOME, now=seen.now)
    assert [seen.beliefs.clock_ahead(seen.now + after) for after in (0, 3600, 3601)] == [90, 90, 0]


def test_of_two_visits_at_once_one_asks_a_control_page() -> None:
    seen = Seen()
    seen.rescued()
    assert [seen.wants_a_control(), seen.wants_a_control()] == [True, False]


def test_a_control_a_minute() -> None:
    uplink = over(network_health)

    assert not uplink.control_wanted(HOME, NOW, waits=False)
    assert [uplink.control_wanted(HOME, NOW + at, waits=True) for at in (0, 59, 60)] == [True, False, True]
    assert uplink.control_wanted(HOME, NOW - 5000, waits=True)  # a clock that was set back shuts it not


def test_it_is_bounded() -> None:
    uplink = over(network_health)
    for number in range(NETWORKS_MAX + 1):
        uplink.offline(NetworkId(f"network-{number}"))
    for number in range(FAILING_MAX * 2):
        uplink.failed(AWAY, f"d{number}", NOW)
        uplink.resigned(AWAY, f"d{number}.example", "issuer", control=False)
        uplink.resigned(AWAY, "d.example", f"issuer-{number}", control=False)

    assert uplink.network_state(NetworkId("network-0")) is NetworkState.OK
    assert uplink.network_state(NetworkId(f"network-{NETWORKS_MAX}")) is NetworkState.OFFLINE
    uplink.forget()
    assert uplink.network_state(NetworkId(f"network-{NETWORKS_MAX}")) is NetworkState.OK


def test_a_change_of_state_raises_the_generations() -> None:
    uplink = over(network_health, settings=DetectTuning(restricted_in_vain=3))
    seen: list[tuple[NetworkState, bool]] = []
    generation = uplink.generations.of(HOME, "a.example")

    def look() -> None:
        nonlocal generation
        before, generation = generation, uplink.generations.of(HOME, "a.example")
        seen.append((uplink.network_state(HOME), generation != before))

    for number in range(5):
        uplink.failed(HOME, f"d{number}", NOW)
    uplink.on_direct_delivery(HOME, Delivery("domestic.test", NOW))
    look()
    for page in ("one.test", "two.test"):
        uplink.on_control_answer(HOME, page, ConnectivityResult.FAILED, NOW, domestic=False)
    look()
    for _ in range(2):
        uplink.relayed(HOME, NOW, delivered=False)
    look()
    for _ in range(2):
        uplink.relayed(HOME, NOW, delivered=False)
    look()
    for _ in range(2):
        uplink.relayed(HOME, NOW, delivered=True)
    look()
    uplink.forget(HOME)
    look()

    assert seen == [
        (NetworkState.OK, True),  # a network is seen for the first time
        (NetworkState.RESTRICTED, True),
        (NetworkState.RESTRICTED, False),
        (NetworkState.SHUT, True),
        (NetworkState.RESTRICTED, True),
        (NetworkState.OK, True),
    ]


def test_a_network_that_is_dropped_for_another_one_is_a_change() -> None:
    uplink = over(network_health)
    uplink.offline(HOME)
    for number in range(NETWORKS_MAX - 1):
        uplink.suspect_portal(NetworkId(f"network-{number}"))
    generation = uplink.generations.of(HOME, "a.example")
    assert uplink.network_state(HOME) is NetworkState.OFFLINE

    uplink.suspect_portal(AWAY)

    assert uplink.network_state(HOME) is NetworkState.OK
    assert uplink.generations.of(HOME, "a.example") != generation


# -- a domestic control page of another country ------------------------------------------------------------------------


class _Abroad:
    """A network whose domestic control page, as the default one in most countries, never answers."""

    def __init__(self) -> None:
        self.health = over(network_health)
        self.now = NOW

    def is_restricted(self) -> bool:
        return self.health.network_state(HOME) is NetworkState.RESTRICTED

    def fails(self, *domains: str) -> None:
        for domain in domains:
            self.now += 1
            self.health.failed(HOME, domain, self.now)

    def delivers(self, domain: str = "shop") -> None:
        self.now += 1
        self.health.on_direct_delivery(HOME, Delivery(domain, self.now))

    def wants_controls(self, after_s: float) -> bool:
        self.now += after_s
        return bool(self.health.control_wanted(HOME, self.now, waits=True))

    def controls(self, result: ConnectivityResult = ConnectivityResult.FAILED, *, after_s: float = 60) -> None:
        """The pages are requested a minute after the last time; each answers or fails after 10 s."""
        assert self.wants_controls(after_s)
        self.now += 10
        failed = ConnectivityResult.FAILED
        for host, what, domestic in (("egov.example", failed, True), ("c0", result, False), ("c1", result, False)):
            self.health.on_control_answer(HOME, host, what, self.now, domestic=domestic)


FIVE = tuple(f"d{number}" for number in range(5))


def test_visited_hosts_that_deliver_are_the_domestic_answer() -> None:
    network = _Abroad()
    network.fails(*FIVE)
    network.delivers()
    network.controls()
    assert not network.is_restricted(), "once may be an outage"
    network.delivers()
    network.controls()
    assert network.is_restricted()
    network.controls(ConnectivityResult.WELL)
    assert not network.is_restricted()


def test_pages_that_failed_are_requested_again_soon_while_two_sites_deliver() -> None:
    network = _Abroad()
    network.fails(*FIVE[:4])
    network.delivers("shop")
    network.delivers("bank")
    network.controls()
    assert network.health.needs_control(HOME), "beside any visit"
    assert not network.wants_controls(5), "nothing has delivered since the pages failed"
    network.delivers("shop")
    network.controls(after_s=0)
    assert network.is_restricted()


def test_a_site_that_delivers_while_the_pages_are_silent_has_delivered_in_between() -> None:
    """Each site that is not listed takes its visitor half a minute, and pages are requested as it fails."""
    network = _Abroad()
    network.fails(*FIVE)
    for _ in range(2):
        requested_at = network.now + 60
        assert network.wants_controls(60)
        network.delivers()
        network.now += 9
        for host, domestic in (("egov.example", True), ("c0", False), ("c1", False)):
            network.health.on_control_answer(
                HOME, host, ConnectivityResult.FAILED, network.now, domestic=domestic, requested_at=requested_at
            )
    assert network.is_restricted()


def test_not_at_once_and_not_where_one_site_alone_delivers() -> None:
    network = _Abroad()
    network.fails(*FIVE)
    network.controls()
    network.delivers("shop")
    assert not network.wants_controls(10)
    network.delivers("bank")
    network.controls(after_s=60)
    assert network.is_restricted(), "a minute later one is enough"

    network = _Abroad()
    network.fails(*FIVE)
    network.delivers("shop")
    network.controls()
    network.delivers("bank")
    assert not network.wants_controls(3)
    assert network.wants_controls(1)


def test_after_an_outage_the_pages_answer_and_are_not_requested_a_third_time() -> None:
    """As when a router was restarted."""
    network = _Abroad()
    network.fails(*FIVE)
    network.controls()
    network.delivers("shop")
    network.delivers("bank")
    network.controls(ConnectivityResult.WELL, after_s=5)
    assert not network.is_restricted()
    assert not network.health.needs_control(HOME)
    network.fails(*FIVE)
    network.delivers("shop")
    network.delivers("bank")
    assert not network.wants_controls(5)


def test_all_are_requested_at_once_though_one_alone_was_just_before() -> None:
    network = _Abroad()
    network.fails(*FIVE[:2])
    assert network.wants_controls(0)
    network.health.on_control_answer(HOME, "c0", ConnectivityResult.FAILED, network.now, domestic=False)
    assert not network.wants_controls(1)
    network.fails(*FIVE)
    network.delivers("shop")
    network.controls(after_s=0)
    assert not network.wants_controls(0)
    network.delivers("bank")
    network.controls(after_s=5)
    assert network.is_restricted(), "one page failed for the third time, the other for the second"


def test_its_innocent_twins_are_no_restriction() -> None:
    dead = _Abroad()  # an outage, however long
    dead.delivers()
    dead.fails(*FIVE)
    for _ in range(5):
        dead.controls()
        dead.fails("d5")
    assert not dead.is_restricted()

    over = _Abroad()  # which then ends
    over.fails(*FIVE)
    over.controls()
    over.delivers()
    over.fails("broken", "broken-too")
    assert not over.is_restricted()
    over.controls(ConnectivityResult.WELL)
    over.delivers()
    over.fails("broken")
    assert not over.is_restricted()

    ends_meanwhile = _Abroad()  # while the pages are requested for the second time
    ends_meanwhile.fails(*FIVE)
    ends_meanwhile.controls()
    ends_meanwhile.now += 60
    assert ends_meanwhile.health.control_wanted(HOME, ends_meanwhile.now, waits=True)
    ends_meanwhile.delivers()
    for page in ("c0", "c1"):
        ends_meanwhile.health.on_control_answer(
            HOME, page, ConnectivityResult.FAILED, ends_meanwhile.now, domestic=False
        )
    assert not ends_meanwhile.is_restricted()

    flaps = _Abroad()  # two outages, with one moment between them in which somebody asks
    flaps.fails(*FIVE)
    flaps.delivers()
    flaps.controls()
    flaps.controls()
    assert not flaps.is_restricted()


def test_where_plain_http_passes_only_https_is_blocked() -> None:
    network = _Abroad()
    network.fails(*FIVE)
    network.controls()
    network.health.on_plain_page(HOME, came=True)
    assert network.health.network_state(HOME) is NetworkState.OK, "anybody may have sent it"
    network.delivers()
    network.controls()
    assert network.health.network_state(HOME) is NetworkState.NO_HTTPS
    for _ in range(9):
        network.health.relayed(HOME, network.now, delivered=False)
    assert network.health.network_state(HOME) is NetworkState.NO_HTTPS
    generation = network.health.generations.of(HOME, "a.example")
    network.health.on_plain_page(HOME, came=False)
    assert network.health.network_state(HOME) is NetworkState.SHUT
    assert network.health.generations.of(HOME, "a.example") != generation

    network.health.on_plain_page(HOME, came=True)
    network.controls(ConnectivityResult.WELL)
    network.fails(*FIVE)
    network.controls()
    network.delivers()
    network.controls()
    assert network.health.network_state(HOME) is NetworkState.SHUT, "it was asked before all was well"


@pytest.mark.parametrize("how", ["a page answers", "sleep"])
def test_a_plain_page_of_before_says_nothing_about_a_later_restriction(how: str) -> None:
    network = _Abroad()
    network.health.on_plain_page(HOME, came=True)
    if how == "sleep":
        network.health.on_resume(network.now)
    else:
        network.health.on_control_answer(HOME, "c0", ConnectivityResult.WELL, network.now, domestic=False)
    network.fails(*FIVE)
    network.controls()
    network.delivers()
    network.controls()
    assert network.health.network_state(HOME) is NetworkState.RESTRICTED


def test_one_foreign_page_that_answers_is_enough_against_it() -> None:
    network = _Abroad()
    network.fails(*FIVE)
    for _ in range(3):
        network.delivers()
        network.controls()
        network.health.on_control_answer(HOME, "c1", ConnectivityResult.WELL, network.now, domestic=False)
        network.fails(*FIVE)
    assert not network.is_restricted()


def test_a_resolver_fails_once_it_failed_for_two_domains_and_until_it_resolves_one() -> None:
    health = over(network_health)
    health.on_unresolved(HOME, "a")
    health.on_unresolved(HOME, "a")
    assert not health.resolver_fails(HOME)
    health.on_unresolved(HOME, "b")
    assert (health.resolver_fails(HOME), health.resolver_fails(AWAY)) == (True, False)
    health.on_resolved(HOME)
    health.on_unresolved(HOME, "c")
    assert not health.resolver_fails(HOME)
    health.on_unresolved(AWAY, "a", "b")
    health.forget(AWAY)
    assert not health.resolver_fails(AWAY)
    for number in range(NETWORKS_MAX + 1):
        health.on_unresolved(NetworkId(f"n{number}"), "a", "b")
    assert len(health.unresolved) == NETWORKS_MAX


def test_a_host_is_forgotten_with_the_domain_that_stands_for_it() -> None:
    """What the others have led to stays."""
    health = over(network_health)
    for domain in ("gone.test", "kept.test"):
        for network in (HOME, AWAY):
            health.failed(network, domain, NOW)
            health.on_unresolved(network, domain)
            health.on_unwitnessed_stall(network, domain, NOW)
            health.resigned(network, f"www.{domain}", "issuer", control=False)
            health.on_control_answer(network, f"www.{domain}", ConnectivityResult.FAILED, NOW, domestic=False)
        health.on_direct_delivery(HOME, Delivery(domain, NOW + len(domain)))
        health.failed(HOME, domain, NOW)
    health.on_direct_delivery(HOME, Delivery("gone.test", NOW + 20))
    health.failed(HOME, "gone.test", NOW)
    health.forget_hosts(on_network(HOME, "www.gone.test"))
    assert "gone.test" not in repr(health.networks[HOME])
    assert "gone.test" in repr(health.networks[AWAY])
    assert (health.unresolved[HOME], len(health.unresolved[AWAY])) == (frozenset({"kept.test"}), 2)
    assert (health.failed_at(HOME, "kept.test"), health.stall_waits(HOME, NOW, domain="kept.test")) == (NOW, True)
    assert [health.well_since(HOME, domain, NOW + 9) for domain in ("kept.test", "gone.test")] == [True, True]
    assert not health.well_since(HOME, "other.test", NOW + 10), "nor does it show any more that direct works"
