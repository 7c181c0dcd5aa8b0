"""Requests control pages, and classifies their answers.

Censors have no reason to block a control page: when it fails too, the network is at fault and not the suspected site.
Over https no other server can answer in its place, so every verified answer shows a working network. Plain http, which
is tried after https has failed, shows a captive portal: by a redirect to another host, by a page that is not the
site's, or by status 511 (RFC 6585). A private address in place of the control page's shows a portal, too.
"""

from __future__ import annotations

import contextlib
import re
import ssl
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from proxy.config.schema import Auto
from proxy.detect.scopes import registrable
from proxy.model import ConnectivityResult, Protocol, Symptom, bracketed
from proxy.model.errors import DialError, PeerError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.deadline import deadline
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tls import TlsStream, context_trusting
from proxy.net.stream import Stream, read_with
from proxy.probe.certificate_chain import fetch_chain, load_certificate_reader
from proxy.probe.target import ProbeTarget, page_of
from proxy.wire import certificates, hostnames
from proxy.wire.http1_body import read_body
from proxy.wire.http1_response import ResponseHead, read_response_head
from proxy.wire.reader import Reader

_PORTAL_STATUS = 511
_PAGE_BYTES = 16_384
_PAGE_S = 3.0
"""Seconds in which _PAGE_BYTES of a page over plain http are read: a login page shows in its first kilobytes."""


@frozen_dataclass
class ControlPage:
    """One page of `[auto] controls`."""

    url: str
    target: ProbeTarget
    is_domestic: bool  # in the user's country, so that it is reachable on a restricted network too


def control_pages(auto: Auto) -> list[ControlPage]:
    """Returns the configured control pages. The last of several is the domestic one."""
    last = len(auto.controls) - 1
    return [ControlPage(url, page_of(url), number == last > 0) for number, url in enumerate(auto.controls)]


def portal_page(auto: Auto) -> ControlPage | None:
    """Returns the page over plain http that shows a captive portal: the configured one, or the first control page over
    http. None when there are no control pages."""
    if not auto.controls:
        return None
    url = auto.portal_page or f"http://{bracketed(page_of(auto.controls[0]).host)}/"
    return ControlPage(url, page_of(url), is_domestic=False)


@frozen_dataclass
class ControlPageResult:
    """The result of a request for a control page. `issuer` identifies the CA that re-signed the page's certificate, see
    `certificates.issuer_id`; empty when it was not re-signed. `portal` is the URL of a captive portal's login page.
    `clock_s` is the number of seconds by which this computer's clock is ahead of the server's; None: not known."""

    result: ConnectivityResult
    detail: str = ""  # half a sentence
    issuer: str = ""
    portal: str = ""
    clock_s: float | None = None


Keep = Callable[[Stream], bool]
"""Gets the connection over which a control page came. Returns whether it takes the connection over."""


async def check_control_page(
    dialer: Dialer, url: str, *, timeout_s: float, trust: ssl.SSLContext | None = None, keep: Keep = lambda _: False
) -> ControlPageResult:
    """Requests an http or https URL once, and classifies the answer. `timeout_s` limits the whole request; `trust`
    verifies the certificate (None: with the system's roots). Closes its connections, except one that `keep` takes over
    when the page came. Raises ValueError when `url` is no such URL."""
    page = page_of(url)
    try:
        with deadline(timeout_s):
            return await _request_page(dialer, page, timeout_s, trust or context_trusting(None), keep)
    except TimeoutError:
        return ControlPageResult(ConnectivityResult.FAILED, f"did not answer within {timeout_s:g} s")
    except DialError as error:
        if error.symptom is Symptom.FORGED and (address := error.evidence.get("forged")):
            text = f"the resolver leads {page.host} to {address}, as a captive portal does"
            return ControlPageResult(ConnectivityResult.PORTAL, text, portal=f"http://{bracketed(address)}/")
        return ControlPageResult(ConnectivityResult.FAILED, str(error))
    except (PeerError, OSError) as error:
        return ControlPageResult(ConnectivityResult.FAILED, str(error))


async def _request_page(
    dialer: Dialer, page: ProbeTarget, timeout_s: float, trust: ssl.SSLContext, keep: Keep
) -> ControlPageResult:
    """Requests the page. Raises DialError, PeerError and OSError."""
    stream, is_kept = await dialer.dial(page.destination), False
    try:
        if page.protocol is Protocol.HTTP:
            reader = Reader()
            head = await _request_head(stream, page, reader)
            body = await _page_start(stream, head, reader) if head.status == 200 else b""
            result = _classify_plain(head, body, page)
        else:
            stream = tls = TlsStream(stream, trust, page.host)
            await tls.handshake()
            head = await _request_head(tls, page, Reader())
            await load_certificate_reader()
            result = _classify_verified(tls.presented_chain(), head)
        is_kept = result.result is not ConnectivityResult.PORTAL and keep(stream)
        return result
    except ssl.SSLCertVerificationError as error:  # not kept: its traceback would hold the connection
        reason = error.verify_message.rstrip(".")
    finally:
        if not is_kept:
            stream.abort()
    return await _classify_untrusted(dialer, page, reason, timeout_s, trust)


