"""What befalls a user, and what the dashboard says of it: a site is blocked while somebody watches, a relay dies, a
network asks for a login, a rule is made. A real Byway in the country.

Nothing here asserts a length of time: what has to be said at once is said on the first look after the visit, or on a
page that is open and never loaded again.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.e2e.test_dashboard import shows, sign_in
from tests.lab import places, rules
from tests.lab.country import NO_HEDGE, RELAY, Country
from tests.lab.readers import signed_in
from tests.lab.scenarios import portal
from tests.lab.test_rescue import AT_ONCE, came_from, settings
from tests.support import ooni
from tests.support.byway import TYPED
from tests.support.chromium import tab
from tests.support.dashboard import Pages
from tests.support.waiting import until_read

pytestmark = pytest.mark.namespaces

AT_FAILURE = f"{AT_ONCE}{NO_HEDGE}"
SITE = "blog.test"
SPARE = "spare"
LOGIN = f"{AT_ONCE}control_timeout_s = 2.0\nprobe_again_s = 0.5\nprobe_interval_s = 0.5\nhello_apart_s = 0.02\n"


@pytest.mark.slow
@pytest.mark.needs("chromium")
async def test_a_site_is_blocked_while_its_page_is_open(country: Country, tmp_path: Path) -> None:
    site = country.add_site(SITE)
    async with country.byway(tmp_path / "byway", config=settings(country, AT_FAILURE)) as byway:
        assert (await byway.get(site.url())).status == 200
        async with (
            byway.door(),
            byway.api() as api,
            tab(tmp_path / "browser") as page,
            Pages(byway.port, api).signed_in() as browser,
        ):
            home = await sign_in(page, browser.pages)
            assert "No blocked sites are known" in await page.text()
            country.rules.set([rules.SniReset(SITE)])
            assert came_from(await byway.get(site.url())) == places.SOCKS_RELAY, "rescued"
            # The page is not loaded again: it follows what happens.
            said = "1 site is blocked here. It opens anyway."
            await shows(page, f"document.querySelector('.lead').innerText.includes({json.dumps(said)})")
            assert await page.evaluate("performance.getEntriesByType('navigation').length") == 1
            assert await page.evaluate("location.href") == home
            card = await browser.text(f"sites/{SITE}")
            assert "Name filter" in card
            assert f"Opens by {RELAY}" in card
            status, report = await browser.get(f"{browser.base}sites/{SITE}/report?format=ooni")
        assert status == 200
        lines = [json.loads(line) for line in report.splitlines()]
        assert [ooni.problems(line) for line in lines] == [[]] * 2
        assert [line["test_keys"]["anomaly"] for line in lines] == [False, True]
        (handshake,) = lines[1]["test_keys"]["tls_handshakes"]
        assert handshake["failure"] == "connection_reset"
        assert handshake["server_name"] == SITE
        assert RELAY not in report


async def test_a_relay_dies_and_another_takes_over(country: Country, tmp_path: Path) -> None:
    site = country.add_site(SITE)
    config = country.config(detect=AT_FAILURE, relays=((RELAY, country.socks_url), (SPARE, country.https_url)))
    async with country.byway(tmp_path / "byway", config=config, rules=f"DOMAIN,{SITE},RELAY\n") as byway:
        url = site.url(secure=False)
        assert came_from(await byway.get(url)) == places.SOCKS_RELAY
        async with signed_in(byway) as browser:
            assert "To do Nothing." in await browser.text()
            await country.relay.stop()
            assert came_from(await byway.get(url)) == places.HTTPS_RELAY, "the first visit after it died"
            home = await browser.text()
            problems = home[home.index("To do") : home.index("What changed")]
            assert f"Relay {RELAY} fails: connection refused." in problems
            assert f"{TYPED} relay test {RELAY}" in problems
            assert f"1 of 2 relays in use fails: {RELAY}." in await browser.text("relays")


async def test_a_network_asks_for_a_login_and_is_well_again(country: Country, tmp_path: Path) -> None:
    site = country.add_site(SITE)
    country.rules.set(portal(country, [site]))
    async with (
        country.byway(tmp_path / "byway", config=settings(country, LOGIN)) as byway,
        signed_in(byway) as browser,
    ):

        async def home_says(words: str) -> None:
            async def said() -> bool:
                await country.visitor(byway).visit(site.url())
                return words in await browser.text()

            await until_read(said)

        await home_says("Captive portal: this network shows its login page")
        assert "No blocked sites are known" in await browser.text(), "nothing is learned there"
        country.lift()
        country.rules.set([rules.SniReset(SITE)])
        await home_says("1 site is blocked here.")
        assert "Captive portal" not in await browser.text()


async def test_a_rule_that_is_typed_decides_the_next_connection(country: Country, tmp_path: Path) -> None:
    url = country.add_site(SITE).url(secure=False)
    async with (
        country.byway(tmp_path / "byway", config=settings(country, AT_FAILURE), rules="MATCH,AUTO\n") as byway,
        signed_in(byway) as browser,
    ):
        assert came_from(await byway.get(url)) == places.CLIENT
        _, html = await browser.get(f"{browser.base}rules?tab=text")
        version = html.partition('name="version" value="')[2].partition('"')[0]
        text = f"DOMAIN,{SITE},RELAY:{RELAY}\r\nMATCH,AUTO\r\n"
        assert await browser.send("rules", text=text, version=version) == "rules?tab=text"
        assert came_from(await byway.get(url)) == places.SOCKS_RELAY, "with the very next one"
        assert byway.rules.read_text() == text.replace("\r\n", "\n")
        row = re.escape(f"DOMAIN,{SITE},RELAY:{RELAY} ") + ".{1,60}? 1 "
        assert re.search(row, await browser.text("rules"))
