"""One Chromium for many tabs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chromium import Chromium
from tests.support.origin import Origin

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.slow]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    with contextlib.closing(Chromium(tmp_path)) as browser:
        yield browser


async def test_tabs_share_nothing_and_each_may_have_a_proxy(browser: Chromium) -> None:
    async with Origin() as origin:
        url = f"http://127.0.0.1:{origin.http_port}"
        async with browser.tab() as tab, browser.tab() as other:
            for each in (tab, other):
                await each.open(url)
            await tab.evaluate("document.cookie = 'a=1'; localStorage.a = '1'; 0")
            assert await tab.evaluate("document.cookie + localStorage.a") == "a=11"
            assert await other.evaluate("document.cookie + (localStorage.a ?? 'nothing')") == "nothing"
        async with browser.tab(proxy=url) as tab:
            await tab.open("http://somewhere.test/")
            assert "says hello" in await tab.text()


async def test_one_that_has_died_starts_anew(browser: Chromium) -> None:
    with contextlib.suppress(OSError, TypeError):  # its connections are closed
        async with browser.tab():
            assert browser._process is not None
            browser._process.kill()
            browser._process.wait()
    async with browser.tab() as tab:
        assert await tab.evaluate("1 + 1") == 2
