"""Serves the dashboard to clients of the proxy port: what is known, on pages that are whole without JavaScript, and
forms that change the little that a browser may change.

A session here is not the user's shell: nothing takes a command, a path, a password or a setting that decides who may
use Byway. Every request passes `guard` first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol, cast

from aiohttp import web

from proxy.config.suggestions import one_of, quoted
from proxy.control.access import Refused, hosts_of
from proxy.control.answers.measurements import MeasuredSiteLine
from proxy.control.answers.sites import OverrideJson
from proxy.control.dashboard.guard import (
    check_client,
    check_origin,
    cookie_name,
    posted_form,
    session_of,
)
from proxy.control.dashboard.sign_in import CODE_S, Session, SignIn
from proxy.control.dependencies import Dependencies
from proxy.control.endpoints.measurements import MeasurementRequest
from proxy.control.endpoints.rules import RuleTestRequest
from proxy.control.request_parsing import parse_field, parse_number, query_fields
from proxy.control.site import scope, site
from proxy.control.streaming import FAULT
from proxy.control.subjects import Subjects
from proxy.model import AutoMode, Destination, Override
from proxy.model.errors import BywayError
from proxy.net.tasks import spawn
from proxy.routing.rules import parse_action
from proxy.wire.html_page import CONTENT_SECURITY_POLICY, Html, document, element

log = logging.getLogger(__name__)

STREAMS_MAX = 16
"""Tabs that are kept up to date at a time."""

_PAUSE_BETWEEN_S = 1.0
"""Between two events to a tab, at least."""

_ALIVE_S = 15.0
"""After so many seconds without an event a comment is sent, so that a tab that is gone is noticed."""

_PAGE_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    # With "no-referrer" a browser sends `Origin: null` with a form (Fetch, "append a request Origin header").
    "Referrer-Policy": "same-origin",
}
_SIGN_IN_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY.replace("form-action 'none'", "form-action 'self'"),
    "Referrer-Policy": "same-origin",
}
_DAY_S = 86_400.0
_HOURS_MAX = 366 * 24
_CONNECTIONS = 50  # on the card of a site

Page = Callable[[web.Request, Session], Awaitable[web.StreamResponse]]


class _Adopted(Protocol):
    """The protocol of a connection that the proxy port handed over."""

    def stay_open(self) -> None:
        """Lifts its time limit."""


class Dashboard:
    """The dashboard of one Byway. Belongs to one loop."""

    def __init__(self, parts: Dependencies, subjects: Subjects, sign_in: SignIn, port: int) -> None:
        """`port` is the proxy's own."""
        self._parts = parts
        self._subjects = subjects
        self._sign_in = sign_in
        self._port = port
        self._streams: set[asyncio.Task[Any]] = set()

    def routes(self) -> list[web.RouteDef]:
        base = "/s/{secret}/"
        return [
            web.get("/sign-in", self._sign_in_page),
            web.post("/sign-in", self._redeem),
            web.get(base, self._page(self._home)),
            web.get(f"{base}sites", self._page(self._sites)),
            web.get(f"{base}sites/", self._page(self._chosen_site)),
            web.get(f"{base}sites/{{host}}", self._page(self._site)),
            web.get(f"{base}relays", self._page(self._relays)),
            web.get(f"{base}log", self._page(self._log)),
            web.get(f"{base}why", self._page(self._why)),
            web.post(f"{base}why", self._page(self._measure)),
            web.get(f"{base}rules", self._page(self._rules)),
            web.get(f"{base}networks", self._page(self._networks)),
            web.get(f"{base}addons", self._page(self._addons)),
            web.get(f"{base}dashboard.css", self._page(self._style)),
            web.get(f"{base}dashboard.js", self._page(self._module)),
            web.get(f"{base}events", self._page(self._events), allow_head=False),
            web.post(f"{base}sites/{{host}}/override", self._page(self._set_override)),
            web.post(f"{base}mode", self._page(self._set_mode)),
            web.post(f"{base}pause", self._page(self._set_pause)),
            web.post(f"{base}sign-out", self._page(self._sign_out)),
        ]

    async def stop(self, _app: web.Application) -> None:
        """Ends the streams to tabs: aiohttp would wait for them."""
        for stream in tuple(self._streams):
            stream.cancel()

    # -- signing in ------------------------------------------------------------------------------------------------

    def _hosts(self) -> frozenset[str]:
        listen = Destination(self._parts.setup().settings.listen.address, self._port)
        is_loopback = listen.address is not None and listen.address.is_loopback
        return hosts_of(self._port) | ({str(listen)} if is_loopback else frozenset())

    async def _sign_in_page(self, request: web.Request) -> web.Response:
        check_client(request, self._hosts())
        query_fields(request)
        return _sign_in_form("")

    async def _redeem(self, request: web.Request) -> web.Response:
        """Takes a code. It may come from a file that `byway open` wrote, so any Origin may send it."""
        check_client(request, self._hosts())
        form = await posted_form(request, None, "code")
        code = self._sign_in.redeem(form.get("code", ""), _now())
        if code is None or code.session is None:
            return _sign_in_form(f"This code is wrong, was used, or is older than {CODE_S:.0f} s.", status=403)
        session, path = code.session, f"{code.session.path}{code.page}"
        # The cookie is SameSite=Strict: a redirect of this answer would count as caused by the file, and lack it.
        content = [
            Html(f'<meta http-equiv="refresh" content="0;url={path}">'),
            element("p", Html(f'<a href="{path}">Open the dashboard</a>')),
        ]
        response = _html(document("Signed in", *content), _SIGN_IN_HEADERS)
        response.set_cookie(
            cookie_name(self._port), session.cookie, path=session.path, httponly=True, samesite="Strict"
        )
        return response

    async def _sign_out(self, request: web.Request, session: Session) -> web.Response:
        await posted_form(request, session)
        self._sign_in.sign_out(session)
        return _message("Signed out", "To sign in again: `byway open`", status=200)

    def _page(self, page: Page) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Returns the handler that lets only this user's browser reach a page."""

        async def handler(request: web.Request) -> web.StreamResponse:
            check_client(request, self._hosts())
            check_origin(request)
            try:
                secret = request.match_info["secret"]
                session = session_of(request, self._sign_in, secret=secret, port=self._port, now=_now())
                return await page(request, session)
            except Refused as refused:
                if request.headers.get("Sec-Fetch-Dest", "document") != "document":
                    raise
                return _message("Signed out" if refused.status == 401 else "Refused", str(refused), refused.status)
            except web.HTTPException:
                raise
            except Exception as error:
                _log_fault(error)
                return _message("Internal error", FAULT, 500)

        return handler

    # -- pages -----------------------------------------------------------------------------------------------------

    async def _home(self, request: web.Request, session: Session) -> web.Response:
        from proxy.control.dashboard.home import RouteHour, first_hour, home_view

        query_fields(request)
        status = await self._subjects.status.status()
        rows = await asyncio.to_thread(self._parts.store.route_hours, first_hour(status.now))
        changes = await self._subjects.sites.sites.recent_changes(status.now - _DAY_S)
        view = home_view(status, list(map(RouteHour.of_row, rows)), changes)
        return await self._rendered("home.html", session, title="Home", here="", view=view)

    async def _sites(self, request: web.Request, session: Session) -> web.Response:
        from proxy.control.dashboard.sites import SitesFilter, sites_view

        asked = query_fields(request, "status", "cause", "network", "name", "page")
        page = parse_field(lambda text: int(parse_number(text, least=1, most=1e6)), asked.get("page", "1"))
        chosen = SitesFilter(
            asked.get("status", ""), asked.get("cause", ""), asked.get("network", ""), asked.get("name", ""), page
        )
        view = sites_view(await self._subjects.sites.list_sites(), chosen)
        return await self._rendered("sites.html", session, title="Sites", here="sites", view=view)

    async def _chosen_site(self, request: web.Request, session: Session) -> web.Response:
        """Leads from a typed host to its page."""
        from urllib.parse import quote

        host = parse_field(scope, query_fields(request, "host").get("host", "").strip())
        return _see_other(f"{session.path}sites/{quote(host, safe='')}")

    async def _site(self, request: web.Request, session: Session) -> web.Response:
        from proxy.control.dashboard.sites import site_view

        query_fields(request)
        host, now = parse_field(scope, request.match_info["host"]), time.time()
        answer = await self._subjects.sites.show_site(host)
        known = await self._subjects.measurements.known(Destination(host, 443))
        rows = await self._subjects.sites.sites.rows(site=host, since=now - _DAY_S, limit=_CONNECTIONS)
        undo = session.undo[1] if session.undo is not None and session.undo[0] == host else None
        networks = {id_: name for name, id_ in self._parts.setup().settings.networks.items()}
        relays = self._subjects.relays.relays.usable_names()
        view = site_view(answer, known, rows, relays=relays, undo=undo, now=now, networks=networks)
        return await self._rendered("site.html", session, title=host, here="sites", view=view)

    async def _relays(self, request: web.Request, session: Session) -> web.Response:
        from proxy.control.dashboard.relays import relays_view

        query_fields(request)
        view = relays_view(await self._subjects.relays.list_relays())
        return await self._rendered("relays.html", session, title="Relays", here="relays", view=view)

    async def _log(self, request: web.Request, session: Session) -> web.Response:
        from proxy.control.dashboard.log import ROWS, LogFilterForm, log_view

        asked = query_fields(request, "site", "route", "outcome", "hours")
        chosen = LogFilterForm(
            asked.get("site", "").strip(), asked.get("route", "").strip(), asked.get("outcome", ""),
            asked.get("hours", "24"),
        )  # fmt: skip
        hours = (
            parse_field(lambda text: parse_number(text, least=1, most=_HOURS_MAX), chosen.hours) if chosen.hours else 0
        )
        try:
            rows = await self._subjects.sites.sites.rows(
                since=time.time() - hours * 3600 if hours else 0.0,
                site=parse_field(scope, chosen.site) if chosen.site else None,
                route=chosen.route or None,
                outcome=chosen.outcome or None,
                limit=ROWS,
            )
        except ValueError as error:
            raise Refused(400, str(error)) from None
        view = log_view(rows, chosen, self._parts.setup().settings.log.hosts)
        return await self._rendered("log.html", session, title="Log", here="log", view=view)

    async def _rules(self, request: web.Request, session: Session) -> web.Response:
        from proxy.control.dashboard.rules import rules_view

        text = query_fields(request, "url").get("url", "").strip()
        traced = await self._subjects.rules.test_rules(RuleTestRequest(text)) if text else None
        view = rules_view(await self._subjects.rules.rules(), await self._subjects.lists.lists(), traced, text)
        return await self._rendered("rules.html", session, title="Rules", here="rules", view=view)

    async def _networks(self, request: web.Request, session: Session) -> web.Response:
        from proxy.control.dashboard.networks import networks_view

        query_fields(request)
        parts, here = self._parts, self._parts.network()
        names = {id_: name for name, id_ in parts.setup().settings.networks.items()}
        sites = (await self._subjects.sites.list_sites()).sites
        view = networks_view(sites, names, here, parts.beliefs.network_state(here))
        return await self._rendered("networks.html", session, title="Networks", here="networks", view=view)

    async def _addons(self, request: web.Request, session: Session) -> web.Response:
        from proxy.control.dashboard.addons import addons_view

        query_fields(request)
        view = addons_view(await self._subjects.status.addons())
        return await self._rendered("addons.html", session, title="Addons", here="addons", view=view)

    async def _why(self, request: web.Request, session: Session) -> web.Response:
        asked = query_fields(request, "site").get("site", "").strip()
        return await self._rendered("why.html", session, title="Why?", here="why", view={"site": asked, "stream": ""})

    async def _measure(self, request: web.Request, session: Session) -> web.StreamResponse:
        """Measures a site, and sends the page as far as the measurement is: each step when it is done."""
        form = await posted_form(request, session, "site", "fresh")
        text = form.get("site", "").strip()
        destination = parse_field(site, text)
        is_here = destination.address is not None and not destination.address.is_global
        if is_here or self._parts.beliefs.is_near(destination.host):
            raise Refused(400, f"{destination.host} is not on the internet. To test it: `byway why {destination.host}`")
        lines = await self._subjects.measurements.measure(MeasurementRequest(text, fresh="fresh" in form))
        rendering = await _rendering()
        view = {"site": text, "stream": rendering.STREAM}
        page = rendering.render("why.html", session, title="Why?", here="why", view=view)
        before, between, after = page.split(rendering.STREAM)
        response = web.StreamResponse(headers={**_PAGE_HEADERS, "Content-Type": "text/html; charset=utf-8"})
        with self._streaming(request):
            await response.prepare(request)
            try:
                await response.write(before.encode())
                async with contextlib.aclosing(lines):
                    async for line in lines:
                        part = rendering.render_line(line, session)
                        if isinstance(line, MeasuredSiteLine):  # the last one
                            part, between = between + part, ""
                        await response.write(part.encode())
                await response.write((between + after).encode())
            except ConnectionError:
                pass  # the tab was closed
            except Exception as error:  # the page has begun, and says so in its midst
                _log_fault(error)
                with contextlib.suppress(ConnectionError):
                    await response.write(f"</ol>{element('p', FAULT, role='alert')}{after}".encode())
        return response

    @contextlib.contextmanager
    def _streaming(self, request: web.Request) -> Iterator[None]:
        """Lifts the time limit of a connection, and ends its answer when Byway ends."""
        task = asyncio.current_task()
        assert task is not None
        assert request.transport is not None
        cast(_Adopted, request.transport.get_protocol()).stay_open()
        self._streams.add(task)
        try:
            yield
        finally:
            self._streams.discard(task)

    async def _style(self, request: web.Request, _session: Session) -> web.Response:
        query_fields(request)
        return await self._asset("dashboard.css", "text/css")

    async def _module(self, request: web.Request, _session: Session) -> web.Response:
        query_fields(request)
        return await self._asset("dashboard.js", "text/javascript")

    async def _events(self, request: web.Request, _session: Session) -> web.StreamResponse:
        """Streams an event (server-sent events, WHATWG HTML) when connections have ended, one a second at most. It has
        no content: the tab asks for its page again, and what happened between two events is in it."""
        query_fields(request)
        if len(self._streams) >= STREAMS_MAX:
            raise Refused(503, "Too many tabs are open.")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        changed = asyncio.Event()
        with self._streaming(request):
            noting = spawn(self._note_outcomes(changed), name="note outcomes for a tab")
            try:
                await response.prepare(request)
                while True:
                    try:
                        async with asyncio.timeout(_ALIVE_S):
                            await changed.wait()
                    except TimeoutError:
                        await response.write(b":\n\n")
                        continue
                    await response.write(b"event: changed\ndata:\n\n")
                    await asyncio.sleep(_PAUSE_BETWEEN_S)
                    changed.clear()
            except ConnectionError:
                pass  # the tab was closed
            finally:
                noting.cancel()
        return response

    # -- changes ---------------------------------------------------------------------------------------------------

    async def _set_override(self, request: web.Request, session: Session) -> web.Response:
        from proxy.control.dashboard.sites import LENGTHS, NO_OVERRIDE, action_value, override_text

        form = await posted_form(request, session, "action", "hours")
        host = parse_field(scope, request.match_info["host"])
        hours, word = form.get("hours", ""), form.get("action", "")
        if hours not in LENGTHS:
            raise Refused(400, f"unknown length {quoted(hours)}")
        before = self._parts.setup().router.overrides.get(host)
        override = None
        if word != NO_OVERRIDE:
            usable = self._subjects.relays.relays.usable_names()
            action, relay = parse_field(lambda text: parse_action(text, relays=usable), word)
            override = Override(action, relay, time.time() + float(hours) * 3600 if hours else 0.0)
        await self._subjects.sites.set_override(host, override)
        session.undo = (host, NO_OVERRIDE if before is None else action_value(OverrideJson.of(host, before)))
        what = "no override" if override is None else override_text(OverrideJson.of(host, override))
        session.notice = f"{host} and its subdomains: {what}."
        return _see_other(f"{session.path}sites/{request.match_info['host']}")

    async def _set_mode(self, request: web.Request, session: Session) -> web.Response:
        form = await posted_form(request, session, "mode")
        name, settable = form.get("mode", ""), [mode for mode in AutoMode if mode is not AutoMode.PAUSED]
        if name not in settable:
            raise Refused(400, f"unknown mode {quoted(name)}; it can be {one_of(settable)}")
        return self._switched(session, lambda: self._parts.modes.set_mode(AutoMode(name)), f"Mode: {name}.")

    async def _set_pause(self, request: web.Request, session: Session) -> web.Response:
        form = await posted_form(request, session, "minutes")
        minutes = parse_field(lambda text: parse_number(text, least=0, most=24 * 60), form.get("minutes", ""))
        modes = self._parts.modes
        if not minutes:
            return self._switched(session, modes.resume, "Resumed.")
        return self._switched(session, lambda: modes.pause(minutes * 60), f"Paused for {minutes:g} minutes.")

    def _switched(self, session: Session, switch: Callable[[], None], notice: str) -> web.Response:
        try:
            switch()
        except BywayError as error:  # it is in effect, and not stored
            notice = f"{notice} {error}"
        session.notice = notice
        return _see_other(session.path)

    # -- answers ---------------------------------------------------------------------------------------------------

    async def _rendered(self, template: str, session: Session, **values: Any) -> web.Response:
        rendering = await _rendering()
        return _html(rendering.render(template, session, **values), _PAGE_HEADERS)

    async def _asset(self, name: str, content_type: str) -> web.Response:
        body = await asyncio.to_thread((await _rendering()).asset, name)
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=_PAGE_HEADERS)

    async def _note_outcomes(self, changed: asyncio.Event) -> None:
        async for _ in self._parts.follow():
            changed.set()


