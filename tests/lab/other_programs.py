"""Other programs in front of the twelve unknown censors of `censors`, and Byway, by hand:

    python -m tests.lab.other_programs --byedpi byedpi/ciadpi --tpws zapret/tpws/tpws
    python -m tests.lab.other_programs

It prints the rows of the table in docs/detection.md, "Local strategies", each as often as it is measured: of the given
programs, or of Byway without any. A program runs once for each of its settings, as a SOCKS5 proxy at the person's
computer. Each of them has two sites of its own: one that the censor looks for, and a working one. Both are visited six
times, the working one also without a program, right after each visit: a censor may have punished its address. Byway has
three sites that the censor looks for, as in `test_ladder_search`, whose times apply to all, and runs once with a relay
and once without one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from tests.lab.censors import CENSORS, PASSED_BY, Censor
from tests.lab.country import Country
from tests.lab.rules_2025 import Unknown
from tests.lab.scenarios import NEIGHBOUR, Way
from tests.lab.sockets import connect
from tests.lab.spaces import Space, begin_with_spaces
from tests.lab.test_ladder_search import (
    APART_S,
    HURRIED,
    IDLE_WINDOW_S,
    PATIENCE_S,
    PUNISHED_S,
    VISITS,
    WINDOW_S,
    url_of,
)
from tests.lab.trials import accompanied, limited
from tests.lab.visitor import Visitor
from tests.support.waiting import until_read

HERE = "127.0.0.1"
FIRST_PORT = 1081
STAGGER_S = 0.2
"""The time between the visits of two settings: all at once would measure the lab's own queue."""

BYEDPI = (
    "",
    "--disorder 1 --auto=torst --tlsrec 1+s",  # the example of its README
    "--split 1 --disorder 3+s --mod-http=h,d --auto=torst --tlsrec 1+s",  # dist/linux/byedpi.conf
    "--auto=torst --timeout 3 --tlsrec 3+s",  # README, on --tlsrec
    "--fake -1 --ttl 3",  # the example of its README, with a TTL that reaches the lab's censor and not its servers
    "--fake -1 --md5sig",  # README, on --fake: for Linux
    "--oob 3+s",  # README, on --oob
)
TPWS = (
    "",
    "--filter-tcp=80 --methodeol --new --filter-tcp=443 --split-pos=1,midsld --disorder",  # config.default
    "--split-pos=1,midsld --fix-seg",  # this one and the next ones: entries of blockcheck.sh on Linux
    "--split-pos=1,midsld --fix-seg --oob",
    "--hostcase --tlsrec=midsld",
    "--tlsrec=sniext+1 --split-pos=1,midsld --fix-seg",
    "--tlsrec=sniext+4 --split-pos=1,midsld --fix-seg --oob --disorder",
)
"""Settings of the two programs. The first of each changes nothing: a censor that it passes is none."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One program with its options."""

    program: Path
    listens: str
    options: str

    def command(self, port: int) -> list[str]:
        return [str(self.program), *self.listens.format(host=HERE, port=port).split(), *self.options.split()]


@dataclass(slots=True)
class Seen:
    """Which visits brought the page: to the site that a censor looks for, to the other one, and to that one without the
    program."""

    searched: list[bool] = field(default_factory=list)
    working: list[bool] = field(default_factory=list)
    alone: list[bool] = field(default_factory=list)

    def __str__(self) -> str:
        broken = "" if all(self.working) else f", breaks others ({_since(self.working)})"
        return _since(self.searched) + broken + ("" if all(self.alone) else ", punished")


async def with_program(folder: Path, censor: Censor, settings: Sequence[Setting]) -> list[str]:
    """Returns a cell for each setting."""
    async with Country(folder) as country, contextlib.AsyncExitStack() as stack:
        await country.origins.listen([("0.0.0.0", censor.port)] if censor.port == 8443 else [])
        letters = [chr(ord("a") + number) for number in range(len(settings))]
        searched = [country.add_site(f"www.site-{letter}.test") for letter in letters]
        working = [country.add_site(f"www.shop-{letter}.test") for letter in letters]
        alone = replace(country.visitor(), addresses={site.name: site.address for site in working})
        visitors = [
            Visitor(alone.make, alone.trust, stack.enter_context(_running(country.client, setting, port)), socks=True)
            for port, setting in enumerate(settings, FIRST_PORT)
        ]
        for port, _ in enumerate(settings, FIRST_PORT):
            await until_read(partial(_listens, country.client, port))
        country.rules.set([Unknown(*(site.name for site in searched), censor=censor, seconds=PUNISHED_S)])

        async def visits(number: int) -> Seen:
            await asyncio.sleep(number * STAGGER_S)
            seen = Seen()
            for _ in range(VISITS):
                for results, visitor, site in (
                    (seen.searched, visitors[number], searched[number]),
                    (seen.working, visitors[number], working[number]),
                    (seen.alone, alone, working[number]),
                ):
                    results.append((await limited(visitor, url_of(site, censor), PATIENCE_S)).genuine)
                await asyncio.sleep(APART_S)
            return seen

        seen = await asyncio.gather(*map(visits, range(len(settings))))
        for setting, one in zip(settings, seen, strict=True):
            assert setting.options or not any(one.searched), f"{censor.name} lets everything pass"
        return [*map(str, seen)]


