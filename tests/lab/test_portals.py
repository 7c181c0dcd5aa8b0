"""Captive portals in three real styles, and the one word in every place, with the login page to open.

A portal redirects plain http and cuts https; or its resolver leads every name to its own private address; or it answers
https too, with a certificate of its own. Byway learns nothing about sites behind it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from proxy.model import NetworkState
from proxy.terminal.exit_codes import Exit
from tests.lab import places, rules
from tests.lab.country import NO_HEDGE, Country, Running
from tests.lab.matches import EVERYWHERE
from tests.lab.name_servers import Addresses
from tests.lab.rules import Rule
from tests.lab.test_verdicts import DETECT, living, words_for, wrong
from tests.support.at_once import AtOnce
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

at_once = AtOnce(most=4)

SITE = "site.test"
DOH_CUT = rules.DohBlock(addresses=[places.DOH, places.DOT])


def cuts_https(country: Country) -> Sequence[Rule]:
    """Answers 302 on port 80; nothing else passes."""
    country.middlebox.page = country.portal
    return (rules.Intercept(ports=(80,)), rules.AddressDrop(*EVERYWHERE, ports=(443, 853, places.SOCKS_PORT)))


def resets_https(country: Country) -> Sequence[Rule]:
    """As before, but for resets in answer to SYNs, as where port 443 alone is blocked."""
    country.middlebox.page = country.portal
    return (rules.Intercept(ports=(80,)), rules.SynReset(*EVERYWHERE, ports=(443, 853, places.SOCKS_PORT)))


def leads_names_astray(country: Country) -> Sequence[Rule]:
    """Gives every name a private address, where no server is; cuts encrypted DNS and relays."""
    country.provider.everything = Addresses((places.BOGON,))
    return (*DOH_CUT, rules.AddressDrop(places.RELAYS))


def shows_its_certificate(country: Country) -> Sequence[Rule]:
    """Answers https for every site, under a name of its own."""
    country.middlebox.page = country.portal
    return (rules.Intercept(ports=(80, 443)), rules.AddressDrop(places.RELAYS), *DOH_CUT)


STYLES: dict[Callable[[Country], Sequence[Rule]], str] = {
    cuts_https: "http://portal.provider.test/",
    resets_https: "http://portal.provider.test/",
    leads_names_astray: f"http://{places.BOGON}/",
    shows_its_certificate: "",
}


async def told_by(byway: Running, *words: str) -> Any:
    """Returns the output of a command with --json, whatever its exit code."""
    return json.loads((await byway.command(*words, "--json", check=False)).stdout)


@pytest.mark.parametrize(
    ("style", "relay"),
    [
        pytest.param(cuts_https, False, id="https cut"),
        pytest.param(cuts_https, True, id="https cut, with a relay"),
        pytest.param(resets_https, True, id="https reset, with a relay"),
        pytest.param(leads_names_astray, False, id="names led astray"),
        pytest.param(shows_its_certificate, False, id="its own certificate"),
    ],
)
@at_once
async def test_a_portal_is_called_that_everywhere(
    folder: Path, *, style: Callable[[Country], Sequence[Rule]], relay: bool
) -> None:
    """There was no visit: `why` detects the portal, and everything else follows."""
    async with Country(folder) as country:
        settings = country.config(detect=DETECT, no_relay=not relay)
        async with country.byway(folder / "byway", config=settings) as byway:
            site = country.add_site(SITE)
            country.rules.set(style(country))
            url = site.url()
            why = await told_by(byway, "why", url)
            plain, doctor, told = await asyncio.gather(
                told_by(byway, "why", site.url(secure=False)),
                byway.command("doctor", "--json", check=False),
                words_for(byway, {SITE: url}),
            )
            status = await byway.read("status")
            log = byway.said.read_text()
            believed = await byway.ask("/v1/sites")
    assert (why["verdict"]["words"], plain["verdict"]["words"]) == ("portal", "portal"), why["verdict"]
    assert wrong("portal", told[SITE]) == {}
    assert status["network_state"] == NetworkState.PORTAL
    problem = next(problem for problem in status["problems"] if "Captive portal" in problem["text"])
    finding = next(finding for finding in json.loads(doctor.stdout)["findings"] if finding["step"] == "portal")
    assert doctor.returncode == Exit.NO_NETWORK
    for said in (why["verdict"]["do"], problem["do"], finding["do"], log):
        assert STYLES[style] in said
    assert all("Captive portal" in said for said in (finding["text"], log))
    assert not [known for known in believed["sites"] if known["state"] not in ("unknown", "works")]
    assert not [problem for problem in status["problems"] if "Relay" in problem["text"]]


@at_once
async def test_after_the_login_the_portal_is_over(folder: Path) -> None:
    """The twin: the same network after a login. A page that is late then, on a busy machine, is left to no strategy."""
    async with living(folder, detect=DETECT + NO_HEDGE, no_relay=True) as (country, byway):
        site = country.add_site(SITE)
        country.rules.set(cuts_https(country))
        await byway.command("why", site.url(), check=False)
        assert await byway.network_state() == NetworkState.PORTAL
        country.lift()
        opened = await country.visitor(byway).visit(site.url())
        why = await byway.read("why", site.url())
        status = await byway.read("status")
    assert opened.genuine
    assert why["verdict"]["words"] == "works"
    assert (status["network_state"], status["problems"][1:], status["sites"]) == (NetworkState.OK, [], []), status


@at_once
async def test_a_portal_that_leads_names_astray_is_seen_by_visits(folder: Path) -> None:
    """Pages come first, as in real use: `why` and `status` name the portal, and after the login all names resolve
    again, though the network still cuts encrypted DNS."""
    async with Country(folder) as country:
        settings = country.config(detect=DETECT, no_relay=True)
        async with country.byway(folder / "byway", config=settings) as byway:
            sites = [country.add_site(name) for name in (SITE, "other.test")]
            country.rules.set(leads_names_astray(country))
            for site in sites:
                await country.visitor(byway).visit(site.url())
            await until_read(lambda: _is_portal(byway), within_s=60)
            why = json.loads((await byway.command("why", sites[0].url(), "--json", check=False)).stdout)
            told = await words_for(byway, {site.name: site.url() for site in sites})
            country.lift()
            country.rules.set(DOH_CUT)
            opened = [await country.visitor(byway).visit(site.url()) for site in sites]
            later = await byway.read("why", sites[0].url())
            status = await byway.read("status")
    assert why["verdict"]["words"] == "portal", why["verdict"]
    assert {name: wrong("portal", words) for name, words in told.items()} == {SITE: {}, "other.test": {}}
    assert all(visit.genuine for visit in opened), opened
    assert later["verdict"]["words"] == "works", later["verdict"]
    assert (status["network_state"], status["sites"]) == (NetworkState.OK, []), status


async def _is_portal(byway: Running) -> bool:
    return await byway.network_state() == NetworkState.PORTAL
