"""A Byway that is carried to another network, and one that sleeps. Run by test_travelling.py as

    unshare -Urnm python -m tests.e2e.travelling FOLDER

in a network namespace of its own: see tests/net/uplink/moving.py, whose networks these are.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.lab.spaces import Space
from tests.net.uplink.moving import CAFE, HOME, PORT, ROUTERS, SERVER, arrive, ip, leave, plug_in
from tests.support.byway import Byway
from tests.support.client import tunnel
from tests.support.waiting import GIVEN_UP_S, until, until_read

ASLEEP_S = 2.0
CONFIG = f"[detect]\nasleep_s = 0.5\nwake_stale_s = {ASLEEP_S - 1}\n[limits]\ndrain_s = 0.1\n"
GREETING = b"hello\r\n"
ALLOW = ("198.51.100.0/24:*", "192.168.1.0/24:*")


@contextlib.asynccontextmanager
async def serving(router: Space, name: bytes, address: str = SERVER) -> AsyncIterator[None]:
    """A server behind that router that says its name whenever it is greeted. It hangs up at the end."""
    callers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readexactly(len(GREETING)):
                writer.write(name)
                await writer.drain()

    async with await asyncio.start_server(serve, sock=router.create_server((address, PORT))):
        try:
            yield
        finally:
            for caller in callers:
                caller.transport.abort()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Which server is at the other end."""
    writer.write(GREETING)
    return await asyncio.wait_for(reader.readexactly(4), GIVEN_UP_S)


async def is_over(reader: asyncio.StreamReader) -> bool:
    """Waits for the end of what a tunnel brings, which comes only because Byway ends it: its server is gone without a
    word, and the kernel would ask that after hours."""
    try:
        return await reader.read(1) == b""
    except ConnectionResetError:
        return True


async def carried_away(routers: dict[int, Space], byway: Byway) -> None:
    """The old tunnel is closed, the next one goes by the new network, which is another."""
    async with serving(routers[HOME], b"home"), serving(routers[CAFE], b"cafe"):
        home = (await byway.read("status"))["network"]
        async with tunnel(f"{SERVER}:{PORT}", byway.proxy) as (reader, writer):
            assert await greet(reader, writer) == b"home"
            leave(HOME)
            arrive(CAFE)
            assert await asyncio.wait_for(is_over(reader), GIVEN_UP_S)
        async with tunnel(f"{SERVER}:{PORT}", byway.proxy) as (reader, writer):
            assert await greet(reader, writer) == b"cafe"
        assert (await byway.read("status"))["network"] not in (home, "unknown")
        leave(CAFE)
        arrive(HOME)

        async def is_home() -> bool:
            return bool((await byway.read("status"))["network"] == home)

        await until_read(is_home)


async def asleep(routers: dict[int, Space], byway: Byway) -> None:
    """One of two tunnels died during the sleep, without a packet that says so."""
    async with (
        serving(routers[HOME], b"dead"),
        serving(routers[HOME], b"live", ROUTERS[HOME]),
        tunnel(f"{SERVER}:{PORT}", byway.proxy) as (dead, to_dead),
        tunnel(f"{ROUTERS[HOME]}:{PORT}", byway.proxy) as (live, to_live),
    ):
        assert await greet(dead, to_dead) == b"dead"
        assert await greet(live, to_live) == b"live"
        os.kill(byway.pid, signal.SIGSTOP)
        ip(f"address delete {SERVER}/32 dev lo", of=routers[HOME])
        stopped_at = time.monotonic()
        await until(lambda: time.monotonic() - stopped_at >= ASLEEP_S)  # it is the passing of time that is tested
        os.kill(byway.pid, signal.SIGCONT)
        assert await asyncio.wait_for(is_over(dead), GIVEN_UP_S)
        assert await greet(live, to_live) == b"live"


async def travel(folder: Path, routers: dict[int, Space]) -> None:
    async with Byway(folder, config=CONFIG, allow=ALLOW) as byway:
        await carried_away(routers, byway)
        await asleep(routers, byway)


def main() -> None:
    folder = Path(sys.argv[1])
    ip("link set lo up")
    with contextlib.ExitStack() as undo:
        routers = {}
        for number in (HOME, CAFE):
            routers[number] = plug_in(number)
            undo.callback(routers[number].close)
        arrive(HOME)
        asyncio.run(travel(folder / "byway", routers))


if __name__ == "__main__":
    main()
