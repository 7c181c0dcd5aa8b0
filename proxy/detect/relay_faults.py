"""Classifies the fault of a relay itself from one failed attempt.

A refused connection or password, a bad certificate, or garbage in the handshake is always the relay's fault. The
network may be the reason if a relay is silent or cannot be reached: that counts only if another route works. A relay
that refuses a destination has no fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol, Self

from proxy.model import Evidence, Symptom
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import Phrase, _


class RelayFault(StrEnum):
    """The faults of a relay. The value is the id in JSON."""

    text: str  # the fault in words, after "relay NAME: "

    def __new__(cls, word: str, text: str = "") -> Self:
        fault = str.__new__(cls, word)
        fault._value_, fault.text = word, text
        return fault

    CONNECTION_REFUSED = "connection_refused", _("connection refused")
    UNREACHABLE = "unreachable", _("cannot be reached")
    NO_SUCH_HOST = "no_such_host", _("its host name does not exist")
    NAME_UNRESOLVED = "name_unresolved", _("its name cannot be resolved, because no encrypted DNS server answers")
    CREDENTIALS_REFUSED = "credentials_refused", _("user or password refused")
    CREDENTIALS_IN_CLEAR = "credentials_in_clear", _("its password would be sent unencrypted")
    BAD_CERTIFICATE = "bad_certificate", _("bad certificate")
    CERTIFICATE_DATE = "certificate_date", _("certificate expired or not yet valid, or this computer's clock is wrong")
    WRONG_PROTOCOL = "wrong_protocol", _("does not answer in its protocol")
    LEADS_BACK = "leads_back", _("leads back to this Byway")
    BROKE_OFF = "broke_off", _("closed the connection during the handshake")
    SOCKS_CUT = (
        "socks_cut",
        _("it is reached, and its SOCKS handshake is cut off: the SOCKS protocol may be filtered on this network"),
    )
    SOCKS_UNANSWERED = (
        "socks_unanswered",
        _("it is reached, and its SOCKS handshake is not answered: the SOCKS protocol may be filtered on this network"),
    )
    PROTOCOL_FILTERED = (
        "protocol_filtered",
        _("the SOCKS protocol is filtered on this network, not its machine: its port answers a TLS ClientHello"),
    )
    ADDON = "addon", _("its addon opened no connection")
    ENGINE = "engine", _("the engine for keys is missing, or failed")
    KEY_CLOSED = "key_closed", _("its server answered and closed: wrong key, or expired")
    KEY_CLOSED_OR_CLOCK = (
        "key_closed_or_clock",
        _("its server answered and closed: wrong key, or expired, or this computer's clock is wrong"),
    )
    KEY_CUT = (
        "key_cut",
        _("it is reached, and its TLS handshake is cut off: this network may filter it, or the name in the handshake"),
    )
    KEY_REFUSED = "key_refused", _("its server refuses the key")
    KEY_CERTIFICATE = "key_certificate", _("its server does not show the certificate that the key names")
    KEY_HOST_KEY = (
        "key_host_key",
        _(
            "its server shows another host key than the key names: the server may have a new one, or another server "
            "answers in its place"
        ),
    )
    KEY_UNANSWERED = "key_unanswered", _("no answer: wrong key, or expired, or its UDP packets do not arrive")
    SILENT = "silent", _("no answer")
    STALLED = "stalled", _("a connection to it stopped answering in the middle of a transfer")
    DELIVERS_NOTHING = "delivers_nothing", _("connects, but delivers nothing")

    @property
    def needs_comparison(self) -> bool:
        """True if the network may be the reason: the fault counts only if another route works."""
        return self in (
            RelayFault.SILENT,
            RelayFault.SOCKS_UNANSWERED,
            RelayFault.UNREACHABLE,
            RelayFault.NAME_UNRESOLVED,
            RelayFault.DELIVERS_NOTHING,
            RelayFault.KEY_CLOSED,
            RelayFault.KEY_CLOSED_OR_CLOCK,
            RelayFault.KEY_CUT,
            RelayFault.KEY_UNANSWERED,
        )

    @property
    def is_like_a_filter(self) -> bool:
        """True if a network that allows few addresses may be the reason, so that nothing about the relay helps there.
        Not PROTOCOL_FILTERED: its machine answered."""
        return self in (
            RelayFault.CONNECTION_REFUSED,
            RelayFault.UNREACHABLE,
            RelayFault.NAME_UNRESOLVED,
            RelayFault.BROKE_OFF,
            RelayFault.SOCKS_CUT,
            RelayFault.SOCKS_UNANSWERED,
            RelayFault.SILENT,
            RelayFault.STALLED,
            RelayFault.DELIVERS_NOTHING,
            RelayFault.KEY_CLOSED,
            RelayFault.KEY_CLOSED_OR_CLOCK,
            RelayFault.KEY_CUT,
            RelayFault.KEY_UNANSWERED,
        )

    def fix(self, relay: str, *, network_allows_few: bool = False) -> str:
        """What to do about the fault. The last command shows whether it helped. `network_allows_few`: the network is
        restricted, so that it may filter the relay as well."""
        if network_allows_few and self.is_like_a_filter:
            return _("try another network, or add another relay: byway relay add URL")
        fix = _FIXES[self]
        return fix.given(test=f"byway relay test {relay}") if isinstance(fix, Phrase) else fix


_FIXES: Mapping[RelayFault, str] = {
    RelayFault.CONNECTION_REFUSED: _("start the relay, then {test}"),
    RelayFault.UNREACHABLE: _("check its host and port in config.toml, then {test}"),
    RelayFault.NO_SUCH_HOST: _(
        "correct its host in config.toml, or add its suffix to [dns] local if only this network knows it, then {test}"
    ),
    RelayFault.NAME_UNRESOLVED: _(
        "add its address to its URL (?alt=ADDRESS:PORT), or another encrypted DNS server to [dns] servers, then {test}"
    ),
    RelayFault.CREDENTIALS_REFUSED: _("correct its user and password in config.toml, then {test}"),
    RelayFault.CREDENTIALS_IN_CLEAR: _("use https, or set allow_plaintext_credentials = true, then {test}"),
    RelayFault.BAD_CERTIFICATE: _(
        "add ?ca=FILE to its URL if the certificate is your own, or ?sni=NAME if it is for another name (else this "
        "network may intercept TLS), then {test}"
    ),
    RelayFault.CERTIFICATE_DATE: _("check this computer's clock, then {test}"),
    RelayFault.WRONG_PROTOCOL: _("correct its scheme and port in config.toml, then {test}"),
    RelayFault.LEADS_BACK: _("set the relay to connect directly and not through Byway, then {test}"),
    RelayFault.BROKE_OFF: _("check its scheme and port in config.toml, then {test}"),
    RelayFault.SOCKS_CUT: _("use an https relay or a key, or check the scheme and port of this one, then {test}"),
    RelayFault.SOCKS_UNANSWERED: _("use an https relay or a key, or check that this one runs, then {test}"),
    RelayFault.PROTOCOL_FILTERED: _("use an https relay on that machine or a key, then {test}"),
    RelayFault.ADDON: "byway addons list",
    RelayFault.ENGINE: "byway doctor",
    RelayFault.KEY_CLOSED: _("ask for a new key and add it, then {test}"),
    RelayFault.KEY_CLOSED_OR_CLOCK: _("check this computer's clock, or ask for a new key and add it, then {test}"),
    RelayFault.KEY_CUT: _("try another network, or ask for a key with another name in it and add it, then {test}"),
    RelayFault.KEY_REFUSED: _("ask for a new key and add it, then {test}"),
    RelayFault.KEY_UNANSWERED: _("try another network, or ask for a new key and add it, then {test}"),
    RelayFault.KEY_CERTIFICATE: _("try another network, or ask for a new key and add it, then {test}"),
    RelayFault.KEY_HOST_KEY: _(
        "ask the key's owner, by another way, whether its server has a new host key; if so, add the key with that one, "
        "else use it on another network, then {test}"
    ),
    RelayFault.SILENT: _("check that the relay runs, and its scheme and port in config.toml, then {test}"),
    RelayFault.STALLED: _("check that the relay still runs and is connected, then {test}"),
    RelayFault.DELIVERS_NOTHING: _("restart the relay, or use another one, then {test}"),
}


class RelayedFailure(Protocol):
    """A failed attempt, or a failed step of a measurement."""

    @property
    def symptom(self) -> Symptom: ...
    @property
    def evidence(self) -> Evidence: ...


def relay_fault(failure: RelayedFailure) -> RelayFault | None:
    """Returns the fault of the relay itself that a failed attempt shows; None: it shows none.

    `evidence["relay"]` is the symptom of the path to the relay or of its handshake, "certificate", "in_clear" (a
    password that may not be sent), "addon", "engine", or one of KEY_FAULTS. `evidence["clock"]` is 1 for a certificate
    that is not valid today. `evidence["greeting"]` is 1 if TCP opened and the SOCKS greeting got no byte of an answer,
    or what followed it was not even acknowledged; `evidence["unacked"]` is the number of segments that were not."""
    kind = str(failure.evidence.get("relay", ""))
    match failure.symptom:
        case Symptom.RELAY_DOWN | Symptom.RELAY_AUTH if kind in KEY_FAULTS:
            return RelayFault(kind)
        case Symptom.RELAY_GARBAGE:
            return RelayFault.WRONG_PROTOCOL
        case Symptom.RELAY_LOOP:
            return RelayFault.LEADS_BACK
        case Symptom.RELAY_AUTH if kind == Symptom.CERTIFICATE:
            return RelayFault.CERTIFICATE_DATE if failure.evidence.get("clock") else RelayFault.BAD_CERTIFICATE
        case Symptom.RELAY_AUTH:
            return RelayFault.CREDENTIALS_IN_CLEAR if kind == "in_clear" else RelayFault.CREDENTIALS_REFUSED
        case Symptom.RELAY_DOWN if failure.evidence.get("doh"):
            return RelayFault.NAME_UNRESOLVED
        case Symptom.RELAY_DOWN if failure.evidence.get("greeting"):
            return RelayFault.SOCKS_UNANSWERED if kind == Symptom.TIMEOUT else RelayFault.SOCKS_CUT
        case Symptom.RELAY_DOWN:
            return _DOWN.get(kind, RelayFault.SILENT)
    return None


def fault_beside_hello(fault: RelayFault, evidence: Evidence, answer: bytes | None) -> RelayFault:
    """Returns the fault of a SOCKS relay whose greeting got no byte, once its port got a TLS ClientHello as well.
    `answer` has the first bytes that came; it is empty when the connection was closed, and None when nothing came.

    Only a filter tells the two apart while the machine is there: the relay answers the ClientHello in SOCKS, or it
    closes, as SOCKS servers do, a connection of which it got the first bytes, while those of SOCKS were not even
    acknowledged. Any other answer comes from a server of another protocol."""
    if answer is None:
        return RelayFault.SILENT if fault is RelayFault.SOCKS_UNANSWERED else fault
    if answer:
        return RelayFault.PROTOCOL_FILTERED if answer[0] in _SOCKS_ANSWERS else RelayFault.WRONG_PROTOCOL
    is_dropped = fault is RelayFault.SOCKS_UNANSWERED and evidence.get("unacked", 0) > 0
    return RelayFault.PROTOCOL_FILTERED if is_dropped else fault


_SOCKS_ANSWERS = (0, 5)
"""The first byte of an answer in SOCKS4 and SOCKS5."""

_DOWN: Mapping[str, RelayFault] = {
    Symptom.REFUSED: RelayFault.CONNECTION_REFUSED,
    Symptom.UNREACHABLE: RelayFault.UNREACHABLE,
    Symptom.RESOLVE_FAILED: RelayFault.UNREACHABLE,
    Symptom.RELAY_REFUSED: RelayFault.UNREACHABLE,  # the relay before it in a chain cannot reach it
    Symptom.NO_NAME: RelayFault.NO_SUCH_HOST,
    Symptom.EOF: RelayFault.BROKE_OFF,
    Symptom.RESET: RelayFault.BROKE_OFF,
    "addon": RelayFault.ADDON,
    "engine": RelayFault.ENGINE,
}

KEY_FAULTS = (
    RelayFault.KEY_CLOSED,
    RelayFault.KEY_CLOSED_OR_CLOCK,
    RelayFault.KEY_CUT,
    RelayFault.KEY_REFUSED,
    RelayFault.KEY_CERTIFICATE,
    RelayFault.KEY_HOST_KEY,
    RelayFault.KEY_UNANSWERED,
)
"""Faults that the engine, or what the server did, shows of a key. Each is its own evidence."""


@frozen_dataclass
class NotedFault:
    """A present fault of a relay."""

    fault: RelayFault
    since: float  # seconds since the epoch: the first of the failures in a row
    seen_at: float  # the last of them
    error: str = ""  # the sentence of the last attempt; may hold the relay's address
