"""Makes the resolvers of a Setup from `[dns]`: they use the system's DNS and encrypted DNS servers.

There are two. The resolver for direct routes reaches encrypted servers by address and through every relay. The resolver
for the names of relays reaches them by address and through the relays that need no lookup, and uses no other DNS. Both
share the reserve servers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from proxy.config.relays import public_only_hosts
from proxy.config.schema import Settings
from proxy.detect.scopes import is_public_suffix
from proxy.net.dialers.dialer import Dialer
from proxy.net.dns.encrypted import EncryptedDns
from proxy.net.dns.relay_lookup import RelayLookup
from proxy.net.dns.resolver import EncryptedFor, Resolver, ResolverOptions
from proxy.net.dns.stub_resolver import StubResolver
from proxy.net.dns.tampering import BogonCheck
from proxy.net.knowledge import NothingKnown
from proxy.setup.checked import Checked, Parts
from proxy.setup.guard import public_addresses
from proxy.wire.dns_url import SecureServer


def reserve_dns(parts: Parts, checked: Checked, by_address: Dialer) -> EncryptedDns | None:
    """Returns the reserve servers, for both resolvers; None when there are none. They are reached by address alone: a
    relay that works reaches the servers of `[dns] servers` as well."""
    return _encrypted_dns(parts, checked, checked.reserve_servers, (by_address,), None)


def for_direct(
    parts: Parts, checked: Checked, guard: BogonCheck, query_paths: Sequence[Dialer], reserve: EncryptedDns | None
) -> Resolver:
    """Returns the resolver for direct routes. `query_paths` dial the encrypted DNS servers, the preferred
    first."""
    settings = checked.loaded.settings
    controls = tuple(host for page in settings.auto.controls if (host := urlsplit(page).hostname))
    return Resolver(
        settings.dns.hosts,
        options=replace(_options(settings), controls=controls),
        knowledge=parts.knowledge,
        guard=guard,
        system=_system_dns(parts, settings),
        encrypted=_encrypted_dns(parts, checked, checked.servers, query_paths, reserve),
    )


def for_relays(
    parts: Parts, checked: Checked, query_paths: Sequence[Dialer], reserve: EncryptedDns | None
) -> RelayLookup:
    """Returns the lookup for the names of relays. It does not use `[dns.hosts]`, which is for direct routes, nor a
    guard, since a relay may have any address. Names of relays with `public_only` resolve to public addresses only."""
    settings = checked.loaded.settings
    options = _options(settings)
    if options.encrypted_for is EncryptedFor.SUSPECTS:  # a relay's name is always hidden, whatever the beliefs
        options = replace(options, encrypted_for=EncryptedFor.PUBLIC)
    resolver = Resolver(
        options=options,
        knowledge=NothingKnown(parts.knowledge.network),
        system=_system_dns(parts, settings),
        encrypted=_encrypted_dns(parts, checked, checked.servers, query_paths, reserve),
    )
    return RelayLookup(
        resolver,
        parts.relay_addresses,
        network=parts.knowledge.network,
        patience_s=settings.dns.secure_stagger_s,
        public_only=public_only_hosts(settings),
        is_public=public_addresses() if any(relay.public_only for relay in settings.relay) else None,
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
    parts: Parts,
    checked: Checked,
    servers: Sequence[SecureServer],
    query_paths: Sequence[Dialer],
    reserve: EncryptedDns | None,
) -> EncryptedDns | None:
    if not servers:
        return None
    dns = checked.loaded.settings.dns
    return EncryptedDns(
        servers,
        query_paths,
        timeout_s=dns.secure_timeout_s,
        stagger_s=dns.secure_stagger_s,
        down_s=dns.secure_down_s,
        idle_s=dns.secure_idle_s,
        network=parts.knowledge.network,
        reserve=reserve,
    )


_FILES_EVERY_S = 0.1
"""Seconds between two checks of the hosts file and resolv.conf: the names of one page need only one check."""


def _system_dns(parts: Parts, settings: Settings) -> StubResolver | None:
    """Returns the stub resolver; None except on Linux, because elsewhere only the system knows its DNS servers."""
    if sys.platform != "linux":
        return None
    return StubResolver(
        poller=parts.poller,
        retry_s=settings.dns.retry_s,
        second_answer_s=settings.dns.second_answer_s,
        is_shared=is_public_suffix,
        has_ipv6=parts.knowledge.has_ipv6,
        files_every_s=_FILES_EVERY_S,
    )
