"""A hostile page against the dashboard, in a real Chromium that is signed in, as its user's is.

The page knows the secret path, as if it had leaked. Each attack is also made on a naive server, which checks nothing,
as many local control pages do: there it succeeds, so that it is an attack at all.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from proxy.control.dashboard.guard import cookie_name
from tests.e2e.test_dashboard import arrived, shows, sign_in
from tests.support.chromium import Chromium, Tab
from tests.support.control_world import World
from tests.support.dashboard import Pages
from tests.support.seeded import BLOCKED

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.alone, pytest.mark.slow]

_SIGNED_IN = "document.querySelector('form[action$=sign-out]') !== null"

EVIL, REBOUND = "evil.test", "rebound.test"

PAGE = """<!doctype html><title>evil</title><body><script>
const done = (promise) => Promise.race([promise, new Promise((end) => setTimeout(() => end(false), 30000))]);
const attacks = {
  form: (base) => new Promise((end) => {
    const frame = document.createElement("iframe"), form = document.createElement("form");
    frame.name = "target"; form.method = "post"; form.target = "target"; form.action = base + "mode";
    form.innerHTML = "<input name=mode value=relay>";
    document.body.append(frame, form);
    frame.onload = () => end(true); form.submit();
  }),
  fetch: (base) => fetch(base + "mode", { method: "POST", mode: "no-cors", credentials: "include",
    body: new URLSearchParams({ mode: "relay" }) }).then(() => true, () => false),
  image: (base) => new Promise((end) => {
    const image = new Image(); image.onload = image.onerror = () => end(true); image.src = base + "mode?mode=relay";
  }),
  read: (base) => fetch(base, { credentials: "include" }).then((answer) => answer.text())
    .then((text) => text.includes("livejournal"), () => false),
  websocket: (base) => new Promise((end) => {
    const socket = new WebSocket(base.replace("http", "ws") + "events");
    socket.onopen = () => end(true); socket.onerror = () => end(false);
  }),
  sse: (base) => new Promise((end) => {
    const source = new EventSource(base + "events", { withCredentials: true });
    source.onopen = () => end(true); source.onerror = () => end(false);
  }),
  script: (base) => new Promise((end) => {
    const script = document.createElement("script");
    script.onload = () => end(typeof FindProxyForURL === "function"); script.onerror = () => end(false);
    script.src = new URL("/proxy.pac", base); document.body.append(script);
  }),
  api: (base) => new Promise((end) => {
    const script = document.createElement("script");
    script.onload = () => end(true); script.onerror = () => end(false);
    script.src = new URL("/v1/status", base); document.body.append(script);
  }),
  style: (base) => new Promise((end) => {
    const link = document.createElement("link");
    link.rel = "stylesheet"; link.onload = () => end(true); link.onerror = () => end(false);
    link.href = base + "dashboard.css"; document.body.append(link);
  }),
};
const attack = (name, base) => done(attacks[name](base));
</script>"""


@dataclass
class Naive:
    """A control page that checks nothing, as many do: every client may use it."""

    url: str = ""
    mode: str = "auto"
    open: list[asyncio.Future[None]] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/s/1/", self._page), web.get("/s/1/mode", self._change), web.post("/s/1/mode", self._change),
                web.get("/s/1/events", self._events), web.get("/proxy.pac", self._pac),
                web.get("/s/1/dashboard.css", self._style), web.get("/v1/status", self._api),
                web.post("/sign-in", self._page),
            ]
        )  # fmt: skip
        return app

    async def _page(self, request: web.Request) -> web.Response:
        headers = {"Access-Control-Allow-Origin": request.headers.get("Origin", "*")}
        headers["Access-Control-Allow-Credentials"] = "true"
        response = web.Response(text="<p>livejournal.com", content_type="text/html", headers=headers)
        response.set_cookie("session", "naive")
        return response

    async def _change(self, request: web.Request) -> web.Response:
        self.mode = str({**request.query, **(await request.post())}.get("mode", self.mode))
        return web.Response(text=self.mode)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade"):
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            return socket
        headers = {"Content-Type": "text/event-stream", "Access-Control-Allow-Credentials": "true"}
        headers["Access-Control-Allow-Origin"] = request.headers.get("Origin", "*")
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        await response.write(b":\n\n")
        return response

    async def _pac(self, _: web.Request) -> web.Response:
        return web.Response(text="function FindProxyForURL() {}", content_type="text/javascript")

    async def _api(self, _: web.Request) -> web.Response:
        return web.json_response([])

    async def _style(self, _: web.Request) -> web.Response:
        return web.Response(text="p {}", content_type="text/css")


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    try:
        yield f"127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    finally:
        await runner.cleanup()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    rules = f"MAP {EVIL} 127.0.0.1, MAP {REBOUND} 127.0.0.1"
    # In one process a frame of another site is in the tree of the page's frames.
    flags = (f"--host-resolver-rules={rules}", "--disable-features=IsolateOrigins,site-per-process")
    home = tmp_path_factory.mktemp("browser")
    with closing(Chromium(home, *flags, "--disable-site-isolation-trials")) as browser:
        yield browser


@pytest.fixture
async def naive() -> AsyncIterator[Naive]:
    made = Naive()
    async with served(made.app()) as address:
        made.url = f"http://{address}/s/1/"
        yield made


@pytest.fixture
async def evil() -> AsyncIterator[str]:
    """The address of a page of another site."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    app = web.Application()
    app.add_routes([web.get("/", page)])
    async with served(app) as address:
        yield f"http://{EVIL}:{address.partition(':')[2]}/"


async def attack(page: Tab, evil: str, name: str, base: str) -> bool:
    await page.open(evil)
    return bool(await page.evaluate(f"attack({json.dumps(name)}, {json.dumps(base)})"))


