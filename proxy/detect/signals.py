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
from proxy.model import DIRECT, Attempt, Cause, ClosedBy, Outcome, Protocol, Signal, SignalId, Stage, Symptom

NEUTRAL: frozenset[Symptom] = frozenset({Symptom.OFFLINE, Symptom.LOCAL, Symptom.FORBIDDEN, Symptom.SKIPPED})
"""What stopped an attempt before the network had a say: even a rescue from these makes nothing suspect."""

PROVEN_BY_BYTES = frozenset({Cause.FROZEN, Cause.THROTTLED})
"""What counts only when a relay has carried what direct did not; the uplink was seen to be well when it was found."""

NOT_BY_A_BYTE = PROVEN_BY_BYTES | {Cause.INTERCEPTION}
"""Causes that never kept a first byte from coming: one is no sign that they are over."""

ECHOING = frozenset({SignalId.TLS_RESET, SignalId.TLS_DROPPED, SignalId.HTTP_RESET, SignalId.HTTP_DROPPED})
"""What leaves a residue at the address: see `residual`."""

NAME_BASED = frozenset({Cause.SNI_RESET, Cause.SNI_DROP, Cause.HTTP_HOST})
"""Causes that the local ladder may pass."""

_MET_BY: Mapping[Cause | str, Protocol] = MappingProxyType(
    {
        **dict.fromkeys((Cause.SNI_RESET, Cause.SNI_DROP, Cause.ECH, Cause.INTERCEPTION), Protocol.TLS),
        **dict.fromkeys((Cause.HTTP_HOST, Cause.BLOCK_PAGE), Protocol.HTTP),
    }
)
"""What a block that is not listed meets, it meets in whatever protocol."""

_DEFAULTS = Weights()

