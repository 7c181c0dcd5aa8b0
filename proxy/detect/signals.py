"""What a failed direct attempt says for blocking: the first version's rows of detection.md section 5.

An outcome goes in, signals come out. Only plain `direct` is looked at, since a route with a relay or a wrapper says
nothing about the network, and only what was judged: our own shortage, a machine that is offline, a refusal of our
guard and an attempt that was given up say nothing either. Whether a signal counts is the business of `beliefs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from proxy.config.schema import Weights
from proxy.model import DIRECT, Attempt, Outcome, Protocol, Signal, Stage, Symptom

NEUTRAL: frozenset[Symptom] = frozenset({Symptom.OFFLINE, Symptom.LOCAL, Symptom.FORBIDDEN, Symptom.SKIPPED})
"""What stopped an attempt before the network had a say: even a rescue from these makes nothing suspect."""

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

_CAUSES: Mapping[str, str] = MappingProxyType(
    {
        "dns_failed": "dns",
        "tcp_timeout": "ip",
        "tcp_refused": "ip",
        "tls_reset": "sni_reset",
        "tls_eof": "sni_reset",
        "tls_garbage": "sni_reset",
        "tls_dropped": "sni_drop",
        "tls_silent": "sni_drop",
    }
)


def signals(outcome: Outcome, weights: Weights = _DEFAULTS) -> list[Signal]:
    """One signal for each direct attempt that failed in a way that may be blocking, in the order of the attempts.

    A later judgement of an overtaken attempt (`Outcome.with_attempt`) only ever adds to the end of the list.
    """
    return [
        Signal(kind, getattr(weights, kind), cause(kind), outcome.at + attempt.started + attempt.elapsed)
        for attempt in outcome.attempts
        if attempt.route == DIRECT and (kind := _kind(attempt, outcome.protocol))
    ]


def cause(kind: str) -> str:
    """Which of the causes of detection.md section 6 a signal points at."""
    return _CAUSES.get(kind, "http_host" if kind.startswith("http_") else "")


def _kind(attempt: Attempt, protocol: Protocol) -> str:
    """The signal's id; empty when the attempt says nothing."""
    if attempt.stage is not Stage.FIRST_BYTE:
        return _BEFORE_FLIGHT.get((attempt.stage, attempt.symptom), "")
    what = _AFTER_FLIGHT.get(attempt.symptom, "")
    if what and protocol in (Protocol.TLS, Protocol.HTTP):
        return f"{protocol}_{what}"
    return ""
