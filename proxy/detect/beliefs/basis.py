"""What was made from the beliefs about a host can be kept until one of them changes.

A plan keeps the `Basis` of its host. A change of a belief marks the bases that rest on it: those of the host, of the
hosts of a domain, or of all hosts for a prefix, the state of a network and the clock. So a first visit to one host
leaves the plans of all others as they are.
"""

from __future__ import annotations

from collections import OrderedDict

from proxy.detect.scopes import domain_scope
from proxy.model import NetworkId

BASES_MAX = 8192
"""Bases that are told of changes: twice as many as there are plans that are kept."""


class Basis:
    """What the beliefs about one host on one network said at one time."""

    __slots__ = ("changed", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        """Time alone may change what they say then; in seconds since the epoch."""
        self.changed = False
        """Whether something else may have changed it since."""


class Bases:
    """The bases that are told of changes. Belongs to one thread."""

    def __init__(self) -> None:
        self._bases: OrderedDict[tuple[NetworkId, str], Basis] = OrderedDict()  # the oldest first

    def get(self, network: NetworkId, host: str, now: float) -> Basis | None:
        """The basis of a host, where there is one that is not over."""
        basis = self._bases.get((network, host))
        return basis if basis is not None and now < basis.until else None

    def add(self, network: NetworkId, host: str, until: float) -> Basis:
        """Makes a basis that is told of changes from now on."""
        basis = Basis(until)
        if (before := self._bases.pop((network, host), None)) is not None:
            before.changed = True
        elif len(self._bases) >= BASES_MAX:
            self._bases.popitem(last=False)[1].changed = True  # nothing will tell it
        self._bases[network, host] = basis
        return basis

    def on_scope_changed(self, scope: tuple[NetworkId, str]) -> None:
        """The belief about a host, a domain or a prefix has changed."""
        network, name = scope
        if (basis := self._bases.pop(scope, None)) is not None:
            basis.changed = True
        elif name.startswith("*."):
            for key in [key for key in self._bases if key[0] == network and domain_scope(key[1]) == name]:
                self._bases.pop(key).changed = True
        elif "/" in name:  # the addresses of hosts are not known here
            self.on_all_changed()

    def on_all_changed(self) -> None:
        """What is believed about any host may have changed."""
        for basis in self._bases.values():
            basis.changed = True
        self._bases.clear()
