"""The services of guests: what addons decide, and what is told and learned of them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from proxy.features.lan.guests import AddonsForGuests, GuestSetups, NotOnThisComputer, guest_services
from proxy.features.lan.phone_page import PhonePage
from proxy.model import DIRECT, Action, Destination, Inbound, Plan, Request
from tests.support.services import services

REQUEST = Request(1, Destination("45.33.32.7", 443), Inbound.CONNECT, "192.168.7.10:5000")
PLAN = Plan(Action.AUTO, (DIRECT,), "as usual", intercept=True)


class Decides:
    """Addons that refuse everything."""

    decides = True

    async def decide(self, request: Request, plan: Plan, registry: object, *, host: str = "") -> Plan:
        return replace(plan, action=Action.BLOCK, routes=())


def addons(inner: object) -> AddonsForGuests:
    setups = SimpleNamespace(servers=SimpleNamespace(names=lambda host: host == "relay.example"))
    return AddonsForGuests(cast(Any, inner), cast(GuestSetups, setups))


async def test_a_guest_is_never_inspected_and_teaches_nothing() -> None:
    plan = await addons(SimpleNamespace(decides=False)).decide(REQUEST, PLAN, cast(Any, None))
    assert (plan.action, plan.routes, plan.intercept, plan.learns) == (Action.AUTO, (DIRECT,), False, False)


async def test_what_addons_refuse_is_refused_to_guests() -> None:
    assert (await addons(Decides()).decide(REQUEST, PLAN, cast(Any, None))).action is Action.BLOCK


async def test_the_name_of_a_relay_in_a_flight_to_an_address_is_refused() -> None:
    quiet = addons(SimpleNamespace(decides=False))
    assert (await quiet.decide(REQUEST, PLAN, cast(Any, None), host="relay.example")).action is Action.BLOCK
    assert (await quiet.decide(REQUEST, PLAN, cast(Any, None), host="site.example")).action is Action.AUTO


async def test_guests_are_programs_of_other_computers() -> None:
    programs = NotOnThisComputer()
    assert await programs.of("127.0.0.1:5000") == ""
    assert await programs.holders("127.0.0.1:5000") == ()  # so none of `[listen] programs`
    assert await programs.of_all(["127.0.0.1:5000"]) == {"127.0.0.1:5000": ""}


def test_what_sessions_share_is_not_told_of_guests() -> None:
    ours = services()
    setups = SimpleNamespace(get=lambda: None, servers=None)
    its = guest_services(ours, cast(GuestSetups, setups), lambda _: None, lambda *_: None)
    assert its.events is not ours.events
    assert its.open_connections is not ours.open_connections
    assert (its.learns, its.explains) == (False, False)
    assert its.beliefs is ours.beliefs


def test_the_page_for_devices_is_the_only_one() -> None:
    page, address = PhonePage(lambda: ""), "192.168.7.2:4000"

    def ask(line: str, host: str = address) -> bytes:
        return page.answer(f"{line} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), address)

    assert ask("GET /").startswith(b"HTTP/1.1 200 ")
    assert b"default-src 'none'" in ask("GET /")
    assert ask("HEAD /").endswith(b"\r\n\r\n")
    for line in ("GET /sign-in", "GET /v1/status", "GET /s/0/", "POST /", "GET /?a", "GET //", "GET /../"):
        assert ask(line).startswith(b"HTTP/1.1 404 "), line
    for host in ("byway.internal", "127.0.0.1:8119", "evil.example", "192.168.7.2"):
        assert ask("GET /", host).startswith(b"HTTP/1.1 421 "), host
    assert page.answer(b"\x05\x01\x00", address).startswith(b"HTTP/1.1 4")
