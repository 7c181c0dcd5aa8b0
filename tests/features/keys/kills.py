"""Visits through a key, while the engine is killed again and again, and what came of each visit.

    python -m tests.features.keys.kills --visits 500 --kills 50 --seed 1

Each kill stands at a stage of one visit: before it begins, when its request has come to the site, or when the client
has a part of the body. Others are open beside it, and are hit wherever they are. A GET of which no byte has reached the
client is answered in the end; one whose body was cut off ends as an error that the client sees, also where only the end
of the connection ends the body; no POST comes to the site twice.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from tests.features.keys.test_byway import config
from tests.features.keys.test_process import _has_ended
from tests.support.byway import Byway
from tests.support.key_server import KeyServer, path_with_engine
from tests.support.shown import engines_of
from tests.support.waiting import until

AT_ONCE = 4
_VISIT_S = 120.0
"""Seconds for one visit on a busy machine; nothing is about this time."""

_PIECES = 8
_PIECE = b"0123456789abcdef" * 256
_LENGTH = _PIECES * len(_PIECE)


class Kind(Enum):
    """What a visit sends, and how the answer's body ends."""

    SHORT = "a GET, short"
    LENGTH = "a GET with Content-Length"
    TO_THE_END = "a GET to the end of the connection"
    TUNNELLED = "a GET in a tunnel"
    POST = "a POST"
    TUNNELLED_TO_THE_END = "a GET in a tunnel, to its end"
    TUNNELLED_POST = "a POST in a tunnel"

    @property
    def is_post(self) -> bool:
        return self in (Kind.POST, Kind.TUNNELLED_POST)

    @property
    def is_tunnelled(self) -> bool:
        return self in (Kind.TUNNELLED, Kind.TUNNELLED_TO_THE_END, Kind.TUNNELLED_POST)

    @property
    def is_to_the_end(self) -> bool:
        """Whether only the end of the connection ends the body. The client is then one of HTTP/1.0."""
        return self in (Kind.TO_THE_END, Kind.TUNNELLED_TO_THE_END)


class Stage(Enum):
    """Where a visit is when the engine is killed."""

    BEFORE = "before it begins"
    ASKED = "when the site has the request"
    IN_BODY = "when the client has a part of the body"


@dataclass
class Visit:
    number: int
    kind: Kind
    kill: Stage | None = None
    asked: int = 0  # requests that came to the site
    got: bytes = b""  # what the client got
    error: str = ""  # how the client's connection ended; empty: in order
    has_part: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def host(self) -> str:
        return f"visit{self.number}.test"

    @property
    def body(self) -> bytes:
        return b"short" if self.kind is Kind.SHORT else _PIECE * _PIECES

    def request(self, port: int) -> bytes:
        path = f"/{self.number}"
        target = path if self.kind.is_tunnelled else f"http://{self.host}:{port}{path}"
        head = f"{target} HTTP/1.{int(not self.kind.is_to_the_end)}\r\nHost: {self.host}\r\nConnection: close\r\n"
        return (f"POST {head}Content-Length: 4\r\n\r\nonce" if self.kind.is_post else f"GET {head}\r\n").encode()

    @property
    def is_complete(self) -> bool:
        return self._has_begun and self.got.endswith(b"\r\n\r\n" + self.body)

    @property
    def is_cut(self) -> bool:
        """Whether a part of the site's answer has come, and not all."""
        return self._has_begun and not self.is_complete

    @property
    def _has_begun(self) -> bool:
        return re.match(rb"HTTP/1\.[01] 200 ", self.got) is not None

    def problem(self) -> str:
        """Returns what is wrong with its end; empty: nothing."""
        if self.kind.is_post:
            return f"it came {self.asked} times" if self.asked > 1 else ""
        if self.is_complete:
            return ""
        if self.is_cut:
            is_seen = self.error or not self.kind.is_to_the_end  # a length shows that bytes are missing
            return "" if is_seen else "its body was cut off, and the client cannot see it"
        return f"no answer of the site came: {self.got[:60]!r} {self.error}"


