"""Who has a say in a plan, and in which order."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from proxy.config.load import Loaded
from proxy.config.overlay import frozen
from proxy.config.read_settings import read_settings
from proxy.config.relays import Relay, relay_names
from proxy.config.schema import Settings
from proxy.detect.beliefs.events import ControlAnswered
from proxy.detect.relay_faults import RelayFault
from proxy.detect.relay_groups import HOLD_S
from proxy.detect.relay_health import REST_S
from proxy.extend.dispatch import Addons
from proxy.model import (
    Action,
    ConnectivityResult,
    Destination,
    HttpRequest,
    Inbound,
    NetworkId,
    Override,
    Plan,
    Protocol,
    Request,
    Route,
    Stage,
    Symptom,
)
from proxy.model.errors import ConfigError
from proxy.net.client_programs import ClientPrograms
from proxy.net.dialers.registry import Registry
from proxy.net.dns.resolver import Resolver
from proxy.routing.address_guard import Guard
from proxy.routing.router import RelayInfo, Router
from proxy.routing.rule import Situation
from proxy.routing.rule_parser import parse_rules
from proxy.session.plan import kept_plan, plan_for
from proxy.session.services import Services
from proxy.session.setup import Setup
from tests.support.outcomes import HOME, TOR, delivered, failed, open_uplink, outcome, rescued, works
from tests.support.services import NO_PAGES, services

NOBODY: Any = None
SETTINGS = Settings()
NOW = 1000.0
ADDRESS = "93.184.216.34"


class PinsAll(Addons):
    """Addons that send everything through the relay."""

    def __init__(self) -> None:
        super().__init__()
        self.decides = True
        self.asked: list[tuple[Request, Plan, str]] = []

    async def decide(self, request: Request, plan: Plan, registry: Registry, *, host: str = "") -> Plan:
        self.asked.append((request, plan, host))
        return plan.via("tor")


def setup(rules: str = "") -> Setup:
    return Setup(
        loaded=Loaded(SETTINGS),
        inbound=NOBODY,
        guard=Guard(),
        router=Router(parse_rules(rules, source="rules.txt"), {}, [RelayInfo("tor")], SETTINGS),
        registry=Registry([Relay.parse("tor", "127.0.0.1:9050")], direct=NOBODY, to_relays=NOBODY),
        resolver=Resolver(),
        pages=NO_PAGES,
    )


def request(host: str = "blog.example.org") -> Request:
    return Request(1, Destination(host, 443), Inbound.CONNECT, "127.0.0.1:5000")


async def planned(shared: Services, host: str = "blog.example.org", *, rules: str = "", named: str = "") -> list[str]:
    plan = await plan_for(request(host), shared, setup(rules), host=named)
    return [str(route) for route in plan.routes]


@pytest.mark.parametrize(("host", "said"), [("127.0.0.1", "this computer"), ("byway.internal", "is Byway itself")])
async def test_what_is_refused_stays_so_whatever_rules_and_addons_say(host: str, said: str) -> None:
    addons = PinsAll()
    plan = await plan_for(request(host), services(addons=addons), setup("MATCH,RELAY\n"))
    assert (plan.action, plan.routes, addons.asked) == (Action.BLOCK, (), [])
    assert said in plan.why


async def test_a_rule_is_asked_of_the_name_that_was_said_last() -> None:
    rules = "DOMAIN,secret.example,RELAY\nMATCH,DIRECT\n"
    assert await planned(services(), ADDRESS, rules=rules) == ["direct"]
    assert await planned(services(), ADDRESS, rules=rules, named="secret.example") == ["tor"]


async def test_a_kept_plan_is_not_that_of_a_request_that_may_be_sent_once_only() -> None:
    shared, made = services(), setup()
    plan = await plan_for(request(), shared, made)

    def kept(method: str) -> Plan | None:
        asked = replace(request(), http=HttpRequest(method, "/"))
        return kept_plan(asked, shared, made, shared.network(), shared.now())

    assert [kept(method) for method in ("GET", "HEAD", "POST", "PATCH")] == [plan, plan, None, None]


async def test_under_auto_goes_first_what_is_believed_to_work() -> None:
    shared = services()
    assert (await planned(shared))[0] == "direct"
    for at in (NOW - 200, NOW - 100):
        open_uplink(shared.beliefs, now=at)
        shared.beliefs.learn(rescued(host="blog.example.org", at=at), network=HOME, now=at)
    assert (await planned(shared))[0] == "tor"


async def test_a_network_that_is_read_on_relays_nothing_by_itself() -> None:
    shared = services()
    assert "tor" in await planned(shared)
    for number in range(5):
        shared.beliefs.learn(
            ControlAnswered(f"c{number}.example", ConnectivityResult.RESIGNED, started=NOW, issuer="an office"),
            network=HOME,
            now=NOW,
        )
    assert "tor" not in await planned(shared)


async def test_addons_have_the_last_word_and_hear_the_name() -> None:
    addons = PinsAll()
    assert await planned(services(addons=addons), ADDRESS, rules="MATCH,DIRECT\n", named="a.example") == ["tor"]
    ((_, plan, host),) = addons.asked
    assert (plan.action, host) == (Action.DIRECT, "a.example")
    addons.decides = False
    assert await planned(services(addons=addons), rules="MATCH,DIRECT\n") == ["direct"]


async def test_the_request_after_a_lost_post_takes_another_route_if_it_is_sent_once_too() -> None:
    lost = outcome(failed(), host="blog.example.org", protocol=Protocol.HTTP, inbound=Inbound.HTTP, port=80)
    lost = replace(lost, request=replace(lost.request, http=HttpRequest("POST", "/")))
    shared = services()
    shared.beliefs.learn(lost, network=HOME, now=NOW)

    async def first(method: str) -> str:
        asked = replace(lost.request, http=HttpRequest(method, "/"))
        return str((await plan_for(asked, shared, setup())).routes[0])

    assert [await first(method) for method in ("POST", "DELETE", "GET")] == ["tor", "tor", "direct"]
    assert (await planned(shared, "blog.example.org"))[0] == "direct"  # a tunnel's race compares by itself


class CountingRouter:
    """Counts the plans that are made."""

    def __init__(self, router: Router) -> None:
        self.made = 0
        self.rules = router.rules
        self._router = router
        self.overrides_end = router.overrides_end

    def plan(self, *args: Any, **named: Any) -> Plan:
        self.made += 1
        return self._router.plan(*args, **named)


class Planner:
    """Plans under one Setup, at a time and on a network that the test sets."""

    def __init__(self) -> None:
        self.now = NOW
        self.network = HOME
        self.services = replace(services(), now=lambda: self.now, network=lambda: self.network)
        made = setup()
        self.router = CountingRouter(made.router)
        self.setup = replace(made, router=cast(Any, self.router))

    async def makes(self, host: str = "blog.example.org", *, method: str = "", named: str = "") -> int:
        """How many plans the router makes for one request."""
        before = self.router.made
        http = HttpRequest(method, "/") if method else None
        await plan_for(replace(request(host), http=http), self.services, self.setup, host=named)
        return self.router.made - before


async def test_the_plan_of_a_destination_is_kept_while_nothing_changes() -> None:
    planner = Planner()
    assert [await planner.makes() for _ in range(3)] == [1, 0, 0]
    assert await planner.makes("other.example") == 1
    assert await planner.makes(method="GET") == 0


KNOWN = "blog.example.org"


def rescue(planner: Planner, host: str, *, now: float = NOW) -> None:
    """Makes a host suspect: a relay delivers what direct does not."""
    beliefs = planner.services.beliefs
    open_uplink(beliefs, now=now)
    beliefs.learn(rescued(host=host, at=now), network=HOME, now=now)


def block_prefix(planner: Planner) -> None:
    """Three hosts of one prefix do not answer a SYN, and a relay reaches them."""
    open_uplink(planner.services.beliefs, now=NOW)
    for number in range(3):
        direct = replace(failed(Symptom.TIMEOUT, Stage.CONNECT), address=f"{ADDRESS}:443")
        seen = outcome(direct, delivered(TOR), host=f"www.cdn{number}.test", at=NOW)
        planner.services.beliefs.learn(seen, network=HOME, now=NOW)


def rescue_domain(planner: Planner) -> None:
    for number, host in enumerate(("one.example.org", "two.example.org")):
        rescue(planner, host, now=NOW + 100 * number)


def restrict(planner: Planner) -> None:
    planner.services.beliefs.learn(outcome(failed(Symptom.OFFLINE, Stage.CONNECT)), network=HOME, now=NOW)


def rest(planner: Planner) -> None:
    planner.services.health.failed("tor", NOW, fault=RelayFault.CONNECTION_REFUSED)


def move(planner: Planner) -> None:
    planner.network = NetworkId("another")


def reload(planner: Planner) -> None:
    """Also what a changed rule or override does."""
    planner.setup = replace(planner.setup)


def set_clock(planner: Planner) -> None:
    planner.services.beliefs.all(now=NOW + 40 * 86_400)


CHANGES: dict[str, tuple[Callable[[Planner], object], int]] = {
    "nothing": (lambda _: None, 0),
    "another host is rescued": (lambda planner: rescue(planner, "other.test"), 0),
    "one of its domain is rescued": (lambda planner: rescue(planner, "other.example.org"), 1),
    "it is rescued": (lambda planner: rescue(planner, KNOWN), 1),
    "its domain is suspect": (rescue_domain, 1),
    "a prefix is suspect": (block_prefix, 1),
    "the network goes offline": (restrict, 1),
    "a relay fails": (rest, 1),
    "the network is another one": (move, 1),
    "the configuration is another one": (reload, 1),
    "the clock is set": (set_clock, 1),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_a_kept_plan_ends_with_what_it_was_made_from(what: str) -> None:
    happen, made = CHANGES[what]
    planner = Planner()
    open_uplink(planner.services.beliefs, now=NOW)  # the network is known
    await planner.makes(KNOWN)

    happen(planner)

    assert await planner.makes(KNOWN) == made
    planner.now += 100 * (what == "its domain is suspect")
    await planner.makes(KNOWN)
    depends_on_addresses = what == "a prefix is suspect"
    assert await planner.makes(KNOWN) == depends_on_addresses, "else the new one is kept"


async def test_first_visits_to_a_thousand_hosts_leave_the_plan_of_a_known_one() -> None:
    planner = Planner()
    beliefs = planner.services.beliefs
    beliefs.learn(works(KNOWN, at=NOW), network=HOME, now=NOW)
    assert await planner.makes(KNOWN) == 1
    for number in range(1000):
        host = f"www.fresh{number}.test"
        assert await planner.makes(host) == 1
        beliefs.learn(works(host, at=NOW), network=HOME, now=NOW)
        assert await planner.makes(KNOWN) == 0
    assert await planner.makes(host) == 1, "its own first visit changes its plan"


async def test_a_kept_plan_ends_with_its_time() -> None:
    planner = Planner()
    await planner.makes()
    (kept,) = planner.setup.kept_plans.values()
    planner.now = kept.until
    assert await planner.makes() == 1
    planner.now = NOW - 1  # the clock was set back
    assert await planner.makes() == 1


async def test_no_plan_is_kept_of_a_request_that_is_sent_once_or_was_named_later() -> None:
    planner = Planner()
    assert [await planner.makes(method="POST") for _ in range(2)] == [1, 1]
    assert [await planner.makes(ADDRESS, named="a.example") for _ in range(2)] == [1, 1]
    assert not planner.setup.kept_plans


class Programs(ClientPrograms):
    """Knows who clients are, and counts how often it is asked."""

    def __init__(self, **names: str | None) -> None:
        super().__init__(lambda: 8119)
        self._names = names
        self.asked: list[str] = []

    async def of(self, client: str) -> str | None:
        self.asked.append(client)
        return self._names[client]


async def test_a_plan_that_depends_on_the_program_is_made_for_each_client() -> None:
    programs = Programs(browser="firefox", fetcher="curl", stranger=None)
    shared = services(programs=programs)
    made = setup("DOMAIN,first.example,DIRECT\nPROCESS-NAME,firefox,RELAY\nMATCH,DIRECT\n")

    async def routes(client: str, host: str = "blog.example.org") -> list[str]:
        plan = await plan_for(replace(request(host), client=client), shared, made)
        return [str(route) for route in plan.routes]

    # A kept plan of one of them would be wrong for the others.
    assert [await routes(client) for client in ("browser", "fetcher", "browser", "stranger", "", "browser")] == [
        ["tor"], ["direct"], ["tor"], ["tor"], ["direct"], ["tor"]
    ]  # fmt: skip
    assert programs.asked == ["browser", "fetcher", "browser", "stranger", "browser"]
    assert not made.kept_plans
    assert [await routes("browser", "first.example") for _ in range(2)] == [["direct"], ["direct"]]
    assert len(programs.asked) == 5, "a rule before it decides"
    assert [host for host, _ in made.kept_plans] == ["first.example"]


async def test_no_program_is_looked_up_without_a_rule_that_asks() -> None:
    programs = Programs()
    assert await planned(services(programs=programs), rules="NETWORK,unknown,RELAY\nMATCH,DIRECT\n") == ["direct"]
    assert programs.asked == []


async def test_a_plan_kept_on_one_network_is_not_used_on_another() -> None:
    here, there = NetworkId("0123456789abcdef"), NetworkId("fedcba9876543210")
    on: list[NetworkId] = [here]
    shared = replace(services(), network=lambda: on[0])
    made = setup(f"NETWORK,{there},RELAY\nMATCH,DIRECT\n")
    planned_routes = []
    for network in (here, here, there, there, here):
        on[0] = network
        planned_routes.append([str(route) for route in (await plan_for(request(), shared, made)).routes])
    assert planned_routes == [["direct"], ["direct"], ["tor"], ["tor"], ["direct"]]
    assert len(made.kept_plans) == 1


async def test_a_plan_can_be_shown_for_another_situation_and_is_not_kept() -> None:
    shared, made = services(), setup("PROCESS-NAME,firefox,RELAY\nNETWORK,unknown,BLOCK\nMATCH,DIRECT\n")
    unknown, home = NetworkId("unknown"), NetworkId("0123456789abcdef")
    for situation, action in (
        (Situation(unknown, "firefox"), Action.RELAY),
        (Situation(unknown), Action.BLOCK),
        (Situation(home, "curl"), Action.DIRECT),
    ):
        assert (await plan_for(replace(request(), client=""), shared, made, situation=situation)).action == action
    assert not made.kept_plans


async def test_an_addon_is_asked_each_time_beside_a_kept_plan() -> None:
    planner = Planner()
    addons = PinsAll()
    planner.services = replace(planner.services, addons=addons)
    assert [await planner.makes() for _ in range(2)] == [1, 0]
    assert len(addons.asked) == 2
    assert [plan.action for _, plan, _ in addons.asked] == [Action.AUTO, Action.AUTO]


# -- groups of relays --------------------------------------------------------------------------------------------------

GROUPED = """[[relay]]
name = "a"
url = "socks5h://127.0.0.1:9050"
[[relay]]
name = "b"
url = "socks5h://127.0.0.1:9051"
[[relay]]
name = "x"
url = "socks5h://127.0.0.1:9052"
[[relay]]
name = "far"
url = "x>eu"
[[group]]
name = "eu"
relays = ["a", "b"]
policy = "POLICY"
"""


class GroupPlanner(Planner):
    """Plans under a configuration with the group eu of the relays a and b."""

    def __init__(self, policy: str, rules: str = "MATCH,RELAY:eu\n", *, addons: Addons | None = None) -> None:
        super().__init__()
        document = tomllib.loads(GROUPED.replace("POLICY", policy))
        settings = read_settings(frozen(document))
        assert isinstance(settings, Settings)
        loaded = Loaded(settings)
        groups = loaded.relays.groups
        registry = Registry(
            [Relay.parse(each.name, each.url) for each in loaded.relays.expanded.relay],
            direct=NOBODY,
            to_relays=NOBODY,
            groups={group.name: group.members for group in groups},
        )
        parsed = parse_rules(rules, source="rules.txt", relays=relay_names(settings))
        router = Router(parsed, {}, [RelayInfo(name) for name in registry.relay_names], settings, groups)
        self.router = CountingRouter(router)
        self.setup = Setup(loaded, NOBODY, Guard(), cast(Any, self.router), registry, Resolver(), pages=NO_PAGES)
        if addons is not None:
            self.services = replace(self.services, addons=addons)

    async def routes(self, host: str = "blog.example.org") -> str:
        plan = await plan_for(request(host), self.services, self.setup)
        return " ".join(map(str, plan.routes))

    def fail(self, name: str) -> None:
        self.services.health.failed(name, self.now, fault=RelayFault.CONNECTION_REFUSED)


async def test_a_kept_plan_ends_when_the_order_of_its_group_changes() -> None:
    planner = GroupPlanner("fallback")
    assert [await planner.routes() for _ in range(3)] == ["a b"] * 3
    assert planner.router.made == 1
    planner.fail("a")
    assert await planner.routes() == "b a"
    planner.now += REST_S - 1
    assert await planner.routes() == "b a", "a rests, although its back-off is over"
    planner.now += 1
    assert await planner.routes() == "a b", "without any new observation: its time has come"


async def test_a_kept_plan_ends_when_visits_show_a_faster_member() -> None:
    planner = GroupPlanner("fastest")
    await planner.routes()
    planner.now += HOLD_S
    made = []
    for name, took_s in (("a", 0.5), ("b", 0.1), ("b", 0.1)):
        seen = outcome(delivered(Route((name,)), elapsed=took_s), host="other.example", at=planner.now)
        planner.services.health.learn(seen, planner.now)
        planner.services.groups.learn(seen, network=HOME, now=planner.now)
        made.append(await planner.routes())
    assert made == ["b a"] * 3, "b was not measured yet, then it is the fastest"
    assert [await planner.makes() for _ in range(2)] == [0, 0]


async def test_a_kept_plan_ends_with_a_selection() -> None:
    planner = GroupPlanner("select")
    assert await planner.routes() == "a"
    planner.services.groups.select("eu", "b")
    assert await planner.routes() == "b"


async def test_a_site_of_a_sticky_group_has_its_order_on_each_network() -> None:
    planner = GroupPlanner("sticky")
    sites = [f"www.site{number}.example" for number in range(30)]
    firsts = [await planner.routes(site) for site in sites]
    assert {*firsts} == {"a b", "b a"}
    assert [await planner.routes(site) for site in sites] == firsts
    planner.network = NetworkId("another")
    assert [await planner.routes(site) for site in sites] != firsts


async def test_under_auto_all_relays_go_in_their_order_and_members_in_that_of_their_group() -> None:
    planner = GroupPlanner("select", rules="MATCH,PREFER-RELAY\n")
    assert await planner.routes() == "a b x far/a far/b direct"
    planner.services.groups.select("eu", "b")
    assert await planner.routes() == "b a x far/b far/a direct"


async def test_a_chain_over_a_group_is_tried_over_each_member() -> None:
    planner = GroupPlanner("fallback", rules="MATCH,RELAY:far\n")
    assert await planner.routes() == "far/a far/b"
    planner.fail("far/a")
    assert await planner.routes() == "far/b far/a"


class PinsTo(PinsAll):
    def __init__(self, *routes: str) -> None:
        super().__init__()
        self._routes = routes

    async def decide(self, request: Request, plan: Plan, registry: Registry, *, host: str = "") -> Plan:
        made = plan.via(*self._routes)
        for route in made.routes:
            registry.check(route)
        return made


async def test_addons_may_name_a_group_also_in_a_chain() -> None:
    planner = GroupPlanner("fallback", addons=PinsTo("eu"))
    assert await planner.routes() == "a b"
    planner.fail("a")
    assert await planner.routes() == "b a"
    assert await GroupPlanner("fallback", addons=PinsTo("x>eu", "a")).routes() == "x>a x>b a"
    with pytest.raises(ConfigError, match="there is no relay 'us'"):
        await GroupPlanner("fallback", addons=PinsTo("us")).routes()


async def test_a_plan_is_not_kept_beyond_the_end_of_an_override() -> None:
    planner = GroupPlanner("fallback", rules="")
    router = planner.router._router.with_overrides({"blog.example.org": Override(Action.RELAY, "x", until=NOW + 45)})
    planner.setup = replace(planner.setup, router=router)
    assert [await planner.routes() for _ in range(2)] == ["x"] * 2
    assert [kept.until for kept in planner.setup.kept_plans.values()] == [NOW + 45]
    planner.now = NOW + 45
    assert await planner.routes() != "x"
