"""Downloads one file over https, for lists whose source is a URL.

A Dialer opens the path, so a download goes through a relay or direct like everything else. The certificate is verified,
redirects lead only to https and never into a private network, every wait has a limit, and so has the size before and
after decompression. A request contains no language and no cookie; its User-Agent is the same for everybody.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

from proxy.model.errors import BywayError, DialError, PeerError, reason_of
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.deadline import deadline
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tls import TlsStream, clock_may_be_wrong, context_trusting
from proxy.net.stream import Stream, read_with
from proxy.probe.target import AGENT
from proxy.wire.gzip_body import gunzip
from proxy.wire.http1_body import BodyKind, read_body
from proxy.wire.http1_response import ResponseHead, read_response_head
from proxy.wire.https_url import HttpsUrl
from proxy.wire.reader import Reader

T = TypeVar("T")

REDIRECTS_MAX = 5
CONNECT_S = 20.0
"""Seconds to open a path: a slow circuit takes 11 s."""
ANSWER_S = 20.0
"""Seconds for each of the TLS handshake, sending the request, and the head of the answer."""
STALL_S = 20.0
"""Seconds between two pieces of the body."""
TOTAL_S = 180.0
"""Seconds for the whole download, redirects included: 16 MB at 90 kB/s. It ends an answer that comes byte by byte."""

_SAID_LIMIT = 500  # characters of a header that is kept as text

_REDIRECTS = (301, 302, 303, 307, 308)
_GONE = (404, 410)
_MEANINGS = {
    401: " (it refuses this address)",
    403: " (it refuses this address, or this way to it)",
    429: " (it was asked too often)",
}
"""What people may not know of a status."""

_DAY_S = 86_400


@frozen_dataclass
class Downloaded:
    """The file, decompressed, its type, and what the server of a subscription says of the account."""

    content: bytes
    content_type: str
    userinfo: str = ""


class DownloadFailed(BywayError):
    """Raised with half a sentence that follows the name of the source. `is_final`: another route would get the same
    answer."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        self.is_final = is_final
        super().__init__(reason)


Refuse = Callable[[HttpsUrl, bool], Awaitable[str]]
"""Returns the reason why a URL must not be requested, as half a sentence; empty when it may. The second argument says
whether a redirect led to the URL."""


async def download(
    dialer: Dialer,
    url: HttpsUrl,
    known_at: float,
    *,
    limit: int,
    refuse: Refuse,
    trust: ssl.SSLContext | None = None,
    agent: str = AGENT,
) -> Downloaded | None:
    """Requests `url` and follows its redirects. `limit` is the most bytes of the content; `trust` verifies certificates
    (None: with the system's roots); `agent` is the User-Agent. Returns None when the source says that nothing has
    changed since the beginning of the day of `known_at` (seconds since the epoch; 0: no copy is known). Closes its
    connections. Raises DownloadFailed."""
    try:
        with deadline(TOTAL_S):
            for number in range(REDIRECTS_MAX + 1):
                if reason := await refuse(url, number > 0):
                    raise DownloadFailed(reason)
                try:
                    result = await _request(dialer, url, known_at, limit, trust or context_trusting(None), agent)
                except (DialError, PeerError, OSError) as error:
                    raise DownloadFailed(_in_words(error)) from error
                if not isinstance(result, HttpsUrl):
                    return result
                url = result
    except TimeoutError:
        raise DownloadFailed(f"took longer than {TOTAL_S:g} s") from None
    raise DownloadFailed(f"redirects more than {REDIRECTS_MAX} times")


