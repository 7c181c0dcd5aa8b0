"""A request of a browser that is signed in, and the ways to answer it.

Imported in a thread when the first page is asked for, and with it jinja2 and every page: `dashboard` lets nobody get
here who has no session.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, cast

from aiohttp import web

from proxy.control.access import Refused
from proxy.control.dashboard.answer import PAGE_HEADERS, html, log_fault
from proxy.control.dashboard.guard import FORM_LIMIT, SIGNED_OUT, posted_form
from proxy.control.dashboard.rendering import STREAM, render, render_part
from proxy.control.dashboard.sign_in import Session
from proxy.control.dependencies import Dependencies
from proxy.control.frame import Frame
from proxy.control.request_parsing import query_fields
from proxy.control.streaming import FAULT
from proxy.languages.amounts import clock
from proxy.languages.catalogue import catalogue
from proxy.languages.language import Language
from proxy.model import AutoMode
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _
from proxy.setup.mode_switch import ModeSwitch
from proxy.wire.html_page import element

STREAMS_MAX = 16
"""Answers that go on at a time: tabs that are kept up to date, and measurements."""


@frozen_dataclass
class Visit:
    """A request. `language` is that of its answer: two tabs of a session may ask for two at a time. `fields` are the
    parts of its path that its Route names; `streams` are the answers that go on."""

    request: web.Request
    session: Session
    language: Language
    fields: Mapping[str, str]
    frame: Frame
    streams: set[asyncio.Task[Any]]

    @property
    def parts(self) -> Dependencies:
        """Those of the running Byway."""
        return self.frame.parts

    def query(self, *names: str) -> Mapping[str, str]:
        """Returns the fields of the query, each of which has to be one of `names`. Raises Refused."""
        return query_fields(self.request, *names)

    async def form(self, *names: str, limit: int = FORM_LIMIT) -> Mapping[str, str]:
        """Returns the fields of a form that a page of this session posted, of at most `limit` bytes. Raises Refused."""
        return await posted_form(self.request, self.session, *names, limit=limit)

    async def page(self, template: str, *, here: str, view: Any, title: str = "", status: int = 200) -> web.Response:
        """As `render`. It is made in a thread: a long list takes 30 ms."""
        text = await asyncio.to_thread(self.render, template, title=title, here=here, view=view)
        return html(text, PAGE_HEADERS, status)

    def render(self, template: str, *, here: str, view: Any, title: str = "") -> str:
        """Returns the text of a page. `here` is its path in the menu, or that of the page of the menu from which it is
        reached; without a `title` it has that page's. A page that the browser goes to takes the notice;
        one that another tab asks for, to bring itself up to date, leaves it to that."""
        notice, pages = "", [*self.frame.pages.values()]
        if self.request.headers.get("Sec-Fetch-Dest", "document") == "document":
            notice, self.session.notice = self.session.notice, ""
        return render(
            template,
            self.session,
            self.language,
            pages,
            title=title or next(page.title for page in pages if page.path == here),
            here=here,
            notice=notice,
            mode=mode_mark(self.parts.modes),
            is_answer=self.request.method == "POST",
            view=view,
        )

    async def part(self, template: str, view: Any) -> web.Response:
        """Returns a part of a page, for the module."""
        return html(
            await asyncio.to_thread(render_part, template, self.session, self.language, view=view), PAGE_HEADERS
        )

    def file(self, text: str, name: str, content_type: str) -> web.Response:
        """Returns a file for the browser to save. `name` is of letters, digits, dots and hyphens."""
        headers = {**PAGE_HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
        return web.Response(text=text, content_type=content_type, charset="utf-8", headers=headers)

    async def stream_file(self, parts: AsyncIterator[str], name: str, content_type: str) -> web.StreamResponse:
        """Sends a file for the browser to save as it is made, a part at a time. What fails in its midst breaks the
        transfer off: a browser shows that, and keeps no file that looks whole."""
        headers = {
            **PAGE_HEADERS,
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Type": f"{content_type}; charset=utf-8",
        }
        response = web.StreamResponse(headers=headers)
        response.force_close()
        with self.streaming():
            await response.prepare(self.request)
            with contextlib.suppress(ConnectionError):  # the browser wants no more of it
                async for part in parts:
                    await response.write(part.encode())
                await response.write_eof()
        return response

    def see_other(self, path: str, notice: str = "") -> web.Response:
        """Returns what leads the browser to another page, whose path is behind that of the session, after a form. It
        shows the notice once."""
        if notice:
            self.session.notice = notice
        return web.Response(status=303, headers={**PAGE_HEADERS, "Location": f"{self.session.path}{path}"})

    async def stream(self, page: str, parts: AsyncGenerator[Part, None]) -> web.StreamResponse:
        """Sends a page as far as what it tells is done. `page` has STREAM twice: within a list and behind it. Closes
        `parts`. Raises Refused."""
        before, between, after = page.split(STREAM)
        response = web.StreamResponse(headers={**PAGE_HEADERS, "Content-Type": "text/html; charset=utf-8"})
        response.force_close()  # as every answer of the proxy port: this one's head is sent before its end
        with self.streaming():
            await response.prepare(self.request)
            try:
                await response.write(before.encode())
                async with contextlib.aclosing(parts):
                    async for part in parts:
                        text = part.text
                        if part.is_behind_list:
                            text, between = between + text, ""
                        await response.write(text.encode())
                await response.write((between + after).encode())
            except ConnectionError:
                pass  # the tab was closed
            except Exception as error:  # the page has begun, and says so in its midst
                log_fault(error)
                said = element("p", catalogue(self.language).say(FAULT), role="alert")
                with contextlib.suppress(ConnectionError):
                    await response.write(f"{between}{said}{after}".encode())
        return response

    @contextlib.contextmanager
    def streaming(self) -> Iterator[None]:
        """Lifts the time limit of the connection, and ends its answer when Byway ends. Raises Refused."""
        if self.session.is_over:
            raise Refused(401, SIGNED_OUT)
        if len(self.streams) >= STREAMS_MAX:
            raise Refused(503, _("Too many tabs are open."))
        task = asyncio.current_task()
        assert task is not None
        assert self.request.transport is not None
        cast(_Adopted, self.request.transport.get_protocol()).stay_open()
        for streams in (self.streams, self.session.streams):
            streams.add(task)
        try:
            yield
        finally:
            for streams in (self.streams, self.session.streams):
                streams.discard(task)


def mode_mark(modes: ModeSwitch) -> str:
    """Returns what stands on every page while a pause or a mode replaces AUTO; empty: none does."""
    if modes.paused_until:
        return _("Paused until {time}", time=clock(modes.paused_until)[11:16])
    return _MODE_MARKS.get(modes.mode, "")


_MODE_MARKS = {AutoMode.DIRECT: _("Mode: direct only"), AutoMode.RELAY: _("Mode: relays only")}


class Part(NamedTuple):
    """A part of a page that is sent when it is done: an item of the list, or what stands behind the list."""

    text: str
    is_behind_list: bool = False


class _Adopted(Protocol):
    """The protocol of a connection that the proxy port handed over."""

    def stay_open(self) -> None:
        """Lifts its time limit."""


Handler = Callable[[Visit], Awaitable[web.StreamResponse]]


class Route(NamedTuple):
    """What answers a method on a path behind that of the session. A part of the path in braces stands for any one, and
    names it: `sites/{host}`."""

    method: str
    path: str
    handler: Handler
