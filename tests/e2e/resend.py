"""Counts that no flight which may not be sent twice is sent twice, while relays fail at random stages.

    python -m tests.e2e.resend --visits 1000 --seed 7

A Byway with three relays is visited many times; every relay fails most connections, at a stage drawn from the seed:
before and after the greeting, the request, the reply, within the flight and behind it, with a close, a reset or
silence, and one of them stops listening now and then. Direct, where it is allowed, is reset by a censor that has read
the flight. Each visit has a host of its own, so a relay can count the connections on which a byte of that visit's
flight arrived, and the origin the flights that came whole. POSTs and tunnels of another protocol may count one at
most; GETs may be sent again and are the control: if none ever is, the count proves nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from proxy.net.tasks import spawn
from tests.support.byway import Byway
from tests.support.streams import Connections, reset, shut

RELAYS = 3
AT_ONCE = 16
_VISIT_S = 6.0
_BODY = 600  # bytes behind the id, so that a flight can be cut in its midst

SETTINGS = """
[limits]
handshake_timeout_s = 0.4
exchange_timeout_s = 3
[detect]
hedge_syn_s = 0.2
hedge_relay_s = 0.2
hedge_silent_s = 0.2
relay_silent_s = 0.4
relay_retry_s = [0.05, 0.05, 0.1, 0.1, 0.2, 0.2]
give_up_s = 2
"""
"""A second of life in a fraction of one: what is counted does not depend on time."""


class Kind(Enum):
    """What a visit sends."""

    POST = auto()  # plain HTTP, its head by itself before the body
    TUNNELLED_POST = auto()
    RAW = auto()  # a tunnel of a protocol that nobody knows
    GET = auto()  # may be sent again
    TUNNELLED_GET = auto()

    @property
    def once(self) -> bool:
        """It may be sent once at most."""
        return self not in (Kind.GET, Kind.TUNNELLED_GET)


class Stage(Enum):
    """Where a relay fails a connection."""

    BEFORE_GREETING = auto()
    AFTER_GREETING = auto()
    AFTER_REQUEST = auto()
    AFTER_REPLY = auto()
    WITHIN_FLIGHT = auto()
    BEHIND_FLIGHT = auto()
    BEFORE_ANSWER = auto()
    NEVER = auto()


class How(Enum):
    CLOSE = auto()
    RESET = auto()
    SILENCE = auto()


class _Failed(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Visit:
    number: int
    kind: Kind
    direct: bool  # whether it may go direct as well

    @property
    def host(self) -> str:
        """Of its own. One that may go direct is an address, which is resolved by nobody."""
        if self.direct:
            return f"127.77.{self.number // 250}.{self.number % 250 + 1}"
        return f"visit-{self.number}.relayed.test"

    @property
    def flight(self) -> bytes:
        mark = f"id={self.number};".encode()
        if self.kind is Kind.RAW:
            return b"\x00RAW " + mark + b"x" * _BODY + b"\n"
        if self.kind.once:
            return self._head("POST", f"Content-Length: {len(mark) + _BODY}\r\n") + mark + b"x" * _BODY
        return self._head("GET", f"X-Mark: {mark.decode()}{'x' * _BODY}\r\n")

    def _head(self, method: str, more: str) -> bytes:
        return f"{method} / HTTP/1.1\r\nHost: {self.host}\r\n{more}\r\n".encode()


@dataclass
class Counts:
    """What arrived, by the host of a visit."""

    at_relays: Counter[str] = field(default_factory=Counter)  # connections on which a byte of the flight came
    at_origin: Counter[int] = field(default_factory=Counter)  # whole flights, by the visit's number
    opened: Counter[str] = field(default_factory=Counter)  # paths, by host
    answered: set[int] = field(default_factory=set)

    def twice(self, visits: Sequence[Visit]) -> list[Visit]:
        """Those of which more than one flight was sent."""
        return [v for v in visits if self.at_relays[v.host] > 1 or self.at_origin[v.number] > 1]


class Origin:
    """Answers everything that comes whole, and counts it. What comes direct is reset by the censor, once it is read."""

    def __init__(self, counts: Counts, rng: random.Random) -> None:
        self._counts = counts
        self._rng = rng

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = b""
        while not self._is_whole(said):
            data = await reader.read(65536)
            if not data:
                return
            said += data
        self._counts.at_origin[int(said.partition(b"id=")[2].partition(b";")[0])] += 1
        is_direct = str(writer.get_extra_info("sockname")[0]).startswith("127.77.")
        if is_direct and self._rng.random() < 0.7:
            reset(writer)
            return
        writer.write(b"RAW ok\n" if said.startswith(b"\x00") else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        await reader.read()

    @staticmethod
    def _is_whole(said: bytes) -> bool:
        return said.endswith(b"x\n" if said.startswith(b"\x00") else b"x" if said.startswith(b"POST") else b"\r\n\r\n")


class Relay:
    """Speaks SOCKS5. All hosts lead to the origin."""

    def __init__(self, counts: Counts, origin_port: int, rng: random.Random) -> None:
        self._counts = counts
        self._origin_port = origin_port
        self._rng = rng
        self._connections = Connections(self._serve)
        self.port = 0
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._connections, "127.0.0.1", self.port, reuse_address=True)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """From now on, until `listen`."""
        assert self._server is not None
        await shut(self._server)

    async def stop(self) -> None:
        await self.refuse()
        await self._connections.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stage = self._rng.choice(tuple(Stage)) if self._rng.random() < 0.8 else Stage.NEVER
        how = self._rng.choice(tuple(How))
        try:
            await self._play(reader, writer, stage)
        except _Failed:
            if how is How.RESET:
                reset(writer)
            elif how is How.SILENCE:
                await reader.read()
                await asyncio.Event().wait()

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stage: Stage) -> None:
        def fails_at(here: Stage) -> None:
            if stage is here:
                raise _Failed

        fails_at(Stage.BEFORE_GREETING)
        await reader.readexactly(3)
        fails_at(Stage.AFTER_GREETING)
        writer.write(b"\x05\x00")
        kind = (await reader.readexactly(4))[3]
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            host = ".".join(map(str, await reader.readexactly(4)))
        await reader.readexactly(2)
        fails_at(Stage.AFTER_REQUEST)
        writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x1f\x90")
        self._counts.opened[host] += 1
        fails_at(Stage.AFTER_REPLY)
        flight = await reader.read(65536)
        if not flight:
            return
        self._counts.at_relays[host] += 1
        far_reader, far = await asyncio.open_connection("127.0.0.1", self._origin_port)
        try:
            if stage is Stage.WITHIN_FLIGHT:
                far.write(flight[: len(flight) // 2])
                await far.drain()
                raise _Failed
            far.write(flight)
            fails_at(Stage.BEHIND_FLIGHT)
            onward = spawn(_copy(reader, far), name="onward")
            try:
                answer = await far_reader.read(65536)
            finally:
                onward.cancel()
                await asyncio.wait([onward])
            fails_at(Stage.BEFORE_ANSWER)
            writer.write(answer)
            await writer.drain()
        finally:
            far.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


def visits(number: int, rng: random.Random) -> list[Visit]:
    """Every kind, half of them with direct allowed."""
    kinds = tuple(Kind)
    return [Visit(n, kinds[n % len(kinds)], direct=rng.random() < 0.5) for n in range(number)]


async def count(made: Sequence[Visit], *, seed: int, folder: Path) -> Counts:
    """Makes all of the visits, some at once."""
    counts, rng = Counts(), random.Random(seed)
    async with _world(counts, rng) as (relays, port):
        tables = "".join(
            f'[[relay]]\nname = "relay-{n}"\nurl = "socks5h://127.0.0.1:{relay.port}"\n'
            for n, relay in enumerate(relays)
        )
        rules = "DOMAIN-SUFFIX,relayed.test,RELAY\nMATCH,AUTO\n"
        async with Byway(folder, config=SETTINGS + tables, rules=rules) as byway:
            room = asyncio.Semaphore(AT_ONCE)

            async def one(visit: Visit) -> None:
                async with room:
                    if await _answered(visit, byway.proxy, port):
                        counts.answered.add(visit.number)

            async with asyncio.TaskGroup() as all_of_them:
                for visit in made:
                    all_of_them.create_task(one(visit))
    return counts


@contextlib.asynccontextmanager
async def _world(counts: Counts, rng: random.Random) -> AsyncIterator[tuple[list[Relay], int]]:
    connections = Connections(Origin(counts, rng).serve)
    server = await asyncio.start_server(connections, "0.0.0.0", 0)
    port = server.sockets[0].getsockname()[1]
    relays = [Relay(counts, port, random.Random(rng.random())) for _ in range(RELAYS)]
    for relay in relays:
        await relay.listen()
    restarting = spawn(_restart(relays[0], rng), name="a relay that restarts")
    try:
        yield relays, port
    finally:
        restarting.cancel()
        for relay in relays:
            await relay.stop()
        await shut(server)
        await connections.stop()


async def _restart(relay: Relay, rng: random.Random) -> None:
    """Now and then it refuses for a moment."""
    while True:
        await asyncio.sleep(rng.uniform(0.1, 0.6))
        await relay.refuse()
        await asyncio.sleep(rng.uniform(0.1, 0.4))
        await relay.listen()


async def _answered(visit: Visit, proxy: tuple[str, int], port: int) -> bool:
    """Whether the origin's answer came."""
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(_VISIT_S):
            reader, writer = await asyncio.open_connection(*proxy)
            try:
                return await _exchange(visit, reader, writer, port)
            finally:
                writer.close()
    return False


