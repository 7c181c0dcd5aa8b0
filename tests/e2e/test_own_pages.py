"""The pages of Byway in a real Chromium: what they say, and that everybody can read them (WCAG 2.2, level AA, by axe),
in light and dark, on a phone and on a desk. BYWAY_SCREENSHOTS=FOLDER keeps what they look like, for human eyes."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from proxy.control.own_pages import Use, home_page, setup_page
from proxy.model import Destination
from tests.support import programs
from tests.support.byway import Byway
from tests.support.chromium import Tab, tab
from tests.support.client import fetch

pytestmark = pytest.mark.needs("chromium", "axe-core")

RULES = """axe.run(document, { runOnly: { type: "tag", values:
  ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] } })
  .then(found => found.violations.map(one => `${one.id}: ${one.nodes.map(node => node.html).join(" ")}`))"""
LOOKS = [(dark, width) for dark in (False, True) for width in (360, 1280)]
GROUNDS = {False: "rgb(255, 255, 255)", True: "rgb(20, 24, 28)"}

CONFIG = '[dns]\nsecure = "never"\n[dns.hosts]\n"dead.test" = "127.0.0.1"\n'


@pytest.fixture
async def byway(tmp_path: Path) -> AsyncIterator[Byway]:
    rules = "DOMAIN,relayed.test,RELAY\nDOMAIN,dead.test,AUTO\nMATCH,BLOCK\n"  # the browser has errands of its own
    async with Byway(tmp_path, config=CONFIG, rules=rules) as byway:
        yield byway


@pytest.fixture
async def page(byway: Byway, tmp_path: Path) -> AsyncIterator[Tab]:
    """In a browser that uses Byway."""
    async with tab(tmp_path / "browser", f"--proxy-server={byway.url}") as page:
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
        "http://relayed.test/": "byway relay add URL",
    }.items():
        await page.open(url)
        text = await page.text()
        assert words in text
        assert f"{url[7:-1]} did not open" in text
        assert await page.evaluate("document.querySelector('a').href") == f"{byway.url}/"
        await check_looks(page, lambda url=url: page.open(url), f"error-{words.split()[0]}")  # type: ignore[misc]


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
