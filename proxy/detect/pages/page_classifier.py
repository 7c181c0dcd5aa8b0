"""Is this the site's own answer, or one put in its place? A look at the first bytes of a plain HTTP answer.

Two things show: the fingerprint of a known block page, in the head or in the page, and a redirect to another
registrable domain, which may be a move and may be the way to a block page: another route tells. Only pages are waited
for (`text/html`, not an error's own kind of text, not a download), and only their beginning: a provider's page is small
and comes whole. What cannot be read is plain: `session` decides whether to refuse it.
"""

from __future__ import annotations

import html
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urljoin, urlsplit

from proxy.detect.pages.block_pages import BlockPages
from proxy.detect.pages.charset import decode
from proxy.detect.scopes import registrable
from proxy.model import bracketed
from proxy.model.errors import PeerError
from proxy.wire import hostnames as names
from proxy.wire.http1_body import read_body
from proxy.wire.http1_response import ResponseHead, read_response_head
from proxy.wire.reader import Parser, Reader

BODY_LIMIT = 16 * 1024
"""Bytes of a body that are waited for: what a server may send in its first flight (RFC 6928), and a little."""

TEXT_LIMIT = 64 * 1024
"""Bytes that a compressed body is unpacked to."""

SHOWN_LIMIT = 32 * 1024
"""Bytes of an unpacked body that somebody else is shown."""

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
"""Of a page's head and what has come of its body: the name of a block page, False for the site's own, None for what is
not known."""


class PageSeen(StrEnum):
    """What an answer looks like."""

    MORE = "more"  # it may still be a block page: wait, but not for long
    PLAIN = "plain"  # nothing speaks against its being the site's own
    BLOCK_PAGE = "block_page"  # `detail` is the row's id
    REDIRECTED = "elsewhere"  # `detail` is the host it leads to


@dataclass(frozen=True, slots=True)
class PageKind:
    """What was seen. `status` is the answer's, 0 when there is none or it cannot be read."""

    seen: PageSeen
    status: int = 0
    detail: str = ""


_MORE = PageKind(PageSeen.MORE)
_UNREADABLE = PageKind(PageSeen.PLAIN)


def look(
    answer: bytes | bytearray,
    host: str,
    *,
    ended: bool,
    method: str = "GET",
    pages: BlockPages,
    domain: Callable[[str], str] = registrable,
    classify: Classify | None = None,
) -> PageKind:
    """What the first bytes of an answer are.

    `answer` is everything that has come, from its first byte on; `host` the canonical host that was asked, by `method`;
    `ended` says that no more will come, or that no more shall be waited for. `domain` gives a host's registrable
    domain. MORE is never the answer when `ended`. `classify` has the last word on pages and redirects.
    """
    reader = Reader(bytes(answer))
    try:
        head = _stepped(_final_head(reader, method))
    except PeerError:
        return _UNREADABLE
    if head is None:
        return _UNREADABLE if ended else _MORE
    headers = {name.lower(): value for name, value in reversed(head.headers)}  # of two, the first counts
    if row := pages.match_head(headers):
        return _classified(
            PageKind(PageSeen.BLOCK_PAGE, head.status, row), classify, head, _begun(reader, head, headers)
        )
    if head.status in _REDIRECTS and (place := _elsewhere(headers.get("location", ""), host, domain)):
        return _classified(
            PageKind(PageSeen.REDIRECTED, head.status, place), classify, head, _begun(reader, head, headers)
        )
    if head.body.is_empty or not _is_page(headers):
        return PageKind(PageSeen.PLAIN, head.status)
    body, whole = _body(reader, head)
    if not (whole or ended or len(body) >= BODY_LIMIT):
        return PageKind(PageSeen.MORE, head.status)
    unpacked = _unpacked(body, headers.get("content-encoding", ""))
    text = decode(unpacked, headers.get("content-type", ""))
    found = PageKind(PageSeen.PLAIN, head.status)
    if row := pages.match(headers, text):
        found = PageKind(PageSeen.BLOCK_PAGE, head.status, row)
    elif place := _elsewhere(_refresh(text), host, domain):
        found = PageKind(PageSeen.REDIRECTED, head.status, place)
    return _classified(found, classify, head, unpacked)


def _classified(found: PageKind, classify: Classify | None, head: ResponseHead, body: bytes) -> PageKind:
    """What somebody says who may know better than fingerprints."""
    if classify is None:
        return found
    fields = "".join(f"{name}: {value}\n" for name, value in head.headers)
    said = classify(
        f"HTTP/{head.version[0]}.{head.version[1]} {head.status} {head.reason}\n{fields}", body[:SHOWN_LIMIT]
    )
    if said is None or said is True:
        return found
    return PageKind(PageSeen.BLOCK_PAGE, head.status, said) if said else PageKind(PageSeen.PLAIN, head.status)


def _begun(reader: Reader, head: ResponseHead, headers: Mapping[str, str]) -> bytes:
    """What has come of a body that was not waited for."""
    if head.body.is_empty:
        return b""
    return _unpacked(_body(reader, head)[0], headers.get("content-encoding", ""))


def _stepped(parser: Parser[ResponseHead]) -> ResponseHead | None:
    """What a parser makes of what has come; None when that is too little."""
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
    """What has come of the body, and whether that is all of it. Chunks that are malformed end it: they will be refused
    when they are forwarded."""
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
    """Whether a browser would show it as a page, as far as we can read it: Brotli and Zstandard are not ours."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    coding = headers.get("content-encoding", "").strip().lower()
    named = headers.get("content-disposition", "").lower().startswith("attachment")
    return kind in ("", *_PAGES) and coding in ("", "identity", *_UNPACK) and not named


def _unpacked(body: bytes, coding: str) -> bytes:
    """As far as it can be unpacked, TEXT_LIMIT bytes at most."""
    bits = _UNPACK.get(coding.strip().lower())
    if bits is None:
        return body
    for window in (bits, -zlib.MAX_WBITS):  # "deflate" without its wrapper, as some servers send it
        try:
            return zlib.decompressobj(window).decompress(body, TEXT_LIMIT)
        except zlib.error:
            continue
    return b""


def _refresh(text: str) -> str:
    """Where a page's own `meta` sends the browser."""
    found = _REFRESH.search(text)
    target = _TARGET.search(html.unescape(found[1])) if found else None
    return target[1] if target else ""


def _elsewhere(target: str, host: str, domain: Callable[[str], str]) -> str:
    """The host that a redirect leads to, when that is none of this one's registrable domain; else empty."""
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
