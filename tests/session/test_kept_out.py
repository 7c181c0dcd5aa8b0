"""What a client gets that is none of `[listen] programs`: direct where AUTO decides, else a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from proxy.config.overlay import frozen
from proxy.config.read_settings import read_settings
from proxy.config.schema import Settings
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import ControlAnswered
from proxy.extend.dispatch import Addons
from proxy.model import (
    DIRECT,
    Action,
    AutoMode,
    Belief,
    Cause,
    ConnectivityResult,
    Destination,
    Inbound,
    Override,
    Plan,
    Request,
    State,
)
from proxy.net.client_programs import ClientPrograms
from proxy.net.dialers.registry import Registry
from proxy.net.named_programs import Holder
from proxy.routing.router import RelayInfo, Router
from proxy.routing.rule_parser import parse_rules
from proxy.session.connection_record import ConnectionRecord
from proxy.session.kept_out import plan_if_kept_out, why_kept_out
from proxy.session.setup import NamedOnly, Setup
from tests.session.test_plan import setup
from tests.support.outcomes import HOME
from tests.support.rows import each_row
from tests.support.services import services

HOST = "blog.example.org"
SPY = Holder("/home/user/spy", 1, 1, 1000, 0o755, 1, is_deleted=False)
BROWSER = Holder("/usr/lib/firefox-esr/firefox-esr", 1, 2, 0, 0o755, 1, is_deleted=False)


class Named:
    """The browser is named."""

    def is_of(self, holder: Holder) -> bool:
        return holder == BROWSER


class Programs(ClientPrograms):
    """Knows what holds the socket of each client."""

    def __init__(self, **held: Sequence[Holder] | None) -> None:
        super().__init__(lambda: 8119)
        self._of = held
        self.asked: list[str] = []

    async def holders(self, client: str) -> tuple[Holder, ...] | None:
        self.asked.append(client)
        found = self._of[client]
        return None if found is None else tuple(found)

    async def of(self, client: str) -> str | None:
        return "spy"


CLIENTS: dict[str, Sequence[Holder] | None] = {
    "browser": [BROWSER],
    "its_children": [BROWSER, BROWSER],
    "spy": [SPY],
    "both": [BROWSER, SPY],
    "unknown": None,
    "elsewhere": [],
}


def restricted(made: Setup) -> Setup:
    """The same Setup with `[listen] programs`."""
    nobody: Any = None
    named: Any = Named()
    return replace(made, named=NamedOnly((named,), nobody))


def with_router(rules: str = "", *, mode: AutoMode = AutoMode.AUTO, never_relay: str = "", override: str = "") -> Setup:
    settings = read_settings(frozen({"auto": {"never_relay": [never_relay] if never_relay else []}}))
    assert isinstance(settings, Settings)
    overrides = {HOST: Override(Action(override))} if override else {}
    router = Router(parse_rules(rules, source="rules.txt"), overrides, [RelayInfo("tor")], settings, mode=mode)
    return restricted(replace(setup(), router=router))


def asked(client: str = "spy", host: str = HOST) -> Request:
    return Request(1, Destination(host, 443), Inbound.CONNECT, client)


async def planned(made: Setup, client: str = "spy", host: str = HOST, named: str = "", **given: Any) -> Plan:
    plan = await plan_if_kept_out(
        asked(client, host), services(programs=Programs(**CLIENTS), **given), made, host=named
    )
    assert plan is not None
    return plan


@pytest.mark.parametrize(
    ("client", "said"),
    [
        ("browser", ""),
        ("its_children", ""),
        ("spy", "/home/user/spy is none of"),
        ("both", "/home/user/spy is none of"),
        ("unknown", "cannot be found out, so it counts as none of"),
        ("elsewhere", "another computer asks"),
    ],
)
async def test_all_that_hold_the_socket_of_a_client_have_to_be_named(client: str, said: str) -> None:
    named: Any = Named()
    shared = services(programs=Programs(**CLIENTS))
    why = await why_kept_out(shared, [named], client)
    assert why.startswith(said) or said in why
    assert bool(why) is bool(said)


class Believes(Beliefs):
    """Believes one thing about every host."""

    def __init__(self, state: State, cause: Cause | str = "") -> None:
        super().__init__(Settings().detect)
        self._belief = Belief(
            HOST, HOME, state, cause=cause, until=1e12, why="seen", last_good="tor", last_good_at=999.0
        )

    def about(self, host: str, **given: Any) -> Any:
        return replace(super().about(host, **given), belief=self._belief)


@each_row(
    "how, goes_direct",
    [
        ({}, True),
        ({"rules": "MATCH,AUTO\n"}, True),
        ({"rules": "MATCH,DIRECT\n"}, True),
        ({"rules": "MATCH,PREFER-RELAY\n"}, True),
        ({"rules": "MATCH,AUTO,INSPECT\n"}, True),
        ({"rules": "MATCH,RELAY\n"}, False),
        ({"rules": "MATCH,RELAY:tor\n"}, False),
        ({"rules": "MATCH,BLOCK\n"}, False),
        ({"rules": "PROCESS-NAME,spy,RELAY\n"}, False),
        ({"rules": "PROCESS-NAME,other,RELAY\n"}, True),
        ({"override": "RELAY"}, False),
        ({"override": "BLOCK"}, False),
        ({"override": "DIRECT", "rules": "MATCH,RELAY\n"}, True),
        ({"mode": AutoMode.RELAY}, False),
        ({"mode": AutoMode.RELAY, "never_relay": "example.org"}, True),
        ({"mode": AutoMode.DIRECT}, True),
        ({"mode": AutoMode.PAUSED}, True),
    ],
)
async def test_what_auto_decides_goes_direct_and_all_else_is_refused(how: dict[str, Any], goes_direct: bool) -> None:
    for client in ("spy", "both", "unknown", "elsewhere"):
        plan = await planned(with_router(**how), client)
        assert plan.routes == ((DIRECT,) if goes_direct else ())
        assert (plan.action is Action.BLOCK) is not goes_direct
        assert (plan.learns, plan.intercept, plan.direct_waits) == (False, False, False)
        assert plan.kept_out
        assert not {"tor", "rules.txt"} & set(plan.why.replace(":", " ").split()), "the client may read it"


@each_row(
    "belief, goes_direct",
    [
        (Believes(State.WORKS), True),
        (Believes(State.SUSPECT, Cause.SNI_RESET), True),
        (Believes(State.BLOCKED, Cause.SNI_RESET), True),
        (Believes(State.BLOCKED, Cause.IP), True),
        (Believes(State.BLOCKED, Cause.DNS), True),
        (Believes(State.BLOCKED, Cause.INTERCEPTION), False),
    ],
)
async def test_a_blocked_site_is_tried_direct_alone_without_strategies(belief: Beliefs, goes_direct: bool) -> None:
    assert (await planned(with_router(), beliefs=belief)).routes == ((DIRECT,) if goes_direct else ())


async def test_a_network_that_reads_tls_changes_nothing() -> None:
    beliefs = Beliefs(Settings().detect)
    for number in range(5):
        answered = ControlAnswered(
            f"c{number}.example", ConnectivityResult.RESIGNED, started=1000.0, issuer="an office"
        )
        beliefs.learn(answered, network=HOME, now=1000.0)
    assert (await planned(with_router(), beliefs=beliefs)).routes == (DIRECT,)


@pytest.mark.parametrize("host", ["127.0.0.1", "byway.internal", "facebookcorewwwi.onion"])
async def test_what_nobody_gets_direct_is_refused(host: str) -> None:
    plan = await planned(with_router(), host=host)
    assert (plan.action, plan.routes) == (Action.BLOCK, ())
    assert plan.kept_out


async def test_the_name_in_the_flight_to_an_address_decides() -> None:
    made = with_router(f"DOMAIN,{HOST},RELAY\n")
    assert (await planned(made, host="93.184.216.34")).routes == (DIRECT,)
    assert (await planned(made, host="93.184.216.34", named=HOST)).routes == ()


class Addon(Addons):
    """Changes each plan, and remembers those that it was asked about."""

    def __init__(self, change: str) -> None:
        super().__init__()
        self.decides = True
        self._change = change
        self.asked: list[Plan] = []

    async def decide(self, request: Request, plan: Plan, registry: Registry, *, host: str = "") -> Plan:
        self.asked.append(plan)
        match self._change:
            case "via":
                return plan.via("tor")
            case "prefer":
                return plan.prefer("tor", "direct|tlsrec")
            case "block":
                return plan.block("an addon says so")
            case _:
                return plan.direct()


@each_row(
    "change, rules, goes_direct",
    [
        ("via", "", False),
        ("prefer", "", True),
        ("block", "", False),
        ("direct", "", True),
        ("direct", "MATCH,RELAY\n", False),
        ("prefer", "MATCH,BLOCK\n", False),
    ],
)
async def test_an_addon_may_close_and_opens_nothing(change: str, rules: str, goes_direct: bool) -> None:
    plan = await planned(with_router(rules), addons=Addon(change))
    assert plan.routes == ((DIRECT,) if goes_direct else ())


async def test_named_programs_are_planned_as_ever_and_each_client_is_asked_about_only_with_the_setting() -> None:
    programs = Programs(**CLIENTS)
    shared = services(programs=programs)
    assert await plan_if_kept_out(asked("browser"), shared, with_router()) is None
    assert programs.asked == ["browser"]
    assert await plan_if_kept_out(asked("spy"), shared, setup()) is None
    assert programs.asked == ["browser"]


async def test_a_kept_plan_of_the_browser_is_not_that_of_a_spy_and_the_spy_keeps_none() -> None:
    made, programs = with_router("MATCH,RELAY\n"), Programs(**CLIENTS)
    shared = services(setup=lambda: made, programs=programs)

    async def routes(client: str) -> list[str]:
        record = await ConnectionRecord.open(shared, Destination(HOST, 443), Inbound.CONNECT, client)
        record.leave()
        return [str(route) for route in record.plan.routes]

    assert await routes("spy") == []
    assert not made.kept_plans
    assert [await routes(client) for client in ("browser", "spy", "browser", "both")] == [["tor"], [], ["tor"], []]


async def test_a_reload_during_the_search_for_the_program_decides() -> None:
    """The search takes milliseconds. A setting that came meanwhile holds for this client as well."""
    before, after = with_router(), with_router("MATCH,RELAY\n")
    in_use = [before]

    class Slow(Programs):
        async def holders(self, client: str) -> tuple[Holder, ...] | None:
            in_use[0] = after
            return await super().holders(client)

    shared = services(setup=lambda: in_use[0], programs=Slow(**CLIENTS))
    record = await ConnectionRecord.open(shared, Destination(HOST, 443), Inbound.CONNECT, "spy")
    assert record.setup is after
    assert not record.plan.routes
    in_use[0] = record.setup = restricted(replace(before, router=setup("MATCH,DIRECT\n").router))
    await record.plan_again()
    assert record.plan.routes == (DIRECT,)
    record.setup = setup()
    await record.plan_again()
    assert not record.plan.kept_out
    record.leave()
