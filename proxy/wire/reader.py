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


class Reader(bytearray):
    """An input buffer that parsers take from. It is a bytearray, so that to look at its length or first byte, which
    everybody does all the time, is no call of a Python function."""

    ended = False
    """The peer will send no more."""

    def receive_data(self, data: bytes) -> None:
        """Adds what came from the peer; b"" says that it has finished sending."""
        if data:
            self.extend(data)
        else:
            self.ended = True

    def fill(self, size: int) -> Parser[None]:
        """Waits until `size` bytes are there, and takes none. Raises PeerError when the peer ends before."""
        while len(self) < size:
            if self.ended:
                raise self.broken_off()
            yield

    def exactly(self, size: int) -> Parser[bytes]:
        """`size` bytes. Raises PeerError when the peer ends before."""
        if len(self) < size:
            yield from self.fill(size)
        taken = bytes(self[:size])
        del self[:size]
        return taken

    def until(self, delimiter: bytes, *, limit: int, overlong: PeerError) -> Parser[bytes]:
        """All up to and including `delimiter`. Raises `overlong` when it is not within `limit` bytes, PeerError when
        the peer ends before."""
        searched = 0  # so much in vain: bytewise input stays linear
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
        """Lines up to and including the first empty one after them, be they ended by CRLF or by LF alone: a parser that
        wants CRLF can so refuse at once what would otherwise keep it waiting. None: there is no empty line within
        `limit` bytes."""
        end = self.find(b"\n\r\n", 0, limit)
        bare = self.find(b"\n\n", 0, limit if end < 0 else end + 1)
        if end < 0 and bare < 0:
            return None
        size = bare + 2 if bare >= 0 else end + 3
        taken = bytes(self[:size])
        del self[:size]
        return taken

    def wait_for_head(self, *, limit: int, overlong: Callable[[bytes], PeerError]) -> Parser[None]:
        """Waits for what `take_head` takes. Raises `overlong(what came)` when there is no empty line within `limit`
        bytes, PeerError when the peer ends before."""
        start = 0  # so much was searched in vain: bytewise input stays linear
        while self.find(b"\n\r\n", start, limit) < 0 and self.find(b"\n\n", start, limit) < 0:
            if len(self) >= limit:
                raise overlong(bytes(self[:limit]))
            if self.ended:
                raise self.broken_off()
            start = max(0, len(self) - 2)
            yield

    def some(self, limit: int) -> Parser[bytes]:
        """What has come, 1 to `limit` bytes; b"" at the end."""
        while not self and not self.ended:
            yield
        return self.take(limit)

    def take(self, limit: int) -> bytes:
        """What has come, up to `limit` bytes."""
        taken = bytes(self) if len(self) <= limit else bytes(self[:limit])  # usually all: one copy less
        del self[:limit]
        return taken

    def rest(self) -> bytes:
        """Takes everything that has come."""
        taken = bytes(self)
        self.clear()
        return taken

    def broken_off(self) -> PeerError:
        """The error of a parser that needs more than the peer has sent."""
        return PeerError(f"the peer closed in the middle of a message ({len(self)} bytes had come)")

    def __repr__(self) -> str:
        return f"<Reader {len(self)} bytes{' ended' if self.ended else ''}>"
