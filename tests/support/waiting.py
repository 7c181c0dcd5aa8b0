"""Waiting for something that nobody announces: looked at again and again, and given up after a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

_TURN_S = 0.005
GIVEN_UP_S = 30.0
"""Only what never comes waits so long: no test is about it. As long as a Byway may take to start on a machine with many
times its work (`tests.support.byway`), and a look that starts one of its commands takes a tenth of it there."""


async def until(true: Callable[[], bool], *, within_s: float = GIVEN_UP_S) -> None:
    """Returns once `true()`. Raises TimeoutError when it does not come."""
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110  # what is looked at has no event to wait for
            await asyncio.sleep(_TURN_S)


async def until_read(read: Callable[[], Awaitable[bool]], *, within_s: float = GIVEN_UP_S) -> None:
    """The same where looking takes a wait of its own, a command or a request."""
    async with asyncio.timeout(within_s):
        while not await read():  # noqa: ASYNC110  # as above
            await asyncio.sleep(_TURN_S)