async def _exchange(visit: Visit, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> bool:
    flight = visit.flight
    if visit.kind in (Kind.POST, Kind.GET):
        flight = flight.replace(b" / ", f" http://{visit.host}:{port}/ ".encode(), 1)
    else:
        writer.write(f"CONNECT {visit.host}:{port} HTTP/1.1\r\nHost: {visit.host}:{port}\r\n\r\n".encode())
        if b" 200 " not in await reader.readuntil(b"\r\n\r\n"):
            return False
    writer.write(flight)
    answer = await reader.read(65536)
    return b" 200 " in answer or answer.startswith(b"RAW ok")


def report(made: Sequence[Visit], counts: Counts) -> str:
    """For a person: what was sent, how often, by kind."""
    lines = [f"{'kind':<16}{'visits':>8}{'answered':>10}{'paths opened':>14}{'sent twice':>12}"]
    for kind in Kind:
        those = [visit for visit in made if visit.kind is kind]
        answered = sum(visit.number in counts.answered for visit in those)
        opened = sum(counts.opened[visit.host] for visit in those)
        lines.append(f"{kind.name.lower():<16}{len(those):>8}{answered:>10}{opened:>14}{len(counts.twice(those)):>12}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.resend", description=__doc__)
    parser.add_argument("--visits", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    made = visits(asked.visits, random.Random(asked.seed))
    with tempfile.TemporaryDirectory(prefix="byway-resend-") as folder:
        counts = asyncio.run(count(made, seed=asked.seed, folder=Path(folder)))
    print(report(made, counts))
    broken = counts.twice([visit for visit in made if visit.kind.once])
    for visit in broken:
        print(f"sent more than once: {visit}")
    control = counts.twice([visit for visit in made if not visit.kind.once])
    if not control:
        print("the control failed: not even a GET was sent twice")
    return 1 if broken or not control else 0


if __name__ == "__main__":
    sys.exit(main())
