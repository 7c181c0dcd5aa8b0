"""Carries bytes both ways between two streams once a route has won.

A tunnel has no task and no timer: it moves bytes when one of its streams becomes ready, until a call would block, and
holds no memory while it is idle. A direction reads only when all that it read before is delivered, so it never holds
more than 128 KiB outside the kernel. Where both ends are plain sockets, a flow that fills whole chunks is spliced
through a borrowed pipe. Ends are passed on as they came: EOF as EOF, a reset as a reset. The pump never inspects or
retries anything.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
from collections import deque
from collections.abc import Callable
from dataclasses import field

from proxy.model import ClosedBy
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.stream import CHUNK, EndedByByway, Stream
from proxy.net.tunnel.pipes import PIPE_SIZE, Pipe, PipePool

CAN_SPLICE = hasattr(os, "splice") and hasattr(select, "epoll")
"""splice(2) bypasses the streams' own reads, which would arm a LoopPoller again, so it needs edge-triggered epoll."""

_BULK_READ = 2 * CHUNK
"""Bytes that bulk copies at a time to a plain socket, which has no buffer outside the kernel: a fifth less CPU than
with one CHUNK (measured)."""

_TURN = 8 * CHUNK
"""Bytes after which a direction lets the others go first: copied or spliced, a few tenths of a millisecond."""

_WORTH_SPLICING = CHUNK // 4
"""Below this size a splice costs more (two system calls) than a copy: the flow copies until a chunk is full again."""

_FLAGS = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)

HEAD_BYTES = 16
"""Bytes from the client that are kept to the end of a tunnel: they show whether it accepted a certificate."""

_SWEEPS = 8
"""Sweeps within the shorter limit, so that a tunnel ends at most a fourth of the shorter limit too late."""

_SWEEP_MAX_S = 30.0


@frozen_dataclass
class TunnelResult:
    """The end of a tunnel. A byte counts once the kernel has taken it for the receiving side."""

    bytes_up: int
    bytes_down: int
    closed_by: ClosedBy  # who finished or broke off first
    error: str = ""  # one sentence; empty when both sides finished in an orderly way
    head_up: bytes = field(default=b"", compare=False)
    """The first HEAD_BYTES that came from the client."""

    @property
    def was_reset(self) -> bool:
        return self.closed_by is ClosedBy.SERVER and self.error.endswith(_RESET)

    @property
    def has_timed_out(self) -> bool:
        """Whether the kernel gave up the server's connection, since its probes were not answered."""
        return self.closed_by is ClosedBy.SERVER and self.error.endswith(_TIMED_OUT)


class _Flow:
    """One direction of a tunnel."""

    __slots__ = (
        "blocked", "bulk", "discarding", "ended", "head", "moved", "paused", "pending", "pipe", "queued", "sink",
        "source",
    )  # fmt: skip

    def __init__(self, source: Stream, sink: Stream, first: bytes) -> None:
        self.source = source
        self.sink = sink
        self.moved = 0  # bytes delivered
        self.head: bytes | None = None  # the first bytes that were read; None: they are not kept
        self.pending: bytes | memoryview = first  # read and not yet delivered
        self.pipe: Pipe | None = None  # lent; its bytes come after `pending`
        self.blocked = bool(first)  # something is read and not yet delivered
        self.bulk = False  # the last read was full, and the sink has no buffer outside the kernel
        self.paused = False  # the sink takes nothing, so packets of the source wake nobody
        self.queued = False  # waits for its next turn
        self.ended = False  # the source has finished, and EOF was passed on to the sink; or the tunnel is over
        self.discarding = False  # the sink takes no more: further bytes of the source are thrown away


