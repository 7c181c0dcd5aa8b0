"""Checks settings that depend on each other: finds faults, and keys that have less effect than their names suggest.

A fault is the path of a key and a sentence; `load` adds file and line. The most important check is the first: a proxy
that other computers can reach without a password is an open proxy.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from proxy.config import relays
from proxy.config.schema import ListConfig, Settings
from proxy.config.suggestions import quoted, suggestion
from proxy.wire import dns_url, https_url, relay_url

Path = tuple[str | int, ...]


class Fault(NamedTuple):
    """An error in the settings: the path of the key, and a sentence that does not contain file and line."""

    path: Path
    sentence: str


def faults(settings: Settings) -> Iterator[Fault]:
    """Yields the errors with which Byway cannot start."""
    yield from _listen_faults(settings)
    yield from _name_faults(settings)
    yield from _dns_faults(settings)
    chains = {relay.name: relays.names_in(relay.url) for relay in settings.relay}
    for number in range(len(settings.relay)):
        yield from _relay_faults(settings, number, chains)
    for number in range(len(settings.group)):
        yield from _group_faults(settings, number)
    for number in range(len(settings.subscription)):
        yield from _subscription_faults(settings, number)
    for number, source in enumerate(settings.list):
        yield from _source_faults(number, source)
    yield from _addon_faults(settings)


def notices(settings: Settings) -> Iterator[Fault]:
    """Yields warnings about valid settings that have less effect than the user may expect."""
    for number, relay in enumerate(settings.relay):
        if withheld := relays.withheld_credentials(relay):
            yield Fault(("relay", number, "url"), withheld)
    for number, source in enumerate(settings.list):
        if source.url and source.via == "relay" and not any(relay.enabled for relay in settings.relay):
            yield Fault(
                ("list", number, "via"),
                f"list {source.name} is fetched through relays only, and there is none: add one with "
                '`byway relay add URL`, or set via = "direct"',
            )


def _listen_faults(settings: Settings) -> Iterator[Fault]:
    listen = settings.listen
    if not ipaddress.ip_address(listen.address).is_loopback and not listen.user:
        yield Fault(
            ("listen", "address"),
            f"listening on {listen.address} lets everyone who can reach this computer use the proxy; "
            "set listen.user and listen.password_cmd, or listen on 127.0.0.1",
        )
    if listen.user and not listen.password_cmd:
        yield Fault(("listen", "user"), "listen.user needs listen.password_cmd, a command that prints the password")
    if listen.password_cmd and not listen.user:
        yield Fault(("listen", "password_cmd"), "listen.password_cmd needs listen.user")
    if ":" in listen.user:
        yield Fault(("listen", "user"), "listen.user cannot contain a colon (HTTP Basic does not allow it)")


def _addon_faults(settings: Settings) -> Iterator[Fault]:
    if not settings.addons:
        return
    from proxy.config.mitmproxy_version import FORBIDDEN_OPTIONS  # needed only with addons

    for name, table in settings.addons.items():
        for key in table.options:
            if key.startswith(FORBIDDEN_OPTIONS):
                sentence = f"{quoted(key)} trusts a CA whose private key is public, and is not allowed"
                yield Fault(("addons", name, key), sentence)


def _name_faults(settings: Settings) -> Iterator[Fault]:
    for section in ("relay", "group", "subscription", "list"):
        names = [entry.name for entry in getattr(settings, section)]
        counts: Counter[str] = Counter()
        for number, name in enumerate(names):
            counts[name] += 1
            if counts[name] == 2:  # reported once, at the second table
                yield Fault((section, number, "name"), f"two [[{section}]] tables have the name {quoted(name)}")
    for section in ("relay", "group", "subscription"):
        for number, entry in enumerate(getattr(settings, section)):
            if entry.name.lower() == "direct":
                yield Fault((section, number, "name"), f"{quoted(entry.name)} is reserved; choose another name")


def _dns_faults(settings: Settings) -> Iterator[Fault]:
    for number, text in enumerate(settings.dns.servers):
        try:
            dns_url.parse(text)
        except ValueError as error:
            yield Fault(("dns", "servers", number), f"dns.servers: {error}")
    if settings.dns.secure == "always" and not settings.dns.servers:
        yield Fault(("dns", "secure"), 'dns.secure = "always" needs dns.servers')


def _relay_faults(settings: Settings, number: int, chains: Mapping[str, tuple[str, ...]]) -> Iterator[Fault]:
    """Yields the faults of one relay's URL. No sentence contains a password."""
    path: Path = ("relay", number, "url")
    relay = settings.relay[number]
    try:
        items = relay_url.parse_chain(relay.url)
    except ValueError as error:
        yield Fault(path, f"relay {relay.name}: {error}")
        return
    groups = [*(it.name for it in settings.group), *(it.name for it in settings.subscription)]
    if sum(item in groups for item in items) > 1:
        yield Fault(path, f"relay {relay.name}: the chain names more than one group; it may name one")
    for item in items:
        if relays.is_name(item):
            if item not in chains and item not in groups:
                yield Fault(path, f"relay {relay.name}: {_unknown_relay(item, [n for n in chains if n != relay.name])}")
            elif group := next((part for part in chains.get(item, ()) if part in groups), ""):
                yield Fault(path, f"relay {relay.name}: {item} is a chain over group {group}, so no chain may name it")
            continue
        try:
            url = relay_url.parse(item, relay.allowed)
        except ValueError as error:
            yield Fault(path, f"relay {relay.name}: {error}")
            continue
        if url.key is not None and not relay.local and any(relays.is_local_address(it.host) for it in url.endpoints):
            sentence = "the server of its key is in the local network; to allow that, set local = true"
            yield Fault(path, f"relay {relay.name}: {sentence}")
        for endpoint in url.endpoints:
            if endpoint.port == settings.listen.port and _is_us(endpoint.host, settings.listen.address):
                yield Fault(path, f"relay {relay.name} is Byway itself ({endpoint}); requests would loop")
    if _contains_itself(relay.name, chains):
        yield Fault(path, f"relay {relay.name}: the chain contains itself")


