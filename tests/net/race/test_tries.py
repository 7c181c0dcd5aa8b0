"""Which route is next, by what was tried. The waits between are tested in test_race."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.model import DIRECT, DOH, Destination, Evidence, Route, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.knowledge import NOTHING_KNOWN, Knowledge, NothingKnown
from proxy.net.notify import Notify
from proxy.net.race.candidate import Candidate, Phase
from proxy.net.race.terms import RaceTerms
from proxy.net.race.tries import Tries
from tests.support.rows import each_row
from tests.support.scripted import FakeOracle

RELAY, OTHER, CUT = Route(("vps",)), Route(("tor",)), Route(wrap=("tlsrec",))
NOW = 100.0


class Failing(NothingKnown):
    """Every relay is known to fail."""

    def is_failing(self, route: Route) -> bool:
        return True


class Found:
    """What the resolver found out about the name: nothing."""

    def finding(self, host: str) -> None:
        pass

    def is_local_zone(self, host: str) -> bool:
        return False

    def may_be_local_zone(self, host: str) -> bool:
        return False


class Trial(Tries):
    """Tries whose routes fail as soon as they are started."""

    def __init__(self, *routes: Route, knowledge: Knowledge = NOTHING_KNOWN, resolver: Found | None = None) -> None:
        terms = RaceTerms(
            cast(Any, None),
            direct=cast(Any, None),
            tcp_info=FakeOracle(),
            detect=DetectTuning(relay_backoff_jitter=0.0),
            knowledge=knowledge,
            resolver=cast(Any, resolver),
        )
        super().__init__(Destination("blog.example", 443), routes, terms, Notify(), NOW)

    def starts(self, now: float, fails: Stage | DialError | None = None, symptom: Symptom = Symptom.NONE) -> Candidate:
        route = self.next_route(None, now)
        assert route is not None
        candidate = Candidate(route, now)
        self.note_start(candidate, now)
        self.candidates.append(candidate)
        if isinstance(fails, DialError):
            candidate.dial_failed(fails, now)
        elif fails is not None:
            candidate.failed(fails, symptom, "failed", now)
        if candidate.failed_on_its_way:
            self.retries.failed(route.relays, now)
        return candidate


def test_routes_come_in_the_order_of_the_plan_and_then_relays_again() -> None:
    tries = Trial(DIRECT, RELAY, OTHER)
    started = [
        tries.starts(NOW, Stage.CONNECT, Symptom.REFUSED).route,
        tries.starts(NOW, Stage.RELAY, Symptom.RELAY_DOWN).route,
        tries.starts(NOW, Stage.RELAY, Symptom.RELAY_AUTH).route,
    ]
    assert started == [DIRECT, RELAY, OTHER]
    assert tries.next_route(None, NOW) is None
    due_at = tries.next_retry_at(NOW)
    assert due_at == NOW + DetectTuning().relay_retry_s[0]
    assert tries.next_route(None, due_at) == RELAY, "a refused password is final"
    assert (tries.have_failed(NOW, NOW + 30), tries.have_failed(NOW, NOW)) == (False, True)
    assert tries.next_retry_at(due_at) == math.inf, "it is due then"
    tries.starts(due_at, Stage.RELAY, Symptom.RELAY_DOWN)
    assert tries.next_retry_at(due_at) == due_at + DetectTuning().relay_retry_s[1]


@pytest.mark.parametrize(
    ("evidence", "is_retried"), [({"relay": Symptom.EOF}, True), ({}, False)], ids=["by closing", "in words"]
)
def test_a_relay_that_refuses_by_closing_may_restart_and_is_asked_once_more(
    evidence: Evidence, is_retried: bool
) -> None:
    tries, now = Trial(RELAY), NOW
    closes = DialError("closed", stage=Stage.RELAY, symptom=Symptom.RELAY_REFUSED, evidence=evidence)
    for again in (is_retried, False):
        tries.starts(now, closes)
        assert tries.have_failed(now, NOW + 30) is not again
        now = tries.next_retry_at(now)
        assert (now < math.inf) is again
        if not again:
            break


@pytest.mark.parametrize(("knowledge", "waits"), [(NOTHING_KNOWN, True), (Failing(), False)])
def test_a_strategy_keeps_out_of_a_residual_window_while_a_relay_may_serve(knowledge: Knowledge, waits: bool) -> None:
    tries = Trial(DIRECT, CUT, RELAY, knowledge=knowledge)
    tries.starts(NOW, Stage.FIRST_BYTE, Symptom.RESET)
    cut = tries.starts(NOW, Stage.CONNECT, Symptom.SKIPPED)
    assert (cut.route, cut.avoids_residual) == (CUT, waits)
    tries.starts(NOW, Stage.RELAY, Symptom.RELAY_AUTH)
    assert tries.next_route(None, NOW) == (CUT if waits else None)


class Zone(Found):
    """The name is one of the local network."""

    def is_local_zone(self, host: str) -> bool:
        return True


class PrivateAnswer(Found):
    """The local network's resolver gave a private address, or may give one."""

    def may_be_local_zone(self, host: str) -> bool:
        return True


