"""Two promises about plans, whatever is believed: an override leaves no trace when it is removed, and AUTO sends
nothing of `[auto] never_relay` to a relay."""

from __future__ import annotations

import tomllib
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.detect_tuning import DetectTuning
from proxy.config.load import Loaded
from proxy.config.overlay import frozen
from proxy.config.read_settings import read_settings
from proxy.config.relays import Relay, relay_names
from proxy.config.schema import Settings
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import ControlAnswered, PlainPageRequested
from proxy.detect.beliefs.network_health import resigned
from proxy.detect.relay_faults import RelayFault
from proxy.detect.scopes import prefix_scope
from proxy.extend.dispatch import Addons
from proxy.model import (
    Action,
    AutoMode,
    Belief,
    Cause,
    ConnectivityResult,
    Destination,
    HttpRequest,
    Inbound,
    NetworkId,
    NetworkState,
    Override,
    Plan,
    Protocol,
    Request,
    Route,
    State,
    Symptom,
)
from proxy.net.dialers.registry import Registry
from proxy.net.dns.resolver import Resolver
from proxy.routing.address_guard import Guard
from proxy.routing.router import RelayInfo, Router
from proxy.routing.rule_parser import parse_rules
from proxy.session.plan import plan_for
from proxy.session.services import Services
from proxy.session.setup import Setup
from tests.detect.beliefs.told import Visit, addresses_of, learn
from tests.detect.world import T0, NoJitter
from tests.support.outcomes import HOME, VPS, delivered, failed, open_uplink, outcome, restrict
from tests.support.services import NO_PAGES, services

NOBODY: Any = None
BANK, LITERAL = "www.bank.example", "93.184.216.34"
HOSTS = (BANK, "bank.example", "www.example.org", "mail.example.org", "other.test")
CONFIGURATION = """
[auto]
never_relay = ["bank.example"]
[[relay]]
name = "tor"
url = "socks5h://127.0.0.1:9050"
[[relay]]
name = "vps"
url = "socks5h://127.0.0.1:9051"
[[relay]]
name = "far"
url = "tor>eu"
[[group]]
name = "eu"
relays = ["tor", "vps"]
policy = "POLICY"
"""
POLICIES = ("fallback", "fastest", "sticky", "select")


@dataclass
class Planner:
    """Plans with these beliefs, under these rules."""

    beliefs: Beliefs
    rules: str = ""
    policy: str = "fallback"
    mode: AutoMode = AutoMode.AUTO
    addons: Addons = field(default_factory=Addons)
    now: float = T0
    network: NetworkId = HOME

    def __post_init__(self) -> None:
        configured = read_settings(frozen(tomllib.loads(CONFIGURATION.replace("POLICY", self.policy))))
        assert isinstance(configured, Settings)
        loaded = Loaded(configured)
        self.groups = loaded.relays.groups
        registry = Registry(
            [Relay.parse(each.name, each.url) for each in loaded.relays.expanded.relay],
            direct=NOBODY,
            to_relays=NOBODY,
            groups={group.name: group.members for group in self.groups},
        )
        parsed = parse_rules(self.rules, source="rules.txt", relays=relay_names(configured))
        infos = [RelayInfo(name) for name in registry.relay_names]
        router = Router(parsed, {}, infos, configured, self.groups, self.mode)
        resolver = cast(Resolver, SimpleNamespace(known=addresses_of))
        self.setup = Setup(loaded, NOBODY, Guard(), router, registry, resolver, pages=NO_PAGES)
        shared = services(beliefs=self.beliefs, addons=self.addons)
        self.services: Services = replace(shared, now=lambda: self.now, network=lambda: self.network)

    def with_overrides(self, overrides: Mapping[str, Override]) -> None:
        self.setup = replace(self.setup, router=self.setup.router.with_overrides(overrides))

    def plan(self, host: str, *, port: int = 443, method: str = "", named: str = "") -> Plan:
        http = HttpRequest(method, "/") if method else None
        request = Request(1, Destination(host, port), Inbound.CONNECT, "127.0.0.1:5000", http)
        return made_at_once(plan_for(request, self.services, self.setup, host=named))

    def plan_anew(self, host: str) -> Plan:
        """The plan that is made where none is kept."""
        setup = self.setup
        self.setup = replace(setup)
        try:
            return self.plan(host)
        finally:
            self.setup = setup

    def plans(self) -> list[Plan]:
        return [self.plan(host, port=port) for host in HOSTS for port in (443, 80)]


def made_at_once(planning: Coroutine[Any, Any, Plan]) -> Plan:
    """The plan: nothing here is waited for."""
    try:
        planning.send(None)
    except StopIteration as ended:
        made: Plan = ended.value
        return made
    raise AssertionError("planning waits for something")


