"""Properties of the configured relays: whether they are in use, their chains and groups, and whether their passwords
may be sent.

A relay is in use unless it, or a relay that its chain names, has `enabled = false`. A chain that names a group is a
group too: `far = "vps>eu"` expands to a chain for each relay of `eu`, such as `far/a`, so that each has its own health.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.config.schema import RelayConfig, Settings
from proxy.config.suggestions import quoted, suggestion
from proxy.model import Action, GroupPolicy, Override, RelayGroup
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import relay_url
from proxy.wire.relay_url import RelayKind, RelayUrl

if TYPE_CHECKING:
    from proxy.wire.keys.fields import Allowed


@frozen_dataclass
class Relay:
    """A relay, parsed. `hops` are passed in this order; each is a URL, or the name of another relay, which stands for
    all of its hops. A relay that is no chain has one hop."""

    name: str
    hops: tuple[str | RelayUrl, ...]
    allow_plaintext_credentials: bool = False
    password_cmd: str = ""

    @classmethod
    def parse(
        cls,
        name: str,
        url: str,
        *,
        allow_plaintext_credentials: bool = False,
        password_cmd: str = "",
        allowed: Allowed | None = None,
    ) -> Relay:
        """Parses the setting `url`; `allowed` is what the user says to keys. Raises ValueError with one sentence that
        shows no password."""
        return cls(name, relay_url.parse_hops(url, allowed), allow_plaintext_credentials, password_cmd)

    def with_password(self, password: str) -> Relay:
        """Returns the relay with the password of its last hop. Raises ValueError when that is the name of a relay, or a
        key."""
        *others, last = self.hops
        if isinstance(last, str):
            chain = ">".join(map(str, self.hops))
            raise ValueError(f"password_cmd needs a URL at the end of the chain; {chain} ends with relay {last}")
        if last.key is not None:
            raise ValueError("password_cmd is not for keys, which have their secrets in themselves")
        return replace(self, hops=(*others, replace(last, password=password)))


@frozen_dataclass
class Relays:
    """The relays and groups of valid settings, parsed; `relays_of` makes them."""

    expanded: Settings
    """The settings, where a chain over a group is replaced by a chain for each member."""
    in_use: tuple[Relay, ...]
    """In the configuration's order: the preferred one first."""
    groups: tuple[RelayGroup, ...]
    """The groups of the configuration, then the chains over a group. Relays that are not in use are left out. A group
    of the policy "select" keeps them: no other relay may replace the selected one."""
    public_only: frozenset[str]
    """The hosts of relays with `public_only`, without those that a relay without it has, too; and the hosts of keys
    without `local`. They must not resolve to local addresses."""


LOST_SHOWN = 10
"""The most overrides that are reported as lost: a removed group may have had thousands."""

_VERIFIED_TLS = (RelayKind.HTTPS,)


def is_name(item: str) -> bool:
    """Whether a chain's item is the name of a relay. A URL has a colon."""
    return ":" not in item


def names_in(url: str) -> tuple[str, ...]:
    """Returns the names of the relays in a chain."""
    return tuple(item.strip() for item in url.split(">") if is_name(item))


def group_in(url: str, groups: Collection[str]) -> str:
    """Returns the first group that a chain names; empty when it names none."""
    return next((name for name in names_in(url) if name in groups), "")


def is_member(name: str) -> bool:
    """Whether a name is that of a relay of a subscription, such as `shop/DE-1`."""
    return "/" in name


def relay_names(settings: Settings) -> tuple[str, ...]:
    """Returns the names that rules and overrides may use: those of relays, then those of groups and subscriptions. Not
    those of a subscription's relays: they may be gone after its next fetch."""
    relays = (relay.name for relay in settings.relay if not is_member(relay.name))
    groups = (*(group.name for group in settings.group), *(item.name for item in settings.subscription))
    return tuple(dict.fromkeys((*relays, *groups)))


def lost_overrides(settings: Settings, overrides: Mapping[str, Override]) -> list[str]:
    """Returns a sentence for each override that names an unknown relay or group, or that has no enabled relay, so that
    its site does not open. LOST_SHOWN at most."""
    return list(itertools.islice(_lost_overrides(settings, overrides), LOST_SHOWN))


