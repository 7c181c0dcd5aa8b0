"""Sites that direct does not open, where no relay shows the reason: the word in every place, and the words that it must
not be.

A filter of SNIs that reassembles records, or is silent, leaves the local strategies no way. Without a relay nothing
distinguishes a block from a fault of the site; beside a dead one the relay is at fault, and a closed port is not the
site.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import places, rules, rules_2025
from tests.lab.country import Country
from tests.lab.test_verdicts import DETECT, words_for, wrong
from tests.lab.trials import limited

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

RESET, SILENT, UNANSWERED, HEALTHY = "reset.test", "silent.example", "unanswered.example.org", "healthy.test"
"""`UNANSWERED` gets its ClientHello, and its answers are lost."""
OPENS_NOT = (RESET, SILENT, UNANSWERED)


async def test_without_a_relay_a_block_and_a_fault_look_the_same(folder: Path) -> None:
    """This holds also where the visitor waited and left. One closed port is a row of its own."""
    async with Country(folder) as country:
        settings = country.config(no_relay=True, detect=DETECT)
        async with country.byway(folder / "byway", config=settings) as byway:
            sites = {name: country.add_site(name) for name in (*OPENS_NOT, HEALTHY)}
            country.rules.set([rules.SniReset(RESET), rules.SniDrop(SILENT), rules_2025.AnswerDrop(UNANSWERED)])
            visitor = country.visitor(byway)
            for name in (HEALTHY, *OPENS_NOT, HEALTHY):
                await limited(visitor, sites[name].url(), 6.0)
            await limited(visitor, f"https://{HEALTHY}:8443/", 6.0)
            status = {site["site"]: site for site in (await byway.ask("/v1/status"))["sites"]}
            healthy = (await byway.ask(f"/v1/sites/{HEALTHY}"))["belief"]
            told = await words_for(byway, {name: site.url() for name, site in sites.items()})
    assert {status[name]["words"] for name in OPENS_NOT} == {"does not open"}
    assert "reset after the ClientHello, as SNI filters do" in status[RESET]["because"]
    for name in (SILENT, UNANSWERED):
        assert "silence after the ClientHello, as SNI filters do" in status[name]["because"]
    assert {status[name]["state"] for name in OPENS_NOT} == {"unknown"}, "that it is down is a claim"
    assert healthy["words"] == "works"
    for name in sites:  # a measurement may know more, by another name at the same address: then all do
        assert wrong(told[name]["why --json"], told[name]) == {}, name
        assert "site down" not in told[name].values()
    assert (status[f"{HEALTHY}:8443"]["port"], HEALTHY in status) == (8443, False)


async def test_a_dead_relay_is_at_fault_and_not_the_site(folder: Path) -> None:
    """The visitor leaves while the relay is tried again: `status`, `why` and `test` give the same answer."""
    async with Country(folder) as country:
        dead = [("abroad", f"socks5h://{places.SOCKS_RELAY}:1")]
        settings = country.config(detect=DETECT, auto="ladder = []", relays=dead)
        async with country.byway(folder / "byway", config=settings) as byway:
            sites = {name: country.add_site(name) for name in (RESET, HEALTHY)}
            country.rules.set([rules.SniReset(RESET)])
            for name in (HEALTHY, RESET, HEALTHY):
                await limited(country.visitor(byway), sites[name].url(), 5.0)
            status = {site["site"]: site["words"] for site in (await byway.ask("/v1/status"))["sites"]}
            told = await words_for(byway, {RESET: sites[RESET].url()})
    assert status[RESET] == "relays fail"
    assert "site down" not in told[RESET].values()
    assert wrong(told[RESET]["why --json"], told[RESET]) == {}
