"""Which local means there are, and after which signs each of them is worth a try."""

from __future__ import annotations

from proxy.config.schema import DEFAULT_LADDER
from proxy.model import DIRECT, Attempt, Protocol, Route, Stage, Symptom, as_evidence
from proxy.model.strategy import parse_rung
from proxy.routing.strategies import (
    SEARCHED,
    fits,
    rejects_fragments,
    rewrites_flight,
    searched_strategies,
    strategy_routes,
    uses_doh,
)
from tests.support.rows import each_row

TOR = Route(("tor",))
DOH, TLSREC, SPLIT, HOSTCASE = (Route(wrap=(word,)) for word in ("doh", "tlsrec", "split", "hostcase"))
BOTH_CUTS, IPV4 = Route(wrap=("tlsrec", "split")), Route(wrap=("ipv4",))
DOH_TLSREC, DOH_HOSTCASE = Route(wrap=("doh", "tlsrec")), Route(wrap=("doh", "hostcase"))


def failed(symptom: Symptom, stage: Stage = Stage.FIRST_BYTE, *, route: Route = DIRECT, dns: str = "") -> Attempt:
    return Attempt(route, stage, symptom, evidence=as_evidence({"dns": dns} if dns else {}))


RESET, DROPPED, SILENT = failed(Symptom.RESET), failed(Symptom.DROPPED), failed(Symptom.SILENT)
NO_NAME, FORGED = failed(Symptom.NO_NAME, Stage.RESOLVE), failed(Symptom.FORGED, Stage.RESOLVE, dns="dns_bogon")
TIMEOUT, FORBIDDEN = failed(Symptom.TIMEOUT, Stage.CONNECT), failed(Symptom.FORBIDDEN, Stage.CONNECT)
MISMATCH = failed(Symptom.RESET, dns="dns_mismatch")
BLOCK_PAGE = failed(Symptom.BLOCK_PAGE)


@each_row(
    ("ladder", "doh", "routes"),
    [
        (("doh", "tlsrec", "split", "hostcase"), True, (DOH, TLSREC, SPLIT, HOSTCASE, DOH_TLSREC, DOH_HOSTCASE)),
        (("doh", "tlsrec", "split", "hostcase"), False, (TLSREC, SPLIT, HOSTCASE)),
        (("split", "doh"), True, (SPLIT, DOH, Route(wrap=("doh", "split")))),
        (("doh", "tlsrec|split"), True, (DOH, BOTH_CUTS, Route(wrap=("doh", "tlsrec", "split")))),
        (("doh",), True, (DOH,)),
        ((), True, ()),
    ],
)
def test_the_routes_of_a_ladder(ladder: tuple[str, ...], doh: bool, routes: tuple[Route, ...]) -> None:
    assert strategy_routes(ladder, doh=doh) == routes
    assert all(Route.parse(str(route)) == route and route.is_direct for route in routes)


def test_the_routes_of_a_search() -> None:
    tls = ["|".join(route.wrap) for route in searched_strategies(DEFAULT_LADDER, Protocol.TLS)]
    assert tls == ["tlsrec", "tlsrec|split", "split", *SEARCHED]
    http = ["|".join(route.wrap) for route in searched_strategies(DEFAULT_LADDER, Protocol.HTTP)]
    assert http == ["split", "hostcase", "split|pace-200", "split-by-8", "split-at-name"]
    assert searched_strategies(("doh", "split"), Protocol.TLS) == (SPLIT,), "a ladder of the user's own"
    assert searched_strategies((), Protocol.TLS) == ()
    assert [parse_rung(rung) for rung in SEARCHED] == [*SEARCHED]


def test_what_a_strategy_does() -> None:
    assert [uses_doh(route) for route in (DIRECT, DOH, TLSREC, DOH_TLSREC, TOR)] == [False, True, False, True, False]
    assert [rewrites_flight(route) for route in (DIRECT, DOH, IPV4, DOH_TLSREC, SPLIT, HOSTCASE)] == [False] * 3 + [
        True
    ] * 3


TLS, HTTP, NONE, OTHER = Protocol.TLS, Protocol.HTTP, Protocol.NONE, Protocol.OTHER


