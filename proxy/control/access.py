"""Decides which clients may use the control server.

On a Unix socket: processes of this user, by the peer's uid from the kernel. On loopback, without such a socket: clients
that name this server in Host and have the token. Browsers are refused: their requests have an Origin, a Referer or a
Sec-Fetch header, and no answer has a CORS header.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from proxy.net.peer import peer_uid

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SECURITY_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of every answer (docs/safety.md, "Who attacks, and what must hold": a web page against the control
server)."""

_OF_BROWSERS = (
    *("Origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Access-Control-Request-Method"),
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})


class Refused(Exception):
    """A refused request: its HTTP status, and one sentence that tells an attacker nothing about this computer."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text
        super().__init__(text)


def hosts_of(port: int) -> frozenset[str]:
    """Returns the Host headers that name a server on loopback at `port`."""
    names = ("127.0.0.1", "localhost", "[::1]")
    bare = names if port == 80 else ()
    return frozenset((*(f"{name}:{port}" for name in names), *bare))


def check_shape(request: web.BaseRequest, *, of_browser: bool = False) -> None:
    """Refuses requests that Byway's clients never send: a target that is not a path, an unusual method, a compressed
    body, two origins, or headers of browsers unless `of_browser`. Raises Refused."""
    if not request.raw_path.startswith("/"):
        raise Refused(400, "The target must be a path.")
    if request.method not in _METHODS:
        raise Refused(405, "Unknown method.")
    if "Content-Encoding" in request.headers:  # the size after decompression would not be limited
        raise Refused(415, "The body must not be compressed.")
    if any(len(request.headers.getall(name, ())) > 1 for name in _OF_BROWSERS):
        raise Refused(400, "A field says twice where the request comes from.")
    if not of_browser and any(name in request.headers for name in _OF_BROWSERS):
        raise Refused(403, "Web pages may not use this API.")


def check_host(request: web.BaseRequest, ours: frozenset[str]) -> None:
    """Refuses a request without exactly one Host of `ours`. Raises Refused."""
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or hosts[0].lower() not in ours:
        raise Refused(421, "Wrong host.")


class SameUser:
    """Admits processes of this user. The socket's file also has mode 0600, but not every file system enforces modes."""

    def __init__(self, uid: int | None = None) -> None:
        self._uid = os.getuid() if uid is None else uid

    def check(self, request: web.BaseRequest) -> None:
        """Raises Refused when the peer is another user's process."""
        sock = request.transport.get_extra_info("socket") if request.transport is not None else None
        if sock is None:
            raise Refused(403, "The connection is closed.")
        try:
            uid = peer_uid(sock)
        except OSError:
            raise Refused(403, "The connection is closed.") from None
        # None: unknown on this system; then only the socket's mode and its private folder protect it.
        if uid is not None and uid != self._uid:
            raise Refused(403, "This Byway belongs to another user.")


class Bearer:
    """Admits clients that name this server in Host and have the token of run.json."""

    def __init__(self, token: str, hosts: frozenset[str]) -> None:
        if len(token) < 32:  # 128 bits in hex
            raise ValueError("the control token is too short")
        self._token = token.encode("ascii")
        self._hosts = hosts

    def check(self, request: web.BaseRequest) -> None:
        """Raises Refused when the Host or the token is wrong."""
        # Host first: it is the only protection against a page that rebinds its name to 127.0.0.1 (DNS rebinding).
        check_host(request, self._hosts)
        given = request.headers.getall("Authorization", [])
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        # In constant time, so that the time does not show how many bytes were right.
        fits = hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self._token)
        if scheme.lower() != "bearer" or not fits:
            raise Refused(401, "The token is missing or wrong.")

    def __repr__(self) -> str:
        return "<Bearer token>"


Guard = SameUser | Bearer


async def secure_headers(_request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Adds the security headers that an answer does not set itself, and removes the Server header (a response-prepare
    signal)."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.pop("Server", None)
