"""Relays that fail: the waits of a censored site's visitor while the relay restarts, is silent or is slow.

One row per fault. Each row has a country with a Byway of its own, in which a visitor opens one new site after the
other, each in the middle of the fault. `python -m tests.lab.run 'relay-*' --seeds 20` checks the table's waits; with
`--pages-only`, for a busy machine, only its pages. Times are those of a 20 ms link.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from proxy.net.tasks import spawn
from tests.lab import places, rules
from tests.lab.country import RELAY, Country, Running, Site
from tests.lab.judging import SLACK_S, percentile
from tests.lab.luck import luck
from tests.lab.parts import in_parts
from tests.lab.relays import Manner, Relay
from tests.lab.rules import Rule
from tests.lab.scenarios import Way
from tests.lab.trials import kind_of, limited
from tests.lab.views import View
from tests.lab.visitor import Visit
from tests.support.waiting import until_read

_PATIENCE_S = 45.0  # of a visitor: longer than Byway's own
_WRITTEN_S = 30.0  # until the log has a visit
_OVER_S = 15.0  # until a fault is over, which lasts 12 s at most
_USUAL = 5  # visits that tell what a page takes without any fault
_RULES = "DOMAIN-SUFFIX,by-relay.test,RELAY\nMATCH,AUTO\n"
_SETTINGS = "retest_per_hour = 100000\n"


@dataclass(frozen=True, slots=True)
class Place:
    """The place in which visits are made."""

    country: Country
    byway: Running
    relay: Relay

    async def visit(self, url: str) -> Visit:
        return await limited(self.country.visitor(self.byway), url, _PATIENCE_S)


Fault = Callable[[Place, random.Random], AbstractAsyncContextManager[None]]
"""Does something to the relay, from just before a visit until the visit is over."""


@dataclass(frozen=True, slots=True)
class Row:
    """One fault of a relay, and one censor."""

    name: str
    what: str
    fault: Fault
    wait_s: float  # over what the winning route needs without the fault
    censor: Callable[[Site], Sequence[Rule]] = lambda site: ()
    way: Way = Way.RELAY
    domain: str = "test"  # of its sites
    scheme: str = "socks5h"
    known: bool = False  # the site was visited before, so that its relay goes first

    @property
    def usual_s(self) -> float:
        return self.wait_s

    @property
    def limit_s(self) -> float:
        return _PATIENCE_S * (1 + self.known) + _WRITTEN_S + _OVER_S


@dataclass(frozen=True, slots=True)
class Trial:
    row: str
    seed: int
    genuine: bool
    way: Way
    added_s: float
    said: str  # status or error, for a person


# -- what relays do ----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def restarts(place: Place, luck: random.Random) -> AsyncIterator[None]:
    """The relay refuses for 4 to 6 s."""
    await place.relay.stop()
    back = spawn(_later(luck.uniform(4, 6), place.relay.revive), name="a relay restarts")
    try:
        yield
    finally:
        await back


@contextlib.asynccontextmanager
async def deaf(place: Place, luck: random.Random) -> AsyncIterator[None]:
    """The relay never answers the connections that it accepts within 12 s."""
    with _mute(place.relay):
        over = spawn(_later(12, lambda: _speak(place.relay)), name="a relay wakes")
        try:
            yield
        finally:
            over.cancel()
            await asyncio.wait([over])


@contextlib.asynccontextmanager
async def unreachable(place: Place, luck: random.Random) -> AsyncIterator[None]:
    """For 12 s no packet passes to the relay or from it."""
    place.country.rules.add(rules.During(rules.AddressDrop(f"{places.SOCKS_RELAY}/32"), 0, 12))
    yield


@contextlib.asynccontextmanager
async def slow_circuit(place: Place, luck: random.Random) -> AsyncIterator[None]:
    """The relay opens every path 11 s late."""
    place.relay.late_s = 11
    yield
    place.relay.late_s = 0


@contextlib.asynccontextmanager
async def slow_to_speak(place: Place, luck: random.Random) -> AsyncIterator[None]:
    """The relay accepts connections at once and sends nothing on one for 11 s."""
    place.relay.greets_after_s = 11
    yield
    place.relay.greets_after_s = 0


@contextlib.asynccontextmanager
async def gone(place: Place, luck: random.Random) -> AsyncIterator[None]:
    """The relay refuses for good."""
    await place.relay.stop()
    yield
    await place.relay.revive()


@contextlib.asynccontextmanager
async def mute(place: Place, luck: random.Random) -> AsyncIterator[None]:
    """The relay accepts connections and answers nothing, for good."""
    with _mute(place.relay):
        yield


@contextlib.asynccontextmanager
async def nine_silent_tabs(place: Place, luck: random.Random) -> AsyncIterator[None]:
    """Nine tabs wait for hosts that do not answer the relay."""
    tabs = [
        spawn(place.visit(f"https://silent-{luck.randrange(10**9)}.by-relay.test/"), name="a silent tab")
        for _ in range(9)
    ]
    await asyncio.sleep(0.5)
    try:
        yield
    finally:
        for tab in tabs:
            tab.cancel()
        await asyncio.wait(tabs)


@contextlib.asynccontextmanager
async def three_seconds_late(place: Place, luck: random.Random) -> AsyncIterator[None]:
    """The relay opens every path 3 s late: a path requested after 1.5 s is open after 4.5 s."""
    place.relay.late_s = 3
    yield
    place.relay.late_s = 0


async def _later(seconds: float, what: Callable[[], object]) -> None:
    await asyncio.sleep(seconds)
    result = what()
    if asyncio.iscoroutine(result):
        await result


@contextlib.contextmanager
def _mute(relay: Relay) -> Iterator[None]:
    relay.manner = Manner.DEAF
    try:
        yield
    finally:
        _speak(relay)


def _speak(relay: Relay) -> None:
    relay.manner = Manner.HONEST


# -- what censors do ---------------------------------------------------------------------------------------------------


def drops(site: Site) -> Sequence[Rule]:
    """Drops a ClientHello in every form, cut or not."""
    return (rules.SniDrop(site.name, view=View.RECORDS),)


def resets(site: Site) -> Sequence[Rule]:
    return (rules.SniReset(site.name, view=View.RECORDS),)


def drops_packets(site: Site) -> Sequence[Rule]:
    """Drops a ClientHello in one packet; a cut one passes."""
    return (rules.SniDrop(site.name, view=View.PACKET),)


def resets_packets(site: Site) -> Sequence[Rule]:
    return (rules.SniReset(site.name, view=View.PACKET),)


def accepts_late_and_drops(site: Site) -> Sequence[Rule]:
    return (rules.LateSynAck(3.0, f"{site.address}/32"), *drops(site))


ROWS: tuple[Row, ...] = (
    Row("relay-restarts-drop", "it refuses for 4 to 6 s; a hello is dropped", restarts, 9, drops),
    Row("relay-restarts-reset", "it refuses for 4 to 6 s; a hello is reset", restarts, 9, resets),
    Row("relay-restarts-known", "the same, where the site is known to be blocked", restarts, 9, drops, known=True),
    Row("relay-restarts-rule", "it refuses for 4 to 6 s, under RELAY", restarts, 9, domain="by-relay.test"),
    Row("relay-deaf", "for 12 s it answers nothing; a hello is dropped", deaf, 25, drops),
    Row("relay-deaf-http", "the same of an HTTP relay", deaf, 25, drops, scheme="http"),
    Row("relay-unreachable", "for 12 s it cannot be reached; a hello is dropped", unreachable, 25, drops),
    Row("relay-slow-circuit", "it opens every path 11 s late; a hello is dropped", slow_circuit, 20, drops),
    Row("relay-slow-greeting", "it greets 11 s late; a hello is dropped", slow_to_speak, 14, drops),
    Row("relay-slow-tls", "it answers a hello of TLS 11 s late; a hello is dropped", slow_to_speak, 14, drops,
        scheme="https"),
    Row("relay-gone-drop", "it refuses for good; a cut hello passes, others are dropped", gone, 1, drops_packets,
        Way.RUNG),
    Row("relay-gone-reset", "it refuses for good; a cut hello passes, others are reset", gone, 1, resets_packets,
        Way.RUNG),
    Row("relay-mute-drop", "it is silent for good; a cut hello passes, others are dropped", mute, 4.5, drops_packets,
        Way.RUNG),
    Row("relay-mute-reset", "it is silent for good; a cut hello passes, others are reset", mute, 4.5, resets_packets,
        Way.RUNG),
    Row("relay-silent-tabs", "nine tabs wait for silent hosts behind it", nine_silent_tabs, 1,
        domain="by-relay.test"),
    Row("relay-late-syn-ack", "a SYN-ACK comes 3 s late, a hello is dropped, the relay's path opens after 4.5 s",
        three_seconds_late, 6, accepts_late_and_drops),
)  # fmt: skip


# -- a trial -----------------------------------------------------------------------------------------------------------


async def run(rows: Sequence[Row], seeds: int, *, countries: int, told: Callable[[str], None]) -> list[Trial]:
    """Runs all rows, in so many countries at once: one visit of a new site for each seed."""
    return await in_parts(rows, seeds, _place_of, _lost, at_once=countries, told=told)


def _lost(row: Row, seed: int, why: str) -> Trial:
    return Trial(row.name, seed, False, Way.NONE, row.limit_s, why)


@contextlib.asynccontextmanager
async def _place_of(row: Row) -> AsyncIterator[Callable[[int], Awaitable[Trial]]]:
    with tempfile.TemporaryDirectory(prefix="byway-lab-") as folder:
        async with Country(Path(folder)) as country:
            relay, url = country.relay, f"{row.scheme}://{places.SOCKS_RELAY}:{places.SOCKS_PORT}"
            if row.scheme == "https":
                relay, url = country.https_relay, country.https_url
            country.relay.silent = lambda host: host.startswith("silent-")
            config = country.config(detect=_SETTINGS, relays=((RELAY, url),))
            async with country.byway(Path(folder) / "byway", config=config, rules=_RULES) as byway:
                place = Place(country, byway, relay)
                usual_s = await _usual_s(place, row)
                yield lambda seed: _trial(row, seed, place, usual_s)


async def _trial(row: Row, seed: int, place: Place, usual_s: float) -> Trial:
    site = place.country.add_site(f"{row.name}-{seed}.{row.domain}")
    place.country.rules.set(row.censor(site))
    if row.known:
        await place.visit(site.url())
    async with row.fault(place, luck(seed)):
        visit = await place.visit(site.url())
        way = await _way(place.byway, site, visit, 1 + row.known)
    place.country.rules.clear()
    said = visit.error or str(visit.status)
    return Trial(row.name, seed, visit.genuine, way, max(0.0, visit.elapsed_s - usual_s), said)


async def _usual_s(place: Place, row: Row) -> float:
    """Returns the time of a page on the row's way without any fault."""
    site = place.country.add_site(f"usual-{row.name}.{'by-relay.test' if row.way is Way.RELAY else 'test'}")
    visits = [await place.visit(site.url()) for _ in range(_USUAL)]
    return statistics.median(visit.elapsed_s for visit in visits)


