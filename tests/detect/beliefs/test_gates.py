from __future__ import annotations

from proxy.detect.beliefs import counting, network_health
from proxy.detect.beliefs.counting import OBSERVED_MAX
from proxy.detect.beliefs.state import WAITING_MAX, Waiting
from proxy.detect.beliefs.tables import on_network
from proxy.detect.signals import Observed
from proxy.model import DIRECT, Attempt, Signal, SignalId, Stage
from tests.detect.beliefs.inside import waiting_hosts
from tests.detect.world import over
from tests.support.outcomes import AWAY, HOME

NOW = 1_000_000.0
KEY = (HOME, "a.example.org")


def seen(kind: str = "tls_reset", at: float = NOW) -> Observed:
    return Observed(Signal(SignalId(kind), 2.0, "sni_reset", at), Attempt(DIRECT, Stage.FIRST_BYTE), at - 0.1)


def test_G2_half_a_minute_and_once() -> None:
    gates = over(counting, network_health)
    gates.await_other_route(KEY, [seen()], NOW)
    assert gates.take_for(KEY, NOW + 30) == Waiting((seen(),), NOW)
    assert gates.take_for(KEY, NOW + 30) is None
    gates.await_other_route(KEY, [seen()], NOW)

    assert gates.take_for(KEY, NOW + 30.1) is None


def test_what_nothing_was_compared_with() -> None:
    gates = over(counting, network_health)
    gates.compared(KEY)  # of which nothing waits
    gates.await_other_route(KEY, [seen()], NOW)
    assert gates.uncompared(KEY, NOW) is None
    gates.await_other_route(KEY, [seen()], NOW, compared=False)
    assert gates.uncompared(KEY, NOW + 120) == Waiting((seen(),), NOW, compared=False)
    assert gates.uncompared(KEY, NOW + 121) is None
    gates.compared(KEY)
    assert gates.uncompared(KEY, NOW) is None
    assert gates.take_for(KEY, NOW) is not None


def test_a_relay_has_two_minutes_to_carry_more() -> None:
    gates = over(counting, network_health)
    gates.prove_later(KEY, Waiting((seen("frozen"),), NOW))
    assert gates.proven(KEY, NOW + 120) is not None
    gates.prove_later(KEY, Waiting((seen("frozen"),), NOW))

    assert gates.proven(KEY, NOW + 121) is None


def test_G1_another_domain_on_the_same_network() -> None:
    gates = over(counting, network_health)
    gates.wait(KEY, [seen()], "why", NOW)

    assert gates.release(HOME, "example.org", NOW + 1) == []
    assert gates.release(AWAY, "example.net", NOW + 1) == []
    assert gates.release(HOME, "example.net", NOW + 1) == [(KEY, Waiting((seen(),), NOW, "why"))]
    assert not gates.at_control


def test_of_which_domain_something_waits() -> None:
    gates = over(counting, network_health)
    gates.wait(KEY, [seen()], "why", NOW)
    domain = "example.org"

    places = ((HOME, domain), (HOME, "a.test"), (AWAY, domain))
    assert [gates.pending_for_domain(*place, NOW + 10) for place in places] == [
        True, False, False,
    ]  # fmt: skip
    assert not gates.pending_for_domain(HOME, domain, NOW + 10.1)


def test_G1_what_came_before_the_flight_opens_nothing() -> None:
    gates = over(counting, network_health)
    gates.wait(KEY, [seen(at=NOW)], "why", NOW)
    (sent,) = {observed.sent for observed in (seen(at=NOW),)}

    assert gates.release(HOME, "example.net", NOW + 1, came_at=sent - 0.5) == []
    assert gates.release(HOME, "example.net", NOW + 1, came_at=sent) != []


def test_G1_what_joins_later_keeps_its_own_time() -> None:
    gates = over(counting, network_health)
    gates.wait(KEY, [seen()], "first", NOW)
    gates.wait(KEY, [seen("tls_eof", NOW + 9)], "second", NOW + 9)
    gates.wait(KEY, [seen("tls_eof", NOW + 11)], "third", NOW + 11)
    ((_, waiting),) = gates.release(HOME, "example.net", NOW + 18)

    assert [observed.signal.at for observed in waiting.observed] == [NOW + 9, NOW + 11]
    assert not gates.waits(HOME, NOW + 18)


def test_G1_is_shut_after_ten_seconds() -> None:
    gates = over(counting, network_health)
    gates.wait(KEY, [seen()], "why", NOW)
    assert gates.waits(HOME, NOW + 10)

    assert not gates.waits(HOME, NOW + 10.1)
    assert not gates.at_control


def test_what_waits_is_bounded() -> None:
    gates = over(counting, network_health)
    for number in range(WAITING_MAX + 5):
        gates.wait((HOME, f"h{number}.example.org"), [seen()], "why", NOW)
    for _ in range(OBSERVED_MAX + 5):
        gates.wait(KEY, [seen()], "why", NOW)
    opened = dict(gates.release(HOME, "example.net", NOW))

    assert len(opened) == WAITING_MAX
    assert len(opened[KEY].observed) == OBSERVED_MAX


def test_annulled_forgotten_and_void() -> None:
    gates = over(counting, network_health)

    def fill() -> None:
        gates.wait(KEY, [seen()], "why", NOW)
        gates.await_other_route(KEY, [seen()], NOW)
        gates.prove_later(KEY, Waiting((seen("frozen"),), NOW))

    fill()
    gates.cancel(KEY)
    assert waiting_hosts(gates.state) == {KEY}  # a frozen flow has delivered too
    for table in gates.state.host_tables:
        table.forget(on_network(*KEY))
    assert waiting_hosts(gates.state) == set()
    fill()
    gates.drop_waiting()
    assert waiting_hosts(gates.state) == set()
