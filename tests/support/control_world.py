"""The parts of a control server, small and real: beliefs, health, a store in memory, a router. Only the dialers are
fakes.

Only the dialers are made up."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from aiohttp import ClientSession

from proxy.app.run_options import Ending
from proxy.config.load import load
from proxy.config.relays import relay_names, relays_of
from proxy.config.schema import ListConfig, Log, RelayConfig, Settings
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.relay_groups import RelayGroups
from proxy.detect.relay_health import Health
from proxy.detect.relay_ways import RelayObstacle
from proxy.extend.manager import AddonState
from proxy.model import (
    AutoMode,
    Change,
    Destination,
    Inbound,
    IPAddress,
    NetworkId,
    Outcome,
    Override,
    Plan,
    RelayGroup,
    Request,
    Route,
    Stage,
    Symptom,
)
from proxy.model.errors import DialError
from proxy.model.feature import Feature
from proxy.net.client_programs import ClientPrograms, PortUsers
from proxy.net.dialers.dialer import Dialer
from proxy.net.dns.resolver import Resolver
from proxy.net.named_programs import Holder, named_program
from proxy.net.stream import Stream
from proxy.probe.list_refresh import ListRefresh, RefreshContext
from proxy.probe.measure.inputs import ProbeEnvironment
from proxy.routing.address_guard import Guard
from proxy.routing.coverage import covering
from proxy.routing.edited_rules import AddedRule, RulesText
from proxy.routing.lists.domain_list import DomainList
from proxy.routing.router import RelayInfo, Router
from proxy.routing.rule import Situation
from proxy.routing.rule_parser import parse_rules
from proxy.routing.rules import Rules
from proxy.session.events import Ended, Events, HostsForgotten, Learned
from proxy.session.open_connections import OpenConnections
from proxy.session.plan import plan_for
from proxy.session.recent_clients import RecentClients
from proxy.session.rule_hits import RuleHits
from proxy.session.setup import NamedOnly
from proxy.setup.desktop.proxy_settings import DesktopName
from proxy.setup.desktop.system_proxy import Restored
from proxy.setup.mode_switch import ModeSwitch
from proxy.store.database import Query
from proxy.store.forgetting import Forgotten
from proxy.store.list_copies import ListCopies
from proxy.store.relay_tests import RelayTests
from proxy.store.store import Store
from proxy.store.subscriptions import with_subscriptions
from tests.support.environment import FakeEnvironment
from tests.support.outcomes import HOME
from tests.support.scripted import FakeOracle
from tests.support.services import events_to, services
from tests.support.waiting import until

SECRET = "correct-horse"
RULES = "DOMAIN-SUFFIX,ads.example,BLOCK\nDOMAIN-SUFFIX,example.org,RELAY:tor\n"


class NoWay:
    """A dialer that fails with a given error."""

    def __init__(self, error: DialError) -> None:
        self._error = error

    async def dial(self, destination: Destination) -> Stream:
        raise self._error


class Opens:
    """A dialer that opens every path."""

    async def dial(self, destination: Destination) -> Stream:
        return cast(Stream, Opened())


class Opened:
    """An open path on which nothing is sent."""

    is_answer_needed = False

    def close(self) -> None:
        pass


class Registry:
    """Relays that all refuse, without the `working` ones; `picky` ones take no names."""

    def __init__(self, names: Sequence[str], picky: Iterable[str] = (), working: Collection[str] = ()) -> None:
        self.relay_names = names
        self._picky = frozenset(picky)
        self._working = working

    def dialer(self, route: Route) -> Dialer:
        if route.is_direct:
            return NoWay(DialError("nobody answers", stage=Stage.CONNECT, symptom=Symptom.REFUSED))
        name = route.relays[0]
        if name in self._working:
            return Opens()
        error = DialError(f"relay {name} will not", stage=Stage.RELAY, symptom=Symptom.RELAY_REFUSED)
        return NoWay(error)

    def protocol(self, name: str) -> str:
        return ""

    def retire_keys(self) -> None:
        pass

    async def connect(self, name: str) -> Stream:
        raise DialError(f"nobody answers for {name}", stage=Stage.CONNECT, symptom=Symptom.REFUSED)

    def carries(self, route: Route, destination: Destination) -> bool:
        return destination.address is not None or route.relays[0] not in self._picky


class Programs:
    """Programs by client; a client that is not in it is unknown. `asked` has the clients that were looked up."""

    def __init__(self, **known: str) -> None:
        self.known = known
        self.held: dict[str, tuple[Holder, ...] | None] = {}
        self.asked: list[str] = []

    async def of_all(self, clients: Collection[str]) -> Mapping[str, str | None]:
        self.asked += clients
        return {client: self.known.get(client) for client in clients}

    async def holders_of_all(self, clients: Collection[str]) -> Mapping[str, tuple[Holder, ...] | None]:
        self.asked += clients
        return {client: self.held.get(client) for client in clients}


@dataclass(frozen=True)
class Loaded:
    path: Path | None = None
    notices: tuple[str, ...] = ()
    settings: Settings = field(default_factory=Settings)
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Setup:
    settings: Settings
    loaded: Loaded
    router: Router
    registry: Registry
    groups: tuple[RelayGroup, ...] = ()
    resolver: Resolver = field(default_factory=Resolver)
    guard: Guard = field(default_factory=Guard)
    kept_plans: dict[tuple[str, int], Any] = field(default_factory=dict)
    named: NamedOnly | None = None


@dataclass(frozen=True)
class SystemProxyOn:
    desktop: DesktopName
    url: str
    strict_by: str


@dataclass
class SystemProxy:
    """A system proxy in memory."""

    strict_by: str = ""
    on: SystemProxyOn | None = None

    async def is_in_use(self) -> bool:
        return self.on is not None

    async def turn_on(self, desktop: DesktopName) -> SystemProxyOn:
        path = "" if self.strict_by else "/proxy.pac"
        self.on = SystemProxyOn(desktop, f"http://127.0.0.1:8119{path}", self.strict_by)
        return self.on

    async def turn_off(self) -> Restored:
        on, self.on = self.on, None
        return Restored.NOTHING if on is None else Restored.RESTORED


@dataclass
class RulesFile:
    """The rules of a world, in memory."""

    world: World

    async def read(self) -> RulesText:
        return RulesText(self.world.rules, hashlib.sha256(self.world.rules.encode()).hexdigest())

    async def check(self, text: str) -> Rules:
        return self.world.parsed(text)

    async def replace(self, text: str, *, version: str) -> Rules | None:
        rules = self.world.parsed(text)
        if (await self.read()).version != version:
            return None
        self.world.rules = text
        self.world.overrides_changed()
        return rules

    async def edit(self, change: Callable[[str], str], *, version: str) -> RulesText | None:
        before = await self.read()
        if before.version != version:
            return None
        await self.replace(change(before.text), version=version)
        return await self.read()

    async def add(self, line: str, *, at: int | None = None) -> AddedRule:
        before = await self.read()
        lines = before.text.splitlines(keepends=True)
        lines.insert(len(lines) if at is None else at - 1, f"{line}\n")
        rules = await self.replace("".join(lines), version=before.version)
        assert rules is not None
        place = len(rules) - 1 if at is None else at - 1
        return AddedRule(place + 1, rules.rules[place], None, covering(rules, place), ())


@dataclass(frozen=True)
class SharedParts:
    """The Services of its sessions, as far as the server uses them."""

    events: Events
    rule_hits: RuleHits
    open_connections: OpenConnections
    programs: ClientPrograms
    port_users: PortUsers


@dataclass(frozen=True)
class Parts:
    """The Dependencies of a server. A test may replace each of them."""

    features: Sequence[Feature]
    services: SharedParts
    broken_features: Callable[[], Mapping[str, str]]
    setup: Callable[[], Setup]
    beliefs: Beliefs
    health: Health
    groups: RelayGroups
    store: Store
    relay_tests: RelayTests
    recent_clients: RecentClients
    network: Callable[[], NetworkId]
    reload: Callable[[], Coroutine[Any, Any, list[str]]]
    counters: Callable[[], Mapping[str, int | float | str]]
    follow: Callable[[], AsyncIterator[tuple[Outcome, NetworkId]]]
    override: Callable[[str, Override | None], None]
    probe_environment: Callable[[], ProbeEnvironment]
    plan: Callable[..., Coroutine[Any, Any, Plan]]
    addons: Callable[[], Sequence[AddonState]]
    copies: ListCopies
    list_refresh: ListRefresh
    relay_obstacles: Callable[[], Mapping[str, RelayObstacle]]
    configured: Callable[[], Coroutine[Any, Any, Settings]]
    select: Callable[[str, str], Coroutine[Any, Any, None]]
    list_text: Callable[[ListConfig], Coroutine[Any, Any, str]]
    system_proxy: SystemProxy
    modes: ModeSwitch
    ending: Ending
    rules_file: RulesFile
    forget: Callable[[Forgotten], Coroutine[Any, Any, list[str]]]
    forget_status: Callable[[Forgotten], list[Change]]
    config_file: Path
    registry_with: Callable[[Sequence[RelayConfig]], Any]
    sessions_file: Path | None

    @property
    def settings(self) -> Settings:
        return self.setup().settings

    @property
    def overrides(self) -> Mapping[str, Override]:
        return self.setup().router.overrides

    @property
    def configured_groups(self) -> Sequence[RelayGroup]:
        return self.setup().groups

    def addresses(self, host: str) -> Iterable[IPAddress]:
        return self.setup().resolver.known(host)

    async def flush(self) -> None:
        await asyncio.to_thread(self.store.flush, 1.0)

    async def read(self, query: Query[Any]) -> Any:
        return await asyncio.to_thread(self.store.read, query)


@dataclass
class World:
    """`World().parts` are the parts of a server. Calls on them are kept here for assertions."""

    settings: Settings = field(
        default_factory=lambda: Settings(
            log=Log(hosts="all"),
            relay=(
                RelayConfig(name="tor", url="socks5h://127.0.0.1:9050"),
                RelayConfig(name="vps", url=f"https://user:{SECRET}@relay.example:443", password_cmd=f"echo {SECRET}"),
            ),
        )
    )
    rules: str = RULES
    lists: dict[str, DomainList] = field(default_factory=dict)
    list_texts: dict[str, str] = field(default_factory=dict)
    features: Sequence[Feature] = ()
    path: Path | None = None
    sources: dict[str, str] = field(default_factory=dict)
    reads_file: bool = False  # a reload takes the settings of the file
    problems: list[str] = field(default_factory=list)  # of the next reload
    counters: dict[str, int | float | str] = field(default_factory=lambda: {"port": 8119, "tunnels": 2})
    overrides: dict[str, Override] = field(default_factory=dict)
    believed: list[Change] = field(default_factory=list)
    reloads: int = 0
    working: Collection[str] = ()  # new relays by which a path opens in their test
    resolved: list[str] = field(default_factory=list)  # names that a measurement asked for, in order
    measured_with: FakeEnvironment | None = None  # in the place of ways that lead nowhere
    decided: Plan | None = None  # what addons make of every plan
    addons: tuple[AddonState, ...] = ()
    store_file: Path | None = None  # in memory
    sessions_file: Path | None = None  # in memory
    system_proxy: SystemProxy = field(default_factory=SystemProxy)
    on_resolve: Callable[[str], None] = lambda _: None
    hold: Callable[[str], Awaitable[None]] | None = None  # waited for by who asks for a name

    def __post_init__(self) -> None:
        self.relay_tests = RelayTests(None)
        self.forgotten: list[Forgotten] = []
        self.modes = ModeSwitch(None, self._set_mode, stores=False)
        self.ending = Ending()
        self.obstacles: dict[str, RelayObstacle] = {}
        self.rule_hits, self.port_users = RuleHits(), PortUsers()
        self.open_connections = OpenConnections()
        self.programs: Any = Programs()
        self.recent_clients = RecentClients()
        self.copies = ListCopies(Path("/nonexistent"), ephemeral=True)
        self.store = Store(self.store_file, self.settings.log)
        self.store.start()
        self.beliefs = Beliefs(self.settings.detect, store=self.store)
        self.health = Health(self.settings.detect)
        self.groups = RelayGroups(self.health)
        self.events = events_to(believe=self.believed.extend)
        self._queues: set[asyncio.Queue[tuple[Outcome, NetworkId]]] = set()
        self._setup: Setup
        self._override("unset.example", None)

    def close(self) -> None:
        self.store.close()

    def resolve_to(self, name: str, address: str) -> None:
        """Makes the resolver return `address` for `name`."""
        self._setup = replace(self._setup, resolver=Resolver({name: address}))

    def takes_addresses_only(self, relay: str) -> None:
        self._setup = replace(self._setup, registry=Registry(self._setup.registry.relay_names, [relay]))

    @property
    def followers(self) -> int:
        """The number of followers of the log, and of tabs."""
        return len(self._queues) + len(self.events._handlers.get(Ended, ()))

    def see(self, *outcomes: Outcome, network: NetworkId = HOME) -> None:
        """Passes outcomes on as a session does."""
        for outcome in outcomes:
            self.store.record(outcome, network=network)
            changes = self.beliefs.learn(outcome, network=network, now=time.time())
            self.store.believe(changes)
            self.health.learn(outcome, time.time())
            for queue in self._queues:
                queue.put_nowait((outcome, network))
            self.events.emit(Ended(outcome, network))

    @property
    def parts(self) -> Any:
        return Parts(
            features=self.features,
            services=SharedParts(self.events, self.rule_hits, self.open_connections, self.programs, self.port_users),
            broken_features=dict,
            setup=lambda: self._setup,
            beliefs=self.beliefs,
            health=self.health,
            groups=self.groups,
            select=self._select,
            store=self.store,
            network=lambda: HOME,
            reload=self._reload,
            relay_obstacles=lambda: self.obstacles,
            counters=self._live,
            follow=self._follow,
            override=self._override,
            probe_environment=lambda: self.means,
            plan=self._plan,
            addons=lambda: self.addons,
            relay_tests=self.relay_tests,
            recent_clients=self.recent_clients,
            copies=self.copies,
            list_refresh=ListRefresh(self._refresh_context(), self.copies),
            configured=self._configured,
            list_text=self._list_text,
            system_proxy=self.system_proxy,
            modes=self.modes,
            ending=self.ending,
            rules_file=RulesFile(self),
            forget=self._forget,
            forget_status=self._forget_status,
            config_file=self.path or Path("/nonexistent/config.toml"),
            registry_with=lambda added: Registry([relay.name for relay in added], working=self.working),
            sessions_file=self.sessions_file,
        )

    async def _configured(self) -> Settings:
        return self.settings

    async def _list_text(self, item: ListConfig) -> str:
        return self.list_texts[item.name]

    def _refresh_context(self) -> RefreshContext:
        return RefreshContext(
            setup=lambda: cast(Any, self._setup),
            may_go_direct=lambda setup, host: asyncio.sleep(0, setup.router.may_go_direct(host, HOME, time.time())),
            only_relays=lambda _setup, _destination: asyncio.sleep(0, None),
            order=lambda names: names,
            is_private=self.store.is_private,
            apply=self._reload,
            now=time.time,
        )

    async def _plan(self, destination: Destination, situation: Situation | None = None) -> Plan:
        if self.decided is not None:
            return self.decided
        shared = services(
            beliefs=self.beliefs, health=self.health, groups=self.groups, now=time.time, network=lambda: HOME
        )
        request = Request(0, destination, Inbound.CONNECT, client="")
        return await plan_for(request, shared, cast(Any, self._setup), situation=situation)

    @property
    def means(self) -> FakeEnvironment:
        """The environment of measurements. Unless a test sets one, every name has an address and no connection
        opens."""
        if self.measured_with is not None:
            return self.measured_with
        registry = self._setup.registry
        return FakeEnvironment(
            settings=self.settings,
            dialer=registry.dialer,
            carries=registry.carries,
            refuses=lambda *_: None,
            is_private=self.store.is_private,
            tcp_info=FakeOracle(),
            resolve=self._resolve,
        )

    async def _resolve(self, host: str) -> Sequence[IPAddress]:
        self.resolved.append(host)
        self.on_resolve(host)
        if self.hold is not None:
            await self.hold(host)
        return [ipaddress.ip_address("192.0.2.7")]

    async def _select(self, group: str, relay: str) -> None:
        self.groups.select(group, relay)

    async def _reload(self) -> list[str]:
        self.reloads += 1
        if self.reads_file and not self.problems:
            self.settings = with_subscriptions(load(self.path), self.copies).settings
            self.overrides_changed()
        return self.problems

    def _live(self) -> Mapping[str, int | float | str]:
        return self.counters

    async def _follow(self) -> AsyncIterator[tuple[Outcome, NetworkId]]:
        queue: asyncio.Queue[tuple[Outcome, NetworkId]] = asyncio.Queue()
        self._queues.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)

    def _override(self, host: str, said: Override | None) -> None:
        if said is None:
            self.overrides.pop(host, None)
        else:
            self.overrides[host] = said
        self.overrides_changed()

    def _forget_status(self, what: Forgotten) -> list[Change]:
        changes = self.beliefs.forget(what.host or None)
        self.events.emit(Learned(changes))
        self.events.emit(HostsForgotten())
        return changes

    async def _forget(self, what: Forgotten) -> list[str]:
        self.forgotten.append(what)
        await asyncio.to_thread(self.store.forget, what)
        return ["interrupted tests"]

    def _set_mode(self, mode: AutoMode) -> None:
        router = self._setup.router.with_mode(mode)
        self._setup = replace(self._setup, router=router, kept_plans={})

    def overrides_changed(self) -> None:
        """Makes a new setup, with the present settings and overrides."""
        relays = relays_of(self.settings)
        settings, groups = relays.expanded, relays.groups
        names = [relay.name for relay in settings.relay]
        router = Router(self.parsed(self.rules), self.overrides, [RelayInfo(name) for name in names], settings, groups)
        loaded = Loaded(self.path, ("a notice",), self.settings, self.sources)
        self._setup = Setup(settings, loaded, router, Registry(names), groups)
        if programs := tuple(map(named_program, settings.listen.programs)):
            self._setup = replace(self._setup, named=NamedOnly(programs, cast(Any, None)))

    def parsed(self, rules: str) -> Rules:
        """Parses rules with the settings. Raises ConfigError."""
        return parse_rules(
            rules,
            source="rules.txt",
            relays=relay_names(self.settings),
            lists=self.lists,
            networks=cast(Any, self.settings.networks),
        )


def nowhere(world: World) -> FakeEnvironment:
    """Returns an environment without a network, in which no relay is reached either."""
    gone = DialError("the network is unreachable", stage=Stage.CONNECT, symptom=Symptom.TIMEOUT)
    down = DialError("the relay is not reached", stage=Stage.RELAY, symptom=Symptom.RELAY_DOWN)
    return replace(world.means, dialer=lambda route: NoWay(down if route.relays else gone))


async def read(api: ClientSession, path: str, **query: str) -> dict[str, Any]:
    """Returns the document of a path. Fails if there is none."""
    async with api.get(path, params=query) as answer:
        assert answer.status == 200, await answer.text()
        document: dict[str, Any] = await answer.json()
    assert document["version"] == 2
    return document


async def follow(api: ClientSession, count: int, world: World, *seen: Any, **query: str) -> list[dict[str, Any]]:
    """Returns the first `count` lines of a stream. The outcomes happen once there are followers."""
    async with asyncio.timeout(10), api.get("/v1/log/follow", params=query) as answer:
        assert answer.status == 200
        await until(lambda: world.followers == 1)
        world.see(*seen)
        return [json.loads(await answer.content.readline()) for _ in range(count)]
