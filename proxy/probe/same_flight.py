"""Connections of our own beside the user's visit: the same hello to the same host, over another route.

They begin only when the user goes there, never on a timer; they are never the user's connection, and carry nothing of
the user's: the hello has the shape of the visit's own (a censor may tell Python's from a browser's) with fresh
randoms, and a plain request asks for `/` and nothing else.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

from proxy.detect.tls_interception import CertificateKind, KnownRoots, classify_chain
from proxy.model import Destination, Outcome, Protocol, Route, Symptom
from proxy.net.deadline import deadline
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.race.race import Winner
from proxy.probe.certificate_chain import fetch_chain
from proxy.session.setup import Setup
from proxy.wire.flight import Flight
from proxy.wire.http1 import host_field
from proxy.wire.tls import RANDOMNESS, Verdict, parse_client_hello, refreshed

PAGE_LIMIT = 32 * 1024
"""Bytes of a page that are read to see whose it is."""


async def answers(setup: Setup, tcp_info: TcpInfo, visit: Outcome, flight: Flight, route: Route) -> bool:
    """Whether `route` brings a valid answer, within the time of a re-test, to a hello like `flight`, which is what
    `visit` sent."""
    async with _answered(setup, tcp_info, visit, made_fresh(visit, flight), route) as winner:
        return winner is not None


async def answers_with_a_page(setup: Setup, tcp_info: TcpInfo, visit: Outcome, route: Route) -> bool:
    """Whether `route` brings a page over plain HTTP that is neither a block page nor leads elsewhere."""
    async with _answered(setup, tcp_info, visit, _request("GET", visit), route) as winner:
        if winner is None:
            return False
        answer, classify = winner.answer, setup.policy.classify
        within_s = setup.settings.detect.retest_pair_s
        with contextlib.suppress(TimeoutError, OSError), deadline(within_s):  # what has come is judged
            while len(answer) < PAGE_LIMIT and classify(answer, visit.host, complete=False).verdict is Verdict.MORE:
                data = await winner.stream.receive()
                if not data:
                    break
                answer += data
        return classify(answer, visit.host, complete=True).symptom is Symptom.NONE


async def answers_as_itself(setup: Setup, roots: KnownRoots, visit: Outcome, route: Route, *, logged: bool) -> bool:
    """Whether `route` brings the site's own certificate. That this system trusts it is not enough: people were told
    to install the root that their state intercepts with, and `roots` are those that are known. `logged`: nor is one
    that no public log knows, as an office's or one of the user's own making."""
    within_s = setup.settings.detect.retest_pair_s
    seen = await fetch_chain(setup.registry.dialer(route), visit.request.destination, visit.host, timeout_s=within_s)
    found = classify_chain(seen.chain, visit.host, verified=seen.verified, expired=seen.expired, roots=roots)
    return found.kind is CertificateKind.SITE or (found.kind is CertificateKind.RESIGNED and not logged)


async def is_forged(setup: Setup, visit: Outcome, route: Route) -> bool:
    """Whether `route` brings a certificate that this system does not trust, on any day."""
    within_s = setup.settings.detect.retest_pair_s
    seen = await fetch_chain(setup.registry.dialer(route), visit.request.destination, visit.host, timeout_s=within_s)
    return seen.symptom is Symptom.CERTIFICATE and not seen.expired


@contextlib.asynccontextmanager
async def _answered(
    setup: Setup, tcp_info: TcpInfo, visit: Outcome, flight: Flight, route: Route
) -> AsyncIterator[Winner | None]:
    """The answer, with its connection, which is closed afterwards; None when there is none within the time of a
    re-test, or what came is not valid."""
    race = setup.race(visit.request, (route,), tcp_info)
    winner: Winner | None = None
    try:
        with contextlib.suppress(TimeoutError), deadline(setup.settings.detect.retest_pair_s):
            winner = await race.deliver(flight, lambda: True)
        # For want of anything better a race hands on an alert or a babble as well; a censor may have sent it.
        is_answer = winner is not None and flight.judge(winner.answer) is Verdict.VALID
        yield winner if is_answer else None
    finally:
        race.close()
        if winner is not None:
            winner.stream.abort()


def made_fresh(visit: Outcome, flight: Flight) -> Flight:
    """A flight that looks like the visit's to a censor, and asks for nothing that the user did not."""
    if flight.protocol is not Protocol.TLS:
        return _request("HEAD", visit)
    fresh = Flight()
    fresh.receive_data(refreshed(_hello(flight), os.urandom(RANDOMNESS)))
    return fresh


def _request(method: str, visit: Outcome) -> Flight:
    host = host_field(Destination(visit.host, visit.request.destination.port))
    flight = Flight()
    flight.receive_data(f"{method} / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    return flight


def _hello(flight: Flight) -> bytes:
    """The visit's ClientHello without the early data behind it, which is for the user's own connection alone."""
    hello = parse_client_hello(flight.data)
    return flight.data if hello is None else flight.data[: hello.size]
