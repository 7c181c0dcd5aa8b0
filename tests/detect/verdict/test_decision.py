"""What measurements come to: a table of what was seen, and the word, the cause and how sure."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.relay_faults import RelayFault
from proxy.detect.verdict.confidence import Confidence
from proxy.detect.verdict.decision import decide
from proxy.detect.verdict.verdict import Verdict
from proxy.model import (
    DIRECT,
    DOH,
    UNKNOWN_NETWORK,
    Belief,
    MeasurementStep,
    NetworkState,
    Route,
    State,
    StepKind,
    StepResult,
    Symptom,
    as_evidence,
)
from tests.support.outcomes import TOR, VPS

AT = "203.0.113.5:443"
CUT = Route(wrap=("tlsrec",))
UNKNOWN = Belief("site.test", UNKNOWN_NETWORK)
FROZEN = Belief("site.test", UNKNOWN_NETWORK, State.SUSPECT, "frozen", 2.0, why="stopped after 16 kB")
BLOCKED = Belief("site.test", UNKNOWN_NETWORK, State.BLOCKED, "sni_reset", 4.0, why="seen", episodes=2)

Steps = tuple[MeasurementStep, ...]


def ok(part: StepKind, route: Route = DIRECT, **evidence: str | int | float) -> MeasurementStep:
    return MeasurementStep(part, route, StepResult.OK, text="fine", address=AT, evidence=as_evidence(evidence))


def bad(part: StepKind, symptom: Symptom, route: Route = DIRECT, **evidence: str | int | float) -> MeasurementStep:
    return MeasurementStep(
        part, route, StepResult.FAILED, symptom, f"{part} ended with {symptom}", AT, evidence=as_evidence(evidence)
    )


def untested(route: Route, why: str = "a rule says so") -> MeasurementStep:
    part = StepKind.CONNECT if route.is_direct else StepKind.RELAY
    return MeasurementStep(part, route, StepResult.NOT_TESTED, Symptom.SKIPPED, why)


def not_asked(part: StepKind) -> MeasurementStep:
    return MeasurementStep(
        part, DIRECT, StepResult.NOT_TESTED, text="suspicious names are resolved by encrypted DNS only"
    )


def page(route: Route, status: int = 200, **evidence: str | int) -> Steps:
    """A route that brought a page over TLS."""
    first = StepKind.CONNECT if route.is_direct else StepKind.RELAY
    return (
        ok(first, route),
        ok(StepKind.HELLO, route),
        ok(StepKind.CERTIFICATE, route),
        ok(StepKind.ANSWER, route, status=status, **evidence),
    )


def http(route: Route, length: int, title: str, status: int = 200) -> Steps:
    """A route that brought a page over plain HTTP."""
    first = StepKind.CONNECT if route.is_direct else StepKind.RELAY
    return (ok(first, route), ok(StepKind.ANSWER, route, status=status, bytes=length, title=title))


def moved(route: Route, length: int = 180) -> Steps:
    return http(route, length, "301 Moved Permanently", 301)


WELL = (ok(StepKind.CONTROL),)
LOGIN = bad(StepKind.CONTROL, Symptom.REDIRECTED, portal="http://login.test/")


def plain_page(clock_s: int) -> MeasurementStep:
    """The control of plain http, which only shows the time of day."""
    return MeasurementStep(StepKind.CONTROL, DIRECT, StepResult.NOT_TESTED, evidence=as_evidence({"clock_s": clock_s}))


PLAIN, AHEAD = plain_page(3), plain_page(400 * 86_400 + 60)
ILL = (bad(StepKind.CONTROL, Symptom.TIMEOUT),)
RESET = (ok(StepKind.RESOLVE), ok(StepKind.CONNECT), bad(StepKind.HELLO, Symptom.RESET))
SWAPPED = (ok(StepKind.NEUTRAL), *RESET)
ALERTED = replace(ok(StepKind.NEUTRAL), symptom=Symptom.ALERT, text="answered with the alert unrecognized name")
RELAY_DEAD = (bad(StepKind.RELAY, Symptom.RELAY_DOWN, TOR),)
RELAY_REFUSED = (bad(StepKind.RELAY, Symptom.RELAY_REFUSED, TOR),)
RELAY_WAITS = (bad(StepKind.RELAY, Symptom.TIMEOUT, TOR),)
NO_NAME = (bad(StepKind.RESOLVE, Symptom.NO_NAME), bad(StepKind.SECURE, Symptom.NO_NAME, Route(wrap=("doh",))))
DOH_DEAD = MeasurementStep(
    StepKind.SECURE, DOH, StepResult.NOT_TESTED, Symptom.SKIPPED, "all encrypted DNS servers failed",
    evidence=as_evidence({"doh": "doh_down"}),
)  # fmt: skip


def shows(route: Route, code: int) -> Steps:
    """A certificate that OpenSSL refuses with this code."""
    return (
        ok(StepKind.CONNECT if route.is_direct else StepKind.RELAY, route),
        ok(StepKind.HELLO, route),
        bad(StepKind.CERTIFICATE, Symptom.CERTIFICATE, route, verify_code=code),
    )


def expired(route: Route) -> Steps:
    return shows(route, 10)


@dataclass(frozen=True)
class Case:
    name: str
    steps: Steps
    word: str
    cause: str = ""
    confidence: Confidence | None = None
    anomaly: bool = False
    confirmed: bool = False
    says: str = ""  # somewhere in what is told
    never: str = ""  # nowhere in it
    belief: Belief = UNKNOWN
    state: NetworkState = NetworkState.OK


LOST_NAME = (bad(StepKind.RESOLVE, Symptom.NO_NAME), ok(StepKind.SECURE, DOH))
NO_CERTIFICATE = (ok(StepKind.CONNECT), ok(StepKind.HELLO), bad(StepKind.CERTIFICATE, Symptom.CERTIFICATE))
ROGUE = (ok(StepKind.CONNECT), ok(StepKind.HELLO), bad(StepKind.CERTIFICATE, Symptom.CERTIFICATE, known_root="KZ 2019"))
SLOW = page(DIRECT, bytes=65536, bytes_per_s=4000)
FAST = page(TOR, bytes=65536, bytes_per_s=900_000)
BLOCK_PAGE = (ok(StepKind.CONNECT), bad(StepKind.ANSWER, Symptom.BLOCK_PAGE, page="kz-1"))
FORGED = (bad(StepKind.RESOLVE, Symptom.FORGED, dns="dns_two_answers"), ok(StepKind.SECURE, DOH))
BOGON = (bad(StepKind.RESOLVE, Symptom.FORGED, dns="dns_bogon"),)
MISMATCH = (ok(StepKind.RESOLVE), ok(StepKind.SECURE, DOH), bad(StepKind.RESOLVE, Symptom.FORGED, dns="dns_mismatch"))

OPEN = page(DIRECT)
HELLO_LOST = (bad(StepKind.SHAPE, Symptom.DROPPED),)
HELLO_REJECTED = replace(ok(StepKind.SHAPE), symptom=Symptom.ALERT, text="answered with the alert protocol version")
HELLO_BY_RELAY = ok(StepKind.SHAPE, TOR)
NO_HELLO = MeasurementStep(
    StepKind.SHAPE, DIRECT, StepResult.NOT_TESTED, Symptom.SKIPPED, "no ClientHello of a visit is kept"
)

CASES = (
    Case("works", page(DIRECT), "works", confidence=Confidence.HIGH),
    Case("works again", page(DIRECT), "works", says="re-tests agree", belief=BLOCKED),
    Case("one family fails", (bad(StepKind.CONNECT, Symptom.TIMEOUT), *page(DIRECT)), "works", says="one step failed"),
    Case(
        "reset by name", (*SWAPPED, *page(TOR), *WELL), "blocked", "sni_reset", Confidence.HIGH, True,
        says="answered another SNI",
    ),
    Case("reset, nothing more", (*RESET, *page(TOR), *WELL), "likely blocked", "sni_reset", Confidence.MEDIUM, True),
    Case(
        "reset, seen before", (*RESET, *page(TOR), *WELL), "blocked", "sni_reset", Confidence.HIGH, True,
        belief=BLOCKED, says="2 episodes",
    ),
    Case("reset while the uplink is ill", (*SWAPPED, *page(TOR), *ILL), "likely blocked", "sni_reset", says="another"),
    Case("reset by name, one control is ill too", (*SWAPPED, *page(TOR), *ILL, *WELL), "blocked", "sni_reset",
         Confidence.HIGH, True),
    Case("cut hello helps", (*SWAPPED, *page(CUT), *WELL), "blocked", anomaly=True, says="without a relay"),
    Case(
        "a cut hello is put together", (*SWAPPED, bad(StepKind.HELLO, Symptom.RESET, CUT), *WELL),
        "likely blocked", "sni_reset", anomaly=True, says="Fragmenting the ClientHello does not help",
    ),
    Case("dropped by name", (ok(StepKind.NEUTRAL), bad(StepKind.HELLO, Symptom.DROPPED), *page(TOR), *WELL),
         "blocked", "sni_drop", Confidence.HIGH, True),
    Case("silent is weak", (bad(StepKind.HELLO, Symptom.SILENT), *page(TOR), *WELL), "likely blocked", "sni_drop"),
    Case("silent for this name", (ok(StepKind.NEUTRAL), bad(StepKind.HELLO, Symptom.SILENT), *page(TOR), *WELL),
         "blocked", "sni_drop", Confidence.HIGH, True),
    Case("silent, and an alert for another name, which passes a path that loses full segments",
         (ALERTED, bad(StepKind.HELLO, Symptom.SILENT), *page(TOR), *WELL), "likely blocked", "sni_drop"),
    Case("reset, and an alert for another name", (ALERTED, *RESET, *page(TOR), *WELL), "likely blocked", "sni_reset"),
    Case("silent, and the end of an answer came",
         (ok(StepKind.NEUTRAL), bad(StepKind.HELLO, Symptom.SILENT, out_of_order=1), *page(TOR), *WELL),
         "likely blocked", "sni_drop"),
    Case("the end of an answer came, and another name got an alert", (ALERTED,
         bad(StepKind.HELLO, Symptom.SILENT, out_of_order=1), *page(TOR), *WELL), "works", says="(MTU)"),
    Case("closed at once", (bad(StepKind.HELLO, Symptom.EOF), *page(TOR), *WELL), "likely blocked", "sni_reset",
         says="geo-fence"),
    Case("an alert", (bad(StepKind.HELLO, Symptom.ALERT), *page(TOR), *WELL), "likely blocked", says="geo-fence"),
    Case("no IPv6, and the name is filtered", (bad(StepKind.CONNECT, Symptom.TIMEOUT), *RESET, *page(TOR), *WELL),
         "likely blocked", "sni_reset", anomaly=True),
    Case("address", (bad(StepKind.CONNECT, Symptom.TIMEOUT), *page(TOR), *WELL), "likely blocked", "ip", anomaly=True,
         says="geo-fence"),
    Case("name denied", (*LOST_NAME, *page(DOH), *WELL), "blocked", "dns", Confidence.HIGH, True),
    Case("name denied, no other resolver", (LOST_NAME[0], *page(TOR), *WELL), "likely blocked", "dns"),
    Case("the resolver is down", (bad(StepKind.RESOLVE, Symptom.RESOLVE_FAILED), ok(StepKind.SECURE, DOH), *page(DOH),
         bad(StepKind.CONTROL, Symptom.RESOLVE_FAILED)), "works", says="for other sites as well"),
    Case("nobody contradicts", (*BOGON, *WELL), "site down", confidence=Confidence.LOW,
         says="no relay to compare with"),
    Case("another resolver contradicts",
         (*BOGON, ok(StepKind.SECURE, DOH), *WELL), "likely blocked", "dns", anomaly=True),
    Case("another resolver, and another route",
         (*BOGON, ok(StepKind.SECURE, DOH), *page(DOH), *WELL), "blocked", "dns"),
    Case("two answers", (*FORGED, *page(DOH), *WELL), "blocked", "dns", Confidence.HIGH, True, True),
    Case("wrong address, wrong certificate", (*MISMATCH, *NO_CERTIFICATE, *page(DOH), *WELL), "blocked", "dns"),
    Case("a content network, reset by name",
         (*MISMATCH, *SWAPPED, bad(StepKind.HELLO, Symptom.RESET, DOH), *page(TOR), *WELL), "blocked", "sni_reset"),
    Case("a content network", (*MISMATCH, *page(DIRECT), *page(DOH)), "works"),
    Case("sent elsewhere", (*page(DIRECT, elsewhere="warning.test"), *page(TOR)), "likely blocked", "block_page",
         anomaly=True),
    Case("another page", (*http(DIRECT, 700, "Access denied"), *http(TOR, 9000, "Daily News")), "likely blocked",
         "block_page", anomaly=True, says="titles have no word in common"),
    Case("another length", (*http(DIRECT, 700, "Morning News"), *http(TOR, 9000, "Morning Sport")), "works",
         confidence=Confidence.LOW, says="show different pages: 700 bytes direct, 9000 through tor"),
    Case("another title", (*http(DIRECT, 8000, "Welcome"), *http(TOR, 9000, "Daily Sport")), "works",
         confidence=Confidence.LOW, says='"Welcome" direct, "Daily Sport" through tor'),
    Case("another status", (*http(DIRECT, 8000, "Sport"), *moved(TOR)), "works", confidence=Confidence.LOW,
         says="HTTP 200 direct, HTTP 301 through tor"),
    Case("the same page", (*http(DIRECT, 8000, "Daily Sport"), *http(TOR, 9000, "Sport Today")), "works",
         confidence=Confidence.HIGH),
    Case("no title to compare by", (*http(DIRECT, 8000, ""), *http(TOR, 9000, "Daily Sport")), "works",
         confidence=Confidence.HIGH),
    Case("the relay is refused", (*http(DIRECT, 8000, "Sport"), *http(TOR, 300, "Forbidden", 403)), "works",
         confidence=Confidence.HIGH),
    Case("both are led to https", (*moved(DIRECT), *moved(TOR, 4000)), "works", confidence=Confidence.HIGH),
    Case("another page over TLS is the site's own", (*page(DIRECT, bytes=700, title="Welcome"),
         *page(TOR, bytes=9000, title="Daily Sport")), "works", confidence=Confidence.HIGH),
    Case("restricted", (*RESET, *page(TOR), *ILL), "likely blocked", "restricted", state=NetworkState.RESTRICTED,
         says="allows few sites"),
    Case("restricted, and the relay is filtered too", (*RESET, *RELAY_DEAD, *ILL), "relays fail",
         state=NetworkState.RESTRICTED, says="Try another network, or another relay", never="start the relay"),
    *(Case(f"restricted, and a SOCKS greeting gets nothing: {relay}",
           (*RESET, bad(StepKind.RELAY, Symptom.RELAY_DOWN, TOR, relay=relay, greeting=1), *ILL), "relays fail",
           state=NetworkState.RESTRICTED, says="Try another network, or another relay", never="https relay")
      for relay in (Symptom.EOF, Symptom.TIMEOUT)),
    Case("restricted, and the relay refuses the password",
         (*RESET, bad(StepKind.RELAY, Symptom.RELAY_AUTH, TOR, relay="credentials_refused"), *ILL), "relays fail",
         state=NetworkState.RESTRICTED, never="Try another network"),
    Case("inspected", page(DIRECT), "works", state=NetworkState.INSPECTED, says="intercepted on this network"),
    Case("only the other program is filtered", (*OPEN, *HELLO_LOST, *page(TOR), HELLO_BY_RELAY, *WELL),
         "likely blocked", "client_hello", Confidence.MEDIUM, True, says="that of the last visit is not"),
    Case("only the other program is filtered, no relay", (*OPEN, *HELLO_LOST, *WELL), "likely blocked", "client_hello",
         Confidence.LOW, True, says="the server itself may reject it"),
    Case("only the other program gets an alert, and not by a relay",
         (*OPEN, HELLO_REJECTED, *page(TOR), HELLO_BY_RELAY), "likely blocked", "client_hello", anomaly=True),
    Case("the other program passes once", (*OPEN, *HELLO_LOST, ok(StepKind.SHAPE), *page(TOR)), "works",
         confidence=Confidence.HIGH, never="last visit"),
    Case("the server rejects the other program", (*OPEN, HELLO_REJECTED, *page(TOR)), "works",
         confidence=Confidence.HIGH, says="the TLS of that program may be too old"),
    Case("the server rejects it by an alert, by a relay too",
         (*OPEN, HELLO_REJECTED, *page(TOR), replace(HELLO_REJECTED, route=TOR)), "works",
         says="the TLS of that program may be too old"),
    Case("the server hangs up on the other program",
         (*OPEN, *HELLO_LOST, *page(TOR), replace(HELLO_LOST[0], route=TOR)), "works",
         says="the TLS of that program may be too old"),
    Case("only Byway is filtered", (*SWAPPED, ok(StepKind.SHAPE), *page(TOR), *WELL), "likely blocked", "client_hello",
         Confidence.MEDIUM, True, says="Byway's own is not"),
    Case("only Byway is filtered, everywhere", (bad(StepKind.NEUTRAL, Symptom.RESET), *RESET, ok(StepKind.SHAPE), *ILL),
         "likely blocked", "client_hello", anomaly=True, says="its ClientHello is answered now"),
    Case("both programs are filtered", (*SWAPPED, *HELLO_LOST, *page(TOR), *WELL), "blocked", "sni_reset"),
    Case("only Byway is filtered, at another address", (*SWAPPED, replace(ok(StepKind.SHAPE), address="[::1]:443"),
         *page(TOR), *WELL), "blocked", "sni_reset"),
    Case("the name resolves wrongly, and one program gets an answer there",
         (*FORGED, *SWAPPED, ok(StepKind.SHAPE), *page(DOH), *WELL), "blocked", "dns", anomaly=True, confirmed=True),
    Case("no hello is kept", (*SWAPPED, NO_HELLO, *page(TOR), *WELL), "blocked", "sni_reset", says="no ClientHello"),
    Case("still punished", (bad(StepKind.NEUTRAL, Symptom.RESET), *RESET, *page(TOR), *WELL), "likely blocked",
         "sni_reset", says="after the last visit"),
    Case("moved", (*page(DIRECT, elsewhere="new.test"), *page(TOR, elsewhere="new.test")), "works"),
    Case("moved, nothing to compare", page(DIRECT, elsewhere="new.test"), "works",
         says="the site moved, or a block page"),
    Case("a login page in plain HTTP", (*http(DIRECT, 100, ""), bad(StepKind.CONTROL, Symptom.CERTIFICATE)), "portal"),
    Case("block page", (*BLOCK_PAGE, *page(TOR), *WELL), "blocked", "block_page", Confidence.HIGH, True, True),
    Case("block page, no relay", (*BLOCK_PAGE, *WELL), "blocked", "block_page", confirmed=True, anomaly=True),
    Case("known root", (*ROGUE, *page(TOR), *WELL), "intercepted", "interception", Confidence.HIGH, True, True,
         says="Do not enter passwords"),
    Case("other certificate", (*NO_CERTIFICATE, *page(TOR), *WELL), "intercepted", "interception", anomaly=True),
    Case(
        "bad certificate everywhere",
        (*NO_CERTIFICATE, ok(StepKind.RELAY, TOR), bad(StepKind.CERTIFICATE, Symptom.CERTIFICATE, TOR), *WELL),
        "bad certificate", "untrusted_issuer", Confidence.HIGH, says="gets the same certificate",
    ),
    Case("bad certificate, no relay", (*NO_CERTIFICATE, *WELL), "bad certificate", "untrusted_issuer", Confidence.LOW,
         says="by the site or by this network"),
    Case("bad certificate, relay dead", (*NO_CERTIFICATE, *RELAY_DEAD, *WELL), "bad certificate", "untrusted_issuer",
         Confidence.LOW, says="a working relay is needed"),
    Case("expired", (*expired(DIRECT), *expired(TOR), *WELL), "bad certificate", "expired", Confidence.HIGH),
    Case("expired, direct only", (*expired(DIRECT), *WELL), "bad certificate", "expired", Confidence.LOW),
    Case("self-signed", (*shows(DIRECT, 18), *shows(TOR, 18), *WELL), "bad certificate", "self_signed"),
    Case("wrong name", (*shows(DIRECT, 62), *shows(TOR, 62), *WELL), "bad certificate", "wrong_name"),
    Case("not yet valid", (*shows(DIRECT, 9), *shows(TOR, 9), *WELL), "bad certificate", "not_yet_valid"),
    Case("a wrong clock",
         (*expired(DIRECT), bad(StepKind.CONTROL, Symptom.CERTIFICATE, clock=1)), "not tested", "clock",
         says="clock is wrong"),
    Case("a wrong clock, and by how much",
         (*expired(DIRECT), bad(StepKind.CONTROL, Symptom.CERTIFICATE, clock=1), AHEAD), "not tested", "clock",
         says="clock is 400 days ahead"),
    Case("a wrong clock, and a relay",
         (*expired(DIRECT), *expired(TOR), bad(StepKind.CONTROL, Symptom.CERTIFICATE, clock=1)), "not tested", "clock"),
    Case("expired certificates of a portal, and a clock that is right",
         (*expired(DIRECT), bad(StepKind.CONTROL, Symptom.CERTIFICATE, clock=1), PLAIN), "no network"),
    Case("a wrong clock, in plain HTTP",
         (*http(DIRECT, 100, ""), bad(StepKind.CONTROL, Symptom.CERTIFICATE, clock=1)), "works"),
    Case("no such name", (*NO_NAME, *WELL), "no such name", "name", Confidence.HIGH, says="Check the spelling"),
    Case("no such name, a relay agrees", (NO_NAME[0], *RELAY_REFUSED, *WELL), "no such name", "name"),
    Case("no such name, nobody else to ask", (NO_NAME[0], *WELL), "no such name", "name", Confidence.LOW,
         says="may also be DNS tampering"),
    Case("no such name, relays dead", (*NO_NAME, *RELAY_DEAD, *WELL), "no such name", "name"),
    Case("name denied, nobody confirms", (NO_NAME[0], *RELAY_DEAD, *WELL), "relays fail"),
    Case("name denied, encrypted DNS fails", (NO_NAME[0], bad(StepKind.SECURE, Symptom.RESOLVE_FAILED, DOH), *WELL),
         "does not resolve", "unresolved", Confidence.LOW, says="may be DNS tampering"),
    Case("name denied, encrypted DNS is dead", (NO_NAME[0], DOH_DEAD, *WELL), "does not resolve", "unresolved",
         Confidence.LOW, says="add a relay"),
    Case("all names denied, encrypted DNS is dead",
         (NO_NAME[0], DOH_DEAD, bad(StepKind.CONTROL, Symptom.NO_NAME)), "does not resolve", "unresolved",
         says="DNS fails for another site as well"),
    Case("name denied, encrypted DNS and the network are dead",
         (NO_NAME[0], DOH_DEAD, bad(StepKind.CONTROL, Symptom.TIMEOUT)), "no network"),
    Case("no answer, encrypted DNS is dead",
         (bad(StepKind.RESOLVE, Symptom.RESOLVE_FAILED), DOH_DEAD, *WELL), "does not resolve"),
    Case("a private answer, encrypted DNS is dead", (*BOGON, DOH_DEAD, *WELL), "does not resolve"),
    Case("a private answer, encrypted DNS knows no such name", (*BOGON, NO_NAME[1], *WELL), "site down"),
    Case("no answer, encrypted DNS knows no such name",
         (bad(StepKind.RESOLVE, Symptom.RESOLVE_FAILED), NO_NAME[1], *WELL), "no such name", "name", Confidence.LOW),
    Case("name denied, encrypted DNS is dead, a relay agrees", (NO_NAME[0], DOH_DEAD, *RELAY_REFUSED, *WELL),
         "no such name", "name", Confidence.HIGH),
    Case("name denied, encrypted DNS and the relay are dead", (NO_NAME[0], DOH_DEAD, *RELAY_DEAD, *WELL),
         "relays fail"),
    Case("name denied, encrypted DNS is dead, a relay brings it", (NO_NAME[0], DOH_DEAD, *page(TOR), *WELL),
         "likely blocked", "dns"),
    Case("throttled", (*SLOW, *FAST), "slow", "throttled", anomaly=True),
    Case("slow everywhere", (*SLOW, *page(TOR, bytes=65536, bytes_per_s=5000)), "works"),
    Case("frozen", (ok(StepKind.CERTIFICATE), bad(StepKind.ANSWER, Symptom.FROZEN, bytes=16384), *page(TOR), *WELL),
         "slow", "frozen", anomaly=True),
    Case("frozen before, a small page", page(DIRECT, bytes=900), "slow", "frozen", Confidence.LOW, belief=FROZEN,
         says="900 bytes, too few"),
    Case("frozen before, and a relay brings it", (*page(DIRECT, bytes=900), *page(TOR, bytes=900)), "slow", "frozen",
         belief=FROZEN, says="tor opens it"),
    Case("frozen before, enough comes", (*page(DIRECT, bytes=900), ok(StepKind.TRANSFER, bytes=65536)), "works",
         belief=FROZEN),
    Case("frozen before, a large page", page(DIRECT, bytes=65536), "works", belief=FROZEN),
    Case("frozen before, and still",
         (*page(DIRECT, bytes=900), bad(StepKind.TRANSFER, Symptom.FROZEN),
          *page(TOR, bytes=900), ok(StepKind.TRANSFER, TOR, bytes=65536), *WELL), "slow", "frozen", anomaly=True,
         belief=FROZEN),
    Case("frozen before, and cut later",
         (*page(DIRECT, bytes=900), ok(StepKind.TRANSFER, bytes=65536), bad(StepKind.PAUSE, Symptom.RESET, cut_s=5.0),
          *page(TOR, bytes=900), ok(StepKind.PAUSE, TOR), *WELL), "slow", "frozen", anomaly=True, belief=FROZEN,
         says="pause ended with reset"),
    Case("frozen before, and the server cuts each connection later",
         (*page(DIRECT, bytes=900), ok(StepKind.TRANSFER, bytes=65536), bad(StepKind.PAUSE, Symptom.EOF, cut_s=5.0),
          *page(TOR, bytes=900), bad(StepKind.PAUSE, Symptom.EOF, TOR, cut_s=5.0), *WELL), "works", belief=FROZEN),
    Case("throttled before, and still",
         (*page(DIRECT, bytes=900), ok(StepKind.TRANSFER, bytes=65536, bytes_per_s=9000),
          *page(TOR, bytes=900), ok(StepKind.TRANSFER, TOR, bytes=65536, bytes_per_s=90_000), *WELL), "slow",
         "throttled", anomaly=True, belief=replace(FROZEN, cause="throttled")),
    Case("throttled before, and far too slow",
         (*page(DIRECT, bytes=900), bad(StepKind.TRANSFER, Symptom.THROTTLED), *page(TOR, bytes=900),
          ok(StepKind.TRANSFER, TOR, bytes=65536), *WELL), "slow", "throttled", anomaly=True,
         belief=replace(FROZEN, cause="throttled")),
    Case("down", (bad(StepKind.CONNECT, Symptom.REFUSED), *RELAY_REFUSED, *WELL), "site down",
         says="tor did not reach it either"),
    Case("down, relay dead", (bad(StepKind.CONNECT, Symptom.REFUSED), *RELAY_DEAD, *WELL), "relays fail",
         confidence=Confidence.NONE, says="relay tor: no answer"),
    Case("down, relay waits", (bad(StepKind.CONNECT, Symptom.TIMEOUT), *RELAY_WAITS, *WELL), "relays fail"),
    Case("down, no relay", (bad(StepKind.CONNECT, Symptom.REFUSED), *WELL), "site down", confidence=Confidence.LOW,
         says="may also be blocked; a working relay is needed"),
    Case("nothing to compare with", (bad(StepKind.CONNECT, Symptom.REFUSED),), "not tested", says="no relay"),
    Case("reset by name, relay dead", (*SWAPPED, *RELAY_DEAD, *WELL), "relays fail", says="may also be blocked"),
    Case("blocked before, relay dead", (*RESET, *RELAY_DEAD, *WELL), "relays fail", belief=BLOCKED,
         says='stored status is "blocked"'),
    Case("no network", (bad(StepKind.CONNECT, Symptom.TIMEOUT), *RELAY_DEAD, *ILL), "no network", says=ILL[0].text),
    Case("known root for all", (*ROGUE, bad(StepKind.CONTROL, Symptom.CERTIFICATE)), "intercepted", "interception",
         confirmed=True, anomaly=True),
    Case("a login page", (*NO_CERTIFICATE, bad(StepKind.CONTROL, Symptom.CERTIFICATE)), "portal"),
    Case("portal", RESET, "portal", state=NetworkState.PORTAL, says="Open any page"),
    Case("a portal that cuts https", (bad(StepKind.CONNECT, Symptom.TIMEOUT), *ILL, LOGIN), "portal", "portal",
         says="Open http://login.test/ in a browser"),
    Case("the same, with a dead relay", (bad(StepKind.CONNECT, Symptom.TIMEOUT), *RELAY_DEAD, *ILL, LOGIN), "portal"),
    Case("a portal, where the system's DNS is not asked for the name", (untested(DIRECT), *ILL, LOGIN), "portal",
         says="http://login.test/"),
    Case("the same, with a dead relay", (untested(DIRECT), *RELAY_DEAD, *ILL, LOGIN), "portal"),
    Case("no portal", (untested(DIRECT), *ILL), "not tested", never="login"),
    Case("a portal that cuts https, in plain HTTP", (*http(DIRECT, 100, ""), *ILL, LOGIN), "portal"),
    Case("a control page that is replaced, beside one that answers", (*RESET, *page(TOR), *ILL, LOGIN, *WELL),
         "likely blocked", "sni_reset"),
    Case("a plain page that answers shows no network", (bad(StepKind.CONNECT, Symptom.TIMEOUT), *ILL, PLAIN),
         "no network"),
    Case("offline", RESET, "no network", state=NetworkState.OFFLINE),
    Case("refused direct only", (*page(DIRECT, 403), *page(TOR)), "refuses this route", "refused", anomaly=True),
    Case("refused everywhere", (*page(DIRECT, 451), *page(TOR, 451)), "refuses this route",
         says="every route gets HTTP 451"),
    Case("nothing leads out",
         (MeasurementStep(StepKind.RESOLVE, DIRECT, StepResult.NOT_TESTED, Symptom.OFFLINE, "unreachable"),
         *RELAY_DEAD), "no network", says="unreachable"),
    Case("a rule sends it away", (untested(DIRECT), *page(TOR)), "works", says="direct was not tested"),
    Case("nothing may be asked", (untested(DIRECT), untested(TOR)), "not tested", says="a rule says so"),
    Case("by encrypted DNS since the system's lied",
         (not_asked(StepKind.RESOLVE), ok(StepKind.SECURE, DOH), *page(DIRECT)),
         "blocked", "dns", anomaly=True, belief=replace(BLOCKED, cause="dns"), says="direct|doh opens it"),
    Case("by encrypted DNS, since the user wants it so",
         (not_asked(StepKind.RESOLVE), ok(StepKind.SECURE, DOH), *page(DIRECT)),
         "works"),
    Case("held to be blocked, not asked", (untested(DIRECT), *page(TOR)), "blocked", "sni_reset", belief=BLOCKED),
)  # fmt: skip


def told(verdict: Verdict) -> str:
    return " ".join((verdict.summary, *verdict.reasons, verdict.alternative, verdict.advice))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_table(case: Case) -> None:
    verdict = decide(case.steps, case.belief, detect=DetectTuning(), relays=["tor"], network_state=case.state)
    assert verdict.status == case.word, told(verdict)
    assert case.cause in ("", verdict.cause)
    assert case.confidence in (None, verdict.confidence), verdict
    assert case.confirmed == verdict.confirmed
    if case.anomaly:
        assert verdict.anomaly
    assert case.says in told(verdict), told(verdict)
    assert not case.never or case.never not in told(verdict), told(verdict)
    assert verdict.advice


def test_a_relays_own_fault_is_no_comparison() -> None:
    verdict = decide((*RESET, *RELAY_DEAD, *WELL), UNKNOWN, detect=DetectTuning())
    assert verdict.status == "relays fail"
    assert verdict.relay_faults == {"tor": RelayFault.SILENT}


def test_a_relay_that_works_for_other_sites_and_waits_for_this_one_is_a_comparison() -> None:
    steps = (bad(StepKind.CONNECT, Symptom.TIMEOUT), *RELAY_WAITS, *WELL)
    assert decide(steps, UNKNOWN, detect=DetectTuning(), working_relays=["tor"]).status == "site down"


@pytest.mark.parametrize(
    ("symptom", "evidence", "fault"),
    [
        (Symptom.RELAY_DOWN, {"relay": "refused"}, RelayFault.CONNECTION_REFUSED),
        (Symptom.RELAY_AUTH, {}, RelayFault.CREDENTIALS_REFUSED),
        (Symptom.RELAY_AUTH, {"relay": "certificate"}, RelayFault.BAD_CERTIFICATE),
        (Symptom.RELAY_GARBAGE, {}, RelayFault.WRONG_PROTOCOL),
        (Symptom.RELAY_DOWN, {"relay": "timeout"}, RelayFault.SILENT),
    ],
)
def test_a_dead_relay_of_any_kind_says_nothing_of_the_site(
    symptom: Symptom, evidence: dict[str, str], fault: RelayFault
) -> None:
    """Whatever direct shows, and however heavy that is."""
    relay = bad(StepKind.RELAY, symptom, TOR, **evidence)
    for direct in (
        RESET,
        SWAPPED,
        (bad(StepKind.CONNECT, Symptom.TIMEOUT),),
        (ok(StepKind.CONNECT), bad(StepKind.ANSWER, Symptom.SILENT)),
    ):
        verdict = decide((*direct, relay, *WELL), UNKNOWN, detect=DetectTuning(), relays=["tor"])
        assert (verdict.status, verdict.relay_faults) == ("relays fail", {"tor": fault}), verdict
        assert f"relay tor: {fault.text}" in verdict.summary
        assert "byway relay test tor" in verdict.advice


def test_one_relay_of_two_is_enough() -> None:
    verdict = decide((*RESET, *RELAY_DEAD, *page(VPS), *WELL), UNKNOWN, detect=DetectTuning())
    assert verdict.delivered_by == (VPS,)
    assert verdict.state is State.SUSPECT


def test_without_a_relay_the_advice_is_to_add_one() -> None:
    verdict = decide((*SWAPPED, *WELL), UNKNOWN, detect=DetectTuning())
    assert "byway relay add" in verdict.advice


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_was_seen_names_no_control(case: Case) -> None:
    """It is the one sentence that a report has of a verdict, and which sites are at home here tells where that is."""
    named = tuple(
        replace(step, text="home.example: no answer") if step.kind is StepKind.CONTROL else step for step in case.steps
    )
    assert "home.example" not in decide(named, case.belief, detect=DetectTuning(), network_state=case.state).summary


@pytest.mark.parametrize(("others", "confidence"), [(1, Confidence.HIGH), (2, Confidence.LOW)])
def test_a_page_that_unrelated_sites_show_too_may_be_a_block_page(others: int, confidence: Confidence) -> None:
    verdict = decide(http(DIRECT, 700, "Sorry"), UNKNOWN, detect=DetectTuning(), sites_with_same_page=others)
    assert (verdict.status, verdict.confidence) == ("works", confidence)
    assert ("2 unrelated sites show the same page" in verdict.reasons) == (confidence is Confidence.LOW)


def test_a_route_that_is_refused_delivers_nothing() -> None:
    """So "works by" names the other one."""
    steps = (*page(DIRECT, 451), *page(TOR))
    assert decide(steps, UNKNOWN, detect=DetectTuning()).delivered_by == (TOR,)


def test_nothing_at_all() -> None:
    verdict = decide((), UNKNOWN, detect=DetectTuning())
    assert verdict.status == "not tested"
    assert not verdict.anomaly
