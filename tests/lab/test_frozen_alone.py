"""A page that is alone when it freezes: no other traffic shows that the network works.

A censor counts 25 packets of a connection, both ways, and passes no more, by the prefix of a provider unless the name
is spared. All times are Byway's defaults, but for those after which it would give a page that begins late, as on a busy
machine, to the relay as well.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time

import pytest

from proxy.model import State
from proxy.net.tasks import spawn
from tests.lab import places
from tests.lab.conditions import scaled
from tests.lab.country import NO_HEDGE, RELAY, Country, Running, Site
from tests.lab.origins import Conduct
from tests.lab.rules import FreezeByCount, Loss, Outage, Rule
from tests.lab.stories import reloaded, with_byway
from tests.lab.test_why import why
from tests.lab.trials import limited
from tests.lab.visitor import Visit
from tests.support.at_once import AtOnce
from tests.support.waiting import until, until_read

PAGE = f"/bytes/{round(max(60_000, scaled(60_000)))}"
"""A page that is larger than the censor lets pass, and no larger than many a page of today."""
PATIENCE_S = 30.0
FREEZES_S = 6.0
"""The time of a page that freezes alone, with its second try, beside that of opening its two connections, on a machine
that is not busy. It takes 5.25 s there."""
LATE_S = 0.5
"""The lab's loop stood still for so long in all on one that is."""
ANSWERED_S = 0.5
"""A kernel answers a probe in time if the lab's router was no later than that."""
_PLACE = 7  # of the provider's prefix: of its sites every 250th number is in one /24
TROUBLED = (State.SUSPECT, State.BLOCKED)

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

at_once = AtOnce(most=12)
"""All of them: a country that is made while a page stands still would make its answers late."""


def provider(country: Country, count: int) -> list[Site]:
    """Returns sites in one /24, each with a domain of its own."""
    return [country.add_site(f"host{n}-of.test", number=_PLACE + 250 * n) for n in range(count)]


def freezes(*spared: str) -> Rule:
    return FreezeByCount(f"198.19.{_PLACE}.0/24", spared=spared)


async def visit(country: Country, byway: Running, site: Site, path: str = PAGE, *, wait_s: float = PATIENCE_S) -> Visit:
    return await limited(country.visitor(byway), site.url(path), wait_s)


async def visit_all(country: Country, byway: Running, sites: list[Site]) -> list[Visit]:
    return await asyncio.gather(*(visit(country, byway, site) for site in sites))


async def winners(byway: Running, site: Site, visits: int) -> list[str | None]:
    """Returns the winner of each visit, once there are rows of so many."""
    return [row["winner"] for row in await byway.rows(site.name, visits)]


def asked_controls(country: Country, *, before: float = math.inf) -> list[str]:
    """Returns the control pages that were requested before then, by time.monotonic()."""
    asked = country.origins.asked
    return [request.host for request in asked if request.host in places.CONTROLS and request.at < before]


@at_once
@with_byway(NO_HEDGE)
async def test_a_page_that_freezes_alone_is_ended_and_comes_when_it_is_reloaded(
    country: Country, byway: Running
) -> None:
    (site,) = provider(country, 1)
    country.rules.set([freezes()])
    began = country.router.events.clock()
    first = await visit(country, byway, site)
    assert not first.genuine
    assert "gave up" not in first.error, "Byway ended it, so that the client asks again"
    assert len(asked_controls(country)) == 1, "one page was the witness"
    again = await visit(country, byway, site)
    assert again.genuine
    rows = await byway.rows(site.name, 2)
    assert [row["winner"] for row in rows] == ["direct", RELAY]
    opened_s = sum(attempt["elapsed_s"] for row in rows for attempt in row["attempts"])
    is_judged = country.conditions.is_fair and country.lateness.total_since_s(began) <= LATE_S
    assert not is_judged or first.elapsed_s + again.elapsed_s - opened_s <= FREEZES_S
    await until_read(lambda: is_proven(byway, site))  # by a whole answer of less than 64 KiB
    held = await byway.belief(site.name)
    assert (held["state"], held["cause"]) == (State.SUSPECT, "frozen")


