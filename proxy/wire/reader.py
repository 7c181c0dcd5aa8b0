"""Bytes received and not yet parsed.

A parser is a generator. It takes bytes from a Reader, `yield`s when it needs more, and returns a value or raises. It
does not know where the bytes come from: `net.stream.read_with` drives it from a socket, a test from a list of pieces.
Every read names its limit, so the bytes kept for one peer are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

from proxy.model.errors import PeerError

T = TypeVar("T")
Parser = Generator[None, None, T]
"""Yields when it needs more bytes; returns the parsed value."""


class Reader(bytearray):
    """An input buffer for parsers. It is a bytearray: `len` and indexing, which parsers use all the time, call no
    Python function."""

    ended = False
    """The peer will send no more."""

    def receive_data(self, data: bytes) -> None:
        """Adds bytes from the peer; b"": it has finished sending."""
        if data:
            self.extend(data)
        else:
            self.ended = True

    def fill(self, size: int) -> Parser[None]:
        """Waits until `size` bytes have come, and takes none. Raises PeerError when the peer ends before that."""
        while len(self) < size:
            if self.ended:
                raise self.broken_off()
            yield

    def exactly(self, size: int) -> Parser[bytes]:
        """Takes `size` bytes. Raises PeerError when the peer ends before that."""
        if len(self) < size:
            yield from self.fill(size)
        taken = bytes(self[:size])
        del self[:size]
        return taken

    def until(self, delimiter: bytes, *, limit: int, overlong: PeerError) -> Parser[bytes]:
        """Takes all bytes up to and including `delimiter`. Raises `overlong` when it is not within `limit` bytes,
        PeerError when the peer ends before that."""
        searched = 0  # bytes without it: input byte by byte takes linear time
        while (end := self.find(delimiter, max(0, searched - len(delimiter) + 1), limit)) < 0:
            if len(self) >= limit:
                raise overlong
            if self.ended:
                raise self.broken_off()
            searched = len(self)
            yield
        end += len(delimiter)
        taken = bytes(self[:end])
        del self[:end]
        return taken

    def take_head(self, limit: int) -> bytes | None:
        """Takes all lines up to and including the first empty one. None: there is no empty line within `limit` bytes. A
        line may end in LF alone: a parser that demands CRLF can refuse such a head at once, and need not wait for
        more."""
        end = self.find(b"\n\r\n", 0, limit)
        bare = self.find(b"\n\n", 0, limit if end < 0 else end + 1)
        if end < 0 and bare < 0:
            return None
        size = bare + 2 if bare >= 0 else end + 3
        taken = bytes(self[:size])
        del self[:size]
        return taken

    def wait_for_head(self, *, limit: int, overlong: Callable[[bytes], PeerError]) -> Parser[None]:
        """Waits for a head as `take_head` takes it. Raises `overlong(the first bytes)` when there is no empty line
        within `limit` bytes, PeerError when the peer ends before that."""
        start = 0  # bytes without it: input byte by byte takes linear time
        while self.find(b"\n\r\n", start, limit) < 0 and self.find(b"\n\n", start, limit) < 0:
            if len(self) >= limit:
                raise overlong(bytes(self[:limit]))
            if self.ended:
                raise self.broken_off()
            start = max(0, len(self) - 2)
            yield

    def some(self, limit: int) -> Parser[bytes]:
        """Takes the bytes that have come, 1 to `limit`; waits for the first one. b"": the peer has ended."""
        while not self and not self.ended:
            yield
        return self.take(limit)

    def take(self, limit: int) -> bytes:
        """Takes the bytes that have come, up to `limit`."""
        taken = bytes(self) if len(self) <= limit else bytes(self[:limit])  # usually all: saves a copy
        del self[:limit]
        return taken

    def rest(self) -> bytes:
        """Takes all bytes that have come."""
        taken = bytes(self)
        self.clear()
        return taken

    def broken_off(self) -> PeerError:
        """Returns the error for a peer that ended before the parser had enough."""
        return PeerError(f"the peer closed in the middle of a message ({len(self)} bytes had come)")

    def __repr__(self) -> str:
        return f"<Reader {len(self)} bytes{' ended' if self.ended else ''}>"
