"""Serves the dashboard to clients of the proxy port: pages that work without JavaScript, and forms for the few changes
that a browser may make.

A session has fewer rights than the user's shell: no form accepts a command, a path, or a setting or password that
controls access to Byway. A form accepts the password of a relay, which no page shows. Every request passes `guard`
first. The pages are imported with the first request of a session.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import web

from proxy.control.access import Refused, hosts_of
from proxy.control.dashboard.answer import SIGN_IN_HEADERS, html, log_fault, message
from proxy.control.dashboard.guard import check_client, check_origin, cookie_name, posted_form, session_of
from proxy.control.dashboard.sign_in import CODE_S, Session
from proxy.control.frame import Frame
from proxy.control.request_parsing import query_fields
from proxy.control.speaker import speaker
from proxy.control.streaming import FAULT
from proxy.languages.language import Language, language_of_browser
from proxy.model import Destination
from proxy.model.phrase import _
from proxy.session.foreign_requests import SIGN_IN_PATH
from proxy.wire.html_page import Html, document, element, prose

if TYPE_CHECKING:
    from proxy.control.dashboard.routes import Routes


class Dashboard:
    """The dashboard of one Byway. Belongs to one loop."""

    def __init__(self, frame: Frame, port: int) -> None:
        """`port` is the proxy's port."""
        self._frame = frame
        self._parts = frame.parts
        self._sign_in = frame.sign_in
        self._port = port
        self._routes: Routes | None = None
        self._streams: set[asyncio.Task[Any]] = set()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(SIGN_IN_PATH, self._sign_in_page),
            web.post(SIGN_IN_PATH, self._redeem),
            web.get("/s/{secret}/{path:.*}", self._signed_in, allow_head=False),
            web.post("/s/{secret}/{path:.*}", self._signed_in),
        ]

    async def stop(self, _app: web.Application) -> None:
        """Ends the streams to tabs, since aiohttp would wait for them."""
        for stream in tuple(self._streams):
            stream.cancel()
        await self._sign_in.close()

    def _hosts(self) -> frozenset[str]:
        listen = Destination(self._parts.settings.listen.address, self._port)
        is_loopback = listen.address is not None and listen.address.is_loopback
        return hosts_of(self._port) | ({str(listen)} if is_loopback else frozenset())

    async def _sign_in_page(self, request: web.Request) -> web.Response:
        check_client(request, self._hosts())
        query_fields(request)
        return _sign_in_form("", self._language(request))

    async def _redeem(self, request: web.Request) -> web.Response:
        """Redeems a code. The form may be in a file that `byway open` wrote, so any Origin is accepted."""
        check_client(request, self._hosts())
        language = self._language(request)
        say = speaker(language)
        form = await posted_form(request, None, "code")
        code = self._sign_in.redeem(form.get("code", ""), _now())
        await self._sign_in.written()  # a second use ends a session also after a restart
        if code is None or code.session is None:
            error = _("This code is wrong, was used, or is older than {count:.0f} s.", count=CODE_S)
            return _sign_in_form(error, language, status=403)
        session, path = code.session, f"{code.session.path}{code.page}"
        # The cookie is SameSite=Strict: after a redirect the browser would not send it, as the file is the initiator.
        content = [
            Html(f'<meta http-equiv="refresh" content="0;url={path}">'),
            element("p", element("a", say(_("Open the dashboard")), href=path)),
        ]
        response = html(
            document(say(_("Signed in")), *content, language=language, direction=language.direction), SIGN_IN_HEADERS
        )
        response.set_cookie(
            cookie_name(self._port), session.cookie, path=session.path, httponly=True, samesite="Strict"
        )
        return response

    async def _signed_in(self, request: web.Request) -> web.StreamResponse:
        """Answers a request for a page or from a form, in a session of this user's browser."""
        check_client(request, self._hosts())
        check_origin(request)
        try:
            secret = request.match_info["secret"]
            session = session_of(request, self._sign_in, secret=secret, port=self._port, now=_now())
            return await self._answer(request, session)
        except Refused as refused:
            if request.headers.get("Sec-Fetch-Dest", "document") != "document":
                raise
            title = _("Signed out") if refused.status == 401 else _("Refused")
            return message(title, refused.text, refused.status, self._language(request))
        except web.HTTPException:
            raise
        except Exception as error:
            log_fault(error)
            return message(_("Internal error"), FAULT, 500, self._language(request))

    def _language(self, request: web.BaseRequest) -> Language:
        return language_of_browser(self._parts.settings.ui.language, request.headers.get("Accept-Language", ""))

    async def _answer(self, request: web.Request, session: Session) -> web.StreamResponse:
        path, language = request.match_info["path"], self._language(request)
        if request.method == "POST" and path == "sign-out":
            await posted_form(request, session)
            self._sign_in.sign_out(session)
            await self._sign_in.written()
            return message(_("Signed out"), _("To sign in again: `byway open`"), 200, language)
        # In a thread, so that connections go on while jinja2 and the pages are imported and a catalogue is read.
        self._routes = routes = await asyncio.to_thread(_load_pages, language, self._frame, self._routes)
        from proxy.control.dashboard.visit import Visit

        handler, fields = routes.find(request.method, path)
        began = _now()
        answer = await handler(Visit(request, session, language, fields, self._frame, self._streams))
        if request.method == "GET" and isinstance(answer, web.Response):
            session.page_took_s = max(_now() - began, session.page_took_s * 0.7)  # several tabs share it
        return answer


def _load_pages(language: Language, frame: Frame, loaded: Routes | None) -> Routes:
    from proxy.control.dashboard.rendering import environment
    from proxy.control.dashboard.routes import Routes

    environment(language)
    return loaded or Routes(frame)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _sign_in_form(error: str, language: Language, status: int = 200) -> web.Response:
    say = speaker(language)
    code, button = prose(say(_("Code"))), element("button", say(_("Sign in")))
    content = [
        element(
            "p",
            say(_("`byway open` in a terminal opens the dashboard. `byway open --print` shows a code to type here.")),
        ),
        Html(
            f'<form method="post" action="{SIGN_IN_PATH}"><p><label>{code} <input name="code" required'
            ' autocomplete="off" autocapitalize="characters" spellcheck="false" dir="ltr" size="24"></label>'
            f" {button}</p></form>"
        ),
    ]
    if error:
        content.insert(0, element("p", say(error), class_="state", role="alert"))
    page = document(say(_("Sign in")), *content, language=language, direction=language.direction)
    return html(page, SIGN_IN_HEADERS, status)
