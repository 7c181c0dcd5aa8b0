"""The unencrypted parts of TLS: the ClientHello, and the first record of an answer.

A ClientHello is parsed for its name (SNI) and for early data, which forbids to send it twice; it is made anew for a
re-test, and cut inside its name for a local strategy. Nothing here decrypts or judges certificates. RFC 8446 sections
4.1.2 and 5.1, RFC 6066 section 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import Enum, StrEnum, auto
from typing import NamedTuple

from proxy.model import literal
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import hostnames as names

HELLO_LIMIT = 64 * 1024
"""Bytes of the longest ClientHello that is parsed. Post-quantum ones have about 1,800."""

RECORD_LIMIT = 16 * 1024
"""Bytes of the largest plaintext record (RFC 8446 section 5.1)."""

FIRST_PIECE = 4
"""Bytes of a handshake message that its first record must hold: type and length. mbedTLS refuses a cut inside them."""

RANDOMNESS = 64
"""Bytes that `refreshed` needs: 32 for the random, 32 for the session id."""

REPLY_HEAD = 16
"""Bytes after a ClientHello that `certificate_reply` needs: the dummy record of RFC 8446 section D.4, and a header."""

_FINISHED_LEAST = 4 + 32 + 1 + 8
"""Bytes in the shortest encrypted record with a Finished: its header, 32 of a hash, the content type and the shortest
tag (RFC 8446 sections 4.4.4 and 5.2; AES_128_CCM_8). A record with an alert or EndOfEarlyData has at most 21."""

_HEADER = 5  # type, version (2), length (2)
_BEFORE_BODY = 4  # of a handshake message: type, length (3)
_BEFORE_NAME = 4 + 5  # of an extension: type, length; of the list: length (2), kind, length (2)
_EXTENSION = struct.Struct("!HH")  # type, length
_LENGTH = struct.Struct("!H")
_TOO_LONG = "a TLS field longer than what holds it"
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _ENCRYPTED = 0x14, 0x15, 0x16, 0x17
_WARNING, _FATAL, _UNRECOGNIZED_NAME = 1, 2, 112
_CLIENT_HELLO, _SERVER_HELLO = 1, 2
_SERVER_NAME, _ALPN, _SESSION_TICKET, _PRE_SHARED_KEY, _EARLY_DATA, _ECH = 0, 16, 35, 41, 42, 0xFE0D


class Verdict(StrEnum):
    """The result of a look at the first bytes of an answer."""

    VALID = "valid"
    MORE = "more"  # too few to decide
    GARBAGE = "garbage"  # not of the protocol of the flight
    ALERT = "alert"  # TLS, but a refusal: by the site, or by a middlebox


class CertificateReply(Enum):
    """Whether a client accepted the certificate, as its records after the ClientHello show."""

    NONE = auto()  # its records do not show it
    NOTHING_SENT = auto()  # not a byte: some programs close without an alert
    ACCEPTED = auto()
    REJECTED = auto()  # a fatal alert in place of the rest of the handshake


@frozen_dataclass
class ClientHello:
    """The unencrypted fields of a ClientHello."""

    server_name: str | None  # canonical; None when there is none, or it is not a name
    alpn: tuple[str, ...]
    early_data: bool
    ech: bool  # an encrypted ClientHello, or GREASE that looks like it: browsers always send one of them
    size: int  # bytes of input, with the headers of records


class _Hello(NamedTuple):
    """The parts of a ClientHello. Fields that are only copied stay joined."""

    version: bytes
    session_id: bytes
    choices: bytes  # cipher suites and compression methods, with their lengths
    extensions: dict[int, bytes] | None  # in their order; None: the block is missing, as before TLS 1.2


def parse_client_hello(data: bytes) -> ClientHello | None:
    """Parses the ClientHello at the beginning of `data`, across records; None: it is not whole yet.

    Raises ValueError as soon as the bytes cannot be a ClientHello.
    """
    message, size = _message(data)
    if message is None:
        return None
    extensions = _cut(message).extensions or {}
    return ClientHello(
        server_name=_read_server_name(extensions[_SERVER_NAME]) if _SERVER_NAME in extensions else None,
        alpn=_read_alpn(extensions[_ALPN]) if _ALPN in extensions else (),
        early_data=_EARLY_DATA in extensions,
        ech=_ECH in extensions,
        size=size,
    )


def refreshed(hello: bytes, randomness: bytes, *, server_name: str = "") -> bytes:
    """Returns a ClientHello anew, in one record, as for a first connection; with another `server_name`, if one is given
    and it had a name.

    Random and session id (if it has one) are new, from the RANDOMNESS bytes of `randomness`. Extensions that resume an
    earlier session or announce early data are removed, because they would not be true. A real encrypted ClientHello is
    bound to the old random, so a server answers as if ECH had failed: still with a ServerHello. Raises ValueError when
    `hello` is not exactly one whole ClientHello, or does not fit one record.
    """
    if len(randomness) != RANDOMNESS:
        raise ValueError(f"a fresh ClientHello needs {RANDOMNESS} random bytes, not {len(randomness)}")
    message, size = _message(hello)
    if message is None or size != len(hello):
        raise ValueError("not exactly one whole ClientHello")
    old = _cut(message)
    body = b"".join(
        (
            old.version,
            randomness[:32],
            _with_length(randomness[32 : 32 + len(old.session_id)], 1),
            old.choices,
            b"" if old.extensions is None else _with_length(b"".join(_first_time(old.extensions, server_name)), 2),
        )
    )
    record = bytes([_CLIENT_HELLO]) + _with_length(body, 3)
    if len(record) > RECORD_LIMIT:
        raise ValueError("a ClientHello that does not fit one record")
    return hello[:3] + _with_length(record, 2)


def sni_offset(hello: bytes) -> int | None:
    """Returns the best offset to cut the name in `hello`, a whole ClientHello in its records: the middle of the
    registered label, so that neither piece holds a name that a filter looks for. None: it names no host.

    Raises ValueError when it cannot be a ClientHello.
    """
    found = _find_name(hello)
    return None if found is None else _place(hello, found[0] + names.middle(found[1]))


def sni_end(hello: bytes) -> int | None:
    """Returns the offset of the last byte of the name in `hello`. None and ValueError as in `sni_offset`."""
    found = _find_name(hello)
    return None if found is None else _place(hello, found[0] + len(found[1]) - 1)


def _find_name(hello: bytes) -> tuple[int, bytes] | None:
    """Returns the offset of the name in the message of `hello`, and the name."""
    message, _ = _message(hello)
    if message is None:
        return None
    extensions = _cut(message).extensions or {}
    start = len(message) - sum(4 + len(body) for body in extensions.values())  # they stand last
    for kind, body in extensions.items():
        if kind == _SERVER_NAME and _read_server_name(body) is not None:
            name = body[5 : 5 + int.from_bytes(body[3:5], "big")]  # after the lengths of list and name, and its type
            return _BEFORE_BODY + start + _BEFORE_NAME, name
        start += 4 + len(body)
    return None


def cut_records(hello: bytes, at: int) -> bytes:
    """Cuts the record that holds byte `at` of `hello` in two: `at` is the first byte of the second record. Later
    records do not change. Raises ValueError when the first piece would hold less than FIRST_PIECE bytes, or the second
    none."""
    position = 0
    while (end := _record_end(hello, position)) is not None and end <= at:
        position = end
    start = position + _HEADER
    if end is None or at - start < FIRST_PIECE:
        raise ValueError(f"a ClientHello cannot be cut at {at}")
    head = hello[position : position + 3]
    pieces = (hello[:position], head, _with_length(hello[start:at], 2), head, _with_length(hello[at:end], 2))
    return b"".join((*pieces, hello[end:]))


def is_server_answer(data: bytes | bytearray) -> Verdict:
    """Classifies the answer to a ClientHello: VALID for a ServerHello, ALERT once both bytes of an alert have come.
    Skips a warning about an unknown name, since a ServerHello may follow it (RFC 6066 section 3)."""
    if not data:
        return Verdict.MORE
    if data[0] not in (_HANDSHAKE, _ALERT) or (len(data) > 1 and data[1] != 3):
        return Verdict.GARBAGE
    if len(data) < _HEADER:
        return Verdict.MORE
    size = int.from_bytes(data[3:5], "big")
    if data[0] == _ALERT:
        return _judge_alert(data, size)
    if not 1 <= size <= RECORD_LIMIT:
        return Verdict.GARBAGE
    if len(data) == _HEADER:
        return Verdict.MORE
    return Verdict.VALID if data[_HEADER] == _SERVER_HELLO else Verdict.GARBAGE


def certificate_reply(head: bytes, sent: int) -> CertificateReply:
    """Returns whether the client accepted the certificate. `head` has the first REPLY_HEAD bytes that the client sent
    after its ClientHello, `sent` is the number of all of them.

    A client goes on with the handshake only if it accepts the certificate. In TLS 1.3 an alert may be encrypted, as a
    Finished is, but its record is shorter, and nothing follows it. A second ClientHello, in reply to a
    HelloRetryRequest, is skipped by its length."""
    if not sent:
        return CertificateReply.NOTHING_SENT
    at = 0
    while at + _HEADER <= min(len(head), sent):
        kind, size = head[at], int.from_bytes(head[at + 3 : at + 5], "big")
        content = head[at + _HEADER : at + _HEADER + 2]
        ends_at = at + _HEADER + size
        if kind == _ALERT:
            return CertificateReply.REJECTED if content[:1] == bytes([_FATAL]) else CertificateReply.NONE
        if kind == _HANDSHAKE and content[:1] != bytes([_CLIENT_HELLO]):
            return CertificateReply.ACCEPTED
        if kind == _ENCRYPTED and size >= _FINISHED_LEAST:
            return CertificateReply.ACCEPTED
        if kind == _ENCRYPTED and ends_at >= sent:
            return CertificateReply.REJECTED
        if kind not in (_CHANGE_CIPHER_SPEC, _HANDSHAKE, _ENCRYPTED):
            break
        at = ends_at
    if at <= len(head) or sent <= at:
        return CertificateReply.NONE
    # The records after a second ClientHello are not in `head`. They are longer than an alert if there is a Finished.
    return CertificateReply.ACCEPTED if sent - at >= _HEADER + _FINISHED_LEAST else CertificateReply.REJECTED


def _judge_alert(data: bytes | bytearray, size: int) -> Verdict:
    if size != 2:
        return Verdict.GARBAGE
    end = _HEADER + size
    if len(data) < end:
        return Verdict.MORE
    is_warning = data[_HEADER] == _WARNING and data[_HEADER + 1] == _UNRECOGNIZED_NAME
    if not is_warning:
        return Verdict.ALERT
    if data[end : end + 1] == bytes([_ALERT]):  # servers send at most one warning
        return Verdict.ALERT
    return is_server_answer(data[end:])


def _message(data: bytes) -> tuple[bytes | None, int]:
    """Returns the body of the ClientHello message, and the number of its bytes in `data`; None: it is not whole yet.
    Raises ValueError."""
    if data[_HEADER : _HEADER + 1] not in (b"", bytes([_CLIENT_HELLO])):  # the type: no record is empty
        raise ValueError("a TLS handshake that does not begin with a ClientHello")
    handshake = bytearray()
    position = 0
    while (end := _record_end(data, position)) is not None:
        handshake += data[position + _HEADER : end]
        position = end
        if len(handshake) < 4:
            continue
        whole = 4 + int.from_bytes(handshake[1:4], "big")
        if whole > HELLO_LIMIT:
            raise ValueError(f"a ClientHello of {whole} bytes")
        if len(handshake) > whole:
            raise ValueError("a record with more than a ClientHello in it")
        if len(handshake) == whole:
            return bytes(handshake[4:]), position
    return None, 0


def _record_end(data: bytes, position: int) -> int | None:
    """Returns the end of the handshake record at `position`; None: it has not come whole. Raises ValueError."""
    if data[position : position + 1] not in (b"", b"\x16") or data[position + 1 : position + 2] not in (b"", b"\x03"):
        raise ValueError("not a TLS handshake record")
    if len(data) < position + _HEADER:
        return None
    size = int.from_bytes(data[position + 3 : position + _HEADER], "big")
    if not 1 <= size <= RECORD_LIMIT:
        raise ValueError("a TLS record of a forbidden length")
    end = position + _HEADER + size
    return end if end <= len(data) else None


def _cut(message: bytes) -> _Hello:
    end = len(message)
    if end < 35 or message[0] != 3:
        raise ValueError("a ClientHello of another protocol version")
    try:
        suites = 35 + message[34]  # offset of the cipher suites: after version, random, and session id with its length
        compression = suites + 2 + _LENGTH.unpack_from(message, suites)[0]
        position = compression + 1 + message[compression]
    except (IndexError, struct.error):
        raise ValueError(_TOO_LONG) from None
    if position > end:
        raise ValueError(_TOO_LONG)
    if suites > 35 + 32 or compression < suites + 4 or (compression - suites) % 2 or position == compression + 1:
        raise ValueError("a ClientHello with a field of a forbidden length")
    version, session_id, choices = message[:2], message[35:suites], message[suites:position]
    if position == end:
        return _Hello(version, session_id, choices, None)
    if end - position < 2 or _LENGTH.unpack_from(message, position)[0] != end - position - 2:
        raise ValueError("a ClientHello with more or less than its extensions at its end")
    position += 2
    extensions: dict[int, bytes] = {}
    while position + 4 <= end:
        kind, size = _EXTENSION.unpack_from(message, position)
        if kind in extensions:
            raise ValueError("a ClientHello with the same extension twice")
        start = position + 4
        position = start + size
        extensions[kind] = message[start:position]
    if position != end:
        raise ValueError("a TLS extension longer than what holds it")
    return _Hello(version, session_id, choices, extensions)


def _place(data: bytes, offset: int) -> int:
    """Returns the position in `data`, which is records, of byte `offset` of their handshake message."""
    position = 0
    while (end := _record_end(data, position)) is not None:
        size = end - position - _HEADER
        if offset < size:
            return position + _HEADER + offset
        offset -= size
        position = end
    raise ValueError("a place behind the end of a ClientHello")


def _first_time(extensions: dict[int, bytes], server_name: str) -> Iterator[bytes]:
    for kind, body in extensions.items():
        if kind not in (_PRE_SHARED_KEY, _EARLY_DATA):
            content = b"" if kind == _SESSION_TICKET else body  # empty: supports tickets, has none (RFC 5077)
            if kind == _SERVER_NAME and server_name:
                content = _with_length(b"\x00" + _with_length(server_name.encode("ascii"), 2), 2)
            yield kind.to_bytes(2, "big") + _with_length(content, 2)


def _read_server_name(body: bytes) -> str | None:
    """Returns the first host_name of the list; None for an address (RFC 6066 section 3) and for text that is not a
    canonical name. Raises ValueError."""
    end = 2 + int.from_bytes(body[:2], "big")  # of the list
    if not 2 <= end <= len(body):
        raise ValueError(_TOO_LONG)
    if end < len(body) or body[2:3] != b"\x00":
        return None
    end = 5 + int.from_bytes(body[3:5], "big")  # of the name
    if not 5 <= end <= len(body):
        raise ValueError(_TOO_LONG)
    try:
        host = names.host(body[5:end])
    except ValueError:
        return None
    return host if literal(host) is None else None


def _read_alpn(body: bytes) -> tuple[str, ...]:
    position, end = 2, 2 + int.from_bytes(body[:2], "big")
    protocols = []
    while position < min(end, len(body)):
        start = position + 1
        position = start + body[position]
        protocols.append(body[start:position].decode("latin-1"))
    if position != end or end > len(body):
        raise ValueError(_TOO_LONG)
    return tuple(protocols)


def _with_length(data: bytes, width: int) -> bytes:
    return len(data).to_bytes(width, "big") + data
