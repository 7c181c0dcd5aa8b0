"""Properties of the configured relays: which are in use, what chains refer to, and which passwords must not be sent.

A relay is in use unless it, or a relay that its chain names, has `enabled = false`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from proxy.config.schema import RelayConfig
from proxy.wire import relay_url
from proxy.wire.relay_url import RelayKind, RelayUrl

_VERIFIED_TLS = (RelayKind.HTTPS,)


def is_name(item: str) -> bool:
    """Whether a chain's item is a relay's name and no URL: only a URL has a colon."""
    return ":" not in item


def names_in(url: str) -> tuple[str, ...]:
    """Returns the names of the relays in a chain."""
    return tuple(item.strip() for item in url.split(">") if is_name(item))


def enabled_relays(relays: Sequence[RelayConfig]) -> tuple[RelayConfig, ...]:
    """Returns the relays that are enabled, and whose chain names only enabled ones, in the order of the
    configuration."""
    by_name = {relay.name: relay for relay in relays}

    def is_usable(name: str, path: frozenset[str]) -> bool:
        relay = by_name.get(name)
        if relay is None or name in path:  # an unknown relay or a loop: `checks` reports it
            return True
        return relay.enabled and all(is_usable(part, path | {name}) for part in names_in(relay.url))

    return tuple(relay for relay in relays if is_usable(relay.name, frozenset()))


def withheld_credentials(relay: RelayConfig) -> str:
    """Returns why Byway does not send this relay's user and password, and what to do; empty: it sends them.

    Only the relay's own URLs are checked: each relay that its chain names has a sentence of its own."""
    if relay.allow_plaintext_credentials:
        return ""
    for place, url in _hops(relay):
        if url.kind in _VERIFIED_TLS or (place == 0 and all(is_loopback(endpoint.host) for endpoint in url.endpoints)):
            continue
        return (
            f"Byway does not send relay {relay.name} its user and password: they would cross the network unencrypted "
            f"({url.kind}://). Use https://, or set allow_plaintext_credentials = true for this relay"
        )
    return ""


def _hops(relay: RelayConfig) -> Iterator[tuple[int, RelayUrl]]:
    """Yields the relay's own URLs that have a user or a password, each with its position in the chain."""
    items = relay_url.parse_chain(relay.url)
    for place, item in enumerate(items):
        if is_name(item):
            continue
        url = relay_url.parse(item)
        if url.sends_credentials or (relay.password_cmd and place == len(items) - 1):
            yield place, url


def is_loopback(host: str) -> bool:
    """Whether a relay's host is a literal of this computer or `localhost`; names are not resolved."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
