"""Parses the head of an HTTP/1.x answer from an untrusted server, and writes a new head for the client.

It is stricter than a browser where two parsers could disagree about the end of the answer or about a field. Otherwise
it takes what real servers send, as far as RFC 9112 allows: no reason phrase, folded lines, blanks before a colon, LF
alone at the end of every line. If the framing is doubtful but has one safe reading, the answer passes and its
connection is not used again.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from proxy.model.errors import PeerError
from proxy.model.remembered import remembered
from proxy.wire.http1_body import CHUNKED, NO_BODY, UNTIL_EOF, BodyKind, Framing
from proxy.wire.http1_error import refusal
from proxy.wire.http1_fields import (
    HEAD_LIMIT,
    NO_TOKENS,
    Headers,
    content_length,
    field_table,
    head_text,
    read_fields,
    tokens,
    without,
)
from proxy.wire.reader import Parser, Reader

FIELD_LIMIT = 256
"""Fields of an answer at most: servers with many cookies and policies come to about 60."""

REMEMBERED_LIMIT = 4096
"""Bytes of the longest head that `_remembered` caches."""

_TABLE = field_table(
    (
        *("content-length", "transfer-encoding", "connection", "proxy-connection", "keep-alive", "te", "trailer"),
        *("upgrade", "proxy", "proxy-authenticate", "proxy-authentication-info", "proxy-authorization"),
    )
)
_NONE: frozenset[str] = frozenset()
_USUAL_OPTIONS = frozenset({"keep-alive", "close"})
"""Values of Connection that are no names of fields."""

_SWITCHING = frozenset({"upgrade"})
"""The fields that may occur only once in a 101."""

_STATUS_LINE = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: (.*))?\Z")
_FOLD = re.compile(r"(?<![ \t])[ \t]*+(?:\r\n[ \t]++)++")


class ResponseHead(NamedTuple):  # made in half the time of a frozen dataclass
    """One answer, final or interim. `headers` are the fields that go on to the client, `passed` their lines. `kept` is
    the head for most clients: the body's framing is not changed, and the connection is kept."""

    status: int
    reason: str
    version: tuple[int, int]
    headers: Headers
    passed: str
    body: Framing
    declared_length: int | None  # Content-Length, also of answers without such a body (HEAD, 304, chunked)
    keep_alive: bool  # the server's connection may be used again after this body
    upgrade: str | None  # the protocol that the connection changes to; 101 only
    kept: bytes

    @property
    def is_interim(self) -> bool:
        """Another head follows (1xx; not 101, after which HTTP has ended)."""
        return self.status < 200 and self.status != 101

    def body_for(self, client_version: tuple[int, int]) -> Framing:
        """Returns the framing of the body for a client. A body with a length keeps it. Any other body is sent in
        chunks: they let the client's connection live, and show whether the body was cut short. HTTP/1.0 has no chunks,
        so there it is sent until EOF."""
        if self.body.kind in (BodyKind.NONE, BodyKind.LENGTH):
            return self.body
        return CHUNKED if client_version >= (1, 1) else UNTIL_EOF

    def forwarded(self, sent_as: Framing, keep_alive: bool) -> bytes:
        """Returns the head for a client whose body is framed as `sent_as`. `keep_alive` must be False for a body until
        EOF."""
        if keep_alive and sent_as is self.body:
            return self.kept
        return _forwarded(
            self.status, self.reason, self.passed, sent_as, self.declared_length, keep_alive, self.upgrade
        )

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} {self.body.kind}>"


def _forwarded(
    status: int,
    reason: str,
    passed: str,
    sent_as: Framing,
    declared_length: int | None,
    keep_alive: bool,
    upgrade: str | None,
) -> bytes:
    """See `ResponseHead.forwarded`."""
    text = f"HTTP/1.1 {status} {reason}\r\n{passed}"
    if upgrade is not None:
        text += f"Connection: Upgrade\r\nUpgrade: {upgrade}\r\n"
    elif status >= 200:
        text += "Connection: keep-alive\r\n" if keep_alive else "Connection: close\r\n"
        kind = sent_as.kind
        if kind is BodyKind.CHUNKED:
            text += "Transfer-Encoding: chunked\r\n"
        elif declared_length is not None and kind is not BodyKind.UNTIL_EOF and status != 204:
            text += f"Content-Length: {declared_length}\r\n"
    return f"{text}\r\n".encode("latin-1")


