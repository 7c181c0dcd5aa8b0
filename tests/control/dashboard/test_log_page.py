"""The page of the log: its filter in words, and its CSV."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator

import pytest

from tests.control.world import World
from tests.support.dashboard import Browser
from tests.support.outcomes import failed, outcome, rescued, works

BLOG = "blog.example.net"


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    now = time.time()
    world.see(works("fine.example", at=now - 7200), rescued(host=BLOG, at=now - 60))
    world.see(outcome(failed(), host="evil.example", at=now - 30, error="=1+1"))
    yield world
    world.close()


async def test_the_log_can_be_filtered_by_words(browser: Browser) -> None:
    assert BLOG in await browser.text("log")
    only = await browser.text("log?filter=outcome:direct+since:3h")
    assert "fine.example" in only
    assert BLOG not in only
    assert BLOG not in await browser.text("log?filter=outcome:direct&outcome=rescued"), "words win over fields"
    assert "No matching connections." in await browser.text("log?filter=never.example")
    status, text = await browser.get(f"{browser.base}log?filter=outcom:failed")
    assert status == 400
    assert "did you mean outcome?" in text


async def test_the_log_as_csv(browser: Browser) -> None:
    _, html = await browser.get(f"{browser.base}log?filter=since:1h&hours=")
    link = f"{browser.base}log.csv?filter=since%3A1h&amp;hours="
    assert f'href="{link}"' in html
    status, text = await browser.get(link.replace("&amp;", "&"))
    assert status == 200
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["host"] for row in rows] == ["evil.example", BLOG]
    assert rows[1]["route"] == "tor"
    assert rows[1]["attempts"].startswith("direct: connection reset after the TLS ClientHello")
    assert rows[0]["error"] == "'=1+1", "no formula in a spreadsheet"
    assert (await browser.get(f"{browser.base}log.csv?path=/etc"))[0] == 400
