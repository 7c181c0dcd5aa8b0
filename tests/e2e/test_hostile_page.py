"""A hostile page against the dashboard, in a real Chromium that is signed in, as its user's is.

The page knows the secret path, as if it had leaked. Each attack is also made on a naive server, which checks nothing,
as many local control pages do: there it succeeds, so that it is an attack at all.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from proxy.control import web_apps
from proxy.control.access import Bearer, check_host
from proxy.control.api import endpoints_of
from proxy.control.dashboard.guard import cookie_name
from proxy.control.dashboard.kept_sessions import KeptSessions
from proxy.control.dashboard.routes import Routes
from proxy.control.dashboard.sign_in import SignIn
from proxy.control.dashboard.visit import Route
from proxy.control.frame import Frame
from proxy.control.pac import PATHS
from proxy.control.server import ControlServer
from tests.e2e.test_dashboard import arrived, shows, sign_in
from tests.support.chromium import Chromium, Tab
from tests.support.control_world import World
from tests.support.dashboard import Pages
from tests.support.seeded import BLOCKED
from tests.support.waiting import until

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.alone, pytest.mark.slow]

_SIGNED_IN = "document.querySelector('form[action$=sign-out]') !== null"

EVIL, REBOUND = "evil.test", "rebound.test"

ATTACKS = """
const within = (promise) => Promise.race([promise, new Promise((end) => setTimeout(() => end(false), 20000))]);
const element = (name, fields, at = document.body) =>
  at.appendChild(Object.assign(document.createElement(name), fields));
const loaded = (name, fields) => new Promise((end) => {
  element(name, { onload: () => end(true), onerror: () => end(false), ...fields });
});
const shown = (frame) => { try { return !!frame.contentDocument.body.innerText; } catch { return false; } };
const asked = (url, asks) => fetch(url, { credentials: "include", ...asks })
  .then((answer) => answer.ok || answer.type === "opaque", () => false);
const posted = (url, mode, fields) => asked(url, { method: "POST", mode, body: new URLSearchParams(fields) });
const opened = (made) => new Promise((end) => {
  made.onopen = () => (made.close(), end(true));
  made.onerror = () => (made.close(), end(false));
});
const windows = [];
const attacks = {
  image: (url) => loaded("img", { src: url }),
  script: (url) => loaded("script", { src: url }),
  style: (url) => loaded("link", { rel: "stylesheet", href: url }),
  frame: (url) => new Promise((end) => {
    const frame = element("iframe", { src: url, onload: () => (end(shown(frame)), frame.remove()) });
  }),
  "get by cors": (url) => asked(url, { mode: "cors" }),
  "get by no-cors": (url) => asked(url, { mode: "no-cors" }),
  "get by same-origin": (url) => asked(url, { mode: "same-origin" }),
  "get by navigate": (url) => asked(url, { mode: "navigate" }),
  "get with the token": (url, fields) => asked(url, { headers: { Authorization: `Bearer ${fields.token}` } }),
  events: (url) => opened(new EventSource(url, { withCredentials: true })),
  socket: (url) => opened(new WebSocket(url.replace("http", "ws"))),
  window: async (url) => (windows.push(window.open(url)), false),
  form: (url, fields) => new Promise((end) => {
    const target = `target-${Math.random()}`, frame = element("iframe", { name: target });
    const form = element("form", { method: "post", target, action: url });
    for (const [name, value] of Object.entries(fields)) element("input", { name, value }, form);
    frame.onload = () => (end(shown(frame)), frame.remove());
    form.submit();
  }),
  "post by cors": (url, fields) => posted(url, "cors", fields),
  "post by no-cors": (url, fields) => posted(url, "no-cors", fields),
  "post by same-origin": (url, fields) => posted(url, "same-origin", fields),
  "post of JSON": (url, fields) => asked(url, {
    method: "POST", body: JSON.stringify(fields), headers: { "Content-Type": "application/json" },
  }),
  "post with the token": (url, fields) => asked(url, {
    method: "POST", body: JSON.stringify(fields), headers: { Authorization: `Bearer ${fields.token}` },
  }),
  beacon: async (url, fields) => (navigator.sendBeacon(url, new URLSearchParams(fields)), false),
};
globalThis.attack = async (name, targets) => {
  const read = [];
  const one = async ([url, fields]) => await within(attacks[name](url, fields)) && read.push(url);
  while (targets.length) await Promise.all(targets.splice(0, 6).map(one));
  return read;
};
globalThis.leave = () => windows.splice(0).forEach((each) => each.close());
"""
GETS = ("image", "script", "style", "get by cors", "get by no-cors", "get by same-origin", "get by navigate", "events",
        "socket", "frame", "window")  # fmt: skip
POSTS = ("form", "post by cors", "post by no-cors", "post by same-origin", "post of JSON", "beacon")
BLIND = {"frame", "window", "form", "beacon"}
"""Those that read nothing of another origin, whatever it answers; but they reach it."""
OWN_ORIGIN = {"get by same-origin", "get by navigate", "post by same-origin"}
"""Those that a browser sends to the page's own origin at most."""
PARTS = {"host": BLOCKED, "name": "gfwlist"}
FIELDS = {
    "mode": {"mode": "relay"},
    "pause": {"minutes": "15"},
    f"sites/{BLOCKED}/forget": {"confirm": BLOCKED},
    f"sites/{BLOCKED}/override": {"action": "direct"},
    "rules/add": {"value": "DOMAIN,a.example,BLOCK"},
}
"""What a form of ours would send, where it takes more than its token."""


