"""Recognizes the protocol of a client by its first byte.

One port takes HTTP, SOCKS4 and SOCKS5, which all begin with different bytes. Any other byte gets no reply: the client
would not understand one.
"""

from __future__ import annotations

import re
from enum import StrEnum

from proxy.model.errors import PeerError


class Family(StrEnum):
    """The protocols of clients, each with its own parser."""

    HTTP = "http"
    SOCKS4 = "socks4"  # and 4a
    SOCKS5 = "socks5"


def sniff(first: int) -> Family:
    """Returns the protocol that begins with this byte. Any ASCII letter is HTTP: its parser reports a wrong method.

    Raises PeerError, without a reply, for every other byte.
    """
    if first == 4:
        return Family.SOCKS4
    if first == 5:
        return Family.SOCKS5
    if 0x41 <= first <= 0x5A or 0x61 <= first <= 0x7A:
        return Family.HTTP
    raise PeerError(_guess(first))


def may_be_http(data: bytes) -> bool | None:
    """Whether a client's first bytes are an HTTP/1 request, or something that a lenient server may take for one. None:
    there are too few bytes to decide."""
    if _HTTP.match(data):
        return True
    return None if len(data) < _LINE_LIMIT and _UNFINISHED.match(data) else False


_LINE_LIMIT = 8192
_HTTP = re.compile(
    rb"(?:[ \t\r]*+\n)*+"  # empty lines
    # A method, and a target, or a version after it.
    rb"([ \t\r]*+[^\s\x00-\x1f]{1,64}+[ \t\x0b\x0c]++(/|\*|[a-z]++:/|[^\n]*HTTP/)"
    rb"|[ \t\r]*+(GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|TRACE)[ \t]*+\r?\n"
    rb"|([^\n]*+\n|(?<=\n))[ \t]*+Host[ \t]*+:)",
    re.IGNORECASE,
)
_UNFINISHED = re.compile(rb"[ \t\r\n]*+([a-z][\t\x0b\x0c\r -~]*+)?\Z", re.IGNORECASE)
"""A line of text that has not ended."""


def _guess(first: int) -> str:
    if first == 0x16:
        return "received a TLS ClientHello: set the proxy type to HTTP, not HTTPS, in the client"
    if first in (0x80, 0x00):
        return "received SSL or binary data: this port takes HTTP and SOCKS"
    return f"the first byte is 0x{first:02x}, which is neither HTTP nor SOCKS"