def take_response_head(reader: Reader, method: str) -> ResponseHead | None:
    """Parses the next head of an answer to a `method` request; None: the head has not come whole.

    Raises PeerError with a 502 reply for a head that is not HTTP/1.x, for a body whose end is ambiguous, and for a 407,
    which only a proxy may send (a 407 to CONNECT passes).
    """
    head = reader.take_head(HEAD_LIMIT)
    if head is None:
        return None
    read = _remembered if len(head) <= REMEMBERED_LIMIT else _response_head
    try:
        return read(head, method)
    except ValueError as fault:
        raise refusal(502, f"The server's answer is not proper HTTP: {fault}.") from None


def read_response_head(reader: Reader, method: str) -> Parser[ResponseHead]:
    """Waits for the next head and parses it. Raises PeerError as `take_response_head`, and without a reply when the
    server ends before the head does."""
    while (head := take_response_head(reader, method)) is None:
        yield from reader.wait_for_head(limit=HEAD_LIMIT, overlong=_overlong)
    return head


def _overlong(_: bytes) -> PeerError:
    return refusal(502, f"The head of the server's answer is longer than {HEAD_LIMIT // 1024} KiB.")


def _response_head(head: bytes, method: str) -> ResponseHead:
    """Raises ValueError."""
    doubtful = b"\r" not in head  # an old server that ends every line with LF alone; a mixture is refused
    line, _, lines = head_text(head.replace(b"\n", b"\r\n") if doubtful else head)[:-2].partition("\r\n")
    if b"\n " in head or b"\n\t" in head:
        if lines[:1] in (" ", "\t"):  # RFC 9112 section 2.2: nothing may be folded into the status line
            raise ValueError("there is a space before its first header")
        lines = _FOLD.sub(" ", lines)
        doubtful = True

    match = _STATUS_LINE.match(line)
    if match is None:
        raise ValueError("it does not begin with a status line")
    if lines.count("\r\n") >= FIELD_LIMIT:
        raise ValueError(f"it has more than {FIELD_LIMIT} header fields")
    minor, code, reason = match.groups()
    version = (1, 0) if minor == "0" else (1, 1)
    status = int(code)
    if status == 407 and method != "CONNECT":
        raise ValueError("it asks for a proxy password, which a site must not do")
    _, headers, notable = read_fields(lines, _TABLE, _SWITCHING if status == 101 else _NONE, lenient=True)

    length: int | None = None
    repeated = False
    if (declared := notable.get("content-length")) is not None:
        if repeated := "," in declared:
            lengths = {item.strip(" \t") for item in declared.split(",")}
            if len(lengths) > 1:
                raise ValueError("it declares two lengths")
            declared = lengths.pop()
        length = content_length(declared)
    body = _framing(method, status, version, notable, length)
    options = tokens(notable["connection"]) if "connection" in notable else NO_TOKENS
    # The connection is closed after a doubtful spelling, and after a chunked body with a length (RFC 9112 section 6.1).
    doubtful = doubtful or repeated or (body.kind is BodyKind.CHUNKED and length is not None)
    if doubtful or "close" in options or body.kind is BodyKind.UNTIL_EOF:
        keep_alive = False
    else:
        keep_alive = version >= (1, 1) or "keep-alive" in options
    upgrade = notable.get("upgrade") if status == 101 else None
    if status == 101 and not upgrade:
        raise ValueError("it switches to a protocol without naming it")
    if options and not options <= _USUAL_OPTIONS:
        headers = without(headers, options)
    reason = reason or ""
    passed = "\r\n".join([*map(": ".join, headers), ""])
    return ResponseHead(
        status=status,
        reason=reason,
        version=version,
        headers=tuple(headers),
        passed=passed,
        body=body,
        declared_length=length,
        keep_alive=keep_alive,
        upgrade=upgrade,
        kept=_forwarded(status, reason, passed, body, length, True, upgrade),
    )


_remembered = remembered(16)(_response_head)
"""`_response_head` with a cache: a head is parsed to classify the page, and again to pass it on."""


def _framing(
    method: str, status: int, version: tuple[int, int], notable: dict[str, str], length: int | None
) -> Framing:
    """RFC 9112 section 6.3."""
    if method == "HEAD" or status < 200 or status in (204, 304) or (method == "CONNECT" and status < 300):
        return NO_BODY
    coding = notable.get("transfer-encoding", "identity").lower()  # identity: said by old servers
    if coding != "identity":
        if version == (1, 0):
            raise ValueError("it has a Transfer-Encoding, which HTTP/1.0 does not know")
        if coding != "chunked":
            raise ValueError("its Transfer-Encoding is not chunked, the only supported one")
        return CHUNKED
    return UNTIL_EOF if length is None else Framing(BodyKind.LENGTH, length)
