"""The messages that a censor reads in packets, and forges: DNS messages, the SNI of a ClientHello, the Host of an HTTP
request.

They are written anew on purpose and do not use Byway's own parsers: the code that judges Byway must not share its
mistakes. The result is None for everything that is not understood, as a censor would let it pass. RFC 1035, 8446, 6066
and 9112.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

A, AAAA = 1, 28
NXDOMAIN, SERVFAIL, REFUSED = 3, 2, 5

METHODS = (b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE ")

_DNS_HEAD = struct.Struct("!HHHHHH")
_RESPONSE, _RECURSION = 0x8000, 0x0180  # QR; RD and RA
_FORGED_TTL_S = 300
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME = 0x16, 1, 0
ENCRYPTED_CLIENT_HELLO = 0xFE0D
"""The extension (draft-ietf-tls-esni). Browsers send it in every hello: most are GREASE, filled with chance."""

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Question:
    """A DNS query for one name."""

    ident: int
    name: str  # lower-case, without the last dot
    kind: int
    asked: bytes  # the question section as it stood there, the case of its letters kept

    def answer(self, addresses: Iterable[Address | str] = (), *, rcode: int = 0) -> bytes:
        """Returns an answer with those of `addresses` that are of the requested kind."""
        version = {A: 4, AAAA: 6}.get(self.kind)
        packed = [address.packed for address in map(ip_address, addresses) if address.version == version]
        head = _DNS_HEAD.pack(self.ident, _RESPONSE | _RECURSION | rcode, 1, len(packed), 0, 0)
        records = (struct.pack("!HHHIH", 0xC00C, self.kind, 1, _FORGED_TTL_S, len(data)) + data for data in packed)
        return head + self.asked + b"".join(records)


def question(message: bytes) -> Question | None:
    """Returns the query in a DNS message; None when the message is no query."""
    if len(message) < _DNS_HEAD.size + 5:
        return None
    ident, flags, questions, *_ = _DNS_HEAD.unpack_from(message)
    if flags & _RESPONSE or questions != 1:
        return None
    labels, position = [], _DNS_HEAD.size
    while position < len(message) and (size := message[position]):
        if size > 63:
            return None
        labels.append(message[position + 1 : position + 1 + size])
        position += 1 + size
    end = position + 5
    if end > len(message):
        return None
    kind = int.from_bytes(message[position + 1 : position + 3], "big")
    name = b".".join(labels).lower().decode("ascii", "backslashreplace")
    return Question(ident, name, kind, message[_DNS_HEAD.size : end])


@dataclass(frozen=True, slots=True)
class Hello:
    """The part of a ClientHello that has been read: its name, and whether later bytes could still add something."""

    name: str | None
    over: bool


_MORE, _NAMELESS = Hello(None, over=False), Hello(None, over=True)


def hello(data: bytes, *, records: bool) -> Hello:
    """Returns the ClientHello at the start of `data`, of any length. `records`: reads the second record as well, and
    the later ones; else the hello ends with the first."""
    message = _handshake(data, records=records)
    if message and message[0] != _CLIENT_HELLO:
        return _NAMELESS
    found = _server_name(message)
    return Hello(found, over=True) if found else _NAMELESS if _is_whole(message) else _MORE


@dataclass(frozen=True, slots=True)
class WholeHello:
    """A ClientHello of which everything has been read."""

    name: str | None
    extensions: frozenset[int]  # their types
    ja4: str


def whole_hello(data: bytes) -> WholeHello | None:
    """Returns the ClientHello at the start of `data`, over however many records; None: there is none, or more bytes are
    needed."""
    message = _handshake(data, records=True)
    if not _is_whole(message) or message[0] != _CLIENT_HELLO:
        return None
    extensions = dict(_extensions(message))
    return WholeHello(_server_name(message), frozenset(extensions), _ja4(message, extensions))


_ALPN, _SIGNATURES, _VERSIONS = 16, 13, 43
_JA4_VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10"}


def _ja4(message: bytes, extensions: Mapping[int, bytes]) -> str:
    """Returns the fingerprint by which censors and others tell programs apart (FoxIO, JA4: TLS Client Fingerprinting,
    technical_details/JA4.md). GREASE (RFC 8701) does not count."""
    at = 4 + 2 + 32
    at += 1 + message[at]  # session id
    ciphers = _pairs(message[at + 2 : at + 2 + int.from_bytes(message[at : at + 2], "big")])
    versions = _pairs(extensions[_VERSIONS][1:]) if _VERSIONS in extensions else []
    version = max(versions, default=int.from_bytes(message[4:6], "big"))
    protocols = extensions.get(_ALPN, b"")
    first = protocols[3 : 3 + protocols[2]].decode("latin-1") if len(protocols) > 3 else ""
    kinds = [kind for kind in extensions if not _is_grease(kind)]
    hashed = sorted(kind for kind in kinds if kind not in (_SERVER_NAME, _ALPN))
    signatures = _pairs(extensions[_SIGNATURES][2:]) if _SIGNATURES in extensions else []
    return "_".join(
        (
            f"t{_JA4_VERSIONS.get(version, '00')}{'d' if _SERVER_NAME in extensions else 'i'}"
            f"{min(len(ciphers), 99):02}{min(len(kinds), 99):02}{first[0] + first[-1] if first else '00'}",
            _ja4_hash(_hexadecimal(sorted(ciphers))),
            _ja4_hash("_".join(part for part in (_hexadecimal(hashed), _hexadecimal(signatures)) if part)),
        )
    )


def _pairs(data: bytes) -> list[int]:
    """Returns the numbers of two bytes each, without GREASE."""
    numbers = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data) - 1, 2)]
    return [number for number in numbers if not _is_grease(number)]


def _is_grease(number: int) -> bool:
    return number & 0x0F0F == 0x0A0A and number >> 8 == number & 0xFF


def _hexadecimal(numbers: Iterable[int]) -> str:
    return ",".join(f"{number:04x}" for number in numbers)


def _ja4_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else "0" * 12


def _handshake(data: bytes, *, records: bool) -> bytes:
    """Returns the handshake messages in the records at the start of `data`, or in the first one."""
    message = bytearray()
    position, first = 0, True
    while len(data) >= position + 5 and (first or records):
        if data[position] != _HANDSHAKE or data[position + 1] != 3:
            break
        size = int.from_bytes(data[position + 3 : position + 5], "big")
        message += data[position + 5 : position + 5 + size]
        position += 5 + size
        first = False
    return bytes(message)


def _is_whole(message: bytes) -> bool:
    return len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4], "big")


def _server_name(message: bytes) -> str | None:
    """Returns the name as far as the message goes: the name may be whole before the hello is."""
    for kind, body in _extensions(message):
        if kind == _SERVER_NAME:  # list length (2), type (1), length (2), name
            try:
                return body[5 : 5 + int.from_bytes(body[3:5], "big")].decode("ascii").lower().rstrip(".")
            except UnicodeDecodeError:
                return None
    return None


def _extensions(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the types and contents of the extensions of a ClientHello that are whole already."""
    try:
        position = 4 + 2 + 32
        position += 1 + message[position]  # session id
        position += 2 + int.from_bytes(_exactly(message, position, 2), "big")  # cipher suites
        position += 1 + message[position]  # compression methods
        position += 2
        while True:
            kind, size = struct.unpack_from("!HH", message, position)
            yield kind, _exactly(message, position + 4, size)
            position += 4 + size
    except (IndexError, struct.error):
        return


def _exactly(data: bytes, position: int, size: int) -> bytes:
    found = data[position : position + size]
    if len(found) < size:
        raise IndexError
    return found


def host(head: bytes, *, as_browsers_write_it: bool = False) -> str | None:
    """Returns the host that an HTTP request asks for, from as much of its head as there is. `as_browsers_write_it`:
    finds the field only in the spelling `Host: `, as a simple filter does."""
    if not head.startswith(METHODS):
        return None
    for line in head.split(b"\r\n")[1:-1]:  # the last one may not be whole
        if not line:
            return None
        field, colon, value = line.partition(b":")
        if not colon or (not as_browsers_write_it and field.strip().lower() != b"host"):
            continue
        if as_browsers_write_it and not line.startswith(b"Host: "):
            continue
        name = value.strip().decode("latin-1").lower()
        return name if name.startswith("[") else name.partition(":")[0].rstrip(".")
    return None
