"""Outcomes as a session reports them, for tests of code that learns from them or stores them."""

from __future__ import annotations

import itertools

from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import ControlAnswered, DirectDelivered
from proxy.model import (
    DIRECT,
    Action,
    Attempt,
    Change,
    ConnectivityResult,
    Destination,
    Inbound,
    NetworkId,
    NetworkState,
    Outcome,
    Plan,
    Protocol,
    Request,
    Route,
    Stage,
    Symptom,
)

HOME = NetworkId("home-network-0001")
AWAY = NetworkId("away-network-0002")
TOR = Route(("tor",))
VPS = Route(("vps",))
HOST = "blog.example.org"

_ids = itertools.count(1)


def delivered(route: Route = DIRECT, *, started: float = 0.0, elapsed: float = 0.1) -> Attempt:
    return Attempt(route, Stage.DONE, started=started, elapsed=elapsed, address="192.0.2.1:443")


def failed(
    symptom: Symptom = Symptom.RESET,
    stage: Stage = Stage.FIRST_BYTE,
    route: Route = DIRECT,
    *,
    elapsed: float = 0.1,
    error: str = "",
) -> Attempt:
    return Attempt(route, stage, symptom, error=error, elapsed=elapsed)


def pending(route: Route = DIRECT, *, elapsed: float = 0.8) -> Attempt:
    return Attempt(route, Stage.FIRST_BYTE, elapsed=elapsed)


def outcome(
    *attempts: Attempt,
    winner: Route | None = None,
    host: str = HOST,
    at: float = 0.0,
    protocol: Protocol = Protocol.TLS,
    action: Action = Action.AUTO,
    why: str = "AUTO: nothing is known",
    error: str = "",
    inbound: Inbound = Inbound.CONNECT,
    bytes_down: int = 0,
    port: int = 443,
) -> Outcome:
    """Returns an outcome. The winner is the route that delivered, unless one is given."""
    won = winner or next((attempt.route for attempt in attempts if attempt.delivered), None)
    request = Request(next(_ids), Destination(host, port), inbound, "127.0.0.1:50000")
    plan = Plan(action, tuple(attempt.route for attempt in attempts), why)
    return Outcome(request, plan, attempts, won, protocol, host, at, bytes_down=bytes_down, error=error)


def works(host: str = HOST, *, at: float = 0.0) -> Outcome:
    """Direct delivered."""
    return outcome(delivered(), host=host, at=at)


def rescued(
    symptom: Symptom = Symptom.RESET,
    stage: Stage = Stage.FIRST_BYTE,
    *,
    by: Route = TOR,
    host: str = HOST,
    at: float = 0.0,
    protocol: Protocol = Protocol.TLS,
) -> Outcome:
    """Direct failed and a relay delivered."""
    return outcome(failed(symptom, stage), delivered(by), host=host, at=at, protocol=protocol)


def down(symptom: Symptom = Symptom.RESET, stage: Stage = Stage.FIRST_BYTE, *, host: str = HOST) -> Outcome:
    """Neither direct nor a relay delivered."""
    return outcome(failed(symptom, stage), failed(Symptom.RELAY_REFUSED, Stage.RELAY, TOR), host=host)


def open_uplink(beliefs: Beliefs, network: NetworkId = HOME, *, now: float) -> list[Change]:
    """Opens the control gate: direct delivers another host. It stays open for outcomes that began before `now`, like
    those above without a time."""
    return beliefs.learn(DirectDelivered("www.uplink.example"), network=network, now=now)


def restrict(beliefs: Beliefs, *, now: float) -> None:
    """Makes the network restricted: foreign sites fail and a domestic one answers, all at one moment."""
    for number in range(6):
        seen = outcome(failed(), delivered(TOR), host=f"www.site{number}.example", at=now)
        beliefs.learn(seen, network=HOME, now=now)
    beliefs.learn(DirectDelivered("domestic.test"), network=HOME, now=now)
    for page in ("one.control.test", "two.control.test"):
        beliefs.learn(ControlAnswered(page, ConnectivityResult.FAILED, started=now), network=HOME, now=now)
    assert beliefs.network_state(HOME) is NetworkState.RESTRICTED