_BEFORE_FLIGHT: Mapping[tuple[Stage, Symptom], SignalId] = MappingProxyType(
    {
        (Stage.RESOLVE, Symptom.NO_NAME): SignalId.DNS_FAILED,
        (Stage.RESOLVE, Symptom.RESOLVE_FAILED): SignalId.DNS_FAILED,
        (Stage.RESOLVE, Symptom.TIMEOUT): SignalId.DNS_FAILED,
        (Stage.CONNECT, Symptom.TIMEOUT): SignalId.TCP_TIMEOUT,
        (Stage.CONNECT, Symptom.REFUSED): SignalId.TCP_REFUSED,
        (Stage.CONNECT, Symptom.UNREACHABLE): SignalId.TCP_REFUSED,
        (Stage.CONNECT, Symptom.RESET): SignalId.TCP_REFUSED,
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

_DNS = frozenset(
    {SignalId.DNS_BOGON, SignalId.DNS_TWO_ANSWERS, SignalId.DNS_DENIED, SignalId.DNS_SILENT, SignalId.DNS_MISMATCH}
)

_CAUSES: Mapping[SignalId, Cause] = MappingProxyType(
    {
        SignalId.DNS_FAILED: Cause.DNS,
        SignalId.DNS_SAME_IP: Cause.DNS,
        **dict.fromkeys(_DNS, Cause.DNS),
        SignalId.TCP_TIMEOUT: Cause.IP,
        SignalId.TCP_REFUSED: Cause.IP,
        SignalId.TLS_RESET: Cause.SNI_RESET,
        SignalId.TLS_EOF: Cause.SNI_RESET,
        SignalId.TLS_ALERT: Cause.SNI_RESET,
        SignalId.TLS_GARBAGE: Cause.SNI_RESET,
        SignalId.EARLY_RESET: Cause.SNI_RESET,
        SignalId.TLS_DROPPED: Cause.SNI_DROP,
        SignalId.TLS_SILENT: Cause.SNI_DROP,
        SignalId.TLS_SILENT_BLIND: Cause.SNI_DROP,
        SignalId.TLS_BAD_CERT: Cause.INTERCEPTION,
        SignalId.HTTP_BLOCK_PAGE: Cause.BLOCK_PAGE,
        SignalId.HTTP_REDIRECT: Cause.BLOCK_PAGE,
        SignalId.HTTP_REDIRECTS: Cause.BLOCK_PAGE,
        SignalId.FROZEN: Cause.FROZEN,
        SignalId.THROTTLED: Cause.THROTTLED,
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
        if self.signal.id is SignalId.HTTP_REDIRECT:
            return str(self.attempt.evidence.get("elsewhere", ""))
        if self.signal.id is SignalId.DNS_MISMATCH:
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


def cause(kind: SignalId) -> Cause:
    """The cause that a signal points at (docs/detection.md, "Causes"); `Cause.NONE` for one that points at none."""
    return _CAUSES.get(kind, Cause.HTTP_HOST if kind.startswith("http_") else Cause.NONE)


def concerns(because: Cause | str, protocol: Protocol) -> bool:
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


def _observed(outcome: Outcome, attempt: Attempt, kind: SignalId, weights: Weights) -> Observed:
    because = cause(kind)
    if because in NAME_BASED and kind.startswith(("tls_", "early_")) and attempt.evidence.get("ech"):
        because = Cause.ECH
    if _dns(attempt) and kind.startswith(_AT_AN_ADDRESS):
        because = Cause.DNS  # a wrong address refuses, resets or stays silent as a blocked one does
    sent = max(outcome.at + attempt.started, outcome.flight_at)
    at = max(outcome.at + attempt.started + attempt.elapsed, sent)
    return Observed(Signal(kind, getattr(weights, kind), because, at), attempt, sent)


def _kind(attempt: Attempt, outcome: Outcome, gave_up_s: float) -> SignalId | None:
    """The signal's id; None when the attempt says nothing."""
    symptom = attempt.symptom
    if symptom is Symptom.NONE or same_for_all(outcome, attempt):
        return None
    match symptom:
        case Symptom.FROZEN | Symptom.THROTTLED:
            return SignalId(symptom)
        case Symptom.CERTIFICATE:
            return SignalId.TLS_BAD_CERT
        case Symptom.BLOCK_PAGE | Symptom.REDIRECTED if outcome.protocol is Protocol.HTTP:
            return SignalId.HTTP_BLOCK_PAGE if symptom is Symptom.BLOCK_PAGE else SignalId.HTTP_REDIRECT
        case Symptom.RESET if attempt.stage is Stage.DONE:
            return SignalId.EARLY_RESET
        case Symptom.ABANDONED:
            left = outcome.winner is None and outcome.closed_by is ClosedBy.CLIENT
            return SignalId.GAVE_UP if left and attempt.elapsed >= gave_up_s else None
    if attempt.stage is not Stage.FIRST_BYTE:
        kind = _BEFORE_FLIGHT.get((attempt.stage, symptom))
        silent = symptom is Symptom.TIMEOUT or attempt.evidence.get("code") == "silent"
        if (
            kind is SignalId.DNS_FAILED
            and silent
            and any("doh" in a.route.wrap and a.delivered for a in outcome.attempts)
        ):
            return (
                SignalId.DNS_SILENT
            )  # where the secure resolver leads the site answers; that it was denied is told as `dns`
        return None if attempt.stage is Stage.CONNECT and attempt.evidence.get("middlebox") else kind
    return _after_flight(attempt, outcome.protocol)


def _after_flight(attempt: Attempt, protocol: Protocol) -> SignalId | None:
    if protocol is Protocol.TLS and attempt.symptom is Symptom.ALERT:
        return SignalId.TLS_ALERT
    what = _AFTER_FLIGHT.get(attempt.symptom, "")
    if not what or protocol not in (Protocol.TLS, Protocol.HTTP):
        return None
    blind = protocol is Protocol.TLS and what == "silent" and attempt.evidence.get("middlebox")
    return SignalId.TLS_SILENT_BLIND if blind else SignalId(f"{protocol}_{what}")


def _dns(attempt: Attempt) -> SignalId | None:
    """What is wrong with the system resolver's answer. It is no verdict on an attempt that was given up, and yet it is
    known."""
    if attempt.symptom in NEUTRAL:
        return None
    kind = attempt.evidence.get("dns")
    if kind in _DNS:
        return SignalId(kind)
    return SignalId.DNS_BOGON if attempt.symptom is Symptom.FORGED else None
