"""Builds what sessions use from the user's files: relays, rules, resolvers and the guard become one frozen Setup.

All problems are found here, at start and at each reload, and reported together; a Setup is complete or not made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from proxy.config.file_owners import check_obeyed
from proxy.config.load import Loaded
from proxy.config.passwords import Passwords
from proxy.config.paths import Paths
from proxy.config.relays import enabled_relays, expanded, groups_of
from proxy.config.schema import RelayConfig, Settings
from proxy.model import Destination, Override, Route, bracketed
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.client_programs import unsupported
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.registry import Registry, Relay, first_hop_is_named
from proxy.net.dialers.road import RoadToRelays
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.dns.resolver import EncryptedLookup, Resolver
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.knowledge import NOTHING_KNOWN, Knowledge
from proxy.net.poller import Poller
from proxy.net.race.retries import RetrySchedule
from proxy.net.stream import Stream
from proxy.routing.domain_set import DomainSet
from proxy.routing.home_network import HomeNetwork
from proxy.routing.router import RelayInfo, Router
from proxy.routing.rule import RuleType
from proxy.routing.rules import Rules
from proxy.session.inbound import Credentials, InboundHandshake
from proxy.session.recent_clients import RecentClients
from proxy.session.setup import Setup, refusal_by
from proxy.setup.build_guard import guard_of, guard_of_relays, public_addresses
from proxy.setup.build_resolvers import for_direct, for_relays, secure_servers
from proxy.setup.rule_files import block_pages, read_rules
from proxy.store.list_copies import ListCopies
from proxy.store.relay_addresses import RelayAddresses
from proxy.wire.dns_url import SecureServer
from proxy.wire.fragmentation import cuts_hello
from proxy.wire.hostnames import OWN_NAME
from proxy.wire.relay_url import RelayUrl

if TYPE_CHECKING:
    from proxy.detect.pages.block_pages import BlockPages


@frozen_dataclass
class Material:
    """The content of the configuration and of the files that it names: read and checked, not bound to an event loop."""

    loaded: Loaded
    relays: tuple[Relay, ...]
    credentials: Credentials | None
    rules: Rules
    servers: tuple[SecureServer, ...]
    pages: Callable[[], BlockPages]


class SetupBuilder:
    """Builds Setups for one process. It remembers passwords, so that an edit runs no password command again."""

    def __init__(
        self,
        poller: Poller,
        paths: Paths,
        knowledge: Knowledge = NOTHING_KNOWN,
        recent_clients: RecentClients | None = None,
        *,
        copies: ListCopies | None = None,
        relay_addresses: RelayAddresses | None = None,
        tcp_info: TcpInfo | None = None,
        inspects: bool = True,
    ) -> None:
        """`copies`: of the lists that were fetched; None: those in the state folder. `relay_addresses` None: they are
        remembered in memory only. `tcp_info` None: one of its own. `inspects`: whether a feature can INSPECT."""
        self._poller = poller
        self._paths = paths
        self._knowledge = knowledge
        self._copies = copies
        self._relay_addresses = relay_addresses or RelayAddresses(None)
        self._tcp_info = tcp_info or TcpInfo()
        self._passwords = Passwords()
        self.inspects = inspects
        self._recent_clients = recent_clients or RecentClients()

    def make(self, loaded: Loaded, overrides: Mapping[str, Override], *, port: int) -> Setup:
        """Reads and builds the Setup of `loaded`, with Byway listening on `port`. Raises ConfigError."""
        return self.build(self.read(loaded, port=port), overrides, port=port)

    def forget_passwords(self) -> None:
        """The next `read` runs each password command again."""
        self._passwords.forget()

    def read(self, loaded: Loaded, *, port: int, pause_s: float = 0.0) -> Material:
        """Reads every file, and runs every password command, that `loaded` names. It blocks for as long as that takes,
        and may run in a thread; `pause_s` as in `read_rules`. Raises ConfigError with all problems."""
        settings, problems = loaded.settings, list[str]()
        with _Gathered(problems):
            relays = self._relays(loaded)
        with _Gathered(problems):
            credentials = self._credentials(loaded)
        with _Gathered(problems):
            guard_of(loaded, port=port)
        with _Gathered(problems):
            rules = read_rules(settings, self._paths, pause_s=pause_s, copies=self._copies)
            check_supported(rules, inspects=self.inspects)
        with _Gathered(problems):
            servers = secure_servers(settings, self._paths)
        with _Gathered(problems):
            pages = block_pages(self._paths)
        if problems:
            raise ConfigError(dict.fromkeys(problems))
        return Material(loaded, tuple(relays), credentials, rules, tuple(servers), pages)

    def build(self, material: Material, overrides: Mapping[str, Override], *, port: int) -> Setup:
        """Builds what sessions use, with Byway listening on `port`. It opens and reads nothing. Raises ConfigError when
        the guard cannot be made."""
        settings, servers, knowledge = material.loaded.settings, material.servers, self._knowledge
        limits, detect, never_relay = settings.limits, settings.detect, DomainSet.of(settings.auto.never_relay)
        guard = guard_of(material.loaded, port=port)
        relay_guard = refusal_by(guard_of_relays(port=port))

        # 1. By address only: it resolves nothing, so that the first encrypted DNS query has a path.
        by_address = TcpDialer(self._poller, Resolver(), relay_guard, connect_timeout_s=settings.dns.secure_timeout_s)
        # 2. To the first relay of a route. Its name is resolved directly, or through relays that have none: a lookup
        # through a relay that needs a lookup could have no end. The registry of step 4 dials these.
        through = {relay.name: _PathThroughRelay(relay.name) for relay in material.relays}
        unnamed = [path for name, path in through.items() if not first_hop_is_named(name, material.relays)]
        relay_lookup = for_relays(
            settings,
            servers,
            [by_address, *unnamed],
            self._relay_addresses,
            poller=self._poller,
            knowledge=knowledge,
            is_public=public_addresses() if any(relay.public_only for relay in settings.relay) else None,
        )
        to_relays = TcpDialer(
            self._poller,
            relay_lookup,
            relay_guard,
            connect_timeout_s=limits.handshake_timeout_s,
            speaks_at_once=True,
        )
        # 3. Direct. Encrypted queries may go through all relays.
        query_paths: list[Dialer] = [by_address, *through.values()]
        resolver = for_direct(settings, servers, query_paths, poller=self._poller, guard=guard, knowledge=knowledge)
        refusal = refusal_by(guard, resolver)
        direct = TcpDialer(self._poller, resolver, refusal, connect_timeout_s=limits.connect_timeout_s)
        secure = TcpDialer(self._poller, EncryptedLookup(resolver), refusal, connect_timeout_s=limits.connect_timeout_s)
        # 4. Every route.
        groups = groups_of(settings)
        registry = Registry(
            material.relays,
            direct=direct,
            to_relays=to_relays,
            road=RoadToRelays(
                lookup=relay_lookup,
                beliefs=knowledge.ways,
                network=knowledge.network,
                tcp_info=self._tcp_info,
                detect=detect,
                strategies=tuple(filter(cuts_hello, settings.auto.ladder)),
                retests=settings.auto.retest,
            ),
            secure=secure if servers else None,
            knowledge=knowledge,
            may_relay=lambda host: never_relay.covering(host) is None,
            handshake_timeout_s=limits.handshake_timeout_s,
            path_timeout_s=detect.give_up_s,
            handshakes_max=detect.relay_handshakes_max,
            paths_max=detect.relay_paths_max,
            schedule=RetrySchedule(detect),
            groups={group.name: group.members for group in groups},
        )
        for path in through.values():
            path.registry = registry
        infos = [RelayInfo(name, registry.addresses_only(name)) for name in registry.relay_names]
        return Setup(
            loaded=material.loaded,
            inbound=InboundHandshake(limits, material.credentials, _is_ours(settings, port), self._recent_clients),
            guard=guard,
            router=Router(
                material.rules,
                overrides,
                infos,
                settings,
                groups,
                is_home=HomeNetwork(guard, resolver.in_files, resolver.zone_names, resolver.is_local_zone).covers,
            ),
            registry=registry,
            resolver=resolver,
            pages=material.pages,
            knowledge=knowledge,
            own_url=_own_url(settings, port),
        )

    def _relays(self, loaded: Loaded) -> list[Relay]:
        relays, problems = [], []
        for config in enabled_relays(expanded(loaded.settings).relay):
            try:
                relays.append(self._relay(config, runs_command=loaded.runs_commands))
            except ValueError as error:
                problems.append(f"[[relay]] {config.name}: {error}")
            except ConfigError as error:
                problems += (f"[[relay]] {config.name}: {problem}" for problem in error.problems)
        if problems:
            raise ConfigError(problems)
        return relays

    def _relay(self, config: RelayConfig, *, runs_command: bool) -> Relay:
        """With `runs_command` false the relay is used without its password, and refuses if it needs one."""
        relay = Relay.parse(
            config.name,
            config.url,
            password=self._passwords.ask(config.password_cmd) if config.password_cmd and runs_command else "",
            allow_plaintext_credentials=config.allow_plaintext_credentials,
        )
        return replace(relay, hops=tuple(map(self._with_ca_path, relay.hops)))

    def _with_ca_path(self, hop: str | RelayUrl) -> str | RelayUrl:
        """Makes the path of `?ca=` absolute. Raises ConfigError when another user could change that file."""
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


class _Gathered:
    """Adds the problems of a ConfigError to `problems`, so that the next part is checked too.

    It is no generator: an error that one catches knows its frame, which knows the error. So what was read until then,
    such as a long list, would stay in memory until the next collection."""

    def __init__(self, problems: list[str]) -> None:
        self._problems = problems

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, ConfigError):
            return False
        self._problems += error.problems
        return True


_NO_INSPECTION = "INSPECT needs the feature inspection, which is not here; install Byway again, or remove INSPECT"


def check_supported(rules: Rules, *, inspects: bool) -> None:
    """Raises ConfigError when a rule asks for what is not available here: INSPECT, or PROCESS-NAME. `inspects`: whether
    a feature can INSPECT."""
    rule = next(rules.rules.of_kind(lambda kind: kind.intercept), None)
    if rule is not None:
        from proxy.config.mitmproxy_version import unavailable  # a run without such a rule does without it

        if reason := unavailable() if inspects else _NO_INSPECTION:
            raise ConfigError(f"{rule.source}:{rule.line}: {reason}")
    rule = next(rules.rules.of_kind(lambda kind: kind.type is RuleType.PROCESS_NAME), None)
    if rule is not None and (reason := unsupported()):
        raise ConfigError(f"{rule.source}:{rule.line}: {reason}")


def _is_ours(settings: Settings, port: int) -> Callable[[str], bool]:
    """Whether a Host header names this proxy itself."""
    listen = settings.listen.address
    names = {"127.0.0.1", "localhost", "[::1]", bracketed(listen)}
    hosts = frozenset({OWN_NAME, *(f"{name}:{port}" for name in names)})
    return lambda host: host.lower() in hosts


def _own_url(settings: Settings, port: int) -> str:
    listen = Destination(settings.listen.address, port)
    if listen.address is not None and listen.address.is_unspecified:
        return f"http://{OWN_NAME}/"  # clients reach several addresses; through the proxy this opens for all
    return f"http://{listen}/"


class _PathThroughRelay:
    """The path of encrypted DNS queries through one relay. This is the one cycle of a Setup: the registry holds the
    direct dialer, and that one's resolver asks through relays, which the registry dials. So `registry` is set as soon
    as it is built; nothing is dialed before that."""

    registry: Registry

    def __init__(self, name: str) -> None:
        self._route = Route((name,))

    async def dial(self, destination: Destination) -> Stream:
        """See Dialer."""
        return await self.registry.dialer(self._route).dial(destination)

    def __repr__(self) -> str:
        return f"<relay {self._route}>"
