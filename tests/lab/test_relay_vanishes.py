"""A relay vanishes in the middle of a download, without a packet: its machine fails, or its cable.

Nothing else is open. A browser requests again every page that Byway ends, and then another relay brings it at once. A
relay that is only slow, or a network that is away for a while, ends nothing. All times are Byway's defaults, but for
those after which it would give a page that begins late, as on a busy machine, to the other relay as well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from proxy.net.tasks import spawn
from tests.lab import places
from tests.lab.country import NO_HEDGE, Country, Running, Site
from tests.lab.origins import Conduct
from tests.lab.rules import AddressDrop, Outage
from tests.lab.stories import in_country
from tests.lab.trials import limited
from tests.lab.visitor import Visit
from tests.support.at_once import AtOnce
from tests.support.waiting import until, until_read

PATIENCE_S = 30.0
RULES = "DOMAIN-SUFFIX,by-relay.test,RELAY\nMATCH,AUTO\n"
ONLY_RELAYS = "MATCH,RELAY\n"
DOWNLOAD = "/bytes/200000"
SLOWLY = Conduct(bytes_per_s=25_000)

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

at_once = AtOnce(most=8)


def relays_of(country: Country, first: str) -> Sequence[tuple[str, str]]:
    """Returns two relays, on machines of their own. The first one speaks SOCKS, or HTTP within TLS, which is copied."""
    return sorted([one(country, "socks"), one(country, "https")], key=lambda relay: relay[0] != first)


def one(country: Country, kind: str) -> tuple[str, str]:
    """Returns a relay with its URL. The one in the clear speaks SOCKS and HTTP on one port."""
    urls = {
        "socks": country.socks_url,
        "http": country.socks_url.replace("socks5h", "http"),
        "https": country.https_url,
    }
    return kind, urls[kind]


@contextlib.asynccontextmanager
async def running(
    country: Country, folder: Path, first: str, rules: str = RULES, *, alone: bool = False
) -> AsyncIterator[Running]:
    relays = [one(country, first)] if alone else relays_of(country, first)
    config = country.config(detect=NO_HEDGE, relays=relays)
    async with country.byway(folder / "byway", config=config, rules=rules) as byway:
        yield byway


async def visit(
    country: Country,
    byway: Running,
    site: Site,
    path: str = DOWNLOAD,
    *,
    secure: bool = True,
    wait_s: float = PATIENCE_S,
) -> Visit:
    return await limited(country.visitor(byway), site.url(path, secure=secure), wait_s)


async def is_under_way(country: Country, site: Site) -> None:
    """Waits until the site was asked for, and has sent a part of it."""
    await until(lambda: bool(country.origins.peers(site.name)))
    await asyncio.sleep(2.0)


async def faults(byway: Running) -> dict[str, str]:
    """Returns the present faults of relays, by their names."""
    relays = (await byway.ask("/v1/relays"))["relays"]
    return {relay["name"]: relay["fault"]["fault"] for relay in relays if relay["fault"]}


@pytest.mark.slow
@pytest.mark.parametrize("rules", [RULES, ONLY_RELAYS], ids=["a control page", "no control page"])
@pytest.mark.parametrize("first", ["socks", "https"])
@at_once
@in_country
async def test_a_download_through_it_is_ended_and_comes_by_another_relay(
    country: Country, folder: Path, *, first: str, rules: str
) -> None:
    """Byway may request no control page; the other relay shows that the network works."""
    site = country.add_site("file.by-relay.test", conduct=SLOWLY)
    other = country.add_site("page.by-relay.test")
    address = places.SOCKS_RELAY if first == "socks" else places.HTTPS_RELAY
    async with running(country, folder, first, rules) as byway:
        download = spawn(visit(country, byway, site), name="a download")
        await is_under_way(country, site)
        country.rules.set([AddressDrop(f"{address}/32")])
        seen = await download
        assert not seen.genuine
        assert "gave up" not in seen.error, "it was ended"
        assert (await visit(country, byway, other, "/")).genuine
        (row,) = await byway.rows(other.name, 1)
        assert [attempt["route"] for attempt in row["attempts"]] == ["https" if first == "socks" else "socks"]
        assert await faults(byway) == {first: "stalled"}
    asked = {request.host for request in country.origins.asked} & set(places.CONTROLS)
    assert len(asked) == (rules == RULES)


@pytest.mark.parametrize(
    ("only", "rules", "secure"),
    [
        ("socks", RULES, True),
        *(
            pytest.param(*row, marks=pytest.mark.slow)
            for row in (
                *((only, RULES, True) for only in ("http", "https")),
                *((only, ONLY_RELAYS, True) for only in ("socks", "http", "https")),
                ("socks", RULES, False),
                ("https", ONLY_RELAYS, False),
            )
        ),
    ],
    ids=lambda value: {RULES: "a control page", ONLY_RELAYS: "no control page", True: "TLS", False: "plain"}.get(value),
)
@at_once
@in_country
async def test_a_download_through_the_only_relay_is_ended(
    country: Country, folder: Path, *, only: str, rules: str, secure: bool
) -> None:
    """Nothing shows that the network works, so Byway does not call the relay faulty."""
    site = country.add_site("file.by-relay.test", conduct=SLOWLY)
    address = places.HTTPS_RELAY if only == "https" else places.SOCKS_RELAY
    async with running(country, folder, only, rules, alone=True) as byway:
        download = spawn(visit(country, byway, site, secure=secure), name="a download")
        await is_under_way(country, site)
        country.rules.set([AddressDrop(f"{address}/32")])
        seen = await download
        assert not seen.genuine
        assert "reset" in seen.error.lower(), "so that a browser asks again"
        wanted = {only: "stalled"} if rules == RULES else {}

        async def is_told() -> bool:
            return await faults(byway) == wanted

        await until_read(is_told)
        country.rules.clear()
        assert (await visit(country, byway, country.add_site("page.by-relay.test"), "/")).genuine


PAUSES = Conduct(pause_after=20_000, pause_s=15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "secure", "pauses", "rules", "alone"),
    [
        *((first, True, True, RULES, False) for first in ("socks", "https")),
        *((first, True, False, RULES, False) for first in ("socks", "https")),
        *((first, True, False, ONLY_RELAYS, False) for first in ("socks", "https")),
        ("https", True, True, ONLY_RELAYS, True),
        ("socks", False, True, ONLY_RELAYS, True),
        ("socks", True, False, ONLY_RELAYS, True),
        ("https", False, False, ONLY_RELAYS, True),
    ],
    ids=[
        *(f"{first}: a server that pauses for 15 s" for first in ("socks", "https")),
        *(f"{first}: 5 s without a network" for first in ("socks", "https")),
        *(f"{first}: the same where no control page may be asked" for first in ("socks", "https")),
        "https: a server that pauses behind the only relay",
        "socks: the same, plain",
        "socks: 5 s without a network and the only relay",
        "https: the same, plain",
    ],
)
@at_once
@in_country
async def test_a_relay_that_lives_is_not_left(
    country: Country, folder: Path, *, first: str, secure: bool, pauses: bool, rules: str, alone: bool
) -> None:
    site = country.add_site("file.by-relay.test", conduct=PAUSES if pauses else SLOWLY)
    async with running(country, folder, first, rules, alone=alone) as byway:
        path = "/bytes/60000" if pauses else DOWNLOAD
        if not pauses:
            country.rules.set([Outage(3.0, 5.0)])
        # After the 5 s its TCP retransmits 6, 13 and 26 s after the last segment that arrived.
        seen = await visit(country, byway, site, path, secure=secure, wait_s=60.0)
        assert seen.genuine, seen.error
        assert await faults(byway) == {}
        assert [row["winner"] for row in await byway.rows(site.name, 1)] == [first]
