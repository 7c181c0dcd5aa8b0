"""Who gets past the guard: nobody but pages of the dashboard in the browser that was signed in.

Each attack is first shown to succeed as a request of our own page, so that what refuses it is what the test means."""

from __future__ import annotations

import asyncio
import re

import aiohttp
import pytest
from multidict import CIMultiDict

from proxy.control.dashboard.guard import cookie_name
from tests.support.control_world import World
from tests.support.dashboard import Browser, Pages

POSTS = {"mode": {"mode": "relay"}, "pause": {"minutes": "15"}, "sites/open.example/override": {"action": "direct"}}


@pytest.mark.uses("today")
async def test_a_page_needs_path_and_cookie(pages: Pages, browser: Browser) -> None:
    assert (await browser.get(browser.base))[0] == 200
    async with pages.signed_in() as other, aiohttp.ClientSession() as stranger:
        assert (await other.get(browser.base))[0] == 401  # the cookie of another session
        without = Browser(pages, stranger)
        for path in (browser.base, "/s/" + "0" * 32 + "/", f"{browser.base}sites", f"{browser.base}events"):
            status, text = await without.get(path)
            assert (status, "byway open" in text) == (401, True)
    cookies = list(browser.session.cookie_jar)
    assert [cookie["path"] for cookie in cookies] == [browser.base]
    assert [cookie.key for cookie in cookies] == [cookie_name(pages.port)]
    assert all(cookie["httponly"] and cookie["samesite"] == "Strict" for cookie in cookies)
    assert (await browser.get(browser.base))[0] == 200


@pytest.mark.uses("today")
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:8119"},
        {"Referer": "http://evil.example/"},
        {"Referer": "http://127.0.0.1:81190/"},
        {"Sec-Fetch-Dest": "iframe"},
    ],
    ids=str,
)
async def test_no_other_site_causes_a_request(browser: Browser, headers: dict[str, str]) -> None:
    assert (await browser.get(browser.base))[0] == 200
    assert (await browser.get(browser.base, **headers))[0] == 403


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "byway.internal", "0.0.0.0", "127.1"])
async def test_another_host_is_refused_before_anything_else(pages: Pages, browser: Browser, host: str) -> None:
    """DNS rebinding: the page is of its own origin, and has every right there."""
    headers = {"Host": host if ":" in host else f"{host}:{pages.port}"}
    if host == "127.0.0.1":
        headers = {"Host": host}
    for path in (browser.base, "/sign-in"):
        assert (await browser.get(path, **headers))[0] == 421


@pytest.mark.uses("today")
@pytest.mark.parametrize("place", ["before", "behind", "both", "another field"])
async def test_another_cookie_of_the_name_signs_nobody_out_and_nobody_in(
    pages: Pages, browser: Browser, place: str
) -> None:
    (cookie,) = browser.session.cookie_jar
    name = cookie_name(pages.port)
    ours, foreign = f"{name}={cookie.value}", f'{name}=x; {name}; {name}=; {name}="'
    async with aiohttp.ClientSession() as bare:
        for own, status in ((ours, 200), (f"{name}-2={cookie.value}", 401), (f"x{ours}", 401)):
            lines = {
                "before": [f"{foreign}; {own}"],
                "behind": [f"{own}; {foreign}"],
                "both": [f"{foreign}; {own}; {foreign}"],
                "another field": [foreign, own],
            }[place]
            headers = CIMultiDict([("Sec-Fetch-Site", "same-origin"), *(("Cookie", line) for line in lines)])
            async with bare.get(pages.url + browser.base, headers=headers) as answer:
                assert answer.status == status, own


@pytest.mark.uses("today")
@pytest.mark.parametrize("count", [2, 14])
async def test_long_cookies_of_another_server_lock_nobody_out(pages: Pages, browser: Browser, count: int) -> None:
    """A browser keeps 4 KiB each, and sends all in one field."""
    (cookie,) = browser.session.cookie_jar
    own = f"{cookie.key}={cookie.value}"
    foreign = [f"{cookie.key if number % 2 else number}={'x' * 4000}" for number in range(count)]
    async with aiohttp.ClientSession() as bare:
        for cookies in ([own, *foreign], [*foreign, own]):
            headers = {"Sec-Fetch-Site": "same-origin", "Cookie": "; ".join(cookies)}
            async with bare.get(pages.url + browser.base, headers=headers) as answer:
                assert answer.status == 200, await answer.text()


@pytest.mark.uses("today")
@pytest.mark.parametrize("field", ["Origin", "Referer", "Sec-Fetch-Site"])
async def test_two_fields_that_say_where_a_request_comes_from_are_refused(browser: Browser, field: str) -> None:
    first, second = (
        ("same-origin", "cross-site") if field == "Sec-Fetch-Site" else (browser.pages.url, "http://evil.example")
    )
    for headers, status in (([(field, first)], 200), ([(field, first), (field, second)], 400)):
        async with browser.session.get(browser.pages.url + browser.base, headers=CIMultiDict(headers)) as answer:
            assert answer.status == status


