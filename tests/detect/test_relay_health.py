from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.relay_faults import RelayFault
from proxy.detect.relay_health import Conditions, Health, relay_name
from proxy.model import DIRECT, Attempt, MeasurementStep, Route, Stage, StepKind, StepResult, Symptom, as_evidence
from tests.support.outcomes import TOR, VPS, delivered, failed, outcome
from tests.support.rows import each_row

NAMES = ["tor", "vps", "home"]
NOW = 1_000_000.0


class _NoJitter(random.Random):
    def random(self) -> float:
        return 0.0


@pytest.fixture
def health() -> Health:
    return Health(DetectTuning(), rng=_NoJitter())


def fail(health: Health, name: str, times: int, now: float = NOW) -> None:
    for _ in range(times):
        health.failed(name, now, error="connection refused")


def test_the_users_order_stands(health: Health) -> None:
    assert health.order(NAMES, NOW) == NAMES
    health.worked("home", NOW, elapsed_s=0.1)
    assert health.order(NAMES, NOW) == NAMES


def test_E30_three_failures_open_the_breaker_and_order_it_last(health: Health) -> None:
    fail(health, "tor", 2)
    assert health.order(NAMES, NOW) == NAMES
    assert not health.is_open("tor", NOW)

    fail(health, "tor", 1)

    assert health.order(NAMES, NOW) == ["vps", "home", "tor"]
    assert health.is_open("tor", NOW)
    assert health.of("tor").last_error == "connection refused"
    assert health.order(NAMES, NOW + 5) == NAMES  # tried again


def test_all_open_still_are_all_there_the_soonest_first(health: Health) -> None:
    fail(health, "tor", 5)
    fail(health, "vps", 3)
    fail(health, "home", 4)

    assert health.order(NAMES, NOW) == ["vps", "home", "tor"]


def test_E32_the_wait_doubles_up_to_a_limit(health: Health) -> None:
    waits = []
    for _ in range(12):
        health.failed("tor", NOW)
        waits.append(max(0.0, health.of("tor").open_until - NOW))

    assert waits == [0, 0, 5, 10, 20, 40, 80, 160, 300, 300, 300, 300]


def test_E32_jitter_only_lengthens() -> None:
    health = Health(DetectTuning(), rng=random.Random(3))
    waits = set()
    for number in range(50):
        fail(health, f"relay{number}", 3)
        waits.add(health.of(f"relay{number}").open_until - NOW)

    assert len(waits) == 50
    assert all(5 <= wait <= 6.5 for wait in waits)


def test_one_success_closes_it(health: Health) -> None:
    fail(health, "tor", 9)
    health.worked("tor", NOW + 1)

    assert health.order(NAMES, NOW + 1) == NAMES
    fail(health, "tor", 1)
    assert not health.is_open("tor", NOW)


def test_E33_a_slow_relay_comes_after_the_quick_ones(health: Health) -> None:
    for _ in range(10):
        health.worked("tor", NOW, elapsed_s=9.0)
        health.worked("vps", NOW, elapsed_s=0.5)
    fail(health, "home", 3)

    assert health.order(NAMES, NOW) == ["vps", "tor", "home"]


def test_a_slow_country_makes_no_relay_slow(health: Health) -> None:
    health.worked("tor", NOW, elapsed_s=1.9)
    health.worked("vps", NOW, elapsed_s=0.2)
    assert health.order(NAMES, NOW) == NAMES  # under two seconds

    health.worked("tor", NOW, elapsed_s=8.0)
    health.worked("vps", NOW, elapsed_s=8.0)
    assert health.order(NAMES, NOW) == NAMES  # all are


def test_F87_a_clock_set_back_does_not_keep_a_breaker_open(health: Health) -> None:
    fail(health, "tor", 3)

    assert not health.is_open("tor", NOW - 86_400)


