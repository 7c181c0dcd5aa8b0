"""DNS queries and answers as bytes (RFC 1035), written and read by dnspython.

Anyone on the path can send an answer first, so each one is checked against its query: the same ID, the same single
question, at most eight aliases in a row, and no more records than an honest server sends. An answer that fails a check
raises PeerError and nothing else. A query carries no client subnet; padded (RFC 8467), its length does not depend on
the name.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

from proxy.model import IPAddress
from proxy.model.errors import PeerError
from proxy.model.frozen_dataclass import frozen_dataclass

if TYPE_CHECKING:  # dnspython takes 50 ms to load, which no start of a command should wait for
    import dns.message
    import dns.rrset

MESSAGE_LIMIT = 16 * 1024
"""Bytes of the largest answer that is parsed; even with DNSSEC, answers with addresses stay below 4096."""

RECORDS_LIMIT = 128
"""Records of one answer at most: parsing one blocks the loop for 20 µs."""

ALIASES_LIMIT = 8
"""CNAMEs in a row; the longest chains of content networks have five."""

PADDING = 128
"""RFC 8467 section 4.1: queries are padded to a multiple of so many bytes."""

_TTL_MAX = 2**31 - 1
_HEADER = struct.Struct("!6H")
_RESPONSE, _TRUNCATED, _OPCODE = 0x8000, 0x0200, 0x7800


class RecordType(IntEnum):
    """The record types that are queried (RFC 1035 section 3.2.2, RFC 3596)."""

    A = 1
    AAAA = 28


class Rcode(StrEnum):
    """The response code of an answer (RFC 1035 section 4.1.1)."""

    OK = "noerror"
    NO_NAME = "nxdomain"
    FAILED = "servfail"
    REFUSED = "refused"
    OTHER = "other"  # NOTIMP, FORMERR and others that an ordinary query does not get

    @property
    def is_final(self) -> bool:
        """Whether another server would answer the same."""
        return self in (Rcode.OK, Rcode.NO_NAME)


_RCODES = {0: Rcode.OK, 2: Rcode.FAILED, 3: Rcode.NO_NAME, 5: Rcode.REFUSED}


@frozen_dataclass
class Answer:
    """A parsed answer. Without addresses and with code OK, the name exists and has no record of this type."""

    code: Rcode
    addresses: tuple[IPAddress, ...] = ()
    ttl_s: int = 0  # the shortest of the records and of the aliases that lead to them
    truncated: bool = False  # the whole answer needs TCP; only `code` is filled in


def query(name: str, kind: RecordType, *, number: int = 0, padded: bool = False) -> bytes:
    """Returns a query for `name` (canonical) with the ID `number`: 0 over HTTPS, where an ID would only defeat caches
    (RFC 8484 section 4.1), and random elsewhere. Raises ValueError when the name is too long for the DNS."""
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
    """Parses the answer to `query(name, kind, number=number)`. Raises PeerError when it is not one."""
    flags = _check_header(data, number)
    message = _parsed(data, question_only=bool(flags & _TRUNCATED))
    code = _RCODES.get(flags & 0xF, Rcode.OTHER)
    if not _asks(message, name, kind) and (message.question or code is Rcode.OK):
        raise PeerError("the answer is for another question")
    if flags & _TRUNCATED:
        return Answer(code, truncated=True)
    if code is not Rcode.OK:
        return Answer(code)
    return _resolve_aliases(message, name, kind)


def _check_header(data: bytes, number: int) -> int:
    """Checks the counts before dnspython spends time on the records. Returns the flags; raises PeerError."""
    if not _HEADER.size <= len(data) <= MESSAGE_LIMIT:
        raise PeerError(f"{len(data)} bytes cannot be a DNS answer")
    answer_number, flags, questions, *records = _HEADER.unpack_from(data)
    if answer_number != number or not flags & _RESPONSE or flags & _OPCODE:
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
    questions = [(_text(rrset), int(rrset.rdclass), int(rrset.rdtype)) for rrset in message.question]
    return questions == [(name, 1, int(kind))]


def _resolve_aliases(message: dns.message.Message, name: str, kind: RecordType) -> Answer:
    """Returns the records of the name, or of the name that its CNAMEs lead to. Raises PeerError for a loop."""
    sets = {(_text(rrset), int(rrset.rdtype)): rrset for rrset in reversed(message.answer) if rrset.rdclass == 1}
    ttls: list[int] = []
    for _ in range(ALIASES_LIMIT + 1):
        if (rrset := sets.get((name, int(kind)))) is not None:
            addresses = tuple(ipaddress.ip_address(record.address) for record in rrset)
            return Answer(Rcode.OK, addresses, min([*ttls, _ttl(rrset)]))
        if (alias := sets.get((name, 5))) is None:  # 5: CNAME
            return Answer(Rcode.OK, ttl_s=min(ttls, default=0))
        ttls.append(_ttl(alias))
        name = _canonical(alias[0].target.to_text())
    raise PeerError(f"the answer follows more than {ALIASES_LIMIT} aliases")


def _text(rrset: dns.rrset.RRset) -> str:
    return _canonical(rrset.name.to_text())


def _canonical(text: str) -> str:
    return text.lower().removesuffix(".")


def _ttl(rrset: dns.rrset.RRset) -> int:
    """Returns the TTL; one with the highest bit set counts as 0 (RFC 2181 section 8)."""
    return rrset.ttl if 0 <= rrset.ttl <= _TTL_MAX else 0


# -- comparing the answers of two servers ------------------------------------------------------------------------------


def related(some: Iterable[IPAddress], others: Iterable[IPAddress]) -> bool:
    """Whether two answers share an address or a prefix (/24, /48), as two answers of one CDN for one name do."""
    return not {_prefix(address) for address in some}.isdisjoint(_prefix(address) for address in others)


def _prefix(address: IPAddress) -> tuple[int, int]:
    return (4, int(address) >> 8) if address.version == 4 else (6, int(address) >> 80)


NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""The well-known prefix, which needs no discovery (RFC 6052)."""

