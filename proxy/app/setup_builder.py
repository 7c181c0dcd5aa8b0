"""From the user's files to what sessions use: relays, rules, resolvers and the guard become one frozen Setup.

All problems are found here, at start and at each reload, and reported together; a Setup is complete or not made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from proxy.app.build_guard import guard_of, guard_of_relays
from proxy.app.build_resolvers import for_direct, for_relays, secure_servers
from proxy.app.rule_files import read_block_pages, read_rules
from proxy.app.setup_policy import SetupPolicy
from proxy.config.file_owners import check_obeyed
from proxy.config.load import Loaded
from proxy.config.mitmproxy_version import unavailable
from proxy.config.passwords import Passwords
from proxy.config.paths import Paths
from proxy.config.relays import enabled_relays
from proxy.config.schema import RelayConfig, Settings
from proxy.detect.pages.block_pages import BlockPages
from proxy.detect.pages.page_classifier import Classify
from proxy.model import Destination, IPAddress, Override, Route, bracketed
from proxy.model.errors import ConfigError
from proxy.net.dialers.addon_relay import AskAddon, no_addon
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.registry import Registry, Relay
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.dns.policy import NO_RESOLVER_POLICY, ResolverPolicy
from proxy.net.dns.resolver import EncryptedLookup, Resolver
from proxy.net.poller import Poller
from proxy.net.race.retries import RetrySchedule
from proxy.net.stream import Stream
from proxy.routing.match import DomainList
from proxy.routing.router import RelayInfo, Router
from proxy.routing.rules import Rules
from proxy.session.inbound import OWN_NAME, Credentials, InboundHandshake
from proxy.session.setup import Setup, refusal_by
from proxy.wire.dns_url import SecureServer
from proxy.wire.relay_url import RelayUrl


@dataclass(frozen=True, slots=True)
class Material:
    """What the configuration and the files that it names say: read, checked, and not yet bound to an event loop."""

    loaded: Loaded
    relays: tuple[Relay, ...]
    credentials: Credentials | None
    rules: Rules
    servers: tuple[SecureServer, ...]
    pages: BlockPages


class SetupBuilder:
    """Builds Setups for one process. It remembers passwords, so that a reload runs no password command again."""

    def __init__(
        self,
        poller: Poller,
        paths: Paths,
        name_policy: ResolverPolicy = NO_RESOLVER_POLICY,
        *,
        tainted: Callable[[IPAddress], bool] = lambda _: False,
        troubled: Callable[[str, str], None] = lambda _address, _host: None,
        is_portal: Callable[[], bool] = lambda: False,
        classify: Callable[[], Classify | None] = lambda: None,
        ask_addon: AskAddon = no_addon,
        is_failing: Callable[[str], bool] = lambda relay: False,
    ) -> None:
        """`troubled(address, host)` is called when a flight to `host` was broken off at `address`, and `tainted` says
        whether an address is in its residual window after that. `is_portal` says whether a captive portal answers for
        every site. `classify` returns the addons' classifier of pages, if there is one; `ask_addon` opens the paths of
        addon relays. `is_failing` says whether a relay, or a chain, is ordered last for its failures."""
        self._poller = poller
        self._paths = paths
        self._name_policy = name_policy
        self._tainted = tainted
        self._troubled = troubled
        self._is_portal = is_portal
        self._classify = classify
        self._ask_addon = ask_addon
        self._is_failing = is_failing
        self._passwords = Passwords()

    def make(self, loaded: Loaded, overrides: Mapping[str, Override], *, port: int) -> Setup:
        """Reads and builds the Setup of `loaded`, with Byway listening on `port`. Raises ConfigError."""
        return self.build(self.read(loaded, port=port), overrides, port=port)

    def read(self, loaded: Loaded, *, port: int) -> Material:
        """Reads every file and asks for every password that `loaded` names. It blocks for as long as that takes, and
        may run in a thread. Raises ConfigError with all that is wrong."""
        settings, problems = loaded.settings, list[str]()
        with _gathered(problems):
            relays = self._relays(loaded)
        with _gathered(problems):
            credentials = self._credentials(loaded)
        with _gathered(problems):
            guard_of(loaded, port=port)
        with _gathered(problems):
            rules = read_rules(settings, self._paths)
            _check_inspection(rules)
        with _gathered(problems):
            servers = secure_servers(settings, self._paths)
        with _gathered(problems):
            pages = read_block_pages(self._paths)
        if problems:
            raise ConfigError(dict.fromkeys(problems))
        return Material(loaded, tuple(relays), credentials, rules, tuple(servers), pages)

    def build(self, material: Material, overrides: Mapping[str, Override], *, port: int) -> Setup:
        """Builds what sessions use, with Byway listening on `port`. It opens and reads nothing. Raises ConfigError when
        the guard cannot be made."""
        settings, relays, rules = material.loaded.settings, material.relays, material.rules
        servers, pages = material.servers, material.pages
        guard = guard_of(material.loaded, port=port)
        limits = settings.limits
        # 1. By address only: nothing is resolved, so that the queries of both resolvers have a path to begin with.
        refusal_of_relays = refusal_by(guard_of_relays(port=port))
        by_address = TcpDialer(
            self._poller, Resolver(), refusal_of_relays, connect_timeout_s=settings.dns.secure_timeout_s
        )

        # 2. Names of direct routes. Their encrypted queries may go through relays, which step 4 makes: a relay's own
        # name is resolved by step 3, so this comes to an end.
        def through(relay: str) -> Dialer:
            return registry.dialer(Route((relay,)))

        ways: list[Dialer] = [by_address, *(_LazyDialer(through, relay.name) for relay in relays)]
        resolver = for_direct(settings, servers, ways, guard=guard, policy=self._name_policy)
        refusal = refusal_by(guard, resolver)
        direct = TcpDialer(self._poller, resolver, refusal, connect_timeout_s=limits.connect_timeout_s)
        secure = TcpDialer(self._poller, EncryptedLookup(resolver), refusal, connect_timeout_s=limits.connect_timeout_s)
        # 3. The path to first relays: their names are never resolved through a relay.
        to_relays = TcpDialer(
            self._poller,
            for_relays(settings, servers, by_address, policy=self._name_policy),
            refusal_of_relays,
            connect_timeout_s=limits.handshake_timeout_s,
        )
        # 4. The dialer of every route.
        registry = Registry(
            relays,
            direct=direct,
            to_relays=to_relays,
            secure=secure if servers else None,
            tainted=lambda _, address: self._tainted(address),
            relay_usable=_relay_usable(settings, lambda: registry, self._is_failing),
            ask_addon=self._ask_addon,
            handshake_timeout_s=limits.handshake_timeout_s,
            path_timeout_s=settings.detect.give_up_s,
            handshakes_max=settings.detect.relay_handshakes_max,
            paths_max=settings.detect.relay_paths_max,
            schedule=RetrySchedule(settings.detect),
        )
        infos = [RelayInfo(name, registry.addresses_only(name)) for name in registry.relay_names]
        return Setup(
            loaded=material.loaded,
            inbound=InboundHandshake(limits, material.credentials, _is_ours(settings, port)),
            guard=guard,
            router=Router(rules, overrides, infos, settings),
            registry=registry,
            resolver=resolver,
            policy=SetupPolicy(
                resolver,
                direct,
                pages,
                classify=self._classify,
                is_portal=self._is_portal,
                is_failing=self._is_failing,
                report_broken_flight=self._troubled,
            ),
        )

    def _relays(self, loaded: Loaded) -> list[Relay]:
        relays, problems = [], []
        for config in enabled_relays(loaded.settings.relay):
            try:
                relays.append(self._relay(config, may_ask=loaded.runs_commands))
            except ValueError as error:
                problems.append(f"[[relay]] {config.name}: {error}")
            except ConfigError as error:
                problems += (f"[[relay]] {config.name}: {problem}" for problem in error.problems)
        if problems:
            raise ConfigError(problems)
        return relays

    def _relay(self, config: RelayConfig, *, may_ask: bool) -> Relay:
        """Without `may_ask` the relay is used without its password, and refuses if it needs one."""
        relay = Relay.parse(
            config.name,
            config.url,
            password=self._passwords.ask(config.password_cmd) if config.password_cmd and may_ask else "",
            allow_plaintext_credentials=config.allow_plaintext_credentials,
        )
        return replace(relay, hops=tuple(map(self._with_its_file, relay.hops)))

    def _with_its_file(self, hop: str | RelayUrl) -> str | RelayUrl:
        if isinstance(hop, str) or not hop.ca:
            return hop
        file = self._paths.named(hop.ca)
        check_obeyed(file)
        return replace(hop, ca=str(file))

    def _credentials(self, loaded: Loaded) -> Credentials | None:
        listen = loaded.settings.listen
        if not listen.user:
            return None
        if not loaded.runs_commands:
            raise ConfigError(
                f"{loaded.place('listen', 'password_cmd')}: listen.password_cmd is not run, because other users may be "
                "able to change this file; move it to a folder that only you can enter"
            )
        try:
            password = self._passwords.ask(listen.password_cmd)
        except ValueError as error:
            raise ConfigError(f"[listen] password_cmd: {error}") from None
        return Credentials(listen.user, password)


@contextlib.contextmanager
def _gathered(problems: list[str]) -> Iterator[None]:
    """Adds the problems of a ConfigError to `problems`, so that the next part is checked too."""
    try:
        yield
    except ConfigError as error:
        problems += error.problems


def _check_inspection(rules: Rules) -> None:
    """Raises ConfigError when a rule says INSPECT and inspection is not available here."""
    rule = next((rule for rule in rules.rules if rule.intercept), None)
    if rule is not None and (reason := unavailable()):
        raise ConfigError(f"{rule.source}:{rule.line}: {reason}")


def _relay_usable(
    settings: Settings, registry: Callable[[], Registry], is_failing: Callable[[str], bool]
) -> Callable[[Destination], bool]:
    """Whether some relay could serve a destination instead of a local strategy."""
    never = DomainList(frozenset(settings.auto.never_relay))

    def usable(destination: Destination) -> bool:
        if destination.host in never:
            return False
        carries = registry().carries
        names = registry().relay_names
        return any(carries(Route((name,)), destination) and not is_failing(name) for name in names)

    return usable


def _is_ours(settings: Settings, port: int) -> Callable[[str], bool]:
    """Whether a Host header names this proxy itself."""
    listen = settings.listen.address
    names = {"127.0.0.1", "localhost", "[::1]", bracketed(listen)}
    hosts = frozenset({OWN_NAME, *(f"{name}:{port}" for name in names)})
    return lambda host: host.lower() in hosts


class _LazyDialer:
    """A relay's dialer, looked up when it is used: relays need names, and names may need relays."""

    def __init__(self, dialer_of: Callable[[str], Dialer], relay: str) -> None:
        self._dialer_of = dialer_of
        self._relay = relay

    async def dial(self, destination: Destination) -> Stream:
        return await self._dialer_of(self._relay).dial(destination)

    def __repr__(self) -> str:
        return f"<relay {self._relay}>"