async def _request_head(stream: Stream, page: ProbeTarget, reader: Reader) -> ResponseHead:
    await stream.send(page.request())
    return await read_with(stream, reader, read_response_head(reader, "GET"))


async def _page_start(stream: Stream, head: ResponseHead, reader: Reader) -> bytes:
    """Returns at most _PAGE_BYTES of the body, of the bytes that come within _PAGE_S."""
    body = bytearray()
    with contextlib.suppress(TimeoutError, OSError, PeerError), deadline(_PAGE_S):
        for piece in read_body(reader, head.body):
            if piece is not None:
                body += piece
            elif len(body) >= _PAGE_BYTES or not (data := await stream.receive()):
                break
            else:
                reader.receive_data(data)
    return bytes(body[:_PAGE_BYTES])


def _classify_plain(head: ResponseHead, body: bytes, page: ProbeTarget) -> ControlPageResult:
    fields = {name.lower(): value for name, value in head.headers}
    clock_s = _clock_ahead(fields.get("date", ""))
    if head.status == _PORTAL_STATUS:
        text = "the network asks for a login (captive portal)"
        return ControlPageResult(ConnectivityResult.PORTAL, text, portal=page.url)
    location = fields.get("location", "") if 300 <= head.status < 400 else ""
    try:
        place = urlsplit(location)
        host, port = place.hostname, place.port
    except ValueError:
        raise PeerError("its redirect has no valid address") from None
    if host and registrable(host.lower()) != registrable(page.host):
        login = _login_page(host, port, is_secure=place.scheme.lower() == "https") or page.url
        return ControlPageResult(ConnectivityResult.PORTAL, f"redirected to {host}", portal=login)
    if _is_foreign(body, page.host):
        text = "answered with a page that is not the site's"
        return ControlPageResult(ConnectivityResult.PORTAL, text, portal=page.url)
    return ControlPageResult(ConnectivityResult.WELL, f"answered {head.status}", clock_s=clock_s)


def _login_page(host: str, port: int | None, *, is_secure: bool) -> str:
    """Returns the URL of the start page of a redirect's host; empty when the host is not valid. The rest of the
    redirect is not shown: it may identify this computer."""
    try:
        name = hostnames.host(host)
    except ValueError:
        return ""
    return f"http{'s' if is_secure else ''}://{bracketed(name)}{f':{port}' if port is not None else ''}/"


def _is_foreign(body: bytes, host: str) -> bool:
    """Whether an HTML page is not one of `host`: it does not contain the shortest name of the host (`wikipedia`), or it
    asks for a password. False for other content, which is no login page."""
    text = body.lower()
    if not _HTML.search(text):
        return False
    label = registrable(host).split(".", 1)[0].encode()
    return label not in text or _PASSWORD.search(text) is not None


_HTML = re.compile(rb"<(?:!doctype html|html|head|title|body|meta|script|form)[\s/>]")
_PASSWORD = re.compile(rb"""type=["']?password""")


def _clock_ahead(date: str) -> float | None:
    """Returns the seconds by which this computer's clock is ahead of a Date field; None when the field is not
    valid."""
    try:
        return time.time() - parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None


def _classify_verified(chain: tuple[bytes, ...], head: ResponseHead) -> ControlPageResult:
    if chain and not certificates.is_logged(chain[0]):
        issuer = certificates.issuer(chain[0])[:200]
        text = f"its certificate is by {issuer}, which this system trusts but no public certificate log lists"
        return ControlPageResult(ConnectivityResult.RESIGNED, text, certificates.issuer_id(chain[-1]))
    return ControlPageResult(ConnectivityResult.WELL, f"answered {head.status}")


async def _classify_untrusted(
    dialer: Dialer, page: ProbeTarget, why: str, timeout_s: float, trust: ssl.SSLContext
) -> ControlPageResult:
    """Classifies a refused certificate. One for another name is a captive portal's own. One for this name is forged, or
    not valid today by this computer's clock, which may be wrong."""
    fetched = await fetch_chain(dialer, page.destination, page.host, timeout_s=timeout_s, trust=trust)
    if fetched.chain and not certificates.is_for(fetched.chain[0], page.host):
        return ControlPageResult(ConnectivityResult.PORTAL, f"wrong certificate ({why})")
    return ControlPageResult(ConnectivityResult.FAILED, fetched.error or why)
