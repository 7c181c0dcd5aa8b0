"""Runs the rows of a table in parts: some trials of one row in a country of its own, several countries at once.

The trials of a row wait more than they compute, and a country makes them one after the other: a row of 20 s a trial
took seven minutes for 20 seeds. So a row is cut into parts, and the rows that take longest begin first. A trial that
takes longer than its row allows counts as lost, together with the trials behind it in its country.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

SEEDS_A_PART = 5
"""A country takes some three seconds, with the pages that measure the usual waits there."""


class AnyRow(Protocol):
    """A row of a table."""

    @property
    def name(self) -> str: ...

    @property
    def usual_s(self) -> float:
        """The approximate time of a trial, in seconds."""
        ...

    @property
    def limit_s(self) -> float:
        """The most time that a trial may take, with all its waits, in seconds."""
        ...


R = TypeVar("R", bound=AnyRow)
T = TypeVar("T")

PlaceOf = Callable[[R], AbstractAsyncContextManager[Callable[[int], Awaitable[T]]]]
"""Makes a country for some trials of a row. Yields the function that makes the trial of a seed there."""


async def in_parts(
    rows: Sequence[R],
    seeds: int,
    place_of: PlaceOf[R, T],
    lost: Callable[[R, int, str], T],
    *,
    at_once: int,
    told: Callable[[str], None],
) -> list[T]:
    """Makes the trials of all rows, with the seeds from 0 on, `at_once` countries beside each other. Returns them in
    the order of the rows and seeds. `lost` makes the trial of a seed that ran out of time, from the seed and the
    reason. `told` is called with a line when a part has ended."""
    room, trials = asyncio.Semaphore(at_once), dict[tuple[str, int], T]()
    parts = [
        (row, range(first, min(first + SEEDS_A_PART, seeds)))
        for row in sorted(rows, key=lambda row: -row.usual_s)
        for first in range(0, seeds, SEEDS_A_PART)
    ]

    async def make(row: R, part: range) -> None:
        why = ""
        async with place_of(row) as trial_of:
            for seed in part:
                if not why:
                    try:
                        async with asyncio.timeout(row.limit_s) as limit:
                            trials[row.name, seed] = await trial_of(seed)
                    except TimeoutError:
                        if not limit.expired():
                            raise
                        why = f"the trial of seed {seed} took longer than {row.limit_s:g} s"
                if why:
                    trials[row.name, seed] = lost(row, seed, why)

    async def one(row: R, part: range) -> None:
        async with room:
            began = asyncio.get_running_loop().time()
            await make(row, part)
        took_s = asyncio.get_running_loop().time() - began
        told(f"{len(trials)} of {len(rows) * seeds}: {row.name}, {len(part)} trials in {took_s:.0f} s")

    await asyncio.gather(*(one(row, part) for row, part in parts))
    return [trials[row.name, seed] for row in rows for seed in range(seeds)]
