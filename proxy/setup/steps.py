"""Makes a Setup in steps: each step makes a value from earlier values. Only `check` reads files.

    Loaded → Checked → QueryPaths → Resolvers → Dialers → Registry → Router → Setup

A failed step raises ConfigError, and there is no Setup.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proxy.config.load import Loaded
from proxy.config.relays import groups_of
from proxy.config.schema import Settings
from proxy.model import Destination, Override, Route, bracketed
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.registry import Registry, first_hop_is_named
from proxy.net.dialers.road import RoadToRelays
from proxy.net.dialers.tcp import GuardAddress, TcpDialer
from proxy.net.dns.relay_lookup import RelayLookup
from proxy.net.dns.resolver import EncryptedLookup, Resolver
from proxy.net.race.retries import RetrySchedule
from proxy.net.stream import Stream
from proxy.routing.address_guard import Guard
from proxy.routing.domain_set import DomainSet
from proxy.routing.home_network import HomeNetwork
from proxy.routing.router import RelayInfo, Router
from proxy.session.inbound import InboundHandshake
from proxy.session.setup import Setup, refusal_by
from proxy.setup.checked import Checked, Parts, check
from proxy.setup.guard import guard_of, guard_of_relays
from proxy.setup.resolvers import for_direct, for_relays, reserve_dns
from proxy.wire.fragmentation import cuts_hello
from proxy.wire.hostnames import OWN_NAME


def make(parts: Parts, loaded: Loaded, overrides: Mapping[str, Override]) -> Setup:
    """Returns the Setup of a configuration. Reads its files. Raises ConfigError with all problems."""
    return build(parts, check(parts, loaded), overrides)


def build(parts: Parts, checked: Checked, overrides: Mapping[str, Override]) -> Setup:
    """Returns the Setup of a checked configuration. Raises ConfigError when the guard or a relay cannot be made."""
    guard, relay_guard = guard_of(checked.loaded, port=parts.port), refusal_by(guard_of_relays(port=parts.port))
    paths = query_paths(parts, checked, relay_guard)
    reserve = reserve_dns(parts, checked, paths.for_direct[0])
    resolvers = Resolvers(
        relays=for_relays(parts, checked, paths.for_relays, reserve),
        direct=for_direct(parts, checked, guard, paths.for_direct, reserve),
    )
    dialers = guarded(parts, checked, resolvers, refusal_by(guard, resolvers.direct), relay_guard)
    registry = make_registry(parts, checked, resolvers, dialers)
    paths.bind(registry)
    settings = checked.loaded.settings
    return Setup(
        loaded=checked.loaded,
        inbound=InboundHandshake(
            settings.limits, checked.credentials, _is_ours(settings, parts.port), parts.recent_clients
        ),
        guard=guard,
        router=make_router(checked, guard, resolvers, registry, overrides),
        registry=registry,
        resolver=resolvers.direct,
        pages=checked.pages,
        knowledge=parts.knowledge,
        own_url=_own_url(settings, parts.port),
        port=parts.port,
    )


@frozen_dataclass
class QueryPaths:
    """The paths of encrypted DNS queries, the preferred one first."""

    for_direct: tuple[Dialer, ...]
    """Paths for names of direct routes: by address, and through all relays."""
    for_relays: tuple[Dialer, ...]
    """Paths for names of relays: by address, and through relays that are configured by address. A lookup through a
    relay that needs a lookup itself might never end."""
    through: tuple[PathThroughRelay, ...]

    def bind(self, registry: Registry) -> None:
        """Sets the registry of the paths, before anything is dialed. This is the one cycle in a Setup: the registry has
        the direct dialer, whose resolver sends queries through relays, which the registry dials."""
        for path in self.through:
            path.registry = registry


@frozen_dataclass
class Resolvers:
    """The resolvers for the names of relays and of direct destinations."""

    relays: RelayLookup
    direct: Resolver


@frozen_dataclass
class Dialers:
    """The dialers that connect from this computer, each to addresses that its guard allows."""

    to_relays: TcpDialer
    direct: TcpDialer
    secure: TcpDialer | None
    """Direct, to addresses from encrypted DNS; None when there is no encrypted DNS."""


class PathThroughRelay:
    """The path through one relay. `bind` sets `registry`."""

    registry: Registry

    def __init__(self, name: str) -> None:
        self._route = Route((name,))

    async def dial(self, destination: Destination) -> Stream:
        """See Dialer."""
        return await self.registry.dialer(self._route).dial(destination)

    def __repr__(self) -> str:
        return f"<relay {self._route}>"


def query_paths(parts: Parts, checked: Checked, relay_guard: GuardAddress) -> QueryPaths:
    """Returns the paths of queries. The path by address needs no lookup, so the first query has a path."""
    by_address = TcpDialer(
        parts.poller,
        Resolver(),
        relay_guard,
        connect_timeout_s=checked.loaded.settings.dns.secure_timeout_s,
    )
    through = {relay.name: PathThroughRelay(relay.name) for relay in checked.relays}
    unnamed = (path for name, path in through.items() if not first_hop_is_named(name, checked.relays))
    return QueryPaths((by_address, *through.values()), (by_address, *unnamed), tuple(through.values()))


def guarded(
    parts: Parts, checked: Checked, resolvers: Resolvers, guard: GuardAddress, relay_guard: GuardAddress
) -> Dialers:
    """Returns the dialers. `guard` is for direct connections, `relay_guard` for relays."""
    limits, lookup = checked.loaded.settings.limits, EncryptedLookup(resolvers.direct)
    return Dialers(
        to_relays=TcpDialer(
            parts.poller,
            resolvers.relays,
            relay_guard,
            connect_timeout_s=limits.handshake_timeout_s,
            speaks_at_once=True,
        ),
        direct=TcpDialer(parts.poller, resolvers.direct, guard, connect_timeout_s=limits.connect_timeout_s),
        secure=TcpDialer(parts.poller, lookup, guard, connect_timeout_s=limits.connect_timeout_s)
        if checked.servers
        else None,
    )


def make_registry(parts: Parts, checked: Checked, resolvers: Resolvers, dialers: Dialers) -> Registry:
    """Returns the registry, which has the dialer of every route."""
    settings = checked.loaded.settings
    detect, never_relay = settings.detect, DomainSet.of(settings.auto.never_relay)
    return Registry(
        checked.relays,
        direct=dialers.direct,
        to_relays=dialers.to_relays,
        road=RoadToRelays(
            lookup=resolvers.relays,
            beliefs=parts.knowledge.ways,
            network=parts.knowledge.network,
            tcp_info=parts.tcp_info,
            detect=detect,
            strategies=tuple(filter(cuts_hello, settings.auto.ladder)),
            retests=settings.auto.retest,
        ),
        secure=dialers.secure,
        knowledge=parts.knowledge,
        may_relay=lambda host: never_relay.covering(host) is None,
        handshake_timeout_s=settings.limits.handshake_timeout_s,
        path_timeout_s=detect.give_up_s,
        handshakes_max=detect.relay_handshakes_max,
        paths_max=detect.relay_paths_max,
        schedule=RetrySchedule(detect),
        groups={group.name: group.members for group in groups_of(settings)},
    )


def make_router(
    checked: Checked, guard: Guard, resolvers: Resolvers, registry: Registry, overrides: Mapping[str, Override]
) -> Router:
    """Returns the router, which plans requests."""
    settings, resolver = checked.loaded.settings, resolvers.direct
    return Router(
        checked.rules,
        overrides,
        [RelayInfo(name, registry.addresses_only(name)) for name in registry.relay_names],
        settings,
        groups_of(settings),
        is_home=HomeNetwork(guard, resolver.in_files, resolver.zone_names, resolver.is_local_zone).covers,
    )


def _is_ours(settings: Settings, port: int) -> Callable[[str], bool]:
    """Returns a function that tells whether a Host header names this proxy."""
    listen = settings.listen.address
    names = {"127.0.0.1", "localhost", "[::1]", bracketed(listen)}
    hosts = frozenset({OWN_NAME, *(f"{name}:{port}" for name in names)})
    return lambda host: host.lower() in hosts


def _own_url(settings: Settings, port: int) -> str:
    listen = Destination(settings.listen.address, port)
    if listen.address is not None and listen.address.is_unspecified:
        return f"http://{OWN_NAME}/"  # clients connect to several addresses; through the proxy this works for all
    return f"http://{listen}/"
