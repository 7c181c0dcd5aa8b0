"""Makes the two applications of aiohttp: the control API, and the pages on the proxy's port.

`server` imports this module in a thread, with the first client.
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
from proxy.control.dashboard.kept_sessions import KeptSessions
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
"""Seconds for answers in progress when the server closes."""
_LINGER_S = 2.0
"""Seconds for which the rest of a body is read and dropped, so that its sender receives the answer."""
_IDLE_S = 15.0


_HERE = frozenset((Role.FRONT_PAGE, Role.SITES, Role.RELAYS))
"""The roles of features that the API and the front page use."""


def import_features(features: Sequence[Feature]) -> None:
    """Imports the objects of features that the API and the front page use. Called in a thread, since an import on the
    loop delays connections. An import that fails is reported where the object is used."""
    for feature in features:
        here = [name for role, name in feature.provides.items() if role in _HERE]
        for name in filter(None, (*feature.endpoints, *here, feature.problems, feature.forgets)):
            with contextlib.suppress(BrokenFeature):
                feature.load(name)


def make_runners(
    parts: Dependencies, token: str | None, port: int, proxy_port: int
) -> tuple[web.AppRunner, web.AppRunner]:
    """Returns the runners of the control API and of the pages on the proxy's port. The API admits clients with the
    token, on loopback at `port`; without a token it admits processes of this user. The caller sets both runners up and
    cleans them up."""
    frame = Frame(parts, SignIn(KeptSessions(parts.sessions_file)))
    guard = SameUser() if token is None else Bearer(token, hosts_of(port))
    dashboard = Dashboard(frame, proxy_port)
    return _runner(make_app(frame, guard)), _runner(_page_app(frame, dashboard, proxy_port))


class _InOneLine(logging.Filter):
    """Turns aiohttp's errors into one line without a traceback: most are about bytes that are not HTTP."""

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
        handler_cancellation=True,  # a follower of the log may leave between two lines
        keepalive_timeout=_IDLE_S,
        lingering_time=_LINGER_S,
        shutdown_timeout=_CLOSE_S,
        # Any server on this computer can set long cookies for 127.0.0.1: all that the proxy port accepts is accepted.
        max_line_size=HEAD_LIMIT,
        max_field_size=HEAD_LIMIT,
    )


def _page_app(frame: Frame, dashboard: Dashboard, port: int) -> web.Application:
    parts = frame.parts
    front_page = usable(frame.features, Role.FRONT_PAGE)

    def reached(request: web.Request) -> Destination:
        """Returns the address at which the client reached Byway, with the proxy's port."""
        name = request.transport.get_extra_info("sockname") if request.transport is not None else None
        address = reached_address(name)
        return Destination("127.0.0.1" if address is None else address.host, port)

    def proxy(request: web.Request) -> Destination:
        """Returns the proxy's address for this client: the configured one, unless that is a wildcard."""
        listen = Destination(parts.settings.listen.address, port)
        return reached(request) if listen.address is None or listen.address.is_unspecified else listen

    def hosts(request: web.Request) -> frozenset[str]:
        listen = parts.settings.listen.address
        return hosts_of(port) | {
            *(OWN_NAME, f"{OWN_NAME}:80", str(Destination(listen, port)), str(reached(request))),
            *((reached(request).host,) if port == 80 else ()),
        }

    @web.middleware
    async def only_ours(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Checks a request. Closes the connection after it: the proxy port has checked only the first request."""
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
        return language_of_browser(parts.settings.ui.language, request.headers.get("Accept-Language", ""))

    def refusal(request: web.Request, status: int, title: str, text: str) -> web.Response:
        """Returns a page for browsers, which does not name Byway, or a sentence for other programs."""
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
        """Whether the request came through the proxy: only there does Byway's name resolve."""
        return request.headers["Host"].lower().partition(":")[0] == OWN_NAME

    def use(request: web.Request, user_agent: str) -> Use:
        if is_by_name(request):
            return Use.CONFIRMED
        return Use.RECENT if user_agent and parts.recent_clients.has_used(user_agent) else Use.NOT_SEEN

    async def pac(request: web.Request) -> web.Response:
        # A client that uses Byway's name has the proxy set already. In a frame, a PAC file would be a download without
        # a load event, by which a web page could detect Byway; for http names browsers do not send the initiator.
        if is_by_name(request):
            raise web.HTTPNotFound
        # Without a charset: the file is ASCII, and some systems compare the whole field.
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
