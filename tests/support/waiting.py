"""Waiting for something that nobody announces: looked at again and again, and given up after a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

_TURN_S = 0.005


async def until(true: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Returns once `true()`. Raises TimeoutError when it does not come."""
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110  # what is looked at has no event to wait for
            await asyncio.sleep(_TURN_S)


async def until_read(read: Callable[[], Awaitable[bool]], *, within_s: float = 10.0) -> None:
    """The same where looking takes a wait of its own, a command or a request."""
    async with asyncio.timeout(within_s):
        while not await read():  # noqa: ASYNC110  # as above
            await asyncio.sleep(_TURN_S)
