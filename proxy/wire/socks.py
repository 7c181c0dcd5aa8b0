"""Both sides of SOCKS 4, 4a and 5: requests of clients to us, and our requests to relays.

The upper half parses requests and raises PeerError with the reply for the client. The lower half writes our own
requests and parses a relay's replies: every reply but success is a DialError whose symptom says where the fault is. A
parser takes a reply to its last byte and no further, since later bytes belong to the tunnel. RFC 1928, RFC 1929, and
the SOCKS4 and 4a notes of Ying-Da Lee.
"""

from __future__ import annotations

import ipaddress
from enum import IntEnum

from proxy.model import Destination, Evidence, Stage, Symptom
from proxy.model.errors import DialError, PeerError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import hostnames as names
from proxy.wire.reader import Parser, Reader

NO_AUTH = 0x00
PASSWORD = 0x02
"""The two authentication methods that we support (RFC 1928 section 3, RFC 1929)."""

FIELD_LIMIT = 255
"""Bytes of the longest name, user or password: SOCKS5 counts them in one byte, and SOCKS4 needs no more."""

_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_GRANTED_AT_IPV4 = bytes((5, 0, 0, _IPV4))
_NO_METHOD = 0xFF


class Socks5Reply(IntEnum):
    """RFC 1928 section 6."""

    GRANTED = 0
    FAILED = 1
    FORBIDDEN = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    REFUSED = 5
    TIMED_OUT = 6  # "TTL expired" in the RFC; Tor and others send it after a timeout
    NO_SUCH_COMMAND = 7
    NO_SUCH_ADDRESS_TYPE = 8


_REPLY_FOR = {
    Symptom.FORBIDDEN: Socks5Reply.FORBIDDEN,
    Symptom.OFFLINE: Socks5Reply.NETWORK_UNREACHABLE,
    Symptom.UNREACHABLE: Socks5Reply.HOST_UNREACHABLE,
    Symptom.NO_NAME: Socks5Reply.HOST_UNREACHABLE,
    Symptom.RESOLVE_FAILED: Socks5Reply.HOST_UNREACHABLE,
    Symptom.REFUSED: Socks5Reply.REFUSED,
    Symptom.TIMEOUT: Socks5Reply.TIMED_OUT,
}

_MEANING: dict[int, str] = {
    Socks5Reply.FAILED: "general failure",
    Socks5Reply.FORBIDDEN: "not allowed by its rules",
    Socks5Reply.NETWORK_UNREACHABLE: "network unreachable",
    Socks5Reply.HOST_UNREACHABLE: "host unreachable",
    Socks5Reply.REFUSED: "connection refused",
    Socks5Reply.TIMED_OUT: "timed out (TTL expired)",
    Socks5Reply.NO_SUCH_COMMAND: "it does not know CONNECT",
    Socks5Reply.NO_SUCH_ADDRESS_TYPE: "it does not take this kind of address",
}


# -- requests of clients -----------------------------------------------------------------------------------------------


@frozen_dataclass
class Socks4Request:
    """A CONNECT by SOCKS4, or by 4a: with a name, or with an address as text."""

    destination: Destination
    user_id: bytes
    is_4a: bool


def socks5_method(method: int) -> bytes:
    """Returns our choice among the offered authentication methods."""
    return bytes((5, method))


def socks5_reply(code: Socks5Reply) -> bytes:
    """Returns a whole reply. Its bound address is 0.0.0.0:0: clients do not use it, and ours would reveal this
    computer's."""
    return bytes((5, code, 0, _IPV4, 0, 0, 0, 0, 0, 0))


def socks5_reply_for(symptom: Symptom) -> bytes:
    """Returns the reply whose code is closest to a symptom; never GRANTED."""
    return socks5_reply(_REPLY_FOR.get(symptom, Socks5Reply.FAILED))


def socks4_reply(granted: bool) -> bytes:
    """Returns a whole SOCKS4 reply. SOCKS4 has no code for a reason."""
    return bytes((0, 0x5A if granted else 0x5B, 0, 0, 0, 0, 0, 0))


SOCKS5_NO_METHOD = socks5_method(_NO_METHOD)
SOCKS5_AUTH_OK = b"\x01\x00"
SOCKS5_AUTH_FAILED = b"\x01\x01"