def told(visits: Sequence[Visit], known: Sequence[Belief] = ()) -> Beliefs:
    beliefs = Beliefs(DetectTuning(), known, rng=NoJitter(), addresses=addresses_of)
    for visit in visits:
        open_uplink(beliefs, now=T0)
        visit.call(HOME, T0)(beliefs)
    return beliefs


visits = st.lists(
    st.builds(
        Visit,
        kind=st.sampled_from(("works", "rescued", "late", "refused", "rung")),
        host=st.sampled_from(HOSTS),
        protocol=st.sampled_from((Protocol.TLS, Protocol.HTTP)),
    ),
    max_size=4,
)
overrides = st.builds(
    Override,
    action=st.sampled_from(list(Action)),
    relay=st.sampled_from(("", "vps", "eu")),
    until=st.sampled_from((0.0, T0 + 60)),
).map(lambda made: made if made.action in (Action.RELAY, Action.PREFER_RELAY) else replace(made, relay=""))
RULES = ("", "MATCH,AUTO\n", "DOMAIN-SUFFIX,example.org,DIRECT\n", "DOMAIN,www.bank.example,RELAY:vps\nMATCH,AUTO\n")
SCOPES = ("example.org", "www.example.org", "bank.example", "other.test", "test")


# -- I5: an override that is set and removed ---------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    seen=visits,
    rules=st.sampled_from(RULES),
    scope=st.sampled_from(SCOPES),
    override=overrides,
    mode=st.sampled_from(list(AutoMode)),
)
def test_an_override_that_is_removed_leaves_no_trace(
    seen: list[Visit], rules: str, scope: str, override: Override, mode: AutoMode
) -> None:
    planner = Planner(told(seen), rules, mode=mode)
    before, believed = planner.plans(), planner.beliefs.all(now=T0)

    planner.with_overrides({scope: override})
    covered = [host for host in HOSTS if host == scope or host.endswith(f".{scope}")]
    if override.action is not Action.AUTO:
        assert {planner.plan(host).action for host in covered} == {override.action}
    planner.with_overrides({})

    assert planner.plans() == before
    assert planner.beliefs.all(now=T0) == believed


@settings(max_examples=60)
@given(
    seen=visits,
    scope=st.sampled_from(SCOPES[:2]),
    override=overrides,
    more=st.lists(st.booleans(), min_size=1, max_size=4),
)
def test_visits_under_it_by_relays_teach_nothing_of_hosts_that_are_not_in_trouble(
    seen: list[Visit], scope: str, override: Override, more: list[bool]
) -> None:
    """Nor do they change the state of those that are."""
    planner = Planner(told(seen))
    before = planner.plans()
    states = {host: planner.beliefs.lookup(host, network=HOME, now=T0) for host in HOSTS}

    planner.with_overrides({scope: override})
    for is_www in more:
        visit(planner, "www.example.org" if is_www else "mail.example.org")
    planner.with_overrides({})

    after = planner.plans()
    for number, host in enumerate(HOSTS):
        now = planner.beliefs.lookup(host, network=HOME, now=T0)
        assert (now.state, now.cause, now.score) == (states[host].state, states[host].cause, states[host].score)
        if states[host].state not in (State.SUSPECT, State.BLOCKED):
            assert after[2 * number : 2 * number + 2] == before[2 * number : 2 * number + 2]


def visit(planner: Planner, host: str) -> None:
    """A visit by the first relay of its plan, if that is not AUTO's."""
    plan = planner.plan(host)
    if plan.action is Action.AUTO or not plan.learns or not plan.routes or plan.routes[0].is_direct:
        return
    learn(replace(outcome(delivered(plan.routes[0]), host=host, at=T0), plan=plan), HOME, T0)(planner.beliefs)


def test_L16_a_relay_that_an_override_named_stays_first_for_a_blocked_site() -> None:
    """As the route that worked last. So this site is not planned as before the override."""
    planner = Planner(told([Visit("rescued", "other.test")]))
    assert planner.plan("other.test").routes[0] == Route(("tor",))
    planner.with_overrides({"other.test": Override(Action.RELAY, "vps")})
    visit(planner, "other.test")
    planner.with_overrides({})
    assert planner.plan("other.test").routes[0] == VPS


# -- I8: what no relay may get -----------------------------------------------------------------------------------------