@dataclass
class Naive:
    """A control page that checks nothing, as many do: every client may use it."""

    url: str = ""
    asked: set[str] = field(default_factory=set)

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.route("*", "/{path:.*}", self._answer)])
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method != "OPTIONS":
            self.asked.add(request.path)
        if request.headers.get("Upgrade"):
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            return socket
        kind, text = {
            "image": ("image/svg+xml", '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'),
            "script": ("text/javascript", "function FindProxyForURL() {}"),
            "style": ("text/css", "p {}"),
        }.get(request.headers.get("Sec-Fetch-Dest", ""), ("text/html", "<p>livejournal.com"))
        if request.headers.get("Accept") == "text/event-stream":
            kind, text = "text/event-stream", ":\n\n"
        headers = {"Access-Control-Allow-Origin": request.headers.get("Origin", "*")}
        headers |= {
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Allow-Headers": "content-type, authorization",
        }
        response = web.Response(text=text, content_type=kind, headers=headers)
        response.set_cookie("session", "naive")
        return response


@dataclass
class Door:
    """What came to the port of the pages, and what passed the guard there."""

    asked: set[str] = field(default_factory=set)
    reached: list[str] = field(default_factory=list)
    routes: Sequence[Route] = ()
    """Those of all features, once a page was shown."""


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    door = Door()
    find = Routes.find

    def asked(request: web.BaseRequest, ours: frozenset[str]) -> None:
        door.asked.add(request.path)
        check_host(request, ours)

    def reached(routes: Routes, method: str, path: str) -> Any:
        door.reached.append(f"{method} {path}")
        door.routes = routes.all
        return find(routes, method, path)

    monkeypatch.setattr(web_apps, "check_host", asked)
    monkeypatch.setattr(Routes, "find", reached)
    return door


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
    with closing(Chromium(home, *flags, "--disable-site-isolation-trials", "--disable-popup-blocking")) as browser:
        yield browser


@pytest.fixture
async def naive() -> AsyncIterator[Naive]:
    made = Naive()
    async with served(made.app()) as address:
        made.url = f"http://{address}/s/1/"
        yield made


@pytest.fixture
async def evil() -> AsyncIterator[int]:
    """The port of a server whose pages attack, with `/silent` without saying where they come from."""

    async def page(request: web.Request) -> web.Response:
        quiet = '<meta name="referrer" content="no-referrer">' if request.path == "/silent" else ""
        return web.Response(text=f"<!doctype html>{quiet}<title>evil</title><body>", content_type="text/html")

    app = web.Application()
    app.add_routes([web.get("/", page), web.get("/silent", page)])
    async with served(app) as address:
        yield int(address.partition(":")[2])


def state_of(world: World) -> Any:
    return (
        world.modes.mode, world.modes.paused_until, dict(world.overrides), world.rules, [*world.forgotten],
        world.reloads, world.settings, world.system_proxy.on, [*world.resolved],
    )  # fmt: skip


@pytest.mark.parametrize(
    "page_of", ["http://127.0.0.1:{evil}/silent", f"http://{EVIL}:{{evil}}/", f"http://{REBOUND}:{{port}}/"]
)
async def test_no_endpoint_is_reached_or_read_from_another_origin(
    world: World, pages: Pages, page: Tab, naive: Naive, door: Door, evil: int, page_of: str
) -> None:
    """Another port of this computer, to which the browser sends the cookie too; another site; and a name that was
    rebound to this computer, with the cookie and the path as if stolen. Each way is tried on every route that there is,
    with and without a stolen form token. A page of the other port says nothing of where its requests come from."""
    await page.call("Emulation.setScriptExecutionDisabled", value=True)  # so that our own page asks for nothing later
    home = await sign_in(page, pages)
    await shows(page, "document.readyState === 'complete'")
    token = await page.evaluate("document.querySelector('[name=token]').value")
    (cookie,) = (await page.call("Network.getCookies", urls=[home]))["cookies"]
    await page.call("Emulation.setScriptExecutionDisabled", value=False)
    await page.call("Page.setBypassCSP", enabled=True)  # of our refusal, for the page that a rebound name had before
    await page.open(page_of.format(evil=evil, port=pages.port))
    is_rebound = REBOUND in page_of
    if is_rebound:
        home = home.replace("127.0.0.1", REBOUND)
        await page.evaluate(f"document.cookie = '{cookie['name']}={cookie['value']}; path=/'; 0")
    await page.evaluate(ATTACKS)

    session = URL(home)
    of = {
        method: [session.path + route.path.format_map(defaultdict(lambda: "x", PARTS))
                 for route in door.routes if route.method == method]
        for method in ("GET", "POST")
    }  # fmt: skip
    of["GET"] += ["/", "/sign-in", "/v1/status", *PATHS]
    of["POST"] += [f"{session.path}sign-out"]
    assert len(of["GET"]) > 25
    assert len(of["POST"]) > 30
    before = state_of(world)
    door.reached.clear()
    for way in (*GETS, *POSTS):
        if way not in OWN_ORIGIN:
            controls = [f"{naive.url}{way.replace(' ', '-')}/{number}" for number in range(8)]
            read = await attack(page, way, {url: {} for url in controls}, naive.asked)
            assert read == ([] if way in BLIND else controls), f"{way} works where nothing is checked"
        for stolen in ({}, {"token": token}) if way in POSTS else ({},):
            paths = [path for path in of["POST" if way in POSTS else "GET"] if way not in BLIND or path not in PATHS]
            targets = {
                str(session.with_path(path)): {**FIELDS.get(path.removeprefix(session.path), {}), **stolen}
                for path in paths
            }
            arrives = way not in OWN_ORIGIN or (is_rebound and way != "get by navigate")
            door.asked.clear()
            assert await attack(page, way, targets, door.asked if arrives else None) == [], f"{way} reads"
            assert door.reached == [], f"{way}, {[*stolen]}"
        await page.evaluate("leave(); 0")
    assert state_of(world) == before
    await page.open(home.replace(REBOUND, "127.0.0.1"))
    assert await page.evaluate(_SIGNED_IN), "the user is still signed in"


