"""What HTTP/1.1 allows an origin to say and mitmproxy's own parser does not know, or does not bound.

An interim answer (100, 103) is the answer to it, and then the page never comes; trailers end its connection in a fault
that leaves both sides waiting; and a head that never ends is kept whole. Here the first two are dropped, as an
intermediary may (RFC 9110 sections 15.2 and 6.5.1), and the last one is refused, as are endless lines between chunks.
"""

from __future__ import annotations

import re

from h11._events import Data, EndOfMessage
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from h11._util import RemoteProtocolError
from mitmproxy.proxy import events, layer, layers
from mitmproxy.proxy.layers.http import _http1

HEAD_LIMIT = 64 * 1024
"""Bytes of an answer's head, as everywhere in Byway."""

_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)\d\d[ \r\n]")  # 101 is a last answer: what follows is another protocol


_HEAD_END = re.compile(rb"\n\r?\n")
_NO_HEAD = b"(a head of more than 64 KiB)\r\n\r\n"  # which mitmproxy refuses as it refuses any bad one


class OriginSide(_http1.Http1Client):
    """The side of a connection that speaks to an origin."""

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        if self.request is not None:
            _drop_interim(self.buf)
            if _is_endless(self.buf):
                self.buf = ReceiveBuffer()
                self.buf += _NO_HEAD
        yield from super().read_headers(event)


class WithoutTrailers(ChunkedReader):
    """Reads a body in chunks, of either side."""

    def __call__(self, buf: ReceiveBuffer) -> Data | EndOfMessage | None:
        event = super().__call__(buf)
        if event is None and len(buf) > HEAD_LIMIT:  # it waits for the end of a line
            raise RemoteProtocolError("a line between chunks, or their trailers, of more than 64 KiB")
        return EndOfMessage() if isinstance(event, EndOfMessage) else event


def take_part() -> None:
    """Has mitmproxy use these from now on."""
    vars(layers.http)["Http1Client"] = OriginSide
    vars(_http1)["ChunkedReader"] = WithoutTrailers


def _is_endless(buf: ReceiveBuffer) -> bool:
    return len(buf) > HEAD_LIMIT and _HEAD_END.search(bytes(buf), 0, HEAD_LIMIT) is None


def _drop_interim(buf: ReceiveBuffer) -> None:
    while _INTERIM.match(bytes(buf)) and buf.maybe_extract_lines() is not None:
        pass
