"""Runs the tables of scenarios and of relays with a real Byway: `python -m tests.lab.run --seeds 20`.

It prints, for each scenario, in how many of its trials the first decision named the right cause, in how many it was
right after the last visit and the belief right a day later, whether the pages came, and the wait of the first visit
beyond the time of its route; for each fault of a relay whether the pages came and how long they waited. Exit code 5
when a bound of a table was not kept.

    python -m tests.lab.run 'relay-*' --seeds 20
    python -m tests.lab.run 'relay-*' --pages-only --busy 2
    python -m tests.lab.run 'road-*' --seeds 20
    python -m tests.lab.run --scale 2
    python -m tests.lab.run --relay restarts --seeds 5

Other conditions than the usual ones (`lab.conditions`) are for scenarios alone. With `--scale` only those run that have
parameters to multiply. With another relay, or without TCP_INFO, Byway may decide later and by another way: the pages
must come, reloaded once if need be, and no false belief may last.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path

from tests.lab import relay_faults, relay_roads, trials
from tests.lab.all_scenarios import SCENARIOS
from tests.lab.conditions import USUAL, Conditions, RelayQuality, add_options
from tests.lab.judging import summaries, table
from tests.lab.scenarios import Scenario
from tests.lab.spaces import begin_with_spaces

BROKEN = 5


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    conditions = Conditions.of(asked)
    rows, faults, roads = chosen(asked.only, conditions), chosen_faults(asked.only), chosen_roads(asked.only)
    if conditions != USUAL:
        faults, roads = [], []
    if asked.list:
        for row in rows:
            print(f"{row.name:<22} {row.kind:<9} {row.what}")
        for fault in faults:
            print(f"{fault.name:<22} {'fault':<9} {fault.what}")
        for road in roads:
            print(f"{road.name:<22} {'road':<9} {road.what}")
        return 0
    if not (rows or faults or roads):
        print("no scenario is called so; --list shows them all", file=sys.stderr)
        return 2
    began, waits = time.monotonic(), not asked.pages_only
    with busy_loops(asked.busy):
        made = asyncio.run(
            trials.run(
                rows,
                asked.seeds,
                in_flight=asked.in_flight,
                countries=asked.countries,
                told=_tell,
                conditions=conditions,
            )
        )
        # They mostly wait, one new site after the other.
        failed = asyncio.run(relay_faults.run(faults, asked.seeds, countries=4 * asked.countries, told=_tell_all))
        blocked = asyncio.run(relay_roads.run(roads, asked.seeds, countries=3 * asked.countries, told=_tell_all))
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    if asked.json:
        documents = [*map(asdict, made), *map(asdict, failed), *map(asdict, blocked)]
        asked.json.write_text(json.dumps(documents, indent=1))
    found = summaries(rows, made)
    if found:
        print(table(found, waits=waits, fair=conditions.is_fair))
    if failed:
        print(relay_faults.table(faults, failed, waits=waits))
    if blocked:
        print(relay_roads.table(roads, blocked))
    print(f"{len(made) + len(failed) + len(blocked)} trials in {time.monotonic() - began:.0f} s")
    broken = [sentence for summary in found for sentence in summary.broken(waits=waits, fair=conditions.is_fair)]
    for fault in faults:
        broken += relay_faults.broken(fault, [trial for trial in failed if trial.row == fault.name], waits=waits)
    for road in roads:
        broken += relay_roads.broken(road, [trial for trial in blocked if trial.row == road.name])
    return BROKEN if broken else 0


def chosen(patterns: Sequence[str], conditions: Conditions = USUAL) -> list[Scenario]:
    """Returns the rows whose name matches one of the patterns, all without any; of these, the ones for which the
    conditions make a difference."""
    rows = [row for row in SCENARIOS if not patterns or any(fnmatch(row.name, pattern) for pattern in patterns)]
    if conditions.relay is not RelayQuality.PERFECT:
        rows = [row for row in rows if row.relays != "none"]
    if conditions.scale != 1:
        rows = [row.at_scale(conditions.scale) for row in rows if row.at_scale is not None]
    return rows


def chosen_faults(patterns: Sequence[str]) -> list[relay_faults.Row]:
    """Returns the same for the faults of relays."""
    faults = relay_faults.ROWS
    return [row for row in faults if not patterns or any(fnmatch(row.name, pattern) for pattern in patterns)]


def chosen_roads(patterns: Sequence[str]) -> list[relay_roads.Row]:
    """Returns the same for the ways to block a relay."""
    return [row for row in relay_roads.ROWS if not patterns or any(fnmatch(row.name, pattern) for pattern in patterns)]


@contextlib.contextmanager
def busy_loops(loops: int) -> Iterator[None]:
    """Runs so many processes meanwhile that do nothing, as fast as they can."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("only", nargs="*", metavar="NAME", help="scenarios to run, `*` for any letters; all without")
    parser.add_argument("--seeds", type=int, default=3, help="trials of each (default 3)")
    parser.add_argument("--in-flight", type=int, default=24, help="trials at once in one Byway (default 24)")
    parser.add_argument("--countries", type=int, default=2, help="countries at once (default 2)")
    parser.add_argument("--pages-only", action="store_true", help="hold only what comes to the tables, not the waits")
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="run beside N busy loops")
    add_options(parser)
    parser.add_argument("--json", type=Path, help="write every visit to this file")
    parser.add_argument("--list", action="store_true", help="show the scenarios and end")
    return parser


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _tell_all(line: str) -> None:
    """Prints a line that stays, for a run of minutes whose output goes to a file."""
    print(("\r\033[K" if sys.stderr.isatty() else "") + line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    begin_with_spaces("tests.lab.run")
    sys.exit(main())
