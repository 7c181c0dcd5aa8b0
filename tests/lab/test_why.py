"""`byway why`, `test` and `report` of a real Byway in the country: their measurements agree with the interference.

The words for one measurement are not those for a belief after three visits: a weak sign is "likely blocked" at most. So
the tests demand the table's cause and a word for trouble; and for innocent sites, no trouble.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from proxy.model import UNKNOWN_NETWORK
from tests.lab import rules
from tests.lab.all_scenarios import BY_NAME, SCENARIOS
from tests.lab.country import Country, Running, Site
from tests.lab.scenarios import Kind, Reach, Scenario
from tests.lab.trials import stay
from tests.lab.views import View
from tests.support.at_once import AtOnce
from tests.support.waiting import until, until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

at_once = AtOnce(most=4)

AT_ONCE = 12
RETESTED_S = 2.0
"""A re-test beside a visit has ended."""
NEEDS_VISITS = ("cut-later", "cut-later-silence", "throttle-name-130", "throttle-name-130-shape")
"""Censors that a first measurement does not find: some cut connections by time (see test_investigation), others slow a
site down, though not to a crawl."""
OF_SITES = [row for row in SCENARIOS if row.reach is Reach.NAMES and row.name not in NEEDS_VISITS]
TROUBLE = frozenset({"blocked", "likely blocked", "intercepted", "slow"})
OF_NETWORKS: Mapping[str, frozenset[str]] = {
    "portal": frozenset({"portal"}),
    "offline": frozenset({"no network"}),
    "allow-list": frozenset({"likely blocked"}),  # and no more: nothing is reached direct
    "resolver-down": frozenset({"works"}),
    "fake-dns": frozenset({"works"}),
    "dns64": frozenset({"works"}),
    "office": frozenset({"works"}),
    "doh-blocked": frozenset({"works"}),
    "relay-lies": frozenset({"works"}),
}
"""The statement about a site on a network that has a trouble."""

Told = dict[str, Any]


@at_once
async def test_a_site_typed_without_www_is_the_one_that_is_known(folder: Path) -> None:
    """Only `www.` was visited, and is blocked; a URL means exactly its own host, and a trouble that both names show
    stays."""
    async with Country(folder) as country:
        for name in ("journal.test", "www.journal.test"):
            country.add_site(name)
        country.rules.set([rules.SniReset("www.journal.test", view=View.RECORDS)])
        async with country.byway(folder / "byway") as byway:
            await country.visitor(byway).visit("https://www.journal.test/")
            typed = [await byway.read("why", text) for text in ("journal.test", "JOURNAL.TEST.")]
            exactly = await byway.read("why", "https://journal.test/")
            both = await byway.read("why", "journal.test")
    assert {(answer["host"], answer["verdict"]["words"] in TROUBLE) for answer in typed} == {("www.journal.test", True)}
    assert [(each["host"], each["verdict"]["words"]) for each in (exactly, both)] == [("journal.test", "works")] * 2


@at_once
async def test_plain_http_does_not_end_a_block_of_port_443(folder: Path) -> None:
    """The page of port 80 works, and that is what `why` says when it is asked for that page. It shows nothing of https:
    the site stays blocked after the measurement, after a visit of that page, and after a restart."""
    said: dict[str, tuple[str, str]] = {}
    async with Country(folder) as country:
        well = country.add_site("well.test")
        site = country.add_site("journal.test")
        country.rules.set([rules.AddressDrop(f"{site.address}/32", ports=(443,))])
        home = folder / "byway"

        async def note(when: str, byway: Running) -> None:
            belief = await byway.belief(site.name)
            said[when] = belief["words"], belief["cause"]

        async with country.byway(home) as byway:
            visitor = country.visitor(byway)
            for url in (well.url(), site.url()):
                await visitor.visit(url)
            await byway.until_counted(site.name)
            await note("visited", byway)
            page = await why(byway, site.url(secure=False))
            await note("measured over plain http", byway)
            await visitor.visit(site.url(secure=False))
            await asyncio.sleep(RETESTED_S)
            await note("visited over plain http", byway)
        async with country.byway(home) as byway:
            await why(byway, site.url(secure=False))
            await note("measured after a restart", byway)
    assert page["verdict"]["words"] == "works", page["verdict"]
    assert said == dict.fromkeys(said, ("likely blocked", "ip"))


async def why(byway: Running, url: str) -> Told:
    """Returns the last line of the answer, with all the steps."""
    async with (
        byway.api() as session,
        session.post("/v1/why", json={"site": url, "fresh": True}) as answer,
    ):
        assert answer.status == 200, await answer.text()
        lines = [json.loads(line) async for line in answer.content]
    told: Told = lines[-1]
    assert told["steps"] == [line["step"] for line in lines[:-1]]
    return told


def said(told: Told) -> str:
    verdict = told["verdict"]
    return " ".join((verdict["seen"], *verdict["reasons"], verdict["instead"], verdict["do"]))


def wrong(row: Scenario, told: Told) -> str:
    """Returns the differences from the row; empty when there are none."""
    verdict = told["verdict"]
    word, cause = verdict["words"], verdict["cause"]
    if row.kind is Kind.INNOCENT:
        fine = word not in TROUBLE and not verdict["anomaly"]
    else:
        fine = word in TROUBLE and cause == row.cause and verdict["anomaly"]
    return "" if fine else f"{row.name}: {word} {cause}: {said(told)}"


@pytest.mark.slow
@pytest.mark.parametrize("rows", [OF_SITES[::2], OF_SITES[1::2]], ids=["one half", "the other"])
async def test_what_is_measured_agrees_with_the_table(folder: Path, rows: Sequence[Scenario]) -> None:
    """In two halves: all of them would take too long for one test on a busy machine."""
    async with stay(folder, dict.fromkeys(rows, 1)) as (here, sites):
        room = asyncio.Semaphore(AT_ONCE)

        async def one(row: Scenario) -> str:
            async with room:
                return wrong(row, await why(here.byway, sites[row][0].url(row.path, secure=row.secure)))

        found = await asyncio.gather(*map(one, rows))
    assert [text for text in found if text] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_NETWORKS)
@at_once
async def test_what_is_the_networks_is_not_said_of_the_site(folder: Path, *, name: str) -> None:
    row = BY_NAME[name]
    async with stay(folder, {row: 1}) as (here, sites):

        async def has_left() -> bool:
            """Whether Byway has noticed it: nothing is said of a measurement in which the network changes."""
            return name != "offline" or bool((await here.byway.ask("/v1/status"))["network"] == UNKNOWN_NETWORK)

        await until_read(has_left)
        told = await why(here.byway, sites[row][0].url(row.path, secure=row.secure))
    assert told["verdict"]["words"] in OF_NETWORKS[name], said(told)
    assert not told["verdict"]["confirmed"], said(told)


@contextlib.asynccontextmanager
async def living(
    folder: Path, *, no_relay: bool = False, rules_text: str | None = None
) -> AsyncIterator[tuple[Country, Running]]:
    """Yields a country, and a Byway in it."""
    async with Country(folder) as country:
        settings = country.config(no_relay=no_relay)
        async with country.byway(folder / "byway", config=settings, rules=rules_text) as byway:
            yield country, byway


BLOGS = ("ivanov", "petrov", "sidorov", "kuznetsov", "popov")


@pytest.mark.slow
@at_once
async def test_seventh_of_october(folder: Path) -> None:
    """Five blogs of one site are dropped in silence by name."""
    async with living(folder) as (country, byway):
        site = country.add_site("livejournal.test")
        country.rules.set([rules.SniDrop(*(f"{blog}.{site.name}" for blog in BLOGS), view=View.TCP, whole_flow=True)])
        told = await why(byway, f"https://ivanov.{site.name}/")
        verdict = told["verdict"]
        assert (verdict["words"], verdict["cause"], verdict["confidence"]) == ("blocked", "sni_drop", "high"), said(
            told
        )
        assert {signal["id"] for signal in verdict["signals"]} == {"tls_dropped", "sni_swap"}
        assert "answered another SNI" in verdict["instead"]
        assert "ClientHello not acknowledged" in verdict["seen"]
        assert (await why(byway, f"https://{site.name}/"))["verdict"]["words"] == "works"
        country.rules.set([])
        assert (await why(byway, f"https://ivanov.{site.name}/"))["verdict"]["words"] == "works"


@pytest.mark.slow
@pytest.mark.parametrize("view", [View.PACKET, View.TCP, View.RECORDS])
@at_once
async def test_without_a_relay_it_says_what_would_help(folder: Path, *, view: View) -> None:
    async with living(folder, no_relay=True) as (country, byway):
        site = country.add_site("blocked.test")
        country.rules.set([rules.SniReset(site.name, view=view)])
        told = await why(byway, site.url())
    word = "likely blocked" if view is View.RECORDS else "blocked"  # nothing has shown that it is there
    assert told["verdict"]["words"] == word, said(told)
    assert told["verdict"]["cause"] == "sni_reset"
    if view is View.RECORDS:
        assert "Fragmenting the ClientHello does not help" in told["verdict"]["do"]
        assert "byway relay add" in told["verdict"]["do"]
    else:
        assert "without a relay" in told["verdict"]["do"]


@at_once
async def test_under_a_relay_rule_the_name_stays_with_the_relay(folder: Path) -> None:
    async with living(folder, rules_text="DOMAIN-SUFFIX,secret.test,RELAY\nMATCH,AUTO\n") as (country, byway):
        site = country.add_site("secret.test")
        told = await why(byway, site.url())
        survey = await byway.command("test", "--jitter", "0", site.url(), "--json")
        crossed = names_that_crossed(country, site)
    assert told["verdict"]["words"] == "works", "through the relay"
    assert [row["result"] for row in told["routes"] if not row["route"].startswith("direct")] == ["ok"]
    assert json.loads(survey.stdout)["results"][0]["verdict"]["words"] == "works"
    assert crossed == []


@at_once
async def test_the_control_for_that_the_name_does_cross_without_the_rule(folder: Path) -> None:
    async with living(folder) as (country, byway):
        site = country.add_site("secret.test")
        await why(byway, site.url())
        assert names_that_crossed(country, site)


def names_that_crossed(country: Country, site: Site) -> Sequence[Any]:
    """Returns the names in queries, hellos and requests to any host but the relay."""
    links = ("isp", "net")
    events = country.router.events
    return [seen for link in links for seen in events.names_on(link, sender="client") if site.name in seen.name]


async def begun(byway: Running, *arguments: str) -> asyncio.subprocess.Process:
    """Returns a command that is still running."""
    return await asyncio.create_subprocess_exec(
        *byway.entering,
        *(sys.executable, "-P", "-m", "proxy", *arguments),
        *("--config", str(byway.config), "--state", str(byway.state)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kept(byway: Running) -> dict[str, str]:
    """Returns the surveys that can be continued, by their ids."""
    return {path.stem: path.read_text() for path in (byway.state / "surveys").glob("*.jsonl")}


@pytest.mark.slow
@at_once
async def test_a_survey_of_two_hundred_sites_agrees_with_the_truth(folder: Path) -> None:
    """The survey is interrupted, continued, and compared with the interference."""
    async with living(folder) as (country, byway):
        sites = [country.add_site(f"site{number}.test") for number in range(200)]
        by_name, by_address, no_name = sites[0:200:9], sites[1:200:19], sites[2:200:21]
        country.rules.set([
            rules.SniReset(*(site.name for site in by_name), view=View.TCP),
            rules.AddressDrop(*(site.address for site in by_address)),
            rules.DnsNxdomain(*(site.name for site in no_name)),
        ])  # fmt: skip
        truth = {site.url(): ("works", "") for site in sites}
        truth |= {site.url(): ("likely blocked", "sni_reset") for site in by_name}
        truth |= {site.url(): ("likely blocked", "ip") for site in by_address}
        truth |= {site.url(): ("blocked", "dns") for site in no_name}
        listed, out = folder / "sites.txt", folder / "out.csv"
        listed.write_text("".join(f"{site.url()}\n" for site in sites))
        process = await begun(byway, "test", "--file", str(listed), "-c", "8", "--jitter", "0", "-o", str(out))
        await until(lambda: any(text.count("\n") > 20 for text in kept(byway).values()), within_s=60)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 30) == 130
        (survey,) = kept(byway)
        partial = list(csv.DictReader(io.StringIO(out.read_text())))
        assert 0 < len(partial) < len(sites)
        done = await byway.command("test", "--resume", survey, "-c", "8", "--jitter", "0", "-o", str(out), within_s=120)
        assert "200 of 200 sites" in done.stderr
        rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [row["url"] for row in rows] == [site.url() for site in sites]
    assert [row for row in rows if (row["verdict"], row["cause"]) != truth[row["url"]]] == []
