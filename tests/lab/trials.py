"""Trials: a visitor opens a site some times, and each time the trial records what was seen and what Byway believes.

Scenarios that concern names run beside each other in one Byway, each site with a domain and addresses of its own; one
that concerns the network has a country of its own. All the while another person opens a healthy page every moment: from
this traffic Byway knows that its uplink is well, and we know the usual time of a route.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from types import MappingProxyType
from typing import Any

from proxy.model import Cause, NetworkState, State
from proxy.net import tasks
from tests.lab import events
from tests.lab.conditions import USUAL, Conditions
from tests.lab.country import RELAY, Country, Running, Site
from tests.lab.judging import Seen, Trial, told_in_clear
from tests.lab.relays import Relay
from tests.lab.scenarios import NEIGHBOUR, TROUBLED, Kind, Reach, Scenario, Way
from tests.lab.visitor import Visit, Visitor
from tests.support.waiting import until, until_read

APART_S = 5.0
"""The least time between two visits to one site: an episode, and a re-test of a suspect, with the times of `DETECT`. A
suspicion that only a rescue raised is over before the next: no visit may come in the moment in which it ends."""
LONG_AFTER_S = 4.0
"""The time from the last visit until a belief counts as lasting: more than `rescue_suspect_s`."""
NETWORK_SITES = 6
"""The number of visited domains in a scenario that concerns the network: one more than make it restricted."""
DETECT: Mapping[str, float] = MappingProxyType(
    {
        "signal_interval_s": 1.0,
        "episode_gap_s": 1.0,
        "rescue_suspect_s": 3.0,
        "retest_suspect_s": 2.0,
        "retest_jitter": 0.0,
        "retest_per_hour": 100_000,
        "search_per_hour": 100_000,
        "search_per_hour_host": 100_000,
        "control_interval_s": 1.0,
        "probe_interval_s": 1.0,
    }
)
"""A minute of real time in a second, where nobody waits for it; the waits of a user are unchanged."""
PATIENT: Mapping[str, float] = MappingProxyType({"elsewhere_hold_s": 6.0, "hedge_ask_s": 2.0, "hedge_syn_s": 4.0})
"""Waits that decide which route is tried first; in the same order as the usual ones."""
RULES = "DOMAIN-SUFFIX,by-relay.test,RELAY\nMATCH,AUTO\n"
SITES_MAX = 500
"""The most sites in one country, so that no three of them have to share a /24: troubles of one would count for the
others."""
COMPANION_PAGES = _DIRECT_PAGE, _RELAY_PAGE = NEIGHBOUR, "by-relay.test"
_COMPANION_S = 0.4
_BEGINNING_S = 0.1
"""The time between the first visits of two trials: forty at once would measure the lab's own queue."""
_LOOK_S = 0.2

Told = Callable[[str], None]

_USUAL = tuple((way, secure) for way in (Way.DIRECT, Way.RELAY) for secure in (True, False))


@dataclass
class Companion:
    """A person who opens healthy pages, direct and by relay, plain and secure, and now and then a large one."""

    visitor: Visitor
    usual: dict[tuple[Way, bool], deque[float]] = field(
        default_factory=lambda: {key: deque(maxlen=15) for key in _USUAL}
    )

    async def walk(self) -> None:
        for way, secure in cycle(_USUAL):
            name = _RELAY_PAGE if way is Way.RELAY else _DIRECT_PAGE
            page = f"http{'s' if secure else ''}://{name}/"
            visit = await limited(self.visitor, page, 10)
            if visit.genuine:
                self.usual[way, secure].append(visit.elapsed_s)
            if secure:  # what is throttled is told by flows that are not
                await limited(self.visitor, f"https://{name}/big", 10)
            await asyncio.sleep(_COMPANION_S)

    def knows(self, *ways: Way) -> bool:
        return all(seen for (way, _), seen in self.usual.items() if way in ways)

    def usual_s(self, way: Way, *, secure: bool) -> float:
        """Returns the present time of a small page on such a route; a rung is a direct connection."""
        seen = self.usual[Way.RELAY if way is Way.RELAY else Way.DIRECT, secure]
        return statistics.median(seen) if seen else 0.0


async def limited(visitor: Visitor, url: str, limit_s: float, *, upload: bytes = b"") -> Visit:
    """Makes a visit that ends at a limit."""
    started = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(limit_s):
            return await visitor.visit(url, upload=upload, limit_s=None)
    except TimeoutError:
        return Visit(url, elapsed_s=asyncio.get_running_loop().time() - started, error="the visitor gave up")


