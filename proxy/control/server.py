"""Serves the control API, and the one page that a browser gets when it opens the proxy's own port.

The API listens on a Unix socket of this user, or, where there is none, on loopback with a token. The page is a separate
application without access to the API: a client of the proxy port cannot reach more than that page.
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
"""After the applications could not be started, until they may be again."""


class _Applications(NamedTuple):
    parts: Dependencies
    api: web.AppRunner
    page: web.AppRunner


class ControlServer:
    """The control API and the page. Belongs to one loop.

    It listens from `start` on. aiohttp takes a quarter of the time of a start, and many a run is never asked for
    anything: it is imported when the first client comes, who waits for it."""

    def __init__(self, parts: Callable[[], Dependencies], socket_path: Path | None, token: str, *, port: int) -> None:
        """`parts` is called in a thread, once, when the first client comes. With `socket_path` the API listens there;
        without, on loopback, and `token` lets callers in. `port` is the proxy's own, which names us in the Host of
        adopted clients."""
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
        """Where callers find the API, for run.json: the socket, or a port on loopback and the token. Known after
        `start`."""
        if self._path is not None:
            return {"socket": str(self._path), "control_port": None, "token": None}
        return {"socket": None, "control_port": self._port, "token": self._token}

    async def start(self) -> None:
        """Listens. Raises BywayError when it cannot."""
        try:
            listening = _listen_unix(self._path) if self._path is not None else _listen_loopback()
        except OSError as error:
            where = self._path or "loopback"
            raise BywayError(f"the control socket cannot be opened at {where}: {error.strerror or error}") from error
        if self._path is None:
            self._port = listening.getsockname()[1]
        self._listening = listening
        # Nothing is accepted here: the first client stays in the backlog until the API serves it.
        self._await_client(listening)

    async def close(self) -> None:
        """Stops listening and ends all answers. Does nothing the second time."""
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
            if not self._applications.cancelled() and self._applications.exception() is None:  # else it was reported
                running = self._applications.result()
                for application in (running.api, running.page):
                    await application.cleanup()
        listening.close()

    @property
    def is_found(self) -> bool:
        """Whether callers find it: the file of the socket is there."""
        return self._path is None or _is_there(self._path)

    async def listen_again(self) -> None:
        """Listens anew where the file of the socket was removed, with its folder. Raises OSError and BywayError."""
        if self._path is None or self._listening is None or _is_there(self._path):
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

        await SockSite(running.api, self._listening, backlog=_BACKLOG).start()  # closed with the others

    @property
    def adopted(self) -> int:
        """How many clients of the proxy port are being served a page."""
        return len(self._adopted)

    def adopt(self, sock: socket.socket, received: bytes) -> None:
        """Takes over a client of the proxy port that asked for our own page; `received` was read from it already. Owns
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
        except Exception:  # the applications did not start, which is told by the task that starts them
            sock.close()
            self._adopted.discard(client)
        else:
            limit_s = running.parts.setup().settings.limits.head_timeout_s
            client.closes_at(loop.call_later(limit_s, transport.abort))

    def _start_applications(self, listening: socket.socket) -> asyncio.Task[_Applications]:
        asyncio.get_running_loop().remove_reader(listening)
        self._applications = spawn(self._serve(listening), name="the control server")
        return self._applications

    async def _serve(self, listening: socket.socket) -> _Applications:
        try:
            return await self._serving(listening)
        except Exception:  # no free descriptor, say: it is tried again for the next client, or the one that waits
            self._applications = None
            asyncio.get_running_loop().call_later(_RETRY_S, self._await_client, listening)
            raise

    def _await_client(self, listening: socket.socket) -> None:
        if self._listening is listening and self._applications is None:
            asyncio.get_running_loop().add_reader(listening, self._start_applications, listening)

    async def _serving(self, listening: socket.socket) -> _Applications:
        await asyncio.to_thread(import_module, "proxy.control.web_apps")  # connections go on meanwhile
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


class _Adopted(asyncio.Protocol):
    """The protocol of a client that the proxy port handed over. Gives `inner`, which serves it, first what was received
    before, then what comes; calls `ended` when the connection is closed."""

    def __init__(self, received: bytes, ended: Callable[[_Adopted], None]) -> None:
        self.inner: asyncio.Protocol
        """Set before the connection is made."""
        self._received = received
        self._ended = ended
        self._limit: asyncio.TimerHandle | None = None
        self._is_open = True

    def closes_at(self, limit: asyncio.TimerHandle) -> None:
        """Sets the timer that aborts the connection; it is cancelled when the connection ends before."""
        self._limit = limit
        if not self._is_open:
            limit.cancel()

    def stay_open(self) -> None:
        """Lifts the time limit: the answer goes on as long as the client wants it."""
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


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)


def _listen_unix(path: Path) -> socket.socket:
    """Returns a listening socket at `path`, of mode 0600. Replaces the file that a killed Byway left there."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)  # bind makes the file: a chmod afterwards would leave it open for a moment
    try:
        sock.bind(str(path))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(mask)
    return sock


def _listen_loopback() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.bind(("127.0.0.1", 0))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
