"""What a failed attempt says of a relay itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.detect.relay_faults import RelayFault, fault_beside_hello, relay_fault
from proxy.model import Stage, Symptom, as_evidence
from tests.support.outcomes import TOR, delivered, failed
from tests.support.rows import each_row

FAULTS = [
    (Symptom.RELAY_DOWN, {"relay": "refused"}, RelayFault.CONNECTION_REFUSED),
    (Symptom.RELAY_DOWN, {"relay": "unreachable"}, RelayFault.UNREACHABLE),
    (Symptom.RELAY_DOWN, {"relay": "resolve_failed"}, RelayFault.UNREACHABLE),
    (Symptom.RELAY_DOWN, {"relay": "relay_refused"}, RelayFault.UNREACHABLE),
    (Symptom.RELAY_DOWN, {"relay": "resolve_failed", "doh": "doh_down"}, RelayFault.NAME_UNRESOLVED),
    (Symptom.RELAY_DOWN, {"relay": "no_name"}, RelayFault.NO_SUCH_HOST),
    (Symptom.RELAY_DOWN, {"relay": "timeout"}, RelayFault.SILENT),
    (Symptom.RELAY_DOWN, {"relay": "eof"}, RelayFault.BROKE_OFF),
    (Symptom.RELAY_DOWN, {"relay": "reset"}, RelayFault.BROKE_OFF),
    (Symptom.RELAY_DOWN, {"relay": "timeout", "greeting": 1}, RelayFault.SOCKS_UNANSWERED),
    (Symptom.RELAY_DOWN, {"relay": "eof", "greeting": 1}, RelayFault.SOCKS_CUT),
    (Symptom.RELAY_DOWN, {"relay": "reset", "greeting": 1}, RelayFault.SOCKS_CUT),
    (Symptom.RELAY_DOWN, {"relay": "addon"}, RelayFault.ADDON),
    (Symptom.RELAY_DOWN, {"relay": "engine"}, RelayFault.ENGINE),
    (Symptom.RELAY_DOWN, {"relay": "key_closed"}, RelayFault.KEY_CLOSED),
    (Symptom.RELAY_DOWN, {"relay": "key_closed_or_clock"}, RelayFault.KEY_CLOSED_OR_CLOCK),
    (Symptom.RELAY_DOWN, {"relay": "key_cut"}, RelayFault.KEY_CUT),
    (Symptom.RELAY_AUTH, {"relay": "key_refused"}, RelayFault.KEY_REFUSED),
    (Symptom.RELAY_AUTH, {"relay": "key_certificate"}, RelayFault.KEY_CERTIFICATE),
    (Symptom.RELAY_AUTH, {"relay": "key_host_key"}, RelayFault.KEY_HOST_KEY),
    (Symptom.RELAY_DOWN, {"relay": "key_unanswered"}, RelayFault.KEY_UNANSWERED),
    (Symptom.RELAY_DOWN, {}, RelayFault.SILENT),
    (Symptom.RELAY_AUTH, {}, RelayFault.CREDENTIALS_REFUSED),
    (Symptom.RELAY_AUTH, {"relay": "in_clear"}, RelayFault.CREDENTIALS_IN_CLEAR),
    (Symptom.RELAY_AUTH, {"relay": "certificate"}, RelayFault.BAD_CERTIFICATE),
    (Symptom.RELAY_AUTH, {"relay": "certificate", "clock": 1}, RelayFault.CERTIFICATE_DATE),
    (Symptom.RELAY_GARBAGE, {}, RelayFault.WRONG_PROTOCOL),
    (Symptom.RELAY_LOOP, {}, RelayFault.LEADS_BACK),
]


@each_row(("symptom", "evidence", "fault"), FAULTS)
def test_the_table(symptom: Symptom, evidence: dict[str, str | int], fault: RelayFault) -> None:
    attempt = replace(failed(symptom, Stage.RELAY, TOR), evidence=as_evidence(evidence))
    assert relay_fault(attempt) is fault


@each_row("symptom", [symptom for symptom in Symptom if not symptom.blames_relay])
@each_row("stage", Stage)
def test_nothing_else_is_a_fault_of_the_relay(symptom: Symptom, stage: Stage) -> None:
    """A relay that refuses a destination, above all: that is its right."""
    attempt = replace(failed(symptom, stage, TOR), evidence={"relay": "refused"})
    assert relay_fault(attempt) is None
    assert relay_fault(delivered(TOR)) is None


@each_row("fault", RelayFault)
def test_each_fault_has_words_and_a_command(fault: RelayFault) -> None:
    assert fault.text
    assert "_" not in fault.text
    assert fault.fix("vps").endswith(", then byway relay test vps") or fault in (
        RelayFault.ADDON,
        RelayFault.ENGINE,
    )


def test_a_filtered_protocol_is_named_with_another_to_use() -> None:
    for fault in (RelayFault.SOCKS_CUT, RelayFault.SOCKS_UNANSWERED):
        assert "the SOCKS protocol may be filtered on this network" in fault.text
        assert "use an https relay or a key" in fault.fix("vps")


CUT, UNANSWERED = RelayFault.SOCKS_CUT, RelayFault.SOCKS_UNANSWERED


@pytest.mark.parametrize(
    ("fault", "unacked", "answer", "said"),
    [
        pytest.param(UNANSWERED, 1, b"", RelayFault.PROTOCOL_FILTERED, id="closed, as a SOCKS server does"),
        pytest.param(UNANSWERED, 0, b"", UNANSWERED, id="closed, and it had the greeting"),
        pytest.param(UNANSWERED, 0, b"\x05\xff", RelayFault.PROTOCOL_FILTERED, id="SOCKS5"),
        pytest.param(CUT, 0, b"\x00\x5b", RelayFault.PROTOCOL_FILTERED, id="SOCKS4"),
        pytest.param(UNANSWERED, 1, None, RelayFault.SILENT, id="no answer to anything"),
        pytest.param(CUT, 0, None, CUT, id="cut, and silence"),
        pytest.param(CUT, 1, b"", CUT, id="cut twice"),
        pytest.param(UNANSWERED, 0, b"\x16\x03\x03", RelayFault.WRONG_PROTOCOL, id="a server of TLS"),
        pytest.param(CUT, 1, b"\x15\x03\x03", RelayFault.WRONG_PROTOCOL, id="an alert of TLS"),
        pytest.param(UNANSWERED, 1, b"HTTP/1.1 400", RelayFault.WRONG_PROTOCOL, id="a server of HTTP"),
    ],
)
def test_a_hello_to_the_same_port_tells_a_filter_from_another_server(
    fault: RelayFault, unacked: int, answer: bytes | None, said: RelayFault
) -> None:
    assert fault_beside_hello(fault, {"greeting": 1, "unacked": unacked}, answer) is said


def test_a_fault_of_another_version_of_the_evidence_is_no_filter() -> None:
    assert fault_beside_hello(UNANSWERED, {"greeting": 1}, b"") is UNANSWERED


def test_only_what_may_be_the_networks_doing_needs_a_comparison() -> None:
    assert {fault for fault in RelayFault if fault.needs_comparison} == {
        RelayFault.SILENT,
        RelayFault.SOCKS_UNANSWERED,
        RelayFault.UNREACHABLE,
        RelayFault.NAME_UNRESOLVED,
        RelayFault.DELIVERS_NOTHING,
        RelayFault.KEY_CLOSED,
        RelayFault.KEY_CLOSED_OR_CLOCK,
        RelayFault.KEY_CUT,
        RelayFault.KEY_UNANSWERED,
    }
