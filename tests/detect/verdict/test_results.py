"""What a connection that failed comes to, and how long that is remembered."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.verdict.results import Results, Visited, result_of
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.model import Attempt, ClosedBy, Protocol, Route, Stage, Symptom
from tests.support.outcomes import AWAY, HOME, HOST, TOR, VPS, delivered, failed, outcome, pending

NOW = 1_000_000.0
KEY = (HOME, HOST)
DOH = Route(wrap=("doh",))


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
    Case("no relay, direct works", (RESET,), "site down"),
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
    Case("a local name", (NO_NAME, failed(Symptom.SKIPPED, Stage.RESOLVE, DOH)), "no such name"),
    Case("a relay was not waited for", (RESET, pending(TOR)), None),
    Case("direct was not waited for", (failed(Symptom.ABANDONED), REFUSES), None),
    Case("nothing was tried", (), None),
    Case("nothing could be tried", (failed(Symptom.OFFLINE, Stage.CONNECT),), None),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_a_failed_connection_comes_to(case: Case) -> None:
    result = result_of(outcome(*case.attempts), NOW, direct_works=case.direct_works)
    assert (result.status if result else None) == case.status
    if result is not None:
        assert (result.at, result.source) == (NOW, Source.CONNECTION)
        assert case.says in result.text


@pytest.mark.parametrize("closed_by", [ClosedBy.CLIENT, ClosedBy.USER])
def test_what_nobody_waited_for_is_not_known(closed_by: ClosedBy) -> None:
    left = replace(outcome(RESET, REFUSES), closed_by=closed_by)
    assert result_of(left, NOW, direct_works=True) is None


def test_relays_that_did_not_answer_are_named() -> None:
    result = result_of(outcome(RESET, WAITS, failed(Symptom.TIMEOUT, Stage.RELAY, VPS)), NOW, direct_works=True)
    assert result is not None
    assert result.relays == ("tor", "vps")


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


def test_recent_results_of_one_network_the_latest_first(results: Results) -> None:
    for place, (network, host) in enumerate([(HOME, "a.test"), (AWAY, "b.test"), (HOME, "c.test")]):
        results.learn(outcome(RESET, REFUSES, host=host), (network, host), NOW + place, direct_works=True)
    found = results.recent(HOME, NOW + 2, within_s=600)
    assert [host for host, _ in found] == ["c.test", "a.test"]
    assert results.recent(HOME, NOW + 601, within_s=600) == found[:1]


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
    results.forget(KEY)
    assert results.visited(KEY) is None
