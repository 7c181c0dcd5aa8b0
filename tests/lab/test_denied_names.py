"""A resolver denies a name, with encrypted DNS dead or alive, with a relay and without: the word in every place.

Encrypted DNS that does not answer is no evidence, so one forged denial must not turn a censored site into a typo; and a
true typo must not wait for a dead relay.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import places, rules
from tests.lab.country import NO_HEDGE, Country
from tests.lab.test_verdicts import DETECT, living, words_for, wrong
from tests.support.at_once import AtOnce

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

at_once = AtOnce(most=3)

CENSORED, TYPO, HEALTHY = "censored.test", "tpyo.test", "healthy.test"


def dns_lies(*, doh_dead: bool) -> list[rules.Rule]:
    dead = rules.DohBlock(addresses=[places.DOH, places.DOT]) if doh_dead else []
    return [rules.DnsNxdomain(CENSORED, resolvers=[places.PROVIDER_RESOLVER]), *dead]


@pytest.mark.slow
@at_once
async def test_encrypted_dns_that_is_dead_denies_nothing(folder: Path) -> None:
    """Byway counts neither the censored site nor the typo beside it as denied: they cannot be distinguished. The
    healthy twin works."""
    async with Country(folder) as country:
        settings = country.config(no_relay=True, detect=DETECT)
        async with country.byway(folder / "byway", config=settings) as byway:
            sites = [country.add_site(name) for name in (CENSORED, HEALTHY)]
            country.rules.set(dns_lies(doh_dead=True))
            urls = {site.name: site.url() for site in sites} | {TYPO: f"https://{TYPO}/"}
            for url in (urls[HEALTHY], urls[CENSORED], urls[TYPO]):
                await country.visitor(byway).visit(url)
            told = await words_for(byway, urls)
            sentence = (await byway.belief(CENSORED))["evidence"]
    assert {name: wrong(word, told[name]) for name, word in WORDS.items()} == {name: {} for name in WORDS}
    assert "encrypted DNS is blocked here, so it may be DNS tampering" in sentence


WORDS = {CENSORED: "does not resolve", TYPO: "does not resolve", HEALTHY: "works"}


@pytest.mark.slow
@at_once
async def test_with_a_relay_the_site_opens_and_the_typo_is_one(folder: Path) -> None:
    async with living(folder) as (country, byway):
        site = country.add_site(CENSORED)
        country.rules.set(dns_lies(doh_dead=True))
        opened = await country.visitor(byway).visit(site.url())
        await country.visitor(byway).visit(f"https://{TYPO}/")
        told = await words_for(byway, {site.name: site.url(), TYPO: f"https://{TYPO}/"})
    assert opened.genuine
    assert wrong("likely blocked", told[CENSORED]) == {}
    assert wrong("no such name", told[TYPO]) == {}


@at_once
async def test_a_typo_beside_a_dead_relay_asks_no_relay_and_a_forged_denial_is_rescued(folder: Path) -> None:
    """Both resolvers deny the typo; encrypted DNS has the censored name, which the system's resolver denies."""
    async with Country(folder) as country:
        # A resolver that is late, on a busy machine, calls no relay.
        relays = [("abroad", f"socks5h://{places.SOCKS_RELAY}:1")]
        settings = country.config(detect=DETECT + NO_HEDGE, relays=relays)
        async with country.byway(folder / "byway", config=settings) as byway:
            site = country.add_site(CENSORED)
            country.rules.set(dns_lies(doh_dead=False))
            await country.visitor(byway).visit(f"https://{TYPO}/")
            opened = await country.visitor(byway).visit(site.url())
            told = await words_for(byway, {TYPO: f"https://{TYPO}/"})
            (row,) = await byway.rows(TYPO, 1)
    assert opened.genuine
    assert [attempt["route"] for attempt in row["attempts"]] == ["direct", "direct|doh"]
    assert wrong("no such name", told[TYPO]) == {}
