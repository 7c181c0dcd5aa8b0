"""Names, addresses and ports, each brought to its one canonical spelling.

A host that passes here is either an A-label name (lower case, no trailing dot) or an IP literal as the standard library
writes it, so rules, guard, beliefs, log and connect all see the same text. Everything that a resolver might take for an
address (`127.1`, `0x7f.1`, full-width digits) becomes that address here, before anybody decides on it; what is in
doubt is refused. The length is checked before anything else: IDNA is slow on long input.
"""

from __future__ import annotations

import ipaddress
import re

from proxy.model import Destination
from proxy.model.remembered import remembered

HOST_LIMIT = 253
"""Characters of a name without its trailing dot (RFC 1035 section 2.3.4, as text)."""

LABEL_LIMIT = 63

PRIVATE_SUFFIXES = ("local", "localdomain", "internal", "home.arpa", "lan", "home", "corp", "intranet", "private")
"""Suffixes that the public DNS never delegates (RFC 6762 with its appendix G, ICANN 2024, RFC 8375): a name below one
belongs to the local network. `.localhost` (RFC 6761) is this computer, and stands where that matters."""

OWN_NAME = "byway.internal"
"""The name under which a browser reaches Byway through the proxy."""

_SECOND_LEVEL = frozenset((b"ac", b"co", b"com", b"edu", b"go", b"gov", b"mil", b"ne", b"net", b"or", b"org"))
"""Labels below which a country registers names: co.uk, com.tr. A list of suffixes would be exact, and is not needed to
cut names in two: one label off still parts most of what could be looked for."""

_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9_])?"  # an inner or last underscore occurs in real blog names
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")

DOMAIN = r"(?:(?![a-z0-9._-]{254})(?:[a-z0-9][a-z0-9_-]{0,62}+(?<!-)\.)*[a-z][a-z0-9_-]{0,62}+(?<!-))"
"""Matches a domain in canonical spelling, for the expressions that read large files. Its last label begins with a
letter, so it is no address; a domain that it does not match may still be one."""

NAME_CHARACTERS = b"abcdefghijklmnopqrstuvwxyz0123456789._-"

_DOMAIN = re.compile(DOMAIN)
_NO_LAST_LABEL = r"[._\n0-9-](?:(?<![0-9])|[a-z0-9_-]*+\n)"
"""How no label begins, and the last one not either: it has no digit there."""
_NO_DOMAIN = tuple(
    re.compile(expression)
    for expression in (
        rf"\n(?:{_NO_LAST_LABEL}|[^\n]{{64}})", rf"\.{_NO_LAST_LABEL}", r"-[.\n]"
    )
)  # fmt: skip
"""What stands in lines of which one may not match DOMAIN: a label may have 63 characters. Each begins with a character
that a search finds fast: together they take a fifth of the time of DOMAIN."""

_DECIMAL_PORT = re.compile(r"[1-9][0-9]{0,4}\Z")


_REMEMBERED = 1024
"""Results that a function remembers: a page asks for few names many times. What is refused is not remembered, so an
entry is short, and all of them take less than 1 MiB."""


def parse_host(text: str | bytes) -> str:
    """The canonical spelling of a name or an address; bytes are taken as UTF-8.

    IPv6 comes with or without brackets and leaves without; an IPv4-mapped one leaves as the IPv4 address that it is.
    Raises ValueError, with one sentence, for what is no host or could be read in two ways.
    """
    if len(text) > HOST_LIMIT + 1:  # one for a trailing dot
        raise ValueError(f"a host name can have at most {HOST_LIMIT} characters, not {len(text)}")
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{_shown(text)} is not a host name: not UTF-8") from None
    name = text.lower() if text.isascii() else _to_ascii(text)
    if ":" in name or name.startswith("["):
        return _ipv6(name)
    name = name.removesuffix(".")
    if _NAME.match(name) is None or len(name) > HOST_LIMIT:
        raise ValueError(f"{_shown(text)} is not a host name: {_fault(name)}")
    last = name.rpartition(".")[2]
    if _NUMBER.match(last) is not None:
        return _ipv4(name)
    return name


host = remembered(_REMEMBERED)(parse_host)
"""The same, of what connections ask for, which is remembered."""


@remembered(_REMEMBERED)
def port(text: str | bytes | int) -> int:
    """A port from 1 to 65535. Raises ValueError; text must be plain decimal digits without a leading zero."""
    if isinstance(text, int):
        number = text
    else:
        digits = text.decode("latin-1") if isinstance(text, bytes) else text
        number = int(digits) if _DECIMAL_PORT.match(digits) else 0
    if not 1 <= number <= 65535:
        raise ValueError(f"{_shown(text)} is not a port (1-65535)")
    return number


def are_domains(lines: str) -> bool:
    """Returns whether DOMAIN matches each line of a text, without its last line feed, as a whole. Takes a tenth of a
    microsecond for each."""
    text = f"\n{lines}\n"
    if text.encode(errors="replace").translate(None, NAME_CHARACTERS + b"\n"):
        return False
    return not any(it.search(text) for it in _NO_DOMAIN) or all(map(_DOMAIN.fullmatch, lines.split("\n")))