async def _way(byway: Running, site: Site, visit: Visit, number: int) -> Way:
    """Returns the way by which the page of this number came, once the log has it."""
    winners: list[str | None] = []

    async def written() -> bool:
        winners[:] = [row["winner"] for row in await byway.rows(site.name)]
        if len(winners) < number:
            await asyncio.sleep(0.2)
        return len(winners) >= number

    with contextlib.suppress(TimeoutError):
        await until_read(written, within_s=_WRITTEN_S if visit.genuine else 3)
    return kind_of(winners[number - 1] if len(winners) >= number else None)


# -- what it came to ---------------------------------------------------------------------------------------------------


def broken(row: Row, trials: Sequence[Trial], *, waits: bool = True) -> list[str]:
    """Returns the bounds that were not kept, each as a sentence; without `waits`, those of the pages alone."""
    found, number = [], len(trials)
    if dead := [trial for trial in trials if not trial.genuine]:
        found.append(f"pages came in {number - len(dead)} of {number}: {dead[0].said}")
    if other := [trial for trial in trials if trial.genuine and trial.way is not row.way]:
        found.append(f"by {other[0].way} in {len(other)} of {number}, not by {row.way}")
    longest = max((trial.added_s for trial in trials if trial.genuine), default=0.0)
    if waits and longest > row.wait_s + SLACK_S:
        found.append(f"an added wait of {longest:.2f} s, bound {row.wait_s:g} s and {SLACK_S} s of slack")
    return found


def table(rows: Sequence[Row], trials: Sequence[Trial], *, waits: bool = True) -> str:
    """Returns the table for a person: one line for each fault, the broken bounds below it."""
    head = f"{'fault':<26}{'pages':>8}{'p50 s':>8}{'p95 s':>8}{'max s':>8}{'bound':>7}"
    lines = [head, "-" * len(head)]
    for row in rows:
        those = [trial for trial in trials if trial.row == row.name]
        added = sorted(trial.added_s for trial in those if trial.genuine)
        pages = f"{len(added)}/{len(those)}"
        times = [percentile(added, share) for share in (0.5, 0.95, 1.0)]
        lines.append(f"{row.name:<26}{pages:>8}" + "".join(f"{t:>8.2f}" for t in times) + f"{row.wait_s:>7g}")
        lines += [f"    {sentence}" for sentence in broken(row, those, waits=waits)]
    return "\n".join(lines)
