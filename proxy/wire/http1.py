"""Parses the head of an HTTP/1.x request to a proxy strictly, and writes a new head for the server.

An ambiguous head is refused, never repaired: the next server could read it in another way. The new head is made from
parsed values, so it has no hop-by-hop field, no proxy credentials, and the host in canonical spelling. Answers, bodies
and our own replies have their own modules; this one exports their names too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from proxy.model import Destination
from proxy.model.errors import PeerError
from proxy.model.remembered import remembered
from proxy.wire import hostnames as names
from proxy.wire.http1_body import CHUNKED, LAST_CHUNK, NO_BODY, BodyKind, Framing, Pieces, encode_chunk, read_body
from proxy.wire.http1_error import error_response, refusal
from proxy.wire.http1_fields import (
    HEAD_LIMIT,
    NO_TOKENS,
    Headers,
    content_length,
    field_table,
    head_text,
    read_fields,
    tokens,
    without,
)
from proxy.wire.http1_response import ResponseHead, read_response_head, take_response_head
from proxy.wire.reader import Parser, Reader

__all__ = [
    "HEAD_LIMIT",
    "HTTP_1_0",
    "HTTP_1_1",
    "LAST_CHUNK",
    "REMEMBERED_LIMIT",
    "BodyKind",
    "Form",
    "Framing",
    "Headers",
    "Pieces",
    "RequestHead",
    "ResponseHead",
    "encode_chunk",
    "error_response",
    "host_field",
    "read_body",
    "read_request_head",
    "read_response_head",
    "take_request_head",
    "take_response_head",
    "whole_request_head",
]

HTTP_1_0 = (1, 0)
HTTP_1_1 = (1, 1)

FIELD_LIMIT = 100
"""Fields of a request at most; a browser sends about 15."""

REMEMBERED_LIMIT = 4096
"""Bytes of the longest field lines that `_remembered` caches."""

HTTP_PORT = 80
HTTPS_PORT = 443

_FIRST_LINE = re.compile(r"([A-Z][A-Z0-9_-]{0,31}) ([^ \t]+) HTTP/1\.([01])\Z")
_OTHER_VERSION = re.compile(r"[^ \t]+ [^ \t]+ HTTP/(?!1\.[01])[0-9]\.[0-9]\Z")
_ABSOLUTE = re.compile(r"http://([^/?]*)(.*)\Z", re.IGNORECASE | re.ASCII | re.DOTALL)
_USUAL_PATH = re.compile(r"/[!\"$-\[\]-~]*\Z")  # ASCII, without # and backslash
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")

_TABLE = field_table(
    (
        *("host", "content-length", "transfer-encoding", "expect", "max-forwards"),
        *("connection", "proxy-connection", "keep-alive", "te", "trailer", "upgrade", "http2-settings"),
        *("proxy", "proxy-authorization", "proxy-authenticate", "proxy-authentication-info"),
    )
)
_SINGLE = frozenset({"host", "content-length", "transfer-encoding", "expect", "max-forwards", "proxy-authorization"})
_OPTIONS = frozenset({"keep-alive", "close", "upgrade"})
"""Values of Connection that are no names of fields."""

_NEVER_NOMINATED = frozenset({"content-length", "transfer-encoding", "host", "authorization"})
_CLEARTEXT_HTTP2 = frozenset({"h2c", "h2"})


class Form(StrEnum):
    """The forms of a request target (RFC 9112 section 3.2). The fourth, `*`, is refused: it is for the proxy itself."""

    CONNECT = "connect"  # host:port, for a tunnel
    ABSOLUTE = "absolute"  # http://host/path, for a proxy
    ORIGIN = "origin"  # /path, for a server, which is us


class RequestHead(NamedTuple):  # made in half the time of a frozen dataclass
    """One request. `headers` are all fields as received; `passed` are the lines of the fields that go on to the server.
    `forwarded` is the server's head in origin form, always HTTP/1.1 on a connection that is kept; empty for CONNECT."""

    method: str
    form: Form
    destination: Destination | None  # CONNECT and ABSOLUTE
    target: str  # for the server: /path?query or *; for CONNECT as received
    version: tuple[int, int]
    headers: Headers
    passed: str
    forwarded: bytes
    named: Destination | None  # the Host field; None: there was none (HTTP/1.0)
    body: Framing
    bodiless: bool  # not a byte follows the head
    keep_alive: bool  # the client's connection may be kept after this request
    expect_continue: bool  # the client waits for a 100 before it sends the body
    upgrade: str | None  # the protocols it offers to change to, without h2c
    proxy_authorization: str | None

    @property
    def host(self) -> str:
        """The Host field in canonical spelling, with the port unless that is 80; "": there was none (HTTP/1.0)."""
        return "" if self.named is None else host_field(self.named)

    def __repr__(self) -> str:
        return f"<RequestHead {self.method} {self.destination or self.host} {self.form}>"


