from __future__ import annotations

from proxy.detect.verdict.labels import cause_in_words, network_in_words, stage_in_words, symptom_in_words
from proxy.model import NetworkState, Protocol, Stage, Symptom
from tests.support.rows import each_row

CAUSES = {
    "dns": "DNS tampering",
    "ip": "IP address blocked",
    "sni_reset": "connection reset after the TLS ClientHello (SNI filtering)",
    "sni_drop": "silence after the TLS ClientHello (SNI filtering)",
    "http_host": "HTTP request blocked (by Host)",
    "block_page": "block page",
    "interception": "TLS interception",
    "frozen": "transfer stalls",
    "throttled": "throttled",
    "refused": "the site rejects this route (HTTP 403/451)",
    "expired": "certificate expired",
}


@each_row(("cause", "text"), CAUSES.items())
def test_causes_in_words(cause: str, text: str) -> None:
    assert text in cause_in_words(cause)


def test_no_cause_has_no_words() -> None:
    assert cause_in_words("") == ""


def test_stages_in_words() -> None:
    assert [stage_in_words(stage) for stage in Stage] == [
        "DNS", "TCP connect", "relay handshake", "waiting for the first byte", "delivered",
    ]  # fmt: skip


@each_row("symptom", [symptom for symptom in Symptom if symptom])
@each_row("stage", Stage)
def test_every_symptom_has_words(symptom: Symptom, stage: Stage) -> None:
    text = symptom_in_words(symptom, stage)
    assert text
    assert "{" not in text
    assert "_" not in text


def test_what_was_sent_is_named() -> None:
    assert symptom_in_words(Symptom.RESET) == "connection reset after the TLS ClientHello"
    assert symptom_in_words(Symptom.EOF, protocol=Protocol.HTTP) == "connection closed after the HTTP request"
    assert symptom_in_words(Symptom.TIMEOUT, Stage.CONNECT) == "TCP connection timeout"
    assert symptom_in_words(Symptom.NONE) == ""


def test_networks_in_words() -> None:
    told = {state: network_in_words(state) for state in NetworkState}

    assert told.pop(NetworkState.OK) is None
    assert all(said is not None and said[0].endswith(".") and said[1] for said in told.values())
    assert len(set(told.values())) == len(told)