BLAMED = [
    (Symptom.RELAY_DOWN, Stage.CONNECT),
    (Symptom.RELAY_DOWN, Stage.RELAY),
    (Symptom.RELAY_AUTH, Stage.RELAY),
    (Symptom.RELAY_GARBAGE, Stage.RELAY),
    (Symptom.TIMEOUT, Stage.RELAY),
    (Symptom.GARBAGE, Stage.FIRST_BYTE),  # E34: "connected", and then somebody else's page
    (Symptom.EOF, Stage.FIRST_BYTE),
]
FACTS = (Symptom.RELAY_AUTH, Symptom.RELAY_GARBAGE)
NOT_BLAMED = [
    (Symptom.RELAY_REFUSED, Stage.RELAY),
    (Symptom.SKIPPED, Stage.CONNECT),
    (Symptom.ABANDONED, Stage.RELAY),
    (Symptom.LOCAL, Stage.CONNECT),
    (Symptom.OFFLINE, Stage.CONNECT),
    (Symptom.NONE, Stage.FIRST_BYTE),
]


@pytest.mark.parametrize(("symptom", "stage"), BLAMED)
def test_a_relay_is_blamed_when_another_route_worked(health: Health, symptom: Symptom, stage: Stage) -> None:
    health.learn(outcome(failed(symptom, stage, TOR, error="why"), delivered(VPS)), NOW)

    tor = health.of("tor")
    assert (tor.failures, tor.failed_at, tor.last_error) == (1, NOW, "why")
    assert health.of("vps").worked_at == NOW


@pytest.mark.parametrize(("symptom", "stage"), NOT_BLAMED)
def test_what_is_not_the_relays_fault(health: Health, symptom: Symptom, stage: Stage) -> None:
    health.learn(outcome(failed(symptom, stage, TOR), delivered(VPS)), NOW)

    assert health.of("tor").failures == 0


@pytest.mark.parametrize(
    ("took_s", "stage", "winner", "failures"),
    [
        (3.0, Stage.RELAY, VPS, 1), (3.0, Stage.CONNECT, VPS, 1), (2.9, Stage.RELAY, VPS, 0),
        (3.0, Stage.FIRST_BYTE, VPS, 0), (3.0, Stage.RELAY, DIRECT, 0),
    ],
)  # fmt: skip
def test_a_silent_relay_that_another_relay_overtook_is_blamed(
    health: Health, took_s: float, stage: Stage, winner: Route, failures: int
) -> None:
    overtaken = failed(Symptom.ABANDONED, stage, TOR, elapsed=took_s)
    health.learn(outcome(overtaken, delivered(winner)), NOW)
    assert health.of("tor").failures == failures
    assert not health.faults(), "it may only be slow"
    for _ in range(2):
        health.learn(outcome(overtaken, delivered(winner)), NOW)
    assert health.is_open("tor", NOW) is bool(failures)
    assert [noted.fault for noted in health.faults().values()] == [RelayFault.SILENT] * failures


def test_one_whose_socks_handshake_was_dropped_meanwhile_is_said_to_be_filtered_at_once(health: Health) -> None:
    overtaken = failed(Symptom.ABANDONED, Stage.CONNECT, TOR, elapsed=3.0)
    health.learn(outcome(replace(overtaken, evidence={"greeting": 1, "unacked": 1}), delivered(VPS)), NOW)
    assert health.faults()["tor"].fault is RelayFault.SOCKS_UNANSWERED


@pytest.mark.parametrize(("symptom", "stage"), [row for row in BLAMED if row[0] not in FACTS])
def test_what_may_be_the_networks_doing_is_not_blamed_when_nothing_worked(
    health: Health, symptom: Symptom, stage: Stage
) -> None:
    health.learn(outcome(failed(), failed(symptom, stage, TOR)), NOW)

    assert health.of("tor").failures == 0


def refused(name: str = "tor", symptom: Symptom = Symptom.RELAY_DOWN, **evidence: str | int) -> Attempt:
    """An attempt that failed at relay `name` itself."""
    attempt = failed(symptom, Stage.RELAY, Route((name,)), error="why")
    return replace(attempt, evidence=as_evidence(evidence))


AT_ONCE = [
    (Symptom.RELAY_DOWN, {"relay": "refused"}, RelayFault.CONNECTION_REFUSED),
    (Symptom.RELAY_DOWN, {"relay": "no_name"}, RelayFault.NO_SUCH_HOST),
    (Symptom.RELAY_DOWN, {"relay": "eof"}, RelayFault.BROKE_OFF),
    (Symptom.RELAY_DOWN, {"relay": "addon"}, RelayFault.ADDON),
    (Symptom.RELAY_AUTH, {}, RelayFault.CREDENTIALS_REFUSED),
    (Symptom.RELAY_AUTH, {"relay": "in_clear"}, RelayFault.CREDENTIALS_IN_CLEAR),
    (Symptom.RELAY_AUTH, {"relay": "certificate"}, RelayFault.BAD_CERTIFICATE),
    (Symptom.RELAY_GARBAGE, {}, RelayFault.WRONG_PROTOCOL),
]


