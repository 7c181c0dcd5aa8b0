"""Waits for conditions that are not signalled: checks again and again, up to a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

_TURN_S = 0.005
GIVEN_UP_S = 30.0
"""Seconds after which a condition has failed for good; no test is about this time. A Byway may take as long to start on
a very busy machine (`tests.support.byway`), and a check that starts one of its commands takes a tenth of it there."""


async def until(true: Callable[[], bool], *, within_s: float = GIVEN_UP_S, every_s: float = _TURN_S) -> None:
    """Returns once `true()` is true. Raises TimeoutError. `every_s` is for a check that itself takes long."""
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110  # what is looked at has no event to wait for
            await asyncio.sleep(every_s)


async def until_read(read: Callable[[], Awaitable[bool]], *, within_s: float = GIVEN_UP_S) -> None:
    """As `until`, for a check that waits itself: a command or a request."""
    async with asyncio.timeout(within_s):
        while not await read():  # noqa: ASYNC110  # as above
            await asyncio.sleep(_TURN_S)