class Site:
    """Answers the requests of all visits, and kills at their stages."""

    def __init__(self, visits: Sequence[Visit]) -> None:
        self._visits = visits
        self.pid = 0  # of Byway
        self.killed = 0

    async def kill(self) -> None:
        """Kills every engine of Byway, and waits until they are gone."""
        engines = engines_of(self.pid)
        for engine in engines:
            os.kill(engine, signal.SIGKILL)
        for engine in engines:
            await until(lambda engine=engine: _has_ended(engine))  # type: ignore[misc]
        self.killed += bool(engines)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the engine was killed, and took the connection with it
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        match = re.match(rb"(?:GET|POST) (?:http://[^/]+)?/([0-9]+) ", head)
        assert match is not None, head
        visit = self._visits[int(match[1])]
        if visit.kind.is_post:
            await reader.readexactly(4)
        visit.asked += 1
        if visit.kill is Stage.ASKED and visit.asked == 1:
            await self.kill()
        length = "" if visit.kind.is_to_the_end else f"Content-Length: {len(visit.body)}\r\n"
        writer.write(f"HTTP/1.1 200 OK\r\n{length}Connection: close\r\n\r\n".encode())
        size = max(1, len(visit.body) // _PIECES)
        for at in range(0, len(visit.body), size):
            writer.write(visit.body[at : at + size])
            await writer.drain()
            if at == 0 and visit.kill is Stage.IN_BODY and visit.asked == 1:
                await visit.has_part.wait()
                await self.kill()


async def _made(visit: Visit, proxy: tuple[str, int], port: int) -> None:
    """Makes a visit."""
    reader, writer = await asyncio.open_connection(*proxy)
    try:
        if visit.kind.is_tunnelled:
            writer.write(f"CONNECT {visit.host}:{port} HTTP/1.1\r\nHost: {visit.host}:{port}\r\n\r\n".encode())
            granted = await reader.readuntil(b"\r\n\r\n")
            if not granted.startswith(b"HTTP/1.1 200"):
                visit.got = granted.partition(b"\r\n")[0]
                return
        writer.write(visit.request(port))
        while data := await reader.read(65536):
            visit.got += data
            if b"\r\n\r\n" in visit.got and not visit.got.endswith(b"\r\n\r\n"):
                visit.has_part.set()
    except asyncio.IncompleteReadError as error:
        visit.error = f"no answer to CONNECT: {error.partial!r}"
    except ConnectionError as error:
        visit.error = str(error)
    finally:
        visit.has_part.set()  # the site need not wait any more
        writer.close()


def planned(visits: int, kills: int, seed: int) -> list[Visit]:
    """Returns the visits. Kills are apart by as many of them, and go round all kinds and stages; the first six hit a
    GET and a POST that the site has, and two bodies."""
    rng = random.Random(seed)
    kinds, stages = list(Kind), list(Stage)
    made = [Visit(number, rng.choice(kinds)) for number in range(visits)]
    pairs = [(kinds[at % len(kinds)], stages[at % len(stages)]) for at in range(len(kinds) * len(stages))]
    pairs.remove((Kind.SHORT, Stage.IN_BODY))
    for kill in range(kills):
        visit = made[(kill * visits + visits // 2) // kills]
        visit.kind, visit.kill = pairs[kill % len(pairs)]
    return made


async def run(folder: Path, visits: Sequence[Visit]) -> int:
    """Makes the visits, AT_ONCE of them at once. Returns how often an engine was killed."""
    site = Site(visits)
    listening = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    environment = path_with_engine(folder)
    home = folder / "byway"
    home.mkdir()
    async with listening, KeyServer(folder) as server:
        links = config(mine=server.links["ss"])
        async with Byway(home, config=links, rules="MATCH,RELAY", environment=environment) as byway:
            site.pid = byway.pid
            waiting = iter(visits)

            async def one_after_another() -> None:
                for visit in waiting:
                    if visit.kill is Stage.BEFORE:
                        await site.kill()
                    async with asyncio.timeout(_VISIT_S):
                        await _made(visit, byway.proxy, port)

            await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))
    return site.killed


def problems(visits: Sequence[Visit]) -> list[str]:
    """Returns what is wrong, with the controls: some GETs came again, and some bodies were cut off."""
    found = [f"{visit.number} ({visit.kind.value}): {why}" for visit in visits if (why := visit.problem())]
    if not any(visit.asked > 1 for visit in visits):
        found.append("no GET came twice, so nothing is shown of POSTs")
    if not any(visit.is_cut for visit in visits):
        found.append("no body was cut off")
    return found


def report(visits: Sequence[Visit], killed: int) -> str:
    """For a person: what came of the visits, by kind."""
    lines = [f"{killed} kills", f"{'kind':<38}{'visits':>8}{'complete':>10}{'cut off':>10}{'asked again':>13}"]
    for kind in Kind:
        those = [visit for visit in visits if visit.kind is kind]
        counts = Counter(
            complete=sum(visit.is_complete for visit in those),
            cut=sum(visit.is_cut for visit in those),
            again=sum(visit.asked > 1 for visit in those),
        )
        lines.append(f"{kind.value:<38}{len(those):>8}{counts['complete']:>10}{counts['cut']:>10}{counts['again']:>13}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.features.keys.kills", description=__doc__)
    parser.add_argument("--visits", type=int, default=500)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    visits = planned(asked.visits, asked.kills, asked.seed)
    with tempfile.TemporaryDirectory(prefix="byway-kills-") as folder:
        killed = asyncio.run(run(Path(folder), visits))
    print(report(visits, killed))
    found = problems(visits)
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
