"""Checks whether an HTTP/2 request may be passed on, also to a server that speaks HTTP/1.

HTTP/2 frames fields; HTTP/1 writes them as text, where a field with a line end, or one that frames a body, could start
another request. So the fields are written as an HTTP/1 head, and `http1` parses it as strictly as any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from proxy.wire import hostnames as names
from proxy.wire.http1 import Form, read_request_head
from proxy.wire.reader import Reader

Fields = Iterable[tuple[bytes, bytes]]

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+\Z")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_OF_A_CONNECTION = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings"}
)
"""Connection-specific fields, which HTTP/2 forbids (RFC 9113 section 8.2.2). As text in an HTTP/1 head,
Transfer-Encoding would frame a body, and another request could hide in it (request smuggling)."""


def check_request(fields: Fields, *, ended: bool) -> None:
    """Checks the fields of a request; `ended`: no body follows them. Raises ValueError or PeerError, with one sentence,
    for fields that no request may have."""
    pseudo: dict[bytes, bytes] = {}
    lines: list[bytes] = []
    cookies: list[bytes] = []
    hosts: list[bytes] = []
    for name, value in fields:
        if _VALUE.match(value) is None:
            raise ValueError("a field holds a control character")
        if name.startswith(b":"):
            if name not in _PSEUDO or name in pseudo or lines:
                raise ValueError("a pseudo-header field is unknown, repeated or in the wrong place")
            pseudo[name] = value
        elif name == b"cookie":  # browsers send one field for each
            cookies.append(value)
        elif name == b"host":
            hosts.append(value)
        else:
            lines.append(_line(name, value))
    if pseudo.get(b":scheme") not in (b"https", b"http"):
        raise ValueError("its scheme is not https")
    if cookies:
        lines.append(b"cookie: " + b"; ".join(cookies))
    _check_head(pseudo, _host(pseudo, hosts), lines, ended=ended)


def check_trailers(fields: Fields) -> None:
    """Raises ValueError for fields that no trailer section may have."""
    for name, value in fields:
        if _VALUE.match(value) is None:
            raise ValueError("a trailer holds a control character")
        _line(name, value)


def _line(name: bytes, value: bytes) -> bytes:
    if _NAME.match(name) is None:
        raise ValueError("a field name is empty or holds a character that no name may have")
    if name in _OF_A_CONNECTION or (name == b"te" and value.lower() != b"trailers"):
        raise ValueError("it has a field of an HTTP/1 connection")
    return name + b": " + value


def _host(pseudo: dict[bytes, bytes], hosts: list[bytes]) -> bytes:
    """Returns the host of the request. Raises ValueError when there is none, or when `:authority` and Host differ: two
    servers could otherwise route the request to different sites."""
    values = [*hosts, *([pseudo[b":authority"]] if b":authority" in pseudo else [])]
    if len(hosts) > 1 or not values:
        raise ValueError("it has no host, or two")
    if len({names.authority(host, 443) for host in values}) > 1:
        raise ValueError("its :authority and Host fields disagree")
    return values[-1]


def _check_head(pseudo: dict[bytes, bytes], host: bytes, lines: list[bytes], *, ended: bool) -> None:
    first = b"%b %b HTTP/1.1" % (pseudo.get(b":method", b""), pseudo.get(b":path", b""))
    head = b"".join(line + b"\r\n" for line in (first, b"host: " + host, *lines)) + b"\r\n"
    reading = read_request_head(Reader(head))
    try:
        next(reading)
    except StopIteration as read:
        if read.value.form is not Form.ORIGIN:
            raise ValueError("its path is not one") from None
        if ended and not read.value.bodiless:
            raise ValueError("it declares a body that does not follow") from None
    else:
        raise AssertionError("a whole head was not read to its end")
