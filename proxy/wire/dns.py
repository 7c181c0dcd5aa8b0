"""Questions to name servers and their answers, as bytes (RFC 1035), read and written by dnspython.

Anyone on the path can send an answer first, so it is checked against the question: its number, its one
question, at most eight aliases in a row, and no more records than any honest server sends. What cannot be read is a
PeerError and nothing else. A query carries no client subnet; padded (RFC 8467) it shows nothing by its length.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

from proxy.model import IPAddress
from proxy.model.errors import PeerError

if TYPE_CHECKING:  # dnspython takes 50 ms to load, which no start of a command should wait for
    import dns.message
    import dns.rrset

MESSAGE_LIMIT = 16 * 1024
"""Bytes of an answer that is read; even with DNSSEC those for addresses stay below 4096."""

RECORDS_LIMIT = 128
"""Records of an answer: reading one costs 20 µs of everybody's time."""

ALIASES_LIMIT = 8
"""CNAMEs in a row; the longest chains of content networks have five."""

PADDING = 128
"""RFC 8467 section 4.1: queries are padded to a multiple of so many bytes."""

_TTL_MAX = 2**31 - 1
_HEADER = struct.Struct("!6H")
_RESPONSE, _TRUNCATED, _OPCODE = 0x8000, 0x0200, 0x7800


class RecordType(IntEnum):
    """A type of record."""

    A = 1
    AAAA = 28


class Rcode(StrEnum):
    """How a server answered."""

    OK = "noerror"
    NO_NAME = "nxdomain"
    FAILED = "servfail"
    REFUSED = "refused"
    OTHER = "other"  # a code that no resolver gives to an ordinary question

    @property
    def is_final(self) -> bool:
        """Another server would say the same."""
        return self in (Rcode.OK, Rcode.NO_NAME)


_CODES = {0: Rcode.OK, 2: Rcode.FAILED, 3: Rcode.NO_NAME, 5: Rcode.REFUSED}


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered. Empty, with code OK: the name exists and has no such record."""

    code: Rcode
    addresses: tuple[IPAddress, ...] = ()
    ttl_s: int = 0  # the shortest on the way from the name to the records
    truncated: bool = False  # the rest is to be had over TCP; nothing else is filled in


def query(name: str, kind: RecordType, *, number: int = 0, padded: bool = False) -> bytes:
    """A question for `name` (canonical). `number` is 0 over HTTPS, where it would only spoil caches (RFC 8484 section
    4.1), and random elsewhere. Raises ValueError for what is too long for the DNS."""
    import dns.exception
    import dns.message

    try:
        message = dns.message.make_query(
            f"{name}.", kind.name, id=number, use_edns=0 if padded else False, pad=PADDING if padded else 0
        )
        return message.to_wire()
    except dns.exception.DNSException as error:
        raise ValueError(f"{name} is not a DNS name: {error}") from None


def read_answer(data: bytes, name: str, kind: RecordType, *, number: int = 0) -> Answer:
    """The answer to `query(name, kind, number=number)`. Raises PeerError for what is none."""
    flags = _check_header(data, number)
    message = _parsed(data, question_only=bool(flags & _TRUNCATED))
    code = _CODES.get(flags & 0xF, Rcode.OTHER)
    if not _asks(message, name, kind) and (message.question or code is Rcode.OK):
        raise PeerError("the answer is for another question")
    if flags & _TRUNCATED:
        return Answer(code, truncated=True)
    if code is not Rcode.OK:
        return Answer(code)
    return _followed(message, name, kind)


def _check_header(data: bytes, number: int) -> int:
    """The flags. Raises PeerError."""
    if not _HEADER.size <= len(data) <= MESSAGE_LIMIT:
        raise PeerError(f"{len(data)} bytes cannot be a DNS answer")
    found, flags, questions, *records = _HEADER.unpack_from(data)
    if found != number or not flags & _RESPONSE or flags & _OPCODE:
        raise PeerError("not an answer to this query")
    if questions > 1 or sum(records) > RECORDS_LIMIT:
        raise PeerError(f"the answer claims {sum(records)} records")
    return int(flags)


def _parsed(data: bytes, *, question_only: bool) -> dns.message.Message:
    import dns.exception
    import dns.message

    try:
        return dns.message.from_wire(data, question_only=question_only, ignore_trailing=question_only)
    except (dns.exception.DNSException, ValueError) as error:
        raise PeerError(f"the answer cannot be read: {error}") from error


def _asks(message: dns.message.Message, name: str, kind: RecordType) -> bool:
    asked = [(_text(found), int(found.rdclass), int(found.rdtype)) for found in message.question]
    return asked == [(name, 1, int(kind))]


def _followed(message: dns.message.Message, name: str, kind: RecordType) -> Answer:
    """The records of the name, or of what it is an alias for."""
    sets = {(_text(found), int(found.rdtype)): found for found in reversed(message.answer) if found.rdclass == 1}
    ttls: list[int] = []
    for _ in range(ALIASES_LIMIT + 1):
        if (found := sets.get((name, int(kind)))) is not None:
            addresses = tuple(ipaddress.ip_address(record.address) for record in found)
            return Answer(Rcode.OK, addresses, min([*ttls, _ttl(found)]))
        if (alias := sets.get((name, 5))) is None:
            return Answer(Rcode.OK, ttl_s=min(ttls, default=0))
        ttls.append(_ttl(alias))
        name = _canonical(alias[0].target.to_text())
    raise PeerError(f"the answer follows more than {ALIASES_LIMIT} aliases")


def _text(found: dns.rrset.RRset) -> str:
    return _canonical(found.name.to_text())


def _canonical(text: str) -> str:
    return text.lower().removesuffix(".")


def _ttl(found: dns.rrset.RRset) -> int:
    """RFC 2181 section 8: one with the highest bit set is 0."""
    return found.ttl if 0 <= found.ttl <= _TTL_MAX else 0


# -- comparing what two servers say ------------------------------------------------------------------------------------


def related(some: Iterable[IPAddress], others: Iterable[IPAddress]) -> bool:
    """Whether they share an address or a prefix (/24, /48), as the answers of one content network for one name do."""
    return not {_prefix(address) for address in some}.isdisjoint(_prefix(address) for address in others)


def _prefix(address: IPAddress) -> tuple[int, int]:
    return (4, int(address) >> 8) if address.version == 4 else (6, int(address) >> 80)


NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""The prefix that needs no discovery (RFC 6052)."""