def host_field(destination: Destination) -> str:
    """Returns the value of a Host field: without the port when that is 80."""
    host = f"[{destination.host}]" if ":" in destination.host else destination.host
    return host if destination.port == HTTP_PORT else f"{host}:{destination.port}"


def take_request_head(reader: Reader) -> RequestHead | None:
    """Parses a client's next request; None: its head has not come whole. Raises PeerError with the whole reply (400,
    417, 431, 501 or 505) for a request that is refused."""
    head = reader.take_head(HEAD_LIMIT)
    if head is None:
        return None
    try:
        return _request_head(head)
    except ValueError as fault:
        raise refusal(400, f"This request is refused: {fault}.") from None


def whole_request_head(received: bytes) -> RequestHead | None:
    """Parses bytes that are one head and nothing more, in the same way; None: they are something else."""
    end = received.find(b"\n\r\n")
    if end < 0 or end + 3 != len(received) or len(received) > HEAD_LIMIT or b"\n\n" in received:
        return None
    try:
        return _request_head(received)
    except ValueError as fault:
        raise refusal(400, f"This request is refused: {fault}.") from None


def read_request_head(reader: Reader) -> Parser[RequestHead]:
    """Waits for the next request's head and parses it. Raises PeerError as `take_request_head`, also with a 414, and
    without a reply when the client ends before the head does."""
    while (head := take_request_head(reader)) is None:
        yield from reader.wait_for_head(limit=HEAD_LIMIT, overlong=_overlong)
    return head


def _overlong(came: bytes) -> PeerError:
    if b"\n" in came.removeprefix(b"\r\n"):
        size = f"longer than {HEAD_LIMIT // 1024} KiB"
        return refusal(431, f"The head of this request is {size}. In a browser, delete the cookies of this address.")
    return refusal(414, f"The address of this request is longer than {HEAD_LIMIT // 1024} KiB.")


