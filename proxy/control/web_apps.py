"""The control API, and the pages of the proxy's own address, as applications of aiohttp, ready to be served.

`server` imports this module in a thread, when the first client has come.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

from aiohttp import web

from proxy.control.access import Bearer, Handler, Refused, SameUser, check_host, check_shape, hosts_of, secure_headers
from proxy.control.api import make_app
from proxy.control.dashboard.answer import message
from proxy.control.dashboard.dashboard import Dashboard
from proxy.control.dashboard.guard import FORM_LIMIT
from proxy.control.dashboard.sign_in import SignIn
from proxy.control.dependencies import Dependencies
from proxy.control.frame import Frame
from proxy.control.pac import CONTENT_TYPE, PATHS, pac_text
from proxy.languages.language import Language, language_of_browser
from proxy.model import Destination
from proxy.model.feature import BrokenFeature, Feature, Role, usable
from proxy.model.phrase import _
from proxy.session.error_page import prefers_html
from proxy.session.inbound import reached_address
from proxy.session.recent_clients import Use
from proxy.wire.hostnames import OWN_NAME
from proxy.wire.html_page import CONTENT_SECURITY_POLICY
from proxy.wire.http1_fields import HEAD_LIMIT

log = logging.getLogger(__name__)

_CLOSE_S = 1.0
"""Seconds that answers in progress have when the server closes."""
_LINGER_S = 2.0
"""Seconds for which the rest of a body is read and dropped, so that its sender gets the answer."""
_IDLE_S = 15.0


_HERE = frozenset((Role.FRONT_PAGE, Role.SITES, Role.RELAYS, Role.CONNECTIONS))
"""What a feature is for answers and pages."""


def import_features(features: Sequence[Feature]) -> None:
    """Imports what the API and the front page will use of features: on the loop, connections would wait for it. What
    cannot be imported is told of where it is used."""
    for feature in features:
        here = [name for role, name in feature.provides.items() if role in _HERE]
        for name in filter(None, (*feature.endpoints, *here, feature.problems, feature.forgets)):
            with contextlib.suppress(BrokenFeature):
                feature.load(name)


def make_runners(
    parts: Dependencies, token: str | None, port: int, proxy_port: int
) -> tuple[web.AppRunner, web.AppRunner]:
    """Returns what serves the control API, and what serves pages to clients of the proxy's own port. The API is for
    those who have the token, on loopback at `port`; without a token for this user's processes. The caller sets both up
    and cleans them up."""
    frame = Frame(parts, SignIn())
    guard = SameUser() if token is None else Bearer(token, hosts_of(port))
    dashboard = Dashboard(frame, proxy_port)
    return _runner(make_app(frame, guard)), _runner(_page_app(frame, dashboard, proxy_port))


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
        # Any server on this computer can give the browser long cookies for ours: what the proxy port lets in is read.
        max_line_size=HEAD_LIMIT,
        max_field_size=HEAD_LIMIT,
    )


def _page_app(frame: Frame, dashboard: Dashboard, port: int) -> web.Application:
    parts = frame.parts
    front_page = usable(frame.features, Role.FRONT_PAGE)

    def reached(request: web.Request) -> Destination:
        """The address at which the client has reached us, with the port of the proxy."""
        name = request.transport.get_extra_info("sockname") if request.transport is not None else None
        address = reached_address(name)
        return Destination("127.0.0.1" if address is None else address.host, port)

    def proxy(request: web.Request) -> Destination:
        """Where this client reaches the proxy: the configured address, unless that is all addresses."""
        listen = Destination(parts.setup().settings.listen.address, port)
        return reached(request) if listen.address is None or listen.address.is_unspecified else listen

    def hosts(request: web.Request) -> frozenset[str]:
        listen = parts.setup().settings.listen.address
        return hosts_of(port) | {
            *(OWN_NAME, f"{OWN_NAME}:80", str(Destination(listen, port)), str(reached(request))),
            *((reached(request).host,) if port == 80 else ()),
        }

    @web.middleware
    async def only_ours(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Checks a request. Each connection is closed after one: the proxy port has read only the first."""
        try:
            check_host(request, hosts(request))
            check_shape(request, of_browser=True)
            response = await handler(request)
        except Refused as error:
            response = refusal(request, error.status, _("Refused"), error.text)
        except web.HTTPNotFound:
            response = refusal(request, 404, _("Page not found"), _("No page has this address."))
        except web.HTTPException as error:
            response = refusal(request, error.status, _("Refused"), error.reason)
        response.force_close()
        return response

    def language_of(request: web.Request) -> Language:
        return language_of_browser(parts.setup().settings.ui.language, request.headers.get("Accept-Language", ""))

    def refusal(request: web.Request, status: int, title: str, text: str) -> web.Response:
        """A page for browsers, which does not say what listens here; a sentence for other programs."""
        if prefers_html(tuple(request.headers.items())):
            return message(title, text, status, language_of(request))
        return web.Response(status=status, text=f"{text}\n")

    async def page(request: web.Request) -> web.Response:
        user_agent = request.headers.get("User-Agent", "")
        language = language_of(request)
        address = reached(request).address
        is_here = address is not None and address.is_loopback
        if front_page is None:
            raise web.HTTPNotFound
        text = front_page(proxy(request), use(request, user_agent) if is_here else None, user_agent, language)
        return web.Response(text=text, content_type="text/html")

    def is_by_name(request: web.Request) -> bool:
        """Whether it came through the proxy."""
        return request.headers["Host"].lower().partition(":")[0] == OWN_NAME

    def use(request: web.Request, user_agent: str) -> Use:
        if is_by_name(request):
            return Use.CONFIRMED
        return Use.RECENT if user_agent and parts.recent_clients.has_used(user_agent) else Use.NOT_SEEN

    async def pac(request: web.Request) -> web.Response:
        # Who has our name has a proxy already. In a frame, a PAC file is a download: it fires no load event, by which a
        # page would tell our name from one that does not exist, and browsers say of http names not who asks.
        if is_by_name(request):
            raise web.HTTPNotFound
        # Without a charset: it is ASCII, and some systems compare the whole field.
        body = pac_text(PATHS[request.path], proxy(request)).encode("ascii")
        return web.Response(body=body, content_type=CONTENT_TYPE)

    async def allow_style(_request: web.BaseRequest, response: web.StreamResponse) -> None:
        if response.content_type == "text/html":
            response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)

    app = web.Application(client_max_size=FORM_LIMIT, middlewares=[only_ours])
    app.add_routes([web.get("/", page), *(web.get(path, pac) for path in PATHS), *dashboard.routes()])
    app.on_response_prepare.append(allow_style)
    app.on_response_prepare.append(secure_headers)
    app.on_shutdown.append(dashboard.stop)
    return app
