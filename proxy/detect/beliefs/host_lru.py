"""A least-recently-used table by network and host, with a limit for each domain as well.

A page with 50,000 random subdomains must neither fill the memory nor evict what is known about other sites: so there is
a limit for the hosts of one registrable domain and one for all. Reading is one dictionary look-up; only `put` counts as
use.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

from proxy.detect.beliefs.basis import Bases
from proxy.detect.scopes import registrable
from proxy.model import NetworkId

T = TypeVar("T")
Key = tuple[NetworkId, str]
"""A network and a host on it."""


class HostLru(Generic[T]):
    """A mapping of (network, host) with two limits."""

    def __init__(self, bases: Bases | None = None, /, *, total: int, per_domain: int) -> None:
        """`bases` are told of each change. None: nothing that is kept rests on these values."""
        self._bases = bases
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
        network, host = key
        return [(network, other) for other in self._domains.get((network, registrable(host)), ())]

    def correct(self, key: Key, value: T) -> None:
        """Replaces the value of a key, which does not count as use. Raises KeyError when the key is not there."""
        if key not in self._values:
            raise KeyError(key)
        self._values[key] = value
        if self._bases is not None:
            self._bases.on_scope_changed(key)

    def put(self, key: Key, value: T, *, is_change: bool = True) -> list[tuple[Key, T]]:
        """Sets a value and makes its host the most recently used. Returns what was evicted for it. Without `is_change`,
        nobody is told: the value of a key that is there is only renewed."""
        self._values[key] = value
        network, host = key
        domain = (network, registrable(host))
        hosts = self._domains.setdefault(domain, {})
        hosts.pop(host, None)
        hosts[host] = None
        self._domains.move_to_end(domain)
        if is_change and self._bases is not None:
            self._bases.on_scope_changed(key)
        gone = []
        if len(hosts) > self._per_domain:
            gone.append(self._evict(domain))
        if len(self._values) > self._total:
            gone.append(self._evict(next(iter(self._domains))))
        return gone

    def pop(self, key: Key) -> T | None:
        """Removes a value and returns it, if there was one. `get` is cheaper where there is mostly none."""
        return self._take(key, (key[0], registrable(key[1]))) if key in self._values else None

    def clear(self) -> None:
        gone = list(self._values)
        self._values.clear()
        self._domains.clear()
        if self._bases is not None:
            for key in gone:
                self._bases.on_scope_changed(key)

    def _evict(self, domain: Key) -> tuple[Key, T]:
        key = (domain[0], next(iter(self._domains[domain])))
        return key, self._take(key, domain)

    def _take(self, key: Key, domain: Key) -> T:
        """Removes a value that is there. `domain`: the network and the domain of its host."""
        value = self._values.pop(key)
        if self._bases is not None:
            self._bases.on_scope_changed(key)
        hosts = self._domains[domain]
        del hosts[key[1]]
        if not hosts:
            del self._domains[domain]
        return value
