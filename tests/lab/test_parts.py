"""Parts of rows: cut by seeds, some at once, and bounded in time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from tests.lab.parts import SEEDS_A_PART, in_parts
from tests.support.clock import run as play


@dataclass(frozen=True)
class Row:
    name: str
    usual_s: float
    limit_s: float = 60.0


def test_a_row_is_cut_and_the_slowest_begins_first() -> None:
    begun, made, told, beside = list[str](), list[str](), list[str](), [0, 0]

    @contextlib.asynccontextmanager
    async def place_of(row: Row) -> AsyncIterator[Callable[[int], Awaitable[str]]]:
        begun.append(row.name)
        beside[0] += 1
        beside[1] = max(beside)

        async def trial(seed: int) -> str:
            await asyncio.sleep(row.usual_s)
            made.append(f"{row.name} {seed}")
            return made[-1]

        yield trial
        beside[0] -= 1

    rows = [Row("quick", 1), Row("slow", 20)]
    seeds = 2 * SEEDS_A_PART + 1
    trials = play(in_parts(rows, seeds, place_of, lambda row, seed, why: why, at_once=3, told=told.append))
    assert trials == [f"{row.name} {seed}" for row in rows for seed in range(seeds)], "in their order"
    assert sorted(made) == sorted(trials), "each once"
    assert begun[:3] == ["slow"] * 3, "a country for each part"
    assert (len(begun), beside[1], len(told)) == (6, 3, 6)
    assert told[-1] == f"{2 * seeds} of {2 * seeds}: slow, 5 trials in 100 s"


def test_a_trial_that_hangs_is_lost_with_those_behind_it() -> None:
    @contextlib.asynccontextmanager
    async def place_of(row: Row) -> AsyncIterator[Callable[[int], Awaitable[str]]]:
        async def trial(seed: int) -> str:
            await asyncio.sleep(3600 if seed == 1 else 1)
            return "made"

        yield trial

    def lost(row: Row, seed: int, why: str) -> str:
        return f"{row.name} {seed}: {why}"

    seeds = SEEDS_A_PART + 1
    trials = play(in_parts([Row("one", 1)], seeds, place_of, lost, at_once=2, told=lambda line: None))
    assert trials[0] == trials[-1] == "made"
    assert trials[1:-1] == [f"one {seed}: the trial of seed 1 took longer than 60 s" for seed in range(1, seeds - 1)]
