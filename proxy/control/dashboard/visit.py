"""A request of a browser that is signed in, and the ways to answer it.

Imported in a thread when the first page is asked for, and with it jinja2 and every page: `dashboard` lets nobody get
here who has no session.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, cast

from aiohttp import web

from proxy.control.access import Refused
from proxy.control.dashboard.answer import PAGE_HEADERS, html
from proxy.control.dashboard.guard import FORM_LIMIT, posted_form
from proxy.control.dashboard.rendering import render, render_part
from proxy.control.dashboard.sign_in import Session
from proxy.control.dependencies import Dependencies
from proxy.control.request_parsing import query_fields
from proxy.control.subjects import Subjects
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _

STREAMS_MAX = 16
"""Answers that go on at a time: tabs that are kept up to date, and measurements."""


@frozen_dataclass
class Visit:
    """A request. `fields` are the parts of its path that its Route names; `streams` are the answers that go on."""

    request: web.Request
    session: Session
    fields: Mapping[str, str]
    parts: Dependencies
    subjects: Subjects
    streams: set[asyncio.Task[Any]]

    def query(self, *names: str) -> Mapping[str, str]:
        """Returns the fields of the query, each of which has to be one of `names`. Raises Refused."""
        return query_fields(self.request, *names)

    async def form(self, *names: str, limit: int = FORM_LIMIT) -> Mapping[str, str]:
        """Returns the fields of a form that a page of this session posted, of at most `limit` bytes. Raises Refused."""
        return await posted_form(self.request, self.session, *names, limit=limit)

    async def page(self, template: str, *, title: str, here: str, view: Any) -> web.Response:
        """Returns a page. `here` is its path in the menu. It is made in a thread: a long list takes 30 ms."""
        text = await asyncio.to_thread(render, template, self.session, title=title, here=here, view=view)
        return html(text, PAGE_HEADERS)

    async def part(self, template: str, view: Any) -> web.Response:
        """Returns a part of a page, for the module."""
        return html(await asyncio.to_thread(render_part, template, self.session, view), PAGE_HEADERS)

    def see_other(self, path: str, notice: str = "") -> web.Response:
        """Returns what leads the browser to another page, whose path is behind that of the session, after a form. It
        shows the notice once."""
        if notice:
            self.session.notice = notice
        return web.Response(status=303, headers={**PAGE_HEADERS, "Location": f"{self.session.path}{path}"})

    @contextlib.contextmanager
    def streaming(self) -> Iterator[None]:
        """Lifts the time limit of the connection, and ends its answer when Byway ends. Raises Refused."""
        if len(self.streams) >= STREAMS_MAX:
            raise Refused(503, _("Too many tabs are open."))
        task = asyncio.current_task()
        assert task is not None
        assert self.request.transport is not None
        cast(_Adopted, self.request.transport.get_protocol()).stay_open()
        self.streams.add(task)
        try:
            yield
        finally:
            self.streams.discard(task)


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