@contextlib.asynccontextmanager
async def fast_pages(visitor: Visitor, url: str) -> AsyncIterator[None]:
    """Opens a large page of a fast site again and again meanwhile: beside it, a slow transfer is seen to be slow."""

    async def open_them() -> None:
        while True:
            await limited(visitor, url, 10)
            await asyncio.sleep(0.2)

    beside = tasks.spawn(open_them(), name="fast pages")
    try:
        yield
    finally:
        beside.cancel()


@dataclass
class Stay:
    """A Byway that runs in a country, with its visitor and the companion."""

    country: Country
    byway: Running
    companion: Companion
    conditions: Conditions = USUAL
    visits_before: int = 0  # of each site, before its trial: they have rows of their own
    patience: float = 1.0  # how many times the `settle_s` of a row a belief may take to come
    _reloads: Counter[str] = field(default_factory=Counter)  # connections of visits that were made again, of each site

    async def trial(self, row: Scenario, seed: int, site: Site) -> Trial:
        seen: list[Seen] = []
        loop = asyncio.get_running_loop()
        suspected: list[float] = []
        for number in range(row.visits):
            started = loop.time()
            seen.append(await self._visit(row, site, number))
            if seen[-1].state in TROUBLED:
                suspected.append(loop.time())
            if number + 1 < row.visits:
                is_rescue = seen[-1].state is State.SUSPECT and seen[-1].way is not Way.DIRECT
                over_in_s = LONG_AFTER_S if is_rescue else 0.0
                await asyncio.sleep(max(over_in_s, started + APART_S - loop.time()))
        told = await self._told_in_clear(site, suspected) if suspected else 0
        return Trial(row.name, seed, tuple(seen), told=told)

    async def _told_in_clear(self, site: Site, suspected: Sequence[float]) -> int:
        """Returns how often the provider could read the name in a query while it was hidden: from each of the times at
        which it was `suspected`, until direct delivered, after which the site works (docs/detection.md, "Score and
        states")."""
        names = self.country.router.events.names_on("client", sender="client", since=suspected[0])
        asked = [seen.at for seen in names if seen.kind is events.Kind.DNS and seen.name == site.name]
        if not asked:
            return 0
        loops = asyncio.get_running_loop().time() - time.time()
        delivered = [
            loops + row["at"] + attempt["started_s"] + attempt["elapsed_s"]
            for row in await self.byway.rows(site.name)
            for attempt in row["attempts"]
            if attempt["route"] == "direct" and attempt["stage"] == "done"
        ]
        return told_in_clear(asked, suspected, delivered)

    async def _visit(self, row: Scenario, site: Site, number: int) -> Seen:
        began_at = time.time()
        visit = await self._open(row, site)
        for _ in range(row.reloads + (not self.conditions.is_fair)):
            if not visit.genuine:
                self._reloads[site.name] += row.at_once
                again = await self._open(row, site)
                visit = replace(again, elapsed_s=visit.elapsed_s + again.elapsed_s)
        made = self.visits_before + (number + 1) * row.at_once + self._reloads[site.name]
        way, held = await asyncio.gather(self.way(site, made - 1), self._settled(row, site, number, began_at))
        own_s = self.companion.usual_s(way, secure=row.secure) + row.conduct.delay_s
        return Seen(
            genuine=visit.genuine,
            way=way,
            added_s=visit.elapsed_s - own_s,
            state=State(held["state"]),
            cause=held["cause"],
            network=NetworkState(held["network_state"]),
            said=visit.error or str(visit.status),
            why=held["evidence"],
        )

    async def _open(self, row: Scenario, site: Site) -> Visit:
        """Returns the visit that went worst of those that are made at once."""
        visitor, limit_s = self.country.visitor(self.byway, office=row.office), self.conditions.limit_s(row.limit_s)
        url = site.url(row.path, secure=row.secure)
        visits = await asyncio.gather(*(limited(visitor, url, limit_s) for _ in range(row.at_once)))
        return max(visits, key=lambda one: (not one.genuine, one.elapsed_s))

    async def way(self, site: Site, number: int) -> Way:
        """Returns the way of the visit with this number, once its row is written: its last attempt is judged up to 7 s
        after another won."""
        rows: list[dict[str, Any]] = []

        async def written() -> bool:
            rows[:] = await self.byway.rows(site.name)
            return len(rows) > number or await _not_yet()

        with contextlib.suppress(TimeoutError):
            await until_read(written)
        return kind_of(rows[number]["winner"] if len(rows) > number else None)

    async def _settled(self, row: Scenario, site: Site, number: int, began_at: float) -> dict[str, Any]:
        """Returns the belief as soon as it is the one in the table, or when all evidence must have arrived. A suspicion
        that this visit raised counts also when it was over, or confirmed by a re-test, before a busy machine could
        look."""
        wanted = row.first if number == 0 else row.third
        if row.kind is Kind.BLOCKING and not self.conditions.is_fair:
            wanted |= TROUBLED  # Byway may decide later, and is not judged by that
        if is_early := number + 1 < row.named_by:
            wanted = frozenset()  # it cannot be known yet
        if row.kind is Kind.INNOCENT and row.network is NetworkState.OK:
            wanted = frozenset()  # look at an innocent one to the end
        held: dict[str, Any] = {}

        async def as_wanted() -> bool:
            held.update(await self.byway.belief(site.name), network_state=await self.byway.network_state())
            has_lapsed = (held["since"] or 0.0) - DETECT["rescue_suspect_s"] >= began_at
            if held["state"] == State.UNKNOWN and held["stored_cause"] not in ("", Cause.DOWN) and has_lapsed:
                held["state"] = State.SUSPECT  # one that lapses is unknown since then, see BeliefTable.current
            is_late = time.time() - began_at >= DETECT["retest_suspect_s"] and row.kind is Kind.BLOCKING
            if number == 0 and is_late and held["state"] == State.BLOCKED and held["episodes"] > 1:
                held["state"] = State.BLOCKED if State.BLOCKED in row.first else State.SUSPECT
            right = held["cause"] == row.cause or row.network is not NetworkState.OK
            right = right and held["network_state"] == row.network
            return (right and State(held["state"]) in wanted) or await _not_yet()

        settle_s = self.conditions.settle_s(row.settle_s, is_early=is_early)
        with contextlib.suppress(TimeoutError):
            await until_read(as_wanted, within_s=settle_s * (self.patience if wanted else 1.0))
        if not held:  # a Byway on a busy machine was still loading its API
            await as_wanted()
        return held

    async def lasting(self, trials: Iterable[tuple[Trial, Site]]) -> list[Trial]:
        """Returns the trials, with the beliefs that still exist."""
        return [replace(trial, lasting=await self._state(site)) for trial, site in trials]

    async def ended(self, trials: Iterable[tuple[Trial, Site]]) -> list[Trial]:
        """Returns the trials, with the beliefs that exist long after them, and with those of a day later."""
        made = list(trials)
        await asyncio.sleep(LONG_AFTER_S)
        found = [*zip(await self.lasting(made), (site for _, site in made), strict=True)]
        self.byway.sleep_a_day()
        return [replace(trial, a_day_later=await self._state(site)) for trial, site in found]

    async def _state(self, site: Site) -> State:
        return State((await self.byway.belief(site.name))["state"])


