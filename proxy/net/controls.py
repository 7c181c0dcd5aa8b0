"""Asks a control page whether the uplink is well.

A control is a page that nobody has a reason to block: when it does not come either, the network is at fault and not the
site that is suspected. Over https nobody can answer in its place, so every verified answer is a good sign; over plain
http only a redirect to another host and the status made for portals (RFC 6585) tell a login page.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from proxy.errors import DialError, PeerError
from proxy.model import Protocol, Sounding
from proxy.net.deadline import deadline
from proxy.net.dialer import Dialer
from proxy.net.page import Page, page_of
from proxy.net.probe import probe
from proxy.net.stream import Stream, read_with
from proxy.net.tls import TlsStream, context_trusting
from proxy.wire import certificates
from proxy.wire.http1_response import ResponseHead, read_response_head
from proxy.wire.reader import Reader

_PORTAL_STATUS = 511


@dataclass(frozen=True, slots=True)
class Sounded:
    """What came. `issuer` is who re-signed the page's certificate (see `certificates.issuer_id`), when somebody did."""

    sounding: Sounding
    detail: str = ""  # one half-sentence
    issuer: str = ""


async def sound(dialer: Dialer, page: str, *, timeout_s: float, trust: ssl.SSLContext | None = None) -> Sounded:
    """Asks for `page`, an http or https URL, once. `timeout_s` is for all of it; `trust` is what its certificate is
    held to (None: the system's roots). Raises ValueError when `page` names none; closes what it opened."""
    asked = page_of(page)
    try:
        with deadline(timeout_s):
            return await _sound(dialer, asked, timeout_s, trust or context_trusting(None))
    except TimeoutError:
        return Sounded(Sounding.FAILED, f"did not answer within {timeout_s:g} s")
    except (DialError, PeerError, OSError) as error:
        return Sounded(Sounding.FAILED, str(error))


async def _sound(dialer: Dialer, page: Page, timeout_s: float, trust: ssl.SSLContext) -> Sounded:
    """Raises DialError, PeerError and OSError."""
    stream = await dialer.dial(page.destination)
    try:
        if page.protocol is Protocol.HTTP:
            return _of_plain(await _head(stream, page), page)
        tls = TlsStream(stream, trust, page.host)
        await tls.handshake()
        head = await _head(tls, page)
        return _of_verified(tls.presented_chain(), head)
    except ssl.SSLCertVerificationError as error:
        refused = error
    finally:
        stream.abort()
    return await _of_refused(dialer, page, refused.verify_message.rstrip("."), timeout_s, trust)


async def _head(stream: Stream, page: Page) -> ResponseHead:
    await stream.send(page.request())
    reader = Reader()
    return await read_with(stream, reader, read_response_head(reader, "GET"))


def _of_plain(head: ResponseHead, page: Page) -> Sounded:
    if head.status == _PORTAL_STATUS:
        return Sounded(Sounding.PORTAL, "the network asks for a login (captive portal)")
    location = next((value for name, value in head.headers if name.lower() == "location"), "")
    try:
        place = urlsplit(location).hostname if 300 <= head.status < 400 else None
    except ValueError:
        raise PeerError("its redirect has no valid address") from None
    if place and place.lower().removeprefix("www.") != page.host.removeprefix("www."):
        return Sounded(Sounding.PORTAL, f"redirected to {place}")
    return Sounded(Sounding.WELL)


def _of_verified(chain: tuple[bytes, ...], head: ResponseHead) -> Sounded:
    if chain and not certificates.is_logged(chain[0]):
        issuer = certificates.issuer(chain[0])[:200]
        text = f"its certificate is by {issuer}, which this system trusts but no public certificate log lists"
        return Sounded(Sounding.RESIGNED, text, certificates.issuer_id(chain[-1]))
    return Sounded(Sounding.WELL, f"answered {head.status}")


async def _of_refused(dialer: Dialer, page: Page, why: str, timeout_s: float, trust: ssl.SSLContext) -> Sounded:
    """A certificate for somebody else is a portal's, which shows its own; one for this very page is forged, and one of
    another day may be the work of our own clock."""
    found = await probe(dialer, page.destination, page.host, timeout_s=timeout_s, trust=trust)
    if found.chain and not certificates.is_for(found.chain[0], page.host):
        return Sounded(Sounding.PORTAL, f"wrong certificate ({why})")
    return Sounded(Sounding.FAILED, found.error or why)