async def is_proven(byway: Running, site: Site) -> bool:
    """Whether the freeze counts, so that the suspicion outlasts two minutes."""
    held = await byway.belief(site.name)
    return (held["cause"], held["score"] > 1) == ("frozen", True)


@pytest.mark.slow
@at_once
@with_byway(NO_HEDGE)
async def test_twelve_hosts_of_a_provider_come_at_the_second_try_and_a_new_one_at_the_first(
    country: Country, byway: Running
) -> None:
    *sites, new, spared = provider(country, 14)
    country.rules.set([freezes(spared.name)])
    assert (await visit(country, byway, spared)).genuine
    assert not any(seen.genuine for seen in await visit_all(country, byway, sites))
    assert all(seen.genuine for seen in await visit_all(country, byway, sites))
    assert len(asked_controls(country)) <= 2, "the witness, and one beside a certificate's check"
    assert (await visit(country, byway, new)).genuine, "its prefix is known"
    assert await winners(byway, new, 1) == [RELAY]
    assert (await visit(country, byway, spared)).genuine
    assert await winners(byway, spared, 2) == ["direct", "direct"], "the censor spares its name"


@pytest.mark.slow
@at_once
@with_byway(f"{NO_HEDGE}control_interval_s = 600\n")  # and not 60: a busy machine takes as long
async def test_hosts_of_a_provider_in_turn_have_one_witness_and_the_fourth_needs_none(
    country: Country, byway: Running
) -> None:
    """The second and third freeze within a time in which Byway may request no other control page."""
    *first, fourth = provider(country, 4)
    country.rules.set([freezes()])
    for site in first:
        assert "gave up" not in (await visit(country, byway, site)).error, "Byway ended it"
        assert (await visit(country, byway, site)).genuine
    assert (await visit(country, byway, fourth)).genuine
    assert await winners(byway, fourth, 1) == [RELAY]
    assert len(asked_controls(country)) == 1


@pytest.mark.slow
@at_once
@with_byway(NO_HEDGE)
async def test_a_large_form_that_freezes_is_proven_by_one_that_a_relay_takes(country: Country, byway: Running) -> None:
    """The answer to the form is short: nothing large ever comes down."""
    (site,) = provider(country, 1)
    country.rules.set([freezes()])
    form, visitor = bytes(100_000), country.visitor(byway)
    first = await limited(visitor, site.url("/"), PATIENCE_S, upload=form)
    assert not first.genuine
    assert "gave up" not in first.error, "Byway ended it"
    assert (await byway.belief(site.name))["score"] == 0
    seen = await reloaded(country, lambda: limited(visitor, site.url("/"), PATIENCE_S, upload=form))
    assert seen.genuine, seen.error
    frozen, *carried = await winners(byway, site, 2)
    assert (frozen, {*carried}) == ("direct", {RELAY})
    await until_read(lambda: is_proven(byway, site))
    asked = country.origins.peers(site.name)  # of the first one it may have got no whole record
    assert 1 <= asked.count(places.SOCKS_RELAY) <= len(carried), "nothing was sent twice"
    assert len(asked) <= 1 + len(carried)


@pytest.mark.slow
@at_once
@with_byway(NO_HEDGE)
async def test_a_server_that_takes_no_large_forms_is_innocent(country: Country, byway: Running) -> None:
    site = country.add_site("small-forms.test", conduct=Conduct(upload_max=10_000))
    seen = await limited(country.visitor(byway), site.url("/"), PATIENCE_S, upload=bytes(100_000))
    assert not seen.genuine
    assert (await byway.belief(site.name))["state"] not in TROUBLED
    assert await winners(byway, site, 1) == ["direct"]


