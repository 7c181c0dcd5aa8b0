"""Networks that let only listed sites pass, however they stop the rest: within ten visits they are called restricted,
domestic sites go direct, no site is blamed, and the advice is true, also where the relay is not listed. And one that
resets port 443 alone.

No control page is listed here: the domestic one is of another country. One that is of this country is in the table
(`allow-list`).
"""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from proxy.model import NetworkState
from tests.lab import places
from tests.lab.country import RELAY, Country, Running, Site
from tests.lab.matches import EVERYWHERE
from tests.lab.rules import During, Outage, Rule, SynReset
from tests.lab.rules_2025 import OnlyListed
from tests.lab.stories import reloaded, with_byway
from tests.support.at_once import AtOnce
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

at_once = AtOnce(most=12)
"""All that are the same but for the censor: each waits for most of its time."""
others_at_once = AtOnce(most=6)

How = Literal["drop", "hello", "refused", "eof"]
By = Literal["name", "address", "both"]

APART_S = 2.0
HURRIED = (
    "control_interval_s = 10.0\ncontrol_again_s = 1.0\ncontrol_timeout_s = 2.0\n"
    "syn_s = 2.0\nsilent_s = 3.5\ndropped_s = 1.0\ngive_up_s = 8.0\n"
)
"""A minute of real time in ten seconds; the waits of a user are unchanged, but one hears of a failure sooner."""


class Life:
    """Somebody opens four foreign sites and two domestic ones."""

    def __init__(self, country: Country, byway: Running) -> None:
        self._country, self._byway = country, byway
        self.foreign = [country.add_site(f"foreign{number}.test") for number in range(4)]
        self.home = [country.add_site(f"home{number}.test") for number in range(2)]

    def listed(self, how: How, by: By, *, relay: bool) -> None:
        exempt = [places.PROVIDER, *((f"{places.SOCKS_RELAY}/32",) if relay else ())]
        names, addresses = [site.name for site in self.home], [f"{site.address}/32" for site in self.home]
        self._country.rules.set([OnlyListed(how, by, names=names, addresses=addresses, exempt=exempt)])

    async def visit(self, site: Site, *, secure: bool = True) -> bool:
        """Whether the site's own page came."""
        return (await self._country.visitor(self._byway).visit(site.url(secure=secure))).genuine

    async def opens(self, site: Site) -> bool:
        """Whether the site's own page came; reloaded once if need be, where the relay is not perfect."""
        visitor = self._country.visitor(self._byway)
        return (await reloaded(self._country, lambda: visitor.visit(site.url()))).genuine

    async def ten_visits(self, *, secure_home: bool = True, rounds: int = 1) -> None:
        """Until the network is called restricted, and no more than ten in each round."""
        one, other = self.home
        order = [site for pair in zip(self.foreign, (one, other, one, other), strict=True) for site in pair]
        for site in (*order, self.foreign[0], one) * rounds:
            assert await self.visit(site, secure=secure_home or site in self.foreign) or site in self.foreign
            if await self.state() != NetworkState.OK:
                return
            await asyncio.sleep(APART_S)
        await until_read(self.is_restricted)  # the last control pages are under way

    async def state(self) -> NetworkState:
        return NetworkState(await self._byway.network_state())

    async def is_restricted(self) -> bool:
        return (await self.state()).is_restricted

    async def is_called(self, state: NetworkState) -> bool:
        return await self.state() is state

    async def last_winner(self, site: Site) -> str | None:
        winner: str | None = (await self._byway.rows(site.name, 1))[-1]["winner"]
        return winner

    async def blamed(self) -> list[str]:
        """Returns the sites that are in trouble, by `byway status`."""
        sites = (await self._byway.read("status"))["sites"]
        return [site["scope"] for site in sites if site["state"] in ("suspect", "blocked")]


