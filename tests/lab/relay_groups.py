"""Groups of relays that die, slow down and come back: the relay that each visit came through, and how often it changed.

One row per policy and story. A row is a list of steps: something happens to relays, then a visitor opens pages one
after the other, and the origin reports the relay of each. `python -m tests.lab.relay_groups` runs the rows that take
minutes as well: a group waits a minute between changes, and a relay that failed rests for two.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import groupby
from pathlib import Path

from tests.lab.country import Country, Running
from tests.lab.relays import Manner, Relay
from tests.lab.spaces import begin_with_spaces
from tests.lab.trials import limited
from tests.lab.visitor import Visitor

NAMES = ("a", "b", "c")
ADDRESSES = dict(zip(NAMES, ("192.0.2.150", "192.0.2.151", "192.0.2.152"), strict=True))
_PORT = 1080
_PATIENCE_S = 35.0
_RULES = "DOMAIN-SUFFIX,by-group.test,RELAY:eu\nMATCH,AUTO\n"
_AT_ONCE = 4
BROKEN = 5


@dataclass
class Scene:
    """A Byway whose rules send some sites to the group eu, and the relays of the group."""

    country: Country
    byway: Running
    relays: dict[str, Relay]
    visitor: Visitor
    used: str = ""
    """The relay of the last page that came."""
    down: set[str] = field(default_factory=set)
    """Relays that do not listen."""

    async def visit(self, host: str) -> str:
        """Opens a page. Returns the relay that it came through; empty when no page came."""
        visit = await limited(self.visitor, f"https://{host}/", _PATIENCE_S)
        told = visit.body.decode(errors="replace")
        came = next((name for name, at in ADDRESSES.items() if visit.genuine and told.endswith(f" {at}\n")), "")
        self.used = came or self.used
        return came

    async def lead(self) -> str:
        (group,) = (await self.byway.ask("/v1/relays"))["groups"]
        return str(group["first"] or "")


Act = Callable[[Scene], Awaitable[object]]


def refuse(*names: str) -> Act:
    """The relays refuse connections and break off open ones; without a name, the relay of the last page does."""

    async def act(scene: Scene) -> None:
        for name in names or (scene.used,):
            await scene.relays[name].stop()
            scene.down.add(name)

    return act


def come_back(*names: str) -> Act:
    async def act(scene: Scene) -> None:
        for name in names:
            scene.relays[name].manner = Manner.HONEST
            if name in scene.down:
                await scene.relays[name].revive()
        scene.down.difference_update(names)

    return act


def fall_silent(*names: str) -> Act:
    """The relays accept connections and answer nothing."""

    async def act(scene: Scene) -> None:
        for name in names:
            scene.relays[name].manner = Manner.DEAF

    return act


def slow_down(**late_s: float) -> Act:
    async def act(scene: Scene) -> None:
        for name, seconds in late_s.items():
            scene.relays[name].late_s = seconds

    return act


def use(name: str) -> Act:
    return lambda scene: scene.byway.command("relay", "use", "eu", name)


async def nothing(scene: Scene) -> None:
    pass


def each(*acts: Act) -> Act:
    async def act(scene: Scene) -> None:
        for one in acts:
            await one(scene)

    return act


@dataclass(frozen=True, slots=True)
class Step:
    """Something happens; `after_s` later pages are opened, one every `every_s`."""

    act: Act
    comes_through: tuple[str, ...]
    """The relay of each page; "-" for a failure, "any" for each relay, "same" for the one before, "other" for
    another."""
    after_s: float = 0.0
    every_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    policy: str
    what: str
    steps: tuple[Step, ...]
    leads: str = ""
    """The members that led, in order; empty where none does."""
    takes_minutes: bool = False


_A, _B, _C = (("a",) * 3, ("b",) * 3, ("c",) * 3)


def two_die(name: str, what: str, die: Act) -> Row:
    return Row(name, "fallback", f"{what}: one change", (Step(nothing, _A), Step(die, ("c",) * 6)), "ac")


ROWS = (
    Row("group-fallback-dies", "fallback", "the first refuses", (Step(nothing, _A), Step(refuse("a"), _B)), "ab"),
    Row("group-fallback-silent", "fallback", "the first falls silent",
        (Step(nothing, _A), Step(fall_silent("a"), ("b",) * 5)), "ab"),
    two_die("group-fallback-two", "two die at once, one silently", each(refuse("a"), fall_silent("b"))),
    two_die("group-fallback-two-silent", "two fall silent at once", fall_silent("a", "b")),
    Row("group-fallback-all", "fallback", "all refuse, and the last comes back",
        (Step(nothing, _A), Step(refuse(*NAMES), ("-",)), Step(come_back("c"), _C)), "a"),
    Row("group-fallback-slow", "fallback", "the first slows down: it stays",
        (Step(nothing, _A), Step(slow_down(a=0.5), _A)), "a"),
    Row("group-sticky-dies", "sticky", "the relay of a site refuses, and comes back",
        (Step(nothing, ("any", "same", "same")), Step(refuse(), ("other", "same", "same")),
         Step(come_back(*NAMES), ("same",) * 3))),
    Row("group-select-dies", "select", "the selected one refuses; another is selected; it comes back",
        (Step(nothing, _A), Step(refuse("a"), ("-",)), Step(use("b"), _B),
         Step(each(come_back("a"), use("a")), _A)), "aba"),
    Row("group-fallback-returns", "fallback", "the first refuses, comes back, and has rested",
        (Step(nothing, _A), Step(refuse("a"), _B), Step(come_back("a"), _B), Step(nothing, _A, after_s=125)), "aba",
        takes_minutes=True),
    Row("group-fallback-two-for-long", "fallback", "two fall silent at once, for six minutes: one change",
        (Step(nothing, _A), Step(fall_silent("a", "b"), ("c",) * 120, every_s=3)), "ac", takes_minutes=True),
    Row("group-fastest", "fastest", "each is measured for a minute; then the fastest leads; it slows down; it dies",
        (Step(slow_down(a=0.6, b=0.05, c=0.3), ("a",) * 10, every_s=3),
         Step(nothing, ("b",) * 10, after_s=35, every_s=3),
         Step(nothing, ("c",) * 10, after_s=35, every_s=3), Step(nothing, ("b",) * 5, after_s=40),
         Step(refuse("b"), _C)), "abcbc", takes_minutes=True),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trial:
    row: str
    came: tuple[tuple[str, str], ...]
    """For each page: the relay that it should come through, and the one that it came through."""
    leads: str

    def broken(self, row: Row) -> list[str]:
        found = [
            f"page {number} came through {came or 'none'}, not {wanted}"
            for number, (wanted, came) in enumerate(self.came, 1)
            if came != wanted
        ]
        if row.leads and self.leads != row.leads:
            found.append(f"{' '.join(self.leads)} led, not {' '.join(row.leads)}")
        return found


async def run(rows: Sequence[Row]) -> list[Trial]:
    """Runs rows, a few at once. Returns their trials in the same order."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(row: Row) -> Trial:
        async with room:
            return await run_row(row)

    return await asyncio.gather(*map(one, rows))


