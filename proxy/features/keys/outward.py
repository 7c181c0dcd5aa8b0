"""Byway's listener for the engine's own TCP: the engine asks it for the server of a key, and Byway dials that.

So the names of servers are resolved by Byway, their addresses pass its guard, chains and the spacing of ClientHellos
apply, and Byway sees itself why a server cannot be reached. The engine signs in with the password of a key, and reaches
the server of this key alone, whatever it asks for.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
from collections.abc import Callable, Iterable
from typing import Protocol

from proxy.model import Destination
from proxy.model.errors import DialError, PeerError
from proxy.net.deadline import deadline
from proxy.net.loop.accepting import accept_of
from proxy.net.poller import Poller
from proxy.net.stream import SocketStream, Stream, read_with
from proxy.net.tasks import spawn
from proxy.net.tunnel.pump import Pump, TunnelResult
from proxy.wire import socks
from proxy.wire.reader import Reader

log = logging.getLogger(__name__)

_BACKLOG = 256
_HANDSHAKE_S = 10.0
_IDLE_S = 24 * 3600.0
"""Seconds after which a silent connection to a server is closed. The engine closes those that it does not need."""

_HALF_OPEN_S = 600.0
_PAUSE_S = 0.1  # after an accept that failed, as for want of descriptors


class ServerOfKey(Protocol):
    """A key, to the listener."""

    password: str

    async def dial_server(self, asked: Destination) -> Stream:
        """Returns a stream to the key's server, for an engine that asked for `asked`. Raises DialError."""


class Outward:
    """The listener. `close` ends it and all its connections."""

    def __init__(self, poller: Poller, key_of: Callable[[str], ServerOfKey | None]) -> None:
        """`key_of` returns the key of a user. Raises OSError."""
        self._poller = poller
        self._key_of = key_of
        self._pump = Pump(idle_timeout_s=_IDLE_S, half_open_timeout_s=_HALF_OPEN_S)
        self._loop = asyncio.get_running_loop()
        self._sock: socket.socket | None = None
        sock = socket.socket()
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.bind(("127.0.0.1", 0))
            sock.listen(_BACKLOG)
        except OSError:
            sock.close()
            raise
        self.port: int = sock.getsockname()[1]
        self._sock = sock
        self._accept_client = accept_of(sock)
        poller.register(self)
        poller.want_read(self)

    def fileno(self) -> int:
        return self._sock.fileno() if self._sock is not None else -1

    def ready(self, mask: int) -> None:
        """Accepts all that wait."""
        self._accept()

    def _accept(self) -> None:
        while self._sock is not None:
            try:
                descriptor, (host, port) = self._accept_client()
            except BlockingIOError:
                if not self._poller.edge_triggered:
                    self._poller.want_read(self)
                return
            except OSError as error:
                log.warning("the engine for keys cannot connect to Byway: %s", error.strerror or error)
                self._loop.call_later(_PAUSE_S, self._accept)
                return
            sock = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, descriptor)
            sock.setblocking(False)
            engine = SocketStream(sock, self._poller, f"{host}:{port}", connected=True)
            spawn(self._serve(engine), name="connect the engine to a server")

    async def _serve(self, engine: SocketStream) -> None:
        """Carries one connection of the engine. A client that does not sign in learns nothing."""
        server: Stream | None = None
        try:
            reader = Reader()
            with deadline(_HANDSHAKE_S):
                key, asked = await self._sign_in(engine, reader)
            try:
                server = await key.dial_server(asked)
            except DialError as error:
                await engine.send(socks.socks5_reply_for(error.symptom))
                engine.close()
                return
            await engine.send(socks.socks5_reply(socks.Socks5Reply.GRANTED))
            self._pump.start(engine, server, _ended, to_upstream=reader.rest())
        except (PeerError, TimeoutError, OSError):
            engine.abort()
            if server is not None:
                server.abort()
        except BaseException:
            engine.abort()
            if server is not None:
                server.abort()
            raise

    async def _sign_in(self, engine: SocketStream, reader: Reader) -> tuple[ServerOfKey, Destination]:
        """Returns the key whose password the engine gives, and what it asks for. Raises PeerError."""
        if socks.PASSWORD not in await read_with(engine, reader, socks.read_socks5_methods(reader)):
            raise PeerError("a client without a password")
        await engine.send(socks.socks5_method(socks.PASSWORD))
        user, password = await read_with(engine, reader, socks.read_socks5_credentials(reader))
        key = self._key_of(user.decode("ascii", "replace"))
        expected = "" if key is None else key.password
        if not hmac.compare_digest(password, expected.encode()) or key is None:
            raise PeerError("a client with a wrong password")
        await engine.send(socks.SOCKS5_AUTH_OK)
        return key, await read_with(engine, reader, socks.read_socks5_request(reader))

    @property
    def active(self) -> int:
        """Connections to servers."""
        return self._pump.active

    def sockets_to_servers(self) -> Iterable[socket.SocketType]:
        """Returns the sockets of these connections, each once."""
        return dict.fromkeys(stream.lowest_socket for stream in self._pump.upstreams)

    async def close(self) -> None:
        if self._sock is not None:
            self._poller.unregister(self)
            self._sock.close()
            self._sock = None
        await self._pump.close(0)


def _ended(_: TunnelResult) -> None:
    """The member of the key saw the end by its own stream."""
