"""Causes, stages, failures, networks and advice in words, the same in every command, page and document.

The words for a site are in `site_status`, those for a relay in `relay_faults`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from proxy.model import Cause, NetworkState, Protocol, Route, Stage, Symptom
from proxy.model.phrase import Phrase, _, ngettext, pgettext

NOTHING_TO_DO = _("Nothing: it opens.")
ADD_A_RELAY = _("Add a relay with `byway relay add URL`.")
TEST_RELAYS = _("Test your relays with `byway relay test`.")
NO_RELAY = _("no relay to compare with")
NEEDS_A_RELAY = _("It may also be blocked; a working relay is needed to tell")
DOES_NOT_RESOLVE = _("does not resolve; encrypted DNS is blocked here, so it may be DNS tampering")


def opens_without_relay(route: Route) -> str:
    """The advice for a site that a local strategy opens."""
    return _("Nothing. {route} opens it without a relay.", route=str(route))


def internet_works(evidence: str) -> str:
    """The result of the control site. `evidence` is half a sentence."""
    return _("Internet access works ({evidence})", evidence=evidence)


_NETWORKS: Mapping[NetworkState, tuple[Phrase, Phrase]] = {
    NetworkState.OFFLINE: (
        _("No network: this computer has no connection. Nothing is concluded about sites."),
        _("check your network connection"),
    ),
    NetworkState.PORTAL: (
        _("Captive portal: this network shows its login page in place of every site."),
        _("open any page in a browser and log in to the network"),
    ),
    NetworkState.RESTRICTED: (
        _("Only domestic sites are reachable here; other sites go through relays."),
        _("nothing: direct is tried again automatically"),
    ),
    NetworkState.NO_HTTPS: (
        _("HTTPS to foreign sites is blocked on this network, and plain HTTP is not."),
        _("nothing: direct is tried again automatically; a relay needs another port than 443"),
    ),
    NetworkState.SHUT: (
        _("Only domestic sites are reachable and all relays fail."),
        _("try another network, or add another relay: byway relay add URL"),
    ),
    NetworkState.INSPECTED: (
        _(
            "TLS is intercepted here by a CA this computer trusts (company proxy or antivirus). AUTO does not use "
            "relays on this network."
        ),
        _("to bypass it for a site: byway site set HOST relay"),
    ),
}

_NAME_FILTER = pgettext("plain cause", "Name filter")
_PERHAPS_A_NAME_FILTER = pgettext("plain cause", "Perhaps a name filter")

_CAUSES: Mapping[Cause | str, tuple[Phrase, Phrase]] = {
    Cause.DNS: (pgettext("plain cause", "DNS lies"), _("DNS tampering")),
    Cause.IP: (
        pgettext("plain cause", "Address blocked"),
        _("IP address blocked, by the network or by the site's own geo-fence"),
    ),
    Cause.SNI_RESET: (_NAME_FILTER, _("connection reset after the TLS ClientHello (SNI filtering)")),
    Cause.SNI_DROP: (_NAME_FILTER, _("silence after the TLS ClientHello (SNI filtering)")),
    Cause.HTTP_HOST: (_NAME_FILTER, _("HTTP request blocked (by Host)")),
    Cause.ECH: (_NAME_FILTER, _("the outer name of the encrypted ClientHello is filtered")),
    Cause.BLOCK_PAGE: (pgettext("plain cause", "Block page"), _("block page")),
    Cause.INTERCEPTION: (pgettext("plain cause", "Foreign certificate"), _("wrong certificate (TLS interception)")),
    Cause.FROZEN: (pgettext("plain cause", "Cut off while loading"), _("transfer stalls")),
    Cause.THROTTLED: (pgettext("plain cause", "Slowed down"), pgettext("cause", "throttled")),
    Cause.CLIENT_HELLO: (
        pgettext("plain cause", "Depends on the program"),
        _("depends on the program's ClientHello"),
    ),
    Cause.REFUSED: (pgettext("plain cause", "Refused by the site"), _("the site rejects this route (HTTP 403/451)")),
    Cause.DOWN: (pgettext("plain cause", "Opens on no route"), _("no route reaches it")),
    Cause.RESTRICTED: (pgettext("plain cause", "Only few sites allowed"), _("this network allows few sites")),
    Cause.NO_SUCH_NAME: (pgettext("plain cause", "No such name"), _("the name does not exist")),
    Cause.UNRESOLVED: (
        pgettext("plain cause", "Name not found"),
        _("encrypted DNS is blocked here, so it may be DNS tampering"),
    ),
    Cause.HELLO_RESET: (
        _PERHAPS_A_NAME_FILTER,
        _("reset after the ClientHello, as SNI filters do; blocked or down, a relay would tell"),
    ),
    Cause.HELLO_CLOSED: (
        _PERHAPS_A_NAME_FILTER,
        _("closed after the ClientHello, as some SNI filters do; blocked or down, a relay would tell"),
    ),
    Cause.HELLO_SILENCE: (
        _PERHAPS_A_NAME_FILTER,
        _("silence after the ClientHello, as SNI filters do; blocked or down, a relay would tell"),
    ),
    Cause.UNANSWERED: (
        pgettext("plain cause", "No answer"),
        _("no answer to the request; blocked or down, a relay would tell"),
    ),
    Cause.UNREACHED: (
        pgettext("plain cause", "No connection"),
        _("no connection to its address; blocked or down, a relay would tell"),
    ),
    Cause.NO_ADDRESS: (
        pgettext("plain cause", "Name not found"),
        _("its name does not resolve; blocked or down, a relay would tell"),
    ),
    Cause.RELAYS_FAIL: (pgettext("plain cause", "Relays fail"), _("the relays themselves fail")),
    Cause.OFFLINE: (pgettext("plain cause", "No network"), _("no network")),
    Cause.PORTAL: (pgettext("plain cause", "Login page of the network"), _("captive portal")),
    Cause.EXPIRED: (pgettext("plain cause", "Expired certificate"), _("certificate expired")),
    Cause.NOT_YET_VALID: (pgettext("plain cause", "Certificate not valid yet"), _("certificate not yet valid")),
    Cause.SELF_SIGNED: (pgettext("plain cause", "Self-signed certificate"), _("self-signed certificate")),
    Cause.WRONG_NAME: (pgettext("plain cause", "Certificate of another name"), _("certificate for another name")),
    Cause.UNTRUSTED_ISSUER: (pgettext("plain cause", "Unknown certificate issuer"), _("untrusted certificate issuer")),
    Cause.CLOCK: (pgettext("plain cause", "Wrong clock"), _("this computer's clock is wrong")),
}
"""The plain word for each cause, which people read first, and the sentence of an engineer. Causes that are the same for
people share a word."""

_STAGES: Mapping[Stage, Phrase] = {
    Stage.RESOLVE: _("DNS"),
    Stage.CONNECT: _("TCP connect"),
    Stage.RELAY: _("relay handshake"),
    Stage.FIRST_BYTE: _("waiting for the first byte"),
    Stage.DONE: _("delivered"),
}

_SYMPTOMS: Mapping[Symptom, Phrase] = {
    Symptom.NO_NAME: _("DNS says that the name does not exist"),
    Symptom.RESOLVE_FAILED: _("DNS failed"),
    Symptom.FORBIDDEN: _("not allowed"),
    Symptom.REFUSED: _("connection refused"),
    Symptom.UNREACHABLE: _("host unreachable"),
    Symptom.OFFLINE: _("no network"),
    Symptom.GARBAGE: _("an answer in another protocol"),
    Symptom.ALERT: _("TLS alert"),
    Symptom.BLOCK_PAGE: _("block page"),
    Symptom.REDIRECTED: _("redirect to another domain"),
    Symptom.FROZEN: _("transfer stalled"),
    Symptom.THROTTLED: pgettext("cause", "throttled"),
    Symptom.FORGED: _("forged DNS answer"),
    Symptom.CERTIFICATE: _("bad certificate"),
    Symptom.RELAY_DOWN: _("the relay cannot be reached"),
    Symptom.RELAY_AUTH: _("the relay refused the credentials or its certificate is bad"),
    Symptom.RELAY_GARBAGE: _("the relay answers in another protocol"),
    Symptom.RELAY_LOOP: _("the relay leads back to this Byway"),
    Symptom.RELAY_REFUSED: _("the relay could not reach the site"),
    Symptom.SKIPPED: pgettext("attempt", "skipped"),
    Symptom.LOCAL: _("this computer is short of resources"),
    Symptom.ABANDONED: _("not waited for"),
}

_AFTER_FLIGHT: Mapping[Symptom, Mapping[Protocol, Phrase]] = {
    Symptom.RESET: {
        Protocol.TLS: _("connection reset after the TLS ClientHello"),
        Protocol.HTTP: _("connection reset after the HTTP request"),
        Protocol.NONE: _("connection reset after the first bytes"),
    },
    Symptom.EOF: {
        Protocol.TLS: _("connection closed after the TLS ClientHello"),
        Protocol.HTTP: _("connection closed after the HTTP request"),
        Protocol.NONE: _("connection closed after the first bytes"),
    },
    Symptom.DROPPED: {
        Protocol.TLS: _("no answer: the TLS ClientHello was dropped"),
        Protocol.HTTP: _("no answer: the HTTP request was dropped"),
        Protocol.NONE: _("no answer: the first bytes were dropped"),
    },
    Symptom.SILENT: {
        Protocol.TLS: _("no answer to the TLS ClientHello"),
        Protocol.HTTP: _("no answer to the HTTP request"),
        Protocol.NONE: _("no answer to the first bytes"),
    },
}
"""Symptoms whose words depend on the protocol of the flight."""

_TIMEOUTS: Mapping[Stage, Phrase] = {
    Stage.RESOLVE: _("DNS timeout"),
    Stage.CONNECT: _("TCP connection timeout"),
    Stage.RELAY: _("the relay opened no connection in time"),
}


def network_in_words(state: NetworkState, portal_page: str = "") -> tuple[str, str] | None:
    """Returns the fault of a network as a whole, and the advice; None: it has none. `portal_page` is the URL of the
    login page of a captive portal, if that is known."""
    words = _NETWORKS.get(state)
    if words is not None and state is NetworkState.PORTAL and portal_page:
        return words[0], _("open {page} in a browser and log in to the network", page=portal_page)
    return words


def hello_limits(*, counted: bool, cuts_punished: bool) -> tuple[Phrase, ...]:
    """Says what a network punishes, if that is known. `counted`: many ClientHellos at once; `cuts_punished`: one in
    pieces."""
    by_number = _(
        "This network punishes more than three TLS connections to one site at once, so Byway opens them 0.45 s apart. "
        "It remembers this for a day, as long as it runs."
    )
    by_pieces = _(
        "This network punishes a fragmented ClientHello, so Byway sends none here. "
        "It remembers this for a day, as long as it runs."
    )
    return (*((by_number,) if counted else ()), *((by_pieces,) if cuts_punished else ()))


def wrong_clock(clock_s: float) -> str:
    """Says that this computer's clock is wrong. `clock_s` is the seconds that it is ahead; infinite: not known."""
    if math.isinf(clock_s):
        return _("This computer's clock is wrong, so certificates are refused.")
    span = _rough_span(abs(clock_s))
    if clock_s > 0:
        return _("This computer's clock is {span} ahead, so certificates are refused.", span=span)
    return _("This computer's clock is {span} behind, so certificates are refused.", span=span)


