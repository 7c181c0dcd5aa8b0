"""What a direct attempt says for blocking: the rows of docs/detection.md, "Signals", that one outcome can show.

An outcome goes in, signals come out. Only plain `direct` is looked at, since a route with a relay or a wrapper says
nothing about the network, and only what was judged: our own shortage, a machine that is offline, a refusal of our
guard and an attempt that was given up say nothing either. What a relay got as well (the same alert, the same redirect)
is the site's own doing. Whether a signal counts is the business of `judging`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from proxy.config.schema import Weights
from proxy.model import DIRECT, Attempt, ClosedBy, Outcome, Protocol, Signal, Stage, Symptom

NEUTRAL: frozenset[Symptom] = frozenset({Symptom.OFFLINE, Symptom.LOCAL, Symptom.FORBIDDEN, Symptom.SKIPPED})
"""What stopped an attempt before the network had a say: even a rescue from these makes nothing suspect."""

PROVEN_BY_BYTES = frozenset({"frozen", "throttled"})
"""What counts only when a relay has carried what direct did not; the uplink was seen to be well when it was found."""

NOT_BY_A_BYTE = PROVEN_BY_BYTES | {"interception"}
"""Causes that never kept a first byte from coming: one is no sign that they are over."""

ECHOING = frozenset({"tls_reset", "tls_dropped", "http_reset", "http_dropped"})
"""What leaves a residue at the address: see `residual`."""

NAME_BASED = frozenset({"sni_reset", "sni_drop", "http_host"})
"""Causes that the local ladder may pass."""

_MET_BY: Mapping[str, Protocol] = MappingProxyType(
    {
        **dict.fromkeys(("sni_reset", "sni_drop", "ech", "interception"), Protocol.TLS),
        **dict.fromkeys(("http_host", "block_page"), Protocol.HTTP),
    }
)
"""What a block that is not listed meets, it meets in whatever protocol."""

_DEFAULTS = Weights()

_BEFORE_FLIGHT: Mapping[tuple[Stage, Symptom], str] = MappingProxyType(
    {
        (Stage.RESOLVE, Symptom.NO_NAME): "dns_failed",
        (Stage.RESOLVE, Symptom.RESOLVE_FAILED): "dns_failed",
        (Stage.RESOLVE, Symptom.TIMEOUT): "dns_failed",
        (Stage.CONNECT, Symptom.TIMEOUT): "tcp_timeout",
        (Stage.CONNECT, Symptom.REFUSED): "tcp_refused",
        (Stage.CONNECT, Symptom.UNREACHABLE): "tcp_refused",
        (Stage.CONNECT, Symptom.RESET): "tcp_refused",
    }
)

_AFTER_FLIGHT: Mapping[Symptom, str] = MappingProxyType(
    {
        Symptom.RESET: "reset",
        Symptom.DROPPED: "dropped",
        Symptom.SILENT: "silent",
        Symptom.TIMEOUT: "silent",
        Symptom.EOF: "eof",
        Symptom.GARBAGE: "garbage",
    }
)

_DNS = frozenset({"dns_bogon", "dns_two_answers", "dns_denied", "dns_silent", "dns_mismatch"})

_CAUSES: Mapping[str, str] = MappingProxyType(
    {
        "dns_failed": "dns",
        "dns_same_ip": "dns",
        **dict.fromkeys(_DNS, "dns"),
        "tcp_timeout": "ip",
        "tcp_refused": "ip",
        "tls_reset": "sni_reset",
        "tls_eof": "sni_reset",
        "tls_alert": "sni_reset",
        "tls_garbage": "sni_reset",
        "early_reset": "sni_reset",
        "tls_dropped": "sni_drop",
        "tls_silent": "sni_drop",
        "tls_silent_blind": "sni_drop",
        "tls_bad_cert": "interception",
        "http_block_page": "block_page",
        "http_redirect": "block_page",
        "http_redirects": "block_page",
        "frozen": "frozen",
        "throttled": "throttled",
    }
)


@dataclass(frozen=True, slots=True)
class Observed:
    """A signal and what it was seen on."""

    signal: Signal
    attempt: Attempt
    sent: float  # when what it is about was sent, since the epoch: the control gate asks who else was heard since

    @property
    def leads_to(self) -> str:
        """The place to which unrelated sites are led when this is no accident; empty: there is none."""
        if self.signal.id == "http_redirect":
            return str(self.attempt.evidence.get("elsewhere", ""))
        if self.signal.id == "dns_mismatch":
            return self.attempt.address.rpartition(":")[0]
        return ""


def observe(outcome: Outcome, weights: Weights = _DEFAULTS, *, gave_up_s: float = 3.0) -> list[Observed]:
    """What the direct attempts that were judged show that may be blocking: what stopped each, in their order, and then
    what is wrong with the name's answer (`evidence["dns"]`), which is often known later than the rest."""
    direct = [attempt for attempt in outcome.attempts if attempt.route == DIRECT]
    if len(direct) == 1 and direct[0].delivered and not direct[0].symptom and not direct[0].evidence:
        return []
    found = [(attempt, _kind(attempt, outcome, gave_up_s)) for attempt in direct]
    found += [(attempt, _dns(attempt)) for attempt in direct]
    return [_observed(outcome, attempt, kind, weights) for attempt, kind in found if kind]


