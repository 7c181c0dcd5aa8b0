"""A request in a session, and the ways to answer it.

`dashboard` imports this module, jinja2 and all pages in a thread, with the first request in a session.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, cast

from aiohttp import web

from proxy.control.access import Refused
from proxy.control.dashboard.answer import PAGE_HEADERS, html, log_fault
from proxy.control.dashboard.charts import PATTERNS
from proxy.control.dashboard.guard import FORM_LIMIT, SIGNED_OUT, posted_form
from proxy.control.dashboard.rendering import STREAM, render
from proxy.control.dashboard.sign_in import Session
from proxy.control.dependencies import Dependencies
from proxy.control.frame import Frame
from proxy.control.request_parsing import query_fields
from proxy.control.streaming import FAULT
from proxy.languages.catalogue import catalogue
from proxy.languages.dates import time_of_day
from proxy.languages.language import Language
from proxy.model import AutoMode
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext
from proxy.setup.mode_switch import ModeSwitch
from proxy.wire.html_page import element

STREAMS_MAX = 16
"""The most streamed answers at a time: updates of tabs, measurements and files."""


@frozen_dataclass
class Visit:
    """A request. `language` is that of the answer; two tabs of a session may have different ones. `fields` are the
    parts of the path that the Route names; `streams` are the streamed answers of all sessions."""

    request: web.Request
    session: Session
    language: Language
    fields: Mapping[str, str]
    frame: Frame
    streams: set[asyncio.Task[Any]]

    @property
    def parts(self) -> Dependencies:
        return self.frame.parts

    def query(self, *names: str) -> Mapping[str, str]:
        """Returns the fields of the query. Each must be one of `names`. Raises Refused."""
        return query_fields(self.request, *names)

    async def form(self, *names: str, limit: int = FORM_LIMIT) -> Mapping[str, str]:
        """Returns the fields of a form of this session, as `posted_form`. Raises Refused."""
        return await posted_form(self.request, self.session, *names, limit=limit)

    async def page(self, template: str, *, here: str, view: Any, title: str = "", status: int = 200) -> web.Response:
        """Returns a page, rendered in a thread: a long list takes 30 ms."""
        text = await asyncio.to_thread(self.render, template, title=title, here=here, view=view)
        return html(text, PAGE_HEADERS, status)

    def render(self, template: str, *, here: str, view: Any, title: str = "") -> str:
        """Returns the text of a page. `here` is the path of its page in the menu, or of the one that leads to it;
        `title` is by default that page's. A navigation of the browser shows the session's notice and removes it; the
        update of a tab does not."""
        notice, pages = "", [*self.frame.pages.values()]
        if self.request.headers.get("Sec-Fetch-Dest", "document") == "document":
            notice, self.session.notice = self.session.notice, ""
        return render(
            template,
            self.session,
            self.language,
            pages=pages,
            patterns=PATTERNS,
            title=title or next(page.title for page in pages if page.path == here),
            here=here,
            notice=notice,
            mode=mode_mark(self.parts.modes),
            is_paused=bool(self.parts.modes.paused_until),
            can_pause="today" in self.frame.pages,
            can_ask="sites" in self.frame.pages,
            network=network_name(self.parts),
            network_page="networks" if "networks" in self.frame.pages else "",
            is_answer=self.request.method == "POST",  # to a form, with the input of the user
            view=view,
        )

    async def part(self, template: str, view: Any) -> web.Response:
        """Returns a part of a page, for the script."""
        return html(await asyncio.to_thread(render, template, self.session, self.language, view=view), PAGE_HEADERS)

    def file(self, text: str, name: str, content_type: str) -> web.Response:
        """Returns a file for the browser to save. `name` has only letters, digits, dots and hyphens."""
        headers = {**PAGE_HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
        return web.Response(text=text, content_type=content_type, charset="utf-8", headers=headers)

    async def stream_file(self, parts: AsyncIterator[str], name: str, content_type: str) -> web.StreamResponse:
        """Sends a file for the browser to save, part by part. An error aborts the transfer, so that the browser does
        not keep an incomplete file."""
        headers = {
            **PAGE_HEADERS,
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Type": f"{content_type}; charset=utf-8",
        }
        response = web.StreamResponse(headers=headers)
        response.force_close()
        with self.streaming():
            await response.prepare(self.request)
            with contextlib.suppress(ConnectionError):  # the user has cancelled the download
                async for part in parts:
                    await response.write(part.encode())
                await response.write_eof()
        return response

    def see_other(self, path: str, notice: str = "") -> web.Response:
        """Returns a redirect to another page after a form. `path` is without that of the session. That page shows the
        notice once."""
        if notice:
            self.session.notice = notice
        return web.Response(status=303, headers={**PAGE_HEADERS, "Location": f"{self.session.path}{path}"})

    async def stream(self, page: str, parts: AsyncGenerator[Part, None]) -> web.StreamResponse:
        """Sends a page part by part. `page` has STREAM twice: in a list and after it, for the two kinds of Part. Closes
        `parts`. Raises Refused."""
        before, between, after = page.split(STREAM)
        response = web.StreamResponse(headers={**PAGE_HEADERS, "Content-Type": "text/html; charset=utf-8"})
        response.force_close()  # every answer on the proxy port closes the connection; here before the head is sent
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
            except Exception as error:  # part of the page is sent, so the message goes into it
                log_fault(error)
                alert = element("p", catalogue(self.language).say(FAULT), role="alert")
                with contextlib.suppress(ConnectionError):
                    await response.write(f"{between}{alert}{after}".encode())
        return response

    @contextlib.contextmanager
    def streaming(self) -> Iterator[None]:
        """Removes the time limit of the connection while an answer is streamed. The answer ends with the session, and
        with Byway. Raises Refused."""
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


def network_name(parts: Dependencies) -> str:
    """Returns the name of this network, as in `[networks]`, or the words for one without a name."""
    here = parts.network()
    return next((name for name, its in parts.settings.networks.items() if its == here), _("unnamed network"))


def mode_mark(modes: ModeSwitch) -> str:
    """Returns the text on every page while a pause or a mode replaces AUTO; empty when none does."""
    if modes.paused_until:
        left = math.ceil((modes.paused_until - time.time()) / 60)
        return ngettext(
            "Paused until {time}, {count} minute left",
            "Paused until {time}, {count} minutes left",
            max(left, 1),
            time=time_of_day(modes.paused_until),
        )
    return _MODE_MARKS.get(modes.mode, "")


_MODE_MARKS = {AutoMode.DIRECT: _("Mode: direct only"), AutoMode.RELAY: _("Mode: relays only")}


class Part(NamedTuple):
    """A part of a page that is sent when it is ready: an item of the list, or content after the list."""

    text: str
    is_behind_list: bool = False


class _Adopted(Protocol):
    """The protocol of a connection that the proxy port handed over."""

    def stay_open(self) -> None:
        """Removes the time limit."""


Handler = Callable[[Visit], Awaitable[web.StreamResponse]]


class Route(NamedTuple):
    """The handler of a method on a path, without that of the session. A part in braces matches any text without a slash
    and names it: `sites/{host}`."""

    method: str
    path: str
    handler: Handler
