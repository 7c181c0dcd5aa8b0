"""DNS over HTTPS (RFC 8484): a query is a POST request, and an answer has the media type of a DNS message.

This module has the parts for every version of HTTP, and HTTP/1.1; `doh_http2` has HTTP/2.
"""

from __future__ import annotations

from proxy.model import Destination
from proxy.model.errors import PeerError
from proxy.wire import dns
from proxy.wire.dns_url import SecureServer
from proxy.wire.http1_body import read_body
from proxy.wire.http1_response import read_response_head
from proxy.wire.reader import Parser, Reader

MEDIA_TYPE = "application/dns-message"

_INTERIM_LIMIT = 8


class NotDns(PeerError):
    """A whole HTTP answer that is not a DNS message: a retry would get the same."""


def authority(server: SecureServer) -> str:
    """Returns the value of the Host header or of `:authority`."""
    return str(Destination(server.name, server.endpoint.port)).removesuffix(":443")


def check_answer(status: str, media_type: str | None) -> None:
    """Raises NotDns unless the head announces a DNS message. `media_type` is the value of Content-Type."""
    if status != "200":
        raise NotDns(f"it answered with HTTP status {status[:20]}")
    if (media_type or "").partition(";")[0].strip().lower() != MEDIA_TYPE:  # a captive portal's login page, for example
        raise NotDns(f"it answered with {(media_type or 'nothing')[:60]!r}, which is no DNS message")


def check_size(size: int) -> None:
    """Raises NotDns when the `size` bytes of an answer so far are too many."""
    if size > dns.MESSAGE_LIMIT:
        raise NotDns(f"its answer exceeds {dns.MESSAGE_LIMIT} bytes")


def http1_request(server: SecureServer, message: bytes) -> bytes:
    """Returns the request over HTTP/1.1."""
    lines = [
        f"POST {server.path} HTTP/1.1",
        f"Host: {authority(server)}",
        f"Accept: {MEDIA_TYPE}",
        f"Content-Type: {MEDIA_TYPE}",
        f"Content-Length: {len(message)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + message


def read_http1_answer(reader: Reader) -> Parser[tuple[bool, bytes]]:
    """Returns whether the connection may be reused, and the message. Raises PeerError."""
    head = yield from read_response_head(reader, "POST")
    for _ in range(_INTERIM_LIMIT):
        if not head.is_interim:
            break
        head = yield from read_response_head(reader, "POST")
    media_type = next((value for name, value in head.headers if name.lower() == "content-type"), None)
    check_answer(str(head.status), media_type)
    answer = b""
    pieces = read_body(reader, head.body)
    for piece in pieces:
        if piece is None:
            yield
            continue
        answer += piece
        check_size(len(answer))
    return head.keep_alive, answer