@pytest.mark.parametrize(("symptom", "evidence", "fault"), AT_ONCE)
def test_a_fact_about_a_relay_needs_no_other_route(
    health: Health, symptom: Symptom, evidence: dict[str, str], fault: RelayFault
) -> None:
    health.learn(outcome(failed(), refused(symptom=symptom, **evidence)), NOW)

    noted = health.faults()["tor"]
    assert (noted.fault, noted.since, noted.error) == (fault, NOW, "why")
    assert health.order(NAMES, NOW) == ["vps", "home", "tor"], "last, and still there"
    assert health.order(["tor"], NOW) == ["tor"]


def test_the_wait_of_a_relay_that_refuses_doubles_with_each_connection(health: Health) -> None:
    waits = []
    for _ in range(3):
        tries = [refused(relay="refused") for _ in range(6)]  # however often one connection tries it
        health.learn(outcome(failed(), *tries), NOW)
        waits.append(health.of("tor").open_until - NOW)

    assert waits == [5, 10, 20]
    assert health.faults()["tor"].since == NOW


def test_a_success_clears_a_fault(health: Health) -> None:
    health.learn(outcome(failed(), refused(relay="refused")), NOW)
    health.learn(outcome(failed(), delivered(TOR)), NOW + 1)

    assert not health.faults()
    assert health.order(NAMES, NOW + 1) == NAMES


def test_another_network_clears_all_faults(health: Health) -> None:
    health.learn(outcome(failed(), refused(relay="refused")), NOW)
    health.clear_faults()

    assert not health.faults()
    assert health.order(NAMES, NOW) == NAMES


@pytest.mark.parametrize(("symptom", "evidence", "fault"), AT_ONCE)
def test_nothing_counts_offline_behind_a_portal_or_just_after_waking(
    health: Health, symptom: Symptom, evidence: dict[str, str], fault: RelayFault
) -> None:
    health.learn(outcome(failed(), refused(symptom=symptom, **evidence)), NOW, Conditions(may_blame=False))

    assert not health.faults()
    assert health.of("tor").failures == 0


def test_E35_a_certificate_of_another_day_counts_only_when_the_clock_is_right(health: Health) -> None:
    seen = outcome(failed(), refused(symptom=Symptom.RELAY_AUTH, relay="certificate", clock=1))
    health.learn(seen, NOW)
    assert not health.faults()
    health.learn(seen, NOW, Conditions(clock_is_right=True))

    assert health.faults()["tor"].fault is RelayFault.CERTIFICATE_DATE
    assert "clock" in RelayFault.CERTIFICATE_DATE.text


def test_silence_counts_once_another_route_has_worked(health: Health) -> None:
    health.learn(outcome(failed(), refused(relay="timeout"), at=NOW - 10), NOW)
    assert not health.faults()
    assert health.order(NAMES, NOW) == NAMES

    health.learn(outcome(delivered(), at=NOW + 1), NOW + 2)

    assert health.faults()["tor"].fault is RelayFault.SILENT


def test_silence_counts_when_another_route_worked_meanwhile(health: Health) -> None:
    health.learn(outcome(delivered(), at=NOW - 6), NOW - 5)
    health.learn(outcome(failed(), refused(relay="timeout"), at=NOW - 10), NOW)

    assert health.faults()["tor"].fault is RelayFault.SILENT


@pytest.mark.parametrize("later_s", [-11, 31])
def test_silence_does_not_count_when_the_other_route_worked_long_before_or_after(
    health: Health, later_s: float
) -> None:
    if later_s < 0:
        health.learn(outcome(delivered()), NOW + later_s)
    health.learn(outcome(failed(), refused(relay="timeout"), at=NOW - 10), NOW)
    if later_s > 0:
        health.learn(outcome(delivered()), NOW + later_s)

    assert not health.faults()


