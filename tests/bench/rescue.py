"""What a rescue costs the one who waits: each way of blocking, first and second visit, beside what is promised.

    python -m tests.bench.rescue [CASE …] [--rounds 3]

A real Byway with the detection's own numbers, on loopback: no round trip adds to them. "Added" is how long after the
first attempt the winning route was begun, "second" the same on the next visit; both are from Byway's log and not from
a watch. Only the judging of what was overtaken is hurried, since nobody waits for it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.e2e.cases import CASES, Case
from tests.e2e.country import Country, Row, Running

PROMISED = {
    "reset": "one round trip",
    "eof": "one round trip",
    "garbage": "one round trip",
    "alert": "one round trip",
    "refused": "one round trip",
    "dropped": "0.8",
    "silent": "3",
    "timeout": "1.5",
    "no_name": "0 after the answer",
}
"""Seconds at most, by what befalls direct (docs/detection.md, "Two clocks"), where a round trip takes nothing."""
JUDGE_SOON = "silent_s = 3.5\nsyn_s = 2\n"


@dataclass(frozen=True, slots=True)
class Waited:
    """Seconds of one name."""

    failed: float  # direct, until it failed or was judged
    added: float
    second: float


def _begun(row: Row) -> float:
    """When the route that won was begun."""
    return float(next(a["started_s"] for a in row["attempts"] if a["route"] == row["winner"]))


async def _visit(case: Case, country: Country, byway: Running) -> Waited:
    for _ in range(2):
        await byway.get(case.url(country))
    first, second = await byway.rows(case.name, 2)
    return Waited(float(first["attempts"][0]["elapsed_s"]), _begun(first), _begun(second))


async def _round(cases: Sequence[Case], folder: Path, number: int) -> list[Waited]:
    """Every case at once, with names that are new."""
    renewed = [replace(case, id=f"{case.id}-{number}") for case in cases]
    unresolved = [case.name for case in renewed if case.stage == "resolve"]
    async with Country([case.name for case in renewed]) as country:
        for case in renewed:
            await country.censor(case.name, case.behaviour, secure=case.scheme == "https")
        async with country.byway(folder, detect=JUDGE_SOON, unresolved=unresolved) as byway:
            return await asyncio.gather(*(_visit(case, country, byway) for case in renewed))


def _case(text: str) -> Case:
    for case in CASES:
        if case.id == text:
            return case
    raise argparse.ArgumentTypeError(f"no case is called {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds that a rescue adds, by the way of blocking")
    parser.add_argument("cases", metavar="CASE", nargs="*", type=_case, help=", ".join(case.id for case in CASES))
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    cases = asked.cases or CASES
    measured: list[list[Waited]] = []
    for number in range(asked.rounds):
        with tempfile.TemporaryDirectory() as folder:
            measured.append(asyncio.run(_round(cases, Path(folder), number)))
    print(f"{'case':18}{'direct failed':>14}{'added':>9}{'at most':>9}  {'promised':20}{'second':>8}")
    for case, of_case in zip(cases, zip(*measured, strict=True), strict=True):
        failed = statistics.median(waited.failed for waited in of_case)
        added = statistics.median(waited.added for waited in of_case)
        worst, second = max(waited.added for waited in of_case), max(waited.second for waited in of_case)
        promised = PROMISED[case.symptoms[0]]
        print(f"{case.id:18}{failed:14.3f}{added:9.3f}{worst:9.3f}  {promised:20}{second:8.3f}")


if __name__ == "__main__":
    main()
