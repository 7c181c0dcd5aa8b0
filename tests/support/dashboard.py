"""The dashboard of a control server on a loopback port, where clients arrive as from the proxy port, and a browser for
its pages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

import aiohttp

from proxy.control.server import ControlServer
from proxy.languages.dates import time_of_day
from proxy.model.feature import Page, pages_of
from tests.support.control_world import World

FRONT = Page("today", "Today", ())


@dataclass
class Pages:
    """The address of the pages, and the API for one-time codes."""

    port: int
    api: aiohttp.ClientSession
    accepted: list[socket.socket] = field(default_factory=list)
    first: Page = FRONT
    """The first page of the menu."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Ends all connections of browsers."""
        for each in self.accepted:
            with contextlib.suppress(OSError):  # it is closed
                each.shutdown(socket.SHUT_RDWR)
        self.accepted.clear()

    async def code(self, page: str = "today") -> str:
        async with self.api.post("/v1/sign-in", json={"page": page}) as answer:
            assert answer.status == 200, await answer.text()
            return str(json.loads(await answer.content.readline())["code"])

    @contextlib.asynccontextmanager
    async def signed_in(self) -> AsyncIterator[Browser]:
        """Yields a browser with a session. It keeps cookies by path, and sends the headers of a browser's visit."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            browser = Browser(self, session)
            code = await self.code(self.first.name)
            _, page = await browser.post("/sign-in", {"code": code}, origin="null", site="cross-site")
            found = re.search(rf'url=(/s/[0-9a-f]{{32}}/){self.first.path}"', page)
            assert found is not None, page
            browser.base = found[1]
            yield browser


@dataclass
class Browser:
    """A browser that follows links, sends forms and reads pages."""

    pages: Pages
    session: aiohttp.ClientSession
    base: str = "/"

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        sent = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "document", "Accept": "text/html", **headers}
        async with self.session.get(self.pages.url + path, headers=sent, allow_redirects=False) as answer:
            return answer.status, await answer.text()

    async def post(
        self, path: str, form: dict[str, str], *, origin: str | None = "", site: str = "same-origin", **headers: str
    ) -> tuple[int, str]:
        """Sends a form. `origin`: by default our own; None for none."""
        sent = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "document", **headers}
        if origin is not None:
            sent["Origin"] = origin or self.pages.url
        async with self.session.post(self.pages.url + path, data=form, headers=sent, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("Location", "") or await answer.text()

    async def text(self, page: str = "") -> str:
        """Returns the visible text of a page, with each run of white space as one space."""
        status, html = await self.get(self.base + page)
        assert status == 200, html
        return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html)))

    async def token(self) -> str:
        """Returns the token of the forms."""
        found = re.search(
            r'name="token" value="([0-9a-f]{32})"', (await self.get(self.base + self.pages.first.path))[1]
        )
        assert found is not None
        return found[1]

    async def send(self, path: str, **form: str) -> str:
        """Sends a form of a page with its token. Returns the path of the answer."""
        status, location = await self.post(self.base + path, {"token": await self.token(), **form})
        assert status == 303, location
        return location.removeprefix(self.base)


@contextlib.asynccontextmanager
async def dashboard(world: World, folder: Path, port: int = 0) -> AsyncIterator[Pages]:
    """Serves the pages of a world, at a free port or at one that was free before."""
    listening = socket.create_server(("127.0.0.1", port))
    listening.setblocking(False)
    port = listening.getsockname()[1]
    server = ControlServer(lambda: world.parts, folder / "c.sock", "unused", port=port)
    await server.start()
    accepted: list[socket.socket] = []

    def accept() -> None:
        client = listening.accept()[0]
        accepted.append(client)
        server.adopt(client, b"")

    loop = asyncio.get_running_loop()
    loop.add_reader(listening, accept)
    connector = aiohttp.UnixConnector(path=str(server.address["socket"]))
    try:
        async with aiohttp.ClientSession("http://byway", connector=connector) as api:
            first = next(iter(pages_of(world.features).values()), FRONT)
            yield Pages(port, api, accepted, first)
    finally:
        loop.remove_reader(listening)
        listening.close()
        await server.close()


def time_on_page(at: float) -> str:
    """Returns a pattern for a moment on a page in English: `yesterday 20:04`, `28 Nov 2007 20:04`. Any day fits, since
    midnight may have passed meanwhile."""
    return rf"(?:today|yesterday|\d{{1,2}} \w{{3}}(?: \d{{4}})?) {time_of_day(at)}"
