"""Waits for conditions that are not signalled: checks again and again, up to a limit.

A look that is a request to a running Byway takes 3 ms of CPU time. One after the other they took
a quarter of a core of a busy machine, so the pauses between such looks grow with the wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

_TURN_S = 0.005
_LONGEST_TURN_S = 0.1
GIVEN_UP_S = 30.0
"""Seconds after which a condition has failed for good; no test is about this time. A Byway may take as long to start on
a very busy machine (`tests.support.byway`), and a check that starts one of its commands takes a tenth of it there."""


async def until(true: Callable[[], bool], *, within_s: float = GIVEN_UP_S, every_s: float = _TURN_S) -> None:
    """Returns once `true()` is true. Raises TimeoutError. `every_s` is for a check that itself takes long."""
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110  # what is looked at has no event to wait for
            await asyncio.sleep(every_s)


async def until_read(read: Callable[[], Awaitable[bool]], *, within_s: float = GIVEN_UP_S) -> None:
    """As `until`, for a check that waits itself: a command or a request. A pause is a tenth of the time that was waited
    so far."""
    clock = asyncio.get_running_loop().time
    began = clock()
    async with asyncio.timeout(within_s):
        while not await read():  # noqa: ASYNC110  # as above
            await asyncio.sleep(min(max(_TURN_S, (clock() - began) / 10), _LONGEST_TURN_S))
