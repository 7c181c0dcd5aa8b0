"""The tables of the beliefs: each has a limit, and forgets the names that a user wants forgotten.

A network or a client can name hosts without end, and must not fill the memory. `HostLru` is keyed by network and host,
and limits the hosts of one registrable domain as well: a page with 50,000 random subdomains must not evict what is
known about other sites. `KeyTable`, `AddressTable` and `PageTable` have one limit. `NameCounter` and `DomainCounter`
count names by place.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

from proxy.detect.beliefs.generations import Generations
from proxy.detect.scopes import registrable
from proxy.model import IPAddress, NetworkId
from proxy.model.bounded import Bounded

T = TypeVar("T")
Key = tuple[NetworkId, str]
"""A network and a scope on it: a host, a domain or a prefix."""
Meant = Callable[[Key], bool]
"""Whether a key is to be forgotten."""


def on_network(network: NetworkId | None, scope: str | None) -> Meant:
    """Returns a test whether a key is the scope, a subdomain of it, or its domain, on the network. None: any."""
    if scope is None:
        return lambda key: network is None or key[0] == network
    above = f"*.{registrable(scope)}"
    return lambda key: (
        (network is None or key[0] == network) and (key[1] in (scope, above) or key[1].endswith(f".{scope}"))
    )


def with_domains(meant: Meant) -> Meant:
    """Returns the same test for tables of domains: it also holds for the domain of a host that is meant."""
    return lambda key: meant(key) or meant((key[0], f"*.{key[1]}"))


class HostTable(Protocol):
    """A table that names hosts."""

    def forget(self, meant: Meant) -> None: ...
    def clear(self) -> None: ...


class KeyTable(Bounded[Key, T]):
    """A mapping of (network, scope) that drops the least recently set key beyond its limit."""

    def forget(self, meant: Meant) -> None:
        for key in [*filter(meant, self)]:
            del self[key]


class AddressTable(Bounded[tuple[NetworkId, IPAddress], tuple[float, str]]):
    """By address: when something began there, and the host that began it. An address is forgotten with that host."""

    def begun_by(self, key: Key, since: float) -> list[IPAddress]:
        """The addresses at which it began for a host after `since`, the latest first. Older ones are not read."""
        addresses = []
        for (network, address), (at, host) in reversed(self.items()):
            if at <= since:
                break
            if (network, host) == key:
                addresses.append(address)
        return addresses

    def forget(self, meant: Meant) -> None:
        for place in [place for place, (_, host) in self.items() if meant((place[0], host))]:
            del self[place]


class SeenPage(NamedTuple):
    """The registrable domain for which direct last brought a page, and when; and the last other one."""

    domain: str
    at: float
    other: str = ""
    other_at: float = float("-inf")


class PageTable(Bounded[tuple[NetworkId, int], SeenPage]):
    """By the mark of a page: the domains that have it. A page is forgotten with any host of them."""

    def forget(self, meant: Meant) -> None:
        is_meant = with_domains(meant)
        for place, seen in [*self.items()]:
            if is_meant((place[0], seen.domain)) or is_meant((place[0], seen.other)):
                del self[place]


class HostLru(Generic[T]):
    """A mapping of (network, host) with two limits. Reading is one dictionary look-up, and does not count as use; only
    `put` does."""

    def __init__(self, generations: Generations | None = None, /, *, total: int, per_domain: int) -> None:
        """Each change raises the generation of its host. None: nothing that is kept depends on these values."""
        self._generations = generations
        self._total = total
        self._per_domain = per_domain
        self._values: dict[Key, T] = {}
        self._domains: OrderedDict[Key, dict[str, None]] = OrderedDict()  # both: least recently used first
        self.get = self._values.get

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: Key) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[Key]:
        """Over a snapshot, as in `items` and `values`: safe while the table changes."""
        return iter(list(self._values))

    def items(self) -> list[tuple[Key, T]]:
        return list(self._values.items())

    def values(self) -> list[T]:
        return list(self._values.values())

    def siblings(self, key: Key) -> list[Key]:
        """The keys under the same registrable domain on the same network, `key` itself included when it is there."""
        return self.under((key[0], registrable(key[1])))

    def domains(self) -> list[Key]:
        """The registrable domains that have keys, each with its network."""
        return list(self._domains)

    def under(self, domain: Key) -> list[Key]:
        """The keys under a registrable domain on its network."""
        return [(domain[0], name) for name in self._domains.get(domain, ())]

    def correct(self, key: Key, value: T) -> None:
        """Replaces the value of a key, which does not count as use. Raises KeyError when the key is not there."""
        if key not in self._values:
            raise KeyError(key)
        self._values[key] = value
        if self._generations is not None:
            self._generations.on_scope_changed(key)

    def put(self, key: Key, value: T, *, is_change: bool = True) -> list[tuple[Key, T]]:
        """Sets a value and makes its host the most recently used. Returns the evicted entries. Without `is_change`, the
        value of an existing key is only renewed, which raises no generation."""
        self._values[key] = value
        network, host = key
        domain = (network, registrable(host))
        hosts = self._domains.setdefault(domain, {})
        hosts.pop(host, None)
        hosts[host] = None
        self._domains.move_to_end(domain)
        if is_change and self._generations is not None:
            self._generations.on_scope_changed(key)
        gone = []
        if len(hosts) > self._per_domain:
            gone.append(self._evict(domain))
        if len(self._values) > self._total:
            gone.append(self._evict(next(iter(self._domains))))
        return gone

    def pop(self, key: Key) -> T | None:
        """Removes a value and returns it, if there was one. `get` is cheaper where there is mostly none."""
        return self._take(key, (key[0], registrable(key[1]))) if key in self._values else None

    def forget(self, meant: Meant) -> None:
        for key in [*filter(meant, self._values)]:
            self.pop(key)

    def clear(self) -> None:
        if self._values and self._generations is not None:
            self._generations.on_all_changed()
        self._values.clear()
        self._domains.clear()

    def _evict(self, domain: Key) -> tuple[Key, T]:
        key = (domain[0], next(iter(self._domains[domain])))
        return key, self._take(key, domain)

    def _take(self, key: Key, domain: Key) -> T:
        """Removes a value that is there. `domain`: the network and the domain of its host."""
        value = self._values.pop(key)
        if self._generations is not None:
            self._generations.on_scope_changed(key)
        hosts = self._domains[domain]
        del hosts[key[1]]
        if not hosts:
            del self._domains[domain]
        return value


class NameCounter:
    """Counts names by place, with their times: failing hosts of one prefix, unrelated sites redirected to one host. A
    place is a network and a scope or an address on it."""

    def __init__(self, *, places: int, names: int) -> None:
        """At most so many places, and so many names at each."""
        self._names_max = names
        self._places: Bounded[Key, Bounded[str, float]] = Bounded(places)

    def __contains__(self, place: Key) -> bool:
        return place in self._places

    def note(self, place: Key, name: str, now: float) -> None:
        names = self._places.get(place)
        if names is None:
            names = Bounded(self._names_max)
        names[name] = now
        self._places[place] = names

    def saw(self, place: Key, name: str) -> bool:
        """Whether this name was noted at the place."""
        return name in self._places.get(place, ())

    def within(self, place: Key, window_s: float, now: float) -> list[str]:
        """The names noted at the place within `window_s`."""
        return [name for name, at in self._places.get(place, {}).items() if 0 <= now - at <= window_s]

    def places_on(self, network: NetworkId) -> list[Key]:
        """The places on a network at which any name was noted."""
        return [place for place in self._places if place[0] == network]

    def places_of(self, network: NetworkId, name: str) -> list[Key]:
        """The places on a network at which this name was noted."""
        return [place for place, names in self._places.items() if place[0] == network and name in names]

    def pop(self, place: Key) -> None:
        self._places.pop(place, None)

    def forget(self, meant: Meant) -> None:
        """Forgets the places and the names that are meant, each with its network."""
        for place, names in list(self._places.items()):
            for name in [name for name in names if meant((place[0], name))]:
                del names[name]
            if not names or meant(place):
                del self._places[place]

    def clear(self) -> None:
        self._places.clear()


class DomainCounter(NameCounter):
    """Counts registrable domains by place. A domain is forgotten with any host of it."""

    def forget(self, meant: Meant) -> None:
        super().forget(with_domains(meant))
