"""A group of many relays on loopback, most of them dead: some refuse, some take connections and say nothing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.byway import Byway
from tests.support.client import fetch
from tests.support.origin import Origin
from tests.support.relay import Relay

REFUSING, SILENT = 40, 6

HASTY = "\n[detect]\nhedge_relay_s = 0.3\nrelay_retry_s = [0.1]\ngive_up_s = 5\n"


@dataclass
class Dead:
    """Ports that refuse, and a server on a few others that takes connections and says nothing."""

    refusing: list[int] = field(default_factory=list)
    silent: list[int] = field(default_factory=list)
    open: dict[int, int] = field(default_factory=dict)  # connections at present, by port
    taken: int = 0
    most_of_one: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        self.open[port] = self.open.get(port, 0) + 1
        self.taken += 1
        self.most_of_one = max(self.most_of_one, self.open[port])
        with contextlib.suppress(OSError):
            while await reader.read(1000):
                pass
        self.open[port] -= 1
        writer.close()

    @property
    def places(self) -> list[str]:
        """Where they listen, in the order of the group."""
        return [f"127.0.0.1:{port}" for port in (*self.refusing[:5], *self.silent, *self.refusing[5:])]


@contextlib.asynccontextmanager
async def dead_relays() -> AsyncIterator[Dead]:
    made = Dead()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(REFUSING):
            bound = stack.enter_context(socket.socket())  # nobody listens on it, and no other program gets it
            bound.bind(("127.0.0.1", 0))
            made.refusing.append(bound.getsockname()[1])
        for _ in range(SILENT):
            server = await stack.enter_async_context(await asyncio.start_server(made.serve, "127.0.0.1", 0))
            made.silent.append(server.sockets[0].getsockname()[1])
        yield made


def config(places: list[str]) -> str:
    relays = "".join(f'[[relay]]\nname = "r{n}"\nurl = "socks5h://{place}"\n' for n, place in enumerate(places))
    names = ", ".join(f'"r{n}"' for n in range(len(places)))
    return f'{relays}[[group]]\nname = "shop"\nrelays = [{names}]\npolicy = "fallback"\n{HASTY}'


async def test_the_one_that_works_is_found_and_then_comes_soon(tmp_path: Path) -> None:
    async with dead_relays() as dead, Origin() as origin, Relay({"blocked.test": "127.0.0.1"}) as good:
        places = [*dead.places, f"{good.address}:{good.port}"]
        async with Byway(tmp_path, config=config(places), rules="MATCH,RELAY:shop") as byway:
            answer = await fetch(f"http://blocked.test:{origin.http_port}/", via=byway.proxy)
            assert answer.status == 200
            assert dead.taken == SILENT, "each of them was tried once"
            assert dead.most_of_one == 1
            for n in range(3):
                answer = await fetch(f"http://blocked.test:{origin.http_port}/{n}", via=byway.proxy)
                assert answer.status == 200
            assert dead.taken <= SILENT + 3, "the one that worked comes right behind the first"


async def test_after_a_restart_the_one_that_worked_comes_first(tmp_path: Path) -> None:
    async with dead_relays() as dead, Origin() as origin, Relay({"blocked.test": "127.0.0.1"}) as good:
        places = [*dead.places, f"{good.address}:{good.port}"]
        async with Byway(tmp_path, config=config(places), rules="MATCH,RELAY:shop") as byway:
            answer = await fetch(f"http://blocked.test:{origin.http_port}/", via=byway.proxy)
            assert (answer.status, dead.taken) == (200, SILENT)
            await byway.stop()
            await byway.start()
            answer = await fetch(f"http://blocked.test:{origin.http_port}/", via=byway.proxy)
            assert answer.status == 200
            visit = max((await byway.read("log"))["rows"], key=lambda row: row["at"])
            assert [attempt["route"] for attempt in visit["attempts"]] == [f"r{len(places) - 1}"]
            assert dead.taken == SILENT


async def test_where_none_works_the_visit_ends_and_says_how_many_were_tried(tmp_path: Path) -> None:
    async with dead_relays() as dead, Origin() as origin:
        places = dead.places
        async with Byway(tmp_path, config=config(places), rules="MATCH,RELAY:shop") as byway:
            answer = await fetch(f"http://blocked.test:{origin.http_port}/", via=byway.proxy)
            assert answer.status >= 500
            (visit,) = (await byway.read("log"))["rows"]
            assert f"relays: none of {len(places)} tried of {len(places)} answered" in visit["error"]
            assert origin.requests == []
