"""Classifies a plain HTTP answer by its first bytes: the site's own, a block page, or a redirect elsewhere.

A block page is known by its fingerprint, in the head or in the page. A redirect to another registrable domain may be a
move or lead to a block page, which another route shows. Only pages are waited for (`text/html`, no download), and only
their beginning, since a provider's block page is small. An answer that cannot be parsed is PLAIN: `session` decides
whether to refuse it.
"""

from __future__ import annotations

import html
import re
import zlib
from collections.abc import Callable, Mapping
from enum import StrEnum
from urllib.parse import urljoin, urlsplit

from proxy.detect.pages.block_pages import BlockPages
from proxy.detect.pages.charset import decode
from proxy.detect.scopes import registrable
from proxy.model import bracketed
from proxy.model.errors import PeerError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import hostnames as names
from proxy.wire.http1_body import read_body
from proxy.wire.http1_response import ResponseHead, read_response_head
from proxy.wire.reader import Parser, Reader

BODY_LIMIT = 16 * 1024
"""Bytes of a body that are waited for: a little more than a server's initial window (RFC 6928)."""

TEXT_LIMIT = 64 * 1024
"""Bytes that a compressed body is unpacked to."""

SHOWN_LIMIT = 32 * 1024
"""Bytes of an unpacked body that `Classify` gets."""

INTERIM_LIMIT = 4
"""Interim answers (100, 103) before the answer."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PAGES = ("text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml")
_REFRESH = re.compile(
    r"<meta\b([^<>]{0,2000}\bhttp-equiv\s{0,9}=\s{0,9}[\"']?\s{0,9}refresh\b[^<>]{0,2000})>", re.IGNORECASE
)
_TARGET = re.compile(r"\burl\s{0,9}=\s{0,9}[\"']?([^\"'<>\s]{1,2000})", re.IGNORECASE)
_UNPACK = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}

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


_MORE = ClassifiedPage(PageKind.MORE)
_UNREADABLE = ClassifiedPage(PageKind.PLAIN)


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
        head = _parse_available(_final_head(reader, method))
    except PeerError:
        return _UNREADABLE
    if head is None:
        return _UNREADABLE if ended else _MORE
    headers = {name.lower(): value for name, value in reversed(head.headers)}  # the first of two equal names counts
    if row := pages.match_head(headers):
        return _reclassified(
            ClassifiedPage(PageKind.BLOCK_PAGE, head.status, row), classify, head, _partial_body(reader, head, headers)
        )
    if head.status in _REDIRECTS and (place := _redirect_host(headers.get("location", ""), host, domain)):
        return _reclassified(
            ClassifiedPage(PageKind.REDIRECTED, head.status, place),
            classify,
            head,
            _partial_body(reader, head, headers),
        )
    if head.body.is_empty or not _is_page(headers):
        return ClassifiedPage(PageKind.PLAIN, head.status)
    body, whole = _body(reader, head)
    if not (whole or ended or len(body) >= BODY_LIMIT):
        return ClassifiedPage(PageKind.MORE, head.status)
    unpacked = _unpacked(body, headers.get("content-encoding", ""))
    text = decode(unpacked, headers.get("content-type", ""))
    found = ClassifiedPage(PageKind.PLAIN, head.status)
    if row := pages.match(headers, text):
        found = ClassifiedPage(PageKind.BLOCK_PAGE, head.status, row)
    elif place := _redirect_host(_meta_refresh(text), host, domain):
        found = ClassifiedPage(PageKind.REDIRECTED, head.status, place)
    return _reclassified(found, classify, head, unpacked)


def _reclassified(found: ClassifiedPage, classify: Classify | None, head: ResponseHead, body: bytes) -> ClassifiedPage:
    """The result after `classify`, which may know better than fingerprints."""
    if classify is None:
        return found
    fields = "".join(f"{name}: {value}\n" for name, value in head.headers)
    said = classify(
        f"HTTP/{head.version[0]}.{head.version[1]} {head.status} {head.reason}\n{fields}", body[:SHOWN_LIMIT]
    )
    if said is None or said is True:
        return found
    return (
        ClassifiedPage(PageKind.BLOCK_PAGE, head.status, said) if said else ClassifiedPage(PageKind.PLAIN, head.status)
    )


def _partial_body(reader: Reader, head: ResponseHead, headers: Mapping[str, str]) -> bytes:
    """The bytes that have come of a body that was not waited for."""
    if head.body.is_empty:
        return b""
    return _unpacked(_body(reader, head)[0], headers.get("content-encoding", ""))


def _parse_available(parser: Parser[ResponseHead]) -> ResponseHead | None:
    """Runs a parser on the bytes that have come; None when they are too few."""
    try:
        next(parser)
    except StopIteration as stop:
        head: ResponseHead = stop.value
        return head
    return None


def _final_head(reader: Reader, method: str) -> Parser[ResponseHead]:
    for _ in range(INTERIM_LIMIT + 1):
        head = yield from read_response_head(reader, method)
        if not head.is_interim:
            return head
    raise PeerError(f"more than {INTERIM_LIMIT} interim answers")


def _body(reader: Reader, head: ResponseHead) -> tuple[bytes, bool]:
    """The bytes of the body that have come, and whether it is complete. Malformed chunks end it: they are refused when
    they are forwarded."""
    body = bytearray()
    try:
        for piece in read_body(reader, head.body):
            if piece is None:
                return bytes(body), False
            body += piece
    except PeerError:
        pass
    return bytes(body), True


def _is_page(headers: Mapping[str, str]) -> bool:
    """Whether a browser would show a page that Byway can unpack: not one in Brotli or Zstandard."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    coding = headers.get("content-encoding", "").strip().lower()
    named = headers.get("content-disposition", "").lower().startswith("attachment")
    return kind in ("", *_PAGES) and coding in ("", "identity", *_UNPACK) and not named


def _unpacked(body: bytes, coding: str) -> bytes:
    """The body, unpacked as far as possible, to at most TEXT_LIMIT bytes."""
    bits = _UNPACK.get(coding.strip().lower())
    if bits is None:
        return body
    for window in (bits, -zlib.MAX_WBITS):  # "deflate" without its wrapper, as some servers send it
        try:
            return zlib.decompressobj(window).decompress(body, TEXT_LIMIT)
        except zlib.error:
            continue
    return b""


def _meta_refresh(text: str) -> str:
    """The target of a page's `meta` refresh; empty when it has none."""
    found = _REFRESH.search(text)
    target = _TARGET.search(html.unescape(found[1])) if found else None
    return target[1] if target else ""


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
