"""A headless Firefox controlled by WebDriver BiDi: its first page, opened and evaluated."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import BaseConnector, ClientSession, ClientWebSocketResponse

from tests.support.waiting import until

LIMIT_S = 120
OPTIONS = ("--headless", "--remote-debugging-port", "0")
"""The options of a Firefox for `attached`."""


class Page:
    """The first page of a browser."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._context = ""

    async def begin(self) -> None:
        await self._call("session.new", capabilities={})
        self._context = (await self._call("browsingContext.getTree"))["contexts"][0]["context"]

    async def open(self, url: str) -> None:
        """Opens a page and returns when it is loaded."""
        await self._call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        """Returns the value of an expression, a string or a list of strings; that of a promise is awaited."""
        answer = await self._call(
            "script.evaluate", expression=expression, target={"context": self._context}, awaitPromise=True
        )
        assert answer["type"] == "success", answer
        value = answer["result"]["value"]
        return [part["value"] for part in value] if isinstance(value, list) else value

    async def text(self) -> str:
        """Returns the visible text."""
        return str(await self.evaluate("document.body.innerText"))

    async def close(self) -> None:
        """Ends the browser."""
        await self._call("browser.close")

    async def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        id_ = next(self._ids)
        await self._socket.send_json({"id": id_, "method": method, "params": parameters})
        async with asyncio.timeout(LIMIT_S):
            while True:
                answer: dict[str, Any] = await self._socket.receive_json()
                if answer.get("id") == id_:
                    assert answer["type"] == "success", answer
                    result: dict[str, Any] = answer["result"]
                    return result


@contextlib.asynccontextmanager
async def attached(profile: Path, connector: BaseConnector | None = None) -> AsyncIterator[Page]:
    """Yields the first page of the Firefox that runs with this profile and OPTIONS, and closes the browser at the end.
    `connector` connects to its network, if that is another one."""
    told = profile / "WebDriverBiDiServer.json"
    await until(lambda: told.exists() and bool(told.read_text().strip()), within_s=LIMIT_S)
    port = json.loads(told.read_text())["ws_port"]
    async with (
        ClientSession(connector=connector) as session,
        session.ws_connect(f"ws://127.0.0.1:{port}/session") as socket,
    ):
        page = Page(socket)
        await page.begin()
        try:
            yield page
        finally:
            await page.close()
