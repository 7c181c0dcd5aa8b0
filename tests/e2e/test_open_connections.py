"""The open connections of a real Byway: none is forgotten, and none is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.byway import Byway
from tests.support.streams import listening
from tests.support.waiting import until_read

pytestmark = pytest.mark.slow

CONNECTIONS, AT_A_TIME = 1000, 25
HOST = "site.test"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what comes; on `bye` it leaves, on `reset` it breaks off."""
    while data := await reader.read(1000):
        if b"bye" in data:
            return
        if b"reset" in data:
            writer.transport.abort()
            return
        writer.write(data)


class Connections:
    """The API of a running Byway."""

    def __init__(self, api: aiohttp.ClientSession) -> None:
        self._api = api

    async def read(self, **query: str) -> dict[str, Any]:
        async with self._api.get("/v1/connections/open", params=query) as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def close(self, number: int) -> int:
        async with self._api.delete(f"/v1/connections/open/{number}") as answer:
            return answer.status

    async def closed_by(self) -> Counter[str]:
        """How many rows of the log say that such a side closed the connection."""
        async with self._api.get("/v1/log", params={"limit": "10000"}) as answer:
            return Counter(row["closed_by"] for row in (await answer.json())["rows"])


@contextlib.asynccontextmanager
async def connections_of(byway: Byway) -> AsyncIterator[Connections]:
    async with byway.api() as api:
        yield Connections(api)


async def test_a_thousand_connections_that_end_in_any_way(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance, closed_for_user = random.Random(seed), []
    config = f'[dns.hosts]\n"{HOST}" = "127.0.0.1"\n[log]\nhosts = "all"\n'
    async with (
        listening(echo, "127.0.0.1", 0) as server,
        Byway(tmp_path, config=config) as byway,
        connections_of(byway) as connections,
    ):
        port = server.sockets[0].getsockname()[1]
        at_a_time = asyncio.Semaphore(AT_A_TIME)

        async def connect(way: str) -> None:
            async with at_a_time:
                reader, writer = await asyncio.open_connection(*byway.proxy)
                if way == "silent":
                    pass
                elif way == "plain":  # the server sends back what is no answer
                    writer.write(f"GET http://{HOST}:{port}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                    assert b" 502 " in await reader.read(-1)
                else:
                    writer.write(f"CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                    if way != "hasty":
                        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
                if way in ("bye", "reset", "user"):
                    writer.write(b"hello\n")
                    await reader.readuntil(b"\n")
                if way in ("bye", "reset"):
                    writer.write(way.encode())
                    with contextlib.suppress(ConnectionError):
                        await reader.read(-1)
                if way == "user":
                    own = "{}:{}".format(*writer.get_extra_info("sockname"))
                    rows = (await connections.read())["connections"]
                    (number,) = [row["id"] for row in rows if row["client"] == own]
                    assert await connections.close(number) == 200
                    assert await reader.read(-1) == b""
                    closed_for_user.append(number)
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

        ways = ["silent", "plain", "hasty", "opened", "bye", "reset", "user"]
        weights = [1, 1, 2, 2, 2, 2, 1]
        stays = await asyncio.open_connection(*byway.proxy)
        stays[1].write(f"CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        await stays[0].readuntil(b"\r\n\r\n")
        async with asyncio.TaskGroup() as connecting:
            chosen = chance.choices(ways, weights, k=CONNECTIONS)
            for way in chosen:
                connecting.create_task(connect(way))

        async def only_the_first_is_left() -> bool:
            return int((await connections.read())["open"]) == 1

        await until_read(only_the_first_is_left)
        (left,) = (await connections.read())["connections"]
        assert left["client"] == "{}:{}".format(*stays[1].get_extra_info("sockname"))
        assert left["host"] == HOST
        stays[1].close()

        async def all_are_logged() -> bool:
            return (await connections.closed_by()).total() == CONNECTIONS + 1 - chosen.count("silent")

        await until_read(all_are_logged)
        assert (await connections.closed_by())["user"] == len(closed_for_user) > 0