IPV4_ONLY = "ipv4only.arpa"
"""A name with IPv4 addresses only: an IPv6 answer for it reveals the network's NAT64 prefix (RFC 7050)."""

_IPV4_ONLY_ADDRESSES = (ipaddress.IPv4Address("192.0.0.170"), ipaddress.IPv4Address("192.0.0.171"))
_NAT64_LENGTHS = (96, 64, 56, 48, 40, 32)


def nat64_prefixes(addresses: Iterable[IPAddress]) -> tuple[ipaddress.IPv6Network, ...]:
    """Returns the NAT64 prefixes that the answers for IPV4_ONLY reveal, each once."""
    prefixes = [_nat64_prefix(address) for address in addresses if address.version == 6]
    return tuple(dict.fromkeys(prefix for prefix in prefixes if prefix is not None))


def _nat64_prefix(address: ipaddress.IPv6Address) -> ipaddress.IPv6Network | None:
    lengths = (length for length in _NAT64_LENGTHS if _embedded(address, length) in _IPV4_ONLY_ADDRESSES)
    length = next(lengths, None)
    return None if length is None else ipaddress.IPv6Network((int(address), length), strict=False)


def unmapped(address: IPAddress, prefixes: Sequence[ipaddress.IPv6Network]) -> IPAddress:
    """Returns the IPv4 address that a DNS64 has embedded in `address`, or `address` itself."""
    if address.version == 4:
        return address
    network = next((prefix for prefix in (NAT64, *prefixes) if address in prefix), None)
    return address if network is None else _embedded(address, network.prefixlen)


def _embedded(address: ipaddress.IPv6Address, length: int) -> ipaddress.IPv4Address:
    """Returns the IPv4 address after a prefix of `length` bits; bits 64 to 71 are skipped (RFC 6052 section 2.2)."""
    octets = address.packed
    behind = octets[length // 8 :] if length == 96 else octets[length // 8 : 8] + octets[9:]
    return ipaddress.IPv4Address(behind[:4])
