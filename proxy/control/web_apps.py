"""The control API and the page as applications of aiohttp, ready to be served.

`server` imports this module in a thread, when the first client has come.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from aiohttp import web

from proxy.control.access import Bearer, Handler, Refused, SameUser, check_host, check_shape, hosts_of, secure_headers
from proxy.control.api import make_app
from proxy.control.dependencies import Dependencies
from proxy.model import Destination
from proxy.session.inbound import OWN_NAME

log = logging.getLogger(__name__)

_CLOSE_S = 1.0
"""Seconds that answers in progress have when the server closes."""
_LINGER_S = 2.0
"""Seconds for which the rest of a body is read and dropped, so that its sender gets the answer."""
_IDLE_S = 15.0

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


def api_runner(parts: Dependencies, token: str | None, port: int) -> web.AppRunner:
    """Returns what serves the control API: with a token to those who have it, on loopback at `port`; without, to this
    user's processes. The caller sets it up and cleans it up."""
    guard = SameUser() if token is None else Bearer(token, hosts_of(port))
    return _runner(make_app(parts, guard))


def page_runner(parts: Dependencies, port: int) -> web.AppRunner:
    """Returns what serves the page to clients of the proxy's own `port`. The caller sets it up and cleans it up."""
    return _runner(_page_app(lambda: _own_hosts(parts.setup().settings.listen.address, port)))


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
