"""The page of one site: a measurement on it, step by step on each route, and the report to take along."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterator, Sequence

import pytest

from proxy.model.feature import Feature
from tests.support import ooni
from tests.support.control_world import SECRET, World
from tests.support.dashboard import Browser
from tests.support.outcomes import rescued
from tests.support.seeded import BLOCKED, SeededWorld

BLOG = "blog.example.net"


@pytest.fixture
def world(features: Sequence[Feature]) -> Iterator[World]:
    world = SeededWorld(features=features)
    yield world
    world.close()


async def measure(browser: Browser, host: str) -> tuple[int, str]:
    return await browser.post(f"{browser.base}sites/{host}/measure", {"token": await browser.token(), "fresh": "1"})


async def test_a_measurement_is_on_the_page_of_the_site(world: World, browser: Browser) -> None:
    assert "Not measured in the last minutes." in await browser.text(f"sites/{BLOG}")
    status, html = await measure(browser, BLOG)
    assert status == 200
    assert html.index("DNS (system)") < html.index('<h2 id="verdict">') < html.index('<h2 id="override">')
    assert html.rstrip().endswith("</html>")
    assert "data-still" in html
    text = await browser.text(f"sites/{BLOG}")
    # A row for each route, and a column for each step.
    assert "Route DNS (system) TCP connect" in text
    assert "direct ✓ ok" in text
    assert "✗ failed: nobody answers" in text
    assert text.index("direct ✓") < text.index("All steps") < text.index("Measure now")
    assert re.search(r"\d+ more routes? w(as|ere) not tested\. ", text)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "192.168.1.1"])
async def test_no_address_of_this_network_is_measured(world: World, browser: Browser, host: str) -> None:
    status, text = await measure(browser, host)
    assert status == 400
    assert "is not on the internet" in text
    assert not world.resolved


async def exported(browser: Browser, host: str, **asked: str) -> str:
    """The file that the form asks for."""
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    address = f"{browser.pages.url}{browser.base}sites/{host}/report?{query}"
    async with browser.session.get(address, headers={"Sec-Fetch-Site": "same-origin"}) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["Content-Disposition"].startswith(f'attachment; filename="byway-{host}.')
        return await answer.text()


async def test_a_report_is_valid_for_ooni_and_tells_no_relay(world: World, browser: Browser) -> None:
    world.see(rescued(host=BLOG, at=time.time()))
    await measure(browser, BLOG)
    text = await exported(browser, BLOG)
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["annotations"]["source"] for line in lines] == ["connection", "measurement"]
    assert [ooni.problems(line) for line in lines] == [[], []]
    assert lines[0]["test_keys"]["anomaly"]
    assert '"tor"' not in text
    assert "relay-1" in text
    assert lines[0]["annotations"]["network"] == "network-1"
    assert '"tor"' in await exported(browser, BLOG, format="ooni", redact="none")


async def test_a_report_in_other_formats(world: World, browser: Browser) -> None:
    world.see(rescued(host=BLOG, at=time.time()))
    rows = list(csv.DictReader(io.StringIO(await exported(browser, BLOG, format="csv", redact="full"))))
    assert [(row["route"], row["result"]) for row in rows] == [("direct", "failed"), ("relay-1", "ok")]
    text = await exported(browser, BLOG, format="md")
    assert text.startswith("# Byway report\n")
    assert "| ✓ | relay-1 |" in text
    for redact in ("full", "relay", "none"):
        assert SECRET not in await exported(browser, BLOCKED, format="md", redact=redact)


async def test_what_cannot_be_reported(browser: Browser) -> None:
    for query, status in (("format=exe", 400), ("redact=all", 400), ("path=/etc", 400), ("format=csv", 404)):
        assert (await browser.get(f"{browser.base}sites/never.example/report?{query}"))[0] == status, query
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert (await browser.get(f"{browser.base}sites/{BLOCKED}/report", **foreign))[0] == 403