known = st.builds(
    Belief,
    scope=st.sampled_from(
        (BANK, "bank.example", "*.bank.example", "93.184.216.0/24", prefix_scope(addresses_of(BANK)[0]))
    ),
    network=st.just(HOME),
    state=st.sampled_from(list(State)),
    cause=st.sampled_from(list(Cause)),
    until=st.just(T0 + 5000),
    last_good=st.sampled_from(("", "tor", "vps", "far/tor", "direct|tlsrec", "direct|doh")),
    last_good_at=st.just(T0 - 10),
    rungs_failed=st.sampled_from(((), ("direct|tlsrec",))),
    rungs_failed_at=st.just(T0 - 10),
    family=st.sampled_from((0, 4, 6)),
    since=st.just(T0 - 100),
)
NETWORKS = ("ok", "restricted", "no_https", "shut", "offline", "portal", "inspected")


def bring_about(beliefs: Beliefs, state: str) -> None:
    if state in ("restricted", "no_https", "shut"):
        restrict(beliefs, now=T0)
        if state == "no_https":
            beliefs.note(PlainPageRequested(came=True), network=HOME, now=T0)
        for _ in range(6 if state == "shut" else 0):
            beliefs.learn(outcome(failed(Symptom.SILENT, route=VPS), host="vain.test", at=T0), network=HOME, now=T0)
    if state == "offline":
        beliefs.learn(outcome(failed(Symptom.OFFLINE)), network=HOME, now=T0)
    if state == "portal":
        beliefs.learn(ControlAnswered("one.control.test", ConnectivityResult.PORTAL, T0), network=HOME, now=T0)
    if state == "inspected":
        for number in range(4):
            for control in (True, False):
                resigned(beliefs._state, HOME, f"www.site{number}.test", "office", control=control)


def may_relay(plan: Plan) -> bool:
    """Whether a rule or an override says by itself that relays are used."""
    return plan.action in (Action.RELAY, Action.PREFER_RELAY) and "RELAY" in plan.decided_by


@settings(max_examples=80)
@given(data=st.data())
def test_auto_sends_nothing_of_never_relay_to_a_relay(data: st.DataObject) -> None:
    beliefs = told(data.draw(visits), data.draw(st.lists(known, max_size=3, unique_by=lambda held: held.scope)))
    lost = outcome(failed(), host=BANK, protocol=Protocol.HTTP, inbound=Inbound.HTTP, at=T0)
    if data.draw(st.booleans(), label="a POST was lost"):
        beliefs.learn(replace(lost, request=replace(lost.request, http=HttpRequest("POST", "/"))), network=HOME, now=T0)
    bring_about(beliefs, data.draw(st.sampled_from(NETWORKS), label="network"))
    planner = Planner(
        beliefs,
        data.draw(st.sampled_from((*RULES, "MATCH,PREFER-RELAY\n", "NETWORK,unknown,RELAY\n"))),
        data.draw(st.sampled_from(POLICIES)),
        data.draw(st.sampled_from(list(AutoMode))),
    )
    planner.with_overrides(data.draw(st.dictionaries(st.sampled_from(SCOPES), overrides, max_size=2)))
    if data.draw(st.booleans(), label="a relay fails"):
        planner.services.health.failed("tor", T0, fault=RelayFault.CONNECTION_REFUSED)
    for host, named in ((BANK, ""), ("bank.example", ""), (LITERAL, BANK)):
        for method in ("", "GET", "POST"):
            plan = planner.plan(host, method=method, named=named)
            if not may_relay(plan):
                assert [route for route in plan.routes if route.relays] == []


def test_other_hosts_are_sent_to_relays() -> None:
    """The control: each state of a network, belief and mode brings relays to a host that is not named."""
    beliefs = told([Visit("rescued", "other.test")])
    assert Planner(beliefs).plan("other.test").routes[0].relays
    assert Planner(beliefs, mode=AutoMode.RELAY).plan("new.test").routes[0].relays
    for state in NETWORKS:
        beliefs = told([Visit("rescued", "other.test")])
        bring_about(beliefs, state)
        assert state == "ok" or beliefs.network_state(HOME) is NetworkState(state)
        relayed = [route for route in Planner(beliefs).plan("www.site1.test").routes if route.relays]
        assert bool(relayed) is (state != "inspected")


class SendsToRelays(Addons):
    def __init__(self) -> None:
        super().__init__()
        self.decides = True

    async def decide(self, request: Request, plan: Plan, registry: Registry, *, host: str = "") -> Plan:
        return plan.via("tor")


def test_what_the_user_sends_to_a_relay_goes_there() -> None:
    """`never_relay` limits AUTO alone: a rule, an override and an addon have the last word."""
    beliefs = told([])
    for planner in (Planner(beliefs, "MATCH,RELAY:tor\n"), Planner(beliefs, addons=SendsToRelays())):
        assert planner.plan(BANK).routes == (Route(("tor",)),)
    planner = Planner(beliefs)
    planner.with_overrides({"bank.example": Override(Action.RELAY, "tor")})
    assert planner.plan(BANK).routes == (Route(("tor",)),)
