"""Classifies a plain HTTP answer by its first bytes: the site's own, a block page, or a redirect elsewhere.

A block page is known by its fingerprint, in the head or in the page. A redirect to another registrable domain may be a
move or lead to a block page, which another route shows. Only pages are waited for (`text/html`, no download), and only
their beginning, since a provider's block page is small. An answer that cannot be parsed is PLAIN: `session` decides
whether to refuse it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import lru_cache
from urllib.parse import urljoin, urlsplit

from proxy.detect.pages.block_pages import BlockPages
from proxy.detect.pages.charset import decode
from proxy.detect.scopes import registrable
from proxy.model import bracketed
from proxy.model.errors import PeerError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import hostnames as names
from proxy.wire.http1_body import BodyKind, Framing, read_body
from proxy.wire.http1_fields import HEAD_LIMIT
from proxy.wire.http1_response import ResponseHead, take_response_head
from proxy.wire.reader import Reader

BODY_LIMIT = 16 * 1024
"""Bytes of a body that are waited for: a little more than a server's initial window (RFC 6928)."""

TEXT_LIMIT = 64 * 1024
"""Bytes that a compressed body is unpacked to."""

SHOWN_LIMIT = 32 * 1024
"""Bytes of an unpacked body that `Classify` gets."""

INTERIM_LIMIT = 4
"""Interim answers (100, 103) before the answer."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PAGES = frozenset({"", "text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml"})
_REFRESH = re.compile(
    r"<meta\b([^<>]{0,2000}\bhttp-equiv\s{0,9}=\s{0,9}[\"']?\s{0,9}refresh\b[^<>]{0,2000})>", re.IGNORECASE
)
_TARGET = re.compile(r"\burl\s{0,9}=\s{0,9}[\"']?([^\"'<>\s]{1,2000})", re.IGNORECASE)
_UNPACK = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
_CODINGS = frozenset({"identity", *_UNPACK})

Classify = Callable[[str, bytes], "str | bool | None"]
"""An addon's classification of a page by its head and the start of its body: the name of a block page, False for the
site's own, None when it does not know."""


class PageKind(StrEnum):
    """What an answer is, as far as its first bytes show."""

    MORE = "more"  # too few bytes: it may still be a block page
    PLAIN = "plain"  # the site's own, as far as can be seen
    BLOCK_PAGE = "block_page"  # `detail` is the row's id
    REDIRECTED = "elsewhere"  # `detail` is the host that it redirects to


@frozen_dataclass
class ClassifiedPage:
    """A classified answer. `status` is its HTTP status; 0 when there is none, or it cannot be parsed."""

    kind: PageKind
    status: int = 0
    detail: str = ""


@lru_cache(maxsize=1024)
def _plain(status: int) -> ClassifiedPage:
    """0: an answer that cannot be parsed."""
    return ClassifiedPage(PageKind.PLAIN, status)


@lru_cache(maxsize=1024)
def _more(status: int) -> ClassifiedPage:
    """0: not even the head is there."""
    return ClassifiedPage(PageKind.MORE, status)


