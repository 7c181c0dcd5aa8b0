"""Healthy sites over a bad link: `python -m tests.lab.healthy`. Byway must call none of them blocked.

Some people open pages of 200 sites, one after the other, over a slow link that loses packets, through a real Byway with
the detection's own numbers. One more site is really blocked, so that a Byway that learns nothing at all fails too.
After Byway has ended, its ledger shows what it believed. Exit code 5 when Byway ever held a healthy site to be blocked,
or never held the other one to be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy.model import State
from proxy.store import queries
from proxy.store.file import open_reader
from proxy.store.logged import StatusChange
from tests.lab.country import Country, Running
from tests.lab.links import Link
from tests.lab.rules import SniDrop
from tests.lab.spaces import begin_with_spaces
from tests.lab.trials import limited
from tests.lab.visitor import Visitor
from tests.support.waiting import until_read

BROKEN = 5
SITES = 200
BAD_LINK = Link(delay_s=0.3, loss=0.05)
"""Each way: a round trip takes 0.6 s, and one in ten of them loses a packet."""
BLOCKED = "blocked.test"
PATIENCE_S = 20.0
"""A person gives up a page after this time."""

_BLOCKED_EVERY = 20  # visits
_PLAIN_EVERY = 4
_ROWS = queries.LIMIT_MAX
_LOOK_S = 0.2


@dataclass
class Found:
    """The result of a run."""

    pages: Counter[bool] = field(default_factory=Counter)  # of healthy sites: whether they came
    winners: Counter[str] = field(default_factory=Counter)
    symptoms: Counter[str] = field(default_factory=Counter)  # of direct attempts at healthy sites
    relayed: int = 0  # attempts at healthy sites over the relay
    ledger: list[StatusChange] = field(default_factory=list)  # changes, the latest first
    held: list[dict[str, Any]] = field(default_factory=list)  # beliefs at the end

    def ever(self, state: State, *, control: bool = False) -> set[str]:
        """Returns the scopes that were held to be in this state at some time: the healthy ones, or the blocked one with
        `control`."""
        scopes = {row.scope for row in self.ledger if row.after == state}
        return {scope for scope in scopes if scope.endswith(BLOCKED) == control}

    @property
    def broken(self) -> list[str]:
        """Returns the bounds that were not kept, each as a sentence."""
        found = [f"{scope} is healthy, and was called blocked" for scope in sorted(self.ever(State.BLOCKED))]
        if not self.ever(State.BLOCKED, control=True):
            found.append(f"{BLOCKED} is blocked, and was never called so")
        return found

    def told(self) -> str:
        """Returns the whole result for a person."""
        suspects = [row for row in self.held if row["state"] == State.SUSPECT and row["scope"] != BLOCKED]
        lines = [
            f"pages of healthy sites   {self.pages.total()}, of which came {self.pages[True]}",
            f"by                       {_counts(self.winners)}",
            f"direct failed by         {_counts(self.symptoms)}",
            f"attempts over the relay  {self.relayed}",
            f"ever called blocked      {len(self.ever(State.BLOCKED))}",
            f"ever likely blocked      {len(self.ever(State.SUSPECT))}",
            f"likely blocked at end    {len(suspects)}",
            *(f"    {row['scope']} {row['cause']} {row['score']:g}: {row['evidence']}" for row in suspects),
            f"the control was blocked  {'yes' if self.ever(State.BLOCKED, control=True) else 'no'}",
        ]
        return "\n".join([*lines, *self.broken])


async def watch(
    folder: Path,
    *,
    seconds: float,
    sites: int = SITES,
    link: Link = BAD_LINK,
    people: int = 16,
    rest_s: float = 1.0,
    detect: str = "",
    seed: int = 0,
) -> Found:
    """Lets `people` open pages for so long, and up to half a minute longer until `_is_enough`; each rests for `rest_s`
    after a page. `detect` are lines of that table."""
    found = Found()
    async with Country(folder, link=link) as country:
        names = [country.add_site(f"site{number}.test").name for number in range(sites)]
        country.add_site(BLOCKED)
        country.rules.set([SniDrop(BLOCKED)])
        async with country.byway(folder / "byway", config=country.config(detect=detect)) as byway:
            pages, visitor = _pages(names, random.Random(seed)), country.visitor(byway)
            is_over = asyncio.Event()
            async with asyncio.TaskGroup() as everybody:
                for _ in range(people):
                    everybody.create_task(_walk(visitor, pages, found, is_over, rest_s))
                await asyncio.sleep(seconds)
                with contextlib.suppress(TimeoutError):  # on a busy machine pages take longer
                    await until_read(lambda: _is_enough(byway, found, sites))
                is_over.set()
            found.held = (await byway.ask("/v1/sites"))["sites"]
        _read_ledger(byway, found)
    return found


async def _is_enough(byway: Running, found: Found, sites: int) -> bool:
    """Returns whether more pages came than there are healthy sites, and the control is blocked."""
    is_blocked = (await byway.belief(BLOCKED))["state"] == State.BLOCKED
    if not (is_enough := is_blocked and found.pages[True] > sites):
        await asyncio.sleep(_LOOK_S)
    return bool(is_enough)


async def _walk(visitor: Visitor, pages: Iterator[str], found: Found, is_over: asyncio.Event, rest_s: float) -> None:
    while not is_over.is_set():
        page = next(pages)
        visit = await limited(visitor, page, PATIENCE_S)
        if BLOCKED not in page:
            found.pages[visit.genuine] += 1
        await asyncio.sleep(rest_s)


def _pages(names: Sequence[str], luck: random.Random) -> Iterator[str]:
    """Yields every site as often as every other, in random order; some pages without TLS; now and then the blocked
    one."""
    number = 0
    while True:
        for name in luck.sample(names, len(names)):
            number += 1
            yield f"http{'' if number % _PLAIN_EVERY == 0 else 's'}://{name}/"
            if number % _BLOCKED_EVERY == 0:
                yield f"https://{BLOCKED}/"


def _read_ledger(byway: Running, found: Found) -> None:
    with contextlib.closing(open_reader(byway.state / "byway.sqlite")) as db:
        found.ledger = queries.changes(db, limit=_ROWS)
        for row in queries.log(db, limit=_ROWS):
            if row.host != BLOCKED:
                found.winners[row.winner or "nothing"] += 1
                found.relayed += sum(not a.route.startswith("direct") for a in row.attempts)
                found.symptoms.update(a.symptom for a in row.attempts if a.route == "direct" and a.symptom)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counter.most_common()) or "nothing"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.healthy", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long people open pages (default 600)")
    parser.add_argument("--sites", type=int, default=SITES, help=f"how many sites (default {SITES})")
    parser.add_argument("--people", type=int, default=16, help="pages open at once (default 16)")
    parser.add_argument("--delay", type=float, default=BAD_LINK.delay_s, help="seconds each way (default 0.3)")
    parser.add_argument("--loss", type=float, default=BAD_LINK.loss, help="share of packets each way (default 0.05)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="byway-lab-") as folder:
        found = asyncio.run(
            watch(
                Path(folder),
                seconds=asked.seconds,
                sites=asked.sites,
                people=asked.people,
                link=Link(asked.delay, asked.loss),
                seed=asked.seed,
            )
        )
    print(found.told())
    return BROKEN if found.broken else 0


if __name__ == "__main__":
    begin_with_spaces("tests.lab.healthy")
    sys.exit(main())
