"""The client of a session: its stream, the bytes it sent ahead, and whether it is still there.

While a race runs, the client may send more or leave: its stream notifies the race or the exchange, which then calls
`waits`. Once the pump or the control server owns the stream, the session must not touch it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TypeVar

from proxy.config.schema import Limits
from proxy.model import ClosedBy, Protocol
from proxy.net.deadline import deadline
from proxy.net.notify import Notify
from proxy.net.race.race import OpenPath, Race
from proxy.net.stream import SocketStream
from proxy.wire.flight import Flight
from proxy.wire.reader import Parser, Reader

T = TypeVar("T")

PULL_LIMIT = 128 * 1024
"""Bytes read from a client before any server byte has come back."""


class Client:
    """One client. Its session closes it, unless it is `handed_over`."""

    __slots__ = ("handed_over", "has_left", "news", "reader", "stream", "unsent_reply")

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self.news = Notify()
        """Set by the stream."""
        stream.notify = self.news.set
        self.reader = Reader()
        """Bytes that were received and not parsed yet."""
        self.has_left = False
        self.handed_over = False
        """The pump or the control server owns the stream."""
        self.unsent_reply = b""
        """The part of the handshake that is not sent yet."""

    def renew_news(self) -> None:
        """Makes a new Notify for the client. The old one stays with the task that waits for it."""
        self.news = Notify()
        self.stream.notify = self.news.set

    async def read(self, parser: Parser[T], ends_at: float) -> T:
        """Runs a wire parser on the bytes of the client. Bytes that the parser leaves stay in `reader`. Raises
        TimeoutError at `ends_at`, by the loop's clock; OSError when the client has left; PeerError as the parser
        does."""
        try:
            while True:
                if self.reader or self.reader.ended:
                    next(parser)
                await self.receive(ends_at)
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            parser.close()

    async def receive(self, ends_at: float) -> None:
        """Waits for the client's next bytes or EOF, and adds them to `reader`. Raises as `read`."""
        stream, loop = self.stream, asyncio.get_running_loop()
        while stream.drained or (data := stream.receive_nowait()) is None:
            if loop.time() >= ends_at:
                raise TimeoutError
            await self.news.wait(ends_at)
        self.reader += data
        self.reader.ended = not data

    def waits(self) -> bool:
        """Whether the client is still there, before a route has connected. Keeps the bytes that it sends ahead."""
        reader = self.reader
        self.has_left = not self._read_ahead() or (reader.ended and not reader)
        return not self.has_left

    def waits_for_answer(self) -> bool:
        """Whether the client is still there after a whole request. It may have finished sending."""
        self.has_left = not self._read_ahead()
        return not self.has_left

    def read_flight(self, flight: Flight) -> bool:
        """Moves received bytes into the flight. Returns whether the client is still there.

        A TLS client that sends EOF before the handshake has left. Another client may just have nothing more to
        send."""
        stream, is_open = self.stream, True
        if not stream.drained:
            try:
                while not (stream.drained or flight.ended) and len(flight.data) < PULL_LIMIT:
                    if (data := stream.receive_nowait()) is None:
                        break
                    flight.receive_data(data)
            except OSError:
                is_open = False
            ends = flight.ended and (not flight.data or flight.protocol is Protocol.TLS)
            self.has_left = ends or not is_open
        return not self.has_left

    async def receive_flight(self, flight: Flight, race: Race, limits: Limits) -> OpenPath:
        """Waits for the flight, after "connected" was sent; nothing is sent on the path meanwhile. Browsers open
        tunnels ahead of need, so the flight may come after the path has closed. If the server speaks first, the wait
        ends.

        Feeds `flight` until it is complete, the server has spoken, the client has left, or the time is over:
        `idle_timeout_s`, and `late_flight_s` once the path has closed. Returns the state of the path."""
        loop = asyncio.get_running_loop()
        ends_at, path = loop.time() + limits.idle_timeout_s, OpenPath.QUIET
        while self.read_flight(flight) and not flight.complete:
            was_closed, path = path is OpenPath.CLOSED, race.poll_open_path()
            if path is OpenPath.SERVER_FIRST:
                return path
            if path is OpenPath.CLOSED and not was_closed:
                ends_at = min(ends_at, loop.time() + limits.late_flight_s)
            if loop.time() >= ends_at:  # an incomplete flight notifies, too
                break
            await self.news.wait(ends_at)
        return race.poll_open_path()

    def ended(self, otherwise: ClosedBy) -> ClosedBy:
        """Returns who ended a connection on which no route delivered: the client if it has left, else `otherwise`."""
        return ClosedBy.CLIENT if self.has_left else otherwise

    def reply(self, data: bytes) -> None:
        """Answers in a handshake: sends `data` at the end of this pass of the loop, together with the replies to other
        clients. All that this object sends later comes after it. A caller that writes to the stream itself calls
        `send_reply` first, when there is an `unsent_reply`."""
        is_first = not self.unsent_reply
        self.unsent_reply += data
        if is_first:
            self.stream.poller.at_pass_end(self.send_reply)

    def send_reply(self) -> None:
        """Sends the `unsent_reply`, if there is one."""
        reply, self.unsent_reply = self.unsent_reply, b""
        if not reply:
            return
        try:
            is_sent = self.stream.send_nowait(reply) == len(reply)
        except OSError:
            is_sent = False
        if not is_sent:  # the client has left: the buffer of a new connection has room for a reply
            self.stream.abort()
            self.news.set()

    def close(self) -> None:
        """Closes the stream, and ends every wait for news of it."""
        self.send_reply()
        self.stream.close()
        self.news.close()

    async def finish(self, reply: bytes, linger_s: float) -> None:
        """Sends a final answer, then reads for `linger_s` at most: closing with unread bytes would reset the connection
        and could destroy the answer on its way (RFC 9112, section 9.6)."""
        if not reply:
            return
        self.send_reply()
        with contextlib.suppress(OSError, TimeoutError), deadline(linger_s):
            await self.stream.send(reply)
            self.stream.send_eof()
            while await self.stream.receive():
                pass

    def _read_ahead(self) -> bool:
        """Reads up to PULL_LIMIT, without waiting. Returns False when the connection broke."""
        stream, reader = self.stream, self.reader
        while not stream.drained and len(reader) < PULL_LIMIT and not reader.ended:
            try:
                data = stream.receive_nowait()
            except OSError:
                return False
            if data is None:
                break
            reader.receive_data(data)
        return True

    def __repr__(self) -> str:
        words = [self.stream.peer, "left" if self.has_left else "", "handed over" if self.handed_over else ""]
        return f"<Client {' '.join(filter(None, words))}>"