class Tunnel:
    """A client's connection and its upstream one, with a flow each way. `Pump.start` makes it; its caller may abort
    it."""

    __slots__ = (
        "_ended", "_fault", "_first", "_pump", "_splices", "client", "down", "over", "progress", "progress_at",
        "started", "up", "upstream",
    )  # fmt: skip

    def __init__(self, pump: Pump, up: _Flow, down: _Flow, ended: Callable[[TunnelResult], None]) -> None:
        self.client = up.source
        self.upstream = up.sink
        self.up = up
        self.down = down
        self.progress = -1  # at the last sweep
        self.progress_at = 0.0  # the time when a sweep first noticed it
        self._pump = pump
        self._ended = ended
        self._splices = pump.splices  # until one of its sockets cannot be spliced
        self._first: ClosedBy | None = None  # who finished first
        self._fault = ""  # how upstream broke, while bytes that it sent before are still delivered to the client
        self.started = False  # `Pump.start` has returned
        self.over = False  # both streams are closed

    def __repr__(self) -> str:
        return f"<Tunnel {self.client.peer} {self.up.moved} up, {self.down.moved} down {self.upstream.peer}>"

    @property
    def client_is_slow(self) -> bool:
        """Whether no byte of upstream is due: the client takes none now, or upstream has finished sending."""
        return self.down.blocked or self.down.ended

    @property
    def bytes_moved(self) -> tuple[int, int]:
        """Up and down, so far."""
        return self.up.moved, self.down.moved

    @property
    def is_half_closed(self) -> bool:
        """Whether one side has finished sending."""
        return self.up.ended or self.down.ended

    def abort(self, why: str) -> None:
        """Resets both ends. `why` becomes the error of its TunnelResult."""
        self.end(ClosedBy.BYWAY, why, reset=True)

    def client_ready(self) -> None:
        """The client's stream is ready or broke: one direction reads from it, the other writes to it."""
        if self.up.blocked or self.up.ended:
            self._check_unread(self.client, self.down)
        elif not self.client.drained:
            self.move(self.up)
        if self.down.blocked:
            self.move(self.down)

    def upstream_ready(self) -> None:
        """The upstream stream is ready or broke, see `client_ready`."""
        if self.down.blocked or self.down.ended:
            self._check_unread(self.upstream, self.up)
        elif not self.upstream.drained:
            self.move(self.down)
        if self.up.blocked:
            self.move(self.up)

    def _check_unread(self, stream: Stream, writing: _Flow) -> None:
        """Finds a reset of a stream that is not read now: SO_ERROR shows it as a read would."""
        if code := stream.unread_error():
            self._sink_broke(writing, OSError(code, os.strerror(code)))

    def move(self, flow: _Flow) -> None:
        """Moves bytes until a call would block, at most one turn's worth."""
        if flow.queued or flow.ended:
            return
        source, sink = flow.source, flow.sink
        left = _TURN
        while not flow.blocked or self._deliver(flow):
            if source.drained:
                return
            if left <= 0:
                self._pump.queue(self, flow)
                return
            if flow.bulk and self._splices and (taken := self._splice(flow)) >= 0:
                if not taken:
                    return
                left -= taken
                continue
            try:
                data = source.lend_nowait(_BULK_READ if flow.bulk else CHUNK)
            except OSError as error:
                self._source_broke(flow, error)
                return
            if not data:
                if data is not None:
                    self._finish(flow)
                return
            left -= len(data)
            if flow.discarding:
                continue
            if flow.head is not None and len(flow.head) < HEAD_BYTES:
                flow.head += data[: HEAD_BYTES - len(flow.head)]
            ends = source.finished and not self._fault  # after a fault comes a reset, which discards unsent bytes
            try:
                sent = sink.send_last_nowait(data) if ends else sink.send_nowait(data)
            except OSError as error:
                self._sink_broke(flow, error)
                return
            flow.moved += sent
            flow.bulk = len(data) >= CHUNK and sink.plain_socket is not None
            if sent < len(data):
                flow.pending = bytes(data[sent:])  # `data` is only lent
                flow.blocked = True

    def _deliver(self, flow: _Flow) -> bool:
        """Delivers the bytes that were read. Returns whether the sink took all."""
        sink, ends = flow.sink, flow.source.finished and flow.pipe is None and not self._fault
        try:
            while flow.pending:
                sent = sink.send_last_nowait(flow.pending) if ends else sink.send_nowait(flow.pending)
                if not sent:
                    self._pause(flow)
                    return False
                flow.moved += sent
                flow.pending = memoryview(flow.pending)[sent:]
            flow.pending = b""
            if flow.pipe is not None and not self._drain(flow, flow.pipe):
                return False
        except OSError as error:
            self._sink_broke(flow, error)
            return False
        flow.blocked = False
        if flow.paused:
            self._resume(flow)
        return True

    def _pause(self, flow: _Flow) -> None:
        if not flow.paused:
            flow.paused = True
            flow.source.pause_reading()

    def _resume(self, flow: _Flow) -> None:
        flow.paused = False
        flow.source.resume_reading()

    def _splice(self, flow: _Flow) -> int:
        """Lets the kernel read into an empty pipe; `_drain` delivers from it. Returns the number of bytes: 0 when
        nothing has come, and after an error; -1 when the flow has to copy, also at EOF."""
        pipes = self._pump.pipes
        pipe = flow.pipe
        if pipe is None and flow.source.plain_socket is not None:
            pipe = flow.pipe = pipes.take()
        if pipe is None:
            return -1
        try:
            taken = os.splice(flow.source.lowest_socket.fileno(), pipe.writer, PIPE_SIZE, flags=_FLAGS)
        except BlockingIOError:
            self._give_back(flow)
            return 0 if flow.source.plain_socket is not None else -1
        except OSError as error:
            if error.errno != errno.EINVAL:
                self._source_broke(flow, error)
                return 0
            self._splices = False  # EINVAL: this kind of socket cannot be spliced
            self._give_back(flow)
            return -1
        if not taken:  # EOF, or an urgent byte with more after it: only a read tells which
            self._give_back(flow)
            return -1
        pipe.buffered = taken
        flow.blocked = True  # until `taken` is delivered
        flow.bulk = taken >= _WORTH_SPLICING
        return taken

    def _drain(self, flow: _Flow, pipe: Pipe) -> bool:
        sink = flow.sink.lowest_socket.fileno()
        while pipe.buffered:
            try:
                sent = os.splice(pipe.reader, sink, pipe.buffered, flags=_FLAGS)
            except BlockingIOError:
                flow.sink.want_write()
                self._pause(flow)
                return False
            pipe.buffered -= sent
            flow.moved += sent
        if not flow.bulk:
            self._give_back(flow)
        return True

    def _give_back(self, flow: _Flow) -> None:
        if flow.pipe is not None:
            self._pump.pipes.give(flow.pipe)
            flow.pipe = None

    def _finish(self, flow: _Flow) -> None:
        """The source has finished sending, and all its bytes are delivered."""
        if flow is self.down and self._fault:  # it was a reset: see _upstream_broke
            self.end(ClosedBy.SERVER, self._fault, reset=True)
            return
        if flow.pipe is not None:
            self._give_back(flow)
        flow.ended = True
        if self._first is None:
            self._first = ClosedBy.CLIENT if flow is self.up else ClosedBy.SERVER
        if self.up.ended and self.down.ended:
            self.end(self._first)
        elif not flow.discarding:
            try:
                flow.sink.send_eof()
            except OSError as error:
                self._sink_broke(flow, error)

    def _source_broke(self, flow: _Flow, error: OSError) -> None:
        by = ClosedBy.CLIENT if flow is self.up else ClosedBy.SERVER
        if isinstance(error, EndedByByway):
            self.end(ClosedBy.BYWAY, str(error), reset=True)
            return
        self.end(by, self._fault or _sentence(by, error), reset=True)

    def _sink_broke(self, flow: _Flow, error: OSError) -> None:
        if flow is self.down:
            self.end(ClosedBy.CLIENT, _sentence(ClosedBy.CLIENT, error), reset=True)
        else:
            self._upstream_broke(error)

    def _upstream_broke(self, error: OSError) -> None:
        """Upstream takes no more bytes, but some that it sent before may be unread, such as the refusal of an upload.

        The client gets all of those, and then a reset. Only after EPIPE, when upstream had finished before it broke,
        the client has a whole answer. It is then read until it has finished too, or the half-open limit passes: closing
        a socket with unread bytes sends a reset, which would destroy that answer.
        """
        up = self.up
        up.discarding = True
        up.pending = b""
        up.blocked = up.bulk = False
        if up.paused:
            self._resume(up)
        self._give_back(up)
        if not (self.down.ended or isinstance(error, BrokenPipeError)):
            self._fault = _sentence(ClosedBy.SERVER, error)
        self.move(self.down)
        self.move(up)

    def sweep(self, now: float, idle_timeout_s: float, half_open_timeout_s: float) -> None:
        """Ends a tunnel that has carried nothing for too long."""
        progress = self.up.moved + self.down.moved + self.up.ended + self.down.ended  # only grows
        if progress != self.progress:
            self.progress = progress
            self.progress_at = now
            return
        half_open = self.up.ended or self.down.ended or self.up.discarding
        limit = half_open_timeout_s if half_open else idle_timeout_s
        if now - self.progress_at >= limit:
            what = f"no data for {limit:g} s" + (" after one side had finished" if half_open else "")
            self.end(ClosedBy.IDLE, what, reset=self.up.blocked or self.down.blocked)

    def end(self, by: ClosedBy, error: str = "", *, reset: bool = False) -> None:
        """Closes both streams, with a reset where bytes may be missing, and calls `ended`. Harmless when repeated."""
        if self.over:
            return
        self.over = True
        client, upstream = self.client, self.upstream
        client.notify = upstream.notify = None
        for flow in (self.up, self.down):
            flow.ended = True
            if flow.pipe is not None:
                self._give_back(flow)
        try:
            client.abort() if reset else client.close()
        finally:
            try:
                upstream.abort() if reset or self.up.discarding else upstream.close()
            finally:
                result = TunnelResult(self.up.moved, self.down.moved, by, error, self.up.head or b"")
                self._pump.ended(self, self._ended, result, later=not self.started)


