"""Classifies a plain HTTP answer by its first bytes: the site's own, a block page, or a redirect to another domain.

A block page is recognized by a fingerprint in the head or in the page. A redirect to another registrable domain may be
a move of the site, or lead to a block page; another route shows which. The body is needed only of pages (`text/html`,
no download), and only its beginning, since block pages are small. An answer that cannot be parsed is PLAIN: `session`
decides whether to refuse it.

A block page without a fingerprint is PLAIN too. A small page gets a mark by which it is recognized when it comes for an
unrelated site as well.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from urllib.parse import urljoin, urlsplit

from proxy.detect.pages.block_pages import BlockPages
from proxy.detect.pages.charset import decode
from proxy.detect.pages.page_difference import Page
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
"""Bytes of a body to wait for: a little more than a server's initial window (RFC 6928)."""

TEXT_LIMIT = 64 * 1024
"""Bytes at most to which a compressed body is unpacked."""

SHOWN_LIMIT = 32 * 1024
"""Bytes of an unpacked body that `Classify` gets."""

INTERIM_LIMIT = 4
"""Interim answers (100, 103) before the final one at most."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PAGES = frozenset({"", "text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml"})
_REFRESH = re.compile(
    r"<meta\b([^<>]{0,2000}\bhttp-equiv\s{0,9}=\s{0,9}[\"']?\s{0,9}refresh\b[^<>]{0,2000})>", re.IGNORECASE
)
_TITLE = re.compile(r"<title\b[^<>]{0,200}>([^<]{1,1000})", re.IGNORECASE)
_TARGET = re.compile(r"\burl\s{0,9}=\s{0,9}[\"']?([^\"'<>\s]{1,2000})", re.IGNORECASE)
_UNPACK = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
_CODINGS = frozenset({"identity", *_UNPACK})

Classify = Callable[[str, bytes], "str | bool | None"]
"""An addon's classification of a page by its head and the start of its body: the name of a block page; False: the
site's own page; None: not known."""


class PageKind(StrEnum):
    """The result of a classification."""

    MORE = "more"  # too few bytes: it may still be a block page
    PLAIN = "plain"  # no sign of a block: the site's own
    BLOCK_PAGE = "block_page"  # `detail` is the row's id
    REDIRECTED = "elsewhere"  # `detail` is the target host


@frozen_dataclass
class ClassifiedPage:
    """A classified answer. `status` is its HTTP status; 0: there is none, or it cannot be parsed."""

    kind: PageKind
    status: int = 0
    detail: str = ""
    mark: int = 0
    """Equal for pages of the same length and title, without the name of the host; 0: the page is no whole small page of
    status 200. A title, or a text without one, cannot be told from it."""


@lru_cache(maxsize=1024)
def _plain(status: int, mark: int = 0) -> ClassifiedPage:
    """`status` 0: the answer cannot be parsed."""
    return ClassifiedPage(PageKind.PLAIN, status, mark=mark)


@lru_cache(maxsize=1024)
def _more(status: int) -> ClassifiedPage:
    """`status` 0: the head has not come."""
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

    `answer` is all bytes of the answer so far, to a request for the canonical `host` with `method`. `ended`: no more
    bytes will come, or the caller does not wait for them; then the result is never MORE. `domain` returns a host's
    registrable domain. `classify` may overrule the result for pages and redirects.
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
    kind, coding = headers.get("content-type", ""), headers.get("content-encoding", "").strip().lower()
    framing, page = head.body, None
    if not pages.fields.isdisjoint(headers) and (row := pages.match_head(headers)):
        page = ClassifiedPage(PageKind.BLOCK_PAGE, status, row)
    elif status in _REDIRECTS and (place := _redirect_host(headers.get("location", ""), host, domain)):
        page = ClassifiedPage(PageKind.REDIRECTED, status, place)
    if page is not None:
        if classify is None:
            return page
        return _reclassified(page, classify, head, _unpacked(_body(reader, framing)[0], coding))
    if framing.kind is BodyKind.NONE or (framing.kind is BodyKind.LENGTH and not framing.length):
        return _plain(status)
    # Only bodies that a browser shows as a page and that Byway can unpack: Brotli and Zstandard are not supported.
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
    is_small = len(body) <= BODY_LIMIT and (whole or framing.kind is BodyKind.UNTIL_EOF)
    if coding:
        body = _unpacked(body, coding)
    text = decode(body, kind)
    if row := pages.match(headers, text):
        page = ClassifiedPage(PageKind.BLOCK_PAGE, status, row)
    elif (
        (refresh := _REFRESH.search(text))
        and (target := _TARGET.search(_unescaped(refresh[1])))
        and (place := _redirect_host(target[1], host, domain))
    ):
        page = ClassifiedPage(PageKind.REDIRECTED, status, place)
    elif is_small and status == 200 and "<" in text:
        title = _TITLE.search(text)
        length = len(text) - len(host) * text.count(host)
        page = _plain(status, hash((length, title[1].strip() if title else text.replace(host, ""))))
    else:
        page = _plain(status)
    return page if classify is None else _reclassified(page, classify, head, body)


def _reclassified(page: ClassifiedPage, classify: Classify, head: ResponseHead, body: bytes) -> ClassifiedPage:
    """Returns the result of `classify`, if it has one; else `page`."""
    fields = "".join(f"{name}: {value}\n" for name, value in head.headers)
    block_page = classify(
        f"HTTP/{head.version[0]}.{head.version[1]} {head.status} {head.reason}\n{fields}", body[:SHOWN_LIMIT]
    )
    if block_page is None or block_page is True:
        return page
    return ClassifiedPage(PageKind.BLOCK_PAGE, head.status, block_page) if block_page else _plain(head.status)


def read_page(answer: bytes, host: str) -> Page | None:
    """Returns what is compared of an answer to a GET for the canonical `host`; None: its head has not come, cannot be
    parsed, or its text cannot be read. A body that has not come whole counts as far as it came."""
    reader = Reader(answer)
    try:
        head = take_response_head(reader, "GET")
        while head is not None and head.is_interim:
            head = take_response_head(reader, "GET")
    except PeerError:
        return None
    if head is None:
        return None
    headers = {name.lower(): value for name, value in reversed(head.headers)}
    coding = headers.get("content-encoding", "").strip().lower()
    if coding and coding not in _CODINGS:
        return None
    text = decode(_unpacked(_body(reader, head.body)[0], coding), headers.get("content-type", ""))
    title = _TITLE.search(text)
    return Page(
        head.status,
        len(text),
        title[1].strip() if title else "",
        frozenset(headers),
        upgrades=head.status in _REDIRECTS and _is_upgrade(headers.get("location", ""), host),
    )


def _is_upgrade(target: str, host: str) -> bool:
    """Whether a redirect leads to https at the same registrable domain."""
    try:
        there = urlsplit(target)
        return there.scheme == "https" and registrable(names.host(there.hostname or "")) == registrable(host)
    except ValueError:
        return False


def _body(reader: Reader, framing: Framing) -> tuple[bytes, bool]:
    """Returns the bytes of the body that have come, and whether it is complete. A malformed chunk ends the body here;
    it is refused when the body is forwarded."""
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
    """Returns the body, unpacked as far as possible, up to TEXT_LIMIT bytes."""
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
    """Returns `text` with characters in place of references (`&amp;`)."""
    import html  # its table of names takes half a MiB, and few pages need it

    return html.unescape(text)


def _redirect_host(target: str, host: str, domain: Callable[[str], str]) -> str:
    """Returns the host of a redirect if it has another registrable domain than `host`; else empty."""
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
