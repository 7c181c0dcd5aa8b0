"""Lines of mihomo 1.19.32, as it printed them."""

from __future__ import annotations

from proxy.detect.relay_faults import RelayFault, relay_fault
from proxy.features.keys.log_lines import LineFault, OpeningFailed, fault_of, read, refused_outbound
from proxy.wire.keys.reader import read_key
from tests.support.rows import each_row

TROJAN = "trojan://secret@relay.example:443"
SS_2022 = "ss://2022-blake3-aes-128-gcm:AAAAAAAAAAAAAAAAAAAAAA%3D%3D@relay.example:443"
SSH = "ssh://me:secret@relay.example?host-key=ssh-ed25519%20AAAAC3NzaC1lZDI1NTE5AAAA"
HYSTERIA = "hysteria2://secret@relay.example:443"


def line(error: str, *, level: str = "warning") -> str:
    begin = "[TCP] dial k8 (match InUser/k8) 127.0.0.1:34974 --> blocked.test:443 error: "
    return f'time="2026-12-02T06:46:30.000000000Z" level={level} msg="{begin}{error}"'


@each_row(
    ("error", "fault"),
    [
        ("192.0.2.1:443 connect error: tls: failed to verify certificate: x509: certificate signed by",
         LineFault.CERTIFICATE),
        ("192.0.2.1:443 connect error: tls: failed to verify certificate: x509: certificate has expired or is not yet "
         "valid: current time 2026-12-02T17:25:01Z is after 2026-12-01T00:00:00Z", LineFault.DATE),
        ("192.0.2.1:443 connect error: x509: certificate is valid for a.test, not b.test", LineFault.CERTIFICATE),
        ("192.0.2.1:443 connect error: REALITY authentication failed", LineFault.CERTIFICATE),
        ("authentication failed, status code: 404", LineFault.REFUSED),
        ("192.0.2.1:22 connect error: ssh: handshake failed: ssh: unable to authenticate, attempted methods [none]",
         LineFault.REFUSED),
        ("192.0.2.1:443 connect error: unexpected status: 404 Not Found", LineFault.CLOSED),
        ("192.0.2.1:443 connect error: EOF", LineFault.CLOSED),
        ("192.0.2.1:443 connect error: tls: first record does not look like a TLS handshake", LineFault.CLOSED),
        ("192.0.2.1:443 connect error: read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer",
         LineFault.CLOSED),
        ("failed to create stream: io: read/write on closed pipe", LineFault.CLOSED),
        ("timeout: no recent network activity", LineFault.SILENT),
        ("context deadline exceeded", LineFault.SILENT),
        ("192.0.2.1:443 connect error: context canceled", LineFault.SILENT),  # by XHTTP
        ("192.0.2.1:443 connect error: 127.0.0.1:9 connect error: SOCKS: host unreachable", LineFault.UNREACHABLE),
        ("dial tcp 10.9.0.2:65172->203.0.113.7:18081: context deadline exceeded", LineFault.SILENT),
        ("dial tcp 10.9.0.2:58161->203.0.113.7:1: connection refused", LineFault.DESTINATION),
        ("192.0.2.1:22 connect error: ssh: handshake failed: host key mismatch, server send :ssh-ed25519 AAAA",
         LineFault.CERTIFICATE),
        ("ssh: rejected: connect failed (Connection refused)", LineFault.DESTINATION),
        ("ssh: rejected: administratively prohibited (open failed)", LineFault.REFUSED),
        ("something that no version has said yet", LineFault.ENGINE),
    ],
)  # fmt: skip
def test_each_error_is_a_fault(error: str, fault: LineFault) -> None:
    assert read(line(error)) == OpeningFailed(34974, fault)


@each_row(
    "text",
    [
        'time="…" level=info msg="Start initial configuration in progress"',
        'time="…" level=info msg="[TCP] 127.0.0.1:39584 --> blocked.test:443 match InUser(k1) using k1"',
        "[TCP] dial k8 (match InUser/k8) 127.0.0.1:34974 --> blocked.test:443 error: EOF",
        "",
    ],
)
def test_another_line_is_of_no_opening(text: str) -> None:
    assert read(text) is None
    assert refused_outbound(text) is None


def test_the_outbound_is_told_for_which_the_engine_does_not_start() -> None:
    text = 'time="…" level=fatal msg="Parse config error: proxy 109: parse host key :%!!(MISSING)s(<nil>)"'
    assert refused_outbound(text) == 109


@each_row(
    ("fault", "link", "told"),
    [
        (LineFault.CERTIFICATE, TROJAN, RelayFault.KEY_CERTIFICATE),
        (LineFault.DATE, TROJAN, RelayFault.CERTIFICATE_DATE),
        (LineFault.CERTIFICATE, SSH, RelayFault.KEY_HOST_KEY),
        (LineFault.REFUSED, TROJAN, RelayFault.KEY_REFUSED),
        (LineFault.CLOSED, TROJAN, RelayFault.KEY_CLOSED),
        (LineFault.CLOSED, SS_2022, RelayFault.KEY_CLOSED_OR_CLOCK),
        (LineFault.SILENT, TROJAN, RelayFault.SILENT),
        (LineFault.UNREACHABLE, HYSTERIA, RelayFault.UNREACHABLE),
        (LineFault.ENGINE, TROJAN, RelayFault.ENGINE),
    ],
)
def test_a_fault_is_told_as_the_relays(fault: LineFault, link: str, told: RelayFault) -> None:
    error = fault_of(fault, read_key(link), "mine", is_cut=False)
    assert error is not None
    assert relay_fault(error) is told
    assert error.symptom.blames_relay
    assert str(error).startswith("relay mine: ")
    assert "secret" not in str(error)


@each_row(("link", "told"), [(TROJAN, RelayFault.KEY_CUT), (SS_2022, RelayFault.KEY_CLOSED_OR_CLOCK)])
def test_a_tls_handshake_of_which_nothing_was_answered_is_cut_off(link: str, told: RelayFault) -> None:
    error = fault_of(LineFault.CLOSED, read_key(link), "mine", is_cut=True)
    assert error is not None
    assert relay_fault(error) is told


def test_why_a_server_over_tcp_cannot_be_reached_is_told_by_byways_own_dial() -> None:
    assert fault_of(LineFault.UNREACHABLE, read_key(TROJAN), "mine", is_cut=False) is None