@each_row(
    ("attempts", "protocol", "ech", "answering", "whatever"),
    [
        # What direct met, then the strategies that answer it, and those that are tried when nothing else is left.
        ([NO_NAME], NONE, False, {DOH}, {DOH}),
        ([FORGED], NONE, False, {DOH}, {DOH}),
        ([TIMEOUT], NONE, False, set(), {DOH}),
        ([FORBIDDEN], NONE, False, set(), set()),
        ([failed(Symptom.LOCAL, Stage.CONNECT)], NONE, False, set(), set()),
        ([RESET], TLS, False, {TLSREC, SPLIT, BOTH_CUTS}, {DOH, TLSREC, SPLIT, BOTH_CUTS}),
        ([DROPPED], TLS, False, {TLSREC, SPLIT, BOTH_CUTS}, {DOH, TLSREC, SPLIT, BOTH_CUTS}),
        ([failed(Symptom.EOF)], TLS, False, {TLSREC, SPLIT, BOTH_CUTS}, {DOH, TLSREC, SPLIT, BOTH_CUTS}),
        ([failed(Symptom.ALERT)], TLS, False, {TLSREC, SPLIT, BOTH_CUTS}, {DOH, TLSREC, SPLIT, BOTH_CUTS}),
        ([failed(Symptom.GARBAGE)], TLS, False, {TLSREC, SPLIT, BOTH_CUTS}, {DOH, TLSREC, SPLIT, BOTH_CUTS}),
        ([MISMATCH], TLS, False, {DOH, TLSREC, SPLIT, BOTH_CUTS}, {DOH, TLSREC, SPLIT, BOTH_CUTS}),
        ([SILENT], TLS, False, set(), {DOH, TLSREC, SPLIT, BOTH_CUTS}),  # a slow server more often than a censor
        ([RESET], TLS, True, set(), {DOH}),  # the outer name is filtered, and it is not ours to cut
        ([RESET], HTTP, False, {SPLIT, HOSTCASE}, {DOH, SPLIT, HOSTCASE}),
        ([BLOCK_PAGE], HTTP, False, set(), {DOH, SPLIT, HOSTCASE}),
        ([RESET], OTHER, False, set(), {DOH}),
        # The same again after the secure resolver's address.
        ([FORGED, failed(Symptom.RESET, route=DOH)], TLS, False, {DOH_TLSREC}, {DOH_TLSREC}),
        ([FORGED, failed(Symptom.RESET, route=DOH)], HTTP, False, {DOH_HOSTCASE}, {DOH_HOSTCASE}),
        ([FORGED, failed(Symptom.TIMEOUT, Stage.CONNECT, route=DOH)], NONE, False, set(), set()),
        # The server itself does not take a cut hello.
        ([RESET, failed(Symptom.ALERT, route=TLSREC)], TLS, False, {SPLIT}, {DOH, SPLIT}),
        ([RESET, failed(Symptom.EOF, route=TLSREC)], TLS, False, {SPLIT}, {DOH, SPLIT}),
        ([RESET, failed(Symptom.RESET, route=TLSREC)], TLS, False, {SPLIT, BOTH_CUTS}, {DOH, SPLIT, BOTH_CUTS}),
    ],
)
def test_which_strategies_fit(
    attempts: list[Attempt], protocol: Protocol, ech: bool, answering: set[Route], whatever: set[Route]
) -> None:
    every = {DOH, TLSREC, SPLIT, HOSTCASE, BOTH_CUTS, DOH_TLSREC, DOH_HOSTCASE} - {a.route for a in attempts}
    for last_resort, expected in ((False, answering), (True, whatever)):
        found = {route for route in every if fits(route, attempts, protocol=protocol, ech=ech, last_resort=last_resort)}
        assert found == expected


def test_what_the_plan_puts_before_direct_has_its_reasons() -> None:
    for route in (DIRECT, TOR, DOH, TLSREC, IPV4, DOH_TLSREC):
        assert fits(route, (), protocol=Protocol.NONE, ech=False, last_resort=False)
    down = failed(Symptom.RELAY_DOWN, Stage.RELAY, route=TOR)
    for route in (DIRECT, TOR, DOH, TLSREC, IPV4):
        assert fits(route, (down,), protocol=Protocol.TLS, ech=False, last_resort=False)
    assert not fits(HOSTCASE, (down,), protocol=Protocol.TLS, ech=False, last_resort=False)


@each_row(
    ("attempt", "refuses"),
    [
        (failed(Symptom.ALERT, route=TLSREC), True),
        (failed(Symptom.EOF, route=DOH_TLSREC), True),
        (failed(Symptom.RESET, route=TLSREC), False),
        (failed(Symptom.ALERT), False),
        (failed(Symptom.EOF, route=SPLIT), False),
        (failed(Symptom.EOF, route=Route(("tor",), ("tlsrec",))), False),
    ],
)
def test_a_server_that_rejects_fragments(attempt: Attempt, refuses: bool) -> None:
    assert rejects_fragments(attempt) is refuses
