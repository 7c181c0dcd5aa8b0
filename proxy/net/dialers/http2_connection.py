"""One HTTP/2 connection to an https relay, and the tunnels in it.

A `ConnectStream` is a Stream as any other: the race and the pump do not know that it shares a connection. Nothing here
has a task while bytes move: the connection reads when its TLS stream is ready, hands each stream its bytes, and then
wakes the streams; each of them flushes what it sends. What a stream's reader has not taken waits in that stream, within
its window (`wire.connect_http2`).

A connection that answers nothing while a CONNECT waits gets a PING, and counts as frozen if that is not answered
either: nothing new is opened on it. An idle connection sends nothing, and is closed after IDLE_S.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections import deque

from proxy.model.errors import PeerError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.deadline import PASSES
from proxy.net.dialers.tls import LINGER_S, TlsStream
from proxy.net.kernel.tcp_info import segments_received
from proxy.net.loop.timers import Timer, call_at, cancel
from proxy.net.stream import CHUNK, Stream
from proxy.net.tasks import spawn
from proxy.wire.connect_http2 import Answered, ConnectHttp2, Ended, Received, Reset, TunnelEvent, WindowOpened

IDLE_S = 30.0
"""Seconds without a tunnel after which a connection is closed: as for encrypted DNS. Few relays wait longer."""

QUIET_S = 1.5
"""Seconds without a byte of the relay, while a CONNECT waits, after which it gets a PING: longer than a round trip and
a lost segment take. Twice as many after each PING that was answered: then the destination is slow."""

PING_S = 2.0
"""Seconds for the answer to a PING. After them the connection counts as frozen."""

BULK = 1024 * 1024
"""Bytes of a tunnel, both ways, from which on new tunnels rather go over another connection."""

ACTIVE_S = 1.0

_TURN = 8 * CHUNK
"""Bytes after which a connection lets other sockets go first."""

_UNSENT_LIMIT = 4 * CHUNK
"""Bytes for the relay, above which nothing is read from it."""


_SMALL = 4096
"""Bytes of a piece to which the next one is added, so that many small ones take no more memory than their bytes."""


@frozen_dataclass
class Lost:
    """The connection was lost before the CONNECT was answered. `error`: how; None: it is frozen."""

    error: OSError | PeerError | None


class Http2Connection:
    """See the module's docstring. Owns `stream`, on which TLS is established and h2 was selected."""

    def __init__(self, stream: TlsStream) -> None:
        self.stream = stream
        self.http2 = ConnectHttp2()
        self.streams: dict[int, ConnectStream] = {}  # those whose end the relay does not know, or we do not
        self.bulk_streams = 0  # of these, with more than BULK bytes
        self.held_s = 0.0
        """Seconds for which Byway itself held back the opening."""
        self.segments = self.losses = 0
        """Segments with data that have come, and the losses that were seen among them. Reordering looks the same."""
        self._behind_gaps = 0  # segments
        self._loop = asyncio.get_running_loop()
        self.opened_at = self.heard_at = self._loop.time()
        self.opened_since = time.time()
        """The time of its opening, in seconds since the epoch."""
        self._unsent = memoryview(b"")
        self._blocked: dict[ConnectStream, None] = {}  # they want to send, and the connection takes nothing now
        self._reads_bulk = False
        self._send_error: OSError | None = None
        self._is_over = False
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._idle: asyncio.TimerHandle | None = None
        self._check: Timer | None = None
        self._pinged_at = 0.0
        self._quiet_s = QUIET_S
        stream.notify = self._ready
        spawn(self._end_with_the_loop(), name="connection to a relay")
        self._flush()
        self._wait_idle()

    # -- for its users ---------------------------------------------------------------------------------------------

    @property
    def can_open(self) -> bool:
        return not self._is_over and self.http2.can_open

    @property
    def is_ending(self) -> bool:
        """Whether no tunnel may be opened any more. Those that are open go on."""
        return self._is_over or self.http2.is_ending

    @property
    def active_streams(self) -> int:
        """The number of tunnels that wait for an answer, or got bytes within ACTIVE_S."""
        since = self._loop.time() - ACTIVE_S
        return sum(stream.is_waiting or stream.moved_at > since for stream in self.streams.values())

    @property
    def unsent(self) -> int:
        """Bytes that the relay has not taken."""
        return len(self._unsent) + self.http2.unsent

    def open(self, authority: str, credentials: str = "") -> ConnectStream:
        """Sends the CONNECT for `host:port`. The caller awaits `answer` of the stream, and closes it."""
        number = self.http2.open(authority, credentials)
        stream = self.streams[number] = ConnectStream(self, number)
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._check is None:
            self._look_at(self._loop.time() + self._quiet_s)
        self._flush()
        self._note_ending()
        return stream

    def retire(self) -> None:
        """Lets the tunnels go on, and opens no other."""
        self.http2.is_ending = True
        self._note_ending()

    def abort(self) -> None:
        """Breaks off all tunnels."""
        self._lose(ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED)))

    # -- for its streams -------------------------------------------------------------------------------------------

    def send(self, stream: ConnectStream, data: bytes | memoryview) -> int:
        """Sends a prefix of `data` on the stream, which is woken when more can be sent. Returns its length."""
        view, sent = memoryview(data), 0
        while sent < len(view) and not len(self._unsent):
            count = self.http2.send_data(stream.number, view[sent:])
            if not count:
                break
            sent += count
            self._flush()
        if sent < len(view):
            if len(self._unsent) or not self.http2.has_room:
                self._blocked[stream] = None
            else:
                stream.awaits_window = True
        return sent

    def taken(self, stream: ConnectStream, count: int, *, keeps_up: bool) -> None:
        """The reader of the stream has taken bytes."""
        self.http2.taken(stream.number, count, keeps_up=keeps_up)
        self._flush()

    def finish(self, stream: ConnectStream) -> None:
        """Ends our direction of the stream, behind the bytes sent."""
        self.http2.end(stream.number)
        self._flush()
        self._settle(stream)

    def reset(self, stream: ConnectStream) -> None:
        self.http2.reset(stream.number)
        self._flush()
        self._settle(stream)

    # -- bytes -----------------------------------------------------------------------------------------------------

    def _ready(self) -> None:
        """The TLS stream is ready, or broke."""
        left = _TURN
        self._flush()
        while left > 0 and (size := self._receive()):
            left -= size
        if left <= 0:
            self._loop.call_soon(self._ready)
        for _ in range(len(self._blocked)):  # in turn: one that fills the connection comes last the next time
            if len(self._unsent) or not self.http2.has_room or not self._blocked:
                break
            stream = next(iter(self._blocked))
            del self._blocked[stream]
            stream.wake()

    def _receive(self) -> int:
        """Reads once, and wakes the streams that have news. Returns the number of bytes; 0: there are none now."""
        if self._is_over or self.unsent > _UNSENT_LIMIT:
            return 0
        woken: dict[ConnectStream, None] = {}
        try:
            data = self.stream.lend_nowait(2 * CHUNK if self._reads_bulk else CHUNK)
            if data:
                self.heard_at = self._loop.time()
                self._look_for_losses()
                for event in self.http2.receive_data(data, self.heard_at):
                    self._handle(event, woken)
                for stream in woken:
                    stream.keep()  # copies what is lent
            elif data is not None:
                raise ConnectionAbortedError(errno.ECONNABORTED, "the relay closed the connection")
            elif self._send_error is not None:
                raise self._send_error
        except (OSError, PeerError) as error:
            self._lose(error)
            return 0
        if not data:
            return 0
        size = len(data)
        self._reads_bulk = size >= CHUNK
        self._flush()
        self._note_ending()
        for stream in woken:
            stream.wake(reads=True)
        return size

    def _look_for_losses(self) -> None:
        """Bytes have come. What came behind a gap was not readable before the gap was filled, so segments behind one
        that are new since the read before it are one loss, however many they are: mostly a whole window."""
        self.segments, behind_gaps = segments_received(self.stream.lowest_socket)
        self.losses += behind_gaps > self._behind_gaps
        self._behind_gaps = behind_gaps

    def _handle(self, event: TunnelEvent, woken: dict[ConnectStream, None]) -> None:
        match event:
            case Received(stream=number, data=data):
                if (stream := self.streams.get(number)) is not None:
                    stream.put(data)
                    woken[stream] = None
            case WindowOpened(stream=0):
                woken.update(dict.fromkeys(stream for stream in self.streams.values() if stream.awaits_window))
            case WindowOpened(stream=number):
                if (stream := self.streams.get(number)) is not None and stream.awaits_window:
                    woken[stream] = None
            case Answered(stream=number):
                if (stream := self.streams.get(number)) is not None:
                    stream.settle(event)
                    self._settle(stream)
            case Ended(stream=number):
                if (stream := self.streams.get(number)) is not None:
                    stream.ended()
                    woken[stream] = None
                    self._settle(stream)
            case Reset(stream=number):
                if (stream := self.streams.get(number)) is not None:
                    stream.broke(event)
                    woken[stream] = None
                    self._settle(stream)

    def _flush(self) -> None:
        """Hands on what is to be sent, as far as the kernel takes it."""
        if self._is_over or self._send_error is not None:
            return
        try:
            while True:
                if not len(self._unsent):
                    self._unsent = memoryview(self.http2.data_to_send())
                    if not len(self._unsent):
                        return
                sent = self.stream.send_nowait(self._unsent)
                if not sent:
                    return
                self._unsent = self._unsent[sent:]
        except OSError as error:
            # What the relay sent before may be unread. It is read from the loop: the caller may be one of the tunnels.
            self._send_error, self._unsent = error, memoryview(b"")
            self._loop.call_soon(self._ready)

    def note_bulk(self) -> None:
        self.bulk_streams += 1

    # -- its end ---------------------------------------------------------------------------------------------------

    def _settle(self, stream: ConnectStream) -> None:
        """Forgets a stream that is over on both sides."""
        if self.http2.has(stream.number) or self.streams.pop(stream.number, None) is None:
            return
        self._blocked.pop(stream, None)
        self.bulk_streams -= stream.is_bulk
        if not self.streams and not self._is_over:
            self._note_ending()
            self._wait_idle()

    def _note_ending(self) -> None:
        if self._is_over or not self.http2.is_ending:
            return
        if not self.streams:
            self._close()

    def _wait_idle(self) -> None:
        if not self._is_over and self._idle is None:
            self._idle = self._loop.call_later(IDLE_S, self._close)

    def _close(self) -> None:
        """Closes a connection without streams."""
        self.http2.go_away()
        self._flush()
        if not self._is_over:
            self._stop()
            self.stream.close()

    def _lose(self, error: OSError | PeerError) -> None:
        """The connection is gone: so are its tunnels. They are told from the loop."""
        if self._is_over:
            return
        if isinstance(error, PeerError):
            self._flush()  # the reason
        lost, self.streams = list(self.streams.values()), {}
        self._stop()
        self.stream.abort()
        for stream in lost:
            stream.lost(error)
            self._loop.call_soon(stream.wake)

    def _stop(self) -> None:
        self._is_over = self.http2.is_ending = True
        self._blocked.clear()
        self.stream.notify = None
        if self._idle is not None:
            self._idle.cancel()
        if self._check is not None:
            cancel(self._check)
            self._check = None
        if not self._over.done():
            self._over.set_result(None)

    async def _end_with_the_loop(self) -> None:
        """Leaves nothing open when all tasks are cancelled, as at the end of a run."""
        try:
            await self._over
        finally:
            self.abort()

    # -- frozen ----------------------------------------------------------------------------------------------------

    def _look_at(self, when: float) -> None:
        self._check = call_at(when, self._look, passes=PASSES)

    def _look(self) -> None:
        """Looks whether the relay is still there, while a CONNECT waits."""
        self._check = None
        waiting = [stream for stream in self.streams.values() if stream.is_waiting]
        if not waiting:
            self._quiet_s = QUIET_S
            return
        now = self._loop.time()
        if self._pinged_at > self.heard_at:
            if now < self._pinged_at + PING_S:
                self._look_at(self._pinged_at + PING_S)
                return
            self.retire()
            for stream in waiting:
                stream.settle(Lost(None))
            return
        quiet_since = max(self.heard_at, min(stream.asked_at for stream in waiting))
        if now < quiet_since + self._quiet_s:
            self._look_at(quiet_since + self._quiet_s)
            return
        self._quiet_s *= 2
        self._pinged_at = now
        self.http2.ping()
        self._flush()
        self._look_at(now + PING_S)

    def __repr__(self) -> str:
        return f"<Http2Connection {self.stream.peer} {self.http2!r}>"