@pytest.mark.parametrize(
    "page_of", ["http://127.0.0.1:{evil}/", f"http://{EVIL}:{{evil}}/", f"http://{REBOUND}:{{port}}/"]
)
async def test_the_api_on_a_port_is_neither_reached_nor_read(
    world: World, page: Tab, naive: Naive, evil: int, page_of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where there are no Unix sockets. A page may even have the API's token: a browser asks before it sends that,
    and says of whom it asks."""
    reached: list[str] = []
    check = Bearer.check

    def checked(guard: Bearer, request: web.BaseRequest) -> None:
        check(guard, request)
        reached.append(f"{request.method} {request.path}")

    monkeypatch.setattr(Bearer, "check", checked)
    token = "t" * 43
    server = ControlServer(lambda: world.parts, None, token, port=8119)
    await server.start()
    try:
        port = server.address["control_port"]
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/v1/status", headers={"Authorization": f"Bearer {token}"}) as answer,
        ):
            assert answer.status == 200
        assert reached == ["GET /v1/status"], "who has the token and is no page"
        reached.clear()
        endpoints = endpoints_of(Frame(world.parts, SignIn(KeptSessions(None))))
        paths = {each.path.format_map(defaultdict(lambda: "x", PARTS)) for each in endpoints}
        assert len(paths) > 25
        await page.call("Page.setBypassCSP", enabled=True)  # of the refusal, as before
        await page.open(page_of.format(evil=evil, port=port))
        await page.evaluate(ATTACKS)
        at = URL(f"http://{REBOUND if REBOUND in page_of else '127.0.0.1'}:{port}")
        before = state_of(world)
        for way in (*GETS, "get with the token", *POSTS, "post with the token"):
            if way not in OWN_ORIGIN:
                controls = [f"{naive.url}{way.replace(' ', '-')}/{number}" for number in range(8)]
                read = await attack(page, way, {url: {} for url in controls}, naive.asked)
                assert read == ([] if way in BLIND else controls), f"{way} works where nothing is checked"
            targets = {str(at.with_path(path)): {"token": token} for path in paths}
            assert await attack(page, way, targets, None) == [], f"{way} reads"
            assert reached == [], way
            await page.evaluate("leave(); 0")
        assert state_of(world) == before
    finally:
        await server.close()


async def attack(
    page: Tab, way: str, targets: Mapping[str, Mapping[str, str]], asked: set[str] | None
) -> Sequence[str]:
    """Makes one attack on addresses, with the fields of each, and waits until all their paths are among `asked`.
    Returns those of which the page learned something."""
    read: list[str] = await page.evaluate(f"attack({json.dumps(way)}, {json.dumps([*targets.items()])})")
    if asked is not None:
        await until(lambda: {URL(url).path for url in targets} <= asked, within_s=20)
    return sorted(read)


async def test_no_page_is_framed(pages: Pages, page: Tab, naive: Naive, evil: int) -> None:
    home = await sign_in(page, pages)
    for url, is_shown in ((naive.url, True), (home, False)):
        await page.open(f"http://{EVIL}:{evil}/")
        await page.evaluate(
            "new Promise(end => { const frame = document.createElement('iframe'); frame.onload = () => end(0);"
            f" frame.src = {json.dumps(url)}; document.body.append(frame); }})"
        )
        tree = await page.call("Page.getFrameTree")
        (child,) = tree["frameTree"]["childFrames"]
        assert (child["frame"].get("unreachableUrl") is None and child["frame"]["url"] == url) is is_shown


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