def middle(name: bytes) -> int:
    """Where to cut a name so that neither part holds what somebody may look for: in the middle of its second label from
    the right, or of the third below a suffix such as co.uk. At least one byte stands before the cut."""
    labels = name.rstrip(b".").split(b".")
    place = max(0, len(labels) - 2)
    if place and len(labels[-1]) == 2 and labels[place].lower() in _SECOND_LEVEL:
        place -= 1
    return len(b".".join(labels[:place])) + bool(place) + (len(labels[place]) + 1) // 2


@remembered(_REMEMBERED)
def destination(host_text: str | bytes, port_text: str | bytes | int) -> Destination:
    """Both in canonical spelling. Raises ValueError."""
    return Destination(host(host_text), port(port_text))


@remembered(_REMEMBERED)
def authority(text: str | bytes, default_port: int | None = None) -> Destination:
    """What `host:port`, `[v6]:port` or, with a default port, the host alone says.

    IPv6 needs its brackets here. Raises ValueError: also for user information, paths and an empty port.
    """
    if len(text) > HOST_LIMIT + 9:  # brackets, colon, port, a trailing dot: with room, host() is exact
        raise ValueError(f"a host with a port can have at most {HOST_LIMIT + 6} characters, not {len(text)}")
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{_shown(text)} is not host:port: not UTF-8") from None
    name, colon, port_text = text.rpartition(":")
    if text.endswith("]") or not colon:
        if default_port is None:
            raise ValueError(f"{_shown(text)} has no port; write host:port")
        return Destination(host(text), default_port)
    if ":" in name and not (name.startswith("[") and name.endswith("]")):
        raise ValueError(f"{_shown(text)} is not host:port; write an IPv6 address in brackets")
    return Destination(host(name), port(port_text))


def _to_ascii(text: str) -> str:
    """UTS 46 mapping (which includes NFKC), then A-labels for what is still not ASCII."""
    import idna  # here, because its tables take 15 ms to load and most runs never meet such a name

    try:
        mapped = idna.uts46_remap(text, std3_rules=False, transitional=False)  # `_NAME` is stricter than STD3
        labels = mapped.split(".")
        if any(len(label) > LABEL_LIMIT for label in labels):  # never shorter as an A-label, and slow to find out
            raise ValueError(f"{_shown(text)} is not a host name: a label is longer than {LABEL_LIMIT} characters")
        return ".".join(label if label.isascii() else idna.alabel(label).decode("ascii") for label in labels).lower()
    except UnicodeError:
        raise ValueError(f"{_shown(text)} is not a host name: not valid as an international name (IDNA)") from None


def _ipv6(text: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if "%" in bare:
        raise ValueError(f"{_shown(text)} has a zone id (after %), which is valid on this computer only")
    try:
        address = ipaddress.IPv6Address(bare)
    except ValueError:
        raise ValueError(f"{_shown(text)} is not an IPv6 address") from None
    return str(address.ipv4_mapped or address)


def _ipv4(name: str) -> str:
    """All that inet_aton takes: one to four parts, decimal, octal or hexadecimal, the last one filling the rest."""
    parts = [_part(part) for part in name.split(".")]
    numbers = [part for part in parts if part is not None]
    if len(numbers) != len(parts) or len(parts) > 4:
        raise ValueError(f"{_shown(name)} ends in a number but is not an IPv4 address")
    *leading, last = numbers
    if any(number > 255 for number in leading) or last >= 256 ** (4 - len(leading)):
        raise ValueError(f"{_shown(name)} is not an IPv4 address: a part of it is too large")
    value = last
    for index, number in enumerate(leading):
        value += number << (8 * (3 - index))
    return str(ipaddress.IPv4Address(value))


def _part(text: str) -> int | None:
    """One part of an IPv4 address in C's spelling of numbers; None when it is none."""
    try:
        if text.startswith("0x"):
            return int(text[2:], 16) if text[2:].isalnum() else None
        if text.startswith("0") and text != "0":
            return int(text, 8) if text.isdigit() else None
        return int(text) if text.isdigit() else None
    except ValueError:
        return None


def _fault(name: str) -> str:
    """Why `_NAME` did not match."""
    if not name:
        return "it is empty"
    if len(name) > HOST_LIMIT:
        return f"it is longer than {HOST_LIMIT} characters as A-labels"
    for label in name.split("."):
        if not label:
            return "empty label: two dots in a row, or a leading dot"
        if len(label) > LABEL_LIMIT:
            return f"a label is longer than {LABEL_LIMIT} characters"
        if label[0] in "-_" or label[-1] == "-":
            return "a label starts with - or _, or ends with -"
    return "only letters, digits, -, _ and dots are allowed"


def _shown(text: str | bytes | int) -> str:
    """Inert in a terminal and a page, and short."""
    shown = text.decode("latin-1") if isinstance(text, bytes) else str(text)
    return ascii(shown if len(shown) <= 60 else f"{shown[:60]}…")