def cause(kind: str) -> str:
    """Which of the causes of docs/detection.md, "Causes", a signal points at; empty for one that points at none."""
    return _CAUSES.get(kind, "http_host" if kind.startswith("http_") else "")


def concerns(because: str, protocol: Protocol) -> bool:
    """Whether a block for this cause meets what is said in `protocol`. Else neither that it was let through nor what
    carried it says anything of the block: who reads names in hellos lets plain HTTP pass."""
    return _MET_BY.get(because, protocol) is protocol


def same_for_all(outcome: Outcome, attempt: Attempt) -> bool:
    """Whether another route was told the same: an alert, or a redirect to the same place, is then the site's own."""
    return attempt.symptom in (Symptom.ALERT, Symptom.REDIRECTED) and any(
        other.symptom is attempt.symptom
        and other.evidence.get("elsewhere") == attempt.evidence.get("elsewhere")
        and not other.route.is_direct
        for other in outcome.attempts
    )


_AT_AN_ADDRESS = ("tcp_", "tls_", "http_")


def redirected_only_direct(outcome: Outcome, attempt: Attempt) -> bool:
    """Whether an attempt was led to another domain, and no relay to the same: a move, a block page or a login page."""
    place = attempt.evidence.get("elsewhere")
    return place is not None and not any(
        other.evidence.get("elsewhere") == place for other in outcome.attempts if not other.route.is_direct
    )


def _observed(outcome: Outcome, attempt: Attempt, kind: str, weights: Weights) -> Observed:
    because = cause(kind)
    if because in NAME_BASED and kind.startswith(("tls_", "early_")) and attempt.evidence.get("ech"):
        because = "ech"
    if _dns(attempt) and kind.startswith(_AT_AN_ADDRESS):
        because = "dns"  # a wrong address refuses, resets or stays silent as a blocked one does
    sent = max(outcome.at + attempt.started, outcome.flight_at)
    at = max(outcome.at + attempt.started + attempt.elapsed, sent)
    return Observed(Signal(kind, getattr(weights, kind), because, at), attempt, sent)


def _kind(attempt: Attempt, outcome: Outcome, gave_up_s: float) -> str:
    """The signal's id; empty when the attempt says nothing."""
    symptom = attempt.symptom
    if symptom is Symptom.NONE or same_for_all(outcome, attempt):
        return ""
    match symptom:
        case Symptom.FROZEN | Symptom.THROTTLED:
            return str(symptom)
        case Symptom.CERTIFICATE:
            return "tls_bad_cert"
        case Symptom.BLOCK_PAGE | Symptom.REDIRECTED if outcome.protocol is Protocol.HTTP:
            return "http_block_page" if symptom is Symptom.BLOCK_PAGE else "http_redirect"
        case Symptom.RESET if attempt.stage is Stage.DONE:
            return "early_reset"
        case Symptom.ABANDONED:
            left = outcome.winner is None and outcome.closed_by is ClosedBy.CLIENT
            return "gave_up" if left and attempt.elapsed >= gave_up_s else ""
    if attempt.stage is not Stage.FIRST_BYTE:
        kind = _BEFORE_FLIGHT.get((attempt.stage, symptom), "")
        silent = symptom is Symptom.TIMEOUT or attempt.evidence.get("code") == "silent"
        if kind == "dns_failed" and silent and any("doh" in a.route.wrap and a.delivered for a in outcome.attempts):
            return "dns_silent"  # where the secure resolver leads the site answers; that it was denied is told as `dns`
        return "" if kind.startswith("tcp_") and attempt.evidence.get("middlebox") else kind
    return _after_flight(attempt, outcome.protocol)


def _after_flight(attempt: Attempt, protocol: Protocol) -> str:
    if protocol is Protocol.TLS and attempt.symptom is Symptom.ALERT:
        return "tls_alert"
    what = _AFTER_FLIGHT.get(attempt.symptom, "")
    if not what or protocol not in (Protocol.TLS, Protocol.HTTP):
        return ""
    blind = protocol is Protocol.TLS and what == "silent" and attempt.evidence.get("middlebox")
    return "tls_silent_blind" if blind else f"{protocol}_{what}"


def _dns(attempt: Attempt) -> str:
    """What is wrong with the system resolver's answer. It is no verdict on an attempt that was given up, and yet it is
    known."""
    if attempt.symptom in NEUTRAL:
        return ""
    kind = attempt.evidence.get("dns", "")
    if kind in _DNS:
        return str(kind)
    return "dns_bogon" if attempt.symptom is Symptom.FORGED else ""