def _request_head(head: bytes) -> RequestHead:
    """Raises ValueError where a 400 is the reply, PeerError for other replies."""
    # RFC 9112 section 2.2: some clients send an empty line after a body.
    line, _, field_lines = head_text(head.removeprefix(b"\r\n")).partition("\r\n")
    first = _FIRST_LINE.match(line)
    if first is None:
        if _OTHER_VERSION.match(line):
            raise refusal(505, "This proxy speaks HTTP/1.1 and HTTP/1.0.")
        raise ValueError("its first line must be METHOD URL HTTP/1.1, with one space between them")
    method, target, minor = first.groups()
    version = HTTP_1_1 if minor == "1" else HTTP_1_0
    if method == "TRACE":  # it would show the client's cookies, and our own additions, to a script
        raise refusal(501, "This proxy does not pass on TRACE.")

    # `names` takes the bytes as they were sent: characters beyond ASCII are UTF-8.
    default_port = HTTP_PORT
    authority: str | None = None  # as the target spells it
    destination: Destination | None = None
    if method == "CONNECT":
        form, authority, default_port = Form.CONNECT, target, HTTPS_PORT
        destination = names.authority(authority.encode("latin-1"))
    elif target.startswith("/"):
        form, target = Form.ORIGIN, _path(target)
    elif absolute := _ABSOLUTE.match(target):
        form = Form.ABSOLUTE
        authority, target = absolute.groups()
        if "@" in authority:  # it is never repeated, not even in the error
            raise ValueError("its URL contains a user name or password, which must be in an Authorization header")
        destination = names.authority(authority.encode("latin-1"), default_port)
        if _USUAL_PATH.match(target) is None:
            if not target:  # RFC 9112 section 3.2.4
                target = "*" if method == "OPTIONS" else "/"
            target = _path(f"/{target}" if target[0] == "?" else target)
    elif target == "*" and method == "OPTIONS":
        raise _no_options()
    else:
        raise ValueError(_why_not_http(target))

    read = _remembered if len(field_lines) <= REMEMBERED_LIMIT else _fields
    received, passed, notable, options, wishes = read(field_lines)
    body = NO_BODY
    if "transfer-encoding" in notable or "content-length" in notable:
        body = _framing(version, notable)
    bodiless = body is NO_BODY or body.is_empty
    if form is Form.CONNECT and not bodiless:
        raise ValueError("CONNECT has no body")
    if "max-forwards" in notable:
        hops = _max_forwards(method, notable["max-forwards"])
        if "max-forwards" not in options:
            passed += f"Max-Forwards: {hops}\r\n"

    if (host := notable.get("host")) is None:
        if version != HTTP_1_0:
            raise ValueError("there is no Host field")
        named = None
    else:  # usually the same text as in the target
        named = destination if host == authority else names.authority(host.encode("latin-1"), default_port)

    expect_continue = "expect" in notable and _expects_continue(version, notable["expect"], bodiless)
    upgrade = _upgrade(version, options, notable["upgrade"]) if "upgrade" in notable else None
    forwarded = ""
    if form is not Form.CONNECT:
        origin = destination or named
        host = "" if origin is None else f"Host: {host_field(origin)}\r\n"
        hop = "Connection: keep-alive" if upgrade is None else f"Connection: Upgrade\r\nUpgrade: {upgrade}"
        forwarded = f"{method} {target} HTTP/1.1\r\n{host}{hop}\r\n{passed}"
        if body.kind is BodyKind.LENGTH:
            forwarded += f"Content-Length: {body.length}\r\n"
        elif body.kind is BodyKind.CHUNKED:
            forwarded += "Transfer-Encoding: chunked\r\n"
        if expect_continue:
            forwarded += "Expect: 100-continue\r\n"
        forwarded += "\r\n"

    return RequestHead(
        method=method,
        form=form,
        destination=destination,
        target=target,
        version=version,
        headers=received,
        passed=passed,
        forwarded=forwarded.encode("latin-1"),
        named=named,
        body=body,
        bodiless=bodiless,
        keep_alive="close" not in wishes and (version == HTTP_1_1 or "keep-alive" in wishes),
        expect_continue=expect_continue,
        upgrade=upgrade,
        proxy_authorization=notable.get("proxy-authorization"),
    )


def _fields(lines: str) -> tuple[Headers, str, Mapping[str, str], frozenset[str], frozenset[str]]:
    """Reads the field lines of a head. Returns all fields, the lines of the fields that go on, the values of the fields
    for a proxy by name, the tokens of Connection, and those of Connection and Proxy-Connection together. Raises as
    `_request_head`."""
    lines = lines[:-2]  # without the empty line
    if lines.count("\r\n") > FIELD_LIMIT:
        raise refusal(431, f"This request has more than {FIELD_LIMIT} header fields.")
    received, passed, notable = read_fields(lines, _TABLE, _SINGLE)
    options = tokens(notable["connection"]) if "connection" in notable else NO_TOKENS
    if not options <= _OPTIONS:
        # Connection may name Host or Content-Length to have it dropped, which changes the request (hop-by-hop abuse).
        if options & _NEVER_NOMINATED:
            raise ValueError("Connection names a header that must not be dropped")
        passed = without(passed, options)
    wishes = options  # old clients send Proxy-Connection instead of Connection
    if "proxy-connection" in notable:
        wishes = options | tokens(notable["proxy-connection"])
    return tuple(received), "\r\n".join([*map(": ".join, passed), ""]), notable, options, wishes


