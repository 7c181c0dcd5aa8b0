"""What a client speaks, told by its first byte.

One port takes HTTP and SOCKS, and the three never begin alike. A byte that begins none of them is answered with
silence: whatever sent it would not understand us.
"""

from __future__ import annotations

from enum import StrEnum

from proxy.errors import PeerError


class Family(StrEnum):
    """The protocols of the front, each with its own parser."""

    HTTP = "http"
    SOCKS4 = "socks4"  # and 4a
    SOCKS5 = "socks5"


def sniff(first: int) -> Family:
    """The family that begins with this byte. Any ASCII letter is HTTP: its parser says what is wrong with a method.

    Raises PeerError, without a reply, for every other byte.
    """
    if first == 4:
        return Family.SOCKS4
    if first == 5:
        return Family.SOCKS5
    if 0x41 <= first <= 0x5A or 0x61 <= first <= 0x7A:
        return Family.HTTP
    raise PeerError(_guess(first))


def _guess(first: int) -> str:
    if first == 0x16:
        return "received a TLS ClientHello: set the proxy type to HTTP, not HTTPS, in the client"
    if first in (0x80, 0x00):
        return "received SSL or binary data: this port takes HTTP and SOCKS"
    return f"the first byte is 0x{first:02x}, which is neither HTTP nor SOCKS"