@pytest.mark.slow
@pytest.mark.parametrize("by", ["name", "address", "both"])
@pytest.mark.parametrize("how", ["drop", "hello", "refused", "eof"])
@at_once
@with_byway(HURRIED)
async def test_it_is_called_restricted_within_ten_visits(country: Country, byway: Running, *, how: How, by: By) -> None:
    life = Life(country, byway)
    life.listed(how, by, relay=True)
    await life.ten_visits()
    assert await life.state() is NetworkState.RESTRICTED
    assert await life.blamed() == []
    for site in life.foreign:
        assert await life.opens(site)
        assert await life.last_winner(site) == RELAY
    for site in life.home:
        assert await life.visit(site)
        assert await life.last_winner(site) == "direct"
    new = country.add_site("new.test")
    assert await life.opens(new)
    assert await life.blamed() == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["refused", "eof", "hello"])
@others_at_once
@with_byway(HURRIED)
async def test_the_advice_is_true_where_the_relay_is_not_listed(country: Country, byway: Running, *, how: How) -> None:
    life = Life(country, byway)
    life.listed(how, "address", relay=False)
    await life.ten_visits(rounds=2)  # each that fails takes as long as the client waits, in which much else ends
    for site in life.foreign:
        assert not await life.visit(site)
    assert await life.blamed() == []
    told = (await byway.command("why", life.foreign[0].name, check=False)).stdout
    assert "Try another network, or another relay" in told, told
    assert "https relay" not in told
    assert await life.visit(life.home[0])

    async def is_shut() -> bool:
        await life.visit(life.foreign[0])
        return await life.state() is NetworkState.SHUT

    await until_read(is_shut, within_s=60.0)
    said = (await byway.command("status", check=False)).stdout
    assert "go through relays" not in said, said


@pytest.mark.slow
@others_at_once
@with_byway(HURRIED)
async def test_a_router_that_restarts_is_no_restriction(country: Country, byway: Running) -> None:
    """Nothing passes, then it refuses everything for a moment, and then all is well."""
    life = Life(country, byway)
    sites = [*life.foreign, *life.home, country.add_site("more.test")]
    for site in life.home:
        assert await life.visit(site)
    country.rules.set([Outage(0.0, 6.0), During(SynReset(*EVERYWHERE), 6.0, 7.0)])
    await asyncio.gather(*map(life.visit, sites))
    assert await life.state() is NetworkState.OK
    for _ in range(3):  # control pages may be requested again meanwhile
        for site in sites:
            assert await life.visit(site)
            assert await life.state() is NetworkState.OK
        await asyncio.sleep(APART_S)


# -- port 443 ----------------------------------------------------------------------------------------------------------


def resets_443(*sites: Site) -> Rule:
    """China's outage of 20 August 2025: resets in answer to SYNs to port 443, for 74 minutes (net4people/bbs#511)."""
    pages = [address for name, address in places.CONTROLS.items() if name != places.DOMESTIC]
    return SynReset(*(f"{address}/32" for address in (*(site.address for site in sites), *pages)), ports=(443,))


@others_at_once
@with_byway(HURRIED)
async def test_a_network_that_resets_port_443_is_called_so_until_it_does_not(country: Country, byway: Running) -> None:
    life = Life(country, byway)
    country.rules.set([resets_443(*life.foreign)])
    await life.ten_visits()
    await until_read(lambda: life.is_called(NetworkState.NO_HTTPS))
    assert await life.blamed() == []
    assert "HTTPS to foreign sites is blocked" in (await byway.command("status", check=False)).stdout
    for site in life.foreign:
        assert await life.opens(site)
        assert await life.last_winner(site) == RELAY
    assert await life.visit(life.home[0])
    assert await life.last_winner(life.home[0]) == "direct"

    country.lift()
    async with asyncio.timeout(90.0):
        while await life.state() != NetworkState.OK:
            for site in life.foreign:
                assert await life.opens(site)
            await asyncio.sleep(APART_S)
    assert await life.blamed() == []
    for site in life.foreign:
        assert await life.opens(site)
        assert await life.last_winner(site) == "direct"


@pytest.mark.slow
@others_at_once
@with_byway(HURRIED)
async def test_an_office_whose_own_proxy_alone_gets_out_over_443(country: Country, byway: Running) -> None:
    life = Life(country, byway)
    country.rules.set([SynReset(*EVERYWHERE, ports=(443,))])
    await life.ten_visits(secure_home=False)
    await until_read(lambda: life.is_called(NetworkState.NO_HTTPS))
    assert await life.blamed() == []
