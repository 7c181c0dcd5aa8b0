"""An https relay on loopback that speaks HTTP/2, or HTTP/1.1 to clients that select it. By h2's server.

It keeps to the windows of the client, opens its own only as far as destinations take bytes, and can misbehave: each
field of Http2Relay is one way.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PingReceived,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from proxy.net.tasks import spawn
from tests.support.relay import Refused, Relay
from tests.support.streams import close, reset

_CHUNK = 65536

Answer = str | ErrorCodes | None
"""The answer to a CONNECT: a status, with a short page if it is not 200; a reset; or silence."""

Far = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Http2Relay(Relay):
    """As Relay, with `secure` a server's context, to which it adds the protocols `alpn`."""

    alpn: tuple[str, ...] = ("h2", "http/1.1")
    settings: dict[SettingCodes | int, int] = field(default_factory=dict)
    answers: Callable[[str], Answer] | None = None  # by host:port
    selected: list[str | None] = field(default_factory=list)  # the protocol of each connection
    links: list[Link] = field(default_factory=list)

    async def revive(self) -> None:
        assert self.secure is not None
        self.secure.set_alpn_protocols(list(self.alpn))
        await super().revive()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        secure: ssl.SSLObject = writer.get_extra_info("ssl_object")
        self.selected.append(secure.selected_alpn_protocol())
        if self.selected[-1] != "h2":
            await super()._serve(reader, writer)
            return
        link = Link(Streams(reader, writer), self._answer, self._connected)
        self.links.append(link)
        try:
            await link.run(self.settings)
        finally:
            await link.close()

    def _answer(self, target: str, fields: Mapping[str, str]) -> Answer:
        if self.user:
            right = "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            if fields.get("proxy-authorization") != right:
                return "407"
        self.asked.append(target)
        if self.answers is not None:
            return self.answers(target)
        return "200"

    async def _connected(self, target: str) -> Far:
        host, _, port = target.rpartition(":")
        return await asyncio.open_connection(self._address(host.strip("[]")), int(port))


class Wire(Protocol):
    """The bytes below HTTP/2, without TLS."""

    async def receive(self) -> bytes: ...
    def put(self, data: bytes) -> None: ...
    async def drain(self) -> None: ...
    def cut(self) -> None: ...


