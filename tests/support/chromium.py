"""A headless Chromium with its own home, which contacts no other server: for one page (`browse`), or controlled by its
DevTools protocol, for one tab (`tab`) or for many (`Chromium`)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import BaseConnector, ClientSession, ClientWebSocketResponse

from tests.support import programs
from tests.support.waiting import until

LIMIT_S = 120
_MESSAGE_MAX = 64 * 1024 * 1024  # a screenshot
_OFF = "--disable-features="
_NOT_NEEDED = ("WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "SpareRendererForSitePerProcess")
"""Features that no test sees: the lists below the address bar, which are pages of their own in each window, and a
process that waits for the next page. They take two thirds of what a tab costs: 0.7 s of a core."""


async def browse(
    url: str,
    home: Path,
    *flags: str,
    profile: str = "profile",
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> subprocess.CompletedProcess[bytes]:
    """Prints the final page on stdout, and Chromium's messages on stderr. The trust store is below `home`. `prefix`
    stands before the command."""
    process = await _start(
        home, profile, *flags, "--dump-dom", url, output=subprocess.PIPE, environment=environment, prefix=prefix
    )
    try:
        shown, said = await asyncio.wait_for(process.communicate(), LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return subprocess.CompletedProcess(url, process.returncode or 0, shown, said)


class Refused(AssertionError):
    """Chromium refused a command, such as to evaluate an expression in a page that it has just left."""


class Target:
    """What takes commands of the protocol: the browser itself, or a page."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the protocol, and returns its result."""
        id_ = next(self._ids)
        await self._socket.send_json({"id": id_, "method": method, "params": parameters})
        answer = await self._next(lambda message: message.get("id") == id_)
        if "error" in answer:
            raise Refused(answer["error"]["message"])
        result: dict[str, Any] = answer["result"]
        return result

    async def _next(self, is_meant: Any) -> dict[str, Any]:
        async with asyncio.timeout(LIMIT_S):
            while True:
                message: dict[str, Any] = await self._socket.receive_json()
                self._note(message)
                if is_meant(message):
                    return message

    def _note(self, message: dict[str, Any]) -> None:
        """Is told of every message."""