async def with_byway(folder: Path, censor: Censor, *, relay: bool) -> str:
    """Returns the cell of a Byway. With a relay, over which every page comes: in which round of visits to the sites a
    strategy that passes was found. Without one: from which visit on the page of each site came."""
    async with Country(folder) as country:
        await country.origins.listen([("0.0.0.0", censor.port)] if censor.port == 8443 else [])
        country.add_site(NEIGHBOUR)
        sites = [country.add_site(f"www.site-{letter}.test") for letter in "abc"]
        window_s = WINDOW_S if censor.residual else IDLE_WINDOW_S
        detect = "".join(f"{key} = {value}\n" for key, value in {**HURRIED, "residual_s": window_s}.items())
        rule = Unknown(*(site.name for site in sites), censor=censor, seconds=PUNISHED_S)
        came: dict[str, list[bool]] = {site.name: [] for site in sites}
        found = 0
        async with country.byway(folder / "byway", config=country.config(detect=detect, no_relay=not relay)) as byway:
            visitor = country.visitor(byway)

            async def is_found() -> bool:
                passing = {f"direct|{rung}" for rung in PASSED_BY[censor.name]}
                return not {(await byway.belief(site.name))["last_good"] for site in sites}.isdisjoint(passing)

            async with accompanied(visitor, Way.DIRECT):
                country.rules.set([rule])
                for number in range(1, VISITS + 1):
                    for site in sites:
                        came[site.name].append((await limited(visitor, url_of(site, censor), PATIENCE_S)).genuine)
                        await asyncio.sleep(APART_S / len(sites))
                        found = found or (number if await is_found() else 0)
                if not found:
                    with contextlib.suppress(TimeoutError):
                        await until_read(is_found, within_s=window_s + 2 * APART_S)
                        found = VISITS
        strange = {str(flow.server) for flow in rule.acts} - {site.address for site in sites}
        cell = str(found or "–") if relay else " ".join(map(_since, came.values()))
        missed = " without a page" if relay and not all(map(all, came.values())) else ""
        return cell + missed + (" punished" if strange else "")


def _since(came: Sequence[bool]) -> str:
    """Says from which visit on the page came."""
    failed = [number for number, page in enumerate(came, 1) if not page]
    if not failed or failed[-1] < len(came):
        since = failed[-1] + 1 if failed else 1
        return str(since) if sum(came) == len(came) - since + 1 else f"{since} ({sum(came)} of {len(came)})"
    return f"{sum(came)} of {len(came)}" if any(came) else "–"


@contextlib.contextmanager
def _running(space: Space, setting: Setting, port: int) -> Iterator[tuple[str, int]]:
    """Runs a program for the block; yields where it listens."""
    process = space.popen(setting.command(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield HERE, port
    finally:
        assert process.poll() is None, f"{setting.command(port)} has ended"
        process.kill()
        process.wait()


async def _listens(space: Space, port: int) -> bool:
    with contextlib.suppress(OSError):
        _, writer = await connect(space.socket, (HERE, port))
        writer.transport.abort()
        return True
    return False


async def table(censors: Sequence[Censor], settings: Sequence[Setting], *, runs: int, at_once: int) -> None:
    """Measures each cell so often, of Byway if there are no settings of other programs; prints each run of a censor as
    soon as it has ended."""
    room = asyncio.Semaphore(at_once)

    async def row(censor: Censor, run: int) -> None:
        async with room:
            with tempfile.TemporaryDirectory(prefix="byway-lab-", ignore_cleanup_errors=True) as name:
                folder = Path(name)
                if settings:
                    cells = await with_program(folder, censor, settings)
                else:
                    (alone := folder / "alone").mkdir()
                    cells = [await with_byway(folder, censor, relay=True), await with_byway(alone, censor, relay=False)]
        print(f"| {censor.name} | {run} | {' | '.join(cells)} |", flush=True)

    async with asyncio.TaskGroup() as tasks:
        for run in range(1, runs + 1):
            for censor in censors:
                tasks.create_task(row(censor, run))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab.other_programs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--byedpi", type=Path, help="the program ciadpi of ByeDPI")
    parser.add_argument("--tpws", type=Path, help="the program tpws of zapret")
    parser.add_argument("--runs", type=int, default=2, help="how often each cell is measured (default 2)")
    parser.add_argument("--at-once", type=int, default=2, help="countries at once (default 2)")
    parser.add_argument("only", nargs="*", metavar="CENSOR", help="these censors; all without")
    asked = parser.parse_args(arguments)
    settings = []
    if asked.byedpi:
        settings += [Setting(asked.byedpi.resolve(), "--ip {host} --port {port}", options) for options in BYEDPI]
    if asked.tpws:
        listens = "--socks --bind-addr={host} --port={port}"
        settings += [Setting(asked.tpws.resolve(), listens, options) for options in TPWS]
    censors = [censor for censor in CENSORS if not asked.only or censor.name in asked.only]
    asyncio.run(table(censors, settings, runs=asked.runs, at_once=asked.at_once))


if __name__ == "__main__":
    begin_with_spaces("tests.lab.other_programs")
    main()