def _lost_overrides(settings: Settings, overrides: Mapping[str, Override]) -> Iterator[str]:
    configured, relays = frozenset(relay_names(settings)), relays_of(settings)
    in_use = {relay.name for relay in relays.in_use}
    members = {group.name: group.members for group in relays.groups}
    written = {group.name: group.relays for group in settings.group}
    for host, override in overrides.items():
        relay, forget = override.relay, f"run `byway site forget {host}`"
        if relay and relay not in configured:
            yield f"the override of {host} names relay {relay}, which is not configured: set another, or {forget}"
        elif override.action is not Action.RELAY:
            continue  # it goes direct
        elif relay and in_use.isdisjoint(members.get(relay, (relay,))):
            enable = " ".join(written.get(relay, (relay,)))
            yield (
                f"the override of {host} names relay {relay}, which is disabled, so {host} does not open: run "
                f"`byway relay enable {enable}`, or {forget}"
            )
        elif not in_use:
            yield (
                f"the override of {host} needs a relay, and none is in use, so {host} does not open: add one with "
                f"`byway relay add URL`, or {forget}"
            )


def expanded(settings: Settings) -> Settings:
    """Returns the settings with each chain over a group replaced by a chain for each member."""
    if not settings.group:
        return settings
    members = {group.name: group.relays for group in settings.group}
    relays: list[RelayConfig] = []
    for relay in settings.relay:
        if group := group_in(relay.url, members):
            relays += (_over_member(relay, group, member) for member in members[group])
        else:
            relays.append(relay)
    return replace(settings, relay=tuple(relays))


def relays_of(settings: Settings) -> Relays:
    """Parses the relays and groups of valid settings."""
    whole = expanded(settings)
    names = {relay.name for relay in enabled_relays(whole.relay)}
    in_use = []
    hosts: dict[bool, set[str]] = {True: set(), False: set()}
    of_keys = set[str]()
    for config in whole.relay:
        relay = Relay.parse(
            config.name,
            config.url,
            allow_plaintext_credentials=config.allow_plaintext_credentials,
            password_cmd=config.password_cmd,
            allowed=config.allowed,
        )
        urls = [hop for hop in relay.hops if isinstance(hop, RelayUrl)]
        others = (url for url in urls if url.key is None)
        hosts[config.public_only].update(endpoint.host for url in others for endpoint in url.endpoints)
        keys = (url for url in urls if url.key is not None and not config.local)
        of_keys.update(endpoint.host for url in keys for endpoint in url.endpoints)
        if config.name in names:
            in_use.append(relay)
    return Relays(whole, tuple(in_use), _groups(settings, names), frozenset(hosts[True] - hosts[False] | of_keys))


def _groups(settings: Settings, in_use: Collection[str]) -> tuple[RelayGroup, ...]:
    groups = {group.name: group for group in settings.group}
    chains = ((relay.name, group_in(relay.url, groups)) for relay in settings.relay)
    made = []
    for name, over in (*((name, name) for name in groups), *((name, over) for name, over in chains if over)):
        policy, choices = GroupPolicy(groups[over].policy), groups[over].relays
        pairs = [(choice if name == over else _member_name(name, choice), choice) for choice in choices]
        used = [pair for pair in pairs if pair[0] in in_use or policy is GroupPolicy.SELECT]
        members, chosen = (tuple(pair[place] for pair in used) for place in (0, 1))
        made.append(RelayGroup(name, members, policy, chosen, over))
    return tuple(made)


def check_selection(settings: Settings, group: str, relay: str) -> None:
    """Raises ValueError, with a sentence, unless the user can select `relay` in `group`."""
    groups = {each.name: each for each in settings.group}
    if group not in groups:
        if over := next((group_in(each.url, groups) for each in settings.relay if each.name == group), ""):
            raise ValueError(f"{group} is a chain over group {over}: run `byway relay use {over} RELAY`")
        if any(each.name == group for each in settings.relay):
            raise ValueError(f"{group} is a relay, not a group")
        hint = suggestion(group, groups) if groups else "; no group is configured"
        raise ValueError(f"there is no group {quoted(group)}{hint}")
    if (policy := groups[group].policy) != "select":
        raise ValueError(f'group {group} chooses by itself ({policy}); to choose yourself, set policy = "select"')
    if relay not in groups[group].relays:
        raise ValueError(f"group {group} has no relay {quoted(relay)}{suggestion(relay, groups[group].relays)}")
    if not next(each for each in settings.relay if each.name == relay).enabled:
        raise ValueError(f"relay {relay} is disabled: run `byway relay enable {relay}` first")