@contextlib.asynccontextmanager
async def stay(
    folder: Path, plan: Mapping[Scenario, int], *, patient: bool = False, conditions: Conditions = USUAL
) -> AsyncIterator[tuple[Stay, dict[Scenario, list[Site]]]]:
    """Yields a country in which each scenario has so many sites, with its rules in force and a Byway running. All
    scenarios of a plan have the same relays and settings."""
    row = next(iter(plan))
    async with contextlib.AsyncExitStack() as stack:
        country = await stack.enter_async_context(Country(folder))
        for name in COMPANION_PAGES:
            country.add_site(name)
        sites = {
            one: [one.add_site(country, f"{one.name}-{seed}.test") for seed in range(number)]
            for one, number in plan.items()
        }
        relay = _relay(country, row)
        config, office = _config(country, row, relay, patient=patient), any(one.office for one in plan)
        environment = conditions.environment
        byway = await stack.enter_async_context(
            country.byway(folder / "byway", config=config, rules=RULES, office=office, environment=environment)
        )
        ways = (Way.DIRECT,) if relay is None else (Way.DIRECT, Way.RELAY)
        companion = await stack.enter_async_context(accompanied(country.visitor(byway, office=office), *ways))
        if row.beside:
            other, url = country.visitor(byway, office=office), f"https://{NEIGHBOUR}{row.beside}"
            await stack.enter_async_context(fast_pages(other, url))
        if relay is not None:
            page_s = max(one.page_s for one in plan)
            await stack.enter_async_context(conditions.applied(country, relay[1], row.name, page_s=page_s))
        country.rules.set([rule for one in plan for rule in one.arrange(country, sites[one])])
        yield Stay(country, byway, companion, conditions, patience=3.0 if patient else 1.0), sites


@contextlib.asynccontextmanager
async def accompanied(visitor: Visitor, *ways: Way) -> AsyncIterator[Companion]:
    """Lets a companion walk until the end of the block, which begins when it knows the usual times of these ways:
    before anything is unusual."""
    companion = Companion(visitor)
    walking = tasks.spawn(companion.walk(), name="companion")
    try:
        with contextlib.suppress(TimeoutError):
            await until(lambda: companion.knows(*ways))
        yield companion
    finally:
        walking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await walking


