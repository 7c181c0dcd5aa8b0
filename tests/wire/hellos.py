"""ClientHellos to feed: real ones from OpenSSL, and others put together by hand, field by field."""

from __future__ import annotations

import ssl


def real(
    server_name: str | None = "www.example.org", alpn: tuple[str, ...] = ("h2", "http/1.1"), *, tls12: bool = False
) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a client that needs no answer")


def vector(data: bytes, width: int) -> bytes:
    return len(data).to_bytes(width, "big") + data


def extension(kind: int, body: bytes = b"") -> bytes:
    return kind.to_bytes(2, "big") + vector(body, 2)


def sni(name: bytes) -> bytes:
    return extension(0, vector(b"\x00" + vector(name, 2), 2))


def record(fragment: bytes, kind: int = 0x16) -> bytes:
    return bytes([kind]) + b"\x03\x01" + vector(fragment, 2)


def message(*extensions: bytes, session_id: bytes = bytes(range(32)), version: bytes = b"\x03\x03") -> bytes:
    """The handshake message alone, without a record around it."""
    body = (
        version
        + b"R" * 32  # random
        + vector(session_id, 1)
        + vector(b"\x13\x01\x13\x02\xc0\x2f", 2)  # cipher suites
        + vector(b"\x00", 1)  # no compression
        + vector(b"".join(extensions), 2)
    )
    return b"\x01" + vector(body, 3)


def by_hand(*extensions: bytes) -> bytes:
    return record(message(*extensions))


def split(hello: bytes, *sizes: int) -> bytes:
    """The same message over several records, the last one taking what is left."""
    left = hello[5:]
    records = []
    for size in sizes:
        records.append(record(left[:size]))
        left = left[size:]
    return b"".join(records) + record(left)


SUPPORTED_VERSIONS = extension(43, b"\x02\x03\x04")
PSK_MODES = extension(45, b"\x01\x01")
ALPN = extension(16, vector(vector(b"h2", 1) + vector(b"http/1.1", 1), 2))
KEY_SHARE = extension(51, vector(b"\x00\x1d" + vector(b"K" * 32, 2), 2))
POST_QUANTUM = extension(51, vector(b"\x11\xec" + vector(b"Q" * 1216, 2) + b"\x00\x1d" + vector(b"K" * 32, 2), 2))
PRE_SHARED_KEY = extension(41, vector(vector(b"ticket" * 30, 2) + b"\0\0\0\0", 2) + vector(vector(b"B" * 32, 1), 2))
EARLY_DATA = extension(42)
ECH = extension(0xFE0D, b"\x00\x00\x01\x00\x01\x07" + vector(b"E" * 32, 2) + vector(b"P" * 144, 2))
PADDING = extension(21, bytes(500))

PLAIN = by_hand(sni(b"www.example.org"), ALPN, SUPPORTED_VERSIONS, KEY_SHARE)
RESUMING = by_hand(sni(b"www.example.org"), ALPN, SUPPORTED_VERSIONS, KEY_SHARE, EARLY_DATA, PSK_MODES, PRE_SHARED_KEY)
ENCRYPTED = by_hand(sni(b"public.example"), ALPN, SUPPORTED_VERSIONS, KEY_SHARE, ECH)
BIG = by_hand(sni(b"www.example.org"), ALPN, SUPPORTED_VERSIONS, POST_QUANTUM, PADDING)
