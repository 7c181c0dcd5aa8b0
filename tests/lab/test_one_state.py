"""One state of a site for all, of a real Byway: the result of `why` and `test` is the word and the cause in every list,
document, command, report and page. It stays so over visits that confirm it, on another network and back, and over a
restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.lab import places, rules
from tests.lab.all_scenarios import BY_NAME
from tests.lab.country import Country, Running
from tests.lab.readers import States, disagreements, states
from tests.lab.relays import Relay
from tests.lab.test_verdicts import DETECT
from tests.lab.trials import limited, stay
from tests.support.at_once import AtOnce
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

at_once = AtOnce(most=3)

AT_ONCE = 12
VISIT_S = 8.0
SETTLE_S = 8.0
"""Evidence of a visit has counted by then: it waits for another site to work (`uplink_window_s`)."""
ROWS = [
    BY_NAME[name]
    for name in (
        *("dns-nxdomain", "sni-reset-records", "sni-drop-records", "syn-reset", "address-drop", "http-page"),
        *("http-reset", "intercept-known", "freeze", "healthy", "down", "refuses-all", "alert"),
    )
]
"""Each kind of block, and the other troubles of a site."""


async def visit_all(country: Country, byway: Running, urls: Mapping[str, str]) -> None:
    """Visits each site once. Returns when each visit has its row: all of its attempts are judged then."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(host: str, url: str) -> None:
        async with room:
            before = len(await byway.rows(host))
            await limited(country.visitor(byway), url, VISIT_S)
            await byway.rows(host, before + 1)

    await asyncio.gather(*(one(host, url) for host, url in urls.items()))


async def why(byway: Running, urls: Mapping[str, str], *, fresh: bool = False) -> dict[str, Any]:
    """Returns the differences between the verdict and the state in one answer, by host."""
    room, wrong = asyncio.Semaphore(AT_ONCE), dict[str, Any]()

    async def one(api: aiohttp.ClientSession, host: str, url: str) -> None:
        async with room, api.post("/v1/why", json={"site": url, "fresh": fresh}) as answer:
            told = [json.loads(line) async for line in answer.content][-1]
        verdict, state = told["verdict"], told["belief"]
        if (verdict["words"], verdict["cause"]) != (state["words"], state["cause"]):
            wrong[host] = (verdict["words"], verdict["cause"], state["words"], state["cause"])

    async with byway.api() as api:
        await asyncio.gather(*(one(api, host, url) for host, url in urls.items()))
    return wrong


async def survey(byway: Running, urls: Mapping[str, str]) -> dict[str, Any]:
    """Returns the differences between the answer of `byway test` and the state after it, by host."""
    done = await byway.command(
        "test", "--jitter", "0", "-c", str(AT_ONCE), *urls.values(), "--json", check=False, within_s=120
    )
    said = await states(byway, urls)
    told = {
        row["host"]: (row["verdict"]["words"], row["verdict"]["cause"]) for row in json.loads(done.stdout)["results"]
    }
    return {host: (told[host], now) for host, now in said.items() if told[host] != (now.words, now.cause)}


def changed(before: States, after: States) -> dict[str, Any]:
    """Returns the sites with a changed statement, except those that work: that state is not stored by default."""
    return {host: (said, after[host]) for host, said in before.items() if said != after[host] and said.words != "works"}


@at_once
async def test_what_was_measured_is_said_in_every_place(folder: Path) -> None:
    async with stay(folder, dict.fromkeys(ROWS, 1)) as (here, sites):
        byway, country = here.byway, here.country
        urls = {sites[row][0].name: sites[row][0].url(row.path, secure=row.secure) for row in ROWS}
        await visit_all(country, byway, urls)
        await asyncio.sleep(SETTLE_S)
        assert await why(byway, urls, fresh=True) == {}
        await visit_all(country, byway, urls)
        await asyncio.sleep(SETTLE_S)
        assert await why(byway, urls) == {}, "what visits show now is what was measured before"
        assert await survey(byway, urls) == {}
        said, wrong = await disagreements(byway, urls)
        assert wrong == {}
        assert len(said) == len(urls), "nothing changes without a visit"

        said = await states(byway, urls)
        country.change_network()
        await until_read(lambda: _is_elsewhere(byway, said))
        country.come_home()

        async def is_back() -> bool:
            return changed(said, await states(byway, urls)) == {}

        await until_read(is_back)
        await byway.stop()
        await byway.start()
        assert changed(said, await states(byway, urls)) == {}
        _, wrong = await disagreements(byway, urls)
        assert wrong == {}


