"""How names are resolved, as `[dns]` says: by the system, and by encrypted DNS servers.

There are two resolvers. The one for direct routes may reach encrypted servers through every relay as well. The one for
the relays' own names only through those that need no lookup themselves, and it asks no other DNS for them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from proxy.config.file_owners import check_obeyed
from proxy.config.paths import Paths
from proxy.config.relays import public_only_hosts
from proxy.config.schema import Settings
from proxy.detect.scopes import is_public_suffix
from proxy.model import IPAddress
from proxy.model.errors import ConfigError
from proxy.net.dialers.dialer import Dialer
from proxy.net.dns.encrypted import EncryptedDns
from proxy.net.dns.relay_lookup import AddressMemory, RelayLookup
from proxy.net.dns.resolver import EncryptedFor, Resolver, ResolverOptions
from proxy.net.dns.stub_resolver import StubResolver
from proxy.net.dns.tampering import BogonCheck
from proxy.net.knowledge import Knowledge, NothingKnown
from proxy.net.poller import Poller
from proxy.wire import dns_url
from proxy.wire.dns_url import SecureServer


def secure_servers(settings: Settings, paths: Paths) -> list[SecureServer]:
    """Returns those of `[dns] servers`; none with "never". Raises ConfigError for a `?ca=` that cannot be used."""
    if settings.dns.secure == "never":
        return []
    servers, problems = [], list[str]()
    for server in map(dns_url.parse, settings.dns.servers):
        if server.ca:
            from proxy.net.dialers.tls import context_trusting  # few servers have a certificate of their own

            file = paths.named(server.ca)
            server = replace(server, ca=str(file))
            try:
                check_obeyed(file)
                context_trusting(server.ca)
            except ConfigError as error:
                problems += (f"[dns] servers: {problem}" for problem in error.problems)
        servers.append(server)
    if problems:
        raise ConfigError(problems)
    return servers


def for_direct(
    settings: Settings,
    servers: Sequence[SecureServer],
    query_paths: Sequence[Dialer],
    *,
    poller: Poller,
    guard: BogonCheck,
    knowledge: Knowledge,
) -> Resolver:
    """Returns the resolver of direct routes. `query_paths` dial the encrypted DNS servers, the preferred one first."""
    controls = tuple(host for page in settings.auto.controls if (host := urlsplit(page).hostname))
    return Resolver(
        settings.dns.hosts,
        options=replace(_options(settings), controls=controls),
        knowledge=knowledge,
        guard=guard,
        system=_system_dns(settings, poller, knowledge),
        encrypted=_encrypted_dns(settings, servers, query_paths, knowledge),
    )


def for_relays(
    settings: Settings,
    servers: Sequence[SecureServer],
    query_paths: Sequence[Dialer],
    memory: AddressMemory,
    *,
    poller: Poller,
    knowledge: Knowledge,
    is_public: Callable[[IPAddress], bool] | None = None,
) -> RelayLookup:
    """Returns the lookup of the relays' own names. `[dns.hosts]` is for direct only, and a relay may be anywhere. It
    takes only the network from `knowledge`. Names of relays that are for public addresses only
    lead to addresses that `is_public`."""
    options = _options(settings)
    if options.encrypted_for is EncryptedFor.SUSPECTS:  # a relay's name is always hidden, whatever is believed of sites
        options = replace(options, encrypted_for=EncryptedFor.PUBLIC)
    resolver = Resolver(
        options=options,
        knowledge=NothingKnown(knowledge.network),
        system=_system_dns(settings, poller, knowledge),
        encrypted=_encrypted_dns(settings, servers, query_paths, knowledge),
    )
    return RelayLookup(
        resolver,
        memory,
        network=knowledge.network,
        patience_s=settings.dns.secure_stagger_s,
        public_only=public_only_hosts(settings),
        is_public=is_public,
    )


def _options(settings: Settings) -> ResolverOptions:
    return ResolverOptions(
        timeout_s=settings.limits.resolve_timeout_s,
        keep_s=settings.limits.resolve_keep_s,
        finding_keep_s=settings.dns.finding_keep_s,
        encrypted_for=EncryptedFor(settings.dns.secure),
        local=tuple(settings.dns.local),
    )


def _encrypted_dns(
    settings: Settings, servers: Sequence[SecureServer], query_paths: Sequence[Dialer], knowledge: Knowledge
) -> EncryptedDns | None:
    if not servers:
        return None
    return EncryptedDns(
        servers,
        query_paths,
        timeout_s=settings.dns.secure_timeout_s,
        stagger_s=settings.dns.secure_stagger_s,
        down_s=settings.dns.secure_down_s,
        idle_s=settings.dns.secure_idle_s,
        network=knowledge.network,
    )


_FILES_EVERY_S = 0.1
"""The names of one page are looked up at once: the machine's files are looked at once for them."""


def _system_dns(settings: Settings, poller: Poller, knowledge: Knowledge) -> StubResolver | None:
    """Returns None except on Linux: elsewhere only the system knows its DNS servers."""
    if sys.platform != "linux":
        return None
    return StubResolver(
        poller=poller,
        retry_s=settings.dns.retry_s,
        second_answer_s=settings.dns.second_answer_s,
        is_shared=is_public_suffix,
        has_ipv6=knowledge.has_ipv6,
        files_every_s=_FILES_EVERY_S,
    )
