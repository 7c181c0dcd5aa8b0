"""Numbers that tell whether an answer from the beliefs is still true.

A plan, a settled visit and a row of the list of sites keep the generation of their host. Every change of what
`Beliefs.lookup` reads raises it: a belief about a host or its domain, that of all hosts of the registrable domain, as
does a result; a prefix, the state of a network or the clock, that of all hosts. One number a network would cost more:
see "Why not" in CONTRIBUTING.md.
"""

from __future__ import annotations

from itertools import takewhile

from proxy.detect.scopes import registrable
from proxy.model import NetworkId

DOMAINS_MAX = 8192
"""Registrable domains with a number of their own. At one more, all numbers are raised and the table begins anew."""


class Generations:
    """The generation of each host on each network. No number comes twice."""

    def __init__(self) -> None:
        self._latest = self._of_others = 0
        self._of_domains: dict[tuple[NetworkId, str], int] = {}

    def of(self, network: NetworkId, host: str) -> int:
        return self._of_domains.get((network, registrable(host)), self._of_others)

    def on_scope_changed(self, scope: tuple[NetworkId, str]) -> None:
        """The belief about a host, a domain or a prefix has changed. Any host may have an address in a prefix."""
        network, name = scope
        domain = (network, registrable(name.removeprefix("*.")))
        if "/" in name or (domain not in self._of_domains and len(self._of_domains) >= DOMAINS_MAX):
            self.on_all_changed()
        else:
            self._latest += 1
            self._of_domains.pop(domain, None)  # the last one changed stands last
            self._of_domains[domain] = self._latest

    @property
    def latest(self) -> int:
        """The number of the last change."""
        return self._latest

    def changed_since(self, latest: int) -> list[tuple[NetworkId, str]] | None:
        """Returns the registrable domains whose generation was raised after the change with this number, the last
        first; None: that of all hosts was."""
        if self._of_others > latest:
            return None
        last_first = reversed(self._of_domains.items())
        return [domain for domain, number in takewhile(lambda item: item[1] > latest, last_first)]

    def on_all_changed(self) -> None:
        """What is believed about any host may have changed, or the names of hosts are to be forgotten."""
        self._latest += 1
        self._of_others = self._latest
        self._of_domains.clear()
