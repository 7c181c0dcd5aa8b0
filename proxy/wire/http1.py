"""The head of an HTTP/1.x request to a proxy, read strictly and written anew for the server.

An ambiguous head is refused, never repaired: the next server must not read it in another way. What goes on is
made from parsed values, so nothing of a hop-by-hop field, of proxy credentials or of the client's own spelling of the
host survives. The other parts of the protocol (answers, bodies, our own replies) have modules of their own and are
offered here together.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from proxy.model import Destination
from proxy.model.errors import PeerError
from proxy.wire import hostnames as names
from proxy.wire.http1_body import CHUNKED, LAST_CHUNK, NO_BODY, BodyKind, Framing, Pieces, encode_chunk, read_body
from proxy.wire.http1_error import error_response, refusal
from proxy.wire.http1_fields import (
    HEAD_LIMIT,
    Fields,
    Headers,
    content_length,
    cut_head,
    field_table,
    read_fields,
    tokens,
    without,
)
from proxy.wire.http1_response import ResponseHead, read_response_head
from proxy.wire.reader import Parser, Reader

__all__ = [
    "HEAD_LIMIT",
    "HTTP_1_0",
    "HTTP_1_1",
    "LAST_CHUNK",
    "BodyKind",
    "Form",
    "Framing",
    "Headers",
    "Pieces",
    "RequestHead",
    "ResponseHead",
    "encode_chunk",
    "error_response",
    "read_body",
    "read_request_head",
    "read_response_head",
]

HTTP_1_0 = (1, 0)
HTTP_1_1 = (1, 1)

FIELD_LIMIT = 100
"""Fields of a request at most; a browser sends about 15."""

HTTP_PORT = 80
HTTPS_PORT = 443

_VERSIONS = {"HTTP/1.1": HTTP_1_1, "HTTP/1.0": HTTP_1_0}
_OTHER_VERSION = re.compile(r"HTTP/[0-9]\.[0-9]\Z")
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}\Z")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")

_TABLE = field_table(
    (
        *("host", "content-length", "transfer-encoding", "expect", "max-forwards"),
        *("connection", "proxy-connection", "keep-alive", "te", "trailer", "upgrade", "http2-settings"),
        *("proxy", "proxy-authorization", "proxy-authenticate", "proxy-authentication-info"),
    )
)
_NEVER_NOMINATED = frozenset({"content-length", "transfer-encoding", "host", "authorization"})
_CLEARTEXT_HTTP2 = frozenset({"h2c", "h2"})


class Form(StrEnum):
    """The forms of a request target (RFC 9112 section 3.2); the fourth, `*`, is refused: it asks the proxy itself."""

    CONNECT = "connect"  # host:port, for a tunnel
    ABSOLUTE = "absolute"  # http://host/path, for a proxy
    ORIGIN = "origin"  # /path, for a server, which is us


@dataclass(frozen=True, slots=True, repr=False)
class RequestHead:
    """One request. `headers` are all fields as received, `passed` those that go on to the server."""

    method: str
    form: Form
    destination: Destination | None  # CONNECT and ABSOLUTE
    target: str  # as the server gets it: /path?query or *; for CONNECT as received
    version: tuple[int, int]
    headers: Headers
    passed: Headers
    host: str  # the Host field in canonical spelling, with the port unless it is 80; "": there was none (HTTP/1.0)
    body: Framing
    keep_alive: bool  # the client's connection may live after this request
    expect_continue: bool  # the client waits for a 100 before it sends the body
    upgrade: str | None  # the protocols it would change to, h2c left out
    proxy_authorization: str | None

    @property
    def bodiless(self) -> bool:
        """Not a byte follows the head."""
        return self.body.is_empty

    def forwarded(self) -> bytes:
        """The head in origin form, as the server gets it: always HTTP/1.1 and keeping the connection."""
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        host = self.host if self.destination is None else host_field(self.destination)
        if host:
            lines.append(f"Host: {host}")
        if self.upgrade is None:
            lines.append("Connection: keep-alive")
        else:
            lines += ("Connection: Upgrade", f"Upgrade: {self.upgrade}")
        lines += [f"{name}: {value}" for name, value in self.passed]
        if self.body.kind is BodyKind.LENGTH:
            lines.append(f"Content-Length: {self.body.length}")
        elif self.body.kind is BodyKind.CHUNKED:
            lines.append("Transfer-Encoding: chunked")
        if self.expect_continue:
            lines.append("Expect: 100-continue")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def __repr__(self) -> str:
        return f"<RequestHead {self.method} {self.destination or self.host} {self.form}>"


def host_field(destination: Destination) -> str:
    """Returns a destination as a Host field spells it: without the port when that is 80."""
    return str(destination).removesuffix(f":{HTTP_PORT}")


def read_request_head(reader: Reader) -> Parser[RequestHead]:
    """Parses the next request of a client.

    Raises PeerError with the whole reply (400, 414, 417, 431, 501 or 505) for what is refused; without a reply when the
    client ends before the head does.
    """
    head = yield from reader.head(limit=HEAD_LIMIT, overlong=_overlong)
    try:
        return _request_head(head)
    except ValueError as fault:
        raise refusal(400, f"This request is refused: {fault}.") from None


def _overlong(came: bytes) -> PeerError:
    if b"\n" in came.removeprefix(b"\r\n"):
        return refusal(431, f"The head of this request is longer than {HEAD_LIMIT // 1024} KiB.")
    return refusal(414, f"The address of this request is longer than {HEAD_LIMIT // 1024} KiB.")


def _request_head(head: bytes) -> RequestHead:
    """Raises ValueError for what a 400 answers, PeerError for the rest."""
    lines = cut_head(head.removeprefix(b"\r\n"))  # RFC 9112 section 2.2: an empty line after the last body is usual
    method, target, version = _request_line(lines[0] if lines else "")
    if len(lines) > FIELD_LIMIT + 1:
        raise refusal(431, f"This request has more than {FIELD_LIMIT} header fields.")
    form, destination, target = _target(method, target)
    fields = read_fields(lines[1:], _TABLE)
    notable = fields.notable
    options = tokens(notable.get("connection"))
    body = _framing(version, fields)
    if form is Form.CONNECT and not body.is_empty:
        raise ValueError("CONNECT has no body")
    return RequestHead(
        method=method,
        form=form,
        destination=destination,
        target=target,
        version=version,
        headers=tuple(fields.received),
        passed=_passed(method, fields, options),
        host=_host(version, fields, HTTPS_PORT if form is Form.CONNECT else HTTP_PORT),
        body=body,
        keep_alive=_keeps_alive(version, options, notable),
        expect_continue="expect" in notable and _expects_continue(version, fields, body),
        upgrade=_upgrade(version, options, notable) if "upgrade" in notable else None,
        proxy_authorization=fields.only("proxy-authorization"),
    )


def _request_line(line: str) -> tuple[str, str, tuple[int, int]]:
    """Method, target and version. Raises ValueError; PeerError for a method or a version that we do not speak."""
    parts = line.split(" ")
    if len(parts) != 3 or "\t" in line:
        raise ValueError("its first line must be METHOD URL VERSION, with one space between them")
    method, target, version_text = parts
    version = _VERSIONS.get(version_text)
    if version is None:
        if _OTHER_VERSION.match(version_text):
            raise refusal(505, "This proxy speaks HTTP/1.1 and HTTP/1.0.")
        raise ValueError("its first line does not end in an HTTP version")
    if _METHOD.match(method) is None:
        raise ValueError("its method must be in capital letters")
    if method == "TRACE":  # it would show the client's cookies, and our own additions, to a script
        raise refusal(501, "This proxy does not pass on TRACE.")
    return method, target, version


def _target(method: str, target: str) -> tuple[Form, Destination | None, str]:
    """The form, where it leads, and the target for the server."""
    if method == "CONNECT":
        return Form.CONNECT, _authority(_as_sent(target), None), target
    if target.startswith("/"):
        return Form.ORIGIN, None, _path(target)
    if target == "*" and method == "OPTIONS":
        raise _no_options()
    authority, path = _split_http(target)
    if not path:  # RFC 9112 section 3.2.4
        path = "*" if method == "OPTIONS" else "/"
    elif path[0] == "?":
        path = "/" + path
    return Form.ABSOLUTE, _authority(_as_sent(authority), HTTP_PORT), _path(path)


def _split_http(target: str) -> tuple[str, str]:
    """What stands between `http://` and the path, and the path. Raises ValueError for other schemes and for user
    information, which is never repeated, not even in the error."""
    if target[:7].lower() != "http://":
        raise ValueError(_why_not_http(target))
    end = target.find("/", 7)
    query = target.find("?", 7, end if end >= 0 else len(target))
    if query >= 0:
        end = query
    authority = target[7:end] if end >= 0 else target[7:]
    if "@" in authority:
        raise ValueError("its URL contains a user name or password, which must be in an Authorization header")
    return authority, target[end:] if end >= 0 else ""


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


def _as_sent(text: str) -> str | bytes:
    """A name beyond ASCII, still in the bytes that were sent: they are UTF-8, which `names` decodes."""
    return text if text.isascii() else text.encode("latin-1")


_authority: Callable[[str | bytes, int | None], Destination] = lru_cache(maxsize=4096)(names.authority)


def _path(path: str) -> str:
    """A path as the server gets it. Raises ValueError for a fragment, and for a backslash, which some take for a slash
    (in a query browsers send it). Bytes beyond ASCII, as curl sends them, are percent-encoded, which means the same."""
    if "#" in path:
        raise ValueError("its URL contains a fragment (#)")
    if "\\" in path and "\\" in path.partition("?")[0]:
        raise ValueError("its path contains a backslash")
    if path.isascii():
        return path
    return "".join(char if char.isascii() else f"%{ord(char):02X}" for char in path)


def _host(version: tuple[int, int], fields: Fields, default_port: int) -> str:
    """The Host field. Raises ValueError when it is missing from HTTP/1.1, double or no host."""
    text = fields.only("host")
    if text is None:
        if version == HTTP_1_0:
            return ""
        raise ValueError("there is no Host field")
    return host_field(_authority(_as_sent(text), default_port))


def _framing(version: tuple[int, int], fields: Fields) -> Framing:
    """Returns how the body ends (RFC 9112 section 6). Only one plain length, or only the word `chunked`, passes: raises
    ValueError for whatever two parsers could read differently, which is what request smuggling uses."""
    coding = fields.only("transfer-encoding")
    length = fields.only("content-length")
    if coding is None:
        return NO_BODY if length is None else Framing(BodyKind.LENGTH, content_length(length))
    if length is not None:
        raise ValueError("it has both a Content-Length and a Transfer-Encoding")
    if version == HTTP_1_0:
        raise ValueError("HTTP/1.0 has no Transfer-Encoding")
    if coding.lower() != "chunked":
        raise ValueError("its Transfer-Encoding is not chunked")
    return CHUNKED


def _keeps_alive(version: tuple[int, int], options: frozenset[str], notable: dict[str, list[str]]) -> bool:
    """Whether the client's connection stays open. Old clients send Proxy-Connection instead of Connection."""
    if "proxy-connection" in notable:
        options = options | tokens(notable["proxy-connection"])
    if "close" in options:
        return False
    return version == HTTP_1_1 or "keep-alive" in options


