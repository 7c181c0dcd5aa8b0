"""What a connection that failed comes to, and how long that is remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.verdict.results import Results, Visited
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.model import (
    DIRECT,
    Attempt,
    Cause,
    Outcome,
    Protocol,
    ResultKey,
    Route,
    Stage,
    StoredResult,
    Symptom,
)
from tests.support.outcomes import AWAY, HOME, HOST, TOR, VPS, delivered, failed, outcome, pending
from tests.support.rows import each_row

NOW = 1_000_000.0
KEY = (HOME, HOST)
DOH, TLSREC = Route(wrap=("doh",)), Route(wrap=("tlsrec",))


def relay(kind: str, route: Route = TOR, symptom: Symptom = Symptom.RELAY_DOWN) -> Attempt:
    return replace(failed(symptom, Stage.RELAY, route), evidence={"relay": kind})


RESET = failed()
NO_NAME = failed(Symptom.NO_NAME, Stage.RESOLVE)
UNREACHED = failed(Symptom.RELAY_REFUSED, Stage.RELAY, TOR)
DOH_DEAD = replace(failed(Symptom.SKIPPED, Stage.RESOLVE, DOH), evidence={"doh": "doh_down"})
SILENT_DNS = failed(Symptom.RESOLVE_FAILED, Stage.RESOLVE)
WAITS = failed(Symptom.TIMEOUT, Stage.RELAY, TOR)
REFUSES = relay("refused")


@dataclass(frozen=True)
class Case:
    name: str
    attempts: tuple[Attempt, ...]
    status: str | None
    says: str = ""
    direct_works: bool = True
    cause: str | None = None


CASES = (
    Case("relay refuses the connection", (RESET, REFUSES), "relays fail", "tor: connection refused"),
    Case("relay refuses the password", (RESET, relay("", symptom=Symptom.RELAY_AUTH)), "relays fail",
         "password refused"),
    Case("relay has a bad certificate", (RESET, relay("certificate", symptom=Symptom.RELAY_AUTH)), "relays fail"),
    Case("relay speaks garbage", (RESET, relay("", symptom=Symptom.RELAY_GARBAGE)), "relays fail"),
    Case("relay is silent", (RESET, relay("timeout")), "relays fail", "tor: no answer"),
    Case("both relays fail", (RESET, REFUSES, relay("timeout", VPS)), "relays fail", "vps: no answer"),
    Case("under RELAY", (REFUSES,), "relays fail"),
    Case("one relay fails, the other cannot reach it", (RESET, relay("refused", VPS), UNREACHED), "site down"),
    Case("a relay cannot reach it either", (RESET, UNREACHED), "site down",
         "connection reset after the TLS ClientHello"),
    Case("reset through a relay as well", (RESET, failed(Symptom.RESET, route=TOR)), "site down"),
    Case("a relay that waits for it", (RESET, WAITS), "site down"),
    Case("no relay, reset", (RESET,), "does not open", "connection reset after", cause="hello_reset"),
    Case("no relay, closed", (failed(Symptom.EOF),), "does not open", cause="hello_closed"),
    Case("no relay, dropped", (failed(Symptom.DROPPED),), "does not open", cause="hello_silence"),
    Case("no relay, silent", (failed(Symptom.SILENT),), "does not open", cause="hello_silence"),
    Case("no relay, no connection", (failed(Symptom.TIMEOUT, Stage.CONNECT),), "does not open", cause="unreached"),
    Case("no relay, no name", (failed(Symptom.RESOLVE_FAILED, Stage.RESOLVE),), "does not open", cause="no_address"),
    Case("no relay, nothing listens", (failed(Symptom.REFUSED, Stage.CONNECT),), "site down", cause="down"),
    Case("no relay, strategies fail as well", (RESET, failed(Symptom.SILENT, route=TLSREC)), "does not open",
         "direct|tlsrec: no answer", cause="hello_reset"),
    Case("no relay, nothing else works", (RESET,), "not tested", direct_works=False),
    Case("no such name, encrypted DNS agrees", (NO_NAME, failed(Symptom.NO_NAME, Stage.RESOLVE, DOH), REFUSES),
         "no such name", "DNS says that the name does not exist"),
    Case("no such name, a relay agrees", (NO_NAME, UNREACHED), "no such name"),
    Case("no such name, nobody agrees", (NO_NAME, REFUSES), "relays fail"),
    Case("name denied, encrypted DNS is dead", (NO_NAME, DOH_DEAD), "does not resolve", "may be DNS tampering"),
    Case("the same, nothing else works yet", (NO_NAME, DOH_DEAD), "does not resolve", direct_works=False),
    Case("no resolver answers", (SILENT_DNS, DOH_DEAD), "does not resolve"),
    Case("no resolver answers, and nothing else works", (SILENT_DNS, DOH_DEAD), "not tested", direct_works=False),
    Case("name denied, encrypted DNS and the relay are dead", (NO_NAME, DOH_DEAD, REFUSES), "relays fail"),
    Case("name denied, encrypted DNS is dead, a relay agrees", (NO_NAME, DOH_DEAD, UNREACHED), "no such name"),
    Case("a private address, and no answer of encrypted DNS", (failed(Symptom.FORGED, Stage.RESOLVE), DOH_DEAD),
         "does not resolve"),
    Case("a local name", (NO_NAME, failed(Symptom.SKIPPED, Stage.RESOLVE, DOH)), "no such name"),
    Case("a relay was not waited for", (RESET, pending(TOR)), None),
    Case("direct was not waited for", (failed(Symptom.ABANDONED), REFUSES), None),
    Case("nothing was tried", (), None),
    Case("nothing could be tried", (failed(Symptom.OFFLINE, Stage.CONNECT),), None),
)  # fmt: skip


@each_row("case", CASES, ids=lambda case: case.name)
def test_what_a_failed_connection_comes_to(case: Case) -> None:
    results = Results(DetectTuning())
    results.learn(outcome(*case.attempts), KEY, NOW, direct_works=case.direct_works)
    result = results.of(KEY, NOW)
    assert (result.status if result else None) == case.status
    if result is not None:
        assert (result.at, result.source) == (NOW, Source.CONNECTION)
        assert case.says in result.text
        assert case.cause in (None, result.cause)


def test_a_site_that_works_direct_shortly_after_shows_that_the_network_did_not_fail(results: Results) -> None:
    results.learn(outcome(RESET), KEY, NOW, direct_works=False)
    assert seen(results).status == "not tested"
    results.on_direct_delivery(AWAY, "example.com", NOW + 10)
    results.on_direct_delivery(HOME, "example.org", NOW + 10)  # of the same domain
    assert seen(results).status == "not tested"
    results.on_direct_delivery(HOME, "example.com", NOW + 20)
    assert (seen(results).status, seen(results).at) == ("does not open", NOW)
    assert not results.waiting


def test_a_site_that_works_much_later_shows_nothing(results: Results) -> None:
    results.learn(outcome(RESET), KEY, NOW, direct_works=False)
    results.on_direct_delivery(HOME, "example.com", NOW + 61)
    assert seen(results).status == "not tested"
    assert not results.waiting


def test_each_port_has_its_own_result(results: Results) -> None:
    closed = failed(Symptom.REFUSED, Stage.CONNECT)
    results.learn(outcome(closed, port=8443), KEY, NOW, direct_works=True)
    results.learn(outcome(RESET), KEY, NOW + 1, direct_works=True)
    assert [(each.port, each.status) for each in results.by_port(KEY, NOW + 1)] == [
        (8443, "site down"), (443, "does not open"),
    ]  # fmt: skip
    assert seen(results, 1).port == 443
    results.learn(outcome(delivered()), KEY, NOW + 2, direct_works=True)
    assert [each.port for each in results.by_port(KEY, NOW + 2)] == [8443], "the other port is closed as before"


def test_a_result_that_says_the_same_does_not_begin_anew(results: Results) -> None:
    for at in (0, 60, 120):
        results.learn(outcome(RESET), KEY, NOW + at, direct_works=True)
    assert (seen(results, 120).began, seen(results, 120).at) == (NOW, NOW + 120)
    results.note(KEY, LastResult(SiteStatus.LIKELY_BLOCKED, NOW + 180, Source.MEASUREMENT))
    results.note(KEY, LastResult(SiteStatus.BLOCKED, NOW + 240, Source.MEASUREMENT))
    assert seen(results, 240).began == NOW + 180, "a block found for certain is the same block"


def seen(results: Results, after: float = 0.0) -> LastResult:
    result = results.of(KEY, NOW + after)
    assert result is not None
    return result


@pytest.fixture
def results() -> Results:
    return Results(DetectTuning())


def test_a_result_stays_until_a_route_delivers(results: Results) -> None:
    results.learn(outcome(RESET, REFUSES), KEY, NOW, direct_works=True)
    seen = results.of(KEY, NOW + 3600)
    assert seen is not None
    assert (seen.status, seen.at) == ("relays fail", NOW)
    results.learn(outcome(RESET, delivered(TOR)), KEY, NOW + 3601, direct_works=True)
    assert results.of(KEY, NOW + 3602) is None


def test_a_result_is_forgotten_after_a_day(results: Results) -> None:
    results.learn(outcome(RESET, REFUSES), KEY, NOW, direct_works=True)
    assert results.of(KEY, NOW + 86_401) is None


def test_a_tunnel_delivers_a_bad_certificate_too(results: Results) -> None:
    results.note(KEY, LastResult(SiteStatus.BAD_CERTIFICATE, NOW, Source.MEASUREMENT, "expired"))
    results.learn(outcome(delivered()), KEY, NOW, direct_works=True)
    assert results.of(KEY, NOW) is not None
    results.learn(outcome(delivered(), protocol=Protocol.HTTP), KEY, NOW, direct_works=True)
    assert results.of(KEY, NOW) is None


def http(status: int, route: Route = DIRECT) -> Attempt:
    return replace(delivered(route), evidence={"status": status})


ALERT = replace(delivered(), evidence={"alert": 1})
BY_STRATEGY = delivered(TLSREC)


@pytest.mark.parametrize(
    ("status", "visit", "is_over"),
    [
        (SiteStatus.BLOCKED, outcome(RESET, delivered(TOR)), False),
        (SiteStatus.LIKELY_BLOCKED, outcome(delivered(TOR)), False),
        (SiteStatus.SLOW, outcome(RESET, BY_STRATEGY), False),
        (SiteStatus.BLOCKED, outcome(delivered()), True),
        (SiteStatus.LIKELY_BLOCKED, outcome(delivered(), delivered(TOR), winner=TOR), True),
        (SiteStatus.REFUSES_THIS_ROUTE, outcome(http(451), protocol=Protocol.HTTP), False),
        (SiteStatus.REFUSES_THIS_ROUTE, outcome(http(200), protocol=Protocol.HTTP), True),
        (SiteStatus.REFUSES_THIS_ROUTE, outcome(http(200, TOR), protocol=Protocol.HTTP), False),
        (SiteStatus.REFUSES_THIS_ROUTE, outcome(delivered()), False),
        (SiteStatus.SITE_DOWN, outcome(ALERT, winner=DIRECT), False),
        (SiteStatus.SITE_DOWN, outcome(delivered()), True),
        (SiteStatus.SITE_DOWN, outcome(RESET, delivered(TOR)), True),
        (SiteStatus.NO_SUCH_NAME, outcome(delivered(TOR)), True),
        (SiteStatus.WORKS, outcome(delivered()), False),
        (SiteStatus.WORKS, outcome(RESET, delivered(TOR)), True),
    ],
)
def test_what_a_visit_does_not_contradict_stays(
    results: Results, status: SiteStatus, visit: Outcome, is_over: bool
) -> None:
    port = 80 if visit.protocol is Protocol.HTTP else 443
    visit = replace(visit, request=replace(visit.request, destination=replace(visit.request.destination, port=port)))
    results.note(KEY, LastResult(status, NOW, Source.MEASUREMENT, port=port))
    results.learn(visit, KEY, NOW + 60, direct_works=True)
    assert (results.of(KEY, NOW + 60) is None) is is_over
    results.learn(visit, KEY, NOW + 86_500, direct_works=True)
    assert not results.knows(KEY), "one that is too old keeps no visit from being routine"


def test_what_came_while_a_portal_was_there_is_forgotten(results: Results) -> None:
    for at, network, host in ((NOW - 700, HOME, "old.test"), (NOW - 50, HOME, "new.test"), (NOW, AWAY, "away.test")):
        results.learn(outcome(RESET, REFUSES, host=host), (network, host), at, direct_works=True)
    results.forget_recent(HOME, NOW - 600)
    kept = [host for network, host in results.known() if results.of((network, host), NOW) is not None]
    assert sorted(kept) == ["away.test", "old.test"]


def test_recent_results_of_one_network_the_latest_first(results: Results) -> None:
    for place, (network, host) in enumerate([(HOME, "a.test"), (AWAY, "b.test"), (HOME, "c.test")]):
        results.learn(outcome(RESET, REFUSES, host=host), (network, host), NOW + place, direct_works=True)
    found = results.recent(HOME, NOW + 2)
    assert [host for host, _ in found] == ["c.test", "a.test"]
    a_day_later = NOW + 86_401
    assert results.recent(HOME, a_day_later) == found[:1]
    assert [results.of((HOME, host), a_day_later) for host in ("a.test", "c.test")] == [None, found[0][1]]


@pytest.mark.parametrize(
    ("protocol", "port", "visited"),
    [
        (Protocol.NONE, 443, Visited(Protocol.TLS, 443)),
        (Protocol.NONE, 80, Visited(Protocol.HTTP, 80)),
        (Protocol.NONE, 22, None),
        (Protocol.OTHER, 443, None),
        (Protocol.TLS, 22, Visited(Protocol.TLS, 22)),
    ],
)
def test_a_visit_that_failed_before_the_client_sent_anything_counts_by_its_port(
    results: Results, protocol: Protocol, port: int, visited: Visited | None
) -> None:
    refused = failed(Symptom.REFUSED, Stage.CONNECT)
    results.learn(outcome(refused, protocol=protocol, port=port), KEY, NOW, direct_works=True)
    assert results.visited(KEY) == visited


def test_what_was_visited_is_remembered(results: Results) -> None:
    results.learn(outcome(delivered(), protocol=Protocol.HTTP, port=8080), KEY, NOW, direct_works=True)
    assert results.visited(KEY) == Visited(Protocol.HTTP, 8080)
    results.learn(outcome(delivered(), protocol=Protocol.OTHER, port=22), KEY, NOW, direct_works=True)
    assert results.visited(KEY) == Visited(Protocol.HTTP, 8080)
    for protocol, port, visited in (
        (Protocol.HTTP, 80, Visited(Protocol.HTTP, 80)),
        (Protocol.TLS, 8443, Visited(Protocol.HTTP, 80)),
        (Protocol.TLS, 443, Visited(Protocol.TLS, 443)),
    ):
        results.learn(outcome(delivered(), protocol=protocol, port=port), KEY, NOW, direct_works=True)
        assert results.visited(KEY) == visited, "a visit to a usual port counts more than one to another"
    results.forget(KEY)
    assert results.visited(KEY) is None


# -- over a restart ----------------------------------------------------------------------------------------------------


class Kept:
    """A store in memory."""

    def __init__(self) -> None:
        self.results: dict[ResultKey, StoredResult] = {}

    def keep_result(self, result: StoredResult, *, is_troubled: bool = False) -> None:
        self.results[result.key] = result

    def drop_result(self, key: ResultKey) -> None:
        self.results.pop(key, None)


UNANSWERED = outcome(RESET, WAITS)
CLOSED = outcome(failed(Symptom.REFUSED, Stage.CONNECT), port=8443)


def test_results_are_the_same_after_a_restart() -> None:
    kept = Kept()
    first = Results(DetectTuning(), store=kept)
    first.learn(UNANSWERED, KEY, NOW, direct_works=True)
    first.learn(UNANSWERED, KEY, NOW + 60, direct_works=True)
    first.learn(CLOSED, KEY, NOW + 61, direct_works=True)
    first.note(
        (AWAY, "measured.example"),
        LastResult(SiteStatus.BLOCKED, NOW, Source.MEASUREMENT, Cause.DNS, "as measured", works_by="direct|doh"),
    )
    again = Results(DetectTuning(), kept.results.values(), kept)
    for key in (KEY, (AWAY, "measured.example")):
        assert again.by_port(key, NOW + 61) == first.by_port(key, NOW + 61) != ()
    assert seen(again, 61).began == NOW
    again.learn(UNANSWERED, KEY, NOW + 90, direct_works=True)
    assert seen(again, 90).began == NOW, "the spell goes on"


@each_row(
    "end",
    [
        lambda results: results.learn(outcome(delivered()), KEY, NOW + 1, direct_works=True),
        lambda results: results.forget(KEY),
        lambda results: results.forget_recent(HOME, NOW - 60),
        lambda results: results.on_clock_set(),
    ],
    ids=["a route delivers", "the host is forgotten", "the network was at fault", "the clock was set"],
)
def test_what_is_over_is_not_kept(end: Callable[[Results], None]) -> None:
    kept = Kept()
    results = Results(DetectTuning(), store=kept)
    results.learn(UNANSWERED, KEY, NOW, direct_works=True)
    assert kept.results
    end(results)
    assert kept.results == {}


def test_a_failure_that_waits_is_kept_once_it_is_certain() -> None:
    kept = Kept()
    results = Results(DetectTuning(), store=kept)
    results.learn(outcome(RESET), KEY, NOW, direct_works=False)
    assert [result.status for result in kept.results.values()] == ["not tested"]
    results.on_direct_delivery(HOME, "example.com", NOW + 20)
    assert [result.status for result in kept.results.values()] == ["does not open"]


def test_what_another_version_has_stored_is_left_out() -> None:
    stored = StoredResult(*KEY, 443, "site down", NOW, "connection", "down", otherwise="not tested")
    known = Results(DetectTuning(), [stored])
    assert seen(known).status is SiteStatus.SITE_DOWN
    for strange in (
        replace(stored, status="gone fishing"), replace(stored, source="hearsay"), replace(stored, otherwise=""),
    ):  # fmt: skip
        assert Results(DetectTuning(), [strange]).of(KEY, NOW) is None


def test_a_relay_url_is_not_kept() -> None:
    kept = Kept()
    results = Results(DetectTuning(), store=kept)
    text = "socks5h://user:secret@192.0.2.1:1080: no answer"
    results.note(KEY, LastResult(SiteStatus.SITE_DOWN, NOW, Source.CONNECTION, text=text))
    (result,) = kept.results.values()
    assert "secret" not in result.text


def test_of_a_long_sentence_the_beginning_is_kept() -> None:
    """It may come from a relay, or from an addon."""
    kept = Kept()
    down = LastResult(SiteStatus.SITE_DOWN, NOW, Source.CONNECTION, text="no answer, " * 10_000)
    Results(DetectTuning(), store=kept).note(KEY, down)
    (result,) = kept.results.values()
    assert result.text.startswith("no answer, no answer")
    assert len(result.text) <= 2_000


def test_the_own_port_of_a_site_is_that_of_http_only_where_that_was_visited_last(results: Results) -> None:
    assert results.own_port(KEY) == 443
    for protocol, port, own in ((Protocol.HTTP, 80, 80), (Protocol.TLS, 8443, 80), (Protocol.TLS, 443, 443)):
        results.learn(outcome(delivered(), protocol=protocol, port=port), KEY, NOW, direct_works=True)
        assert results.own_port(KEY) == own
