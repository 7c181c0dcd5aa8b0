"""Finds the signals of an outcome: the rows of docs/detection.md, "Signals", that a direct attempt can show.

Only attempts on plain direct are read, since a relay or a strategy hides what the network does, and only those that the
network decided: a lack of local resources, an offline computer or a refusal of the address guard is no signal. If a
relay got the same alert or redirect, it is the site's own. `beliefs.counting` decides whether a signal counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from proxy.config.detect_tuning import Weights
from proxy.model import (
    DIRECT,
    DOH,
    NAME_CAUSES,
    NO_EVIDENCE,
    Attempt,
    Belief,
    Cause,
    ClosedBy,
    Evidence,
    Outcome,
    Protocol,
    Signal,
    SignalId,
    Stage,
    Symptom,
)
from proxy.model.frozen_dataclass import frozen_dataclass

NOT_JUDGED: frozenset[Symptom] = frozenset({Symptom.OFFLINE, Symptom.LOCAL, Symptom.FORBIDDEN, Symptom.SKIPPED})
"""Symptoms of an attempt that the network did not decide. A rescue after one of them makes no host suspect."""

NEEDS_BYTES_PROOF = frozenset({Cause.FROZEN, Cause.THROTTLED})
"""Causes that count once a relay has carried more bytes than direct did. The control gate was open at the signal."""

REFUSALS = frozenset({403, 429, 451})
"""HTTP statuses of a site that refuses a route: Forbidden, Too Many Requests (RFC 6585), Unavailable For Legal Reasons
(RFC 7725)."""

LEAVES_RESIDUE = frozenset({SignalId.TLS_RESET, SignalId.TLS_DROPPED, SignalId.HTTP_RESET, SignalId.HTTP_DROPPED})
"""Signals after which residual blocking of the address is possible: see `beliefs.counting`."""

SNI_SWAP_WEIGHT = 4.0
"""Only an experiment shows `sni_swap`, so there is no setting for its weight."""

_MET_BY: Mapping[Cause | str, Protocol] = {
    **dict.fromkeys((Cause.SNI_RESET, Cause.SNI_DROP, Cause.ECH, Cause.INTERCEPTION), Protocol.TLS),
    **dict.fromkeys((Cause.HTTP_HOST, Cause.BLOCK_PAGE), Protocol.HTTP),
}
"""The protocol that a block of this cause affects. Blocks of other causes affect all protocols."""

_DEFAULTS = Weights()

_AT_ANY_STAGE: Mapping[Symptom, SignalId] = {
    Symptom.FROZEN: SignalId.FROZEN,
    Symptom.THROTTLED: SignalId.THROTTLED,
    Symptom.CERTIFICATE: SignalId.TLS_BAD_CERT,
}

_PAGES: Mapping[Symptom, SignalId] = {
    Symptom.BLOCK_PAGE: SignalId.HTTP_BLOCK_PAGE,
    Symptom.REDIRECTED: SignalId.HTTP_REDIRECT,
}
"""Signals of answers to plain HTTP requests. Inside TLS, only the site can send such answers."""

_BY_STAGE: Mapping[tuple[Stage, Symptom], SignalId] = {
    (Stage.RESOLVE, Symptom.NO_NAME): SignalId.DNS_FAILED,
    (Stage.RESOLVE, Symptom.RESOLVE_FAILED): SignalId.DNS_FAILED,
    (Stage.RESOLVE, Symptom.TIMEOUT): SignalId.DNS_FAILED,
    (Stage.CONNECT, Symptom.TIMEOUT): SignalId.TCP_TIMEOUT,
    (Stage.CONNECT, Symptom.REFUSED): SignalId.TCP_REFUSED,
    (Stage.CONNECT, Symptom.UNREACHABLE): SignalId.TCP_REFUSED,
    (Stage.CONNECT, Symptom.RESET): SignalId.TCP_REFUSED,
    (Stage.DONE, Symptom.RESET): SignalId.EARLY_RESET,
}

_AFTER_FLIGHT: Mapping[tuple[Protocol, Symptom], SignalId] = {
    (Protocol.TLS, Symptom.RESET): SignalId.TLS_RESET,
    (Protocol.TLS, Symptom.DROPPED): SignalId.TLS_DROPPED,
    (Protocol.TLS, Symptom.SILENT): SignalId.TLS_SILENT,
    (Protocol.TLS, Symptom.TIMEOUT): SignalId.TLS_SILENT,
    (Protocol.TLS, Symptom.EOF): SignalId.TLS_EOF,
    (Protocol.TLS, Symptom.GARBAGE): SignalId.TLS_GARBAGE,
    (Protocol.TLS, Symptom.ALERT): SignalId.TLS_ALERT,
    (Protocol.HTTP, Symptom.RESET): SignalId.HTTP_RESET,
    (Protocol.HTTP, Symptom.DROPPED): SignalId.HTTP_DROPPED,
    (Protocol.HTTP, Symptom.SILENT): SignalId.HTTP_SILENT,
    (Protocol.HTTP, Symptom.TIMEOUT): SignalId.HTTP_SILENT,
    (Protocol.HTTP, Symptom.EOF): SignalId.HTTP_EOF,
    (Protocol.HTTP, Symptom.GARBAGE): SignalId.HTTP_GARBAGE,
}

_DNS = frozenset(
    {SignalId.DNS_BOGON, SignalId.DNS_TWO_ANSWERS, SignalId.DNS_DENIED, SignalId.DNS_SILENT, SignalId.DNS_MISMATCH}
)

_CAUSES: Mapping[SignalId, Cause] = {
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
    SignalId.HTTP_DIFFERS: Cause.BLOCK_PAGE,
    SignalId.HTTP_SAME_PAGE: Cause.BLOCK_PAGE,
    SignalId.FROZEN: Cause.FROZEN,
    SignalId.CUT_LATER: Cause.FROZEN,
    SignalId.THROTTLED: Cause.THROTTLED,
}


@frozen_dataclass
class Failure:
    """A failure of direct, in a client's connection or in a measurement."""

    stage: Stage
    symptom: Symptom
    protocol: Protocol
    evidence: Evidence = field(default_factory=lambda: NO_EVIDENCE)

    @property
    def is_resolver_silence(self) -> bool:
        """Whether the resolver gave no answer at all."""
        return self.symptom is Symptom.TIMEOUT or self.evidence.get("code") == "silent"


