"""Parses lines of IP prefixes in their usual spelling, a piece at a time, in a microsecond each.

A piece with a line of another form goes to the parser of single lines, which takes ten times as long.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from proxy.routing.prefix_set import OCTETS

_OCTET = r"(?:0|[1-9][0-9]{0,2})"
IPV4_PREFIX = rf"(?:{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}(?:/[0-9]{{1,2}})?)"
"""Matches a text with the form of an IPv4 address or prefix; `ipv4_keys` checks its numbers. No number begins with a
zero: that would be octal in an address and an error in a prefix, which the parser of single lines tells apart."""

IPV6_PREFIX = (
    r"(?:[1-9a-f][0-9a-f]{0,3}:(?:(?:(?:0|[1-9a-f][0-9a-f]{0,3}):){0,2}[1-9a-f][0-9a-f]{0,3}:)?:/[1-9][0-9]{0,2})"
)
"""Matches a text with the form of an IPv6 prefix in canonical spelling with one to four groups before its `::`, as most
have: then the zeros at the end are the longest run. `ipv6_keys` checks its length."""

SHORTEST_PREFIX = {4: 3, 6: 4}
"""The shortest prefix by IP version. A shorter one contains a quarter of all addresses, or all that are in use."""

_IPV4_PREFIX, _IPV6_PREFIX = re.compile(IPV4_PREFIX), re.compile(IPV6_PREFIX)
_FIRST, _SECOND, _THIRD, _LAST = OCTETS

_IPV4_LENGTHS = {
    text: (length, (1 << 32) - (1 << 32 - length))
    for length in range(SHORTEST_PREFIX[4], 33)
    for text in (str(length), *([""] if length == 32 else []))
}
"""The length of a prefix and its mask, by the text after the slash."""


def are_ipv4(lines: str) -> bool:
    """Returns whether IPV4_PREFIX matches each line of a text, without its last line feed, as a whole."""
    return all(map(_IPV4_PREFIX.fullmatch, lines.split("\n")))


def are_ipv6(lines: str) -> bool:
    """As `are_ipv4`, for IPV6_PREFIX."""
    return all(map(_IPV6_PREFIX.fullmatch, lines.split("\n")))


def ipv4_keys(prefixes: str) -> Sequence[int]:
    """Returns the keys (`prefix_set.prefix_key`) of prefixes in the form of IPV4_PREFIX, one a line; none when one of
    them is invalid, spelled in another way, or too short: then the parser of single lines decides."""
    keys = []
    try:
        for text in prefixes.split("\n"):
            address, _, after = text.partition("/")
            a, b, c, d = address.split(".")
            length, mask = _IPV4_LENGTHS[after]
            keys.append((_FIRST[a] + _SECOND[b] + _THIRD[c] + _LAST[d] & mask) << 8 | length)
    except KeyError:
        return ()
    return keys


def ipv6_keys(prefixes: str) -> Sequence[int]:
    """As `ipv4_keys`, for prefixes in the form of IPV6_PREFIX."""
    keys = []
    for text in prefixes.split("\n"):
        network, _, after = text.partition("::/")
        groups, length = network.split(":"), int(after)
        if not SHORTEST_PREFIX[6] <= length < 128:
            return ()
        number = 0
        for group in groups:
            number = number << 16 | int(group, 16)
        number <<= 16 * (8 - len(groups))
        keys.append(number >> (128 - length) << (136 - length) | length)  # its `prefix_key`, without a call for each
    return keys
