"""Hosts files: a line is an address and its names. A name covers only itself, not its subdomains.

Published files give names the address `0.0.0.0` or `127.0.0.1`; here any address lists its names. The names that every
hosts file has for the computer itself are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxy.model import literal
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.lines import DOMAIN, MANY_LIMIT, BulkLines, are_domains, entries_of, parse_lines
from proxy.routing.lists.list_builder import ListBuilder

_OWN_NAMES = frozenset(
    (
        "localhost", "localhost.localdomain", "local", "broadcasthost", "localhost4", "localhost6",
        "localhost4.localdomain4", "localhost6.localdomain6", "ip6-localhost", "ip6-loopback", "ip6-localnet",
        "ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters", "ip6-allhosts",
        "0.0.0.0", "127.0.0.1", "::1",  # noqa: S104  # written as a name in well-known lists
    )
)  # fmt: skip

_LOOKED_AT = 50
_NAME = re.compile(r"(?=.*[^\W\d_])[\w.:-]+")
"""A name has a letter: in lists of addresses, a number may follow each address."""
_ADDRESS = r"(?:0\.0\.0\.0|127\.0\.0\.1|::1?|0)"

_OWN = "local|ip6-|broadcasthost"
"""Beginnings of names that may be the computer's own. `_LINE` does not match them, so the parser of lines gets them."""
_OWN_AT_FIRST = re.compile(rf"\n(?:{_OWN})")
_LINE = re.compile(
    rf"^[\x20\t]*(?:{_ADDRESS}[\x20\t]+(?!{_OWN})({DOMAIN})[\x20\t]*)?(?:\#[\x20-\x7e\t]*)?\r?$", re.MULTILINE
)


def recognizes(text: str) -> bool:
    """Whether more than half of the first entries are an address with a name after it."""
    first = entries_of(text)[:_LOOKED_AT]
    return sum(map(_is_entry, first)) * 2 > len(first)


def _is_entry(entry: str) -> bool:
    words = entry.split()
    if len(words) < 2 or not _is_address(words[0]):
        return False
    return _NAME.fullmatch(words[1]) is not None or words[1] in _OWN_NAMES


def _is_address(word: str) -> bool:
    return word == "0" or literal(word.lower().partition("%")[0]) is not None


def leads_nowhere(line: str) -> bool:
    """Whether a line gives its names an unspecified or loopback address. Any other address is that of a server, and is
    right for its own names only."""
    address = line.split()[0]
    number = literal(address.lower())
    return address == "0" or (number is not None and (number.is_unspecified or number.is_loopback))


def parse_hosts(pieces: Iterator[str], builder: ListBuilder) -> None:
    """Parses a hosts file, as `formats.ParseList` says."""

    def take(first: int, names: str) -> None:
        builder.add_lines(first, names, Covers.HOST)

    def are_names(lines: str) -> bool:
        return are_domains(lines) and _OWN_AT_FIRST.search(f"\n{lines}") is None

    def parse_line(number: int, line: str) -> None:
        entry, mark, _ = line.partition("#")
        address, *names = entry.split() or [""]
        if not address:
            return
        if len(line) == MANY_LIMIT and not mark:  # its last name may be cut
            builder.skip(number, line, Skip.UNREADABLE)
            return
        if not names or not _is_address(address):
            builder.skip(number, line.strip(), Skip.UNREADABLE)
            return
        for name in names:
            if name.lower() not in _OWN_NAMES:
                builder.add(number, name, Covers.HOST)

    parse_lines(pieces, (BulkLines(_LINE, take, are_names),), parse_line, limit=MANY_LIMIT)
