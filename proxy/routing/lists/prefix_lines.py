"""Lines of IP prefixes in their usual spelling, all of a piece at once.

A million prefixes are some millions of numbers, and a call for each would take a second. So the characters of a piece
are one large number, with eight bits for each character, and what is computed is computed of all of them. A piece in
which one prefix is spelled in another way, or is none, is left to the parser of lines.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Sequence

_OCTET = r"(?:0|[1-9][0-9]{0,2})"
IPV4_PREFIX = rf"(?:{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}(?:/[0-9]{{1,2}})?)"
"""Matches what may be an IPv4 address or prefix: `ipv4_keys` looks at its numbers. None begins with a zero: of an
address that would be octal, and of a prefix wrong, which the parser of lines tells apart."""

IPV6_PREFIX = (
    r"(?:[1-9a-f][0-9a-f]{0,3}:(?:(?:(?:0|[1-9a-f][0-9a-f]{0,3}):){0,2}[1-9a-f][0-9a-f]{0,3}:)?:/[1-9][0-9]{0,2})"
)
"""Matches what may be an IPv6 prefix in canonical spelling, with one to four groups before its `::`, as most have: then
the zeros at the end are the longest run. `ipv6_keys` looks at its length."""

SHORTEST_PREFIX = {4: 3, 6: 4}
"""By IP version. A shorter prefix holds a quarter of all addresses, or all that are in use."""

_IPV6_PREFIX = re.compile(IPV6_PREFIX)

_ZEROS = bytes.maketrans(b"123456789\n/", b"111111111..")
"""So that a search for three texts finds each number that is missing or has a zero before it, in a third of the time of
an expression."""

_SHAPES = (b".../\n", b"...\n")
"""Of what IPV4_PREFIX matches, without its digits."""

_DIGITS = bytes(character - 48 if 48 <= character < 58 else 0 for character in range(256))
_NO_DIGITS = bytes(0 if 48 <= character < 58 else 255 for character in range(256))
_ABOVE_55 = bytes(number > 55 for number in range(256))
_IS_TWO = bytes(number == 2 for number in range(256))

_LENGTHS = bytes(range(SHORTEST_PREFIX[4], 33))
"""That a prefix of IPv4 may have."""

_MASKS = [bytes(255 ^ 255 >> min(8, max(0, length - 8 * place)) for length in range(256)) for place in range(4)]
"""For each octet of an IPv4 prefix, by the length of the prefix: the bits that it has of it."""


def are_ipv4(lines: str) -> bool:
    """Returns whether each line of a text, without its last line feed, may be an IPv4 address or prefix, as IPV4_PREFIX
    does, but for the number of digits."""
    text = f"\n{lines}\n".encode(errors="replace")
    zeros = text.translate(_ZEROS)
    if b".." in zeros or b".00" in zeros or b".01" in zeros:
        return False
    rest = text[1:].translate(None, b"0123456789")
    if rest == _SHAPES[0] * (len(rest) // len(_SHAPES[0])):  # nearly always
        return True
    for shape in _SHAPES:
        rest = rest.replace(shape, b"")
    return not rest


def are_ipv6(lines: str) -> bool:
    """Returns whether IPV6_PREFIX matches each line of a text, without its last line feed, as a whole."""
    return all(map(_IPV6_PREFIX.fullmatch, lines.split("\n")))


def ipv4_keys(prefixes: str) -> Sequence[int]:
    """Returns the keys (`prefix_set.prefix_key`) of a text of prefixes of the form of IPV4_PREFIX, one a line; none
    when one of them needs a closer look, since it is no prefix, spelled in another way, or too short."""
    count = prefixes.count("\n") + 1
    numbers = _numbers(f"{prefixes}\n".encode())
    if len(numbers) != 5 * count:
        prefixes = "\n".join([it if "/" in it else f"{it}/32" for it in prefixes.split("\n")])
        numbers = _numbers(f"{prefixes}\n".encode())
    lengths = numbers[4::5]
    if len(numbers) != 5 * count or lengths.translate(None, _LENGTHS):
        return ()
    keys = bytearray(8 * len(lengths))  # each in eight bytes, the highest first
    keys[7::8] = lengths
    for place, mask in enumerate(_MASKS):
        octets = int.from_bytes(numbers[place::5]) & int.from_bytes(lengths.translate(mask))
        keys[3 + place :: 8] = octets.to_bytes(len(lengths))
    made = array("Q", bytes(keys))
    if sys.byteorder == "little":
        made.byteswap()
    return made


def _numbers(text: bytes) -> bytes:
    """Returns the decimal numbers of a text, which ends in none of them; nothing when one of them is above 255."""
    digits, no_digits = int.from_bytes(text.translate(_DIGITS)), int.from_bytes(text.translate(_NO_DIGITS))
    are_digits = no_digits ^ ((1 << 8 * len(text)) - 1)
    before_digits = are_digits & are_digits << 8
    if before_digits & before_digits << 8 & before_digits << 16:  # four in a row
        return b""
    # What a number has up to the last digit of it, of the tens and of the hundreds; other places are left out.
    tens = digits + 10 * (digits >> 8) | no_digits | before_digits
    hundreds = digits >> 16 & are_digits >> 8 | no_digits | before_digits
    low, high = [each.to_bytes(len(text)).translate(None, b"\xff") for each in (tens, hundreds)]
    above_255 = int.from_bytes(low.translate(_ABOVE_55)) & int.from_bytes(high.translate(_IS_TWO))
    if above_255 or high.translate(None, b"\0\1\2"):
        return b""
    return (int.from_bytes(low) + 100 * int.from_bytes(high)).to_bytes(len(low))


def ipv6_keys(prefixes: str) -> Sequence[int]:
    """The same for prefixes of the form of IPV6_PREFIX."""
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
