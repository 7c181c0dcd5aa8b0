"""Serves the control API, and the pages on the proxy's port.

The API listens on a Unix socket of this user, or, without Unix sockets, on loopback with a token. The pages are a
separate application without access to the API: a client of the proxy port reaches only them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from proxy.model.errors import BywayError
from proxy.net.tasks import spawn

if TYPE_CHECKING:
    from aiohttp import web

    from proxy.control.dependencies import Dependencies

log = logging.getLogger(__name__)

_BACKLOG = 64

_RETRY_S = 1.0
"""Seconds after a failed start of the applications until a client can start them again."""


class _Applications(NamedTuple):
    parts: Dependencies
    api: web.AppRunner
    page: web.AppRunner


class ControlServer:
    """The control API and the pages. Belongs to one loop.

    It listens from `start` on. aiohttp would take a quarter of a start's time, and many runs never have a client, so it
    is imported while the first client waits."""

    def __init__(self, parts: Callable[[], Dependencies], socket_path: Path | None, token: str, *, port: int) -> None:
        """`parts` is called once, in a thread, with the first client. The API listens at `socket_path`; without one, on
        loopback, where clients need `token`. `port` is the proxy's port, which is in the Host of adopted clients."""
        self._parts = parts
        self._path = socket_path
        self._token = token
        self._proxy_port = port
        self._port: int | None = None
        self._listening: socket.socket | None = None
        self._applications: asyncio.Task[_Applications] | None = None
        self._adopted: set[_Adopted] = set()

    @property
    def address(self) -> dict[str, str | int | None]:
        """The address of the API for run.json: the socket, or a port on loopback and the token. Valid after `start`."""
        if self._path is not None:
            return {"socket": str(self._path), "control_port": None, "token": None}
        return {"socket": None, "control_port": self._port, "token": self._token}

    async def start(self) -> None:
        """Starts listening. Raises BywayError when the socket cannot be opened."""
        try:
            listening = _listen(socket.socket(), ("127.0.0.1", 0)) if self._path is None else _listen_unix(self._path)
        except OSError as error:
            where = self._path or "loopback"
            raise BywayError(f"the control socket cannot be opened at {where}: {error.strerror or error}") from error
        if self._path is None:
            self._port = listening.getsockname()[1]
        self._listening = listening
        # The first client stays in the backlog until the API accepts it.
        self._await_client(listening)

    async def close(self) -> None:
        """Stops listening and ends all answers. A second call does nothing."""
        listening, self._listening = self._listening, None
        if listening is None:
            return
        if self._path is not None:
            with contextlib.suppress(OSError):  # a disk that has become read-only
                self._path.unlink(missing_ok=True)
        if self._applications is None:
            asyncio.get_running_loop().remove_reader(listening)
        else:
            await asyncio.wait([self._applications])
            if not self._applications.cancelled() and self._applications.exception() is None:  # otherwise reported
                running = self._applications.result()
                for application in (running.api, running.page):
                    await application.cleanup()
        listening.close()

    @property
    def is_found(self) -> bool:
        """Whether clients can find the socket: its file exists."""
        return self._path is None or os.path.lexists(self._path)

    async def listen_again(self) -> None:
        """Listens anew when the file of the socket was removed. Raises OSError and BywayError."""
        if self._path is None or self._listening is None or self.is_found:
            return
        removed, self._listening = self._listening, _listen_unix(self._path)
        if self._applications is None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(removed)
            removed.close()
            loop.add_reader(self._listening, self._start_applications, self._listening)
            return
        running = await self._applications
        from aiohttp.web import SockSite

        await SockSite(running.api, self._listening, backlog=_BACKLOG).start()  # `cleanup` closes it

    @property
    def adopted(self) -> int:
        """The number of clients of the proxy port that are being served."""
        return len(self._adopted)

    def adopt(self, sock: socket.socket, received: bytes) -> None:
        """Takes over a client of the proxy port that requests a page of Byway, with the bytes `received` from it. Owns
        the socket from now on, and closes it after `[limits] head_timeout_s`."""
        if self._listening is None:  # closed meanwhile
            sock.close()
            return
        client = _Adopted(received, self._adopted.discard)
        self._adopted.add(client)
        applications = self._applications or self._start_applications(self._listening)
        spawn(self._adopt(sock, client, applications), name="a page of our own")

    async def _adopt(self, sock: socket.socket, client: _Adopted, applications: asyncio.Task[_Applications]) -> None:
        loop = asyncio.get_running_loop()
        try:
            running = await applications
            server = running.page.server
            if server is None:  # closed meanwhile
                raise ConnectionAbortedError("the control server is closed")
            client.inner = server()
            sock.setblocking(False)
            transport, _ = await loop.connect_accepted_socket(lambda: client, sock)
        except OSError as error:
            sock.close()
            self._adopted.discard(client)
            log.debug("a client for our own page left: %s", error)
        except Exception:  # the applications did not start: the task that starts them reports it
            sock.close()
            self._adopted.discard(client)
        else:
            limit_s = running.parts.settings.limits.head_timeout_s
            client.closes_at(loop.call_later(limit_s, transport.abort))

    def _start_applications(self, listening: socket.socket) -> asyncio.Task[_Applications]:
        asyncio.get_running_loop().remove_reader(listening)
        self._applications = spawn(self._serve(listening), name="the control server")
        return self._applications

    async def _serve(self, listening: socket.socket) -> _Applications:
        try:
            await asyncio.to_thread(import_module, "proxy.control.web_apps")  # in a thread, so that connections go on
            parts = await asyncio.to_thread(self._parts)
            from aiohttp.web import SockSite

            from proxy.control.web_apps import import_features, make_runners

            await asyncio.to_thread(import_features, parts.features)
            token = None if self._path is not None else self._token
            running = _Applications(parts, *make_runners(parts, token, self._port or 0, self._proxy_port))
            for application in (running.api, running.page):
                await application.setup()
            await SockSite(running.api, listening, backlog=_BACKLOG).start()
            return running
        except Exception:  # for example without a free descriptor: the next client, or the one that waits, tries again
            self._applications = None
            asyncio.get_running_loop().call_later(_RETRY_S, self._await_client, listening)
            raise

    def _await_client(self, listening: socket.socket) -> None:
        if self._listening is listening and self._applications is None:
            asyncio.get_running_loop().add_reader(listening, self._start_applications, listening)


