"""The page of the log: its filter in words, and its CSV."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Iterator, Sequence
from html import unescape

import pytest

from proxy.features.traffic import log_page as log
from proxy.features.traffic.log_page import ROWS
from proxy.model.feature import Feature
from tests.support.control_world import World
from tests.support.dashboard import Browser
from tests.support.outcomes import failed, outcome, rescued, works

BLOG = "blog.example.net"


@pytest.fixture
def world(features: Sequence[Feature]) -> Iterator[World]:
    world = World(features=features)
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


async def test_a_filter_with_a_mistake_stays_to_be_mended(browser: Browser) -> None:
    status, text = await browser.get(f"{browser.base}log?filter=resul:failed+since:yesterday&site=fine.example")
    assert status == 400
    assert "did you mean result?" in text
    assert 'value="resul:failed since:yesterday"' in text
    assert 'value="fine.example"' in text
    assert "No matching connections" not in text
    assert (await browser.get(f"{browser.base}log?before=x"))[0] == 400


async def test_an_evening_can_be_selected(world: World, browser: Browser) -> None:
    world.see(works("evening.example", at=time.time() - 5400))
    only = await browser.text("log?filter=since:100m+until:80m&hours=1")
    assert "evening.example" in only
    assert "fine.example" not in only
    assert BLOG not in only


async def test_older_connections_are_on_the_next_page_whatever_comes_meanwhile(world: World, browser: Browser) -> None:
    now = time.time()
    world.see(*(works(f"h{number}.example", at=now - 3600 - number // 2) for number in range(2 * ROWS + 20)))
    seen, page = [], "log?hours="
    while page:
        html = (await browser.get(browser.base + page))[1]
        seen += re.findall(r"sites/(h\d+\.example)", html)
        found = re.search(r'href="[^"]*/(log\?[^"]*)">Older connections', html)
        assert ("Newest connections" in html) == ("before=" in page)
        page = unescape(found[1]) if found else ""
        world.see(rescued(host="meanwhile.example", at=time.time()))
    assert len(seen) == len(set(seen)) == 2 * ROWS + 20


async def test_the_csv_has_all_that_match(world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_CSV_ROWS", 50)
    world.see(*(works(f"h{number}.example", at=time.time() - 60) for number in range(230)))
    status, text = await browser.get(f"{browser.base}log.csv?filter=outcome:direct&hours=")
    assert status == 200
    hosts = [row["host"] for row in csv.DictReader(io.StringIO(text))]
    assert len(hosts) == len(set(hosts)) == 231
    assert text.count("attempts,error") == 1
    status, text = await browser.get(f"{browser.base}log.csv?filter=site:never.example")
    assert (status, text.count("\n")) == (200, 1), "a heading alone"
    assert (await browser.get(f"{browser.base}log.csv?filter=outcom:x"))[0] == 400


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
