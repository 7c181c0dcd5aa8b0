"""What was made from the beliefs about a host can be kept until one of them changes.

A plan keeps the `Basis` of its host. A change of a belief marks the bases that rest on it: those of the host, of the
hosts of a domain, or of all hosts for a prefix, the state of a network and the clock. So a first visit to one host
leaves the plans of all others as they are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from proxy.detect.scopes import registrable
from proxy.model import NetworkId

BASES_MAX = 8192
"""Bases that a change can mark: twice as many as there are plans that are kept."""


class Basis:
    """What the beliefs about one host on one network said at one time."""

    __slots__ = ("changed", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        """Time alone may change what they say then; in seconds since the epoch."""
        self.changed = False
        """Whether something else may have changed it since."""


class Bases:
    """The bases that a change can mark. Belongs to one thread."""

    def __init__(self) -> None:
        self._bases: OrderedDict[tuple[NetworkId, str], Basis] = OrderedDict()  # the oldest first
        self._hosts: dict[tuple[NetworkId, str], set[str]] = {}  # those that have one, by network and domain
        self.get = self._bases.get
        """The basis of a network and a host that has not changed; it may be over. None: there is none."""

    def add(self, network: NetworkId, host: str, until: float) -> Basis:
        """Makes a basis, which later changes mark."""
        if (network, host) in self._bases:
            self.on_scope_changed((network, host))
        elif len(self._bases) >= BASES_MAX:
            self.on_scope_changed(next(iter(self._bases)))  # no later change would mark it
        basis = self._bases[network, host] = Basis(until)
        self._hosts.setdefault((network, registrable(host)), set()).add(host)
        return basis

    def on_scope_changed(self, scope: tuple[NetworkId, str]) -> None:
        """The belief about a host, a domain or a prefix has changed."""
        network, name = scope
        if (basis := self._bases.pop(scope, None)) is not None:
            basis.changed = True
            domain = (network, registrable(name))
            hosts = self._hosts[domain]
            hosts.remove(name)
            if not hosts:
                del self._hosts[domain]
        elif name.startswith("*."):
            for host in tuple(self._hosts.get((network, name[2:]), ())):
                self.on_scope_changed((network, host))
        elif "/" in name:  # the addresses of hosts are not known here
            self.on_all_changed()

    def forget(self, meant: Callable[[tuple[NetworkId, str]], bool]) -> None:
        """The beliefs about the hosts that are meant are forgotten."""
        for key in [key for key in self._bases if meant(key)]:
            self.on_scope_changed(key)

    def on_all_changed(self) -> None:
        """What is believed about any host may have changed."""
        for basis in self._bases.values():
            basis.changed = True
        self._bases.clear()
        self._hosts.clear()