class Pump:
    """All tunnels. Belongs to one loop."""

    def __init__(
        self,
        *,
        idle_timeout_s: float,
        half_open_timeout_s: float,
        splices: bool = CAN_SPLICE,
        pipes: PipePool | None = None,
    ) -> None:
        """A tunnel that carries nothing for `idle_timeout_s` is ended; one of which one side has finished, after
        `half_open_timeout_s`. `splices` has to be False where a stream is woken by a LoopPoller."""
        self.pipes = PipePool() if pipes is None else pipes
        self.splices = splices
        self._idle_timeout_s = idle_timeout_s
        self._half_open_timeout_s = half_open_timeout_s
        self._sweep_s = min(_SWEEP_MAX_S, min(idle_timeout_s, half_open_timeout_s) / _SWEEPS)
        self._loop = asyncio.get_running_loop()
        self._tunnels: dict[Tunnel, None] = {}  # a set takes twice as much memory
        self._queue: deque[tuple[Tunnel, _Flow]] = deque()
        self._turn_due = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def active(self) -> int:
        """Tunnels whose `ended` has not been called."""
        return len(self._tunnels)

    def start(
        self,
        client: Stream,
        upstream: Stream,
        ended: Callable[[TunnelResult], None],
        *,
        to_upstream: bytes = b"",
        to_client: bytes = b"",
    ) -> Tunnel:
        """Takes both streams, delivers `to_upstream` and `to_client`, then carries all further bytes, and closes both.

        `ended` is called exactly once, after both are closed, and never before this returns. It must not raise.
        """
        up = _Flow(client, upstream, to_upstream)
        up.head = b""
        down = _Flow(upstream, client, to_client)
        tunnel = Tunnel(self, up, down, ended)
        self._tunnels[tunnel] = None
        if self._closed:
            tunnel.abort("Byway is shutting down")
            return tunnel
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._sweep_s, self._sweep)
        client.notify, upstream.notify = tunnel.client_ready, tunnel.upstream_ready
        for flow in (down, up):  # edges from before `notify` was set are lost, so both directions are tried once
            if flow.blocked or not flow.source.drained:
                tunnel.move(flow)
        tunnel.started = True
        return tunnel

    async def close(self, timeout_s: float) -> None:
        """Lets the tunnels end by themselves for at most `timeout_s`, then resets those that are left. Tunnels that are
        started afterwards are reset at once."""
        if self._tunnels and timeout_s > 0:
            self._drained = self._loop.create_future()
            await asyncio.wait((self._drained,), timeout=timeout_s)
        self._closed = True
        self.abort_all()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.pipes.close()

    def abort_all(self) -> None:
        """Resets every tunnel, at both ends."""
        self.abort_where(lambda _: True, "Byway is shutting down")

    def abort_where(self, is_lost: Callable[[Stream], bool], why: str) -> int:
        """Resets the tunnels whose upstream stream `is_lost`. Returns their number."""
        lost = [tunnel for tunnel in self._tunnels if not tunnel.over and is_lost(tunnel.upstream)]
        for tunnel in lost:
            tunnel.abort(why)
        return len(lost)

    @property
    def upstreams(self) -> list[Stream]:
        return [tunnel.upstream for tunnel in self._tunnels if not tunnel.over]

    def queue(self, tunnel: Tunnel, flow: _Flow) -> None:
        """Called by a tunnel: gives its flow another turn after everything else that is ready. The bytes that it left
        unread cause no further edge."""
        flow.queued = True
        self._queue.append((tunnel, flow))
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def ended(
        self, tunnel: Tunnel, on_end: Callable[[TunnelResult], None], result: TunnelResult, *, later: bool
    ) -> None:
        """Called by a tunnel when both of its streams are closed."""
        try:
            if later:
                self._loop.call_soon(on_end, result)
            else:
                on_end(result)
        finally:
            self._tunnels.pop(tunnel, None)
            if self._drained is not None and not self._tunnels and not self._drained.done():
                self._drained.set_result(None)

    def _turn(self) -> None:
        try:
            for _ in range(len(self._queue)):
                tunnel, flow = self._queue.popleft()
                flow.queued = False
                tunnel.move(flow)
        finally:
            self._turn_due = bool(self._queue)
            if self._turn_due:
                self._loop.call_soon(self._turn)

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(self._sweep_s, self._sweep) if self._tunnels else None
        now = self._loop.time()
        for tunnel in tuple(self._tunnels):
            tunnel.sweep(now, self._idle_timeout_s, self._half_open_timeout_s)


_RESET = os.strerror(errno.ECONNRESET)
_TIMED_OUT = os.strerror(errno.ETIMEDOUT)


def _sentence(by: ClosedBy, error: OSError) -> str:
    return f"the {by}'s connection broke: {error.strerror or error}"