def _rough_span(seconds: float) -> str:
    if seconds >= 2 * 86_400:
        return ngettext("{count} day", "{count} days", round(seconds / 86_400))
    return ngettext("{count} hour", "{count} hours", max(1, round(seconds / 3600)))


def open_the_login_page(portal_page: str) -> str:
    """The advice behind a captive portal. The URL of its login page may be empty."""
    if not portal_page:
        return _("Open any page in a browser and log in to the network.")
    return _("Open {page} in a browser and log in to the network.", page=portal_page)


def plain_cause(cause: Cause | str) -> str:
    """Returns the short plain word for a cause, such as "Name filter"; empty for `Cause.NONE`. A cause of an addon is
    returned unchanged."""
    words = _CAUSES.get(cause)
    return cause if words is None else words[0]


def cause_in_words(cause: Cause | str) -> str:
    """Returns a cause as half a sentence, for an engineer; empty for `Cause.NONE`. A cause of an addon is returned
    unchanged."""
    words = _CAUSES.get(cause)
    return cause if words is None else words[1]


def whole_cause(cause: Cause | str) -> str:
    """Returns the plain word and the sentence: "Name filter: connection reset after …"; only the word if the sentence
    is the same."""
    plain, sentence = plain_cause(cause), cause_in_words(cause)
    if plain.lower() == sentence.lower():
        return plain
    return _("{plain}: {sentence}", plain=plain, sentence=sentence)


def stage_in_words(stage: Stage) -> str:
    return _STAGES[stage]


def symptom_in_words(symptom: Symptom, stage: Stage = Stage.FIRST_BYTE, protocol: Protocol = Protocol.TLS) -> str:
    """A symptom in words, for an attempt at `stage` with a flight of `protocol`; empty for `Symptom.NONE`."""
    if symptom is Symptom.TIMEOUT:
        return _TIMEOUTS.get(stage, _("timeout"))
    if symptom in _AFTER_FLIGHT:
        by_protocol = _AFTER_FLIGHT[symptom]
        return by_protocol.get(protocol, by_protocol[Protocol.NONE])
    return _SYMPTOMS.get(symptom, "")