def _log_fault(error: Exception) -> None:
    log.error("internal error while answering a page of the dashboard: %s", type(error).__name__)
    log.debug("traceback:", exc_info=True)  # its message may name a site


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _rendering() -> ModuleType:
    """The module that renders, imported in a thread when the first page is asked for: connections go on meanwhile."""
    return await asyncio.to_thread(import_module, "proxy.control.dashboard.rendering")


def _html(text: str, headers: Mapping[str, str], status: int = 200) -> web.Response:
    return web.Response(text=text, content_type="text/html", status=status, headers=headers)


def _see_other(path: str) -> web.Response:
    return web.Response(status=303, headers={**_PAGE_HEADERS, "Location": path})


def _message(title: str, text: str, status: int) -> web.Response:
    """A page of one sentence, for those who are not signed in too."""
    return _html(document(title, element("p", text)), _SIGN_IN_HEADERS, status)


def _sign_in_form(error: str, status: int = 200) -> web.Response:
    content = [
        element("p", "`byway open` in a terminal opens the dashboard. `byway open --print` shows a code to type here."),
        Html(
            '<form method="post" action="/sign-in"><p><label>Code <input name="code" required autocomplete="off"'
            ' autocapitalize="characters" spellcheck="false" dir="ltr" size="24"></label> <button>Sign in</button></p>'
            "</form>"
        ),
    ]
    if error:
        content.insert(0, element("p", error, class_="state", role="alert"))
    return _html(document("Sign in", *content), _SIGN_IN_HEADERS, status)