def classify_page(
    answer: bytes | bytearray,
    host: str,
    *,
    ended: bool,
    method: str = "GET",
    pages: BlockPages,
    domain: Callable[[str], str] = registrable,
    classify: Classify | None = None,
) -> ClassifiedPage:
    """Classifies an answer by its first bytes.

    `answer` is everything that has come, from its first byte on, to a request for the canonical `host` with `method`.
    `ended`: no more will come, or be waited for; then the result is never MORE. `domain` gives a host's registrable
    domain. `classify` may overrule the result for pages and redirects.
    """
    reader = Reader(bytes(answer))
    try:
        for _ in range(INTERIM_LIMIT + 1):
            head = take_response_head(reader, method)
            if head is None:
                return _plain(0) if ended or len(reader) >= HEAD_LIMIT else _more(0)
            if head.status >= 200 or not head.is_interim:
                break
        else:
            return _plain(0)
    except PeerError:
        return _plain(0)
    status = head.status
    headers: dict[str, str] = {}
    for name, value in head.headers:
        headers.setdefault(name.lower(), value)
    if not pages.fields.isdisjoint(headers) and (row := pages.match_head(headers)):
        found = ClassifiedPage(PageKind.BLOCK_PAGE, status, row)
        return found if classify is None else _reclassified(found, classify, head, _partial_body(reader, head, headers))
    if status in _REDIRECTS and (place := _redirect_host(headers.get("location", ""), host, domain)):
        found = ClassifiedPage(PageKind.REDIRECTED, status, place)
        return found if classify is None else _reclassified(found, classify, head, _partial_body(reader, head, headers))
    framing = head.body
    if framing.kind is BodyKind.NONE or (framing.kind is BodyKind.LENGTH and not framing.length):
        return _plain(status)
    # Only what a browser would show as a page, and Byway can unpack: not what is in Brotli or Zstandard.
    kind, coding = headers.get("content-type", ""), headers.get("content-encoding", "").strip().lower()
    if (
        kind.partition(";")[0].strip().lower() not in _PAGES
        or (coding and coding not in _CODINGS)
        or headers.get("content-disposition", "").lower().startswith("attachment")
    ):
        return _plain(status)
    if framing.kind is BodyKind.LENGTH and len(reader) >= framing.length:
        body, whole = bytes(reader[: framing.length]), True
    else:
        body, whole = _body(reader, framing)
    if not (whole or ended or len(body) >= BODY_LIMIT):
        return _more(status)
    if coding:
        body = _unpacked(body, coding)
    text = decode(body, kind)
    if row := pages.match(headers, text):
        found = ClassifiedPage(PageKind.BLOCK_PAGE, status, row)
    elif (
        (refresh := _REFRESH.search(text))
        and (target := _TARGET.search(_unescaped(refresh[1])))
        and (place := _redirect_host(target[1], host, domain))
    ):
        found = ClassifiedPage(PageKind.REDIRECTED, status, place)
    else:
        found = _plain(status)
    return found if classify is None else _reclassified(found, classify, head, body)


def _reclassified(found: ClassifiedPage, classify: Classify, head: ResponseHead, body: bytes) -> ClassifiedPage:
    """The result after `classify`, which may know better than fingerprints."""
    fields = "".join(f"{name}: {value}\n" for name, value in head.headers)
    said = classify(
        f"HTTP/{head.version[0]}.{head.version[1]} {head.status} {head.reason}\n{fields}", body[:SHOWN_LIMIT]
    )
    if said is None or said is True:
        return found
    return ClassifiedPage(PageKind.BLOCK_PAGE, head.status, said) if said else _plain(head.status)


def _partial_body(reader: Reader, head: ResponseHead, headers: Mapping[str, str]) -> bytes:
    """The bytes that have come of a body that was not waited for."""
    return _unpacked(_body(reader, head.body)[0], headers.get("content-encoding", "").strip().lower())


def _body(reader: Reader, framing: Framing) -> tuple[bytes, bool]:
    """The bytes of the body that have come, and whether it is complete. Malformed chunks end it: they are refused when
    they are forwarded."""
    body = bytearray()
    try:
        for piece in read_body(reader, framing):
            if piece is None:
                return bytes(body), False
            body += piece
    except PeerError:
        pass
    return bytes(body), True


def _unpacked(body: bytes, coding: str) -> bytes:
    """The body, unpacked as far as possible, to at most TEXT_LIMIT bytes."""
    bits = _UNPACK.get(coding)
    if bits is None:
        return body
    for window in (bits, -zlib.MAX_WBITS):  # "deflate" without its wrapper, as some servers send it
        try:
            return zlib.decompressobj(window).decompress(body, TEXT_LIMIT)
        except zlib.error:
            continue
    return b""


def _unescaped(text: str) -> str:
    """`text` with characters in place of references to them (`&amp;`)."""
    import html  # its table of names takes half a MiB, and few pages need it

    return html.unescape(text)


def _redirect_host(target: str, host: str, domain: Callable[[str], str]) -> str:
    """The host of a redirect, when it has another registrable domain than `host`; else empty."""
    if not target:
        return ""
    try:
        there = urlsplit(urljoin(f"http://{bracketed(host)}/", target))
        if there.scheme not in ("http", "https") or not there.hostname:
            return ""
        place = names.host(there.hostname)
    except ValueError:
        return ""
    return "" if domain(place) == domain(host) else place
