"""What each kind of failure says: one row a case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.config.detect_tuning import Weights
from proxy.config.setting_types import keys_of
from proxy.detect.signals import cause, cause_concerns, concerns, observe
from proxy.model import (
    DIRECT,
    Attempt,
    Belief,
    Cause,
    ClosedBy,
    NetworkId,
    Outcome,
    Protocol,
    Route,
    Signal,
    SignalId,
    Stage,
    Symptom,
    as_evidence,
)
from tests.support.outcomes import TOR, delivered, failed, outcome, pending

USUAL = Weights()

ROWS = [
    # protocol, stage, symptom, signal, weight, cause
    ("tls", Stage.RESOLVE, Symptom.NO_NAME, "dns_failed", 1.0, "dns"),
    ("tls", Stage.RESOLVE, Symptom.RESOLVE_FAILED, "dns_failed", 1.0, "dns"),
    ("tls", Stage.RESOLVE, Symptom.TIMEOUT, "dns_failed", 1.0, "dns"),
    ("tls", Stage.CONNECT, Symptom.TIMEOUT, "tcp_timeout", 1.5, "ip"),
    ("tls", Stage.CONNECT, Symptom.REFUSED, "tcp_refused", 0.5, "ip"),
    ("tls", Stage.CONNECT, Symptom.UNREACHABLE, "tcp_refused", 0.5, "ip"),
    ("tls", Stage.CONNECT, Symptom.RESET, "tcp_refused", 0.5, "ip"),
    ("tls", Stage.FIRST_BYTE, Symptom.RESET, "tls_reset", 2.0, "sni_reset"),
    ("tls", Stage.FIRST_BYTE, Symptom.DROPPED, "tls_dropped", 2.0, "sni_drop"),
    ("tls", Stage.FIRST_BYTE, Symptom.SILENT, "tls_silent", 0.7, "sni_drop"),
    ("tls", Stage.FIRST_BYTE, Symptom.TIMEOUT, "tls_silent", 0.7, "sni_drop"),
    ("tls", Stage.FIRST_BYTE, Symptom.EOF, "tls_eof", 1.5, "sni_reset"),
    ("tls", Stage.FIRST_BYTE, Symptom.GARBAGE, "tls_garbage", 3.0, "sni_reset"),
    ("http", Stage.FIRST_BYTE, Symptom.RESET, "http_reset", 2.0, "http_host"),
    ("http", Stage.FIRST_BYTE, Symptom.DROPPED, "http_dropped", 2.0, "http_host"),
    ("http", Stage.FIRST_BYTE, Symptom.SILENT, "http_silent", 0.7, "http_host"),
    ("http", Stage.FIRST_BYTE, Symptom.EOF, "http_eof", 1.5, "http_host"),
    ("http", Stage.FIRST_BYTE, Symptom.GARBAGE, "http_garbage", 3.0, "http_host"),
    ("http", Stage.CONNECT, Symptom.TIMEOUT, "tcp_timeout", 1.5, "ip"),
    ("tls", Stage.RESOLVE, Symptom.FORGED, "dns_bogon", 3.0, "dns"),
    ("tls", Stage.FIRST_BYTE, Symptom.ALERT, "tls_alert", 0.7, "sni_reset"),
    ("tls", Stage.FIRST_BYTE, Symptom.CERTIFICATE, "tls_bad_cert", 6.0, "interception"),
    ("http", Stage.FIRST_BYTE, Symptom.BLOCK_PAGE, "http_block_page", 5.0, "block_page"),
    ("http", Stage.FIRST_BYTE, Symptom.REDIRECTED, "http_redirect", 1.0, "block_page"),
    ("tls", Stage.DONE, Symptom.FROZEN, "frozen", 2.0, "frozen"),
    ("tls", Stage.DONE, Symptom.THROTTLED, "throttled", 1.5, "throttled"),
    ("tls", Stage.DONE, Symptom.RESET, "early_reset", 1.0, "sni_reset"),
]

DNS_ROWS = [
    ("dns_bogon", 3.0),
    ("dns_two_answers", 5.0),
    ("dns_denied", 3.0),
    ("dns_silent", 1.2),
    ("dns_mismatch", 4.0),
]

BY_OTHERS = {
    "cut_later": "below",
    "gave_up": "below",
    "tls_silent_blind": "below",
    "dns_same_ip": "test_judging: of several hosts",
    "http_redirects": "test_judging: of several hosts",
    "http_differs": "test_page_doubts",
    "http_same_page": "test_page_doubts",
    "listed": "test_book: of no failure; a list's word",
}
CAUSELESS = {"gave_up", "listed"}


def signals(seen: Outcome, weights: Weights = USUAL) -> list[Signal]:
    """What is observed, without what it was seen on."""
    return [observed.signal for observed in observe(seen, weights)]


@pytest.mark.parametrize(("protocol", "stage", "symptom", "kind", "weight", "because"), ROWS)
def test_each_failure_is_one_signal(
    protocol: str, stage: Stage, symptom: Symptom, kind: str, weight: float, because: str
) -> None:
    seen = outcome(failed(symptom, stage, elapsed=0.25), at=1000.0, protocol=Protocol(protocol))

    (signal,) = signals(seen)

    assert (signal.id, signal.weight, signal.cause, signal.at) == (kind, weight, because, 1000.25)


@pytest.mark.parametrize("symptom", [Symptom.RESET, Symptom.FROZEN])
def test_what_was_cut_as_late_as_the_one_before_is_cut_by_time(symptom: Symptom) -> None:
    (signal,) = signals(outcome(replace(failed(symptom, Stage.DONE), evidence={"cut_s": 5.0})))
    assert (signal.id, signal.weight, signal.cause) == ("cut_later", 2.0, "frozen")


@pytest.mark.parametrize(
    "symptom",
    [
        Symptom.OFFLINE,
        Symptom.LOCAL,
        Symptom.FORBIDDEN,
        Symptom.SKIPPED,
        Symptom.ABANDONED,
        Symptom.RELAY_DOWN,
        Symptom.NONE,
    ],
)
@pytest.mark.parametrize("stage", [Stage.RESOLVE, Stage.CONNECT, Stage.FIRST_BYTE])
def test_F80_K3_what_is_no_work_of_the_network_says_nothing(symptom: Symptom, stage: Stage) -> None:
    assert signals(outcome(failed(symptom, stage))) == []


@pytest.mark.parametrize("protocol", [Protocol.OTHER, Protocol.NONE])
def test_a_flight_of_no_known_protocol_says_nothing(protocol: Protocol) -> None:
    assert signals(outcome(failed(Symptom.RESET), protocol=protocol)) == []


def test_only_plain_direct_is_looked_at() -> None:
    ladder = failed(Symptom.RESET, route=Route((), ("tlsrec",)))
    relay = failed(Symptom.RESET, route=TOR)

    assert signals(outcome(ladder, relay, delivered())) == []


def test_a_later_judgement_adds_to_the_end() -> None:
    first = outcome(failed(Symptom.REFUSED, Stage.CONNECT), pending(), delivered(TOR))
    second = first.with_attempt(failed(Symptom.DROPPED))

    assert [signal.id for signal in signals(first)] == ["tcp_refused"]
    assert [signal.id for signal in signals(second)] == ["tcp_refused", "tls_dropped"]


def test_weights_are_settings() -> None:
    (signal,) = signals(outcome(failed(Symptom.RESET)), Weights(tls_reset=0.3))

    assert signal.weight == 0.3


@pytest.mark.parametrize(("kind", "weight"), DNS_ROWS)
def test_what_is_wrong_with_the_names_answer_comes_after_what_stopped_the_attempt(kind: str, weight: float) -> None:
    reset = failed(Symptom.RESET)
    known_later = replace(reset, evidence=as_evidence({"dns": kind}))

    before = signals(outcome(reset, delivered(TOR)))
    after = signals(outcome(known_later, delivered(TOR)))

    assert [signal.id for signal in after[: len(before)]] == [signal.id for signal in before]
    assert {signal.cause for signal in after} == {"dns"}, "a wrong address resets as a blocked one does"
    assert [(signal.id, signal.weight, signal.cause) for signal in after[len(before) :]] == [(kind, weight, "dns")]


def test_a_made_up_finding_is_none() -> None:
    assert signals(outcome(replace(delivered(), evidence=as_evidence({"dns": "suspect_score", "rtt_ms": 3})))) == []


def test_an_attempt_that_was_given_up_still_knows_its_answer() -> None:
    pend = replace(pending(), evidence={"dns": SignalId.DNS_TWO_ANSWERS})

    assert [signal.id for signal in signals(outcome(pend, delivered(TOR)))] == ["dns_two_answers"]


def test_a_filtered_outer_name_is_a_cause_of_its_own() -> None:
    for symptom in (Symptom.RESET, Symptom.DROPPED, Symptom.SILENT, Symptom.EOF, Symptom.ALERT):
        (signal,) = signals(outcome(replace(failed(symptom), evidence={"ech": 1})))
        assert signal.cause == "ech", symptom
    (timeout,) = signals(outcome(replace(failed(Symptom.TIMEOUT, Stage.CONNECT), evidence={"ech": 1})))
    assert timeout.cause == "ip"


def test_behind_a_middlebox_that_acknowledges_everything() -> None:
    silent = replace(failed(Symptom.SILENT), evidence={"middlebox": 1})
    refused = replace(failed(Symptom.REFUSED, Stage.CONNECT), evidence={"middlebox": 1})

    (signal,) = signals(outcome(silent))
    assert (signal.id, signal.weight, signal.cause) == ("tls_silent_blind", 1.5, "sni_drop")
    assert signals(outcome(refused)) == []


@pytest.mark.parametrize(
    ("symptom", "evidence"), [(Symptom.ALERT, {}), (Symptom.REDIRECTED, {"elsewhere": "www.new.example"})]
)
def test_what_a_relay_is_told_as_well_is_the_sites_own(symptom: Symptom, evidence: dict[str, str]) -> None:
    def told(where: Route, **more: str) -> Attempt:
        return replace(failed(symptom, route=where), evidence=as_evidence(evidence | more))

    both = outcome(told(DIRECT), told(TOR), protocol=Protocol.HTTP)
    assert signals(both) == []
    if symptom is Symptom.REDIRECTED:
        differ = outcome(told(DIRECT), told(TOR, elsewhere="other.example"), protocol=Protocol.HTTP)
        assert [signal.id for signal in signals(differ)] == ["http_redirect"]


@pytest.mark.parametrize(("elapsed", "closed_by", "gave_up"), [
    (3.0, ClosedBy.CLIENT, True), (2.9, ClosedBy.CLIENT, False), (9.0, ClosedBy.BYWAY, False),
])  # fmt: skip
def test_a_client_that_waited_and_left_gave_up(elapsed: float, closed_by: ClosedBy, gave_up: bool) -> None:
    seen = replace(outcome(failed(Symptom.ABANDONED, elapsed=elapsed)), closed_by=closed_by)

    assert [signal.id for signal in signals(seen)] == ["gave_up"] * gave_up
    assert signals(replace(seen, winner=TOR)) == []


def test_what_it_was_seen_on_and_when_it_was_sent() -> None:
    attempt = replace(failed(elapsed=2.0), started=0.5, address="203.0.113.5:443")
    (observed,) = observe(outcome(attempt, at=1000.0))

    assert (observed.attempt, observed.sent, observed.signal.at) == (attempt, 1000.5, 1002.5)


def test_every_weight_is_made_by_some_failure() -> None:
    made = {row[3] for row in ROWS} | {kind for kind, _ in DNS_ROWS} | BY_OTHERS.keys()

    assert set(keys_of(Weights)) == made
    assert all(cause(SignalId(kind)) for kind in made - CAUSELESS)
    assert not any(cause(SignalId(kind)) for kind in CAUSELESS - {"listed"})


@pytest.mark.parametrize(
    ("symptom", "code", "kind"),
    [
        (Symptom.NO_NAME, "nxdomain", "dns_failed"),
        (Symptom.RESOLVE_FAILED, "servfail", "dns_failed"),
        (Symptom.RESOLVE_FAILED, "silent", "dns_silent"),
        (Symptom.TIMEOUT, "", "dns_silent"),
    ],
)
def test_that_a_secure_resolver_knows_the_name_makes_no_lie_of_a_failure(
    symptom: Symptom, code: str, kind: str
) -> None:
    """The system's resolver may be down. That it is not is told in evidence, once it was asked for another name."""
    direct, secure = replace(failed(symptom, Stage.RESOLVE), evidence={"code": code}), delivered(Route(wrap=("doh",)))
    assert [signal.id for signal in signals(outcome(direct, secure))] == [kind]
    told = replace(direct, evidence={"code": code, "dns": SignalId.DNS_DENIED})
    assert [signal.id for signal in signals(outcome(told, secure))] == [kind, "dns_denied"]


@pytest.mark.parametrize(
    ("because", "by_tls", "by_http"),
    [
        ("sni_reset", True, False), ("sni_drop", True, False), ("ech", True, False), ("interception", True, False),
        ("http_host", False, True), ("block_page", False, True),
        ("ip", True, True), ("dns", True, True), ("frozen", True, True), ("throttled", True, True), ("", True, True),
    ],
)  # fmt: skip
def test_what_a_block_meets(because: str, by_tls: bool, by_http: bool) -> None:
    assert (cause_concerns(because, Protocol.TLS), cause_concerns(because, Protocol.HTTP)) == (by_tls, by_http)
    block = Belief("www.example.org", NetworkId("home"), cause=because)
    assert (concerns(block, Protocol.TLS), concerns(block, Protocol.HTTP)) == (by_tls, by_http)


def test_an_address_whose_https_alone_failed_is_not_blocked_for_plain_http() -> None:
    block = Belief("www.example.org", NetworkId("home"), cause=Cause.IP, protocol=Protocol.TLS)
    assert (concerns(block, Protocol.TLS), concerns(block, Protocol.HTTP)) == (True, False)
    assert concerns(replace(block, cause=Cause.DNS), Protocol.HTTP), "a wrong address is wrong for all"
