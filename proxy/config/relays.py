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
    """A chain's item is a relay's name or a URL, and only the latter has a colon."""
    return ":" not in item


def names_in(url: str) -> tuple[str, ...]:
    """The relays that a chain names."""
    return tuple(item.strip() for item in url.split(">") if is_name(item))


def enabled_relays(relays: Sequence[RelayConfig]) -> tuple[RelayConfig, ...]:
    """Those that are enabled, with all that their chains name, in the order of the configuration."""
    by_name = {relay.name: relay for relay in relays}

    def works(name: str, within: frozenset[str]) -> bool:
        relay = by_name.get(name)
        if relay is None or name in within:  # a fault of the configuration: `checks` reports it
            return True
        return relay.enabled and all(works(part, within | {name}) for part in names_in(relay.url))

    return tuple(relay for relay in relays if works(relay.name, frozenset()))


def withheld_credentials(relay: RelayConfig) -> str:
    """Why Byway does not send this relay's user and password, with what to do about it; empty: it sends them.

    Only URLs of the relay's own are judged: each relay that its chain names has a sentence of its own."""
    if relay.allow_plaintext_credentials:
        return ""
    for place, url in _hops(relay):
        if url.kind in _VERIFIED_TLS or (place == 0 and is_loopback(url.host)):
            continue
        return (
            f"Byway does not send relay {relay.name} its user and password: they would cross the network unencrypted "
            f"({url.kind}://). Use https://, or set allow_plaintext_credentials = true for this relay"
        )
    return ""


def _hops(relay: RelayConfig) -> Iterator[tuple[int, RelayUrl]]:
    """The relay's own URLs that come with a user or a password, each with its place in the chain."""
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