class Streams:
    """A Wire over streams of asyncio."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> bytes:
        return await self._reader.read(_CHUNK)

    def put(self, data: bytes) -> None:
        self._writer.write(data)

    async def drain(self) -> None:
        await self._writer.drain()

    def cut(self) -> None:
        reset(self._writer)


class Link:
    """One connection of a client."""

    def __init__(
        self,
        wire: Wire,
        answer: Callable[[str, Mapping[str, str]], Answer],
        connect: Callable[[str], Awaitable[Far]],
    ) -> None:
        """`answer` gets host:port and the fields of each CONNECT, `connect` host:port of those with 200. It raises
        OSError and Refused."""
        self._wire = wire
        self._answer = answer
        self.connect = connect
        # h2 demands a :path, which a CONNECT must not have.
        configuration = H2Configuration(client_side=False, header_encoding="utf-8", validate_inbound_headers=False)
        self.http2 = H2Connection(configuration)
        self._limit = 100  # streams
        self.refuses_with = ErrorCodes.REFUSED_STREAM  # those above
        self.pings = 0
        self.resets: list[int] = []  # streams that the client has reset
        self.is_frozen = False  # neither reads nor writes from now on
        self.was_told_end = False  # GOAWAY came
        self._tunnels: dict[int, Tunnel] = {}

    async def run(self, settings: Mapping[SettingCodes | int, int] | None = None) -> None:
        self.http2.local_settings.update(dict(settings or {}))
        self.http2.local_settings.acknowledge()
        self.http2.initiate_connection()
        # h2 would end the connection at a stream too many. It refuses that here.
        self._limit = self.http2.local_settings.max_concurrent_streams
        self.http2.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 1000
        self.http2.local_settings.acknowledge()
        self.flush()
        while data := await self._wire.receive():
            if self.is_frozen:
                await asyncio.Event().wait()
            try:
                events = self.http2.receive_data(data)
            except ProtocolError:
                self.flush()
                return
            for event in events:
                match event:
                    case RequestReceived(stream_id=int(stream)):
                        self._begin(stream, {str(name): str(value) for name, value in event.headers})
                    case DataReceived(stream_id=int(stream)) if stream in self._tunnels:
                        self._tunnels[stream].up.put_nowait((event.data, event.flow_controlled_length))
                    case StreamEnded(stream_id=int(stream)) if stream in self._tunnels:
                        self._tunnels[stream].up.put_nowait((b"", 0))
                    case StreamReset(stream_id=int(stream)):
                        self.resets.append(stream)
                        if stream in self._tunnels:
                            self._tunnels.pop(stream).task.cancel()
                    case WindowUpdated():
                        for tunnel in self._tunnels.values():
                            tunnel.room.set()
                    case PingReceived():
                        self.pings += 1
                    case ConnectionTerminated():
                        self.was_told_end = True
            self.flush()

    def flush(self) -> None:
        if not self.is_frozen and (data := self.http2.data_to_send()):
            self._wire.put(data)

    def raw(self, data: bytes) -> None:
        """Sends bytes that h2 would not send."""
        self.flush()
        self._wire.put(data)

    def go_away(self, last: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Sends GOAWAY; streams up to `last` go on. h2 would take nothing more."""
        self.raw(b"\0\0\x08\x07\0\0\0\0\0" + last.to_bytes(4, "big") + int(code).to_bytes(4, "big"))

    async def close(self) -> None:
        for tunnel in self._tunnels.values():
            tunnel.task.cancel()
        await asyncio.gather(*(tunnel.task for tunnel in self._tunnels.values()), return_exceptions=True)

    def cut(self) -> None:
        self._wire.cut()

    def _begin(self, stream: int, fields: dict[str, str]) -> None:
        target = fields[":authority"]
        assert fields[":method"] == "CONNECT"
        assert ":path" not in fields
        assert ":scheme" not in fields
        answer = self._answer(target, fields)
        if len(self._tunnels) >= self._limit:
            answer = self.refuses_with
        if isinstance(answer, ErrorCodes):
            self.http2.reset_stream(stream, answer)
        elif answer is not None and answer != "200":
            self._refuse(stream, answer)
        elif answer is not None:
            self._tunnels[stream] = Tunnel(self, stream, target)

    def _refuse(self, stream: int, status: str) -> None:
        self.http2.send_headers(stream, [(":status", status), ("content-length", "4")])
        self.http2.send_data(stream, b"evil", end_stream=True)

    def over(self, stream: int) -> None:
        self._tunnels.pop(stream, None)

    async def drain(self) -> None:
        await self._wire.drain()


class Tunnel:
    """One CONNECT."""

    def __init__(self, link: Link, stream: int, target: str) -> None:
        self.link = link
        self.stream = stream
        self.up: asyncio.Queue[tuple[bytes, int]] = asyncio.Queue()
        self.room = asyncio.Event()
        self.task = spawn(self._run(target), name=f"tunnel to {target}")

    async def _run(self, target: str) -> None:
        http2 = self.link.http2
        try:
            reader, writer = await self.link.connect(target)
        except (OSError, Refused):
            self.link._refuse(self.stream, "502")
            self.link.flush()
            self.link.over(self.stream)
            return
        try:
            http2.send_headers(self.stream, [(":status", "200")])
            self.link.flush()
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry_up(writer))
                both.create_task(self._carry_down(reader))
        except* (OSError, ProtocolError):
            with contextlib.suppress(ProtocolError):
                http2.reset_stream(self.stream, ErrorCodes.CONNECT_ERROR)
                self.link.flush()
        finally:
            self.link.over(self.stream)
            await close(writer)

    async def _carry_up(self, writer: asyncio.StreamWriter) -> None:
        while True:
            data, length = await self.up.get()
            if length:
                self.link.http2.acknowledge_received_data(length, self.stream)
                self.link.flush()
            if not data and not length:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

    async def _carry_down(self, reader: asyncio.StreamReader) -> None:
        http2 = self.link.http2
        while data := await reader.read(_CHUNK):
            while data:
                size = min(len(data), http2.local_flow_control_window(self.stream), http2.max_outbound_frame_size)
                if size <= 0:
                    self.room.clear()
                    await self.room.wait()
                    continue
                http2.send_data(self.stream, data[:size])
                data = data[size:]
                self.link.flush()
                await self.link.drain()
        http2.end_stream(self.stream)
        self.link.flush()