def group_to_select_in(groups: Mapping[str, Sequence[str]], relay: str) -> str:
    """Returns the one group in which the user can select `relay`. `groups` are the relays of each group of the policy
    "select". Raises ValueError, with a sentence, unless exactly one group has the relay."""
    if relay in groups:
        raise ValueError(f"{relay} is a group: run `byway relay use {relay} RELAY`")
    having = [name for name, relays in groups.items() if relay in relays]
    if len(having) > 1:
        raise ValueError(f"groups {' and '.join(having)} have {relay}: run `byway relay use {having[0]} {relay}`")
    if not having:
        members = dict.fromkeys(name for relays in groups.values() for name in relays)
        raise ValueError(f'no group with policy = "select" has a relay {quoted(relay)}{suggestion(relay, members)}')
    return having[0]


def relays_meant(names: Iterable[str], groups: Iterable[RelayGroup], in_use: Collection[str]) -> list[str]:
    """Returns the relays with these names, each once; for the name of a group, its members that are in use. Raises
    ValueError, with a sentence, for a group without such members."""
    members = {group.name: group.members for group in groups}
    meant: dict[str, None] = {}
    for name in names:
        used = [each for each in members.get(name, (name,)) if name not in members or each in in_use]
        if not used:
            raise ValueError(f"no relay of group {name} is enabled: run `byway relay enable RELAY` first")
        meant |= dict.fromkeys(used)
    return list(meant)


def _over_member(relay: RelayConfig, group: str, member: str) -> RelayConfig:
    """Returns a chain over a group with the group replaced by one member."""
    items = (member if item.strip() == group else item for item in relay.url.split(">"))
    return replace(relay, name=_member_name(relay.name, member), url=">".join(items))


def _member_name(chain: str, member: str) -> str:
    return f"{chain}/{member}"


def enabled_relays(relays: Sequence[RelayConfig]) -> tuple[RelayConfig, ...]:
    """Returns the relays that are enabled and whose chains name only enabled relays, in the configuration's order."""
    by_name = {relay.name: relay for relay in relays}

    def is_usable(name: str, path: frozenset[str]) -> bool:
        relay = by_name.get(name)
        if relay is None or name in path:  # an unknown relay or a loop: `checks` reports it
            return True
        return relay.enabled and all(is_usable(part, path | {name}) for part in names_in(relay.url))

    return tuple(relay for relay in relays if is_usable(relay.name, frozenset()))


def withheld_credentials(relay: RelayConfig) -> str:
    """Returns the reason why Byway does not send this relay's user and password, with the remedy; empty when it does.

    It checks only the URLs in the relay's own chain. Relays that the chain names are checked by themselves."""
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
    hops = relay_url.parse_hops(relay.url, relay.allowed)
    for place, url in enumerate(hops):
        if isinstance(url, RelayUrl) and (url.sends_credentials or (relay.password_cmd and place == len(hops) - 1)):
            yield place, url


def takes_password(relay: RelayConfig) -> bool:
    """Whether the URL of a relay may have a user and a password: no key, addon or chain, and no password command."""
    if relay.password_cmd or ">" in relay.url:
        return False
    return relay_url.parse(relay.url, relay.allowed).kind not in (RelayKind.KEY, RelayKind.ADDON)


def has_hidden_host(url: str) -> bool:
    """Whether a relay of a chain has a host name that is looked up."""
    urls = (hop for hop in relay_url.parse_hops(url) if not isinstance(hop, str))
    return any(each.address is None and not is_loopback(each.host) for hop in urls for each in hop.endpoints)


def has_keys(settings: Settings) -> bool:
    """Whether a relay is a key, or has one in its chain."""
    return any(relay_url.is_key(item) for relay in settings.relay for item in relay_url.parse_chain(relay.url))


def shown_url(relay: RelayConfig) -> str:
    """Returns a relay's URL without its secrets."""
    return relay_url.shown(relay.url, relay.allowed)


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_ELSEWHERE = frozenset(map(ipaddress.ip_address, ("168.63.129.16", "192.0.0.192")))  # metadata of Azure and Oracle
_OF_DOCUMENTS = tuple(map(ipaddress.ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")))
"""Addresses that nobody routes: examples in manuals and tests (RFC 5737, RFC 3849)."""


def is_local_address(host: str) -> bool:
    """Whether a host is an address that is not public, also within IPv6, or a name of this computer. Other names are
    not resolved."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return is_loopback(host)
    if isinstance(address, ipaddress.IPv6Address):
        inside = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inside is None and address in _NAT64:
            inside = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inside is not None:
            return is_local_address(str(inside))
    if any(address in network for network in _OF_DOCUMENTS):
        return False
    return not address.is_global or address.is_multicast or address in _ELSEWHERE


def is_loopback(host: str) -> bool:
    """Whether a relay's host is a loopback address or `localhost`. Names are not resolved."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
