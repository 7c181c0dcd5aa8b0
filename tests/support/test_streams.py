from __future__ import annotations

import asyncio

import pytest

from proxy.net.tasks import spawn
from tests.support.streams import close, listening


async def test_whoever_is_cancelled_while_a_connection_closes_is_cancelled() -> None:
    async def hold(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(hold, "127.0.0.1", 0) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        closing = spawn(close(writer), name="close")
        await asyncio.sleep(0)  # it waits for the end of the connection
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
