"""Brings names, addresses and ports to their one canonical spelling.

A canonical host is either an A-label name (lower case, no trailing dot) or an IP literal as the standard library writes
it, so rules, guard, beliefs, log and connect all see the same text. Text that a resolver might take for an address
(`127.1`, `0x7f.1`, full-width digits) becomes that address here, before any decision about it. Ambiguous text is
refused. The length is checked first: IDNA is slow on long input.
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
"""Suffixes that the public DNS never delegates (RFC 6762 with its appendix G, ICANN 2024, RFC 8375): names below them
belong to the local network. `.localhost` (RFC 6761) means this computer and is handled where that matters."""

OWN_NAME = "byway.internal"
"""The name under which a browser reaches Byway through the proxy."""

_SECOND_LEVEL = frozenset((b"ac", b"co", b"com", b"edu", b"go", b"gov", b"mil", b"ne", b"net", b"or", b"org"))
"""Labels below which a country registers names: co.uk, com.tr. `middle` needs no exact list of suffixes: a cut that is
one label off still divides most names that a filter looks for."""

_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9_])?"  # an inner or last underscore occurs in real blog names
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")

DOMAIN = r"(?:(?![a-z0-9._-]{254})(?:[a-z0-9][a-z0-9_-]{0,62}+(?<!-)\.)*[a-z][a-z0-9_-]{0,62}+(?<!-))"
"""Matches a domain in canonical spelling, for the expressions that read large files. The last label begins with a
letter, so the match is never an address. Some valid domains do not match."""

NAME_CHARACTERS = b"abcdefghijklmnopqrstuvwxyz0123456789._-"

_DOMAIN = re.compile(DOMAIN)
_NO_LAST_LABEL = r"[._\n0-9-](?:(?<![0-9])|[a-z0-9_-]*+\n)"
"""Matches a beginning that no label of a DOMAIN has: `.`, `_`, `-` or nothing, and in the last label a digit."""
_NO_DOMAIN = tuple(
    re.compile(expression)
    for expression in (
        rf"\n(?:{_NO_LAST_LABEL}|[^\n]{{64}})", rf"\.{_NO_LAST_LABEL}", r"-[.\n]"
    )
)  # fmt: skip
"""If none of these occurs in lines, DOMAIN matches each line: a label has at most 63 characters. Each expression begins
with a character that a search finds fast, so together they take a fifth of the time of DOMAIN."""

_DECIMAL_PORT = re.compile(r"[1-9][0-9]{0,4}\Z")

_REMEMBERED = 1024
"""Results that a function caches: a page asks for few names many times. Text that is refused is not cached, so entries
are short, and all of them together take less than 1 MiB."""


def parse_host(text: str | bytes) -> str:
    """Returns the canonical spelling of a name or an address; bytes are UTF-8.

    An IPv6 address may have brackets, and is returned without. An IPv4-mapped address is returned as IPv4. Raises
    ValueError, with one sentence, for text that is not a host or is ambiguous.
    """
    if len(text) > HOST_LIMIT + 1:  # one for a trailing dot
        raise ValueError(f"a host name can have at most {HOST_LIMIT} characters, not {len(text)}")
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{_quoted(text)} is not a host name: not UTF-8") from None
    name = text.lower() if text.isascii() else _to_ascii(text)
    if ":" in name or name.startswith("["):
        return _ipv6(name)
    name = name.removesuffix(".")
    if _NAME.match(name) is None or len(name) > HOST_LIMIT:
        raise ValueError(f"{_quoted(text)} is not a host name: {_fault(name)}")
    last = name.rpartition(".")[2]
    if _NUMBER.match(last) is not None:
        return _ipv4(name)
    return name


host = remembered(_REMEMBERED)(parse_host)
"""`parse_host` with a cache, for the hosts that connections ask for."""


@remembered(_REMEMBERED)
def port(text: str | bytes | int) -> int:
    """Returns a port from 1 to 65535. Text must be decimal digits without a leading zero. Raises ValueError."""
    if isinstance(text, int):
        number = text
    else:
        digits = text.decode("latin-1") if isinstance(text, bytes) else text
        number = int(digits) if _DECIMAL_PORT.match(digits) else 0
    if not 1 <= number <= 65535:
        raise ValueError(f"{_quoted(text)} is not a port (1-65535)")
    return number


def are_domains(lines: str) -> bool:
    """Returns whether DOMAIN matches every line of `lines` as a whole. The last line has no line feed. Takes a tenth of
    a microsecond a line."""
    text = f"\n{lines}\n"
    if text.encode(errors="replace").translate(None, NAME_CHARACTERS + b"\n"):
        return False
    return not any(it.search(text) for it in _NO_DOMAIN) or all(map(_DOMAIN.fullmatch, lines.split("\n")))


def middle(name: bytes) -> int:
    """Returns the offset at which to cut a name so that neither part holds a name that a filter looks for: the middle
    of the second label from the right, or of the third one if the name ends in a suffix such as co.uk. At least one
    byte stands before the cut."""
    labels = name.rstrip(b".").split(b".")
    place = max(0, len(labels) - 2)
    if place and len(labels[-1]) == 2 and labels[place].lower() in _SECOND_LEVEL:
        place -= 1
    return len(b".".join(labels[:place])) + bool(place) + (len(labels[place]) + 1) // 2


@remembered(_REMEMBERED)
def destination(host_text: str | bytes, port_text: str | bytes | int) -> Destination:
    """Returns the destination, host and port in canonical spelling. Raises ValueError."""
    return Destination(host(host_text), port(port_text))


@remembered(_REMEMBERED)
def authority(text: str | bytes, default_port: int | None = None) -> Destination:
    """Parses `host:port`, `[v6]:port` or, with a default port, the host alone.

    An IPv6 address must have brackets. Raises ValueError, also for user information, paths and an empty port.
    """
    if len(text) > HOST_LIMIT + 9:  # brackets, colon, port, a trailing dot: with room, host() is exact
        raise ValueError(f"a host with a port can have at most {HOST_LIMIT + 6} characters, not {len(text)}")
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{_quoted(text)} is not host:port: not UTF-8") from None
    name, colon, port_text = text.rpartition(":")
    if text.endswith("]") or not colon:
        if default_port is None:
            raise ValueError(f"{_quoted(text)} has no port; write host:port")
        return Destination(host(text), default_port)
    if ":" in name and not (name.startswith("[") and name.endswith("]")):
        raise ValueError(f"{_quoted(text)} is not host:port; write an IPv6 address in brackets")
    return Destination(host(name), port(port_text))


def _to_ascii(text: str) -> str:
    """Maps by UTS 46 (which includes NFKC), then writes labels that are not ASCII as A-labels."""
    import idna  # here, because its tables take 15 ms to load and most runs never see such a name

    try:
        mapped = idna.uts46_remap(text, std3_rules=False, transitional=False)  # `_NAME` is stricter than STD3
        labels = mapped.split(".")
        if any(len(label) > LABEL_LIMIT for label in labels):  # an A-label is never shorter, and is slow to make
            raise ValueError(f"{_quoted(text)} is not a host name: a label is longer than {LABEL_LIMIT} characters")
        return ".".join(label if label.isascii() else idna.alabel(label).decode("ascii") for label in labels).lower()
    except UnicodeError:
        raise ValueError(f"{_quoted(text)} is not a host name: not valid as an international name (IDNA)") from None


def _ipv6(text: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if "%" in bare:
        raise ValueError(f"{_quoted(text)} has a zone id (after %), which is valid on this computer only")
    try:
        address = ipaddress.IPv6Address(bare)
    except ValueError:
        raise ValueError(f"{_quoted(text)} is not an IPv6 address") from None
    return str(address.ipv4_mapped or address)


def _ipv4(name: str) -> str:
    """Parses every form that inet_aton takes: one to four parts, each decimal, octal or hexadecimal; the last part
    fills the remaining bytes."""
    parts = [_part(part) for part in name.split(".")]
    numbers = [part for part in parts if part is not None]
    if len(numbers) != len(parts) or len(parts) > 4:
        raise ValueError(f"{_quoted(name)} ends in a number but is not an IPv4 address")
    *leading, last = numbers
    if any(number > 255 for number in leading) or last >= 256 ** (4 - len(leading)):
        raise ValueError(f"{_quoted(name)} is not an IPv4 address: a part of it is too large")
    value = last
    for index, number in enumerate(leading):
        value += number << (8 * (3 - index))
    return str(ipaddress.IPv4Address(value))


def _part(text: str) -> int | None:
    """Parses one part of an IPv4 address, a number as C spells it; None for anything else."""
    try:
        if text.startswith("0x"):
            return int(text[2:], 16) if text[2:].isalnum() else None
        if text.startswith("0") and text != "0":
            return int(text, 8) if text.isdigit() else None
        return int(text) if text.isdigit() else None
    except ValueError:
        return None


def _fault(name: str) -> str:
    """Returns why `_NAME` did not match."""
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


def _quoted(text: str | bytes | int) -> str:
    """Returns text in quotes and ASCII, harmless in a terminal and on a page, cut after 60 characters."""
    decoded = text.decode("latin-1") if isinstance(text, bytes) else str(text)
    return ascii(decoded if len(decoded) <= 60 else f"{decoded[:60]}…")