def test_a_host_on_our_own_network_says_nothing_of_the_way_to_a_relay(health: Health) -> None:
    health.learn(outcome(failed(), refused(relay="timeout"), at=NOW - 10), NOW)
    health.learn(outcome(delivered()), NOW + 1, Conditions(is_near=True))

    assert not health.faults()


def test_a_relay_that_passes_nothing_on_once_has_no_fault_yet(health: Health) -> None:
    for times in range(3):
        assert not health.faults(), times
        health.learn(outcome(failed(Symptom.EOF, route=TOR), delivered(VPS)), NOW)

    assert health.faults()["tor"].fault is RelayFault.DELIVERS_NOTHING


def test_a_relay_whose_transfer_stalled_goes_last_for_a_minute_or_until_it_works(health: Health) -> None:
    version = health.version
    health.stalled("tor", NOW, error="a transfer stopped after 17000 bytes")
    assert health.version > version, "no kept plan may lead there"
    assert health.order(["tor", "vps"], NOW + 59) == ["vps", "tor"]
    assert health.order(["tor", "vps"], NOW + 61) == ["tor", "vps"]
    fault = health.faults()["tor"]
    assert (fault.fault, fault.since, fault.error) == (
        RelayFault.STALLED, NOW, "a transfer stopped after 17000 bytes"
    )  # fmt: skip
    health.worked("tor", NOW + 5, elapsed_s=0.2)
    assert health.order(["tor", "vps"], NOW + 6) == ["tor", "vps"]
    assert not health.faults()


def test_a_relay_that_was_down_for_longer_does_not_come_back_sooner_by_a_stall(health: Health) -> None:
    fail(health, "tor", 20)
    health.stalled("tor", NOW, error="it stopped")
    assert health.order(["tor", "vps"], NOW + 200) == ["vps", "tor"]


def test_a_short_longest_back_off_bounds_that_of_a_stall() -> None:
    health = Health(DetectTuning(relay_backoff_max_s=10.0, relay_backoff_jitter=0.0))
    health.stalled("tor", NOW, error="it stopped")
    assert health.order(["tor", "vps"], NOW + 9) == ["vps", "tor"]
    assert health.order(["tor", "vps"], NOW + 11) == ["tor", "vps"]


def test_a_measurement_tells_of_relays_too(health: Health) -> None:
    steps = (
        MeasurementStep(
            StepKind.RELAY, TOR, StepResult.FAILED, Symptom.RELAY_DOWN, "refused", evidence={"relay": "refused"}
        ),
        MeasurementStep(
            StepKind.RELAY, VPS, StepResult.FAILED, Symptom.RELAY_DOWN, "silent", evidence={"relay": "timeout"}
        ),
        MeasurementStep(StepKind.CONTROL, DIRECT, StepResult.OK),
    )
    health.learn_steps(steps, NOW - 5, NOW)
    assert {name: noted.fault for name, noted in health.faults().items()} == {
        "tor": RelayFault.CONNECTION_REFUSED,
        "vps": RelayFault.SILENT,
    }
    health.learn_steps([MeasurementStep(StepKind.ANSWER, TOR, StepResult.OK)], NOW, NOW + 1)
    assert set(health.faults()) == {"vps"}


def test_a_relay_that_won_with_another_wrapper_is_not_blamed(health: Health) -> None:
    health.learn(outcome(delivered(Route(("tor",), ("tlsrec",))), failed(Symptom.RESET, route=TOR)), NOW)

    assert health.of("tor").failures == 0


def test_a_chain_stands_for_itself(health: Health) -> None:
    chain = Route(("vps", "tor"))
    health.learn(outcome(failed(Symptom.RELAY_DOWN, Stage.RELAY, chain), delivered(TOR)), NOW)

    assert relay_name(chain) == "vps>tor"
    assert (health.of("vps>tor").failures, health.of("vps").failures, health.of("tor").failures) == (1, 0, 0)


def test_the_time_to_the_first_byte_is_smoothed(health: Health) -> None:
    health.learn(outcome(delivered(TOR, elapsed=1.0)), NOW)
    assert health.of("tor").usual_s == pytest.approx(1.0)
    health.learn(outcome(delivered(TOR, elapsed=2.0)), NOW)

    assert health.of("tor").usual_s == pytest.approx(1.3)