async def run_together(
    rows: Sequence[Scenario],
    seeds: int,
    *,
    in_flight: int,
    told: Told,
    patient: bool = False,
    conditions: Conditions = USUAL,
) -> list[Trial]:
    """Runs scenarios that concern names beside each other in one Byway. With `patient`, Byway waits longer where a wait
    decides which event comes first: on a busy machine the lab's own answers are late, and only beliefs are judged."""
    with tempfile.TemporaryDirectory(prefix="byway-lab-") as folder:
        plan = dict.fromkeys(rows, seeds)
        async with stay(Path(folder), plan, patient=patient, conditions=conditions) as (here, sites):
            room = asyncio.Semaphore(in_flight)
            done: list[tuple[Trial, Site]] = []

            async def one(row: Scenario, seed: int) -> None:
                async with room:
                    site = sites[row][seed]
                    done.append((await here.trial(row, seed, site), site))
                    told(f"{len(done)} of {len(rows) * seeds}: {row.name} {seed}")

            async with asyncio.TaskGroup() as all_of_them:
                for seed in range(seeds):
                    for row in rows:
                        all_of_them.create_task(one(row, seed))
                        await asyncio.sleep(_BEGINNING_S)
            return await here.ended(done)


async def run_alone(row: Scenario, seed: int, *, conditions: Conditions = USUAL) -> list[Trial]:
    """Runs a scenario that concerns the network, in a country of its own: a trial for each of some domains."""
    with tempfile.TemporaryDirectory(prefix="byway-lab-") as folder:
        async with stay(Path(folder), {row: NETWORK_SITES}, conditions=conditions) as (here, sites):
            trials = await asyncio.gather(
                *(here.trial(row, seed * NETWORK_SITES + n, site) for n, site in enumerate(sites[row]))
            )
            return await here.ended(zip(trials, sites[row], strict=True))


async def run(
    rows: Sequence[Scenario],
    seeds: int,
    *,
    in_flight: int = 24,
    countries: int = 3,
    told: Told,
    patient: bool = False,
    conditions: Conditions = USUAL,
) -> list[Trial]:
    """Runs all of the rows: those that concern names together, each of the others on its own, `countries` at once."""
    together = [row for row in rows if not is_alone(row)]
    trials: list[Trial] = []
    at_once = max(1, SITES_MAX // max(1, len(together)))
    for first in range(0, seeds if together else 0, at_once):
        number = min(at_once, seeds - first)
        found = await run_together(
            together, number, in_flight=in_flight, told=told, patient=patient, conditions=conditions
        )
        trials += [replace(trial, seed=first + trial.seed) for trial in found]
    room = asyncio.Semaphore(countries)

    async def one(row: Scenario, seed: int) -> list[Trial]:
        async with room:
            found = await run_alone(row, seed, conditions=conditions)
            told(f"{row.name} {seed}")
            return found

    alone = [(row, seed) for row in rows if is_alone(row) for seed in range(seeds)]
    for found in await asyncio.gather(*(one(row, seed) for row, seed in alone)):
        trials += found
    return trials


def is_alone(row: Scenario) -> bool:
    """Returns whether a scenario has a country and a Byway of its own."""
    return row.reach is Reach.NETWORK or bool(row.detect)


def _relay(country: Country, row: Scenario) -> tuple[str, Relay] | None:
    """Returns the URL of the row's relay and the relay itself."""
    if row.relays == "none":
        return None
    return {
        "socks": (country.socks_url, country.relay),
        "https": (country.https_url, country.https_relay),
        "lying": (country.lying_url, country.lying_relay),
    }[row.relays]


def _config(country: Country, row: Scenario, relay: tuple[str, Relay] | None, *, patient: bool = False) -> str:
    waits, dns = (PATIENT, "second_answer_s = 2.0\n") if patient else ({}, "")
    detect = "".join(f"{key} = {value}\n" for key, value in {**DETECT, **waits, **row.detect}.items())
    if relay is None:
        return country.config(detect=detect, dns=dns, no_relay=True)
    return country.config(detect=detect, dns=dns, relays=((RELAY, relay[0]),))


async def _not_yet() -> bool:
    """Returns false after a moment: two hundred looks a second would be load enough to change the measurement."""
    await asyncio.sleep(_LOOK_S)
    return False


def kind_of(winner: str | None) -> Way:
    """Returns the kind of a log row's winner."""
    if not winner:
        return Way.NONE
    if winner == "direct":
        return Way.DIRECT
    return Way.RUNG if winner.startswith("direct|") else Way.RELAY
