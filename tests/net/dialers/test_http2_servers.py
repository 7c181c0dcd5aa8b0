"""Relays over HTTP/2 that are programs of Debian's: nghttpx, and HAProxy before tinyproxy. curl is the control: it
reaches the site through the same relay, by another implementation of HTTP/2."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from proxy.config.relays import Relay
from proxy.model import Destination, Route, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.registry import Registry
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.stream import Stream
from tests.support import programs
from tests.support.authority import Authority
from tests.support.programs_running import free_port, running
from tests.support.streams import listening

NAME = "relay.test"
LONG = os.urandom(5 << 20)
AT_ONCE = 15  # tinyproxy, behind them, is told to take 20 clients
Start = Callable[[Path, Path, Path, int], AbstractAsyncContextManager[int]]
"""Starts a relay with this folder, certificate and key, before a tinyproxy on this port. Yields its port."""


@asynccontextmanager
async def nghttpx(folder: Path, certificate: Path, key: Path, behind: int) -> AsyncIterator[int]:
    port = free_port()
    command = [programs.require("nghttpx"), "--http2-proxy", "--conf=/dev/null", "--workers=1", "--log-level=WARN"]
    command += ["--backend-connections-per-host=100"]  # 8 to one site without it
    command += [f"--frontend=127.0.0.1,{port}", f"--backend=127.0.0.1,{behind}", str(key), str(certificate)]
    async with running(*command, port=port, folder=folder):
        yield port


@asynccontextmanager
async def haproxy(folder: Path, certificate: Path, key: Path, behind: int) -> AsyncIterator[int]:
    port, both, file = free_port(), folder / "both.pem", folder / "haproxy.cfg"
    _join(certificate, key, both)
    file.write_text(
        "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
        f"frontend relay\n bind 127.0.0.1:{port} ssl crt {both} alpn h2,http/1.1\n default_backend tinyproxy\n"
        f"backend tinyproxy\n server one 127.0.0.1:{behind}\n"
    )
    async with running(programs.require("haproxy"), "-db", "-f", str(file), port=port, folder=folder):
        yield port


def _join(one: Path, other: Path, both: Path) -> None:
    both.write_bytes(one.read_bytes() + other.read_bytes())


SERVERS = [
    pytest.param(start, id=start.__name__, marks=pytest.mark.needs(start.__name__, "tinyproxy", "curl"))
    for start in (nghttpx, haproxy)
]


async def site(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echoes each line; `get` brings much, `hash` the hash of all that follows. To HTTP it answers a page."""
    while line := await reader.readline():
        if line.startswith(b"GET "):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
            return
        if line == b"get\n":
            writer.write(LONG)
        elif line == b"hash\n":
            writer.write(hashlib.sha256(await reader.readexactly(len(LONG))).digest())
        else:
            writer.write(line)
        await writer.drain()


async def exactly(stream: Stream, count: int) -> bytes:
    received = b""
    while len(received) < count and (data := await stream.receive()):
        received += data
    return received


@pytest.mark.parametrize("start", SERVERS)
async def test_a_relay_that_is_a_real_program(start: Start, to_relays: TcpDialer, tmp_path: Path) -> None:
    authority, behind = Authority(), free_port()
    ca = authority.write(tmp_path)
    certificate, key = authority.write_server(tmp_path, NAME)
    settings = tmp_path / "tinyproxy.conf"
    settings.write_text(f"Port {behind}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nLogLevel Connect\n")
    tinyproxy = running(programs.require("tinyproxy"), "-d", "-c", str(settings), port=behind, folder=tmp_path)
    (relay_folder := tmp_path / "relay").mkdir()
    relay = start(relay_folder, certificate, key, behind)
    async with listening(site, "127.0.0.1", 0) as server, tinyproxy, relay as port:
        to = Destination("127.0.0.1", server.sockets[0].getsockname()[1])
        assert await curl(port, to, ca) == b"hello"

        url = f"https://127.0.0.1:{port}?ca={ca}&sni={NAME}"
        registry = Registry([Relay.parse("vps", url)], direct=to_relays, to_relays=to_relays)

        def dial(destination: Destination = to) -> Awaitable[Stream]:
            return registry.dialer(Route(("vps",))).dial(destination)

        try:
            streams = await asyncio.gather(*(dial() for _ in range(AT_ONCE)))
            assert registry.protocol("vps") == "HTTP/2"
            assert len({stream.lowest_socket for stream in streams}) == 1
            for number, stream in enumerate(streams):
                await stream.send(b"%d\n" % number)
            assert [await exactly(stream, len(str(n)) + 1) for n, stream in enumerate(streams)] == [
                b"%d\n" % number for number in range(AT_ONCE)
            ]
            stalled, down, up, *others = streams
            await stalled.send(b"get\n")
            for _ in range(3):
                await down.send(b"get\n")
                assert await exactly(down, len(LONG)) == LONG
            await up.send(b"hash\n" + LONG)
            assert await exactly(up, 32) == hashlib.sha256(LONG).digest()
            assert await exactly(stalled, len(LONG)) == LONG
            for stream in others:
                stream.close()
            with pytest.raises(DialError) as caught:
                await dial(Destination("127.0.0.1", free_port()))
            assert caught.value.symptom is Symptom.RELAY_REFUSED, caught.value
            again = await dial()
            await again.send(b"again\n")
            assert await exactly(again, 6) == b"again\n"
            for stream in (again, stalled, down, up):
                stream.close()
        finally:
            registry.shared.network_changed(lambda _: True)


async def curl(port: int, to: Destination, ca: Path) -> bytes:
    """Returns the page of the site, by curl through the relay over HTTP/2."""
    command = [
        programs.require("curl"),
        "--silent",
        "--show-error",
        "--proxy-http2",
        "--proxytunnel",
        "--max-time",
        "20",
    ]
    command += ["--proxy", f"https://{NAME}:{port}", "--proxy-cacert", str(ca), f"http://{to}/"]
    command += ["--resolve", f"{NAME}:{port}:127.0.0.1"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    page, said = await process.communicate()
    assert process.returncode == 0, said
    return page
