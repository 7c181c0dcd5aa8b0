from __future__ import annotations

from proxy.detect.verdict.labels import (
    cause_in_words,
    network_in_words,
    plain_cause,
    stage_in_words,
    symptom_in_words,
    whole_cause,
)
from proxy.model import Cause, NetworkState, Protocol, Stage, Symptom
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


@each_row(
    ("cause", "word"),
    [("dns", "DNS lies"), ("ip", "Address blocked"), ("sni_reset", "Name filter"), ("sni_drop", "Name filter"),
     ("http_host", "Name filter"), ("interception", "Foreign certificate"), ("frozen", "Cut off while loading"),
     ("throttled", "Slowed down"), ("block_page", "Block page")],
)  # fmt: skip
def test_the_plain_word_for_a_cause(cause: str, word: str) -> None:
    assert plain_cause(cause) == word


@each_row("cause", [cause for cause in Cause if cause])
def test_every_cause_has_a_short_plain_word_and_a_sentence(cause: Cause) -> None:
    assert 0 < len(plain_cause(cause)) <= 27
    assert plain_cause(cause)[0].isupper()
    assert cause_in_words(cause)
    for jargon in ("SNI", "ClientHello", "TLS", "HTTP", "TCP"):
        assert jargon not in plain_cause(cause)


def test_a_cause_with_both_is_not_said_twice() -> None:
    assert whole_cause("sni_reset") == "Name filter: connection reset after the TLS ClientHello (SNI filtering)"
    assert whole_cause("block_page") == "Block page"


def test_no_cause_has_no_words_and_one_of_an_addon_keeps_its_own() -> None:
    assert cause_in_words("") == plain_cause("") == whole_cause("") == ""
    assert cause_in_words("my_cause") == plain_cause("my_cause") == whole_cause("my_cause") == "my_cause"


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
