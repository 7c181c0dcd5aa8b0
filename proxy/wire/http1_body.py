"""Reads the body of an HTTP/1.x message to its end, piece by piece.

A chunked body is decoded strictly and encoded again in our own chunks (RFC 9112 section 7.1). Extensions and trailers
are dropped, so no server receives an ambiguous chunk line. At most PIECE bytes are held at once.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from enum import StrEnum

from proxy.model.errors import PeerError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.reader import Reader

PIECE = 64 * 1024
"""Bytes of the largest piece of content."""

CHUNK_LINE_LIMIT = 256
"""Bytes of the longest line with a chunk's size and extensions; usual lines are below 10."""

TRAILER_LIMIT = 16 * 1024

LAST_CHUNK = b"0\r\n\r\n"

Pieces = Generator[bytes | None, None, None]
"""Yields the content in order, and None when the reader needs more bytes. Ends with the body."""

# The size is below 2^60. Extensions are skipped; they may hold no control character.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r\n\Z")


class BodyKind(StrEnum):
    """How the end of a body is found."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_EOF = "until_eof"


@frozen_dataclass
class Framing:
    """The extent of one body. `length` is for LENGTH only."""

    kind: BodyKind
    length: int = 0

    @property
    def is_empty(self) -> bool:
        """Not a byte follows the head."""
        return self.kind is BodyKind.NONE or (self.kind is BodyKind.LENGTH and self.length == 0)


NO_BODY = Framing(BodyKind.NONE)
CHUNKED = Framing(BodyKind.CHUNKED)
UNTIL_EOF = Framing(BodyKind.UNTIL_EOF)


def read_body(reader: Reader, framing: Framing) -> Pieces:
    """Yields the content of a body in pieces of 1 to PIECE bytes. Bytes after the body stay in the reader.

    Raises PeerError, without a reply, when the peer ends before the body does, or a chunk is malformed.
    """
    match framing.kind:
        case BodyKind.NONE | BodyKind.LENGTH:
            return _counted(reader, framing.length)
        case BodyKind.CHUNKED:
            return _gathered(_chunks(reader))
        case BodyKind.UNTIL_EOF:
            return _until_eof(reader)


def encode_chunk(piece: bytes) -> bytes:
    """Returns one chunk. `piece` is not empty: an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def _counted(reader: Reader, left: int) -> Pieces:
    while left:
        if reader:
            piece = reader.take(min(left, PIECE))
            left -= len(piece)
            yield piece
        elif reader.ended:
            raise PeerError(f"the peer closed {left} bytes before the end of its body")
        else:
            yield None


def _until_eof(reader: Reader) -> Pieces:
    while piece := (yield from reader.some(PIECE)):
        yield piece


def _chunks(reader: Reader) -> Pieces:
    """Yields the content of each chunk as it comes, then skips the trailers."""
    overlong = PeerError(f"a chunk's size line is longer than {CHUNK_LINE_LIMIT} bytes")
    while True:
        line = yield from reader.until(b"\n", limit=CHUNK_LINE_LIMIT, overlong=overlong)
        match = _CHUNK_LINE.match(line)
        if match is None:
            raise PeerError("a chunk's size line is malformed")
        size = int(match[1], 16)
        if not size:
            break
        yield from _counted(reader, size)
        if (yield from reader.exactly(2)) != b"\r\n":
            raise PeerError("a chunk does not end where its size says")
    yield from _skip_trailers(reader)


def _skip_trailers(reader: Reader) -> Generator[None, None, None]:
    """Drops the trailers: they come too late to be checked (RFC 9110 section 6.5.1)."""
    left = TRAILER_LIMIT
    overlong = PeerError(f"the trailers are longer than {TRAILER_LIMIT} bytes")
    while (line := (yield from reader.until(b"\n", limit=left, overlong=overlong))) != b"\r\n":
        if not line.endswith(b"\r\n"):
            raise PeerError("a trailer line does not end in CRLF")
        left -= len(line)


def _gathered(pieces: Pieces) -> Pieces:
    """Joins small pieces that have come, so that a body of one-byte chunks is not sent byte by byte."""
    joined = bytearray()
    for piece in pieces:
        passes = piece is None or len(piece) > PIECE // 2
        if joined and (passes or len(joined) + len(piece or b"") > PIECE):
            yield bytes(joined)
            joined.clear()
        if passes:
            yield piece
        else:
            joined += piece or b""
    if joined:
        yield bytes(joined)
