"""Probes the site of a visit with the same flight over one route.

Probes start only beside a visit, never on a timer, on their own connections, and carry no data of the user. The
ClientHello has the shape of the visit's, with new random values, since a censor may treat Python's and a browser's
differently; a plain request asks for `/`. Each function returns the result of one route, within the time of a re-test.
Before a ClientHello on a direct route it waits for its `turn`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

from proxy.detect.tls_interception import CertificateKind, KnownRoots
from proxy.model import Destination, Outcome, Protocol, Route, Symptom
from proxy.net.deadline import deadline
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.race.hello_ledger import HelloTurn, no_turn
from proxy.net.race.race import Winner
from proxy.probe.certificate_chain import FetchedChain, fetch_chain
from proxy.session.setup import Setup
from proxy.wire.flight import Flight
from proxy.wire.http1 import host_field
from proxy.wire.tls import RANDOMNESS, Verdict, parse_client_hello, refreshed

PAGE_LIMIT = 32 * 1024
"""Bytes of a page that are read to classify it."""


async def gets_answer(
    setup: Setup, tcp_info: TcpInfo, turn: HelloTurn, visit: Outcome, flight: Flight, route: Route
) -> bool:
    """Whether `route` gets a valid answer to a flight like that of `visit`."""
    if route.is_direct and flight.protocol is Protocol.TLS:
        await turn(flight.server_name or visit.request.destination.host)
    async with _delivery(setup, tcp_info, visit, _probe_flight(visit, flight), route) as winner:
        return winner is not None


async def gets_page(setup: Setup, tcp_info: TcpInfo, visit: Outcome, route: Route) -> bool:
    """Whether `route` gets a page over plain HTTP that is neither a block page nor a redirect to another domain."""
    async with _delivery(setup, tcp_info, visit, _request("GET", visit), route) as winner:
        if winner is None:
            return False
        answer, classify = winner.answer, setup.knowledge.classify
        within_s = setup.settings.detect.retest_pair_s
        with contextlib.suppress(TimeoutError, OSError), deadline(within_s):  # the bytes so far are classified
            while len(answer) < PAGE_LIMIT and classify(answer, visit.host, complete=False).verdict is Verdict.MORE:
                data = await winner.stream.receive()
                if not data:
                    break
                answer += data
        return classify(answer, visit.host, complete=True).symptom is Symptom.NONE


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
    setup: Setup, tcp_info: TcpInfo, visit: Outcome, flight: Flight, route: Route
) -> AsyncIterator[Winner | None]:
    """Races one route, and yields the winner with its valid answer; None when none came in time. Closes the connection
    at the end."""
    race = setup.race(visit.request, (route,), tcp_info)
    winner: Winner | None = None
    try:
        with contextlib.suppress(TimeoutError), deadline(setup.settings.detect.retest_pair_s):
            winner = await race.deliver(flight, lambda: True)
        # A race that has no valid answer delivers an invalid one, such as an alert, which a censor may have sent.
        is_valid = winner is not None and flight.judge(winner.answer) is Verdict.VALID
        yield winner if is_valid else None
    finally:
        race.close()
        if winner is not None:
            winner.stream.abort()


def _probe_flight(visit: Outcome, flight: Flight) -> Flight:
    """Returns a flight that a censor cannot distinguish from the visit's, without the user's data."""
    if flight.protocol is not Protocol.TLS:
        return _request("HEAD", visit)
    # The early data after the ClientHello belongs to the user's own connection.
    hello = parse_client_hello(flight.data)
    data = flight.data if hello is None else flight.data[: hello.size]
    probe = Flight()
    probe.receive_data(refreshed(data, os.urandom(RANDOMNESS)))
    return probe


def _request(method: str, visit: Outcome) -> Flight:
    host = host_field(Destination(visit.host, visit.request.destination.port))
    flight = Flight()
    flight.receive_data(f"{method} / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    return flight