async def run_row(row: Row) -> Trial:
    with tempfile.TemporaryDirectory(prefix="byway-lab-") as folder:
        async with _scene(row, Path(folder)) as scene:
            leads, came = [await scene.lead()], list[tuple[str, str]]()
            for step in row.steps:
                await step.act(scene)
                await asyncio.sleep(step.after_s)
                for wanted in step.comes_through:
                    before = scene.used
                    seen = await scene.visit(f"{row.name}.by-group.test")
                    is_right = {
                        "-": not seen, "any": bool(seen), "same": seen == before, "other": seen not in ("", before),
                    }.get(wanted, seen == wanted)  # fmt: skip
                    came.append((seen if is_right else wanted, seen))
                    leads.append(await scene.lead())
                    await asyncio.sleep(step.every_s)
            return Trial(row.name, tuple(came), "".join(lead for lead, _ in groupby(leads)))


@contextlib.asynccontextmanager
async def _scene(row: Row, folder: Path) -> AsyncIterator[Scene]:
    async with Country(folder) as country, contextlib.AsyncExitStack() as stack:
        country.add_site(f"{row.name}.by-group.test")
        relays = {
            name: Relay(country.relay_space.socket, country.zone.truth, (address, _PORT), source=address)
            for name, address in ADDRESSES.items()
        }
        for relay in relays.values():
            await stack.enter_async_context(relay)
        config = country.config(
            relays=[(name, f"socks5h://{address}:{_PORT}") for name, address in ADDRESSES.items()],
            extra=f'[[group]]\nname = "eu"\nrelays = ["a", "b", "c"]\npolicy = "{row.policy}"\n',
        )
        byway = await stack.enter_async_context(country.byway(folder / "byway", config=config, rules=_RULES))
        yield Scene(country, byway, relays, country.visitor(byway))


def main() -> int:
    parser = argparse.ArgumentParser(description="Groups of relays in the lab")
    parser.add_argument("only", nargs="*", metavar="PATTERN", help="names of rows (default: all)")
    asked = parser.parse_args()
    rows = [row for row in ROWS if not asked.only or any(fnmatch(row.name, pattern) for pattern in asked.only)]

    broken = False
    for row, trial in zip(rows, asyncio.run(run(rows)), strict=True):
        came = "".join(seen or "-" for _, seen in trial.came)
        print(f"{row.name:<28} {row.what}\n    pages {came}; led {trial.leads or '(by site)'}")
        for sentence in trial.broken(row):
            broken = True
            print(f"    {sentence}")
    return BROKEN if broken else 0


if __name__ == "__main__":
    begin_with_spaces("tests.lab.relay_groups")
    sys.exit(main())