def _source_faults(number: int, source: ListConfig) -> Iterator[Fault]:
    """Yields the faults of a list's source. No sentence contains the URL."""
    path: Path = ("list", number, "source")
    if source.url:
        if source.url.lower().startswith("http://"):
            sentence = "the source of a list cannot be http://, which everyone on the way can change; write https://"
            yield Fault(path, sentence)
            return
        try:
            https_url.parse(source.url)
        except ValueError as error:
            yield Fault(path, f"the source of a list is a file or an https:// URL: {error}")
        return
    if source.refresh:
        sentence = "refresh is for https:// sources; a file is read again whenever it changes"
        yield Fault(("list", number, "refresh"), sentence)
    if source.via != "relay":
        yield Fault(("list", number, "via"), "via is for https:// sources")


def _subscription_faults(settings: Settings, number: int) -> Iterator[Fault]:
    """Yields the faults of a subscription. No sentence contains the URL."""
    subscription = settings.subscription[number]
    names = {*(it.name for it in settings.relay), *(it.name for it in settings.group)}
    if subscription.name in names:
        sentence = f"subscription {subscription.name} has the name of a relay or a group; choose another name"
        yield Fault(("subscription", number, "name"), sentence)
    try:
        https_url.parse(subscription.source)
    except ValueError as error:
        yield Fault(("subscription", number, "source"), f"the source of a subscription is an https:// URL: {error}")


def _group_faults(settings: Settings, number: int) -> Iterator[Fault]:
    group = settings.group[number]
    by_name = {relay.name: relay for relay in settings.relay}
    groups = [*(it.name for it in settings.group), *(it.name for it in settings.subscription)]
    if group.name in by_name:
        yield Fault(("group", number, "name"), f"group {group.name} has the name of a relay; choose another name")
    if not group.relays:
        yield Fault(("group", number, "relays"), f"group {group.name} has no relays; name at least one")
    for name, times in Counter(group.relays).items():
        if times > 1:
            sentence = f"group {group.name} names relay {quoted(name)} more than once"
        elif name in groups:
            sentence = f"group {group.name}: {quoted(name)} is a group; name its relays instead"
        elif name not in by_name:
            sentence = f"group {group.name}: unknown relay {quoted(name)}{suggestion(name, by_name)}"
        elif over := relays.group_in(by_name[name].url, groups):
            sentence = f"group {group.name}: relay {name} is a chain over group {over}, so no group may have it"
        else:
            continue
        yield Fault(("group", number, "relays"), sentence)


def _unknown_relay(item: str, others: list[str]) -> str:
    if "@" in item:  # the text before it may be the rest of a password that contains a >
        return "the relay's host or port cannot be read; write a > in a user or password as %3E"
    return f"unknown relay {quoted(item)}{suggestion(item, others) or '; a host needs a port'}"


def _contains_itself(name: str, chains: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a relay's chain names the relay again, directly or through other chains."""
    to_visit, visited = [name], set[str]()
    while to_visit:
        items = chains.get(to_visit.pop(), ())
        if name in items:
            return True
        to_visit += [item for item in items if item not in visited]
        visited.update(items)
    return False


def _is_us(host: str, listening: str) -> bool:
    """Whether a relay's host is the address where Byway listens. All loopback and wildcard addresses count: a
    connection to any of them reaches Byway."""
    if host == listening or host == "localhost" or host.endswith((".localhost", "localhost.localdomain")):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    own = ipaddress.ip_address(listening)
    return address.is_unspecified or (address.is_loopback and (own.is_loopback or own.is_unspecified))
