"""Exceptions of lists in which the first line that matches a host decides.

In a DomainList an exception wins over every entry, whatever their order. So an exception after an entry for some of the
same hosts would unlist hosts that the format lists. Such an exception is left out and reported: in doubt, a host is
listed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from proxy.model.errors import ConfigError
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.matcher import EntryKind, Wildcard
from proxy.routing.lists.url_filters import HostFilter, add_hosts

EXCEPTIONS_LIMIT = 100_000
"""Exceptions of a list at most. Published lists have hundreds."""

COMPARED_LIMIT = 1_000_000
"""Pairs of an exception and an entry that are compared at most: each takes up to 15 µs, and published lists have fewer
than 100,000. Pairs of two domains do not count, since domains are looked up."""


class OrderedExceptions:
    """The exceptions of one list. First `add` each exception, then `note` each entry; `add_to` passes the exceptions
    that remain to the builder."""

    def __init__(self, source: str, lines: Sequence[int] | None = None) -> None:
        """`source` is the file's name in messages; `lines` are the lines of places, if a place is not itself a line."""
        self._source = source
        self._lines = lines
        self._exceptions: list[tuple[int, HostFilter, str]] = []
        self._domains: dict[str, list[int]] = {}  # a domain → the exceptions for it
        self._above: dict[str, list[int]] = {}  # a parent domain → the exceptions below it
        self._others: list[int] = []  # exceptions that are not domains
        self._compared = 0
        self._taken_back: set[int] = set()
        self.last_place = -1
        """The place of the last exception. Entries after it need not be noted."""

    def add(self, place: int, hosts: HostFilter, text: str) -> None:
        """Adds an exception at a place of the list; places grow from call to call. `text` is for messages. Raises
        ConfigError when there are too many."""
        number = len(self._exceptions)
        if number >= EXCEPTIONS_LIMIT:
            raise ConfigError(f"{self._source}: a list can have at most {EXCEPTIONS_LIMIT:,} exceptions")
        self._exceptions.append((place, hosts, text))
        self.last_place = max(self.last_place, place)
        if hosts.kind is not EntryKind.DOMAIN:
            self._others.append(number)
            return
        domain = hosts.texts[0]
        self._domains.setdefault(domain, []).append(number)
        while domain := domain.partition(".")[2]:
            self._above.setdefault(domain, []).append(number)

    def note(self, place: int, hosts: HostFilter) -> None:
        """Drops the exceptions after `place` for hosts that this entry covers too. Raises ConfigError when the list
        needs too many comparisons."""
        if place > self.last_place:
            return
        if hosts.kind is not EntryKind.DOMAIN:
            self._compare(place, hosts, range(len(self._exceptions)))
            return
        domain = hosts.texts[0]
        if hosts.covers & Covers.SUBDOMAINS:
            self._take_back(place, self._above.get(domain, ()))
        if domain in self._domains:
            same = self._domains[domain]
            self._take_back(place, [n for n in same if self._exceptions[n][1].covers & hosts.covers])
        parent = domain
        while parent := parent.partition(".")[2]:
            if parent in self._domains:
                below = [n for n in self._domains[parent] if self._exceptions[n][1].covers & Covers.SUBDOMAINS]
                self._take_back(place, below)
        self._compare(place, hosts, self._others)

    def _compare(self, place: int, hosts: HostFilter, numbers: Sequence[int]) -> None:
        """Drops the exceptions among `numbers` that overlap with an entry. Raises ConfigError when the list needs too
        many comparisons."""
        self._compared += len(numbers)
        if self._compared > COMPARED_LIMIT:
            raise ConfigError(
                f"{self._source}:{self._line_of(place)}: too many exceptions and patterns to compare with each "
                "other; put the exceptions first, or make two lists"
            )
        self._take_back(place, [n for n in numbers if _overlap(hosts, self._exceptions[n][1])])

    def add_to(self, builder: ListBuilder) -> None:
        """Adds the remaining exceptions, and skips the others by name."""
        for number, (place, hosts, text) in enumerate(self._exceptions):
            line = self._line_of(place)
            if number in self._taken_back:
                builder.skip(line, text, Skip.ORDER)
            else:
                add_hosts(builder, line, hosts, exception=True, shown=text)

    def _line_of(self, place: int) -> int:
        return place if self._lines is None else self._lines[place]

    def _take_back(self, place: int, numbers: Sequence[int]) -> None:
        for number in numbers:
            if self._exceptions[number][0] > place:
                self._taken_back.add(number)


def _overlap(one: HostFilter, other: HostFilter) -> bool:
    """Whether a host may be in both filters; True in doubt. At least one filter is not a domain."""
    if EntryKind.PREFIX in (one.kind, other.kind):
        return one.kind is other.kind and _prefixes_overlap(one.texts[0], other.texts[0])
    if EntryKind.KEYWORD in (one.kind, other.kind):
        domain = one if one.kind is EntryKind.DOMAIN else other
        keyword = other if domain is one else one
        if domain.kind is EntryKind.DOMAIN and not domain.covers & Covers.SUBDOMAINS:
            return keyword.texts[0] in domain.texts[0]
        return True
    ends = ((_end(a, one), _end(b, other)) for a in one.texts for b in other.texts)
    if not any(first.endswith(second) or second.endswith(first) for first, second in ends):
        return False
    if _is_one_host(one) == _is_one_host(other):
        return True
    host, pattern = (one, other) if _is_one_host(one) else (other, one)
    return any(Wildcard.of(text).matches(host.texts[0]) for text in pattern.texts)


def _is_one_host(hosts: HostFilter) -> bool:
    return hosts.kind is EntryKind.DOMAIN and hosts.covers == Covers.HOST


def _end(text: str, hosts: HostFilter) -> str:
    """Returns the common end of the names of a filter."""
    return text.rpartition("*")[2] if hosts.kind is EntryKind.WILDCARD else text


def _prefixes_overlap(one: str, other: str) -> bool:
    try:
        first, second = (ipaddress.ip_network(text, strict=False) for text in (one, other))
    except ValueError:
        return False  # neither is added
    return first.version == second.version and first.overlaps(second)