def read_socks4(reader: Reader) -> Parser[Socks4Request]:
    """Parses a request from its version byte on. Raises PeerError with a reply, or without one when the client has
    closed."""
    version, command, *_ = head = yield from reader.exactly(8)
    if version != 4 or command != _CONNECT:
        raise _socks4_error(f"SOCKS version {version}, command {command}: only CONNECT is served")
    user_id = yield from _until_nul(reader, "user id")
    address = head[4:8]
    is_4a = address[:3] == b"\0\0\0" and address[3] != 0  # 0.0.0.x: a name follows
    if is_4a:
        host = yield from _until_nul(reader, "host name")
    elif address == b"\0\0\0\0":
        raise _socks4_error("a SOCKS4 request for 0.0.0.0")
    else:
        host = ".".join(map(str, address)).encode()
    try:
        destination = names.destination(host, int.from_bytes(head[2:4], "big"))
    except ValueError as error:
        raise _socks4_error(str(error)) from None
    return Socks4Request(destination, user_id, is_4a)


def read_socks5_methods(reader: Reader) -> Parser[frozenset[int]]:
    """Parses a greeting from its version byte on, and returns the offered authentication methods. Raises PeerError."""
    if len(reader) < 2:
        yield from reader.fill(2)
    version, count = reader[:2]
    if version != 5:
        raise PeerError(f"SOCKS version {version} instead of 5")
    if count == 0:
        raise PeerError("the SOCKS5 client offers no authentication method", reply=SOCKS5_NO_METHOD)
    if len(reader) < 2 + count:
        yield from reader.fill(2 + count)
    methods = frozenset(reader[2 : 2 + count])
    del reader[: 2 + count]
    return methods


def read_socks5_credentials(reader: Reader) -> Parser[tuple[bytes, bytes]]:
    """Returns user and password, neither of them empty (RFC 1929 section 2). Raises PeerError."""
    version, user_size = yield from reader.exactly(2)
    if version != 1 or user_size == 0:
        raise PeerError("SOCKS5 authentication without a user, or of another version", reply=SOCKS5_AUTH_FAILED)
    user = yield from reader.exactly(user_size)
    (password_size,) = yield from reader.exactly(1)
    if password_size == 0:
        raise PeerError("SOCKS5 authentication without a password", reply=SOCKS5_AUTH_FAILED)
    password = yield from reader.exactly(password_size)
    return user, password


def read_socks5_request(reader: Reader) -> Parser[Destination]:
    """Returns the destination of a CONNECT. Raises PeerError whose reply has the code of the fault."""
    if len(reader) < 4:
        yield from reader.fill(4)
    version, command, reserved, kind = reader[:4]
    if version != 5 or reserved != 0:
        raise _socks5_error("a SOCKS5 request with a wrong version or reserved byte", Socks5Reply.FAILED)
    if command != _CONNECT:
        raise _socks5_error(f"SOCKS5 command {command}: only CONNECT is served", Socks5Reply.NO_SUCH_COMMAND)
    if kind == _NAME:
        if len(reader) < 5:
            yield from reader.fill(5)
        begin, size = 5, reader[4]
    elif kind in (_IPV4, _IPV6):
        begin, size = 4, 4 if kind == _IPV4 else 16
    else:
        raise _socks5_error(f"SOCKS5 address type {kind}", Socks5Reply.NO_SUCH_ADDRESS_TYPE)
    end = begin + size
    if len(reader) < end + 2:
        yield from reader.fill(end + 2)
    name, port = bytes(reader[begin:end]), int.from_bytes(reader[end : end + 2], "big")
    del reader[: end + 2]
    if port == 0:
        raise _socks5_error("a SOCKS5 request for port 0", Socks5Reply.FAILED)
    if kind == _IPV4:  # canonical as it is
        return Destination(".".join(map(str, name)), port)
    host = name if kind == _NAME else str(ipaddress.IPv6Address(name))
    try:
        return names.destination(host, port)
    except ValueError as error:
        raise _socks5_error(str(error), Socks5Reply.HOST_UNREACHABLE) from None


