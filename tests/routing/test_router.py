"""Plans: who is asked first, what each action promises, and in which order routes are tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.config.schema import DEFAULT_LADDER, Auto, Dns, Settings
from proxy.model import (
    DIRECT,
    UNKNOWN_NETWORK,
    Action,
    AutoMode,
    Belief,
    Destination,
    Inbound,
    NetworkId,
    NetworkState,
    Override,
    Plan,
    Request,
    Route,
    State,
)
from proxy.model.connection import GroupPolicy, RelayGroup
from proxy.routing.address_guard import Guard
from proxy.routing.home_network import HomeNetwork
from proxy.routing.router import NO_RULE_MATCHES, PLANS_LIMIT, Decision, RelayInfo, Router, covering
from proxy.routing.rule import Situation
from proxy.routing.rule_parser import parse_rules
from tests.support.calls import counting

NOW = 1_000_000.0
NETWORK = NetworkId("home")
TOR, VPS, OLD = Route(("tor",)), Route(("vps",)), Route(("old",))
RELAYS = (RelayInfo("tor"), RelayInfo("vps"))
WITH_SOCKS5 = (*RELAYS, RelayInfo("old", "?resolve=local"))
BOTH = ("tor", "vps")


def make_router(
    rules: str = "",
    *,
    overrides: dict[str, Override] | None = None,
    relays: Sequence[RelayInfo] = RELAYS,
    never_relay: tuple[str, ...] = (),
    ladder: tuple[Any, ...] = (),
    secure: Any = "on-suspicion",
    groups: Sequence[RelayGroup] = (),
) -> Router:
    auto = Auto(never_relay=never_relay, ladder=ladder)
    settings = Settings(auto=auto, dns=Dns(secure=secure), detect=DetectTuning(last_good_s=3600))
    return Router(parse_rules(rules, source="rules.txt"), overrides or {}, relays, settings, groups)


def belief(
    host: str,
    state: State = State.UNKNOWN,
    *,
    last_good: str = "",
    good_age: float = 60,
    left: float = 60,
    why: str = "",
    **more: Any,
) -> Belief:
    until, good_at = NOW + left, NOW - good_age
    return Belief(host, NETWORK, state, until=until, last_good=last_good, last_good_at=good_at, why=why, **more)


def plan(
    router: Router,
    host: str = "www.example.org",
    held: Belief | None = None,
    *,
    relays: Sequence[str] = BOTH,
    name: str | None = None,
    network_state: NetworkState = NetworkState.OK,
    now: float = NOW,
    compare: bool = False,
    fails_direct: bool = False,
    rungs: tuple[Route, ...] = (),
) -> Plan:
    request = Request(1, Destination(host, 443), Inbound.CONNECT, "127.0.0.1:5000")
    held = held or belief(name or host)
    return router.plan(
        request,
        held,
        relays=relays,
        now=now,
        host=name,
        network_state=network_state,
        fails_direct=fails_direct,
        compare=compare,
        rungs=rungs,
    )


def test_nothing_said_is_auto_direct_first() -> None:
    made = plan(make_router())
    assert (made.action, made.routes, made.why) == (Action.AUTO, (DIRECT, TOR, VPS), NO_RULE_MATCHES)


def test_relays_come_in_the_order_given() -> None:
    assert plan(make_router(), relays=("vps", "tor")).routes == (DIRECT, VPS, TOR)
    assert plan(make_router(), relays=()).routes == (DIRECT,)


@pytest.mark.parametrize(
    ("action", "routes"),
    [
        ("AUTO", (DIRECT, TOR, VPS)),
        ("DIRECT", (DIRECT,)),
        ("RELAY", (TOR, VPS)),
        ("RELAY:vps", (VPS,)),
        ("PREFER-RELAY", (TOR, VPS, DIRECT)),
        ("PREFER-RELAY:vps", (VPS, DIRECT)),
        ("BLOCK", ()),
    ],
)
def test_what_each_action_promises(action: str, routes: tuple[Route, ...]) -> None:
    router = make_router(f"DOMAIN-SUFFIX,example.org,{action}")
    held = [belief("www.example.org", state) for state in (State.UNKNOWN, State.WORKS, State.DOWN, State.REFUSED)]
    for one in held:
        made = plan(router, held=one)
        assert made.routes == routes
        assert made.action == action.partition(":")[0]
        assert made.why.startswith(f"rules.txt:1 DOMAIN-SUFFIX,example.org,{action}")


@pytest.mark.parametrize("state", [State.SUSPECT, State.BLOCKED])
@pytest.mark.parametrize("action", ["DIRECT", "RELAY", "PREFER-RELAY", "BLOCK"])
def test_a_belief_never_changes_what_the_user_promised(action: str, state: State) -> None:
    router = make_router(f"MATCH,{action}")
    assert plan(router, held=belief("www.example.org", state, last_good="vps")) == plan(router)


# -- failing closed ------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "configured", "usable", "says"),
    [
        ("RELAY", (), (), "no relay is configured"),
        ("RELAY", RELAYS, (), "no relay is available"),
        ("RELAY:vps", RELAYS, ("tor",), "relay vps is not available"),
        ("RELAY:gone", RELAYS, BOTH, "relay gone is not configured"),
        ("RELAY:old", WITH_SOCKS5, ("tor", "old"), "old (?resolve=local) takes addresses only; skipped for names"),
        ("RELAY", WITH_SOCKS5[2:], ("old",), "old (?resolve=local) takes addresses only; skipped for names"),
    ],
)
def test_E31_relay_without_a_usable_relay_has_no_route(
    action: str, configured: Sequence[RelayInfo], usable: Sequence[str], says: str
) -> None:
    made = plan(make_router(f"MATCH,{action}", relays=configured), relays=usable)
    assert made.routes == ()
    assert says in made.why


def test_prefer_relay_without_a_usable_relay_is_direct() -> None:
    assert plan(make_router("MATCH,PREFER-RELAY"), relays=()).routes == (DIRECT,)


@pytest.mark.parametrize("action", ["AUTO", "RELAY", "PREFER-RELAY"])
def test_a_relay_that_wants_addresses_is_skipped_for_names_only(action: str) -> None:
    router = make_router(f"MATCH,{action}", relays=WITH_SOCKS5)
    assert OLD not in plan(router, relays=("old", "tor")).routes
    assert OLD in plan(router, "192.0.2.1", relays=("old", "tor")).routes
    assert OLD in plan(router, "192.0.2.1", relays=("old", "tor"), name="www.example.org").routes


def test_a_blocked_name_is_not_given_to_a_relay_that_wants_addresses() -> None:
    held = belief("www.example.org", State.BLOCKED, last_good="old")
    assert plan(make_router(relays=WITH_SOCKS5), held=held, relays=("old", "tor")).routes == (TOR, DIRECT)


@pytest.mark.parametrize(
    ("action", "routes"),
    [
        ("AUTO", (TOR, VPS)),
        ("RELAY", (TOR, VPS)),
        ("RELAY:vps", (VPS,)),
        ("PREFER-RELAY", (TOR, VPS)),
        ("DIRECT", ()),
        ("BLOCK", ()),
    ],
)
def test_C9_onion_goes_to_a_relay_or_nowhere(action: str, routes: tuple[Route, ...]) -> None:
    router = make_router(f"MATCH,{action}", never_relay=("onion",))
    for state in State:
        assert plan(router, "abc.onion", belief("abc.onion", state)).routes == routes
    assert plan(make_router(), "abc.onion", relays=()).routes == ()
    assert DIRECT in plan(make_router(), "notonion").routes
    assert DIRECT in plan(make_router(), "onion.example").routes


# -- what AUTO makes of a belief ------------------------------------------------------------


@pytest.mark.parametrize("state", [State.SUSPECT, State.BLOCKED])
def test_a_blocked_host_takes_the_route_that_worked(state: State) -> None:
    held = belief("www.example.org", state, last_good="vps", why="3 resets in an hour")
    made = plan(make_router(), held=held)
    assert made.routes == (VPS, TOR, DIRECT)
    assert made.action is Action.AUTO
    assert "3 resets in an hour" in made.why
    assert "blocked" in made.why


@pytest.mark.parametrize(
    ("last_good", "good_age", "routes"),
    [
        ("", 60, (TOR, VPS, DIRECT)),
        ("vps", 3599, (VPS, TOR, DIRECT)),
        ("vps", 3601, (TOR, VPS, DIRECT)),  # kept for last_good_s
        ("gone", 60, (TOR, VPS, DIRECT)),
        ("direct", 60, (TOR, VPS, DIRECT)),
        ("vps>tor", 60, (Route(("vps", "tor")), TOR, VPS, DIRECT)),
    ],
)
def test_the_last_good_route_goes_first_while_it_is_fresh(
    last_good: str, good_age: float, routes: tuple[Route, ...]
) -> None:
    held = belief("www.example.org", State.BLOCKED, last_good=last_good, good_age=good_age)
    assert plan(make_router(), held=held).routes == routes


def test_a_belief_that_has_lapsed_is_none() -> None:
    held = belief("www.example.org", State.BLOCKED, last_good="vps", left=-1)
    assert plan(make_router(), held=held).routes == (DIRECT, TOR, VPS)


def test_a_blocked_host_without_relays_goes_direct() -> None:
    assert plan(make_router(), held=belief("www.example.org", State.BLOCKED), relays=()).routes == (DIRECT,)


def test_an_auto_rule_and_the_belief_are_both_named() -> None:
    made = plan(make_router("MATCH,AUTO,INSPECT"), held=belief("www.example.org", State.SUSPECT, why="reset"))
    assert made.why == "rules.txt:1 MATCH,AUTO,INSPECT; likely blocked: reset"
    assert made.intercept


def test_a_site_that_refuses_is_not_called_blocked() -> None:
    held = belief(
        "www.example.org", State.SUSPECT, cause="refused", last_good="tor", why="the site refuses direct (403)"
    )
    made = plan(make_router(), held=held)
    assert made.routes[0] == TOR
    assert made.why == "AUTO: refused: the site refuses direct (403)"


@pytest.mark.parametrize("state", list(State))
def test_auto_rescues_nothing_that_is_never_relayed(state: State) -> None:
    router = make_router(never_relay=("bank.example", "example.org"))
    for host in ("www.example.org", "example.org", "bank.example", "my.bank.example"):
        made = plan(router, host, belief(host, state, last_good="tor"))
        assert made.routes == (DIRECT,)
        assert "never_relay" in made.why
    assert TOR in plan(router, "notexample.org").routes
    assert plan(make_router("MATCH,RELAY", never_relay=("example.org",))).routes == (TOR, VPS)  # AUTO's affair alone


# -- the local ladder ------------------------------------------------------------

LADDER = ("doh", "tlsrec", "split", "hostcase")
DOH, TLSREC, SPLIT, HOSTCASE = (Route(wrap=(word,)) for word in LADDER)
DOH_TLSREC, DOH_HOSTCASE = Route(wrap=("doh", "tlsrec")), Route(wrap=("doh", "hostcase"))
RUNGS = (DOH, TLSREC, SPLIT, HOSTCASE, DOH_TLSREC, DOH_HOSTCASE)
SHAPED = (TLSREC, SPLIT, HOSTCASE)
SECURE = (DOH, DOH_TLSREC, DOH_HOSTCASE)
IPV4, IPV6 = Route(wrap=("ipv4",)), Route(wrap=("ipv6",))
NAME_BASED = ("sni_reset", "sni_drop", "http_host")
FOR_RELAYS = ("ip", "frozen", "throttled", "block_page", "ech")


def test_auto_tries_local_means_before_relays() -> None:
    router = make_router(ladder=LADDER, never_relay=("bank.example",))
    assert plan(router).routes == (DIRECT, *RUNGS, TOR, VPS)
    assert plan(router, relays=()).routes == (DIRECT, *RUNGS)
    assert plan(router, "bank.example").routes == (DIRECT, *RUNGS)
    assert plan(router, "a.onion").routes == (TOR, VPS)
    assert plan(router, "192.0.2.1").routes == (DIRECT, *SHAPED, TOR, VPS)  # there is no name to be asked for
    assert plan(router, "192.0.2.1", name="www.example.org").routes == (DIRECT, *SHAPED, TOR, VPS)


@pytest.mark.parametrize("secure", ["always", "never"])
def test_the_secure_resolver_is_a_way_round_only_where_it_is_asked_on_suspicion(secure: str) -> None:
    assert plan(make_router(ladder=LADDER, secure=secure)).routes == (DIRECT, *SHAPED, TOR, VPS)


@pytest.mark.parametrize("action", ["DIRECT", "RELAY", "PREFER-RELAY", "BLOCK"])
def test_local_means_are_autos_alone(action: str) -> None:
    for held in (belief("www.example.org"), belief("www.example.org", State.BLOCKED, last_good="direct|tlsrec")):
        assert not set(plan(make_router(f"MATCH,{action}", ladder=LADDER), held=held).routes) & set(RUNGS)


@pytest.mark.parametrize("state", [State.SUSPECT, State.BLOCKED])
@pytest.mark.parametrize(
    ("cause", "waits"),
    [*((cause, False) for cause in (*NAME_BASED, "dns", "ip", "ech")), ("frozen", True),
     ("throttled", True), ("interception", True), ("block_page", True)],
)  # fmt: skip
def test_direct_waits_for_slow_relays_where_its_first_byte_shows_nothing(state: State, cause: str, waits: bool) -> None:
    router = make_router("DOMAIN,www.example.net,RELAY")
    assert plan(router, held=belief("www.example.org", state, cause=cause)).direct_waits is waits
    for over in (belief("www.example.org", State.UNKNOWN, cause=cause), belief("www.example.org", state, left=0)):
        assert not plan(router, held=over).direct_waits
    assert not plan(router, "www.example.net", belief("www.example.net", state, cause=cause)).direct_waits


@pytest.mark.parametrize("state", [State.SUSPECT, State.BLOCKED])
@pytest.mark.parametrize(
    ("cause", "last_good", "routes"),
    [
        *((cause, "", (*SHAPED, TOR, VPS, *SECURE, DIRECT)) for cause in NAME_BASED),
        *((cause, "direct|tlsrec", (TLSREC, TOR, VPS, DOH, *RUNGS[2:], DIRECT)) for cause in NAME_BASED),
        *((cause, "vps", (VPS, TOR, *RUNGS, DIRECT)) for cause in NAME_BASED),
        *((cause, "vps", (VPS, TOR, DIRECT)) for cause in FOR_RELAYS),
        *((cause, "", (TOR, VPS, DIRECT)) for cause in FOR_RELAYS),
        ("dns", "", (*SECURE, TOR, VPS, *SHAPED, DIRECT)),
        ("dns", "direct|doh", (DOH, TOR, VPS, *RUNGS[1:], DIRECT)),
        ("dns", "vps", (VPS, TOR, *RUNGS, DIRECT)),
        ("", "direct|split", (SPLIT, TOR, VPS, DOH, TLSREC, *RUNGS[3:], DIRECT)),
        ("", "", (TOR, VPS, *RUNGS, DIRECT)),
    ],
)
def test_a_cause_orders_what_may_help(state: State, cause: str, last_good: str, routes: tuple[Route, ...]) -> None:
    held = belief("www.example.org", state, cause=cause, last_good=last_good)
    assert plan(make_router(ladder=LADDER), held=held).routes == routes


@pytest.mark.parametrize(
    ("cause", "routes"),
    [
        ("sni_drop", (*SHAPED, *SECURE, DIRECT)),
        ("dns", (*SECURE, *SHAPED, DIRECT)),
        ("ip", (DIRECT, *RUNGS)),
        ("block_page", (DIRECT, *RUNGS)),
    ],
)
def test_without_a_relay_the_ladder_is_all_there_is(cause: str, routes: tuple[Route, ...]) -> None:
    held = belief("www.example.org", State.BLOCKED, cause=cause)
    assert plan(make_router(ladder=LADDER), held=held, relays=()).routes == routes


SMALL = Route(wrap=("tlsrec-by-4",))
"""One that only a search tries."""


def test_a_strategy_that_passes_for_others_comes_first() -> None:
    router = make_router(ladder=DEFAULT_LADDER, never_relay=("bank.example",))
    made = plan(router, rungs=(SMALL,))
    assert made.routes[:3] == (DIRECT, SMALL, DOH)
    assert plan(router, rungs=(SMALL,)) is made
    assert plan(router, rungs=(SPLIT,)).routes[:3] == (DIRECT, SPLIT, DOH)
    assert SMALL not in plan(router).routes
    assert plan(router, "bank.example", rungs=(SMALL,)).routes[:2] == (DIRECT, SMALL)
    assert SMALL not in plan(router, "a.onion", rungs=(SMALL,)).routes
    assert plan(make_router("MATCH,DIRECT", ladder=DEFAULT_LADDER), rungs=(SMALL,)).routes == (DIRECT,)


@pytest.mark.parametrize(
    ("last_good", "failed", "rungs", "first"),
    [
        ("vps", (), (SMALL,), (SMALL, VPS, TOR)),
        ("", (), (SMALL,), (SMALL, TOR, VPS)),
        ("direct|split", (), (SMALL,), (SPLIT, TOR, VPS)),  # where one passes, that is kept
        ("vps", ("direct|tlsrec-by-4",), (SMALL,), (VPS, TOR)),
        ("direct|tlsrec-by-4", (), (), (SMALL, TOR, VPS)),  # found by a search, and kept over a restart
        ("direct|tlsrec-by-4", ("direct|tlsrec-by-4",), (), (TLSREC,)),
    ],
)
def test_a_blocked_host_goes_by_what_passes_for_others(
    last_good: str, failed: tuple[str, ...], rungs: tuple[Route, ...], first: tuple[Route, ...]
) -> None:
    held = belief(
        "www.example.org",
        State.BLOCKED,
        cause="sni_reset",
        last_good=last_good,
        rungs_failed=failed,
        rungs_failed_at=NOW,
    )
    made = plan(make_router(ladder=DEFAULT_LADDER), held=held, rungs=rungs)
    assert made.routes[: len(first)] == first
    assert not {str(route) for route in made.routes} & set(failed)


def test_a_ladder_of_the_users_own_is_all_that_is_used() -> None:
    held = belief("www.example.org", State.BLOCKED, cause="sni_reset", last_good="direct|tlsrec-by-4")
    made = plan(make_router(ladder=("split",)), held=held, rungs=(SMALL,))
    assert made.routes == (SPLIT, TOR, VPS, DIRECT)


def test_rungs_that_failed_are_left_out_for_as_long_as_good_routes_are_remembered() -> None:
    router = make_router(ladder=LADDER)
    broken = ("direct|tlsrec", "direct|split")
    for age, routes in ((3599, (HOSTCASE, TOR, VPS, *SECURE)), (3601, (*SHAPED, TOR, VPS, *SECURE))):
        held = belief(
            "www.example.org", State.BLOCKED, cause="sni_drop", rungs_failed=broken, rungs_failed_at=NOW - age
        )
        assert plan(router, held=held).routes == (*routes, DIRECT)
    held = belief(
        "www.example.org",
        State.BLOCKED,
        cause="sni_drop",
        last_good="direct|split",
        rungs_failed=broken,
        rungs_failed_at=NOW,
    )
    assert plan(router, held=held).routes[0] == HOSTCASE, "what failed since is not good any more"


@pytest.mark.parametrize("last_good", ["direct|disorder", "direct|nosuch", "tor|tlsrec"])
def test_a_good_route_that_is_not_configured_any_more_is_none(last_good: str) -> None:
    held = belief("www.example.org", State.BLOCKED, last_good=last_good)
    assert plan(make_router(ladder=LADDER), held=held).routes == (TOR, VPS, *RUNGS, DIRECT)


@pytest.mark.parametrize(("family", "other"), [(6, IPV4), (4, IPV6)])
def test_the_other_address_family_goes_before_a_relay(family: int, other: Route) -> None:
    router = make_router(ladder=LADDER)
    held = belief("www.example.org", State.BLOCKED, cause="ip", family=family, last_good="vps")
    assert plan(router, held=held).routes == (other, VPS, TOR, DIRECT)
    assert plan(router, held=held, relays=()).routes == (other, DIRECT, *RUNGS)
    assert plan(router, "192.0.2.1", held).routes == (VPS, TOR, DIRECT)


def test_a_request_that_is_sent_once_takes_another_route_after_direct_failed() -> None:
    router = make_router(ladder=("doh", "tlsrec", "hostcase", "split"))
    compared = plan(router, compare=True)
    hostcase, split = Route(wrap=("hostcase",)), Route(wrap=("split",))
    assert compared.routes == (TOR, VPS, hostcase, split, DIRECT)
    assert compared.why.startswith("AUTO: direct failed moments ago")
    assert plan(router, compare=True, relays=()).routes == (hostcase, split, DIRECT)
    assert plan(make_router(), compare=True, relays=()) == plan(make_router(), relays=())  # there is no other


@pytest.mark.parametrize("action", ["DIRECT", "RELAY", "PREFER-RELAY", "BLOCK"])
def test_a_comparison_never_changes_what_the_user_promised(action: str) -> None:
    router = make_router(f"MATCH,{action}")
    assert plan(router, compare=True) == plan(router)


def test_what_is_never_relayed_or_held_to_be_blocked_is_not_compared() -> None:
    never = make_router(never_relay=("example.org",))
    assert plan(never, compare=True) == plan(never)
    held = belief("www.example.org", State.SUSPECT, cause="http_host", last_good="vps")
    assert plan(make_router(), held=held, compare=True) == plan(make_router(), held=held)
    inspected = NetworkState.INSPECTED
    assert plan(make_router(), compare=True, network_state=inspected).routes == (DIRECT,)


def test_what_is_intercepted_never_goes_direct() -> None:
    router = make_router(ladder=LADDER, never_relay=("bank.example",))
    for last_good in ("", "direct|tlsrec", "direct"):
        held = belief("www.example.org", State.BLOCKED, cause="interception", last_good=last_good)
        for state in NetworkState:
            assert plan(router, held=held, network_state=state).routes == (TOR, VPS)
    nowhere = plan(router, held=held, relays=())
    assert nowhere.routes == ()
    assert "no relay is available" in nowhere.why
    bank = plan(router, "bank.example", belief("bank.example", State.BLOCKED, cause="interception"))
    assert bank.routes == ()
    assert "never_relay" in bank.why
    suspect = belief("www.example.org", State.SUSPECT, cause="interception")
    assert plan(router, held=suspect).routes == (TOR, VPS, DIRECT)


# -- what is held about the network ------------------------------------------------------------


def test_on_a_restricted_network_relays_go_first_for_what_failed_direct_alone() -> None:
    """Others may be domestic: a bank that sees the address of a relay may lock the account."""
    router = make_router(ladder=LADDER, never_relay=("bank.example",))
    untried = plan(router, network_state=NetworkState.RESTRICTED)
    assert untried.routes == (DIRECT, TOR, VPS)
    assert "trying direct first, then relays" in untried.why
    made = plan(router, network_state=NetworkState.RESTRICTED, fails_direct=True)
    assert made.routes == (TOR, VPS, DIRECT)
    assert "using relays first" in made.why
    assert plan(router, network_state=NetworkState.RESTRICTED) is untried
    https = plan(router, network_state=NetworkState.NO_HTTPS, fails_direct=True)
    assert (https.routes, "HTTPS is blocked" in https.why) == (made.routes, True)
    assert plan(router, network_state=NetworkState.NO_HTTPS).routes == untried.routes
    assert plan(router, fails_direct=True).routes[0] == DIRECT, "on such a network alone"
    assert plan(make_router("MATCH,DIRECT"), network_state=NetworkState.RESTRICTED, fails_direct=True).routes == (
        DIRECT,
    )
    blocked = belief("www.example.org", State.BLOCKED, cause="sni_drop")
    assert plan(router, held=blocked, network_state=NetworkState.RESTRICTED).routes == (TOR, VPS, DIRECT)
    assert TOR not in plan(router, "bank.example", network_state=NetworkState.RESTRICTED).routes
    assert plan(router, relays=(), network_state=NetworkState.RESTRICTED).routes == (DIRECT,)


def test_where_no_relay_gets_through_one_is_tried_after_direct_and_another_each_minute() -> None:
    router = make_router(ladder=LADDER, never_relay=("bank.example",))
    made = [plan(router, network_state=NetworkState.SHUT, now=60.0 * minute).routes for minute in range(3)]
    assert made == [(DIRECT, TOR), (DIRECT, VPS), (DIRECT, TOR)]
    assert plan(router, network_state=NetworkState.SHUT, now=59.0).routes == made[0]
    assert plan(router, relays=(), network_state=NetworkState.SHUT).routes == (DIRECT,)
    read = belief("www.example.org", State.BLOCKED, cause="interception")
    assert plan(router, held=read, network_state=NetworkState.SHUT).routes == (TOR, VPS)


def test_on_an_inspected_network_auto_relays_nothing() -> None:
    router = make_router("DOMAIN,a.example,RELAY", ladder=LADDER)
    for held in (belief("www.example.org"), belief("www.example.org", State.BLOCKED, cause="ip", last_good="vps")):
        made = plan(router, held=held, network_state=NetworkState.INSPECTED)
        assert made.routes == (DIRECT,)
        assert "does not use relays on its own" in made.why
    assert plan(router, "a.example", network_state=NetworkState.INSPECTED).routes == (TOR, VPS), "the user chose"


@pytest.mark.parametrize("state", [NetworkState.OK, NetworkState.OFFLINE, NetworkState.PORTAL])
@pytest.mark.parametrize("action", ["AUTO", "DIRECT", "RELAY", "PREFER-RELAY", "BLOCK"])
def test_other_states_and_other_actions_change_nothing(action: str, state: NetworkState) -> None:
    router = make_router(f"MATCH,{action}", ladder=LADDER)
    assert plan(router, network_state=state) is plan(router)
    if action != "AUTO":
        assert plan(router, network_state=NetworkState.RESTRICTED) is plan(router)


# -- order of saying ------------------------------------------------------------


def test_an_override_comes_before_rules_and_the_most_specific_first() -> None:
    overrides = {
        "example.org": Override(Action.BLOCK),
        "www.example.org": Override(Action.RELAY, "vps"),
        "192.0.2.1": Override(Action.RELAY),
    }
    router = make_router("MATCH,DIRECT", overrides=overrides)
    made = plan(router, "a.www.example.org")
    assert (made.routes, made.why) == ((VPS,), "site set www.example.org RELAY:vps")
    assert plan(router, "b.example.org").action is Action.BLOCK
    assert plan(router, "notexample.org").action is Action.DIRECT
    assert plan(router, "192.0.2.1").action is Action.RELAY


def test_an_override_to_auto_lifts_a_rule() -> None:
    router = make_router("MATCH,BLOCK", overrides={"example.org": Override(Action.AUTO)})
    assert plan(router).routes == (DIRECT, TOR, VPS)
    assert plan(router, held=belief("www.example.org", State.BLOCKED)).routes == (TOR, VPS, DIRECT)


def test_a_literal_is_planned_again_on_its_name() -> None:
    router = make_router("DOMAIN-SUFFIX,example.org,RELAY", overrides={"set.example": Override(Action.BLOCK)})
    assert plan(router, "192.0.2.1").routes == (DIRECT, TOR, VPS)
    assert plan(router, "192.0.2.1", name="www.example.org").routes == (TOR, VPS)
    assert plan(router, "192.0.2.1", name="a.set.example").routes == ()
    held = belief("b.example", State.BLOCKED, last_good="tor")
    assert plan(router, "192.0.2.1", held, name="b.example").routes == (TOR, VPS, DIRECT)


def test_an_override_of_the_literal_holds_when_its_name_has_none() -> None:
    router = make_router(overrides={"192.0.2.1": Override(Action.RELAY)})
    assert plan(router, "192.0.2.1", name="www.example.org").routes == (TOR, VPS)


# -- economy and explanation ------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "may"),
    [("a.example", True), ("relayed.example", False), ("direct.example", True), ("preferred.example", True),
     ("blocked.example", False), ("set.example", False), ("a.onion", False)],
)  # fmt: skip
def test_what_we_may_ask_of_our_own_accord(host: str, may: bool) -> None:
    rules = ("relayed", "RELAY"), ("direct", "DIRECT"), ("preferred", "PREFER-RELAY"), ("blocked", "BLOCK")
    router = make_router(
        "\n".join(f"DOMAIN,{name}.example,{action}" for name, action in rules),
        overrides={"set.example": Override(Action.RELAY, "tor")},
    )
    assert router.may_go_direct(Destination(host, 443), UNKNOWN_NETWORK, NOW) is may


def test_what_we_may_ask_depends_on_the_network_and_on_no_program() -> None:
    home, cafe = NetworkId("0123456789abcdef"), NetworkId("fedcba9876543210")
    router = make_router(f"PROCESS-NAME,firefox,RELAY\nNETWORK,{cafe},RELAY")
    destination = Destination("a.example", 443)
    assert (router.may_go_direct(destination, home, NOW), router.may_go_direct(destination, cafe, NOW)) == (True, False)


@pytest.mark.parametrize(
    ("host", "name", "network", "depends"),
    [
        ("b.test", "b.test", "fedcba9876543210", True),
        ("b.test", "b.test", "0123456789abcdef", False),
        ("a.test", "a.test", "unknown", False),
        ("192.0.2.1", "a.test", "unknown", False),
        ("late.test", "late.test", "unknown", True),
        ("a.set.example", "a.set.example", "unknown", False),  # an override wins
    ],
)
def test_a_program_matters_only_before_what_decides_anyway(
    host: str, name: str, network: str, *, depends: bool
) -> None:
    rules = "DOMAIN,a.test,RELAY\nNETWORK,0123456789abcdef,BLOCK\nPROCESS-NAME,curl,DIRECT\nDOMAIN,late.test,BLOCK\n"
    overrides = {"set.example": Override(Action.DIRECT)}
    destination = Destination(host, 443)
    router, on = make_router(rules, overrides=overrides), NetworkId(network)
    assert router.depends_on_program(destination, name, on, NOW) is depends
    assert not make_router("MATCH,AUTO").depends_on_program(destination, name, on, NOW)


def test_an_override_that_has_ended_decides_nothing_more() -> None:
    """Also in the moment before it is removed, which is longer while files are read."""
    router = make_router(
        "PROCESS-NAME,curl,BLOCK\nMATCH,RELAY\n", overrides={"set.example": Override(Action.DIRECT, until=NOW)}
    )
    destination, home = Destination("www.set.example", 443), NetworkId("0123456789abcdef")
    for now, holds in ((NOW - 1, True), (NOW, False)):
        assert router.may_go_direct(destination, home, now) is holds
        assert router.depends_on_program(destination, destination.host, home, now) is not holds
        assert ("site set" in router.trace(destination, now=now)[0]) is holds


def test_trace_names_the_rules_of_other_programs_and_networks() -> None:
    router = make_router(
        "PROCESS-NAME,firefox,RELAY\nNETWORK,0123456789abcdef,BLOCK\nMATCH,DIRECT\nNETWORK,unknown,AUTO"
    )
    assert router.trace(Destination("a.example", 443), Situation(NETWORK, "curl"), now=NOW) == [
        "DIRECT by rules.txt:3 MATCH,DIRECT",
        "rules.txt:1 PROCESS-NAME,firefox,RELAY decides for that program",
        "rules.txt:2 NETWORK,0123456789abcdef,BLOCK decides on that network",
    ]


def test_plans_are_shared_and_bounded() -> None:
    router = make_router()
    assert plan(router, "a.example") is plan(router, "b.example")
    for number in range(PLANS_LIMIT + 10):
        plan(router, relays=(f"relay{number}",))
        assert len(router._plans) <= PLANS_LIMIT


def test_trace_tells_how_a_plan_comes_about() -> None:
    router = make_router(
        "DOMAIN-SUFFIX,example.org,AUTO\nDST-PORT,443,BLOCK", relays=WITH_SOCKS5, never_relay=("example.org",)
    )
    assert router.trace(Destination("www.example.org", 443), now=NOW) == [
        "AUTO by rules.txt:1 DOMAIN-SUFFIX,example.org,AUTO",
        "rules.txt:2 DST-PORT,443,BLOCK also matches, but an earlier rule decides",
        "[auto] never_relay contains example.org: no relay is tried if direct fails",
        "old (?resolve=local) takes addresses only; skipped for names",
    ]
    overridden = make_router("MATCH,BLOCK", overrides={"onion": Override(Action.RELAY, "tor")})
    assert overridden.trace(Destination("a.onion", 80), now=NOW) == [
        "RELAY:tor by site set onion RELAY:tor",
        "rules.txt:1 MATCH,BLOCK also matches, but an earlier rule decides",
        ".onion names need a relay; direct is never tried",
    ]
    assert make_router().trace(Destination("a.example", 80), now=NOW) == [NO_RULE_MATCHES]


# One of them asks whether the host is on the home network.
@pytest.mark.parametrize(("rules", "calls"), [("", 3), ("DOMAIN-SUFFIX,a.example,RELAY\nDOMAIN,b.example,BLOCK\n", 5)])
@pytest.mark.parametrize("overrides", [{}, {"a.example": Override(Action.BLOCK), "b.example": Override(Action.DIRECT)}])
def test_a_host_that_nothing_names_is_planned_with_few_calls(
    rules: str, calls: int, overrides: dict[str, Override]
) -> None:
    """One of the calls asks whether the host is on the home network, which no relay is asked for."""
    router = make_router(rules, overrides=overrides)
    plan(router, "other.example.org")
    request, held = Request(1, Destination("www.example.org", 443), Inbound.CONNECT, ""), belief("www.example.org")
    with counting() as counted:
        router.plan(request, held, relays=BOTH, now=NOW)
    assert counted.total() == calls, counted


def test_the_override_of_a_host_is_the_most_specific_one() -> None:
    wide, narrow = Override(Action.DIRECT), Override(Action.BLOCK)
    overrides = {"example.org": wide, "blog.example.org": narrow}
    assert covering("a.blog.example.org", overrides) == ("blog.example.org", narrow)
    assert covering("www.example.org", overrides) == ("example.org", wide)
    assert covering("badexample.org", overrides) is None


def test_an_override_ends_at_a_dot() -> None:
    router = make_router(overrides={"site.example": Override(Action.BLOCK), "tld": Override(Action.DIRECT)})
    for host, action in (
        ("site.example", Action.BLOCK),
        ("a.b.site.example", Action.BLOCK),
        ("mysite.example", Action.AUTO),
        ("site.example.org", Action.AUTO),
        ("www.tld", Action.DIRECT),
        ("192.0.2.1", Action.AUTO),
    ):
        assert plan(router, host).action is action, host
    assert plan(router, "192.0.2.1", name="a.site.example").why == "site set site.example BLOCK"


# -- groups of relays --------------------------------------------------------------------------------------------------


def group(*members: str, policy: GroupPolicy = GroupPolicy.FALLBACK) -> RelayGroup:
    return RelayGroup("eu", members, policy, members, "eu")


def plan_in_order(router: Router, *order: str, host: str = "www.example.org") -> Plan:
    request = Request(1, Destination(host, 443), Inbound.CONNECT, "127.0.0.1:5000")
    return router.plan(request, belief(host), relays=BOTH, now=NOW, order_group=lambda _: order)


@pytest.mark.parametrize(
    ("action", "routes"),
    [
        ("RELAY:eu", (VPS, TOR)),
        ("PREFER-RELAY:eu", (VPS, TOR, DIRECT)),
        ("RELAY:tor", (TOR,)),
        ("RELAY", (TOR, VPS)),
        ("AUTO", (DIRECT, TOR, VPS)),
    ],
)
def test_a_group_stands_for_its_members_in_the_order_of_its_policy(action: str, routes: tuple[Route, ...]) -> None:
    router = make_router(f"MATCH,{action}", groups=[group("tor", "vps")])
    assert plan_in_order(router, "vps", "tor").routes == routes
    assert plan_in_order(router, "vps", "tor").why.endswith(action)


def test_an_override_may_name_a_group() -> None:
    router = make_router(overrides={"example.org": Override(Action.RELAY, "eu")}, groups=[group("tor", "vps")])
    assert plan_in_order(router, "vps", "tor").routes == (VPS, TOR)
    assert plan_in_order(router.with_overrides({}), "vps", "tor").routes == (DIRECT, TOR, VPS)


def test_without_an_order_the_members_stand_as_they_are_written() -> None:
    assert plan(make_router("MATCH,RELAY:eu", groups=[group("vps", "tor")])).routes == (VPS, TOR)


def test_each_order_of_a_group_has_its_plan() -> None:
    router = make_router("MATCH,RELAY:eu", groups=[group("tor", "vps")])
    first = plan_in_order(router, "tor", "vps")
    assert plan_in_order(router, "vps", "tor").routes == (VPS, TOR)
    assert plan_in_order(router, "tor", "vps") is first


def test_a_group_without_a_usable_member_fails_closed_and_says_why() -> None:
    rules = "MATCH,RELAY:eu"
    made = plan_in_order(make_router(rules, groups=[group()]))
    assert (made.routes, made.why[-40:]) == ((), "RELAY:eu; all relays of group eu are disabled"[-40:])
    router = make_router(rules, groups=[group("gone", "tor", "lost", policy=GroupPolicy.SELECT)])
    for name in ("gone", "lost"):
        made = plan_in_order(router, name)
        why = f"rules.txt:1 MATCH,RELAY:eu; relay {name}, selected in group eu, is disabled"
        assert (made.routes, made.why) == ((), why)
    made = plan_in_order(make_router(rules, relays=WITH_SOCKS5, groups=[group("old")]), "old")
    assert made.routes == ()
    assert "old (?resolve=local) takes addresses only" in made.why


# -- overrides that end ------------------------------------------------------------------------------------------------


def test_an_override_decides_until_its_end() -> None:
    overrides = {
        "example.org": Override(Action.RELAY),
        "www.example.org": Override(Action.BLOCK, until=NOW + 60),
        "later.example": Override(Action.BLOCK, until=NOW + 90),
    }
    router = make_router(overrides=overrides)
    assert router.overrides_end == NOW + 60
    assert plan(router, now=NOW + 59.9).action is Action.BLOCK
    assert plan(router, now=NOW + 60).action is Action.RELAY, "the override above it decides now"
    assert plan(router, "later.example", now=NOW + 60).action is Action.BLOCK
    assert plan(router, "later.example", now=NOW + 90).action is Action.AUTO
    assert make_router(overrides={"example.org": Override(Action.BLOCK)}).overrides_end == math.inf


# -- byway mode and byway pause ----------------------------------------------------------------------------------------

_MODE_RULES = (
    "DOMAIN,relay.example,RELAY\nDOMAIN,block.example,BLOCK\nDOMAIN,direct.example,DIRECT\n"
    "DOMAIN,prefer.example,PREFER-RELAY\nDOMAIN,auto.example,AUTO,INSPECT\n"
)


def _mode_plan(mode: AutoMode, host: str) -> Plan:
    settings = Settings(auto=Auto(never_relay=("bank.example",)))
    overrides = {"set.example": Override(Action.RELAY, "tor"), "free.example": Override(Action.AUTO)}
    rules, is_home = parse_rules(_MODE_RULES, source="rules.txt"), HomeNetwork(Guard(), lambda name: ()).covers
    router = Router(rules, overrides, [RelayInfo("tor")], settings, is_home=is_home).with_mode(mode)
    request = Request(1, Destination(host, 443), Inbound.CONNECT, "127.0.0.1:5000")
    return router.plan(request, Belief(host, UNKNOWN_NETWORK), relays=["tor"], now=0.0)


@pytest.mark.parametrize("mode", AutoMode)
@pytest.mark.parametrize(
    ("host", "action", "routes"),
    [
        ("relay.example", "RELAY", "tor"), ("block.example", "BLOCK", ""), ("direct.example", "DIRECT", "direct"),
        ("prefer.example", "PREFER-RELAY", "tor direct"), ("set.example", "RELAY", "tor"),
    ],
)  # fmt: skip
def test_a_mode_replaces_no_rule_and_no_override(mode: AutoMode, host: str, action: str, routes: str) -> None:
    plan = _mode_plan(mode, host)
    assert (plan.action, " ".join(map(str, plan.routes))) == (action, routes)


@pytest.mark.parametrize(
    ("mode", "host", "routes", "why"),
    [
        (AutoMode.PAUSED, "any.example", "direct", "AUTO: paused, so direct only"),
        (AutoMode.PAUSED, "free.example", "direct", "site set free.example AUTO: paused, so direct only"),
        (AutoMode.PAUSED, "x.onion", "", "AUTO: paused, so direct only; .onion names need a relay"),
        (AutoMode.DIRECT, "auto.example", "direct", "rules.txt:5 DOMAIN,auto.example,AUTO,INSPECT: mode direct"),
        (AutoMode.RELAY, "any.example", "tor", "AUTO: mode relay, so relays only"),
        (AutoMode.RELAY, "x.onion", "tor", "AUTO: mode relay, so relays only"),
        (AutoMode.RELAY, "a.bank.example", "direct", "AUTO: mode relay, but [auto] never_relay contains it"),
        (AutoMode.RELAY, "nas.lan", "direct", "AUTO: on the local network, so direct only"),
        (AutoMode.RELAY, "192.168.1.1", "direct", "AUTO: on the local network, so direct only"),
    ],
)
def test_a_mode_replaces_auto(mode: AutoMode, host: str, routes: str, why: str) -> None:
    plan = _mode_plan(mode, host)
    assert " ".join(map(str, plan.routes)) == routes
    assert plan.why.startswith(why)
    assert not plan.learns
    assert plan.intercept is (host == "auto.example")
    assert _mode_plan(AutoMode.AUTO, host).learns


def test_in_mode_relay_nothing_may_be_sent_direct_and_the_mode_is_named() -> None:
    router = make_router().with_mode(AutoMode.RELAY)
    assert not router.may_go_direct(Destination("any.example", 443), UNKNOWN_NETWORK, NOW)
    assert router.closing == "byway mode relay"
    assert router.trace(Destination("any.example", 443), now=NOW)[0] == "RELAY: AUTO: mode relay, so relays only"
    assert router.with_overrides({}).closing == "byway mode relay"  # an override does not end it


def test_what_the_user_decided() -> None:
    rules = "DOMAIN,a.example,BLOCK\nDOMAIN-SUFFIX,auto.example,AUTO\nDOMAIN-SUFFIX,example,RELAY\n"
    over, mine = Override(Action.DIRECT, until=NOW - 1), Override(Action.AUTO)
    router = make_router(rules, overrides={"www.a.example": over, "mine.example": mine})

    def of(host: str) -> Decision:
        return router.decision(Destination(host, 443), now=NOW)

    assert of("nothing.test") == Decision()
    by_rule = of("a.example").rule
    assert by_rule is not None
    assert by_rule.text == "DOMAIN,a.example,BLOCK"
    assert of("www.mine.example") == Decision(("mine.example", mine))
    ended = of("www.a.example").rule
    assert ended is not None, "the override has ended"
    assert ended.line == 3
    router = router.with_mode(AutoMode.RELAY)
    assert of("mine.example") == Decision(("mine.example", mine), is_replaced=True)
    assert of("nothing.test") == Decision(is_replaced=True)
    assert [of(host).is_replaced for host in ("www.auto.example", "a.example")] == [True, False]