class _Adopted(asyncio.Protocol):
    """The protocol of a client that the proxy port handed over. Passes to `inner`, which serves it, first the bytes
    received before, then all others. Calls `ended` when the connection is closed."""

    def __init__(self, received: bytes, ended: Callable[[_Adopted], None]) -> None:
        self.inner: asyncio.Protocol
        """Set before `connection_made`."""
        self._received = received
        self._ended = ended
        self._limit: asyncio.TimerHandle | None = None
        self._is_open = True

    def closes_at(self, limit: asyncio.TimerHandle) -> None:
        """Sets the timer that aborts the connection. It is cancelled when the connection ends earlier."""
        self._limit = limit
        if not self._is_open:
            limit.cancel()

    def stay_open(self) -> None:
        """Removes the time limit, for a streamed answer."""
        if self._limit is not None:
            self._limit.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.inner.connection_made(transport)
        self.inner.data_received(self._received)

    def data_received(self, data: bytes) -> None:
        self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._is_open = False
        if self._limit is not None:
            self._limit.cancel()
        self._ended(self)
        self.inner.connection_lost(error)


def _listen_unix(path: Path) -> socket.socket:
    """Returns a listening socket at `path`, of mode 0600. Replaces the socket that a killed Byway left there."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)  # bind creates the file; with a later chmod others could connect for a moment
    try:
        return _listen(sock, str(path))
    finally:
        os.umask(mask)


def _listen(sock: socket.socket, address: str | tuple[str, int]) -> socket.socket:
    """Makes a socket listen, and returns it. Raises OSError, and then closes it."""
    try:
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
