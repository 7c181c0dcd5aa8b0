"""Bytes received and not yet parsed.

A parser is a generator that asks a Reader for what it needs, `yield`s while there is too little, and returns a value or
raises. It never sees where bytes come from: `net.stream.read_with` drives it from a socket, a test from a list of
pieces. Every read names its limit, so what one peer makes us keep is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

from proxy.model.errors import PeerError

T = TypeVar("T")
Parser = Generator[None, None, T]
"""Yields when it needs more bytes; returns what it parsed."""


class Reader:
    """An input buffer that parsers take from."""

    __slots__ = ("_buffer", "_ended", "_seen")

    def __init__(self, data: bytes = b"") -> None:
        self._buffer = bytearray(data)
        self._ended = False
        self._seen = 0  # how far `until` has searched in vain: bytewise input stays linear

    def __len__(self) -> int:
        return len(self._buffer)

    @property
    def ended(self) -> bool:
        """The peer will send no more."""
        return self._ended

    def receive_data(self, data: bytes) -> None:
        """Adds what came from the peer; b"" says that it has finished sending."""
        if data:
            self._buffer += data
        else:
            self._ended = True

    def exactly(self, size: int) -> Parser[bytes]:
        """`size` bytes. Raises PeerError when the peer ends before."""
        while len(self._buffer) < size:
            yield from self._more()
        return self._take(size)

    def until(self, delimiter: bytes, *, limit: int, overlong: PeerError) -> Parser[bytes]:
        """All up to and including `delimiter`. Raises `overlong` when it is not within `limit` bytes, PeerError when
        the peer ends before."""
        while True:
            start = max(0, self._seen - len(delimiter) + 1)
            end = self._buffer.find(delimiter, start, limit)
            if end >= 0:
                return self._take(end + len(delimiter))
            if len(self._buffer) >= limit:
                raise overlong
            self._seen = len(self._buffer)
            yield from self._more()

    def head(self, *, limit: int, overlong: Callable[[bytes], PeerError]) -> Parser[bytes]:
        """Lines up to and including the first empty one after them, be they ended by CRLF or by LF alone: a parser that
        wants CRLF can so refuse at once what would otherwise keep it waiting. Raises `overlong(what came)` when there
        is no empty line within `limit` bytes, PeerError when the peer ends before."""
        while True:
            start = max(0, self._seen - 2)
            end = self._buffer.find(b"\n\r\n", start, limit)
            bare = self._buffer.find(b"\n\n", start, limit if end < 0 else end + 1)
            if bare >= 0:
                return self._take(bare + 2)
            if end >= 0:
                return self._take(end + 3)
            if len(self._buffer) >= limit:
                raise overlong(bytes(self._buffer[:limit]))
            self._seen = len(self._buffer)
            yield from self._more()

    def some(self, limit: int) -> Parser[bytes]:
        """What has come, 1 to `limit` bytes; b"" at the end."""
        while not self._buffer and not self._ended:
            yield
        return self._take(min(limit, len(self._buffer)))

    def peek(self) -> Parser[int]:
        """The next byte, left where it is. Raises PeerError when the peer ends before."""
        while not self._buffer:
            yield from self._more()
        return self._buffer[0]

    def rest(self) -> bytes:
        """Takes everything that has come."""
        return self._take(len(self._buffer))

    def _take(self, size: int) -> bytes:
        self._seen = 0
        if size == len(self._buffer):  # usual, and one copy less
            taken = bytes(self._buffer)
            self._buffer.clear()
            return taken
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _more(self) -> Parser[None]:
        if self._ended:
            raise PeerError(f"the peer closed in the middle of a message ({len(self._buffer)} bytes had come)")
        yield