async def _is_elsewhere(byway: Running, said: States) -> bool:
    """Returns whether Byway is on a network where it knows nothing of the sites yet."""
    return all(now.words == "not tested" for now in (await states(byway, said)).values())


RESET, HEALTHY = "reset.test", "healthy.test"


@at_once
async def test_relays_that_fail_and_are_mended(folder: Path) -> None:
    """While the only relay is dead, Byway makes no statement about the site; once the relay works, every place has the
    result that it shows. A restart in between changes nothing."""
    address = (places.LYING_RELAY, 1081)
    async with Country(folder) as country:
        settings = country.config(
            detect=DETECT, auto="ladder = []", relays=[("abroad", f"socks5h://{address[0]}:{address[1]}")]
        )
        async with country.byway(folder / "byway", config=settings) as byway:
            urls = {name: country.add_site(name).url() for name in (HEALTHY, RESET)}
            country.rules.set([rules.SniReset(RESET)])
            await visit_all(country, byway, urls)
            assert await why(byway, urls, fresh=True) == {}
            said, wrong = await disagreements(byway, urls)
            assert (said[RESET].words, wrong) == ("relays fail", {})
            await byway.stop()
            await byway.start()
            await country.visitor(byway).visit(urls[HEALTHY])
            assert changed(said, await states(byway, urls)) == {}
            async with Relay(country.relay_space.socket, country.zone.truth, address, source=address[0]):
                await byway.command("relay", "test", "abroad")
                said, wrong = await disagreements(byway, urls)
                assert (said[RESET].words, wrong) == ("not tested", {}), "it is over with its reason"
                await visit_all(country, byway, urls)
                assert await why(byway, urls) == {}
                assert await survey(byway, urls) == {}
                said, wrong = await disagreements(byway, urls)
                assert ((said[RESET].words, said[RESET].cause), wrong) == (("blocked", "sni_reset"), {})


@at_once
async def test_a_block_that_was_lifted_and_measured(folder: Path) -> None:
    """A site that a measurement opened direct works in every place, whichever route the next visits take, and after a
    restart."""
    address = (places.LYING_RELAY, 1081)
    async with Country(folder) as country:
        settings = country.config(
            detect=DETECT, auto="ladder = []", relays=[("abroad", f"socks5h://{address[0]}:{address[1]}")]
        )
        relay = Relay(country.relay_space.socket, country.zone.truth, address, source=address[0])
        async with relay, country.byway(folder / "byway", config=settings) as byway:
            urls = {name: country.add_site(name).url() for name in (HEALTHY, RESET)}
            country.rules.set([rules.SniReset(RESET)])
            await visit_all(country, byway, urls)
            said, wrong = await disagreements(byway, urls)
            assert (said[RESET].words, wrong) == ("likely blocked", {})
            country.rules.set([])
            assert await why(byway, urls, fresh=True) == {}
            before, wrong = await disagreements(byway, urls)
            assert (before[RESET].words, before[RESET].cause, wrong) == ("works", "", {})
            await byway.command("site", "set", RESET, "relay")
            await visit_all(country, byway, urls)
            said, wrong = await disagreements(byway, urls)
            assert (said[RESET], wrong) == (before[RESET], {})
            await byway.stop()
            await byway.start()
            said, wrong = await disagreements(byway, urls)
            assert (said[RESET], wrong) == (before[RESET], {})
