"""An index of rules, which finds the first one that matches a destination.

Rules are numbered in the order they are written, and the first that matches wins. To try ten thousand of them for each
connection would take milliseconds, so most are in dictionaries: names and domain suffixes (one lookup per label of the
host), address prefixes by length, ports; each stores the lowest number. Only keywords, patterns and lists are tried
one by one, in order, and no further than the lowest number that already matches. Nothing is resolved: prefixes match
literal addresses, names match names.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

from proxy.model import Destination, IPAddress
from proxy.model.frozen_dataclass import frozen_dataclass

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

Test = Callable[[str], bool]
"""Whether a host matches. Hosts come in canonical spelling."""

NO_RULE = 1 << 62


def suffixes(host: str) -> Iterator[str]:
    """Yields the host, then each parent domain."""
    yield host
    dot = host.find(".")
    while dot >= 0:
        yield host[dot + 1 :]
        dot = host.find(".", dot + 1)


@frozen_dataclass
class DomainList:
    """Domains, each with its subdomains, and single addresses; and how the file they come from was read."""

    domains: frozenset[str]
    source: str = ""
    """The file, for messages."""
    lines_read: int = 0
    lines_skipped: int = 0
    skipped: tuple[str, ...] = ()
    """One sentence, with file and line, for each of the first lines that could not be used."""
    suffixes: tuple[str, ...] = ()
    """The same for each of the first lines that name a public suffix, and so every site below it."""
    allow_empty: bool = False
    """The user accepts the list even when it has a `problem`."""

    @property
    def problem(self) -> str:
        """A sentence when more lines were skipped than read, or when the list is empty; else "". Such a file has an
        unknown format or is no list, and a rule on it protects nothing."""
        if not self.lines_read and not self.lines_skipped:
            return f"{self.source}: the list is empty" if self.source and not self.allow_empty else ""
        if self.lines_read >= self.lines_skipped:
            return ""
        return (
            f"{self.skipped[0]}; {_lines(self.lines_read)} read, {_lines(self.lines_skipped)} skipped. "
            "Byway reads lists of plain domains, one per line"
        )

    def __len__(self) -> int:
        return len(self.domains)

    def __contains__(self, host: str) -> bool:
        return self.covering(host) is not None

    def covering(self, host: str) -> str | None:
        """Returns the most specific entry that covers the host; None when none does."""
        domains = self.domains
        if not domains:
            return None
        if _is_literal(host):
            return host if host in domains else None
        return next((suffix for suffix in suffixes(host) if suffix in domains), None)

    def __repr__(self) -> str:
        return f"<DomainList {len(self.domains)} domains, {self.lines_skipped} lines skipped>"


class Index:
    """Numbered rules, added in the order of their numbers.

    Each `add_` method returns whether its rule can ever be the first; False: an earlier one matches whenever it does.
    """

    __slots__ = ("_always", "_exact", "_names", "_networks", "_ports", "_scanned", "_suffix")

    def __init__(self) -> None:
        self._exact: dict[str, int] = {}
        self._suffix: dict[str, int] = {}
        self._networks: dict[tuple[int, int], dict[int, int]] = {}  # (IP version, prefix length) → prefix → number
        self._ports: dict[int, int] = {}
        self._names: list[tuple[int, Test]] = []  # for names only
        self._scanned: list[tuple[int, Test]] = []  # for names and literals
        self._always = NO_RULE

    def add_exact(self, host: str, number: int) -> bool:
        return self._exact.setdefault(host, number) == number

    def add_suffix(self, domain: str, number: int) -> bool:
        return self._suffix.setdefault(domain, number) == number

    def add_network(self, network: IPNetwork, number: int) -> bool:
        prefixes = self._networks.setdefault((network.version, network.prefixlen), {})
        return prefixes.setdefault(_prefix(network.network_address, network.prefixlen), number) == number

    def add_ports(self, ports: range, number: int) -> bool:
        new = [port for port in ports if self._ports.setdefault(port, number) == number]
        return bool(new)

    def add_name_test(self, test: Test, number: int) -> bool:
        """Adds a test of names; it is never run on literals."""
        self._names.append((number, test))
        return True

    def add_test(self, test: Test, number: int) -> bool:
        self._scanned.append((number, test))
        return True

    def add_always(self, number: int) -> bool:
        self._always = min(self._always, number)
        return self._always == number

    def first(self, destination: Destination) -> int | None:
        """Returns the lowest number that matches; None when none does."""
        host = destination.host
        best = self._always
        if self._ports:
            best = min(best, self._ports.get(destination.port, NO_RULE))
        if self._exact:
            best = min(best, self._exact.get(host, NO_RULE))
        if _is_literal(host):
            if self._networks and (address := destination.address) is not None:
                for (version, length), prefixes in self._networks.items():
                    if version == address.version:
                        best = min(best, prefixes.get(_prefix(address, length), NO_RULE))
        else:
            if by_suffix := self._suffix:
                for suffix in suffixes(host):
                    number = by_suffix.get(suffix)
                    if number is not None and number < best:
                        best = number
            best = _first_test(self._names, host, best)
        best = _first_test(self._scanned, host, best)
        return None if best == NO_RULE else best


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count:,} lines"


def _first_test(tests: list[tuple[int, Test]], host: str, best: int) -> int:
    """Returns the number of the first test below `best` that matches; else `best`."""
    for number, test in tests:
        if number >= best:
            return best
        if test(host):
            return number
    return best


def _prefix(address: IPAddress, length: int) -> int:
    return int(address) >> (address.max_prefixlen - length)


def _is_literal(host: str) -> bool:
    # On every connection, so without `ipaddress`: no top-level domain ends in a digit (RFC 3696, section 2), and only
    # IPv6 has colons.
    return (host[-1].isdigit() and host.rpartition(".")[2].isdigit()) or ":" in host