@each_row(
    ("stage", "symptom", "first", "resolver", "in_vain"),
    [
        (Stage.RESOLVE, Symptom.FORGED, DIRECT, Zone(), True),
        (Stage.CONNECT, Symptom.FORBIDDEN, DIRECT, Zone(), True),
        (Stage.RESOLVE, Symptom.FORGED, DIRECT, Found(), False),
        (Stage.CONNECT, Symptom.FORBIDDEN, DIRECT, Found(), False),
        (Stage.CONNECT, Symptom.TIMEOUT, DIRECT, Zone(), True),
        (None, Symptom.NONE, DIRECT, Zone(), False),
        (Stage.RELAY, Symptom.FORBIDDEN, RELAY, Zone(), False),
    ],
)
def test_a_private_address_of_a_local_zone_ends_the_race(
    stage: Stage | None, symptom: Symptom, first: Route, resolver: Found, in_vain: bool
) -> None:
    tried = Trial(first, DIRECT if first is RELAY else RELAY, resolver=resolver)
    tried.starts(NOW, stage, symptom)
    assert tried.is_in_vain is in_vain


@each_row("resolver", [Zone(), Found()])
@each_row("phase", [Phase.OPEN, Phase.AWAITING_ANSWER, Phase.DIALING])
def test_a_relay_under_way_does_not_keep_a_race_to_the_local_network(resolver: Found, phase: Phase) -> None:
    """It may have been asked while the network's resolver took its time."""
    tries = Trial(DIRECT, RELAY, resolver=Found())
    direct, relay = tries.starts(NOW), tries.starts(NOW)
    relay.phase = phase
    tries.resolver = cast(Any, resolver)
    assert not tries.is_in_vain
    direct.failed(Stage.CONNECT, Symptom.FORBIDDEN, "private", NOW)
    assert tries.is_in_vain is isinstance(resolver, Zone)


@pytest.mark.parametrize(("resolver", "follows"), [(Zone(), None), (Found(), RELAY)])
def test_no_relay_follows_direct_to_the_local_network(resolver: Found, follows: Route | None) -> None:
    """Also where direct may connect, as the user allows its address, and looks dropped."""
    tries = Trial(DIRECT, RELAY, OTHER, resolver=resolver)
    tries.starts(NOW).hedged_at = NOW
    assert tries.next_route(None, NOW) == follows
    rule = Trial(RELAY, DIRECT, OTHER, resolver=resolver)
    assert [rule.starts(NOW).route for _ in range(3)] == [RELAY, DIRECT, OTHER], "a rule or an override holds"


def test_no_relay_is_retried_for_the_local_network() -> None:
    tries = Trial(DIRECT, RELAY)
    tries.starts(NOW, Stage.CONNECT, Symptom.REFUSED)
    tries.starts(NOW, Stage.RELAY, Symptom.RELAY_DOWN)
    due_at = tries.next_retry_at(NOW)
    assert tries.next_route(None, due_at) == RELAY
    tries.resolver = cast(Any, Zone())
    assert tries.next_route(None, due_at) is None
    assert tries.next_retry_at(NOW) == math.inf


def test_encrypted_dns_is_asked_about_a_private_address_that_did_not_connect() -> None:
    """Only it tells a lie from the truth, and a relay would open what its own network calls so."""
    tries = Trial(DIRECT, RELAY, DOH, resolver=PrivateAnswer())
    tries.starts(NOW, Stage.CONNECT, Symptom.TIMEOUT)
    assert tries.starts(NOW, Stage.RESOLVE, Symptom.SKIPPED).route == DOH
    assert tries.next_route(None, NOW) == RELAY, "it did not answer"


@pytest.mark.parametrize(
    ("resolver", "symptom", "waits"),
    [
        (Found(), Symptom.NO_NAME, True),
        (Found(), Symptom.SKIPPED, False),
        (PrivateAnswer(), Symptom.SKIPPED, True),
    ],
)
def test_a_name_that_encrypted_dns_does_not_know_waits_for_the_networks_own_resolver(
    resolver: Found, symptom: Symptom, waits: bool
) -> None:
    tries = Trial(DIRECT, DOH, RELAY, resolver=resolver)
    direct = tries.starts(NOW)
    direct.stage, direct.hedged_at = Stage.RESOLVE, NOW
    tries.starts(NOW, Stage.RESOLVE, symptom)
    assert tries.next_route(None, NOW) == (None if waits else RELAY)
    direct.failed(Stage.RESOLVE, Symptom.RESOLVE_FAILED, "no answer", NOW)
    assert tries.next_route(None, NOW) == RELAY


def test_other_routes_order_the_candidates_anew() -> None:
    tries = Trial(DIRECT, RELAY)
    direct, relay = tries.starts(NOW), tries.starts(NOW)
    tries.restrict_to((RELAY, DIRECT))
    assert tries.candidates == [relay, direct]
    assert (direct.phase, tries.is_plain, tries.next_route(None, NOW)) == (Phase.DIALING, False, None)
    tries.candidates.remove(relay)
    tries.restrict_to((DIRECT,))
    assert tries.is_plain


def test_while_one_is_under_way_they_have_not_failed() -> None:
    tries = Trial(DIRECT)
    candidate = tries.starts(NOW)
    assert not tries.have_failed(NOW, NOW)
    candidate.drop(NOW)
    assert tries.have_failed(NOW, NOW + 30)