def _until_nul(reader: Reader, what: str) -> Parser[bytes]:
    overlong = _socks4_error(f"a SOCKS4 {what} of more than {FIELD_LIMIT} bytes")
    field = yield from reader.until(b"\0", limit=FIELD_LIMIT + 1, overlong=overlong)
    return field[:-1]


def _socks4_error(message: str) -> PeerError:
    return PeerError(message, reply=socks4_reply(granted=False))


def _socks5_error(message: str, code: Socks5Reply) -> PeerError:
    return PeerError(message, reply=socks5_reply(code))


# -- requests to relays ------------------------------------------------------------------------------------------------


def _from_relay(reader: Reader, size: int) -> Parser[None]:
    """Waits until a relay has sent `size` bytes, and takes none. Raises DialError when it closes before that."""
    while len(reader) < size:
        if reader.ended:
            text = "the relay closed the connection during the handshake"
            evidence: Evidence = {"relay": Symptom.EOF}
            raise DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_DOWN, evidence=evidence)
        yield


def socks5_greeting(with_password: bool) -> bytes:
    """Returns our offer of methods. With a password, it also offers no authentication."""
    return bytes((5, 2, NO_AUTH, PASSWORD)) if with_password else bytes((5, 1, NO_AUTH))


def read_socks5_method(reader: Reader, *, with_password: bool = True) -> Parser[int]:
    """Returns the relay's choice, NO_AUTH or PASSWORD. Raises DialError, also for PASSWORD when it was not offered."""
    if len(reader) < 2:
        yield from _from_relay(reader, 2)
    version, method = reader[:2]
    del reader[:2]
    if version != 5:
        raise _relay_error(f"the relay does not speak SOCKS5: its first byte is 0x{version:02x}", Symptom.RELAY_GARBAGE)
    if method == _NO_METHOD:
        wish = "accepts neither a user and password nor an anonymous client" if with_password else "requires a user"
        raise _relay_error(f"the relay {wish}", Symptom.RELAY_AUTH)
    if method == PASSWORD and not with_password:
        raise _relay_error("the relay requires a user and password, and none is set", Symptom.RELAY_AUTH)
    if method not in (NO_AUTH, PASSWORD):
        raise _relay_error(
            f"the relay chose authentication method 0x{method:02x}, which was not offered", Symptom.RELAY_GARBAGE
        )
    return method


SOCKS5_NO_AUTH_CHOSEN = socks5_method(NO_AUTH)
"""The answer of nearly every relay to our offer."""


def is_usual_grant(answer: bytes) -> bool:
    """Whether this is exactly one reply with GRANTED and an IPv4 address, as nearly every relay sends it."""
    return len(answer) == 10 and answer.startswith(_GRANTED_AT_IPV4)


def socks5_credentials(user: str, password: str) -> bytes:
    """Returns the request of RFC 1929. Raises ValueError when a field is too long, or the user is empty."""
    pair = (user.encode(), password.encode())
    if not pair[0] or any(len(field) > FIELD_LIMIT for field in pair):
        raise ValueError(f"SOCKS5 takes a user of 1 to {FIELD_LIMIT} bytes and a password of at most {FIELD_LIMIT}")
    return b"\x01" + b"".join(bytes((len(field),)) + field for field in pair)


def read_socks5_auth(reader: Reader) -> Parser[None]:
    """Reads the relay's answer to our credentials. Raises DialError unless they are accepted."""
    yield from _from_relay(reader, 2)
    version, status = reader[:2]
    del reader[:2]
    if version != 1:
        raise _relay_error(f"the relay answered the authentication with version {version}", Symptom.RELAY_GARBAGE)
    if status != 0:
        raise _relay_error("the relay rejects the user and password", Symptom.RELAY_AUTH)


def socks5_connect(destination: Destination) -> bytes:
    """Returns a CONNECT with the name, or with the address of a literal. Raises ValueError for a name that is too
    long."""
    address = destination.address
    if address is None:
        name = destination.host.encode("ascii")
        if not 1 <= len(name) <= FIELD_LIMIT:
            raise ValueError(f"SOCKS5 takes a name of 1 to {FIELD_LIMIT} bytes, not {len(name)}")
        target = bytes((_NAME, len(name))) + name
    else:
        target = bytes((_IPV4 if address.version == 4 else _IPV6,)) + address.packed
    return bytes((5, _CONNECT, 0)) + target + destination.port.to_bytes(2, "big")


