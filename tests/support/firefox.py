"""A headless Firefox controlled by WebDriver BiDi: its first page, opened, evaluated, and used as by a person, also
where it runs no scripts."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from aiohttp import BaseConnector, ClientSession, ClientWebSocketResponse

from tests.support import programs
from tests.support.waiting import until

LIMIT_S = 120
OPTIONS = ("--headless", "--remote-debugging-port", "0")
"""The options of a Firefox for `attached`."""
_MESSAGE_MAX = 64 * 1024 * 1024


class Page:
    """The first page of a browser."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._context = ""
        self.errors: list[str] = []
        """Errors of scripts, those that pages wrote to the console, and what the policies of pages refused, after
        `watch_errors`."""

    async def begin(self) -> None:
        await self._call("session.new", capabilities={})
        self._context = (await self._call("browsingContext.getTree"))["contexts"][0]["context"]

    async def open(self, url: str) -> None:
        """Opens a page and returns when it is loaded."""
        await self._call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def watch_errors(self) -> None:
        """Collects errors from now on."""
        await self._call("session.subscribe", events=["log.entryAdded"])

    async def resize(self, width: int) -> None:
        """Sets the width of the page, in CSS pixels."""
        await self._call("browsingContext.setViewport", context=self._context, viewport={"width": width, "height": 900})

    async def address(self) -> str:
        """Returns the address of the page."""
        return str((await self._call("browsingContext.getTree"))["contexts"][0]["url"])

    async def evaluate(self, expression: str) -> Any:
        """Returns the value of an expression, a string or a list of strings; that of a promise is awaited."""
        answer = await self._call(
            "script.evaluate", expression=expression, target={"context": self._context}, awaitPromise=True
        )
        assert answer["type"] == "success", answer
        value = answer["result"].get("value")
        return [part["value"] for part in value] if isinstance(value, list) else value

    async def text(self) -> str:
        """Returns the visible text."""
        return str(await self.evaluate("document.body.innerText"))

    async def texts(self, selector: str) -> list[str]:
        """Returns the text of each element of the document with this selector. Runs no script of the page."""
        return [_text(node["value"]) for node in await self._located(selector, maxDomDepth=20)]

    async def click(self, selector: str) -> None:
        """Clicks on the first such element."""
        element = {"type": "element", "element": {"sharedId": (await self._located(selector))[0]["sharedId"]}}
        move = {"type": "pointerMove", "x": 0, "y": 0, "origin": element}
        button = [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        await self._act({"type": "pointer", "id": "mouse", "actions": [move, *button]})

    async def type(self, text: str) -> None:
        """Types into the field that has the focus; a line end is Enter."""
        keys = ["\ue007" if key == "\n" else key for key in text]
        presses = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        await self._act({"type": "key", "id": "keyboard", "actions": presses})

    async def _act(self, *sources: dict[str, Any]) -> None:
        await self._call("input.performActions", context=self._context, actions=sources)

    async def _located(self, selector: str, **serialized: Any) -> list[dict[str, Any]]:
        answer = await self._call(
            "browsingContext.locateNodes",
            context=self._context,
            locator={"type": "css", "value": selector},
            serializationOptions=serialized,
        )
        nodes: list[dict[str, Any]] = answer["nodes"]
        return nodes

    async def close(self) -> None:
        """Ends the browser."""
        await self._call("browser.close")

    async def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        id_ = next(self._ids)
        await self._socket.send_json({"id": id_, "method": method, "params": parameters})
        async with asyncio.timeout(LIMIT_S):
            while True:
                answer: dict[str, Any] = await self._socket.receive_json()
                if answer.get("method") == "log.entryAdded" and answer["params"]["level"] == "error":
                    self.errors.append(str(answer["params"]["text"]))
                if answer.get("id") == id_:
                    assert answer["type"] == "success", answer
                    result: dict[str, Any] = answer["result"]
                    return result


def _text(node: dict[str, Any]) -> str:
    """Returns the text in a serialized node."""
    return str(node.get("nodeValue") or "") + "".join(_text(child["value"]) for child in node.get("children") or ())


@contextlib.asynccontextmanager
async def opened(home: Path, preferences: Mapping[str, bool | int | str]) -> AsyncIterator[Page]:
    """Yields the first page of a new Firefox, whose profile is below `home`. BiDi turns off what it sends of its own
    accord."""
    (profile := home / "firefox").mkdir()
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()]
    (profile / "user.js").write_text("".join(lines))
    process = await asyncio.create_subprocess_exec(
        *(programs.require("firefox"), "--profile", profile, "--no-remote", *OPTIONS, "about:blank"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(home), "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
    )
    try:
        async with attached(profile) as page:
            yield page
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), LIMIT_S)
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def attached(profile: Path, connector: BaseConnector | None = None) -> AsyncIterator[Page]:
    """Yields the first page of the Firefox that runs with this profile and OPTIONS, and closes the browser at the end.
    `connector` connects to its network, if that is another one."""
    told = profile / "WebDriverBiDiServer.json"
    await until(lambda: told.exists() and bool(told.read_text().strip()), within_s=LIMIT_S)
    port = json.loads(told.read_text())["ws_port"]
    async with (
        ClientSession(connector=connector) as session,
        session.ws_connect(f"ws://127.0.0.1:{port}/session", max_msg_size=_MESSAGE_MAX) as socket,
    ):
        page = Page(socket)
        await page.begin()
        try:
            yield page
        finally:
            await page.close()