async def _request(
    dialer: Dialer, url: HttpsUrl, known_at: float, limit: int, trust: ssl.SSLContext, agent: str
) -> Downloaded | HttpsUrl | None:
    """Makes one request. Returns the URL of a redirect, the file, or None for an unchanged file."""
    stream = await _within(CONNECT_S, "no connection", dialer.dial(url.destination))
    try:
        tls = TlsStream(stream, trust, url.host)
        stream = tls
        await _within(ANSWER_S, "no TLS handshake", tls.handshake())
        await _within(ANSWER_S, "its request was not taken", tls.send(_head(url, known_at, agent)))
        reader = Reader()
        head = await _within(ANSWER_S, "no answer", _final_head(tls, reader))
        if head.status in _REDIRECTS:
            if not (location := _field(head, "location")):
                raise DownloadFailed("redirects without saying where")
            try:
                return url.joined(location)
            except ValueError as error:
                raise DownloadFailed(str(error)) from None
        if head.status == 304 and known_at:
            return None
        if head.status != 200:
            raise DownloadFailed(
                f"answered {head.status}{_MEANINGS.get(head.status, '')}", is_final=head.status in _GONE
            )
        return await _body(tls, reader, head, limit)
    finally:
        stream.abort()


def _head(url: HttpsUrl, known_at: float, agent: str) -> bytes:
    """Returns the request. It contains no value that the source chose, such as an ETag: that would be a cookie, by
    which the source would recognise us on each relay. The date is by our own clock, and the same for all requests of
    that day."""
    from email.utils import formatdate  # few runs fetch a list

    lines = [f"GET {url.target} HTTP/1.1", f"Host: {url.field}", f"User-Agent: {agent}", "Accept: */*"]
    lines.append("Accept-Encoding: gzip")
    if known_at:
        lines.append(f"If-Modified-Since: {formatdate(known_at // _DAY_S * _DAY_S, usegmt=True)}")
    return "\r\n".join((*lines, "Connection: close", "", "")).encode("latin-1")


async def _final_head(stream: Stream, reader: Reader) -> ResponseHead:
    while (head := await read_with(stream, reader, read_response_head(reader, "GET"))).is_interim:
        pass  # the deadline limits their number
    return head


async def _body(stream: Stream, reader: Reader, head: ResponseHead, limit: int) -> Downloaded:
    if head.declared_length is not None and head.declared_length > limit:
        raise DownloadFailed(f"is larger than {limit:,} bytes")
    coding = _field(head, "content-encoding").lower()
    if coding not in ("", "identity", "gzip", "x-gzip"):
        raise DownloadFailed("is compressed in a way that was not asked for")
    received = bytearray()
    for piece in read_body(reader, head.body):
        if piece is not None:
            received += piece
            if len(received) > limit:
                raise DownloadFailed(f"is larger than {limit:,} bytes")
            continue
        reader.receive_data(await _within(STALL_S, "stalls", stream.receive()))
        await asyncio.sleep(0)  # waiting bytes are received without a wait, so other tasks get their turn here
    if head.body.kind is BodyKind.LENGTH and reader:
        raise DownloadFailed("goes on after the length that it declares")
    content = bytes(received)
    if coding.endswith("gzip"):
        try:
            content = await asyncio.to_thread(gunzip, content, limit=limit)
        except ValueError as error:
            raise DownloadFailed(str(error)) from None
    said = _field(head, "subscription-userinfo")[:_SAID_LIMIT]
    return Downloaded(content, _field(head, "content-type"), said if said.isascii() and said.isprintable() else "")


def _field(head: ResponseHead, wanted: str) -> str:
    return next((value for name, value in head.headers if name.lower() == wanted), "")


async def _within(seconds: float, late: str, work: Awaitable[T]) -> T:
    """Awaits `work`. Raises DownloadFailed when the time is over."""
    try:
        with deadline(seconds):
            return await work
    except TimeoutError as error:
        raise DownloadFailed(f"{late} within {seconds:g} s") from error


def _in_words(error: BywayError | OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        clock = "; or this computer's clock is wrong" if clock_may_be_wrong(error) else ""
        return f"has a bad certificate: {error.verify_message.rstrip('.')}{clock}"
    if isinstance(error, ssl.SSLError):
        return f"failed in the TLS handshake ({error.reason or error})"
    return str(error) if isinstance(error, BywayError) else reason_of(error)
