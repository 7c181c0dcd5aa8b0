"""Causes, stages, failures, networks and advice in words: what people read, the same in every command, page and
document.

The words for a site are in `site_status`, those for a relay in `relay_faults`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from proxy.model import Cause, NetworkState, Protocol, Stage, Symptom

NOTHING_TO_DO = "Nothing: it opens."
ADD_A_RELAY = "Add a relay with `byway relay add URL`."
TEST_RELAYS = "Test your relays with `byway relay test`."
NEEDS_A_RELAY = "It may also be blocked; a working relay is needed to tell"

_NETWORKS: Mapping[NetworkState, tuple[str, str]] = MappingProxyType(
    {
        NetworkState.OFFLINE: (
            "No network: this computer has no connection. Nothing is concluded about sites.",
            "check your network connection",
        ),
        NetworkState.PORTAL: (
            "Captive portal: this network shows its login page in place of every site.",
            "open any page in a browser and log in to the network",
        ),
        NetworkState.RESTRICTED: (
            "Only domestic sites are reachable here; using relays first.",
            "nothing: direct is tried again automatically",
        ),
        NetworkState.SHUT: (
            "Only domestic sites are reachable and all relays fail.",
            "try another network, or add another relay: byway relay add URL",
        ),
        NetworkState.INSPECTED: (
            "TLS is intercepted here by a CA this computer trusts (company proxy or antivirus). AUTO does not use "
            "relays on this network.",
            "to bypass it for a site: byway site set HOST relay",
        ),
    }
)

_CAUSES: Mapping[Cause | str, str] = MappingProxyType(
    {
        Cause.DNS: "DNS tampering",
        Cause.IP: "IP address blocked, by the network or by the site's own geo-fence",
        Cause.SNI_RESET: "connection reset after the TLS ClientHello (SNI filtering)",
        Cause.SNI_DROP: "silence after the TLS ClientHello (SNI filtering)",
        Cause.HTTP_HOST: "HTTP request blocked (by Host)",
        Cause.BLOCK_PAGE: "block page",
        Cause.INTERCEPTION: "wrong certificate (TLS interception)",
        Cause.ECH: "the outer name of the encrypted ClientHello is filtered",
        Cause.FROZEN: "transfer stalls",
        Cause.THROTTLED: Cause.THROTTLED,
        Cause.REFUSED: "the site rejects this route (HTTP 403/451)",
        Cause.DOWN: "no route reaches it",
        Cause.RESTRICTED: "this network allows few sites",
        Cause.NO_SUCH_NAME: "the name does not exist",
        Cause.RELAYS_FAIL: "the relays themselves fail",
        Cause.OFFLINE: "no network",
        Cause.PORTAL: "captive portal",
        Cause.EXPIRED: "certificate expired",
        Cause.NOT_YET_VALID: "certificate not yet valid",
        Cause.SELF_SIGNED: "self-signed certificate",
        Cause.WRONG_NAME: "certificate for another name",
        Cause.UNTRUSTED_ISSUER: "untrusted certificate issuer",
        Cause.CLOCK: "this computer's clock is wrong",
    }
)

_STAGES: Mapping[Stage, str] = MappingProxyType(
    {
        Stage.RESOLVE: "DNS",
        Stage.CONNECT: "TCP connect",
        Stage.RELAY: "relay handshake",
        Stage.FIRST_BYTE: "waiting for the first byte",
        Stage.DONE: "delivered",
    }
)

_FLIGHTS: Mapping[Protocol, str] = MappingProxyType(
    {Protocol.TLS: "the TLS ClientHello", Protocol.HTTP: "the HTTP request"}
)

_SYMPTOMS: Mapping[Symptom, str] = MappingProxyType(
    {
        Symptom.NO_NAME: "the name does not exist",
        Symptom.RESOLVE_FAILED: "DNS failed",
        Symptom.FORBIDDEN: "not allowed",
        Symptom.REFUSED: "connection refused",
        Symptom.UNREACHABLE: "host unreachable",
        Symptom.OFFLINE: "no network",
        Symptom.RESET: "connection reset after {flight}",
        Symptom.EOF: "connection closed after {flight}",
        Symptom.GARBAGE: "an answer in another protocol",
        Symptom.ALERT: "TLS alert",
        Symptom.BLOCK_PAGE: "block page",
        Symptom.REDIRECTED: "redirect to another domain",
        Symptom.FROZEN: "transfer stalled",
        Symptom.THROTTLED: "throttled",
        Symptom.FORGED: "forged DNS answer",
        Symptom.CERTIFICATE: "bad certificate",
        Symptom.DROPPED: "no answer: {flight} was dropped",
        Symptom.SILENT: "no answer to {flight}",
        Symptom.RELAY_DOWN: "the relay cannot be reached",
        Symptom.RELAY_AUTH: "the relay refused the credentials or its certificate is bad",
        Symptom.RELAY_GARBAGE: "the relay answers in another protocol",
        Symptom.RELAY_REFUSED: "the relay could not reach the site",
        Symptom.SKIPPED: "skipped",
        Symptom.LOCAL: "this computer is short of resources",
        Symptom.ABANDONED: "not waited for",
    }
)

_TIMEOUTS: Mapping[Stage, str] = MappingProxyType(
    {
        Stage.RESOLVE: "DNS timeout",
        Stage.CONNECT: "TCP connection timeout",
        Stage.RELAY: "the relay opened no connection in time",
    }
)


def network_in_words(state: NetworkState) -> tuple[str, str] | None:
    """What is wrong with a network as a whole, and what to do about it; None: nothing is."""
    return _NETWORKS.get(state)


def cause_in_words(cause: Cause | str) -> str:
    """What a cause means, as half a sentence; empty for none."""
    return _CAUSES.get(cause, cause)


def stage_in_words(stage: Stage) -> str:
    """How far an attempt came."""
    return _STAGES[stage]


def symptom_in_words(symptom: Symptom, stage: Stage = Stage.FIRST_BYTE, protocol: Protocol = Protocol.TLS) -> str:
    """What stopped an attempt at `stage` whose flight was of `protocol`; empty when nothing did."""
    if symptom is Symptom.TIMEOUT:
        return _TIMEOUTS.get(stage, "timeout")
    return _SYMPTOMS.get(symptom, "").format(flight=_FLIGHTS.get(protocol, "the first bytes"))