def signal_of(failure: Failure) -> SignalId | None:
    """Returns the signal for blocking that a failure shows (docs/detection.md, "Signals"); None: it shows none."""
    stage, symptom, protocol = failure.stage, failure.symptom, failure.protocol
    if "cut_s" in failure.evidence:  # whether by silence or by a reset
        return SignalId.CUT_LATER
    if symptom in _AT_ANY_STAGE:
        return _AT_ANY_STAGE[symptom]
    if protocol is Protocol.HTTP and symptom in _PAGES:
        return _PAGES[symptom]
    # A middlebox that terminates TCP answers every SYN and acknowledges every flight itself, so the SYN says nothing
    # about the site, and silence may be a dropped flight (docs/detection.md, "What the kernel knows").
    behind_middlebox = bool(failure.evidence.get("middlebox"))
    if stage is not Stage.FIRST_BYTE:
        return None if stage is Stage.CONNECT and behind_middlebox else _BY_STAGE.get((stage, symptom))
    signal = _AFTER_FLIGHT.get((protocol, symptom))
    return SignalId.TLS_SILENT_BLIND if signal is SignalId.TLS_SILENT and behind_middlebox else signal


@frozen_dataclass
class Observed:
    """A signal, and the attempt that shows it."""

    signal: Signal
    attempt: Attempt
    sent: float  # seconds since the epoch: a control must deliver after this
    protocol: Protocol = Protocol.NONE  # of the connection

    @property
    def leads_to(self) -> str:
        """The redirect target or the wrong address; empty: neither. If it is a censor's, unrelated sites share it."""
        if self.signal.id is SignalId.HTTP_REDIRECT:
            return str(self.attempt.evidence.get("elsewhere", ""))
        if self.signal.id is SignalId.DNS_MISMATCH:
            return self.attempt.address.rpartition(":")[0]
        return ""


def observe(outcome: Outcome, weights: Weights = _DEFAULTS, *, gave_up_s: float = 3.0) -> list[Observed]:
    """Returns the signals of the attempts on direct: first those of their symptoms, in order, then those of the DNS
    answers (`evidence["dns"]`), which are often known only later."""
    direct = [attempt for attempt in outcome.attempts if attempt.route == DIRECT]
    if len(direct) > 1 and direct[-1].delivered:
        direct = direct[-1:]  # the same hello was answered a second later
    if len(direct) == 1 and direct[0].symptom is Symptom.NONE and "dns" not in direct[0].evidence:
        return []  # the usual case
    kinds = [(attempt, _kind(attempt, outcome, gave_up_s)) for attempt in direct]
    kinds += [(attempt, _dns(attempt)) for attempt in direct]
    return [_observed(outcome, attempt, kind, weights) for attempt, kind in kinds if kind]


