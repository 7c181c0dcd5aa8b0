"""Probes the site of a visit with the same flight over one route.

Probes start only beside a visit, never on a timer, on their own connections, and carry no data of the user. The
ClientHello has the shape of the visit's, with new random values, since a censor may treat Python's and a browser's
differently; a plain request asks for `/`. Each function returns the result of one route, within the time of a re-test.
Before a ClientHello on a direct route it waits for its `turn`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import AsyncIterator
from dataclasses import replace

from proxy.detect.pages.page_classifier import read_page
from proxy.detect.pages.page_difference import Page
from proxy.detect.tls_interception import CertificateKind, KnownRoots
from proxy.model import DIRECT, Attempt, Destination, Outcome, Protocol, Route, Stage, Symptom, host_and_port
from proxy.net.deadline import deadline
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.race.hello_ledger import HelloTurn, no_turn
from proxy.net.race.race import Winner
from proxy.probe.certificate_chain import FetchedChain, fetch_chain
from proxy.session.setup import Setup
from proxy.wire.flight import Flight
from proxy.wire.http1 import host_field
from proxy.wire.tls import RANDOMNESS, Verdict, parse_client_hello, refreshed

BROKEN = frozenset({Symptom.RESET, Symptom.DROPPED})

PAGE_LIMIT = 32 * 1024
"""Bytes of a page that are read to classify it."""

FULL_SEGMENT = 1460
"""Bytes of a full TCP segment over Ethernet. An answer that is shorter may pass a path that loses full segments, such
as a tunnel with a smaller MTU where the router's message about it is dropped."""


async def gets_answer(
    setup: Setup, tcp_info: TcpInfo, turn: HelloTurn, visit: Outcome, flight: Flight, route: Route
) -> bool:
    """Whether `route` gets a valid answer to a flight like that of `visit`."""
    if route.is_direct and flight.protocol is Protocol.TLS:
        await turn(flight.server_name or visit.request.destination.host)
    within_s = setup.settings.detect.retest_pair_s
    async with _delivery(setup, tcp_info, visit, _probe_flight(visit, flight), route, within_s=within_s) as winner:
        return winner is not None


async def attempt_by(setup: Setup, tcp_info: TcpInfo, visit: Outcome, flight: Flight, route: Route) -> Attempt:
    """Sends a flight like that of `visit` over `route`, and returns how that went: pending if it got no answer in time.
    The caller has waited for its turn."""
    probe = _probe_flight(visit, flight)
    race = setup.race(visit.request, (route,), tcp_info)
    winner: Winner | None = None
    try:
        with contextlib.suppress(TimeoutError), deadline(setup.settings.detect.retest_pair_s):
            winner = await race.deliver(probe, lambda: True)
        attempt = race.attempts[0]
        if winner is not None and (symptom := _symptom_of(setup, visit, probe, winner)):
            attempt = replace(attempt, stage=Stage.FIRST_BYTE, symptom=symptom)
        _report_broken(setup, visit, attempt)
        return attempt
    finally:
        race.close()
        if winner is not None:
            winner.stream.abort()


async def answered_after(
    setup: Setup,
    tcp_info: TcpInfo,
    visit: Outcome,
    flight: Flight,
    address: Destination,
    *,
    server_name: str = "",
    within_s: float,
    least_bytes: int = 0,
) -> float | None:
    """Returns the seconds until `address` gave any answer, also a TLS alert, to a flight like that of `visit`, the time
    of the connect included. Infinite: it connected, and gave none `within_s`. None: it failed in another way. With
    `server_name`, the flight has that name. With `least_bytes`, only a ServerHello is an answer, and only once so many
    bytes have come. The caller has waited for its turn."""
    loop, probe = asyncio.get_running_loop(), _probe_flight(visit, flight, server_name)
    race = setup.race(replace(visit.request, destination=address), (DIRECT,), tcp_info)
    winner: Winner | None = None
    began_at = loop.time()
    try:
        answer = b""
        with contextlib.suppress(TimeoutError, OSError), deadline(within_s):
            winner = await race.deliver(probe, lambda: True)
            answer = winner.answer if winner is not None else b""
            while winner is not None and probe.judge(answer) is Verdict.VALID and len(answer) < least_bytes:
                if not (data := await winner.stream.receive()):
                    break
                answer += data
        if winner is not None:
            wanted = (Verdict.VALID,) if least_bytes else (Verdict.VALID, Verdict.ALERT)
            is_answer = probe.judge(answer) in wanted and len(answer) >= least_bytes
            return loop.time() - began_at if is_answer else None
        attempt = race.attempts[0]
        return math.inf if attempt.pending and attempt.stage is Stage.FIRST_BYTE else None
    finally:
        race.close()
        if winner is not None:
            winner.stream.abort()


