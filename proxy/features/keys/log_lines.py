"""What the engine's lines say about one opening, and the error that it is told as. Pure.

The lines name visited hosts, so none is stored or shown: a line becomes one of a few faults, or nothing. The table is
that of mihomo 1.19; a line of an opening that is in no row means that the engine failed.
"""

from __future__ import annotations

import re
from enum import StrEnum

from proxy.detect.relay_faults import RelayFault
from proxy.model import Evidence, Stage, Symptom
from proxy.model.errors import DialError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.keys.values import Key, Shadowsocks, Ssh, Vmess, WireGuard


class LineFault(StrEnum):
    """What a line says of a key."""

    CERTIFICATE = "certificate"
    """The server shows another certificate or host key than the key names, or none that is trusted."""
    DATE = "date"  # its certificate is not valid at this computer's time
    REFUSED = "refused"  # the server says that it does not take the key
    CLOSED = "closed"  # the server closed, or answered in another way than its protocol has
    SILENT = "silent"  # the server did not answer
    UNREACHABLE = "unreachable"  # it could not be reached; Byway's own dial says why
    DESTINATION = "destination"  # the key works, and the destination cannot be reached through it
    ENGINE = "engine"  # unknown to Byway


@frozen_dataclass
class OpeningFailed:
    """The engine could not open a path. `port` is the local port of the opening, at this computer's end."""

    port: int
    fault: LineFault


_REFUSED = re.compile(r"Parse config error: proxy ([0-9]{1,4}): ")
_DIAL = re.compile(
    r"\[TCP\] dial k[0-9]+ \(match InUser/k[0-9]+\) 127\.0\.0\.1:(?P<port>[0-9]{1,5}) --> \S+ error: (?P<error>.*)"
)
_ROWS: tuple[tuple[LineFault, re.Pattern[str]], ...] = (
    (LineFault.DESTINATION, re.compile(r"dial tcp \S+->\S+ (?:connection refused|connection reset|no route to host)")),
    (LineFault.DESTINATION, re.compile(r"ssh: rejected: connect failed")),
    (LineFault.REFUSED, re.compile(r"ssh: rejected: administratively prohibited")),
    (LineFault.DATE, re.compile(r"x509: certificate has expired or is not yet valid")),
    (LineFault.CERTIFICATE, re.compile(r"x509: |failed to verify certificate|REALITY authentication failed")),
    (LineFault.CERTIFICATE, re.compile(r"fingerprint|host key mismatch|host key is not expected|knownhosts: ")),
    (LineFault.REFUSED, re.compile(r"authentication failed|unable to authenticate|no supported methods|invalid user")),
    (LineFault.CLOSED, re.compile(r"unexpected status|unexpected HTTP|bad status|malformed HTTP|invalid header")),
    (
        LineFault.CLOSED,
        re.compile(r"websocket: |tls: |remote error: tls|EOF|connection reset|broken pipe|closed pipe|use of closed"),
    ),
    (
        LineFault.SILENT,
        re.compile(r"no recent network activity|i/o timeout|deadline exceeded|context canceled|handshake timeout"),
    ),
    (LineFault.UNREACHABLE, re.compile(r"connection refused|general failure|no route to host")),
    (LineFault.UNREACHABLE, re.compile(r"(?i)(?:host|network) unreachable|socks|TTL expired|ruleset")),
)
"""The first that fits an error counts."""


def refused_outbound(lines: str) -> int | None:
    """Returns the place, from 0, of the outbound for which the engine refuses its configuration; None: no line says so.
    The reason in the line may have a part of a key."""
    match = _REFUSED.search(lines)
    return None if match is None else int(match[1])


def read(line: str) -> OpeningFailed | None:
    """Returns what a line says of an opening; None: it is of none."""
    _, separator, message = line.partition('msg="')
    match = _DIAL.match(message.removesuffix('"')) if separator else None
    if match is None:
        return None
    error = match["error"]
    fault = next((fault for fault, pattern in _ROWS if pattern.search(error)), LineFault.ENGINE)
    return OpeningFailed(int(match["port"]), fault)


def fault_of(fault: LineFault, key: Key, relay: str, *, is_cut: bool) -> DialError | None:
    """Returns the error of an opening through a key, the relay of that name; None: Byway's own dial has said why.
    `is_cut`: the server was reached, and not a byte of it came."""
    match fault:
        case LineFault.CERTIFICATE if isinstance(key, Ssh):
            return _error(relay, RelayFault.KEY_HOST_KEY.text, RelayFault.KEY_HOST_KEY, Symptom.RELAY_AUTH)
        case LineFault.CERTIFICATE:
            return _error(relay, RelayFault.KEY_CERTIFICATE.text, RelayFault.KEY_CERTIFICATE, Symptom.RELAY_AUTH)
        case LineFault.DATE:
            text = f"relay {relay}: {RelayFault.CERTIFICATE_DATE.text}"
            evidence: Evidence = {"relay": Symptom.CERTIFICATE, "clock": 1}
            return DialError(text, stage=Stage.FIRST_BYTE, symptom=Symptom.RELAY_AUTH, evidence=evidence)
        case LineFault.REFUSED:
            return _error(relay, RelayFault.KEY_REFUSED.text, RelayFault.KEY_REFUSED, Symptom.RELAY_AUTH)
        case LineFault.CLOSED if is_cut and key.outer_tls is not None:
            return _error(relay, RelayFault.KEY_CUT.text, RelayFault.KEY_CUT)
        case LineFault.CLOSED:
            needs_clock = isinstance(key, Vmess) or (isinstance(key, Shadowsocks) and key.cipher.startswith("2022-"))
            closed = RelayFault.KEY_CLOSED_OR_CLOCK if needs_clock else RelayFault.KEY_CLOSED
            return _error(relay, closed.text, closed)
        case LineFault.DESTINATION:
            text = f"relay {relay} cannot reach the destination"
            return DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_REFUSED)
        case LineFault.SILENT if isinstance(key, WireGuard):
            return _error(relay, RelayFault.KEY_UNANSWERED.text, RelayFault.KEY_UNANSWERED)
        case LineFault.SILENT:
            return _error(relay, "its server did not answer", Symptom.TIMEOUT)
        case LineFault.UNREACHABLE if key.protocol.is_over_udp:
            return _error(relay, RelayFault.UNREACHABLE.text, Symptom.UNREACHABLE)
        case LineFault.UNREACHABLE:
            return None
        case LineFault.ENGINE:
            return _error(relay, "the engine failed", "engine")


def _error(relay: str, text: str, evidence: str, symptom: Symptom = Symptom.RELAY_DOWN) -> DialError:
    return DialError(f"relay {relay}: {text}", stage=Stage.FIRST_BYTE, symptom=symptom, evidence={"relay": evidence})