class ConnectStream(Stream):
    """A tunnel in a connection."""

    __slots__ = (
        "_closed", "_connection", "_ends", "_eof_sent", "_error", "_grows", "_is_paused", "_lent", "_linger", "_moved",
        "_pieces", "_size", "answer", "asked_at", "awaits_window", "is_bulk", "moved_at", "number",
    )  # fmt: skip

    is_shared = True

    def __init__(self, connection: Http2Connection, number: int) -> None:
        super().__init__(connection.stream.peer)
        loop = asyncio.get_running_loop()
        self.number = number
        self.answer: asyncio.Future[Answered | Reset | Lost] = loop.create_future()
        self.asked_at = loop.time()
        self.awaits_window = False  # it wants to send, and the relay has to open its window first
        self.is_bulk = False
        self.moved_at = 0.0  # when bytes came last
        self._connection = connection
        self._lent: list[memoryview] = []  # bytes that came in the chunk which is being read
        self._pieces: deque[bytes] = deque()  # those that wait for the reader
        self._size = 0
        self._moved = 0
        self._error: tuple[int, str] | None = None  # errno and text of each further call
        self._ends = False  # the relay has finished sending
        self._eof_sent = False
        self._closed = False
        self._grows = True  # its window may
        self._is_paused = False
        self._linger: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        return not self.answer.done()

    @property
    def plain_socket(self) -> socket.SocketType | None:
        return None

    @property
    def lowest_socket(self) -> socket.SocketType:
        return self._connection.stream.lowest_socket

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self._size:
            data = self._take(limit)
            is_empty = not self._size
            self.finished = is_empty and self._ends
            self.drained = is_empty and not self._has_ended
            self._count(len(data))
            self._connection.taken(self, len(data), keeps_up=is_empty and self._grows)
            return data
        if self._ends:
            return b""
        if self._error is not None:
            raise OSError(*self._error)
        self.drained = True
        return None

    def _take(self, limit: int) -> bytes:
        """Returns the first bytes that wait."""
        pieces, taken, room = self._pieces, [], limit
        while pieces and len(pieces[0]) <= room:
            taken.append(pieces.popleft())
            room -= len(taken[-1])
        if not taken:
            taken.append(pieces[0][:limit])
            pieces[0] = pieces[0][limit:]
        data = taken[0] if len(taken) == 1 else b"".join(taken)
        self._size -= len(data)
        return data

    def send_nowait(self, data: bytes | memoryview) -> int:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self._error is not None:
            raise OSError(*self._error)
        if self._eof_sent:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        sent = self._connection.send(self, data)
        self._count(sent)
        return sent

    def send_eof(self) -> None:
        if not self._eof_sent:
            self._eof_sent = True
            if self._error is None:
                self._connection.finish(self)

    def close(self) -> None:
        if self._closed:
            return
        self.send_eof()
        self._close()
        if not self._ends and self._error is None:  # the relay may still have bytes of ours to deliver
            self._linger = asyncio.get_running_loop().call_later(LINGER_S, self._connection.reset, self)

    def abort(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
        self._close()
        if self._error is None:
            self._connection.reset(self)

    def _close(self) -> None:
        self._closed = self._eof_sent = True
        self.drained = self.finished = False
        self._pieces.clear()
        self._size = 0
        self.settle(Lost(ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))))
        self._resume(receiver=True, sender=True)  # their next call raises EBADF

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        if self._size:
            asyncio.get_running_loop().call_soon(self.wake)

    def unread_error(self) -> int:
        return 0 if self._error is None or self._ends else self._error[0]

    def bound_window(self, size: int) -> None:
        self._grows = False  # it begins with a small one

    def give_up_connection(self) -> None:
        self._connection.retire()

    def _count(self, size: int) -> None:
        self._moved += size
        if self._moved >= BULK and not self.is_bulk and self._connection.http2.has(self.number):
            self.is_bulk = True
            self._connection.note_bulk()

    # -- called by its connection ----------------------------------------------------------------------------------

    def put(self, data: memoryview) -> None:
        """Takes bytes of the relay, which are lent until `keep`."""
        if not self._closed:  # else they are discarded, and the relay's window gets no larger
            self._lent.append(data)

    def keep(self) -> None:
        """Copies what `put` has taken, at once: a frame has 16 KiB, and a chunk several."""
        if not self._lent:
            return
        kept = b"".join(self._lent)
        self._lent.clear()
        self._size += len(kept)
        self.moved_at = self._connection.heard_at
        if self._pieces and len(self._pieces[-1]) + len(kept) <= _SMALL:
            kept = self._pieces.pop() + kept
        self._pieces.append(kept)
        self.drained = False

    def ended(self) -> None:
        self._ends = True
        self.drained = False
        self.finished = not (self._size or self._lent)
        self._stop_linger()

    def broke(self, reset: Reset) -> None:
        """The relay reset the stream. After its end, it only takes no more."""
        code = errno.EPIPE if self._ends else errno.ECONNRESET
        self._break(code, os.strerror(code))
        self.settle(reset)

    def lost(self, error: OSError | PeerError) -> None:
        """The connection is gone."""
        number = error.errno if isinstance(error, OSError) and error.errno in _PASSED_ON else errno.ECONNABORTED
        self._break(number, os.strerror(number))
        self.settle(Lost(error))

    def settle(self, answer: Answered | Reset | Lost) -> None:
        """Gives the answer to whoever waits for it."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def wake(self, *, reads: bool = False) -> None:
        """Wakes the owner. `reads`: there may be bytes, which do not wake it in a pause."""
        if self._closed or (reads and self._is_paused and not self.awaits_window and not self._has_ended):
            return
        self.awaits_window = False
        self._wake(receiver=True, sender=True)

    @property
    def _has_ended(self) -> bool:
        return self._ends or self._error is not None

    def _break(self, number: int, text: str) -> None:
        self._error = number, text
        self.drained = False
        self._stop_linger()

    def _stop_linger(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None


_PASSED_ON = (errno.ECONNRESET, errno.ETIMEDOUT)