@pytest.mark.slow
@at_once
@with_byway(NO_HEDGE)
async def test_after_a_sleep_in_a_lone_download_no_host_is_blamed(country: Country, byway: Running) -> None:
    """The process stands still while the kernel goes on, long enough for a flow to look stalled."""
    site = country.add_site("file.test", conduct=Conduct(bytes_per_s=10_000))
    download = spawn(visit(country, byway, site, "/bytes/150000"), name="a download")
    await asyncio.sleep(3.0)
    os.kill(byway.pid, signal.SIGSTOP)
    await asyncio.sleep(9.0)
    os.kill(byway.pid, signal.SIGCONT)
    seen = await download
    assert seen.genuine, seen.error
    assert (await byway.belief(site.name))["state"] not in TROUBLED
    assert await winners(byway, site, 1) == ["direct"]


@pytest.mark.slow
@at_once
@with_byway(NO_HEDGE)
async def test_a_change_of_network_in_a_lone_stall_is_no_freeze(country: Country, byway: Running) -> None:
    """The tunnel ends with its network, and the page comes direct on the next one."""
    site = country.add_site("file.test", conduct=Conduct(bytes_per_s=10_000))
    download = spawn(visit(country, byway, site, "/bytes/150000"), name="a download")
    await until(lambda: bool(country.origins.peers(site.name)))
    await asyncio.sleep(3.0)
    country.rules.set([Outage()])
    await asyncio.sleep(5.0)  # so that it has stalled, and a witness is looked for
    country.change_network()
    country.rules.clear()
    assert not (await download).genuine
    seen = await visit(country, byway, site, "/")
    assert seen.genuine, seen.error
    assert (await byway.belief(site.name))["state"] not in TROUBLED
    assert await winners(byway, site, 2) == ["direct", "direct"]


@pytest.mark.slow
@at_once
@with_byway(NO_HEDGE)
async def test_what_a_measurement_proved_is_known_to_the_first_visit(country: Country, byway: Running) -> None:
    (site,) = provider(country, 1)
    country.rules.set([freezes()])
    told = await why(byway, site.url(PAGE))
    assert told["verdict"]["cause"] == "frozen", told
    assert (await visit(country, byway, site)).genuine
    assert await winners(byway, site, 1) == [RELAY]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("conduct", "rules", "calls"),
    [
        (Conduct(pause_after=20_000, pause_s=9), [], False),
        (Conduct(bytes_per_s=10_000), [Outage(3.0, 5.0)], True),
        (Conduct(bytes_per_s=10_000), [Loss(0.1), Outage(3.0, 5.0)], True),
    ],
    ids=["a server that pauses for 9 s", "5 s without a network", "the same on a bad link"],
)
@at_once
@with_byway(NO_HEDGE)
async def test_an_innocent_page_that_stops_alone_goes_on_and_nothing_is_believed(
    country: Country, byway: Running, *, conduct: Conduct, rules: list[Rule], calls: bool
) -> None:
    site = country.add_site("slow.test", conduct=conduct)
    country.rules.set(rules)
    # After 5 s without a network the server's TCP retransmits 6, 13, 26, 51 and 102 s after its last segment that
    # arrived, and one in five of those or of their ACKs is lost: in 40 runs each the page took up to 34 s with Byway,
    # and up to 68 s without.
    began = country.router.events.clock()
    seen = await visit(country, byway, site, wait_s=120.0)
    before_its_end = time.monotonic() - 1.0  # then the certificate may be checked: the visitor's request is short
    assert seen.genuine, seen.error
    assert (await byway.belief(site.name))["state"] not in TROUBLED
    assert await winners(byway, site, 1) == ["direct"]
    is_late = country.lateness.worst_since_s(began) > ANSWERED_S
    assert calls or is_late or not asked_controls(country, before=before_its_end), "its kernel answers probes in time"
