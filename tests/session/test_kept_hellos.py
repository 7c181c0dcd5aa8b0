"""The ClientHellos that are kept for `byway why`: of which visits, how many, and what is not in them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from proxy.model import DIRECT, Action, Destination, Inbound, Plan, Request, Symptom, as_evidence
from proxy.session.connection_record import ConnectionRecord
from proxy.session.events import Events
from proxy.session.kept_hellos import HELLO_MAX, HOSTS_MAX, KeptHellos
from proxy.wire.flight import Flight
from proxy.wire.tls import parse_client_hello
from tests.lab.recorded_hellos import COVER, ENCRYPTED, GREASE, OWN
from tests.support.outcomes import HOME, HOST, TOR, delivered, failed
from tests.support.rows import each_row
from tests.support.services import services
from tests.wire.hellos import PRE_SHARED_KEY, by_hand, real, sni


def flight_of(data: bytes) -> Flight:
    flight = Flight()
    flight.receive_data(data)
    return flight


def kept(data: bytes, host: str = HOST) -> bytes | None:
    hellos = KeptHellos()
    hellos.keep(host, flight_of(data))
    return hellos.of(host)


def test_it_has_the_shape_of_the_visits_and_not_its_random_values() -> None:
    said = real(HOST)
    hello = kept(said)
    assert hello is not None
    assert len(hello) == len(said)
    found = parse_client_hello(hello)
    assert found is not None
    assert (found.server_name, found.alpn) == (HOST, ("h2", "http/1.1"))
    assert said[11:43] not in hello, "the random"


def test_it_has_no_session_ticket() -> None:
    hello_with_ticket = by_hand(sni(HOST.encode()), PRE_SHARED_KEY)
    found = kept(hello_with_ticket)
    assert found is not None
    assert b"ticket" in hello_with_ticket
    assert b"ticket" not in found


def test_one_of_a_browser_is_kept() -> None:
    found = kept(GREASE, OWN)
    assert found is not None
    assert len(found) <= HELLO_MAX


@each_row(
    ("data", "host"),
    [
        (real(None), HOST),  # without a name
        (real("other.test"), HOST),
        (ENCRYPTED, "hidden.test"),  # under another name, COVER
        (b"GET / HTTP/1.1\r\nHost: blog.example.org\r\n\r\n", HOST),
        (real(HOST) + b"\x17\x03\x03\x00\x01x", HOST),  # with data of the user
        (real(HOST, alpn=tuple(f"{number:0200d}" for number in range(10))), HOST),  # too long
    ],
)
def test_others_are_not_kept(data: bytes, host: str) -> None:
    assert host != COVER
    assert kept(data, host) is None


def test_the_last_hosts_are_kept_each_with_its_last_hello() -> None:
    hellos = KeptHellos()
    for number in range(HOSTS_MAX + 1):
        name = f"{number}.example"
        hellos.keep(name, flight_of(real(name)))
        hellos.keep(name, flight_of(real(name, alpn=())))
    assert hellos.of("0.example") is None
    last = hellos.of(f"{HOSTS_MAX}.example")
    assert last is not None
    found = parse_client_hello(last)
    assert found is not None
    assert found.alpn == ()
    assert len(hellos._hellos) == HOSTS_MAX


# -- of which visits ---------------------------------------------------------------------------------------------------

NO_SETUP = cast(Any, SimpleNamespace(settings=None))
AUTO = Plan(Action.AUTO, (DIRECT, TOR), "AUTO: nothing is known")


class Race:
    """One that is over."""

    attempts = ()
    flight_age = 0.3
    leads_home = False

    def close(self) -> None: ...


def after_visit(
    how: str, plan: Plan = AUTO, *, is_private: bool = False, learns: bool = True, is_forgotten: bool = False
) -> bytes | None:
    """Returns the hello that is kept after a visit that was delivered by a route, or lost."""
    shared = services(events=Events(), setup=lambda: NO_SETUP, is_private=lambda _: is_private, learns=learns)
    request = Request(1, Destination(HOST, 443), Inbound.CONNECT, "127.0.0.1:50000")
    record = ConnectionRecord(request, plan, network=HOME, setup=NO_SETUP, services=shared)
    flight = flight_of(real(HOST))
    if is_forgotten:
        shared.beliefs.ignore({request.id})
    if how == "alert from all routes":
        said = as_evidence({"alert": 1})
        record.attempts = (
            replace(delivered(), evidence=said),
            replace(failed(Symptom.ALERT, route=TOR), evidence=said),
        )
    if how == "lost":
        record.on_lost(cast(Any, Race()), flight=flight)
    else:
        record.winner = {"rescued": TOR, "alert": None}.get(how, DIRECT)
        record.report_delivered(flight)
    return shared.kept_hellos.of(HOST)


@each_row(
    ("how", "is_kept"),
    [("lost", True), ("rescued", True), ("alert", True), ("alert from all routes", True), ("direct", False)],
)
def test_that_of_a_visit_is_kept_which_direct_did_not_deliver(how: str, is_kept: bool) -> None:
    assert (after_visit(how) is not None) is is_kept


@each_row("how", ["lost", "rescued", "alert", "alert from all routes"])
def test_none_is_kept_where_nothing_may_be_measured_or_learned(how: str) -> None:
    assert after_visit(how, is_private=True) is None
    assert after_visit(how, is_forgotten=True) is None, "a name that was forgotten does not come back"
    assert after_visit(how, learns=False) is None
    assert after_visit(how, Plan(Action.RELAY, (TOR,), "a rule")) is None
    assert after_visit(how, Plan(Action.AUTO, (DIRECT, TOR), "paused", learns=False)) is None
