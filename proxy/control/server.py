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
from pathlib import Path

from aiohttp import web

from proxy.control.access import Bearer, Handler, Refused, SameUser, check_host, check_shape, hosts_of, secure_headers
from proxy.control.api import make_app
from proxy.control.dependencies import Dependencies
from proxy.model import Destination
from proxy.model.errors import BywayError
from proxy.net.tasks import spawn
from proxy.session.inbound import OWN_NAME

log = logging.getLogger(__name__)

_CLOSE_S = 1.0
"""Seconds that answers in progress have when the server closes."""
_LINGER_S = 2.0
"""Seconds for which the rest of a body is read and dropped, so that its sender gets the answer."""
_IDLE_S = 15.0
_BACKLOG = 64

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Byway</title>
<h1>Byway is running</h1>
<p>This address is a proxy. Set it as the HTTP or SOCKS proxy of your browser.</p>
<p>Run <code>byway status</code> in a terminal to see what is blocked. Run <code>byway why SITE</code> to test one
site.</p>
</html>
"""


class ControlServer:
    """The control API and the page. Belongs to one loop."""

    def __init__(self, parts: Dependencies, socket_path: Path | None, token: str, *, port: int) -> None:
        """With `socket_path` the API listens there; without, on loopback, and `token` lets callers in. `port` is the
        proxy's own, which names us in the Host of adopted clients."""
        self._path = socket_path
        self._bound: Path | None = None  # the socket's file, once it is ours
        self._token = token
        self._port: int | None = None
        guard = SameUser() if socket_path is not None else Bearer(token, lambda: hosts_of(self._port or 0))
        self._api = _runner(make_app(parts, guard))
        self._parts = parts
        self._adopted: set[_Adopted] = set()
        self._page = _runner(_page_app(lambda: _own_hosts(parts.setup().settings.listen.address, port)))

    @property
    def address(self) -> dict[str, str | int | None]:
        """Where callers find the API, for run.json: the socket, or a port on loopback and the token. Known after
        `start`."""
        if self._path is not None:
            return {"socket": str(self._path), "control_port": None, "token": None}
        return {"socket": None, "control_port": self._port, "token": self._token}

    async def start(self) -> None:
        """Listens. Raises BywayError when it cannot."""
        await self._page.setup()
        await self._api.setup()
        try:
            sock = _listen_unix(self._path) if self._path is not None else _listen_loopback()
        except OSError as error:
            where = self._path or "loopback"
            await self.close()
            raise BywayError(f"the control socket cannot be opened at {where}: {error.strerror or error}") from error
        if self._path is None:
            self._port = sock.getsockname()[1]
        self._bound = self._path
        await web.SockSite(self._api, sock, backlog=_BACKLOG).start()

    async def close(self) -> None:
        """Stops listening and ends all answers. Does nothing the second time."""
        if self._bound is not None:
            with contextlib.suppress(OSError):  # a disk that has become read-only
                self._bound.unlink(missing_ok=True)
            self._bound = None
        await self._api.cleanup()
        await self._page.cleanup()

    @property
    def adopted(self) -> int:
        """How many clients of the proxy port are being served a page."""
        return len(self._adopted)

    def adopt(self, sock: socket.socket, received: bytes) -> None:
        """Takes over a client of the proxy port that asked for our own page; `received` was read from it already. Owns
        the socket from now on, and closes it after `[limits] head_timeout_s`."""
        if self._page.server is None:  # closed meanwhile
            sock.close()
            return
        inner: asyncio.Protocol = self._page.server()
        client = _Adopted(inner, received, self._adopted.discard)
        self._adopted.add(client)
        spawn(self._adopt(sock, client), name="a page of our own")

    async def _adopt(self, sock: socket.socket, client: _Adopted) -> None:
        loop = asyncio.get_running_loop()
        try:
            sock.setblocking(False)
            transport, _ = await loop.connect_accepted_socket(lambda: client, sock)
        except OSError as error:
            sock.close()
            self._adopted.discard(client)
            log.debug("a client for our own page left: %s", error)
        else:
            limit_s = self._parts.setup().settings.limits.head_timeout_s
            client.closes_at(loop.call_later(limit_s, transport.abort))


class _Adopted(asyncio.Protocol):
    """The protocol of a client that the proxy port handed over. Gives `inner`, which serves it, first what was received
    before, then what comes; calls `ended` when the connection is closed."""

    def __init__(self, inner: asyncio.Protocol, received: bytes, ended: Callable[[_Adopted], None]) -> None:
        self._inner = inner
        self._received = received
        self._ended = ended
        self._limit: asyncio.TimerHandle | None = None
        self._is_open = True

    def closes_at(self, limit: asyncio.TimerHandle) -> None:
        """Sets the timer that aborts the connection; it is cancelled when the connection ends before."""
        self._limit = limit
        if not self._is_open:
            limit.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)
        self._inner.data_received(self._received)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._is_open = False
        if self._limit is not None:
            self._limit.cancel()
        self._ended(self)
        self._inner.connection_lost(error)


class _InOneLine(logging.Filter):
    """Turns aiohttp's errors into one line without a traceback: bytes that are not HTTP are no fault of ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        kind = f" ({type(error).__name__})" if error is not None else ""
        record.msg, record.args = f"control: {record.getMessage()}{kind}".replace("\n", " "), ()
        record.exc_info, record.levelno, record.levelname = None, logging.INFO, "INFO"
        return log.isEnabledFor(logging.INFO)


_protocol_log = logging.getLogger("proxy.control.http")
_protocol_log.addFilter(_InOneLine())


def _runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(
        app,
        access_log=None,
        logger=_protocol_log,
        handle_signals=False,
        handler_cancellation=True,  # a follower of the log may leave while no line is due
        keepalive_timeout=_IDLE_S,
        lingering_time=_LINGER_S,
        shutdown_timeout=_CLOSE_S,
    )


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


def _own_hosts(listen: str, port: int) -> frozenset[str]:
    return hosts_of(port) | {OWN_NAME, f"{OWN_NAME}:80", str(Destination(listen, port))}


def _page_app(hosts: Callable[[], frozenset[str]]) -> web.Application:
    @web.middleware
    async def only_ours(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Checks a request. Each connection is closed after one: the proxy port has read only the first."""
        try:
            check_host(request, hosts())
            check_shape(request, of_browser=True)
            response = await handler(request)
        except Refused as error:
            response = web.Response(status=error.status, text=f"{error}\n")
        except web.HTTPException as error:
            response = web.Response(status=error.status, text=f"{error.reason}\n")
        response.force_close()
        return response

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html")

    app = web.Application(client_max_size=1024, middlewares=[only_ours])
    app.add_routes([web.get("/", page)])
    app.on_response_prepare.append(secure_headers)
    return app
