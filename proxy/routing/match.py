"""An index of rules, which finds the first rule that matches a destination.

Rules are numbered in the order in which they are written. To try ten thousand of them for each connection would take
milliseconds, so most are in dictionaries with the lowest number: names and domain suffixes (one lookup per label of the
host), address prefixes by length, ports. Only keywords, patterns and lists are tried one by one, in order, up to the
lowest number that already matches. Nothing is resolved: prefixes match literal addresses, names match names. Most hosts
match nothing, and each first visit needs `first`, so it calls no Python function except for keywords, patterns and
lists.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from proxy.model import Destination, IPAddress

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

Test = Callable[[str], object]
"""Returns a true value for a host, in canonical spelling, that matches."""

NO_RULE = 1 << 62


class Index:
    """Numbered rules, added in the order of their numbers.

    Each `add_` method returns True if its rule can ever be the first that matches. False: an earlier rule matches
    whenever it does.
    """

    __slots__ = (
        "_always", "_exact", "_networks", "_ports", "_suffix", "_tells_literals", "_tests", "programs", "uplinks",
    )  # fmt: skip

    def __init__(self) -> None:
        self._exact: dict[str, int] = {}
        self._suffix: dict[str, int] = {}
        self._networks: dict[tuple[int, int], dict[int, int]] = {}  # (IP version, prefix length) → prefix → number
        self._ports: dict[int, int] = {}
        self._tests: list[tuple[int, Test, bool]] = []  # number, test, and whether it is for literals too
        self._tells_literals = False  # whether some rule is for names only, or for literals only
        self._always = NO_RULE
        self.programs: dict[str, int] = {}
        """Numbers by the client's program. `first` ignores them."""
        self.uplinks: dict[str, int] = {}
        """Numbers by the network in use. `first` ignores them."""

    def add_exact(self, host: str, number: int) -> bool:
        return self._exact.setdefault(host, number) == number

    def add_suffix(self, domain: str, number: int) -> bool:
        self._tells_literals = True
        return self._suffix.setdefault(domain, number) == number

    def add_network(self, network: IPNetwork, number: int) -> bool:
        self._tells_literals = True
        prefixes = self._networks.setdefault((network.version, network.prefixlen), {})
        return prefixes.setdefault(_prefix(network.network_address, network.prefixlen), number) == number

    def add_ports(self, ports: range, number: int) -> bool:
        new = [port for port in ports if self._ports.setdefault(port, number) == number]
        return bool(new)

    def add_name_test(self, test: Test, number: int) -> bool:
        """Adds a test that never runs on literals."""
        self._tells_literals = True
        self._tests.append((number, test, False))
        return True

    def add_test(self, test: Test, number: int) -> bool:
        self._tests.append((number, test, True))
        return True

    def add_program(self, name: str, number: int) -> bool:
        return self.programs.setdefault(name, number) == number

    def add_uplink(self, network: str, number: int) -> bool:
        return self.uplinks.setdefault(network, number) == number

    def add_always(self, number: int) -> bool:
        self._always = min(self._always, number)
        return self._always == number

    def first(self, destination: Destination) -> int | None:
        """Returns the lowest number that matches; None: no rule matches."""
        host, best = destination.host, self._always
        if (ports := self._ports) and destination.port in ports and ports[destination.port] < best:
            best = ports[destination.port]
        if (exact := self._exact) and host in exact and exact[host] < best:
            best = exact[host]
        is_literal = False
        if self._tells_literals:
            # Without `ipaddress`: no top-level domain ends in a digit (RFC 3696, section 2), and only IPv6 has colons.
            is_literal = ":" in host or (host[-1] in "0123456789" and host.rpartition(".")[2].isdigit())
            if not is_literal:
                domain = host if (by_suffix := self._suffix) else ""
                while domain:
                    if domain in by_suffix and by_suffix[domain] < best:
                        best = by_suffix[domain]
                    domain = domain.partition(".")[2]
            elif self._networks and (address := destination.address) is not None:
                for (version, length), prefixes in self._networks.items():
                    if version == address.version:
                        best = min(best, prefixes.get(_prefix(address, length), NO_RULE))
        for number, test, takes_literals in self._tests:
            if number >= best:
                break
            if (takes_literals or not is_literal) and test(host):
                return number
        return None if best == NO_RULE else best


def _prefix(address: IPAddress, length: int) -> int:
    return int(address) >> (address.max_prefixlen - length)