@pytest.mark.uses("sites", "today")
async def test_a_form_needs_our_origin_and_its_token(world: World, browser: Browser) -> None:
    token = await browser.token()
    async with browser.pages.signed_in() as other:
        foreign = await other.token()
    for path, form in POSTS.items():
        for fields, origin, site in (
            ({**form, "token": token}, None, "same-origin"),
            ({**form, "token": token}, "http://evil.example", "same-origin"),
            ({**form, "token": token}, "null", "same-origin"),
            ({**form, "token": token}, "", "cross-site"),
            (form, "", "same-origin"),
            ({**form, "token": foreign}, "", "same-origin"),
            ({**form, "token": ""}, "", "same-origin"),
        ):
            assert (await browser.post(browser.base + path, fields, origin=origin, site=site))[0] == 403
    assert world.modes.mode == "auto"
    assert not world.modes.paused_until
    assert not world.overrides
    for path, form in POSTS.items():
        assert (await browser.post(browser.base + path, {**form, "token": token}))[0] == 303
    assert world.modes.mode == "relay"
    assert world.modes.paused_until
    assert list(world.overrides) == ["open.example"]


@pytest.mark.uses("today")
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data; boundary=x"])
async def test_a_form_is_a_form(browser: Browser, kind: str) -> None:
    headers = {"Origin": browser.pages.url, "Content-Type": kind}
    body = f"token={await browser.token()}&mode=relay"
    async with browser.session.post(
        f"{browser.pages.url}{browser.base}mode", data=body.encode(), headers=headers
    ) as answer:
        assert answer.status == 415


@pytest.mark.uses("today")
async def test_fields_are_known_and_given_once(world: World, browser: Browser) -> None:
    token = await browser.token()
    headers = {"Origin": browser.pages.url, "Content-Type": "application/x-www-form-urlencoded"}
    for body in (
        f"token={token}&mode=relay&mode=direct",
        f"token={token}&token={token}&mode=relay",
        f"token={token}&mode=relay&path=/etc",
        f"token={token}&mode",
        f"token={token}&mode=%ff",
        f"token={token}&mode=relay" + "&mode=relay" * 70,
        f"token={token}&mode=relay&x={'y' * 70_000}",
    ):
        async with browser.session.post(
            f"{browser.pages.url}{browser.base}mode", data=body.encode(), headers=headers, allow_redirects=False
        ) as answer:
            assert answer.status in (400, 403, 413), body[:80]
    assert world.modes.mode == "auto"


@pytest.mark.uses("today")
async def test_a_stolen_code_used_twice_lets_nobody_in(pages: Pages) -> None:
    code = await pages.code()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        thief = Browser(pages, session)
        status, page = await thief.post("/sign-in", {"code": code}, origin="null", site="cross-site")
        assert status == 200
        base = re.findall(r'url=(/s/[0-9a-f]{32}/)"', page)[0]
        assert (await thief.get(base))[0] == 200
        status, page = await thief.post("/sign-in", {"code": code}, origin="null", site="cross-site")
        assert status == 403
        assert "This code is wrong, was used, or is older than 60 s." in page
        assert (await thief.get(base))[0] == 401


async def test_signing_out(pages: Pages, browser: Browser) -> None:
    status, text = await browser.post(f"{browser.base}sign-out", {"token": await browser.token()})
    assert (status, "Signed out" in text) == (200, True)
    assert (await browser.get(browser.base))[0] == 401


@pytest.mark.uses("traffic")
async def test_the_api_tells_whether_the_code_was_used(pages: Pages) -> None:
    async with pages.api.post("/v1/sign-in", json={"page": "log"}) as answer:
        code = (await answer.content.readline()).decode()
        text = re.findall(r'"code": "([0-9A-Z-]{19})"', code)[0]
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            _, page = await Browser(pages, session).post("/sign-in", {"code": text}, origin=None, site="none")
        assert re.search(r"url=/s/[0-9a-f]{32}/traffic\"", page)
        assert b'"used": true' in await asyncio.wait_for(answer.content.readline(), 10)
    async with pages.api.post("/v1/sign-in", json={"page": "shell"}) as answer:
        assert answer.status == 400
        assert "unknown page “shell”" in await answer.text() or "shell" in await answer.text()


@pytest.mark.uses("today")
async def test_the_policy_of_a_page_allows_nothing_from_elsewhere(browser: Browser) -> None:
    async with browser.session.get(browser.pages.url + browser.base) as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