_remembered = remembered(32)(_fields)
"""`_fields` with a cache: requests for the pictures of a page have the same fields, byte for byte. Fields may hold
cookies, so few results are kept."""


def _why_not_http(target: str) -> str:
    scheme = _SCHEME.match(target)
    if scheme is None:
        return "its address is neither http://host/path nor a path"
    match scheme[1].lower():
        case "https" | "wss":
            return "an https URL needs CONNECT"
        case "http":
            return "its address must begin with http:// and a host"
        case _:
            return "this proxy takes http:// URLs, and CONNECT for all others"


def _path(path: str) -> str:
    """Returns a path for the server. Bytes beyond ASCII, as curl sends them, are percent-encoded, which means the same.
    Raises ValueError for a fragment, and for a backslash in the path, which some servers take for a slash. Browsers
    send backslashes in queries."""
    if "#" in path:
        raise ValueError("its URL contains a fragment (#)")
    if "\\" in path and "\\" in path.partition("?")[0]:
        raise ValueError("its path contains a backslash")
    if path.isascii():
        return path
    return "".join(char if char.isascii() else f"%{ord(char):02X}" for char in path)


def _framing(version: tuple[int, int], notable: Mapping[str, str]) -> Framing:
    """Returns how the body ends (RFC 9112 section 6). Raises ValueError unless there is either one plain length or only
    the word `chunked`: request smuggling uses fields that two parsers read differently."""
    coding = notable.get("transfer-encoding")
    if coding is None:
        return Framing(BodyKind.LENGTH, content_length(notable["content-length"]))
    if "content-length" in notable:
        raise ValueError("it has both a Content-Length and a Transfer-Encoding")
    if version == HTTP_1_0:
        raise ValueError("HTTP/1.0 has no Transfer-Encoding")
    if coding.lower() != "chunked":
        raise ValueError("its Transfer-Encoding is not chunked")
    return CHUNKED


def _max_forwards(method: str, text: str) -> str:
    """RFC 9110 section 7.6.2: each proxy counts it down for OPTIONS; it has no meaning for other methods."""
    if method != "OPTIONS":
        return text
    if not text.isdecimal() or len(text) > 9:
        raise ValueError("Max-Forwards is not a number")
    if int(text) == 0:
        raise _no_options()
    return str(int(text) - 1)


def _no_options() -> PeerError:
    return refusal(501, "This proxy does not answer OPTIONS for itself.")


def _expects_continue(version: tuple[int, int], expected: str, bodiless: bool) -> bool:
    """RFC 9110 section 10.1.1. Raises PeerError with a 417 for any other expectation."""
    if expected.lower() != "100-continue":
        raise refusal(417, "This proxy supports only Expect: 100-continue.")
    return version == HTTP_1_1 and not bodiless


def _upgrade(version: tuple[int, int], options: frozenset[str], named: str) -> str | None:
    """Returns the protocols of Upgrade that go on to the server. HTTP/2 does not: requests after such an upgrade would
    pass unparsed (h2c smuggling)."""
    if version == HTTP_1_0 or "upgrade" not in options:
        return None
    protocols = [item.strip(" \t") for item in named.split(",")]
    passed = [item for item in protocols if item and item.lower() not in _CLEARTEXT_HTTP2]
    return ", ".join(passed) or None