@pytest.mark.parametrize("name", ["form", "fetch", "image"])
async def test_another_site_changes_nothing(
    world: World, pages: Pages, page: Tab, naive: Naive, evil: str, name: str
) -> None:
    home = await sign_in(page, pages)
    await attack(page, evil, name, naive.url)
    assert naive.mode == "relay", "the attack works where nothing is checked"
    await attack(page, evil, name, home)
    assert world.modes.mode == "auto"
    await page.open(home)
    assert await page.evaluate(_SIGNED_IN), "the user is still signed in"


@pytest.mark.parametrize("name", ["read", "websocket", "sse", "script", "api", "style"])
async def test_another_site_reads_nothing(pages: Pages, page: Tab, naive: Naive, evil: str, name: str) -> None:
    home = await sign_in(page, pages)
    assert await attack(page, evil, name, naive.url), "the attack works where nothing is checked"
    assert not await attack(page, evil, name, home)


async def test_no_page_is_framed(pages: Pages, page: Tab, naive: Naive, evil: str) -> None:
    home = await sign_in(page, pages)
    for url, is_shown in ((naive.url, True), (home, False)):
        await page.open(evil)
        await page.evaluate(
            "new Promise(end => { const frame = document.createElement('iframe'); frame.onload = () => end(0);"
            f" frame.src = {json.dumps(url)}; document.body.append(frame); }})"
        )
        tree = await page.call("Page.getFrameTree")
        (child,) = tree["frameTree"]["childFrames"]
        assert (child["frame"].get("unreachableUrl") is None and child["frame"]["url"] == url) is is_shown


async def test_a_name_that_is_rebound_to_this_computer_leads_nowhere(pages: Pages, page: Tab, naive: Naive) -> None:
    home = await sign_in(page, pages)
    for url, is_read in ((naive.url, True), (home, False)):
        await page.open(url.replace("127.0.0.1", REBOUND))
        assert ("livejournal" in await page.text()) is is_read


async def test_a_server_on_another_port_gets_no_cookie(pages: Pages, page: Tab, naive: Naive) -> None:
    """The cookies of 127.0.0.1 go to all of its ports."""
    collected: list[str] = []

    async def collect(request: web.Request) -> web.Response:
        collected.append(request.headers.get("Cookie", ""))
        return web.Response(text="<title>another</title>", content_type="text/html")

    app = web.Application()
    app.add_routes([web.get("/{path:.*}", collect)])
    home = await sign_in(page, pages)
    cookies = (await page.call("Network.getCookies", urls=[home]))["cookies"]
    assert len(cookies) == 1
    await page.open(naive.url)
    async with served(app) as address:
        for path in ("", "s/", "sign-in", "s/0/"):
            await page.open(f"http://{address}/{path}")
    assert any("session=naive" in each for each in collected), "the attack works on a cookie without a path"
    assert not [each for each in collected if "byway" in each or cookies[0]["value"] in each]


async def test_a_server_on_another_port_cannot_sign_the_user_out(pages: Pages, page: Tab) -> None:
    """Its pages set cookies for all of 127.0.0.1, of any name and path."""
    home = await sign_in(page, pages)
    name = cookie_name(pages.port)

    async def another(_: web.Request) -> web.Response:
        script = "".join(f"document.cookie = '{name}=x; path={path}';" for path in ("/", "/s", "/s/"))
        return web.Response(text=f"<title>another</title><script>{script}</script>", content_type="text/html")

    app = web.Application()
    app.add_routes([web.get("/", another)])
    async with served(app) as address:
        await page.open(f"http://{address}/")
    cookies = (await page.call("Network.getCookies", urls=[home]))["cookies"]
    assert [cookie["name"] for cookie in cookies] == [name] * 4, "the attack"
    await page.open(home)
    assert await page.evaluate(_SIGNED_IN)


async def test_a_stolen_code_is_of_no_use_a_second_time(pages: Pages, page: Tab, naive: Naive) -> None:
    """The second program gets nothing; and since one of the two is not the user, the session of the first ends."""
    code = await pages.code()
    await page.open(f"{pages.url}/sign-in")
    await page.evaluate(f"document.querySelector('input').value = {json.dumps(code)}; 0")
    await page.evaluate("document.querySelector('button').click(); 0")
    await arrived(page)
    await shows(page, "document.readyState === 'complete'")  # with its script, which is behind the path of the session
    async with aiohttp.ClientSession() as thief:
        for _ in range(2):
            async with thief.post(str(URL(naive.url).with_path("/sign-in")), data={"code": "1"}) as answer:
                assert "livejournal" in await answer.text(), "the attack works where a code is good for ever"
        async with thief.post(f"{pages.url}/sign-in", data={"code": code}, headers={"Origin": "null"}) as answer:
            assert answer.status == 403
            assert "Set-Cookie" not in answer.headers
    await shows(page, "document.querySelector('main') && document.title.includes('Signed out')")  # it asks by itself
    assert not await page.evaluate(_SIGNED_IN)


async def test_another_program_without_the_code_gets_nothing(pages: Pages, page: Tab, naive: Naive) -> None:
    """Such as one of another user of this computer, who sees the port, and even knows the path."""
    home = await sign_in(page, pages)
    async with aiohttp.ClientSession() as session:
        async with session.get(naive.url) as answer:
            assert "livejournal" in await answer.text(), "the attack works where nothing is checked"
        for path in ("", "sites", f"sites/{BLOCKED}", "relays", "traffic", "events", "dashboard.css"):
            async with session.get(home + path) as answer:
                assert answer.status == 401
                assert "livejournal" not in await answer.text()
        async with session.post(f"{pages.url}/sign-in", data={"code": "0000-0000-0000-0000"}) as answer:
            assert answer.status == 403
