"""Scripted paths: when each connects, what it answers, and what the kernel reports.

For code that races routes, under the virtual clock of `tests.support.clock`."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.config.detect_tuning import DetectTuning
from proxy.model import Destination
from proxy.model.errors import DialError
from proxy.net.kernel.tcp_info import Reading, Snapshot, SplitTcpDetector, TcpInfo
from proxy.net.notify import Notify
from proxy.net.stream import CHUNK, Stream
from proxy.net.tasks import spawn


@dataclass
class Script:
    """The script of one route: seconds until it connects (or how it fails), and its answers with their times after the
    flight."""

    connect: float | DialError | Callable[[float], float | DialError] = 0.1  # the last: by the loop's time
    fails_after: float = 0.0  # seconds until a failure to connect is known
    lookup: float = 0.0  # seconds before that, of a direct one
    tried: Sequence[str] = ()  # the addresses of a direct one
    answer: bytes | Exception | None = None  # None: silence; b"": EOF
    after: float = 0.1
    acknowledged: bool = True
    retransmits: int = 0  # seen from 0.5 s after the flight
    out_of_order: int = 0
    greeting: bytes | None = None  # sent of itself, `after` seconds from the connect
    stream: Callable[[Script], ScriptedStream] = lambda script: ScriptedStream(script)
    dialed: list[float] = field(default_factory=list)
    streams: list[ScriptedStream] = field(default_factory=list)


class ScriptedStream(Stream):
    def __init__(self, script: Script) -> None:
        super().__init__("198.51.100.7:80")
        self.script = script
        self.inbox: list[bytes | Exception] = []
        self.sent = b""
        self.flight_sent_at: float | None = None
        self.closed = False
        if script.greeting is not None:
            asyncio.get_running_loop().call_later(script.after, self._arrive, script.greeting)

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        assert not self.closed
        if not self.inbox:
            return None
        item = self.inbox[0]
        if isinstance(item, Exception):
            raise item
        if item:
            self.inbox.pop(0)
        return item

    def send_nowait(self, data: bytes | memoryview) -> int:
        if not self.sent:
            self.flight_sent_at = asyncio.get_running_loop().time()
            if self.script.answer is not None:
                asyncio.get_running_loop().call_later(self.script.after, self._arrive, self.script.answer)
        self.sent += bytes(data)
        return len(data)

    def _arrive(self, item: bytes | Exception) -> None:
        self.inbox.append(item)
        self._wake(receiver=True, sender=True)

    def send_eof(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    @property
    def plain_socket(self) -> socket.socket | None:
        return None

    @property
    def lowest_socket(self) -> Any:  # the fake oracle takes it for the socket
        return self


class ScriptedDialer:
    """Dials by the script. It records when, and the streams that it returned."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def dial(self, destination: Destination) -> Stream:
        self._script.dialed.append(asyncio.get_running_loop().time())
        connect = self._script.connect
        if callable(connect):
            connect = connect(self._script.dialed[-1])
        if isinstance(connect, DialError):
            await asyncio.sleep(self._script.fails_after)
            raise connect
        await asyncio.sleep(connect)
        self._script.streams.append(self._script.stream(self._script))
        return self._script.streams[-1]


class ScriptedDirect(ScriptedDialer):
    """As ScriptedDialer, without a task of the race. It reports the end of the lookup and the addresses that it
    tries."""

    def __init__(self, script: Callable[[], Script]) -> None:
        self._of_now = script

    def begin(self, destination: Destination, notify: Notify) -> Any:
        return _ScriptedConnecting(self._of_now(), destination, notify)

    def choosing(self, choose: Any) -> ScriptedDialer:
        raise NotImplementedError


class _ScriptedConnecting:
    next_check_at, is_through = math.inf, False

    def __init__(self, script: Script, destination: Destination, notify: Notify) -> None:
        self._script = script
        self._resolved_at = asyncio.get_running_loop().time() + script.lookup or 1e-300  # 0 would say: not yet
        self._stream: Stream | None = None
        self._error: DialError | None = None
        self._dialing = spawn(self._dial(destination), name="dial", on_end=notify.set, eager=True)

    async def _dial(self, destination: Destination) -> None:
        if self._script.lookup:
            await asyncio.sleep(self._script.lookup)
        try:
            self._stream = await ScriptedDialer(self._script).dial(destination)
        except DialError as error:
            self._error = error

    @property
    def began_at(self) -> float:
        return self._resolved_at if asyncio.get_running_loop().time() >= self._resolved_at else 0.0

    def poll(self) -> Stream | None:
        if self._error is not None:
            raise self._error
        stream, self._stream = self._stream, None
        return stream

    def unanswered(self) -> str:
        return " ".join(self._script.tried) if self.began_at else ""

    def close(self) -> None:
        self._dialing.cancel()
        if self._stream is not None:
            self._stream.abort()


class _Told(SplitTcpDetector):
    """A detector that records its input."""

    __slots__ = ("_noted",)

    def __init__(self, noted: list[tuple[str, float, float]]) -> None:
        super().__init__(DetectTuning())
        self._noted = noted

    def note(self, host: str, syn_s: float, first_byte_s: float) -> None:
        self._noted.append((host, syn_s, first_byte_s))
        super().note(host, syn_s, first_byte_s)


class FakeOracle(TcpInfo):
    """Reads TCP_INFO from the script instead of the kernel."""

    def __init__(self, usable: bool = True) -> None:
        self.usable = usable
        self.noted: list[tuple[str, float, float]] = []  # what the middlebox is told
        self.split_tcp = _Told(self.noted)
        self.answered: float | None = None

    def snapshot(self, sock: Any) -> Snapshot | None:
        return Snapshot(0, 0, 0.1)

    def answered_after(self, sock: Any) -> float | None:
        return self.answered

    def since(self, sock: Any, snapshot: Snapshot) -> Reading:
        stream: ScriptedStream = sock
        assert stream.flight_sent_at is not None
        waited = asyncio.get_running_loop().time() - stream.flight_sent_at
        acked = stream.script.acknowledged
        return Reading(
            retransmits=stream.script.retransmits if waited >= 0.5 else 0,
            unacked=0 if acked else 1,
            acked=acked,
            rtt_s=0.1,
            rto_s=0.3,
            out_of_order=stream.script.out_of_order,
        )

    def silence_retransmits(self, sock: Any) -> None:
        pass
