"""Pipes through which the kernel moves bytes from socket to socket, lent one at a time.

A pipe of 1 MiB moves twice as much as one of 64 KiB when many flows run, but an unprivileged user gets about 64 MiB of
them; past that the kernel refuses to enlarge a pipe and makes new ones of 8 KiB. So there is a small pool, and a tunnel
that gets no pipe copies instead. Only an empty pipe is lent again: bytes of one tunnel must not reach another.
"""

from __future__ import annotations

import fcntl
import os

PIPE_SIZE = 1024 * 1024
"""Bytes of one pipe."""

PIPE_LIMIT = 40
"""The largest number of pipes: they take 40 of the 64 MiB of a user; the rest is for the user's other programs."""

_SET_PIPE_SIZE = getattr(fcntl, "F_SETPIPE_SZ", 1031)  # Linux, the only system with splice


class Pipe:
    """Two descriptors, and the number of bytes in the pipe."""

    __slots__ = ("buffered", "reader", "writer")

    def __init__(self) -> None:
        """Raises OSError when there are no descriptors, or when the kernel refuses the size."""
        self.buffered = 0
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(self.writer, _SET_PIPE_SIZE, PIPE_SIZE)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


class PipePool:
    """Makes pipes on demand, and reuses them."""

    def __init__(self, *, limit: int = PIPE_LIMIT) -> None:
        self.lent = 0
        self._limit = limit
        self._idle: list[Pipe] = []

    @property
    def idle(self) -> int:
        return len(self._idle)

    def take(self) -> Pipe | None:
        """Returns an empty pipe, which the caller gives back; None when all are lent or the kernel refuses another."""
        if self._idle:
            self.lent += 1
            return self._idle.pop()
        if self.lent >= self._limit:
            return None
        try:
            pipe = Pipe()
        except OSError:  # no descriptor left, or the user's share of pipes is used up: copying needs neither
            return None
        self.lent += 1
        return pipe

    def give(self, pipe: Pipe) -> None:
        """Takes a pipe back. Closes it if it still holds bytes, or if the pool was closed."""
        self.lent -= 1
        if pipe.buffered or self.lent + len(self._idle) >= self._limit:
            pipe.close()
        else:
            self._idle.append(pipe)

    def close(self) -> None:
        """Closes the idle pipes, and each lent one when it comes back."""
        self._limit = 0
        while self._idle:
            self._idle.pop().close()
