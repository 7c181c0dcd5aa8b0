"""A site whose pages inspection finds hard: WebSocket, events that come one by one, long bodies; over HTTP/1.1 by
aiohttp, and a small one over HTTP/2.

    /ws            echoes, in capitals
    /events        two events; the second one when `site.next_event` is set
    /bytes/N       N bytes in pieces, with a length
    /upload        the size and SHA-256 of the body
    anything else  hello
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from dataclasses import dataclass, field
from typing import Self

import h2.config
import h2.connection
import h2.events
from aiohttp import web

from tests.support.authority import Authority
from tests.support.origin import pattern

PIECE = 64 * 1024


@dataclass
class Site:
    """`async with Site(authority) as site:` serves `www.inside.test` and others on one port."""

    authority: Authority
    next_event: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[str, str]] = field(default_factory=list)  # method and path
    context: ssl.SSLContext | None = None
    port: int = 0
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/ws", self._echo)
        app.router.add_get("/events", self._events)
        app.router.add_get("/bytes/{size}", self._bytes)
        app.router.add_post("/upload", self._upload)
        app.router.add_route("*", "/{rest:.*}", self._hello)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        context = self.context or self.authority.server("www.inside.test", "other.inside.test", "127.0.0.1")
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        self.next_event.set()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"https://www.inside.test:{self.port}"

    async def _hello(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path_qs))
        return web.Response(text=f"hello {request.headers.get('X-Added', '')}\n")

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    async def _events(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b"data: one\n\n")
        await self.next_event.wait()
        await answer.write(b"data: two\n\n")
        return answer

    async def _bytes(self, request: web.Request) -> web.StreamResponse:
        left = int(request.match_info["size"])
        answer = web.StreamResponse(headers={"Content-Length": str(left)})
        await answer.prepare(request)
        piece = pattern(PIECE)
        while left > 0:
            await answer.write(piece[:left])
            left -= PIECE
        return answer

    async def _upload(self, request: web.Request) -> web.Response:
        digest, size = hashlib.sha256(), 0
        async for piece in request.content.iter_chunked(PIECE):
            digest.update(piece)
            size += len(piece)
        return web.Response(text=f"{size} {digest.hexdigest()}")


class Http2Site:
    """Answers each request over HTTP/2, and nothing else, with a line that names the version and the path."""

    def __init__(self, authority: Authority) -> None:
        self._context = authority.server("www.inside.test")
        self._context.set_alpn_protocols(["h2"])
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        talk = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        talk.initiate_connection()
        try:
            writer.write(talk.data_to_send())
            while data := await reader.read(PIECE):
                for event in talk.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        path = dict(event.headers or ())[b":path"]
                        talk.send_headers(event.stream_id, [(":status", "200"), ("content-type", "text/plain")])
                        talk.send_data(event.stream_id, b"hello over h2 at " + path, end_stream=True)
                writer.write(talk.data_to_send())
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
