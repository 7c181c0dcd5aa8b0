"""Control pages: which there are, and what requesting one shows about the network.

A control page is one that censors have no reason to block: when it fails too, the network is at fault and not the
suspected site. Over https no other server can answer in its place, so every verified answer is a good sign. Over plain
http a captive portal shows by a redirect to another host, or by status 511 (RFC 6585).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from proxy.config.schema import Auto
from proxy.model import ConnectivityResult, Protocol
from proxy.model.errors import DialError, PeerError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.deadline import deadline
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tls import TlsStream, context_trusting
from proxy.net.stream import Stream, read_with
from proxy.probe.certificate_chain import fetch_chain, load_certificate_reader
from proxy.probe.target import ProbeTarget, page_of
from proxy.wire import certificates
from proxy.wire.http1_response import ResponseHead, read_response_head
from proxy.wire.reader import Reader

_PORTAL_STATUS = 511


@frozen_dataclass
class ControlPage:
    """One page of `[auto] controls`."""

    url: str
    target: ProbeTarget
    is_domestic: bool  # of the user's own country, so that it is reachable on a restricted network too


def control_pages(auto: Auto) -> list[ControlPage]:
    """The configured control pages. The last of several is the domestic one."""
    last = len(auto.controls) - 1
    return [ControlPage(url, page_of(url), number == last > 0) for number, url in enumerate(auto.controls)]


@frozen_dataclass
class ControlPageResult:
    """What requesting a control page showed. `issuer` identifies the CA that re-signed the page's certificate, see
    `certificates.issuer_id`; empty when it was not re-signed."""

    result: ConnectivityResult
    detail: str = ""  # half a sentence
    issuer: str = ""


Keep = Callable[[Stream], bool]
"""Told of a connection over which a control page came. Returns whether it takes it over."""


def keep_none(_stream: Stream) -> bool:
    """Takes no connection over."""
    return False


async def check_control_page(
    dialer: Dialer, url: str, *, timeout_s: float, trust: ssl.SSLContext | None = None, keep: Keep = keep_none
) -> ControlPageResult:
    """Requests an http or https URL once, and classifies the answer. `timeout_s` limits all of it; `trust` verifies the
    certificate (None: with the system's roots). Closes what it opened, but for what `keep` takes over when the page
    came. Raises ValueError when `url` is no such URL."""
    page = page_of(url)
    try:
        with deadline(timeout_s):
            return await _request_page(dialer, page, timeout_s, trust or context_trusting(None), keep)
    except TimeoutError:
        return ControlPageResult(ConnectivityResult.FAILED, f"did not answer within {timeout_s:g} s")
    except (DialError, PeerError, OSError) as error:
        return ControlPageResult(ConnectivityResult.FAILED, str(error))


async def _request_page(
    dialer: Dialer, page: ProbeTarget, timeout_s: float, trust: ssl.SSLContext, keep: Keep
) -> ControlPageResult:
    """Raises DialError, PeerError and OSError."""
    stream, is_kept = await dialer.dial(page.destination), False
    try:
        if page.protocol is Protocol.HTTP:
            result = _classify_plain(await _request_head(stream, page), page)
        else:
            stream = tls = TlsStream(stream, trust, page.host)
            await tls.handshake()
            head = await _request_head(tls, page)
            await load_certificate_reader()
            result = _classify_verified(tls.presented_chain(), head)
        is_kept = result.result is not ConnectivityResult.PORTAL and keep(stream)
        return result
    except ssl.SSLCertVerificationError as error:  # which is not kept: its traceback holds the connection
        reason = error.verify_message.rstrip(".")
    finally:
        if not is_kept:
            stream.abort()
    return await _classify_untrusted(dialer, page, reason, timeout_s, trust)


async def _request_head(stream: Stream, page: ProbeTarget) -> ResponseHead:
    await stream.send(page.request())
    reader = Reader()
    return await read_with(stream, reader, read_response_head(reader, "GET"))


def _classify_plain(head: ResponseHead, page: ProbeTarget) -> ControlPageResult:
    if head.status == _PORTAL_STATUS:
        return ControlPageResult(ConnectivityResult.PORTAL, "the network asks for a login (captive portal)")
    location = next((value for name, value in head.headers if name.lower() == "location"), "")
    try:
        place = urlsplit(location).hostname if 300 <= head.status < 400 else None
    except ValueError:
        raise PeerError("its redirect has no valid address") from None
    if place and place.lower().removeprefix("www.") != page.host.removeprefix("www."):
        return ControlPageResult(ConnectivityResult.PORTAL, f"redirected to {place}")
    return ControlPageResult(ConnectivityResult.WELL)


def _classify_verified(chain: tuple[bytes, ...], head: ResponseHead) -> ControlPageResult:
    if chain and not certificates.is_logged(chain[0]):
        issuer = certificates.issuer(chain[0])[:200]
        text = f"its certificate is by {issuer}, which this system trusts but no public certificate log lists"
        return ControlPageResult(ConnectivityResult.RESIGNED, text, certificates.issuer_id(chain[-1]))
    return ControlPageResult(ConnectivityResult.WELL, f"answered {head.status}")


async def _classify_untrusted(
    dialer: Dialer, page: ProbeTarget, why: str, timeout_s: float, trust: ssl.SSLContext
) -> ControlPageResult:
    """A certificate for another name is a captive portal's own. One for this very page is forged, or expired by this
    computer's clock, which may be wrong."""
    found = await fetch_chain(dialer, page.destination, page.host, timeout_s=timeout_s, trust=trust)
    if found.chain and not certificates.is_for(found.chain[0], page.host):
        return ControlPageResult(ConnectivityResult.PORTAL, f"wrong certificate ({why})")
    return ControlPageResult(ConnectivityResult.FAILED, found.error or why)
