"""The pages of Byway in a real Chromium: what they say, and that everybody can read them (WCAG 2.2, level AA, by axe),
in light and dark, on a phone and on a desk. BYWAY_SCREENSHOTS=FOLDER keeps what they look like, for human eyes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from proxy.features.desktop.own_pages import home_page, setup_page
from proxy.model import Destination
from proxy.session.recent_clients import Use
from tests.support import programs
from tests.support.byway import Byway
from tests.support.chromium import Chromium, Refused, Tab
from tests.support.client import fetch
from tests.support.origin import Origin

pytestmark = [pytest.mark.needs("chromium", "axe-core"), pytest.mark.slow]

RULES = """axe.run(document, { runOnly: { type: "tag", values:
  ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }, resultTypes: ["violations"] })
  .then(found => found.violations.map(one => `${one.id}: ${one.nodes.map(node => node.html).join(" ")}`))"""
LOOKS = [(dark, width) for dark in (False, True) for width in (360, 1280)]
GROUNDS = {False: "rgb(244, 246, 248)", True: "rgb(15, 19, 23)"}

CONFIG = '[dns]\nsecure = "never"\n[dns.hosts]\n"dead.test" = "127.0.0.1"\n'


@pytest.fixture
async def byway(tmp_path: Path) -> AsyncIterator[Byway]:
    rules = "DOMAIN,relayed.test,RELAY\nDOMAIN,dead.test,AUTO\nMATCH,BLOCK\n"  # the browser has errands of its own
    async with Byway(tmp_path, config=CONFIG, rules=rules) as byway:
        yield byway


@pytest.fixture
async def page(byway: Byway, chromium: Chromium) -> AsyncIterator[Tab]:
    """In a browser that uses Byway."""
    async with chromium.tab(proxy=byway.url) as page:
        yield page


def axe() -> str:
    return Path(programs.require("axe-core")).read_text()


async def check_looks(
    page: Tab, show: Callable[[], Awaitable[None]], name: str, *, looks: Sequence[tuple[bool, int]] = LOOKS
) -> None:
    """Everything that axe finds, and whether a page is wider than its screen, in each look."""
    rules = axe()
    for dark, width in looks:
        await page.look(dark=dark, width=width)
        await show()
        await page.evaluate(f"{rules}; 0")
        assert await page.evaluate(RULES) == [], (dark, width)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == GROUNDS[dark], "the policy of the page allows its style"
        if folder := os.environ.get("BYWAY_SCREENSHOTS"):
            picture = await page.screenshot()
            Path(folder, f"{name}-{'dark' if dark else 'light'}-{width}.png").write_bytes(picture)  # noqa: ASYNC240


async def test_the_page_of_the_proxys_own_address(byway: Byway, page: Tab) -> None:
    not_seen = home_page(Destination(*byway.proxy), Use.NOT_SEEN, "")
    await check_looks(page, lambda: page.write(not_seen), "not-seen")
    await page.open("http://byway.internal/")
    assert "✓ Yes." in await page.text()
    await check_looks(page, lambda: page.open("http://byway.internal/"), "confirmed")
    await page.open("http://byway.internal/")  # what the looks took, on a busy machine, is more than a moment
    await page.open(byway.url)  # not through the proxy: a browser never asks one for loopback
    assert "✓ It seems so." in await page.text(), "this browser has just been seen at the proxy port"
    assert "Set this browser: Chrome, Chromium, Edge, Brave" in await page.text()


async def test_the_page_for_other_computers(page: Tab) -> None:
    text = setup_page(Destination("2001:db8:1234:5678:9abc:def0:1234:5678", 8119), "")
    await check_looks(page, lambda: page.write(text), "set-up")


async def test_a_site_that_did_not_open(byway: Byway, page: Tab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]
    for url, words in {
        f"http://dead.test:{nobody}/": "could not be reached: direct: ",
        "http://refused.test/": "refused by a rule",
        "http://relayed.test/": "relay add URL",
    }.items():
        await page.open(url)
        text = await page.text()
        assert words in text
        assert f"{url[7:-1]} did not open" in text
        assert f"how to set this browser: {byway.url}/" in text
        await check_looks(page, lambda url=url: page.open(url), f"error-{words.split()[0]}")  # type: ignore[misc]


async def test_a_page_that_is_not_there(byway: Byway, page: Tab) -> None:
    for url in (f"{byway.url}/nothing", "http://byway.internal/nothing", "http://byway.internal/proxy.pac"):
        await page.open(url)
        assert "No page has this address." in await page.text()
        await check_looks(page, lambda url=url: page.open(url), "not-found")  # type: ignore[misc]
    answer = await fetch(f"{byway.url}/nothing")
    assert (answer.status, answer.body) == (404, b"No page has this address.\n"), "to a program, a sentence"


async def test_the_links_of_the_page_lead_from_our_address_to_our_name_and_back(byway: Byway, page: Tab) -> None:
    """To a browser these are two sites."""
    await page.open(byway.url)
    await follow(page, "http://byway.internal/")
    assert "✓ Yes." in await page.text()
    file = await page.evaluate("Array.from(document.querySelectorAll('a')).find(one => one.href.endsWith('c')).href")
    assert file == f"{byway.url}/proxy.pac"
    headers = (("Sec-Fetch-Site", "cross-site"), ("Referer", "http://byway.internal/"))
    assert await page.evaluate("Array.from(document.links).every(one => one.referrerPolicy === 'origin')")
    assert (await fetch(file, headers=headers)).status == 200
    assert (await fetch(file, headers=headers[:1])).status == 421


async def follow(page: Tab, url: str) -> None:
    """Clicks on a link, and waits for its page."""
    await page.evaluate(f"Array.from(document.links).find(one => one.href === {json.dumps(url)}).click()")
    for _ in range(600):
        with contextlib.suppress(Refused):  # one page is being left for the next
            if await page.evaluate("document.readyState === 'complete' && location.href") == url:
                return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within 30 s: {url}")


SEEN = """(async () => {
  const seen = {};
  const element = (name, attribute, url, more = {}) => new Promise(end => {
    const one = Object.assign(document.createElement(name), more);
    const say = told => {
      try { if (one.contentWindow) told += " " + one.contentWindow.location.href } catch (error) { told += error.name }
      end(told + " " + one.offsetWidth);
    };
    one.onload = () => say("load"); one.onerror = () => say("error");
    setTimeout(() => say("nothing"), 10000);
    one[attribute] = url; document.body.append(one);
  });
  const asked = [];
  for (const url of URLS) {
    const of = seen[url] = {};
    const note = (name, answer) =>
      asked.push(answer.then(value => of[name] = value, error => of[name] = String(error)));
    note("frame", element("iframe", "src", url));
    note("frame without referrer", element("iframe", "src", url, { referrerPolicy: "no-referrer" }));
    note("object", element("object", "data", url));
    note("embed", element("embed", "src", url));
    note("image", element("img", "src", url));
    note("script", element("script", "src", url));
    note("style", element("link", "href", url, { rel: "stylesheet" }));
    note("prefetch", element("link", "href", url, { rel: "prefetch" }));
    note("fetch", fetch(url).then(answer => answer.type));
    note("opaque", fetch(url, { mode: "no-cors" }).then(answer => answer.type));
    note("as a page", fetch(url, { mode: "no-cors", headers: { Accept: "text/html" } }).then(answer => answer.type));
  }
  await Promise.all(asked);
  const told = one => [one.initiatorType, one.responseStatus, one.transferSize, one.nextHopProtocol].join();
  for (const url of URLS) seen[url].timing = performance.getEntriesByName(url).map(told).sort().join(" ");
  return URLS.map(url => seen[url]);
})()"""


async def test_a_page_cannot_tell_our_name_from_one_that_nobody_has(byway: Byway, page: Tab) -> None:
    async with Origin() as origin:
        evil = f"http://dead.test:{origin.http_port}/"
        for path in ("/", "/proxy.pac", "/strict.pac", "/other"):
            ours, unknown = await seen_by(page, evil, f"http://byway.internal{path}", f"http://nobody.internal{path}")
            assert ours == unknown, path
        site, unknown = await seen_by(page, evil, f"{evil}page/1", "http://nobody.internal/")
        assert site != unknown, "the control"


async def seen_by(page: Tab, evil: str, *urls: str) -> list[dict[str, str]]:
    """What a page sees of each URL."""
    await page.open(evil)
    seen: list[dict[str, str]] = await page.evaluate(SEEN.replace("URLS", json.dumps(urls)))
    assert all(len(each) == 12 for each in seen), seen
    return seen


async def test_a_program_gets_the_sentence(byway: Byway) -> None:
    answer = await fetch("http://refused.test/", via=byway.proxy)
    assert answer.status == 403
    assert not answer.body.startswith(b"<")


async def test_axe_finds_what_is_wrong(page: Tab) -> None:
    """The control: a page without a language and a title, with grey on grey."""
    await page.write("<html><body><p style='color: #999; background: #888'>words</p></body></html>")
    await page.evaluate(f"{axe()}; 0")
    found = {violation.split(":")[0] for violation in await page.evaluate(RULES)}
    assert {"color-contrast", "html-has-lang", "document-title"} <= found