def read_socks5_reply(reader: Reader) -> Parser[None]:
    """Reads the relay's reply to our CONNECT, to its last byte. Raises DialError unless it is GRANTED.

    A close instead of a reply is a refusal: `ssh -D` closes when it cannot reach a destination. It can also mean that
    the relay itself ends now, so the evidence distinguishes it from a reply."""
    while not reader:
        if reader.ended:
            text = "the relay refused: it closed the connection without a reply"
            raise DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_REFUSED, evidence={"relay": Symptom.EOF})
        yield
    if len(reader) < 2:
        yield from _from_relay(reader, 2)
    version, code = reader[:2]
    if version != 5:
        raise _relay_error(f"the relay answered with SOCKS version {version}", Symptom.RELAY_GARBAGE)
    if code != Socks5Reply.GRANTED:  # checked first: some relays send only these two bytes
        meaning = _MEANING.get(code, "unassigned code")
        raise _relay_error(f"the relay refused: {meaning} (SOCKS5 reply {code})", Symptom.RELAY_REFUSED)
    if len(reader) < 4:
        yield from _from_relay(reader, 4)
    kind = reader[3]
    if kind == _NAME:
        yield from _from_relay(reader, 5)
        size = 1 + reader[4]
    elif kind in (_IPV4, _IPV6):
        size = 4 if kind == _IPV4 else 16
    else:
        raise _relay_error(f"the relay answered with address type {kind}", Symptom.RELAY_GARBAGE)
    if len(reader) < 4 + size + 2:
        yield from _from_relay(reader, 4 + size + 2)
    del reader[: 4 + size + 2]


def socks4a_connect(destination: Destination, user: str = "") -> bytes:
    """Returns a CONNECT with a name, which the relay resolves; an IPv6 address goes as text. Raises ValueError."""
    if destination.address is not None and destination.address.version == 4:
        return socks4_connect(destination, user)
    host = destination.host.encode("ascii")
    if not 1 <= len(host) <= FIELD_LIMIT:
        raise ValueError(f"SOCKS4a takes a name of 1 to {FIELD_LIMIT} bytes, not {len(host)}")
    return _socks4_head(destination.port, b"\0\0\0\x01", user) + host + b"\0"


def socks4_connect(destination: Destination, user: str = "") -> bytes:
    """Returns a CONNECT with an IPv4 address. Raises ValueError for any other destination."""
    address = destination.address
    if address is None or address.version != 4 or address.packed[:3] == b"\0\0\0":
        raise ValueError("SOCKS4 carries IPv4 addresses only")
    return _socks4_head(destination.port, address.packed, user)


def read_socks4_reply(reader: Reader) -> Parser[None]:
    """Reads the relay's reply to our CONNECT. Raises DialError unless it is granted."""
    yield from _from_relay(reader, 2)
    version, code = reader[:2]
    if version != 0 or not 0x5A <= code <= 0x5D:
        raise _relay_error(
            f"the relay does not speak SOCKS4: its answer begins with {version:02x} {code:02x}", Symptom.RELAY_GARBAGE
        )
    if code in (0x5C, 0x5D):
        raise _relay_error(f"the relay rejects the user id (SOCKS4 reply {code})", Symptom.RELAY_AUTH)
    if code == 0x5B:
        raise _relay_error("the relay refused or failed (SOCKS4 reply 91)", Symptom.RELAY_REFUSED)
    yield from _from_relay(reader, 8)
    del reader[:8]


def _socks4_head(port: int, address: bytes, user: str) -> bytes:
    user_id = user.encode()
    if b"\0" in user_id or len(user_id) > FIELD_LIMIT:
        raise ValueError(f"SOCKS4 takes a user id of at most {FIELD_LIMIT} bytes, without NUL")
    return bytes((4, _CONNECT)) + port.to_bytes(2, "big") + address + user_id + b"\0"


def _relay_error(message: str, symptom: Symptom) -> DialError:
    return DialError(message, stage=Stage.RELAY, symptom=symptom)
