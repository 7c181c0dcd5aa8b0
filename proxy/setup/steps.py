"""Makes a Setup in steps: each step makes a value from earlier values. Only `check` reads files.

    Loaded → Checked → Resolvers → Registry → Setup

A failed step raises ConfigError, and there is no Setup.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from proxy.config.load import Loaded
from proxy.config.relays import Relay, has_keys
from proxy.config.schema import Dns, RelayConfig, Settings
from proxy.detect.scopes import is_public_suffix
from proxy.model import DIRECT, Destination, IPAddress, Override, Route, Stage, Symptom, bracketed
from proxy.model.errors import DialError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.registry import Registry, first_hop_is_named
from proxy.net.dialers.road import RoadToRelays
from proxy.net.dialers.tcp import GuardAddress, TcpDialer
from proxy.net.dns.encrypted import EncryptedDns
from proxy.net.dns.relay_lookup import RelayLookup
from proxy.net.dns.resolver import EncryptedFor, EncryptedLookup, Resolver, ResolverOptions
from proxy.net.dns.stub_resolver import StubResolver
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.knowledge import Knowledge, NothingKnown
from proxy.net.race.terms import RaceTerms
from proxy.net.stream import Stream
from proxy.routing.address_guard import Guard
from proxy.routing.domain_set import DomainSet
from proxy.routing.home_network import HomeNetwork
from proxy.routing.router import RelayInfo, Router
from proxy.session.inbound import InboundHandshake
from proxy.session.setup import NamedOnly, Setup, refusal_by
from proxy.setup.checked import Checked, Parts, check
from proxy.setup.guard import guard_of, guard_of_relays, public_addresses
from proxy.wire.fragmentation import cuts_hello
from proxy.wire.hostnames import OWN_NAME
from proxy.wire.relay_url import CHAIN_LIMIT

if TYPE_CHECKING:
    from proxy.net.dialers.key_relay import DestinationLookup, LookupThrough

_FILES_EVERY_S = 0.1
"""Seconds between two checks of the hosts file and resolv.conf: the names of one page need only one check."""


def make(parts: Parts, loaded: Loaded, overrides: Mapping[str, Override]) -> Setup:
    """Returns the Setup of a configuration. Reads its files. Raises ConfigError with all problems."""
    return build(parts, check(parts, loaded), overrides)


def build(parts: Parts, checked: Checked, overrides: Mapping[str, Override]) -> Setup:
    """Returns the Setup of a checked configuration. Raises ConfigError when the guard or a relay cannot be made."""
    settings = checked.loaded.settings
    port = parts.port
    is_ours = _is_ours(settings, port)
    own_url = _own_url(settings, port)
    guard, resolver, registry = _routes(parts, checked)
    router = Router(
        checked.rules,
        overrides,
        [RelayInfo(name, registry.addresses_only(name)) for name in registry.relay_names],
        settings,
        checked.loaded.relays.groups,
        is_home=HomeNetwork(guard, resolver.in_files, resolver.zone_names, resolver.is_local_zone).covers,
    )
    return Setup(
        loaded=checked.loaded,
        inbound=InboundHandshake(settings.limits, checked.credentials, is_ours, parts.recent_clients),
        guard=guard,
        router=router,
        registry=registry,
        resolver=resolver,
        pages=checked.pages,
        knowledge=parts.knowledge,
        own_url=own_url,
        port=port,
        named=NamedOnly(checked.programs, _terms_without_relays(parts, checked)) if checked.programs else None,
    )


def registry_with(parts: Parts, checked: Checked, added: Sequence[RelayConfig]) -> Registry:
    """Returns a registry with these relays, which are in no Setup yet, for a test of them. It has those in use as well
    without keys, and keys that a chain names: what the engine knows of the others stays as it is. The caller retires
    its keys. Raises ConfigError."""
    settings = checked.loaded.settings
    loaded = replace(checked.loaded, settings=replace(settings, relay=(*settings.relay, *added)))
    names = {relay.name for relay in added}
    new = {relay.name: relay for relay in loaded.relays.in_use if relay.name in names}
    known = {relay.name: relay for relay in checked.relays} | new  # the former with their passwords
    named = {part for name in new for part in _all_names_in(name, known)}
    kept = (relay for relay in known.values() if relay.name in named or not _has_key(relay.name, known))
    return _routes(parts, replace(checked, loaded=loaded, relays=tuple(kept)))[2]


def _all_names_in(name: str, known: Mapping[str, Relay], depth: int = 0) -> set[str]:
    """Returns the names in the chain of a relay, at any depth, with its own."""
    if name not in known or depth > CHAIN_LIMIT:
        return {name}
    parts = (hop for hop in known[name].hops if isinstance(hop, str))
    return {name}.union(*(_all_names_in(part, known, depth + 1) for part in parts))


def _has_key(name: str, known: Mapping[str, Relay]) -> bool:
    relays = (known[part] for part in _all_names_in(name, known) if part in known)
    return any(not isinstance(hop, str) and hop.key is not None for relay in relays for hop in relay.hops)


def _routes(parts: Parts, checked: Checked) -> tuple[Guard, Resolver, Registry]:
    """Returns the guard and the resolver of direct destinations, and the registry. Raises ConfigError."""
    ports = parts.own_ports
    guard = guard_of(checked.loaded, ports=ports)
    relay_guard = refusal_by(guard_of_relays(ports=ports))
    resolvers = make_resolvers(parts, checked, guard, relay_guard)
    registry = make_registry(parts, checked, resolvers, guard, relay_guard)
    for path in resolvers.through:
        path.registry = registry
    return guard, resolvers.direct, registry


@frozen_dataclass
class Resolvers:
    """The resolvers for the names of relays and of direct destinations."""

    relays: RelayLookup
    direct: Resolver
    behind: Callable[[Dialer], EncryptedLookup] | None
    """Makes a lookup that sends its queries through a dialer alone; None without encrypted DNS servers."""
    through: tuple[PathThroughRelay, ...]
    """The paths of their encrypted queries that lead through relays. Their registry is set before anything is dialed.
    This is the one cycle in a Setup: the registry has the direct dialer, whose resolver sends queries through relays,
    which the registry dials."""


class PathThroughRelay:
    """The path through one relay. `build` sets `registry`."""

    registry: Registry

    def __init__(self, name: str) -> None:
        self._route = Route((name,))

    async def dial(self, destination: Destination) -> Stream:
        """See Dialer."""
        return await self.registry.dialer(self._route).dial(destination)

    def __repr__(self) -> str:
        return f"<relay {self._route}>"


def make_resolvers(parts: Parts, checked: Checked, guard: Guard, relay_guard: GuardAddress) -> Resolvers:
    """Returns the resolvers, which use the system's DNS and encrypted DNS servers.

    The one for direct routes reaches the servers by address, and then through every relay. The one for relays reaches
    them by address, and then through relays that need no lookup, since a lookup through a relay that needs a lookup
    itself might never end. It uses no other DNS, nor `[dns.hosts]`, which is for direct routes, nor a guard, since a
    relay may have any address; names of relays with `public_only` resolve to public addresses only."""
    settings = checked.loaded.settings
    dns = settings.dns
    public_only = checked.loaded.relays.public_only
    network = parts.knowledge.network
    system, options = _system_resolver(parts, dns), _resolver_options(settings)
    for_relays = replace(options, controls=())
    if options.encrypted_for is EncryptedFor.SUSPECTS:  # a relay's name is always hidden, whatever the beliefs
        for_relays = replace(for_relays, encrypted_for=EncryptedFor.PUBLIC)
    # This path needs no lookup, so the first query has one.
    by_address = TcpDialer(parts.poller, Resolver(), relay_guard, connect_timeout_s=dns.secure_timeout_s)
    through = {relay.name: PathThroughRelay(relay.name) for relay in checked.relays}
    unnamed = (path for name, path in through.items() if not first_hop_is_named(name, checked.relays))
    encrypted = encrypted_for_relays = reserve = behind = None
    if checked.reserve_servers:  # by address alone: a relay that works reaches the servers of `[dns] servers` as well
        reserve = EncryptedDns(checked.reserve_servers, (by_address,), dns, network=network)
    if checked.servers:
        paths: tuple[Dialer, ...] = (by_address, *through.values())
        encrypted = EncryptedDns(checked.servers, paths, dns, network=network, reserve=reserve)
        paths = (by_address, *unnamed)
        encrypted_for_relays = EncryptedDns(checked.servers, paths, dns, network=network, reserve=reserve)

        def behind(dialer: Dialer) -> EncryptedLookup:
            asked = EncryptedDns(checked.servers, (dialer,), dns, network=network, warns=False)  # it may be the key
            return EncryptedLookup(Resolver(options=for_relays, knowledge=NothingKnown(network), encrypted=asked))

    return Resolvers(
        RelayLookup(
            Resolver(
                options=for_relays,
                knowledge=NothingKnown(network),
                system=system,
                encrypted=encrypted_for_relays,
            ),
            parts.relay_addresses,
            network=network,
            patience_s=dns.secure_stagger_s,
            public_only=public_only,
            is_public=public_addresses() if public_only else None,
        ),
        Resolver(
            dns.hosts, options=options, knowledge=parts.knowledge, guard=guard, system=system, encrypted=encrypted
        ),
        behind,
        tuple(through.values()),
    )


def _system_resolver(parts: Parts, dns: Dns) -> StubResolver | None:
    if sys.platform != "linux":  # elsewhere only the system knows its DNS servers
        return None
    return StubResolver(
        poller=parts.poller,
        retry_s=dns.retry_s,
        second_answer_s=dns.second_answer_s,
        is_shared=is_public_suffix,
        has_ipv6=parts.knowledge.has_ipv6,
        files_every_s=_FILES_EVERY_S,
    )


def _resolver_options(settings: Settings) -> ResolverOptions:
    return ResolverOptions(
        timeout_s=settings.limits.resolve_timeout_s,
        keep_s=settings.limits.resolve_keep_s,
        finding_keep_s=settings.dns.finding_keep_s,
        encrypted_for=EncryptedFor(settings.dns.secure),
        local=tuple(settings.dns.local),
        controls=tuple(host for page in settings.auto.controls if (host := urlsplit(page).hostname)),
    )


class _AloneWithNames(NothingKnown):
    """The knowledge for clients that are kept out: which names no plain query may contain. It takes no report."""

    def __init__(self, knowledge: Knowledge) -> None:
        super().__init__(knowledge.network)
        self._knowledge = knowledge

    def has_ipv6(self) -> bool:
        return self._knowledge.has_ipv6()

    def is_suspect(self, host: str) -> bool:
        return self._knowledge.is_suspect(host)

    def wants_second_opinion(self, host: str) -> bool:
        return False


def _terms_without_relays(parts: Parts, checked: Checked) -> Callable[[Guard], RaceTerms]:
    """Returns what makes the terms of `NamedOnly`, once for each guard. Encrypted DNS is reached by address alone,
    never through a relay."""
    settings = checked.loaded.settings
    relay_guard = refusal_by(guard_of_relays(ports=parts.own_ports))

    @cache
    def terms(guard: Guard) -> RaceTerms:
        dns, knowledge = settings.dns, _AloneWithNames(parts.knowledge)
        by_address = TcpDialer(parts.poller, Resolver(), relay_guard, connect_timeout_s=dns.secure_timeout_s)
        encrypted = None
        if checked.servers:
            encrypted = EncryptedDns(checked.servers, (by_address,), dns, network=knowledge.network, warns=False)
        resolver = Resolver(
            dns.hosts,
            options=_resolver_options(settings),
            knowledge=knowledge,
            guard=guard,
            system=_system_resolver(parts, dns),
            encrypted=encrypted,
        )
        direct = TcpDialer(
            parts.poller,
            resolver,
            refusal_by(guard, resolver),
            connect_timeout_s=settings.limits.connect_timeout_s,
        )

        def dialer(route: Route, *, avoid_residual: bool = True) -> Dialer:
            return direct if route == DIRECT else _Nowhere()

        return RaceTerms(dialer, direct=direct, tcp_info=TcpInfo(settings.detect), detect=settings.detect)

    return terms


class _Nowhere:
    """In place of a relay or a strategy."""

    async def dial(self, destination: Destination) -> Stream:
        raise DialError("this client goes direct only", stage=Stage.CONNECT, symptom=Symptom.FORBIDDEN)


def make_registry(
    parts: Parts, checked: Checked, resolvers: Resolvers, guard: Guard, relay_guard: GuardAddress
) -> Registry:
    """Returns the registry, which has the dialer of every route. What connects from this computer does so to addresses
    that a guard allows: `guard` for direct connections, `relay_guard` for those to relays."""
    settings = checked.loaded.settings
    limits = settings.limits
    detect = settings.detect
    never_relay = DomainSet.of(settings.auto.never_relay)
    refusal = refusal_by(guard, resolvers.direct)
    poller = parts.poller
    secure = None
    if checked.servers:
        lookup = EncryptedLookup(resolvers.direct)
        secure = TcpDialer(poller, lookup, refusal, connect_timeout_s=limits.connect_timeout_s)
    return Registry(
        checked.relays,
        direct=TcpDialer(poller, resolvers.direct, refusal, connect_timeout_s=limits.connect_timeout_s),
        to_relays=TcpDialer(
            poller, resolvers.relays, relay_guard, connect_timeout_s=limits.handshake_timeout_s, speaks_at_once=True
        ),
        road=RoadToRelays(
            lookup=resolvers.relays,
            beliefs=parts.knowledge.ways,
            network=parts.knowledge.network,
            tcp_info=parts.tcp_info,
            detect=detect,
            strategies=tuple(filter(cuts_hello, settings.auto.ladder)),
            retests=settings.auto.retest,
        ),
        secure=secure,
        knowledge=parts.knowledge,
        may_relay=lambda host: never_relay.covering(host) is None,
        handshake_timeout_s=limits.handshake_timeout_s,
        path_timeout_s=detect.give_up_s,
        detect=detect,
        groups={group.name: group.members for group in checked.loaded.relays.groups},
        shared=parts.shared_relays,
        keys=parts.keys.get() if parts.keys is not None and has_keys(settings) else None,
        key_lookup=resolvers.relays,
        lookup_through=None if resolvers.behind is None else _addresses_behind(resolvers.behind, refusal),
    )


def _addresses_behind(behind: Callable[[Dialer], EncryptedLookup], refusal: GuardAddress) -> LookupThrough:
    """Returns the lookups for keys that take addresses. The query goes through the key itself, since what a rule sends
    to a relay is told to nobody else. A name leads to no address there that direct may not reach: behind the key's
    server is a network of others."""

    def through(key: Dialer) -> DestinationLookup:
        lookup = behind(key)

        async def addresses(destination: Destination) -> Sequence[IPAddress]:
            found = await lookup.resolve(destination.host)
            reasons = [refusal(destination, address) for address in found]
            if allowed := [address for address, reason in zip(found, reasons, strict=True) if reason is None]:
                return allowed
            raise DialError(str(reasons[0]), stage=Stage.CONNECT, symptom=Symptom.FORBIDDEN)

        return addresses

    return through


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
