"""The page of one site: a measurement on it, step by step on each route, and the report to take along."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from proxy.config.schema import Log
from proxy.control.kept_sites import KeptSites
from proxy.control.site_states import SiteStates
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.model import Action, NetworkId, Override, Stage, Symptom
from proxy.model.feature import Feature
from proxy.store.forgetting import Forgotten
from tests.support import ooni
from tests.support.control_world import SECRET, World
from tests.support.dashboard import Browser
from tests.support.outcomes import HOME, TOR, failed, open_uplink, outcome, rescued
from tests.support.seeded import BLOCKED, GFWLIST, SeededWorld

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
    assert html.index("DNS (system)") < html.index('<h2 id="verdict">') < html.index('<h2 id="report">')
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


async def test_a_proof_shows_what_the_file_has_and_what_is_left_out(world: World, browser: Browser) -> None:
    now = time.time()
    world.see(*(rescued(host=BLOG, at=now - at) for at in range(3)))
    text = await browser.text(f"sites/{BLOG}/proof?provider=AS8359+MTS&country=ru")
    assert "Provider AS8359 MTS" in text
    assert "Country RU" in text
    assert "relay-1" in text
    assert " tor " not in text
    assert "network-1" in text
    assert "Left out: names and addresses of your relays" in text
    day = time.strftime("%Y-%m-%d", time.gmtime(now))
    assert f"When Opened Opened by Failed before {day} ✓ yes relay-1 direct: connection reset" in text
    _, html = await browser.get(f"{browser.base}sites/{BLOG}/proof?provider=AS8359+MTS&country=ru")
    assert "report?format=md&amp;provider=AS8359+MTS&amp;country=ru&amp;redact=full" in html
    everything = await browser.text(f"sites/{BLOG}/proof?redact=none&exact=1")
    assert "Nothing is left out" in everything
    assert " tor " in everything
    assert everything.count("✓ yes tor") == 3


async def test_a_proof_with_a_mistake_says_so_and_one_of_nothing_offers_a_measurement(browser: Browser) -> None:
    assert "A country is two letters" in await browser.text(f"sites/{BLOCKED}/proof?country=Kasachstan")
    assert "Nothing is known about never.example yet. Measure it first. Measure now" in await browser.text(
        "sites/never.example/proof"
    )
    assert (await browser.get(f"{browser.base}sites/{BLOCKED}/proof?redact=all"))[0] == 400


async def test_two_tabs_do_not_overwrite_an_override(world: World, browser: Browser) -> None:
    """The form says which override it was made for."""
    path = f"sites/{BLOG}"

    async def form_of() -> dict[str, str]:
        _, html = await browser.get(browser.base + path)
        found = re.search(r'name="was" value="([^"]*)"', html)
        assert found is not None
        return {"was": found[1], "hours": ""}

    first, second = await form_of(), await form_of()
    await browser.send(f"{path}/override", action="relay:tor", **first)
    await browser.send(f"{path}/override", action="direct", **second)
    assert world.overrides[BLOG] == Override(Action.RELAY, "tor")
    assert "Nothing was changed: the override has been changed since you opened the page. It is now: relay tor." in (
        await browser.text(path)
    )
    await browser.send(f"{path}/override", action="direct", **await form_of())
    assert world.overrides[BLOG] == Override(Action.DIRECT)


async def test_a_site_is_forgotten_when_its_name_is_typed(world: World, browser: Browser) -> None:
    world.see(rescued(host=BLOG, at=time.time()))
    assert BLOG in await browser.text("sites")
    for typed in ("", "blog.example.org", "no..name"):
        await browser.send(f"sites/{BLOG}/forget", confirm=typed)
        assert f"Nothing was forgotten: the typed name is not {BLOG}." in await browser.text(f"sites/{BLOG}")
    assert not world.forgotten
    assert await browser.send(f"sites/{BLOG}/forget", confirm=f" {BLOG.upper()} ") == "sites"
    assert world.forgotten == [Forgotten(BLOG)]
    assert f"{BLOG} is forgotten" in await browser.text("sites")


async def test_visits_that_failed_are_grouped(world: World, browser: Browser) -> None:
    evening = time.time() - 20 * 3600
    for at in (0, 400, 700):
        dead = failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR)
        world.store.record(outcome(failed(), dead, host=BLOG, at=evening + at), network=HOME)
    world.store.flush()
    text = await browser.text(f"sites/{BLOG}")
    assert ", 3 visits: direct: connection reset after the TLS ClientHello; tor: the relay cannot be reached" in text


async def test_a_day_that_is_not_recorded_is_explained_unless_all_is(world: World, browser: Browser) -> None:
    assert "is not recorded" not in await browser.text(f"sites/{BLOCKED}")
    world.settings = replace(world.settings, log=Log())
    world.overrides_changed()
    text = await browser.text(f"sites/{BLOCKED}")
    assert "A day on which the site simply opened direct is not recorded: [log] hosts is not all ." in text


async def test_what_decides_is_named_with_the_list_and_its_line(world: World, browser: Browser) -> None:
    world.rules = "LIST,gfwlist,RELAY:tor\n"
    world.list_texts = {"gfwlist": GFWLIST}
    world.overrides_changed()
    text = await browser.text(f"sites/{BLOCKED}")
    assert "Rule: LIST,gfwlist,RELAY:tor rules.txt:1 List gfwlist, line 2: ||livejournal.com" in text
    assert "Rule: none matches" in await browser.text("sites/never.test")


async def test_what_cannot_be_reported(browser: Browser) -> None:
    for query, status in (("format=exe", 400), ("redact=all", 400), ("path=/etc", 400), ("format=csv", 404)):
        assert (await browser.get(f"{browser.base}sites/never.example/report?{query}"))[0] == status, query
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert (await browser.get(f"{browser.base}sites/{BLOCKED}/report", **foreign))[0] == 403


async def test_pages_read_again_only_the_sites_that_changed(
    world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that asked beliefs for an earlier moment than another did would make all rows outdated."""
    now = time.time()
    open_uplink(world.beliefs, now=now)
    for number in range(300):
        blocked = LastResult(SiteStatus.BLOCKED, now, Source.MEASUREMENT, "dns")
        world.beliefs.measured(f"www{number}.example", blocked, network=HOME)
    renewed: list[object] = []

    def renew(kept: KeptSites, states: SiteStates, domain: tuple[NetworkId, str]) -> None:
        renewed.append(domain)
        original(kept, states, domain)

    original = KeptSites.renew
    monkeypatch.setattr(KeptSites, "renew", renew)
    paths = ("sites", "sites/www7.example", "sites?name=www7", "sites/www7.example/proof", "sites?page=2")
    for path in paths:
        await browser.text(path)
    assert len(renewed) == 301, "with that of the made-up world"
    for path in paths:
        world.beliefs.learn(rescued(host="www7.example", at=time.time()), network=HOME, now=time.time())
        await browser.text(path)
    assert set(renewed[301:]) == {(HOME, "www7.example")}
