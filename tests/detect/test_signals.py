"""What each kind of failure says: one row a case."""

from __future__ import annotations

import pytest

from proxy.config.schema import Weights
from proxy.detect.signals import cause, signals
from proxy.model import Protocol, Route, Stage, Symptom
from tests.support.outcomes import TOR, delivered, failed, outcome, pending

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
]


@pytest.mark.parametrize(("protocol", "stage", "symptom", "kind", "weight", "because"), ROWS)
def test_each_failure_is_one_signal(
    protocol: str, stage: Stage, symptom: Symptom, kind: str, weight: float, because: str
) -> None:
    seen = outcome(failed(symptom, stage, elapsed=0.25), at=1000.0, protocol=Protocol(protocol))

    (signal,) = signals(seen)

    assert (signal.id, signal.weight, signal.cause, signal.at) == (kind, weight, because, 1000.25)


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


def test_every_weight_has_a_cause_and_is_made_by_some_failure() -> None:
    assert set(Weights.model_fields) == {row[3] for row in ROWS}
    assert all(cause(kind) for kind in Weights.model_fields)
    assert cause("gave_up") == ""