IPV4_ONLY = "ipv4only.arpa"
"""A name that has IPv4 addresses alone: an IPv6 answer for it shows the network's own prefix (RFC 7050)."""

_IPV4_ONLY_ADDRESSES = (ipaddress.IPv4Address("192.0.0.170"), ipaddress.IPv4Address("192.0.0.171"))
_NAT64_LENGTHS = (96, 64, 56, 48, 40, 32)


def nat64_prefixes(addresses: Iterable[IPAddress]) -> tuple[ipaddress.IPv6Network, ...]:
    """The prefixes that answers for IPV4_ONLY show."""
    found = [_nat64_prefix(address) for address in addresses if address.version == 6]
    return tuple(dict.fromkeys(prefix for prefix in found if prefix is not None))


def _nat64_prefix(address: ipaddress.IPv6Address) -> ipaddress.IPv6Network | None:
    lengths = (length for length in _NAT64_LENGTHS if _embedded(address, length) in _IPV4_ONLY_ADDRESSES)
    length = next(lengths, None)
    return None if length is None else ipaddress.IPv6Network((int(address), length), strict=False)


def unmapped(address: IPAddress, prefixes: Sequence[ipaddress.IPv6Network]) -> IPAddress:
    """The IPv4 address that a DNS64 has put into `address`; else itself."""
    if address.version == 4:
        return address
    network = next((prefix for prefix in (NAT64, *prefixes) if address in prefix), None)
    return address if network is None else _embedded(address, network.prefixlen)


def _embedded(address: ipaddress.IPv6Address, length: int) -> ipaddress.IPv4Address:
    """RFC 6052 section 2.2: behind the prefix, but for bits 64 to 71, which are passed over."""
    octets = address.packed
    behind = octets[length // 8 :] if length == 96 else octets[length // 8 : 8] + octets[9:]
    return ipaddress.IPv4Address(behind[:4])
