"""The scenario table against a real Byway: `python -m tests.lab.run --seeds 20`.

Prints, for each scenario, in how many of its trials the first decision named the right cause, in how many that was so
after three visits, whether the pages came, and what the first visit waited beyond what its route takes. Exit code 5
when a bound of the table was not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path

from tests.lab import trials
from tests.lab.judging import Trial, summaries, table
from tests.lab.scenarios import SCENARIOS, Scenario
from tests.lab.spaces import may_make_spaces, within

BROKEN = 5


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    rows = chosen(asked.only)
    if asked.list:
        for row in rows:
            print(f"{row.name:<22} {row.kind:<9} {row.what}")
        return 0
    if not rows:
        print("no scenario is called so; --list shows them all", file=sys.stderr)
        return 2
    began = time.monotonic()
    made = asyncio.run(trials.run(rows, asked.seeds, in_flight=asked.in_flight, countries=asked.countries, told=_tell))
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    if asked.json:
        asked.json.write_text(json.dumps([_document(trial) for trial in made], indent=1))
    found = summaries(rows, made)
    print(table(found))
    print(f"{len(made)} trials in {time.monotonic() - began:.0f} s")
    return BROKEN if any(summary.broken() for summary in found) else 0


def chosen(patterns: Sequence[str]) -> list[Scenario]:
    """The rows whose name fits one of the patterns; all without any."""
    return [row for row in SCENARIOS if not patterns or any(fnmatch(row.name, pattern) for pattern in patterns)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.run", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="NAME", help="scenarios to run, `*` for any letters; all without")
    parser.add_argument("--seeds", type=int, default=3, help="trials of each (default 3)")
    parser.add_argument("--in-flight", type=int, default=24, help="trials at once in one Byway (default 24)")
    parser.add_argument("--countries", type=int, default=2, help="countries at once (default 2)")
    parser.add_argument("--json", type=Path, help="write every visit to this file")
    parser.add_argument("--list", action="store_true", help="show the scenarios and end")
    return parser


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _document(trial: Trial) -> dict[str, object]:
    return asdict(trial)


if __name__ == "__main__":
    if not may_make_spaces():  # an ordinary user: once more, as the root of a user namespace
        import os

        command = within([sys.executable, "-m", "tests.lab.run", *sys.argv[1:]])
        os.execvp(command[0], command)
    sys.exit(main())