def _passed(method: str, fields: Fields, options: frozenset[str]) -> Headers:
    """Returns the end-to-end fields, without those that Connection names. Raises ValueError when it names one that must
    reach the server: dropping Host or Content-Length would change the request (hop-by-hop abuse)."""
    passed = fields.plain
    if "max-forwards" in fields.notable:
        passed = [*passed, _max_forwards(method, fields)]
    if options <= {"keep-alive", "close", "upgrade"}:
        return tuple(passed)
    if options & _NEVER_NOMINATED:
        raise ValueError("Connection names a header that must not be dropped")
    return without(passed, options)


def _max_forwards(method: str, fields: Fields) -> tuple[str, str]:
    """RFC 9110 section 7.6.2: counted down for OPTIONS, of no meaning elsewhere."""
    text = fields.only("max-forwards") or ""
    if method != "OPTIONS":
        return "Max-Forwards", text
    if not text.isdecimal() or len(text) > 9:
        raise ValueError("Max-Forwards is not a number")
    if int(text) == 0:
        raise _no_options()
    return "Max-Forwards", str(int(text) - 1)


def _no_options() -> PeerError:
    return refusal(501, "This proxy does not answer OPTIONS for itself.")


def _expects_continue(version: tuple[int, int], fields: Fields, body: Framing) -> bool:
    """RFC 9110 section 10.1.1. Raises PeerError with a 417 for any other expectation."""
    expected = fields.only("expect") or ""
    if expected.lower() != "100-continue":
        raise refusal(417, "This proxy supports only Expect: 100-continue.")
    return version == HTTP_1_1 and not body.is_empty


def _upgrade(version: tuple[int, int], options: frozenset[str], notable: dict[str, list[str]]) -> str | None:
    """Returns the protocols that are passed on. HTTP/2 is not among them: requests after such an upgrade would pass
    unparsed (h2c smuggling)."""
    if version == HTTP_1_0 or "upgrade" not in options:
        return None
    asked = [item.strip(" \t") for item in ",".join(notable["upgrade"]).split(",")]
    passed = [item for item in asked if item and item.lower() not in _CLEARTEXT_HTTP2]
    return ", ".join(passed) or None
