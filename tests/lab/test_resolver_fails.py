"""A provider's resolver answers nobody: sites open by encrypted DNS, and no site is blamed.

One name alone cannot prove this, but a measurement asks for a control site as well, and so do visits to several sites.
If it fails for one name only, that is DNS tampering.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.lab import rules
from tests.lab.country import Country
from tests.lab.readers import disagreements
from tests.lab.scenarios import Arrange, provider_fails, provider_silent
from tests.lab.test_one_state import SETTLE_S, survey, visit_all, why
from tests.lab.test_verdicts import DETECT
from tests.support.at_once import AtOnce

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

at_once = AtOnce(most=3)

TUNING = DETECT.replace("rescue_suspect_s = 3", "rescue_suspect_s = 60").replace("syn_s = 2.0", "syn_s = 5.0")
"""Byway gives up a resolver before a connection to a name, as by default."""
FIRST, SECOND = "first.test", "second.example"


@pytest.mark.parametrize(("fails", "no_relay"), [(provider_silent, False), (provider_fails, True)])
@at_once
async def test_a_dead_resolver_is_no_block(folder: Path, *, fails: Arrange, no_relay: bool) -> None:
    async with Country(folder) as country:
        settings = country.config(no_relay=no_relay, detect=TUNING)
        async with country.byway(folder / "byway", config=settings) as byway:
            urls = {name: country.add_site(name).url() for name in (FIRST, SECOND)}
            fails(country, [])
            one = {FIRST: urls[FIRST]}
            await visit_all(country, byway, one)
            await asyncio.sleep(SETTLE_S)
            assert await why(byway, one, fresh=True) == {}
            said, wrong = await disagreements(byway, one)
            assert ([each.words for each in said.values()], wrong) == (["works"], {})
            await visit_all(country, byway, one)
            assert await why(byway, one) == {}, "also when it was visited again"
            assert (await byway.belief(FIRST))["words"] == "works"
            await visit_all(country, byway, urls)
            await asyncio.sleep(SETTLE_S)
            assert await survey(byway, urls) == {}
            said, wrong = await disagreements(byway, urls)
            assert ({name: each.words for name, each in said.items()}, wrong) == (dict.fromkeys(urls, "works"), {})


@at_once
async def test_visits_to_several_sites_show_it_too_and_one_site_does_not(folder: Path) -> None:
    async with Country(folder) as country:
        settings = country.config(detect=TUNING)
        async with country.byway(folder / "byway", config=settings) as byway:
            urls = {name: country.add_site(name).url() for name in (FIRST, SECOND, "third.test")}
            country.rules.set([rules.DnsDrop(FIRST)])
            for name in (SECOND, FIRST):
                await visit_all(country, byway, {name: urls[name]})
            await asyncio.sleep(SETTLE_S)
            assert (await byway.belief(FIRST))["words"] == "likely blocked", "the control"
            country.rules.set([])
            provider_silent(country, [])
            await byway.command("site", "forget", FIRST)
            await byway.command("site", "forget", SECOND)
            for name in (FIRST, "third.test"):
                await visit_all(country, byway, {name: urls[name]})
            await asyncio.sleep(SETTLE_S)
            said, wrong = await disagreements(byway, [FIRST, "third.test"])
    assert ({name: each.words for name, each in said.items()}, wrong) == (dict.fromkeys(said, "works"), {})
