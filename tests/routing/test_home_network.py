"""Under AUTO no relay is asked for what belongs to the home network, whatever is believed and in every mode."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Mapping, Sequence

import pytest

from proxy.config.schema import Settings
from proxy.model import (
    DIRECT,
    UNKNOWN_NETWORK,
    Action,
    AutoMode,
    Belief,
    Destination,
    GroupPolicy,
    Inbound,
    IPAddress,
    NetworkState,
    Override,
    Plan,
    RelayGroup,
    Request,
    Route,
    State,
)
from proxy.routing.address_guard import Guard
from proxy.routing.home_network import HomeNetwork
from proxy.routing.router import RelayInfo, Router
from proxy.routing.rule import Situation
from proxy.routing.rule_parser import parse_rules
from proxy.wire import home_network, hostnames
from tests.support.calls import counting
from tests.support.rows import each_row

NOW = 1000.0
RELAYS = ("tor", "vps")

FILES: Mapping[str, Sequence[str]] = {
    "camera.example.org": ("192.168.50.9",),
    "vpn.example.org": ("100.70.0.1",),
    "six.example.org": ("fd00::9",),
    "both.example.org": ("93.184.216.34", "10.0.0.9"),
    "metal.example.org": ("169.254.169.254",),
    "ads.example.org": ("0.0.0.0",),
    "mine.example.org": ("127.0.0.1",),
    "pinned.example.org": ("93.184.216.34",),
    "trial.example.org": ("127.0.0.7",),
}
"""What the hosts file says."""

HOME = [
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.254", "192.168.1.1", "192.168.77.1", "100.64.0.1",
    "100.127.255.254", "169.254.7.7", "169.254.169.254", "127.0.0.1", "127.0.0.7", "0.0.0.0", "10.1", "0xa000001",
    "167772161", "0300.0250.1.1", "[::1]", "[fd12::5]", "[fc00::1]", "[fe80::1]", "[::ffff:10.0.0.1]",
    "[::ffff:c0a8:101]", "[64:ff9b::10.0.0.1]", "[64:ff9b::6440:1]", "[2002:a00:1::1]", "[2001:0:808:808::f5ff:fffe]",
    "[::192.168.1.1]", "１０.0.0.1", "nas", "NAS.", "printer", "localhost", "a.localhost", "my-laptop", "nas.lan",
    "Printer.LAN.", "tv.local", "vm.internal", "x.home.arpa", "home.arpa", "pc.home", "wiki.corp", "a.intranet",
    "a.private", "git.office.example", "office.example", "camera.example.org", "vpn.example.org", "six.example.org",
    "both.example.org", "metal.example.org", "ads.example.org", "mine.example.org",
]  # fmt: skip

ELSEWHERE = [
    "example.org", "lan.example.org", "nas.lan.example.org", "notlocal.example", "myoffice.example", "8.8.8.8",
    "172.32.0.1", "172.15.0.1", "192.169.0.1", "100.63.255.255", "100.128.0.1", "169.253.0.1", "11.0.0.1",
    "[2606:4700::1111]", "[64:ff9b::8.8.8.8]", "[2002:808:808::1]", "198.18.0.1", "pinned.example.org",
    "trial.example.org", "home.arpa.example", "e164.arpa",
]  # fmt: skip
"""The control: relays may be asked for these."""

GROUP = RelayGroup("all", RELAYS, GroupPolicy.FALLBACK, RELAYS, "all")


def in_files(name: str) -> Sequence[IPAddress]:
    return [ipaddress.ip_address(text) for text in FILES.get(name, ())]


def router_of(rules: str = "", overrides: Mapping[str, Override] | None = None) -> Router:
    guard = Guard(("127.0.0.7",), ("office.example",), own_names=("my-laptop",))
    is_home = HomeNetwork(guard, in_files).covers
    infos = [RelayInfo(name) for name in RELAYS]
    return Router(parse_rules(rules, source="rules.txt"), overrides or {}, infos, Settings(), (GROUP,), is_home=is_home)


def plan_of(
    text: str, router: Router, *, state: State = State.UNKNOWN, flight_name: str = "", port: int = 443, **more: object
) -> Plan:
    destination = hostnames.destination(text, port)
    name = flight_name or destination.host
    belief = Belief(name, UNKNOWN_NETWORK, state, "ip", score=8, until=NOW + 60, last_good="tor", last_good_at=NOW)
    request = Request(1, destination, Inbound.CONNECT, "127.0.0.1:5000")
    return router.plan(request, belief, relays=RELAYS, now=NOW, host=name, **more)  # type: ignore[arg-type]


def is_direct_alone(plan: Plan) -> bool:
    return plan.routes == (DIRECT,) and plan.is_home and "on the local network" in plan.why


@each_row("text", HOME)
def test_under_auto_it_goes_direct_whatever_is_believed(text: str) -> None:
    router = router_of("MATCH,AUTO")
    for state in (State.UNKNOWN, State.SUSPECT, State.BLOCKED):
        for network_state, compare in itertools.product(NetworkState, (False, True)):
            plan = plan_of(text, router, state=state, network_state=network_state, compare=compare)
            assert is_direct_alone(plan), (state, network_state, compare)


@each_row("text", HOME)
@each_row("mode", AutoMode)
def test_in_every_mode(text: str, mode: AutoMode) -> None:
    router = router_of().with_mode(mode)
    plan = plan_of(text, router)
    assert is_direct_alone(plan)
    assert plan.learns is (mode is AutoMode.AUTO)
    assert router.may_go_direct(hostnames.destination(text, 443), UNKNOWN_NETWORK, NOW)
    assert "on the local network" in router.trace(hostnames.destination(text, 443), now=NOW)[0]


@each_row("text", HOME)
def test_an_override_that_says_auto_is_auto(text: str) -> None:
    host = hostnames.host(text)
    plan = plan_of(text, router_of("MATCH,RELAY", {host: Override(Action.AUTO)}))
    assert is_direct_alone(plan)
    assert plan.decided_by == f"site set {host} AUTO"


@each_row("text", HOME)
@each_row(
    ("action", "routes"),
    [("RELAY", "tor vps"), ("RELAY:vps", "vps"), ("RELAY:all", "tor vps"), ("PREFER-RELAY", "tor vps direct"),
     ("BLOCK", ""), ("DIRECT", "direct")],
)  # fmt: skip
def test_rules_and_overrides_hold_as_written(text: str, action: str, routes: str) -> None:
    """As for an office behind `ssh -D`."""
    host = hostnames.host(text)
    name, _, relay = action.partition(":")
    for router in (router_of(f"MATCH,{action}"), router_of(overrides={host: Override(Action(name), relay)})):
        for mode in AutoMode:
            plan = plan_of(text, router.with_mode(mode), state=State.BLOCKED)
            assert " ".join(map(str, plan.routes)) == routes
            assert plan.is_home is (action == "DIRECT"), "with a relay it is as any other site"


@each_row("text", ELSEWHERE)
def test_the_control_relays_may_be_asked_for_others(text: str) -> None:
    router = router_of()
    plan = plan_of(text, router, state=State.BLOCKED)
    assert Route(("tor",)) in plan.routes
    assert not plan.is_home
    assert not plan_of(text, router.with_mode(AutoMode.DIRECT)).is_home
    assert Route(("tor",)) in plan_of(text, router.with_mode(AutoMode.RELAY)).routes


@each_row(
    ("text", "flight_name", "is_home"),
    [
        ("192.168.1.1", "blocked.example", True),  # the relay would be asked for the address
        ("93.184.216.34", "nas.lan", True),
        ("93.184.216.34", "camera.example.org", True),
        ("93.184.216.34", "blocked.example", False),
        ("example.org", "", False),
    ],
)
def test_a_literal_address_and_the_name_in_the_flight(text: str, flight_name: str, is_home: bool) -> None:
    for router in (router_of(), router_of().with_mode(AutoMode.RELAY)):
        assert plan_of(text, router, state=State.BLOCKED, flight_name=flight_name).is_home is is_home


def test_an_address_of_this_computer_is_at_home_unless_it_is_allowed() -> None:
    assert is_direct_alone(plan_of("mine.example.org", router_of()))
    assert not plan_of("trial.example.org", router_of()).is_home
    guard = Guard(("127.0.0.1:8080",))
    home = HomeNetwork(guard, in_files)
    for port, is_home in ((8080, False), (8081, True)):
        destination = Destination("mine.example.org", port)
        assert home.covers(destination, destination.host) is is_home


def test_the_files_are_asked_at_each_plan() -> None:
    """An edit of the hosts file needs no restart."""
    known: list[IPAddress] = []
    home = HomeNetwork(Guard(), lambda name: known)
    destination = Destination("new.example.org", 443)
    assert not home.covers(destination, destination.host)
    known.append(ipaddress.ip_address("10.0.0.9"))
    assert home.covers(destination, destination.host)


def test_an_addon_that_takes_a_relay_for_it_makes_it_a_site_like_others() -> None:
    plan = plan_of("nas.lan", router_of())
    assert not plan.via("tor").is_home
    assert not plan.prefer("tor").is_home
    assert plan.direct().is_home


def test_an_intercepted_one_stays_intercepted() -> None:
    plan = plan_of("nas.lan", router_of("DOMAIN-SUFFIX,lan,AUTO,INSPECT"))
    assert is_direct_alone(plan)
    assert plan.intercept


@each_row("mode", AutoMode)
def test_a_program_s_rule_decides_before_the_home_network_and_before_a_mode(mode: AutoMode) -> None:
    router = router_of("PROCESS-NAME,mail,RELAY\nMATCH,AUTO").with_mode(mode)
    for text in ("nas.lan", "example.org"):
        destination = hostnames.destination(text, 443)
        assert router.depends_on_program(destination, destination.host, UNKNOWN_NETWORK, NOW)
        asked = plan_of(text, router, situation=Situation(UNKNOWN_NETWORK, "mail"))
        assert asked.action is Action.RELAY


# -- the texts that programs get which do not ask Byway ---------------------------------------------------------------


@each_row("prefix", [*home_network.PREFIXES, *home_network.LOOPBACK])
def test_every_prefix_of_the_bypass_lists_is_at_home(prefix: str) -> None:
    network = ipaddress.ip_network(prefix)
    for address in (network[0], network[-1], network[network.num_addresses // 2]):
        assert Guard().is_near(str(address)), address


@each_row("suffix", home_network.BYPASS_SUFFIXES)
def test_every_suffix_of_the_bypass_lists_is_at_home(suffix: str) -> None:
    assert Guard().is_near(f"a.{suffix}")
    assert not Guard().is_near(f"a{suffix}.example")


def test_byway_s_own_page_is_in_no_bypass_list() -> None:
    assert "internal" not in home_network.BYPASS_SUFFIXES


def test_a_public_name_is_decided_by_one_call() -> None:
    """Beside what is remembered of the name, and the look into the files: each first visit to a site asks."""
    files: dict[str, Sequence[IPAddress]] = {}
    home = HomeNetwork(Guard(), lambda name: files.get(name, ()))
    destination = Destination("www.example.com", 443)
    assert not home.guard.is_near(destination.host)
    with counting() as calls:
        assert not home.covers(destination, destination.host)
    assert calls.total() == 1


@pytest.mark.parametrize("here", [True, False])
def test_a_name_of_a_local_zone_is_at_home_on_its_network(here: bool) -> None:
    covers = HomeNetwork(Guard(), lambda name: (), {"db.example.org"}, lambda name: here).covers
    at = Destination("db.example.org", 443)
    assert covers(at, at.host) is here
    assert covers(Destination("93.184.216.34", 443), "db.example.org") is here
    assert not covers(Destination("www.example.org", 443), "www.example.org")
