"""Decompresses a gzip body (RFC 1952) within a limit: a kilobyte can stand for a megabyte of zeros."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

PIECE = 256 * 1024
"""Bytes of content that one call decompresses at most. Between calls the limit is checked and other threads run."""

_GZIP_ONLY = 16 + zlib.MAX_WBITS


def gunzip(data: bytes, *, limit: int) -> bytes:
    """Returns the content of `data`. Raises ValueError with half a sentence if it is not gzip, is cut short, goes on
    after its end, or has content of more than `limit` bytes."""
    content = bytearray()
    for piece in _pieces(data):
        content += piece
        if len(content) > limit:
            raise ValueError(f"decompresses to more than {limit:,} bytes")
    return bytes(content)


def _pieces(data: bytes) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(_GZIP_ONLY)
    rest = data
    while not decompressor.eof:
        try:
            piece = decompressor.decompress(rest, PIECE)
        except zlib.error:
            raise ValueError("is not the gzip that it claims to be") from None
        rest = decompressor.unconsumed_tail
        if not piece and not rest and not decompressor.eof:
            raise ValueError("is cut short")
        yield piece
    if decompressor.unused_data:
        raise ValueError("goes on after the end of its gzip")
