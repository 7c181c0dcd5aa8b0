"""Subscriptions: groups of relays that follow a fetched file.

The file is a stranger's: links in lines, also in base64, or a configuration of Clash or sing-box. It names relays and
nothing else. A relay keeps its name while its place or its label stays, since what the person chose (`disabled`,
`order`) goes by names. A name has a slash, which no name in the configuration has: `shop/DE-1`. Rules name the group.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from hashlib import sha256

from proxy.config.edit import NewRelay, free_name, identity
from proxy.config.relay_input import relay_of
from proxy.config.relays import is_local_address
from proxy.config.schema import GroupConfig, RelayConfig, Settings, SubscriptionConfig
from proxy.model import Destination
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import hostnames, relay_url
from proxy.wire.keys.fields import KeyRefused, clean_name
from proxy.wire.keys.pasted import scheme_of
from proxy.wire.keys.reader import read_collection
from proxy.wire.keys.values import Key, RelayLink
from proxy.wire.relay_url import RelayUrl

FILE_LIMIT = 1024 * 1024
"""Bytes of the longest file. It has at most 2,000 entries (`wire.keys.reader`)."""

MEMBERS_MAX = 256
"""Relays of one subscription that are used: the first ones of the file."""

SHRUNK = 0.5
"""Share of the relays of the last good copy. A file with fewer is taken only if the person says so."""

_TRANSLATED = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "2002::/16", "2001::/32", "::/96")))
"""Networks whose addresses lead to an IPv4 address inside."""

_USERINFO = re.compile(r"(upload|download|total|expire)\s*=\s*([0-9]{1,20})\s*(?:;|\Z)")


@frozen_dataclass
class Entry:
    """An entry of a file: a relay, or with `why` the reason why it is none."""

    label: str
    url: str
    why: str = ""

    @property
    def place(self) -> str:
        """What tells relays apart, as a hash: host, port and user of each hop; of a key, all but its name."""
        hops = (
            tuple(astuple(part) if isinstance(part, Key) else part for part in hop)  # repr() of a key has no secret
            for hop in identity(self.url)
            if isinstance(hop, tuple)
        )
        return sha256(repr(tuple(hops)).encode()).hexdigest()[:24]

    def __repr__(self) -> str:
        return f"<Entry {self.label!a}>"


def read_entries(text: str) -> tuple[Entry, ...]:
    """Reads a file. Raises ConfigError, with half a sentence, for one that cannot be read as a whole."""
    if not text.strip():
        return ()
    if "\n" not in text.strip():
        text = f"{text.strip()}\n#" if scheme_of(text.strip()) else text  # one link, as a list of links
    try:
        found = read_collection(text)
    except KeyRefused as error:
        raise ConfigError(str(error)) from None
    entries, places, count = list[Entry](), set[str](), 0
    for number, (item, link) in enumerate(found.entries, 1):
        name = item.label or relay_url.without_label(item.url)[1] if isinstance(item, RelayLink) else item.name
        entry = Entry(clean_name(name) or f"entry {number}", "")
        try:
            entry = replace(entry, url=relay_of(item, link).url)
            why = _why_not(entry.url) or ("it is there twice" if entry.place in places else "")
            if not why and count >= MEMBERS_MAX:
                why = f"only the first {MEMBERS_MAX} relays of a subscription are used"
        except ValueError as error:
            why = str(error)
        if why:
            entry = replace(entry, url="", why=why)
        else:
            places.add(entry.place)
            count += 1
        entries.append(entry)
    return tuple(entries)


def _why_not(url: str) -> str:
    """Returns why a relay of a file is not taken; empty: it is."""
    for hop in relay_url.parse_hops(url):
        if not isinstance(hop, RelayUrl):
            return "it is a chain of named relays"
        if hop.ca is not None:
            return "it names a file of this computer (ca=)"
        for endpoint in hop.endpoints:
            if not _is_public(endpoint):
                return f"{endpoint} is no public place: a subscription may name no relay there"
    return ""


def _is_public(endpoint: Destination) -> bool:
    if is_local_address(endpoint.host):
        return False
    if (address := endpoint.address) is not None:
        translated = any(address in network for network in _TRANSLATED if network.version == address.version)
        return address.is_global and not address.is_multicast and not translated
    suffixes = tuple(f".{suffix}" for suffix in ("localhost", *hostnames.PRIVATE_SUFFIXES))
    return "." in endpoint.host and not f".{endpoint.host}".endswith(suffixes)


def refusal(entries: Sequence[Entry], last: int, *, accept_smaller: bool) -> str:
    """Returns why a file may not replace the copy with `last` relays (0: there is no copy), as half a sentence; empty:
    it may."""
    count = sum(not entry.why for entry in entries)
    if not count and entries:
        return f"none of its {len(entries):,} entries is taken; the first: {entries[0].why}"
    if not count:
        return "it is empty"
    if count < last * SHRUNK and not accept_smaller:
        return f"it has shrunk from {last:,} relays to {count:,}"
    return ""


def names_of(subscription: str, entries: Sequence[Entry], before: Mapping[str, str]) -> dict[str, str]:
    """Returns the name of each relay, by its place. `before` are those of the last good copy: a relay that is still
    there keeps its name, and one with the label of a relay that is gone has the name of that one, as when a key is
    changed. A number after a label is none that was in use."""
    places = [entry.place for entry in entries if not entry.why]
    names = {place: before[place] for place in places if place in before}
    taken = set(names.values())
    for entry in entries:
        if entry.why or entry.place in names:
            continue
        new = NewRelay(entry.url, label=entry.label)
        name = f"{subscription}/{free_name(new, ())}"
        if name in taken:
            name = f"{subscription}/{free_name(new, _Taken(taken.union(before.values()), subscription))}"
        names[entry.place] = name
        taken.add(name)
    return names


class _Taken:
    """The names that are taken, without the subscription before them."""

    def __init__(self, names: set[str], subscription: str) -> None:
        self._names = names
        self._subscription = subscription

    def __contains__(self, name: object) -> bool:
        return f"{self._subscription}/{name}" in self._names


Members = Callable[[SubscriptionConfig], tuple[Sequence[Entry], Mapping[str, str]]]
"""Returns the entries of a subscription's last good copy, and their names by place."""


