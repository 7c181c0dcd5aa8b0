from __future__ import annotations

import pytest

from proxy.model import Destination, Route, Stage, Symptom
from proxy.net.notify import Notify
from proxy.net.race.shared_findings import MARKS_MAX, SharedFindings


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Ringing(Notify):
    rings = 0

    def set(self) -> None:
        self.rings += 1


def test_an_alarm_lasts_as_long_as_an_attempt_may_be_left_unjudged() -> None:
    clock = Clock()
    findings = SharedFindings(clock, lasts_s=7)
    assert not findings.is_down("blog.example")
    findings.mark_down("blog.example")
    assert findings.is_down("blog.example")
    assert not findings.is_down("other.example")
    clock.now += 7
    assert not findings.is_down("blog.example")


async def test_it_rings_for_who_listens_and_no_longer() -> None:
    findings = SharedFindings(Clock())
    first, second = Ringing(), Ringing()
    findings.waiting |= {first: "blog.example", second: "blog.example"}
    findings.mark_down("blog.example")
    findings.mark_down("other.example")
    del findings.waiting[second]
    findings.mark_down("blog.example")
    del findings.waiting[first]
    findings.mark_down("blog.example")
    assert (first.rings, second.rings) == (2, 1)


def test_it_is_taken_back() -> None:
    findings = SharedFindings(Clock())
    findings.mark_down("blog.example")
    findings.clear("blog.example")
    findings.clear("blog.example")
    assert not findings.is_down("blog.example")


def test_none_holds_on_another_network() -> None:
    findings = SharedFindings(Clock())
    findings.mark_down("blog.example")
    findings.clear_all()
    assert not findings.is_down("blog.example")


def test_alarms_are_bounded() -> None:
    clock = Clock()
    findings = SharedFindings(clock)
    for number in range(MARKS_MAX):
        findings.mark_down(f"{number}.example")
    clock.now += 60
    findings.mark_down("blog.example")
    assert findings.is_down("blog.example")
    for number in range(3 * MARKS_MAX):
        findings.mark_down(f"{number}.example")
        assert findings.is_down(f"{number}.example")


def test_hosts_of_failed_bursts_are_bounded() -> None:
    findings = SharedFindings(Clock())
    for number in range(3 * MARKS_MAX):
        findings.burst_failed(f"{number}.example")
        assert f"{number}.example" in findings.failed_bursts
        assert len(findings.failed_bursts) <= MARKS_MAX


SITE, OTHER_PORT = Destination("blog.example", 443), Destination("blog.example", 8443)
TLSREC, SPLIT = Route(wrap=("tlsrec",)), Route(wrap=("split",))


class Races:
    """Three races to one host."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.findings = SharedFindings(self.clock)
        self.first, self.second, self.third = races = Ringing(), Ringing(), Ringing()
        self.findings.waiting |= dict.fromkeys(races, SITE.host)

    def may_try(self, race: Ringing, route: Route = TLSREC) -> bool:
        return self.findings.may_try(SITE, route, race)


@pytest.fixture
async def races() -> Races:
    return Races()


async def test_one_race_tries_a_strategy_and_the_others_take_what_passed(races: Races) -> None:
    assert races.may_try(races.first)
    assert races.may_try(races.first), "it goes on with it"
    assert not races.may_try(races.second)
    assert races.may_try(races.second, SPLIT)
    assert races.findings.may_try(OTHER_PORT, TLSREC, races.second), "another port is another server"
    races.findings.passed(SITE, TLSREC)
    assert races.second.rings == races.third.rings == 1
    assert races.may_try(races.second)
    assert races.may_try(races.third), "at once: no attempt is left that tries"
    races.clock.now += 7
    assert races.may_try(races.second)
    assert not races.may_try(races.third), "that was too long ago"


async def test_what_failed_is_passed_over_by_those_who_waited_only(races: Races) -> None:
    began_at = races.clock.now
    assert races.may_try(races.first)
    races.clock.now += 0.2
    races.findings.failed(SITE, TLSREC, races.first, Stage.FIRST_BYTE, Symptom.RESET)
    found = races.findings.failed_since(SITE, TLSREC, began_at)
    assert found is not None
    assert (found.stage, found.symptom) == (Stage.FIRST_BYTE, Symptom.RESET)
    assert races.findings.failed_since(SITE, SPLIT, began_at) is None
    assert races.findings.failed_since(SITE, TLSREC, races.clock.now + 0.1) is None, "a later visit tries for itself"
    assert races.may_try(races.second)


async def test_what_fails_in_a_race_that_did_not_try_it_for_all_says_nothing(races: Races) -> None:
    assert races.may_try(races.first)
    races.findings.failed(SITE, TLSREC, races.second, Stage.FIRST_BYTE, Symptom.RESET)
    assert races.findings.failed_since(SITE, TLSREC, 0.0) is None
    assert not races.may_try(races.third)


async def test_a_race_that_ends_hands_over(races: Races) -> None:
    assert races.may_try(races.first)
    races.findings.left(races.first)
    assert races.second.rings == 1
    assert races.may_try(races.second)
    assert not races.may_try(races.third)


async def test_findings_are_bounded_and_forgotten(races: Races) -> None:
    for number in range(3 * MARKS_MAX):
        to = Destination(f"{number}.example", 443)
        assert races.findings.may_try(to, TLSREC, races.first)
        if number % 2:
            races.findings.passed(to, TLSREC)
        else:
            races.findings.failed(to, TLSREC, races.first, Stage.FIRST_BYTE, Symptom.RESET)
    assert len(races.findings._passed) + len(races.findings._failed) <= 2 * MARKS_MAX
    assert not races.findings._trying
    races.findings.hellos.append((races.clock.now, "blog.example", "", True))
    races.findings.clear_all()
    assert not races.findings._passed
    assert not races.findings._failed
    assert not races.findings.hellos
