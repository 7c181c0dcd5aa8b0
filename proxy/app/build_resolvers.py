"""How names are resolved, as `[dns]` says: by the system, and by encrypted DNS servers.

There are two resolvers. The one for direct routes may reach encrypted servers through relays as well. The one for the
relays' own names cannot, since it is needed before any relay can carry a query.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from proxy.config.file_owners import check_obeyed
from proxy.config.paths import Paths
from proxy.config.schema import Settings
from proxy.detect.scopes import is_public_suffix
from proxy.model import UNKNOWN_NETWORK, DnsFinding, IPAddress, NetworkId
from proxy.model.errors import ConfigError
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tls import context_trusting
from proxy.net.dns.encrypted import EncryptedDns
from proxy.net.dns.resolver import Resolver
from proxy.net.dns.stub_resolver import StubResolver
from proxy.wire import dns_url
from proxy.wire.dns_url import SecureServer


@dataclass(frozen=True, slots=True)
class ResolverHooks:
    """What resolvers need from the rest of Byway, and report to it."""

    network: Callable[[], NetworkId] = lambda: UNKNOWN_NETWORK
    """The current network: answers from another one are not used."""
    suspect: Callable[[str], bool] = lambda _: False
    """Whether a name must not be resolved in plain text."""
    found: Callable[[str, DnsFinding], None] = lambda _host, _finding: None
    """Called with forged answers that came in addition to the one in use."""


ALONE = ResolverHooks()
"""For commands, which run without the rest of Byway."""


def secure_servers(settings: Settings, paths: Paths) -> list[SecureServer]:
    """Those of `[dns] servers`; none with "never". Raises ConfigError for a `?ca=` that cannot be used."""
    if settings.dns.secure == "never":
        return []
    servers, problems = [], list[str]()
    for server in map(dns_url.parse, settings.dns.servers):
        if server.ca:
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
    ways: Sequence[Dialer],
    *,
    is_bogon: Callable[[str, IPAddress], bool],
    around: ResolverHooks,
) -> Resolver:
    """For direct routes. `ways` lead to the secure servers, the preferred first."""
    return Resolver(
        settings.dns.hosts,
        timeout_s=settings.limits.resolve_timeout_s,
        keep_s=settings.limits.resolve_keep_s,
        network=around.network,
        system=_system_dns(settings),
        secure=_secure_dns(settings, servers, ways, around),
        mode=settings.dns.secure,
        local=settings.dns.local,
        is_bogon=is_bogon,
        controls=_hosts_of(settings.auto.controls),
        suspect=around.suspect,
        found=around.found,
        finding_keep_s=settings.dns.finding_keep_s,
    )


def for_relays(settings: Settings, servers: Sequence[SecureServer], way: Dialer, *, around: ResolverHooks) -> Resolver:
    """For relays' own names: [dns.hosts] serves direct only, and a relay may be anywhere."""
    return Resolver(
        timeout_s=settings.limits.resolve_timeout_s,
        keep_s=settings.limits.resolve_keep_s,
        network=around.network,
        system=_system_dns(settings),
        secure=_secure_dns(settings, servers, [way], around),
        mode="always" if settings.dns.secure == "always" else "never",
        local=settings.dns.local,
    )


def _secure_dns(
    settings: Settings, servers: Sequence[SecureServer], ways: Sequence[Dialer], around: ResolverHooks
) -> EncryptedDns | None:
    if not servers:
        return None
    return EncryptedDns(
        servers,
        ways,
        timeout_s=settings.dns.secure_timeout_s,
        stagger_s=settings.dns.secure_stagger_s,
        down_s=settings.dns.secure_down_s,
        idle_s=settings.dns.secure_idle_s,
        network=around.network,
    )


def _system_dns(settings: Settings) -> StubResolver | None:
    """None except on Linux: elsewhere only the system knows its DNS servers."""
    if sys.platform != "linux":
        return None
    return StubResolver(
        retry_s=settings.dns.retry_s, second_answer_s=settings.dns.second_answer_s, is_shared=is_public_suffix
    )


def _hosts_of(pages: Sequence[str]) -> tuple[str, ...]:
    return tuple(host for page in pages if (host := urlsplit(page).hostname))