def with_members(settings: Settings, members: Members) -> Settings:
    """Returns the settings with a relay for each relay of a subscription, and its group. A subscription without a copy
    is a group without relays, by which nothing opens."""
    relays, groups = list[RelayConfig](), list[GroupConfig]()
    for item in settings.subscription:
        made = list(_members(item, *members(item)))
        relays += made
        groups.append(GroupConfig(item.name, tuple(relay.name for relay in made), item.policy))
    return replace(settings, relay=(*settings.relay, *relays), group=(*settings.group, *groups))


def _members(item: SubscriptionConfig, entries: Sequence[Entry], kept: Mapping[str, str]) -> Iterator[RelayConfig]:
    names = names_of(item.name, entries, kept)
    urls = {names[entry.place]: entry.url for entry in entries if not entry.why}
    for name in dict.fromkeys((*(name for name in item.order if name in urls), *urls)):
        yield RelayConfig(name, urls[name], enabled=name not in item.disabled, public_only=True)


@frozen_dataclass
class Quota:
    """What a server says of an account in `Subscription-Userinfo`. Bytes and seconds since the epoch; 0: it does not
    say that."""

    used: int = 0
    total: int = 0
    expires_at: int = 0


def quota_of(text: str) -> Quota:
    """Reads the header, as numbers: nothing of it has an effect."""
    found = {name: int(number) for name, number in _USERINFO.findall(text[:500])}
    expires = found.get("expire", 0)
    used = found.get("upload", 0) + found.get("download", 0)
    return Quota(min(used, 10**18), min(found.get("total", 0), 10**18), expires if expires < 10**11 else 0)
