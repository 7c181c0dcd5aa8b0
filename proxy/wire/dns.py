"""DNS queries for addresses, and their answers, as bytes (RFC 1035).

Anyone on the path can send an answer first, so an answer is checked against its query: the same ID, the same single
question, at most eight aliases (CNAMEs) in a row, and no more records than an honest server sends. An answer that fails
a check raises PeerError. Records of other types are skipped by their length. A query carries no client subnet, and the
length of a padded one (RFC 8467) does not depend on the name.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum, StrEnum

from proxy.model import IPAddress
from proxy.model.errors import PeerError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.remembered import remembered

MESSAGE_LIMIT = 16 * 1024
"""Bytes of the largest answer that is parsed; even with DNSSEC, answers with addresses stay below 4096."""

RECORDS_LIMIT = 128
"""Records of the largest answer that is parsed."""

ALIASES_LIMIT = 8
"""CNAMEs in a row; the longest chains of content networks have five."""

PADDING = 128
"""Bytes to a multiple of which a query is padded (RFC 8467 section 4.1)."""

PAYLOAD = 1232
"""Bytes of a datagram that passes everywhere (DNS flag day 2020); a query with EDNS announces it."""

_NAME_LIMIT = 255  # bytes of a name on the wire (RFC 1035 section 2.3.4)
_LABEL_LIMIT = 63
_POINTERS_LIMIT = 64  # in one name: each points further back, but a large answer has room for thousands
_TTL_MAX = 2**31 - 1
_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!HH")  # type, class
_RECORD = struct.Struct("!HHIH")  # type, class, TTL, bytes of data
_OPTION = struct.Struct("!HH")  # code, bytes of data
_RESPONSE, _TRUNCATED, _OPCODE, _RECURSION_DESIRED = 0x8000, 0x0200, 0x7800, 0x0100
_POINTER = 0xC0
_CNAME, _OPT = 5, 41
_PADDING_OPTION = 12  # RFC 7830
_INTERNET = 1


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

    def __init__(self, text: str) -> None:
        self.is_final = text in ("noerror", "nxdomain")
        """Whether another server would answer the same."""


_RCODES = {0: Rcode.OK, 2: Rcode.FAILED, 3: Rcode.NO_NAME, 5: Rcode.REFUSED}


@frozen_dataclass
class Answer:
    """A parsed answer. Code OK without addresses: the name exists and has no record of this type."""

    code: Rcode
    addresses: tuple[IPAddress, ...] = ()
    ttl_s: int = 0  # the shortest TTL of the records and of the aliases that lead to them
    truncated: bool = False  # the whole answer needs TCP; only `code` is set


def query(name: str, kind: RecordType, *, number: int = 0, padded: bool = False) -> bytes:
    """Returns a query for the canonical `name` with the ID `number`. Over HTTPS the ID is 0, since another one would
    only defeat caches (RFC 8484 section 4.1); elsewhere it is random. Raises ValueError when the name is too long."""
    question = _on_wire(name) + _QUESTION.pack(kind, _INTERNET)
    if not padded:
        return _HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, 0) + question
    size = _HEADER.size + len(question) + 1 + _RECORD.size + _OPTION.size
    option = _OPTION.pack(_PADDING_OPTION, -size % PADDING) + bytes(-size % PADDING)
    record = b"\0" + _RECORD.pack(_OPT, PAYLOAD, 0, len(option)) + option
    return _HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, 1) + question + record


@remembered(64)  # a lookup asks for two types, and compares two answers
def _on_wire(name: str) -> bytes:
    """Returns a canonical name as it is on the wire: each label after its length. Raises ValueError when it is too
    long."""
    labels = name.encode("ascii").split(b".")
    lengths = [len(label) for label in labels]
    if min(lengths) == 0 or max(lengths) > _LABEL_LIMIT or len(name) > _NAME_LIMIT - 2:
        raise ValueError(f"{name} is not a DNS name: it, or a label of it, is too long or empty")
    return b"".join([bytes((len(label),)) + label for label in labels]) + b"\0"


def read_answer(data: bytes, name: str, kind: RecordType, *, number: int = 0) -> Answer:
    """Parses the answer to `query(name, kind, number=number)`. Raises PeerError when it is not one."""
    flags, questions, records, answers = _read_header(data, number)
    code = _RCODES.get(flags & 0xF, Rcode.OTHER)
    question = _on_wire(name) + _QUESTION.pack(kind, _INTERNET)
    at = _HEADER.size + questions * len(question)
    # A server repeats the question byte for byte. It has no pointers, since no name stands before it.
    if data[_HEADER.size : at].lower() != questions * question.lower() or (not questions and code is Rcode.OK):
        raise PeerError("the answer is for another question")
    if flags & _TRUNCATED:
        return Answer(code, truncated=True)
    try:
        table = _read_records(data, at, records, answers, kind)
    except (IndexError, struct.error):
        raise PeerError("the answer cannot be read: it ends too early") from None
    return _resolve_aliases(table, _on_wire(name), kind) if code is Rcode.OK else Answer(code)


def _read_header(data: bytes, number: int) -> tuple[int, int, int, int]:
    """Returns the flags, and the numbers of questions, of all records, and of answer records. Raises PeerError."""
    if not _HEADER.size <= len(data) <= MESSAGE_LIMIT:
        raise PeerError(f"{len(data)} bytes cannot be a DNS answer")
    answer_number, flags, questions, answers, authorities, additional = _HEADER.unpack_from(data)
    records = answers + authorities + additional
    if answer_number != number or not flags & _RESPONSE or flags & _OPCODE:
        raise PeerError("not an answer to this query")
    if questions > 1 or records > RECORDS_LIMIT:
        raise PeerError(f"the answer claims {questions} questions and {records} records")
    return flags, questions, records, answers


_Records = dict[tuple[bytes, int], list[tuple[int, bytes]]]
"""The TTL and the data of each record, in their order, by name and type. Names are in wire format, in lower case,
without pointers. A length byte is never a letter, so `lower()` does not change it."""


def _read_records(data: bytes, at: int, records: int, answers: int, kind: RecordType) -> _Records:
    """Reads all records from `at` to the end. Returns the answer records that are aliases or of type `kind`. Raises
    PeerError, and IndexError or struct.error when the data ends too early."""
    table: _Records = {}
    for place in range(records):
        owner, at = _read_name(data, at)
        of_type, of_class, ttl, size = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        end = at + size
        if end > len(data):
            raise PeerError("the answer cannot be read: it ends too early")
        if place < answers and of_class == _INTERNET and of_type in (kind, _CNAME):
            if of_type == _CNAME:
                value, after = _read_name(data, at)
                if after != end:
                    raise PeerError("the answer cannot be read: an alias is no name")
            else:
                value = data[at:end]
                if size != (4 if kind is RecordType.A else 16):
                    raise PeerError(f"the answer cannot be read: {size} bytes are no address")
            if ttl > _TTL_MAX:
                ttl = 0  # RFC 2181 section 8
            table.setdefault((owner, of_type), []).append((ttl, value))
        at = end
    if at != len(data):
        raise PeerError(f"the answer cannot be read: {len(data) - at} bytes follow it")
    return table


def _read_name(data: bytes, at: int) -> tuple[bytes, int]:
    """Returns the name at `at`, in lower case and without pointers, and the offset after it. Raises PeerError, and
    IndexError when the data ends too early."""
    name, end, lowest, pointers = b"", 0, at, 0
    while length := data[at]:
        if length >= _POINTER:
            end = end or at + 2
            at = (length - _POINTER) << 8 | data[at + 1]
            if at >= lowest:
                raise PeerError("the answer cannot be read: a name points forward")
            lowest = at
            pointers += 1
            if pointers > _POINTERS_LIMIT:
                raise PeerError("the answer cannot be read: a name has too many pointers")
        elif length > _LABEL_LIMIT:
            raise PeerError("the answer cannot be read: a label of an unknown kind")
        else:
            name += data[at : at + length + 1]
            at += length + 1
            if len(name) >= _NAME_LIMIT:
                raise PeerError("the answer cannot be read: a name is too long")
    return name.lower() + b"\0", end or at + 1


def _resolve_aliases(table: _Records, name: bytes, kind: RecordType) -> Answer:
    """Returns the records of the name, or of the name that its CNAMEs lead to. Raises PeerError for more than
    ALIASES_LIMIT aliases, as in a loop."""
    make = ipaddress.IPv4Address if kind is RecordType.A else ipaddress.IPv6Address
    ttls: list[int] = []
    for _ in range(ALIASES_LIMIT + 1):
        if (records := table.get((name, kind))) is not None:
            ttls += [ttl for ttl, _ in records]
            return Answer(
                Rcode.OK, tuple([make(data) for data in dict.fromkeys([data for _, data in records])]), min(ttls)
            )
        if (alias := table.get((name, _CNAME))) is None:
            return Answer(Rcode.OK, ttl_s=min(ttls, default=0))
        ttls += [ttl for ttl, _ in alias]
        name = alias[-1][1]
    raise PeerError(f"the answer follows more than {ALIASES_LIMIT} aliases")


# -- comparing the answers of two servers ------------------------------------------------------------------------------


def related(some: Iterable[IPAddress], others: Iterable[IPAddress]) -> bool:
    """Whether two answers share a prefix (/24 of IPv4, /48 of IPv6), as two answers of one CDN for one name do."""
    return not {_prefix(address) for address in some}.isdisjoint(_prefix(address) for address in others)


def _prefix(address: IPAddress) -> tuple[int, int]:
    return (4, int(address) >> 8) if address.version == 4 else (6, int(address) >> 80)


NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""The well-known NAT64 prefix (RFC 6052), which needs no discovery."""

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
    """Returns the IPv4 address that a DNS64 server has embedded in `address`; without one, `address` itself."""
    if address.version == 4:
        return address
    network = next((prefix for prefix in (NAT64, *prefixes) if address in prefix), None)
    return address if network is None else _embedded(address, network.prefixlen)


def _embedded(address: ipaddress.IPv6Address, length: int) -> ipaddress.IPv4Address:
    """Returns the IPv4 address after a prefix of `length` bits; bits 64 to 71 are skipped (RFC 6052 section 2.2)."""
    octets = address.packed
    behind = octets[length // 8 :] if length == 96 else octets[length // 8 : 8] + octets[9:]
    return ipaddress.IPv4Address(behind[:4])