class Tab(Target):
    """An open page."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        super().__init__(socket)
        self._loaded: set[str] = (
            set()
        )  # the documents, by their loaders, of which all was there since `open` was called
        self.errors: list[str] = []
        """Errors that pages wrote to the console, and exceptions of their scripts, after `watch_errors`."""

    async def watch_errors(self) -> None:
        """Collects errors from now on."""
        for domain in ("Log", "Runtime"):
            await self.call(f"{domain}.enable")

    async def open(self, url: str) -> None:
        """Opens a page and returns when it is loaded, even if the page before it was still loading."""
        await self.call("Page.enable")
        await self.call("Page.setLifecycleEventsEnabled", enabled=True)
        self._loaded.clear()
        loader = (await self.call("Page.navigate", url=url))["loaderId"]
        while loader not in self._loaded:  # it may have been there before the answer to the call was
            await self._next(lambda message: message.get("method") == "Page.lifecycleEvent")

    async def open_in_the_end(self, url: str) -> None:
        """Opens a page and returns once it has begun to load, although its error page comes first."""
        await self.call("Page.enable")
        await self.call("Page.navigate", url=url)
        await self._next(
            lambda message: (
                message.get("method") == "Page.frameNavigated"
                and message["params"]["frame"]["url"] == url
                and "unreachableUrl" not in message["params"]["frame"]
            )
        )

    async def write(self, page: str) -> None:
        """Shows a page without a server."""
        await self.open("about:blank")
        tree = await self.call("Page.getFrameTree")
        await self.call("Page.setDocumentContent", frameId=tree["frameTree"]["frame"]["id"], html=page)

    async def look(self, *, dark: bool | None = None, width: int, height: int = 900) -> None:
        """Sets the size for all later pages, below a width of 600 as on a phone, and the colour scheme; None: as it
        was."""
        if dark is not None:
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    async def evaluate(self, expression: str) -> Any:
        """Returns the value of an expression; that of a promise is awaited."""
        answer = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def text(self) -> str:
        """Returns the visible text."""
        return str(await self.evaluate("document.body.innerText"))

    async def press(self, key: str) -> None:
        """Presses a key: Tab, Enter, or a character."""
        codes = {"Tab": 9, "Enter": 13}
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=codes.get(key, ord(key[0].upper()) if key.isalnum() else 0),  # 46 is Delete
                **({"text": text} if text and kind == "keyDown" else {}),
            )

    async def screenshot(self) -> bytes:
        """Returns the whole page as a PNG."""
        answer = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def _note(self, message: dict[str, Any]) -> None:
        told = message.get("params", {})
        match message.get("method"):
            case "Page.lifecycleEvent" if told["name"] == "load":
                self._loaded.add(told["loaderId"])
            case "Log.entryAdded" if told["entry"]["level"] == "error":
                self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "assert"):
                self.errors.append(" ".join(str(each.get("value", "")) for each in told["args"]))
            case "Runtime.exceptionThrown":
                self.errors.append(str(told["exceptionDetails"]))


class Chromium:
    """One process for many tabs, each in a browser context of its own: it shares no cookie, storage, cache or
    connection with another. The process starts with the first tab, and anew if it has died: which fails one test."""

    def __init__(self, home: Path, *flags: str) -> None:
        self._home = home
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.asynccontextmanager
    async def tab(self, *, proxy: str = "") -> AsyncIterator[Tab]:
        """Yields an empty page. Its requests go through `proxy`, if there is one, as with `--proxy-server`."""
        self._start()
        port, browser_path = await _address(self._home / "profile")
        at, through = f"ws://127.0.0.1:{port}", {"proxyServer": proxy} if proxy else {}
        async with (
            ClientSession() as session,
            session.ws_connect(at + browser_path, max_msg_size=_MESSAGE_MAX) as browser_socket,
        ):
            browser = Target(browser_socket)
            context = (await browser.call("Target.createBrowserContext", **through))["browserContextId"]
            try:
                page = await browser.call("Target.createTarget", url="about:blank", browserContextId=context)
                where = f"{at}/devtools/page/{page['targetId']}"
                async with session.ws_connect(where, max_msg_size=_MESSAGE_MAX) as socket:
                    yield Tab(socket)
            finally:
                await browser.call("Target.disposeBrowserContext", browserContextId=context)

    def close(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        _told(self._home / "profile").unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [*_command(self._home, "profile", *self._flags), "--remote-debugging-port=0", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_environment(self._home),
        )


@contextlib.asynccontextmanager
async def tab(home: Path, *flags: str) -> AsyncIterator[Tab]:
    """Yields an empty page of a new Chromium."""
    process = await _start(
        home, "profile", "--remote-debugging-port=0", *flags, "about:blank", output=subprocess.DEVNULL
    )
    try:
        async with attached(home / "profile") as page:
            yield page
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def attached(profile: Path, connector: BaseConnector | None = None) -> AsyncIterator[Tab]:
    """Yields the first page of the Chromium that runs with this profile and `--remote-debugging-port=0`. `connector`
    connects to its network, if that is another one."""
    port, _ = await _address(profile)
    async with ClientSession(connector=connector) as session:
        async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [target for target in await answer.json() if target["type"] == "page"]
        async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=_MESSAGE_MAX) as socket:
            yield Tab(socket)


async def _address(profile: Path) -> tuple[int, str]:
    """Returns the port of the Chromium that runs with this profile, once it listens, and the browser's path there."""
    told = _told(profile)
    await until(lambda: told.exists() and len(told.read_text().split()) > 1, within_s=LIMIT_S)
    port, path = told.read_text().split()
    return int(port), path


def _told(profile: Path) -> Path:
    """The file in which it says where it listens."""
    return profile / "DevToolsActivePort"


async def _start(
    home: Path,
    profile: str,
    *flags: str,
    output: int,
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *prefix,
        *_command(home, profile, *flags),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env={**_environment(home), **(environment or {})},
    )


def _command(home: Path, profile: str, *flags: str) -> tuple[str, ...]:
    """Returns the command with these words. Of several `--disable-features` only the last counts, so there is one."""
    given = [name for flag in flags if flag.startswith(_OFF) for name in flag.removeprefix(_OFF).split(",")]
    return (
        *(programs.require("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", f"--user-data-dir={home / profile}", f"{_OFF}{','.join([*_NOT_NEEDED, *given])}"),
        *(flag for flag in flags if not flag.startswith(_OFF)),
    )


def _environment(home: Path) -> dict[str, str]:
    own = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    return {**os.environ, **own}