def test_a_reload_forgets_relays_that_are_gone(health: Health) -> None:
    for name in ("tor", "old", "old>tor", "vps>tor"):
        fail(health, name, 3)
    health.keep(["tor", "vps"])

    assert [health.of(name).failures for name in ("tor", "old", "old>tor", "vps>tor")] == [3, 0, 0, 3]


def test_silence_counts_when_a_site_worked_direct_meanwhile(health: Health) -> None:
    """Whoever delivered, it was not told of here: most connections are not."""
    seen = outcome(failed(), refused(relay="timeout"), at=NOW - 10)
    health.learn(seen, NOW, Conditions(direct_worked_at=NOW - 11))
    assert not health.faults()
    assert health.unconfirmed
    health.learn(seen, NOW, Conditions(direct_worked_at=NOW - 5))

    assert health.faults()["tor"].fault is RelayFault.SILENT
    assert not health.unconfirmed


# -- an order that is kept ---------------------------------------------------------------------------------------------


def _kept_orders(
    seed: int, *, versions_count: bool = True, ends_count: bool = True, steps: int = 2000
) -> tuple[int, int]:
    """Keeps orders over a random history. Returns how often one was used, and how often it had changed. Raises
    AssertionError where one is used that is wrong."""
    rng = random.Random(seed)
    health = Health(DetectTuning(), rng=rng)
    now = NOW
    kept: dict[tuple[str, ...], tuple[list[str], int, float]] = {}
    used = changed = 0
    for _ in range(steps):
        now += rng.choice((0.0, 0.1, 1.0, 5.0, 30.0))
        name = rng.choice((*NAMES, "vps>tor"))
        match rng.choice(("worked", "worked", "slow", "failed", "failed", "learn", "clear", "keep", "nothing")):
            case "worked":
                health.worked(name, now, elapsed_s=rng.choice((None, 0.1, 0.3, 0.7)))
            case "slow":
                health.worked(name, now, elapsed_s=rng.choice((1.0, 4.0, 9.0)))
            case "failed":
                health.failed(name, now, fault=rng.choice((None, RelayFault.CONNECTION_REFUSED)))
            case "learn":
                health.learn(outcome(failed(Symptom.SILENT, route=VPS), delivered(TOR), at=now - 5), now)
            case "clear" if rng.random() < 0.05:
                health.clear_faults()
            case "keep" if rng.random() < 0.05:
                health.keep(rng.sample(NAMES, 2))
        names = tuple(rng.sample([*NAMES, "new"], rng.randint(2, 4)))
        order = health.order(names, now)
        if names in kept:
            before, version, until = kept[names]
            changed += order != before
            if (version == health.version or not versions_count) and (now < until or not ends_count):
                used += 1
                assert order == before
        kept[names] = (order, health.version, health.order_until(now))
    return used, changed


@each_row("seed", range(5))
def test_an_order_is_the_same_while_version_and_time_say_so(seed: int) -> None:
    used, changed = _kept_orders(seed)

    assert min(used, changed) > 20


def test_neither_version_nor_time_alone_tells_that_the_order_is_the_same() -> None:
    for alone in ({"versions_count": False}, {"ends_count": False}):
        with pytest.raises(AssertionError):
            _kept_orders(0, **alone)


def test_what_changes_no_order_leaves_the_version(health: Health) -> None:
    for elapsed_s in (0.1, 0.5, 1.9):
        health.learn(outcome(delivered(TOR, elapsed=elapsed_s)), NOW)
        health.learn(outcome(delivered(VPS, elapsed=elapsed_s)), NOW)
    health.failed("tor", NOW)
    health.clear_faults()

    assert (health.version, health.order_until(NOW)) == (0, math.inf)


def test_an_order_is_kept_until_the_first_back_off_is_over(health: Health) -> None:
    fail(health, "tor", 3)
    fail(health, "vps", 5)

    assert health.order_until(NOW) == min(health.of(name).open_until for name in ("tor", "vps"))
    assert health.order_until(NOW - 86_400) == NOW - 86_400, "from before the clock was set back"


def test_of_too_many_relays_those_that_worked_last_are_kept(health: Health) -> None:
    for name in ("a", "b", "c"):
        health.failed(name, NOW)
    health.worked("d", NOW)
    health.worked("e", NOW + 1)
    assert [known.relay for known in health.remembered()] == ["e", "d", "a", "b", "c"]