def plain_attempt(outcome: Outcome) -> Attempt | None:
    """Returns the last attempt that sent the flight as it is: on direct, or to an address of encrypted DNS, if direct
    was skipped, since it would have sent it to the same one afterwards. None: there was none."""
    direct = outcome.direct_attempt
    if direct is None or direct.symptom is not Symptom.SKIPPED:
        return direct
    return next((attempt for attempt in outcome.attempts if attempt.route == DOH), None)


def observe_plain(outcome: Outcome, weights: Weights = _DEFAULTS) -> list[Observed]:
    """As `observe`, of the `plain_attempt` alone."""
    plain = plain_attempt(outcome)
    return [] if plain is None else observe(replace(outcome, attempts=(replace(plain, route=DIRECT),)), weights)


def cause(kind: SignalId) -> Cause:
    """Returns the cause that a signal indicates (docs/detection.md, "Causes"); `Cause.NONE`: it indicates none."""
    return _CAUSES.get(kind, Cause.HTTP_HOST if kind.startswith("http_") else Cause.NONE)


def cause_concerns(because: Cause | str, protocol: Protocol) -> bool:
    """Whether blocks of this cause affect `protocol`: SNI filtering lets plain HTTP pass."""
    return _MET_BY.get(because, protocol) is protocol


def concerns(belief: Belief, protocol: Protocol) -> bool:
    """Whether the block affects `protocol`. If not, neither a success nor the route that delivered is evidence about
    it: a network that drops port 443 lets plain HTTP pass."""
    if belief.cause == Cause.IP and belief.protocol:
        return belief.protocol is protocol
    return cause_concerns(belief.cause, protocol)


def same_for_all(outcome: Outcome, attempt: Attempt) -> bool:
    """Whether another route got the same alert, or a redirect to the same domain: then it is the site's own."""
    return attempt.symptom in (Symptom.ALERT, Symptom.REDIRECTED) and any(
        other.symptom is attempt.symptom
        and other.evidence.get("elsewhere") == attempt.evidence.get("elsewhere")
        and not other.route.is_direct
        for other in outcome.attempts
    )


_AT_AN_ADDRESS = ("tcp_", "tls_", "http_")


def redirected_only_direct(outcome: Outcome, attempt: Attempt) -> bool:
    """Whether an attempt was redirected to another domain, and no relay was redirected there too."""
    place = attempt.evidence.get("elsewhere")
    return place is not None and not any(
        other.evidence.get("elsewhere") == place for other in outcome.attempts if not other.route.is_direct
    )


def _observed(outcome: Outcome, attempt: Attempt, kind: SignalId, weights: Weights) -> Observed:
    because = cause(kind)
    if because in NAME_CAUSES and kind.startswith(("tls_", "early_")) and attempt.evidence.get("ech"):
        because = Cause.ECH
    if _dns(attempt) and kind.startswith(_AT_AN_ADDRESS):
        because = Cause.DNS  # a wrong address fails in the same ways as a blocked one
    sent = max(outcome.at + attempt.started, outcome.flight_at)
    at = max(outcome.at + attempt.started + attempt.elapsed, sent)
    return Observed(Signal(kind, getattr(weights, kind), because, at), attempt, sent, outcome.protocol)


def _kind(attempt: Attempt, outcome: Outcome, gave_up_s: float) -> SignalId | None:
    """Returns the signal that a direct attempt shows by its symptom; None: it shows none."""
    if attempt.symptom is Symptom.NONE or same_for_all(outcome, attempt):
        return None
    if attempt.symptom is Symptom.ABANDONED:
        left = outcome.winner is None and outcome.closed_by is ClosedBy.CLIENT
        return SignalId.GAVE_UP if left and attempt.elapsed >= gave_up_s else None
    failure = Failure(attempt.stage, attempt.symptom, outcome.protocol, attempt.evidence)
    signal = signal_of(failure)
    # If encrypted DNS led to the site, the name exists. A denial by the system's resolver weighs more: a comparison of
    # resolvers finds it, and it comes as evidence.
    exists = any("doh" in other.route.wrap and other.delivered for other in outcome.attempts)
    silent = signal is SignalId.DNS_FAILED and failure.is_resolver_silence
    return SignalId.DNS_SILENT if silent and exists else signal


def _dns(attempt: Attempt) -> SignalId | None:
    """Returns the signal of the system resolver's answer; None: there is none. It also counts for an abandoned
    attempt."""
    if attempt.symptom in NOT_JUDGED:
        return None
    kind = attempt.evidence.get("dns")
    if kind in _DNS:
        return SignalId(kind)
    return SignalId.DNS_BOGON if attempt.symptom is Symptom.FORGED else None