async def get_page(setup: Setup, tcp_info: TcpInfo, visit: Outcome, route: Route, request: bytes = b"") -> Page | None:
    """Returns the page that `route` gets over plain HTTP: `/`, or the answer to `request`, of which PAGE_LIMIT bytes
    are read. None: there is none, or it is a block page or a redirect to another domain. A slow relay has longer for
    it than a re-test takes, since nobody waits."""
    flight, detect = _flight_of(request) if request else _request("GET", visit), setup.settings.detect
    within_s = detect.retest_pair_s if route.is_direct else detect.give_up_s
    async with _delivery(setup, tcp_info, visit, flight, route, within_s=within_s) as winner:
        if winner is None:
            return None
        answer, classify = winner.answer, setup.knowledge.classify
        with contextlib.suppress(TimeoutError, OSError), deadline(within_s):  # the bytes so far are classified
            while len(answer) < PAGE_LIMIT and classify(answer, visit.host, complete=False).verdict is Verdict.MORE:
                data = await winner.stream.receive()
                if not data:
                    break
                answer += data
        classified, page = classify(answer, visit.host, complete=True), read_page(answer, visit.host)
        if page is None or classified.symptom is not Symptom.NONE:
            return None
        return replace(page, mark=classified.page_mark)


async def gets_own_certificate(
    setup: Setup, roots: KnownRoots, turn: HelloTurn, visit: Outcome, route: Route, *, logged: bool
) -> bool:
    """Whether `route` gets the site's own certificate: trusted by this system, and not signed by one of the `roots`
    that are known to intercept, since some states make people install theirs. `logged`: it must also be in a public
    log, which excludes certificates of company proxies."""
    fetched = await _fetch_chain(setup, turn, visit, route)
    kind = fetched.classified(visit.host, roots).kind
    return kind is CertificateKind.SITE or (kind is CertificateKind.RESIGNED and not logged)


async def gets_untrusted_certificate(setup: Setup, turn: HelloTurn, visit: Outcome, route: Route) -> bool:
    """Whether `route` gets a certificate that this system would not trust on any day."""
    fetched = await _fetch_chain(setup, turn, visit, route)
    return fetched.symptom is Symptom.CERTIFICATE and not fetched.expired


async def _fetch_chain(setup: Setup, turn: HelloTurn, visit: Outcome, route: Route) -> FetchedChain:
    dialer, destination = setup.registry.dialer(route), visit.request.destination
    timeout_s, turn = setup.settings.detect.retest_pair_s, turn if route.is_direct else no_turn
    return await fetch_chain(dialer, destination, visit.host, timeout_s=timeout_s, turn=turn)


@contextlib.asynccontextmanager
async def _delivery(
    setup: Setup, tcp_info: TcpInfo, visit: Outcome, flight: Flight, route: Route, *, within_s: float
) -> AsyncIterator[Winner | None]:
    """Races one route, and yields the winner with its valid answer; None when none came in time. Closes the connection
    at the end."""
    race = setup.race(visit.request, (route,), tcp_info)
    winner: Winner | None = None
    try:
        with contextlib.suppress(TimeoutError), deadline(within_s):
            winner = await race.deliver(flight, lambda: True)
        # A race that has no valid answer delivers an invalid one, such as an alert, which a censor may have sent.
        is_valid = winner is not None and flight.judge(winner.answer) is Verdict.VALID
        if not is_valid and race.attempts:
            _report_broken(setup, visit, race.attempts[0])
        yield winner if is_valid else None
    finally:
        race.close()
        if winner is not None:
            winner.stream.abort()


def _symptom_of(setup: Setup, visit: Outcome, probe: Flight, winner: Winner) -> Symptom:
    """Returns what is wrong with an answer: a race over one route delivers any."""
    if probe.protocol is Protocol.HTTP:
        return setup.knowledge.classify(winner.answer, visit.host, complete=True).symptom
    if probe.judge(winner.answer) is Verdict.VALID:
        return Symptom.NONE
    return Symptom.ALERT if probe.judge(winner.answer) is Verdict.ALERT else Symptom.GARBAGE


def _report_broken(setup: Setup, visit: Outcome, attempt: Attempt) -> None:
    """Begins the residual window of the address where a flight was broken. Races over one route report nothing
    themselves."""
    if not attempt.route.relays and attempt.stage is Stage.FIRST_BYTE and attempt.symptom in BROKEN:
        setup.knowledge.report_broken_flight(host_and_port(attempt.address)[0], visit.host)


def _probe_flight(visit: Outcome, flight: Flight, server_name: str = "") -> Flight:
    """Returns a flight that a censor cannot distinguish from the visit's, without the user's data. It may get another
    name."""
    if flight.protocol is not Protocol.TLS:
        return _request("HEAD", visit, server_name)
    # The early data after the ClientHello belongs to the user's own connection.
    hello = parse_client_hello(flight.data)
    data = flight.data if hello is None else flight.data[: hello.size]
    return _flight_of(refreshed(data, os.urandom(RANDOMNESS), server_name=server_name))


def _request(method: str, visit: Outcome, server_name: str = "") -> Flight:
    host = host_field(Destination(server_name or visit.host, visit.request.destination.port))
    return _flight_of(f"{method} / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())


def _flight_of(data: bytes) -> Flight:
    flight = Flight()
    flight.receive_data(data)
    return flight
