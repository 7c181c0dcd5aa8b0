"""What inspection costs: requests a second, what one waits, new connections, a long download, and memory.

    python -m tests.bench.inspection [--seconds 3] [--rounds 3] [--clients 8] [--megabytes 200]

In the same rounds run a Byway that passes the same requests on unseen, one that INSPECTs them, and mitmproxy's own
`mitmdump`, as it comes. All three lead to one origin over HTTPS on loopback; certificates are verified upstream.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import re
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench import machine
from tests.support.authority import Authority

_FORK = multiprocessing.get_context("fork")
_BODY = bytes(1024)
_PIECE = bytes(256 * 1024)
_READY_S = 30.0


@dataclass(frozen=True)
class Proxy:
    """One that is measured."""

    name: str
    port: int
    pid: int

    def cpu_s(self) -> float:
        return machine.cpu_s(self.pid)

    def most_mb(self) -> float:
        """The most that was ever resident."""
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found[1]) / 1024


# -- the origin, a process of its own ----------------------------------------------------------------------------------


def _serve(sock: socket.socket, context: ssl.SSLContext) -> None:
    async def main() -> None:
        server = await asyncio.start_server(_answer_all, sock=sock, ssl=context)
        await server.serve_forever()

    asyncio.run(main())


async def _answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            left = int(head.split(b" ", 2)[1][1:])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
            while left > 0:
                writer.write(_PIECE[:left])
                left -= len(_PIECE)
                await writer.drain()
    writer.close()


# -- the client --------------------------------------------------------------------------------------------------------


async def _connect(proxy: Proxy, origin: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (origin, origin))
    answer = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in answer:
        raise SystemExit(f"{proxy.name}: {answer!r}")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    await writer.start_tls(context, server_hostname="127.0.0.1")
    return reader, writer


async def _get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> None:
    writer.write(b"GET /%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % size)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    while size > 0:
        data = await reader.read(len(_PIECE))
        assert data
        size -= len(data)


async def _requests(proxy: Proxy, origin: int, clients: int, seconds: float) -> tuple[float, float, float]:
    """Requests a second on open connections, the milliseconds that one takes in the middle, and the proxy's CPU
    milliseconds for each."""
    took: list[float] = []

    async def ask() -> None:
        reader, writer = await _connect(proxy, origin)
        while not took or time.perf_counter() < until:
            started = time.perf_counter()
            await _get(reader, writer, len(_BODY))
            took.append(time.perf_counter() - started)
        writer.close()

    await _once(proxy, origin)
    cpu_s, until = proxy.cpu_s(), time.perf_counter() + seconds
    await asyncio.gather(*(ask() for _ in range(clients)))
    return len(took) / seconds, 1000 * statistics.median(took), 1000 * (proxy.cpu_s() - cpu_s) / len(took)


async def _once(proxy: Proxy, origin: int) -> None:
    reader, writer = await _connect(proxy, origin)
    await _get(reader, writer, len(_BODY))
    writer.close()


async def _alone(proxy: Proxy, origin: int) -> float:
    """The milliseconds that a request takes when nothing else is asked."""
    reader, writer = await _connect(proxy, origin)
    took = []
    for _ in range(100):
        started = time.perf_counter()
        await _get(reader, writer, len(_BODY))
        took.append(time.perf_counter() - started)
    writer.close()
    return 1000 * statistics.median(took)


async def _connections(proxy: Proxy, origin: int, seconds: float) -> float:
    """New connections a second, each with one request."""
    count, until = 0, time.perf_counter() + seconds

    async def ask() -> None:
        nonlocal count
        while time.perf_counter() < until:
            await _once(proxy, origin)
            count += 1

    await asyncio.gather(*(ask() for _ in range(4)))
    return count / seconds


async def _download(proxy: Proxy, origin: int, megabytes: int) -> float:
    """MB a second."""
    reader, writer = await _connect(proxy, origin)
    started = time.perf_counter()
    await _get(reader, writer, megabytes * 1_000_000)
    took_s = time.perf_counter() - started
    writer.close()
    return megabytes / took_s


# -- the proxies -------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _running(
    name: str, command: list[str], port_of: Callable[[], int | None], **environment: str
) -> AsyncIterator[Proxy]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    try:
        async with asyncio.timeout(_READY_S):
            while (port := port_of()) is None or not _listens(port):  # noqa: ASYNC110  # it says nothing when it is ready
                await asyncio.sleep(0.05)
        yield Proxy(name, port, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _byway(name: str, folder: Path, roots: Path, rules: str) -> contextlib.AbstractAsyncContextManager[Proxy]:
    own = folder / name
    (own / "state").mkdir(parents=True, mode=0o700)
    (own / "config.toml").write_text('config_version = 1\n[auto]\ncontrols = []\n[dns]\nsecure = "never"\n')
    (own / "rules.txt").write_text(rules)
    run_file = own / "state" / "run.json"

    def port() -> int | None:
        found = re.search(r'"port": (\d+)', run_file.read_text()) if run_file.exists() else None
        return int(found[1]) if found else None

    command = [sys.executable, "-m", "proxy", "run", "--port", "0", "--allow", "127.0.0.1:*"]
    command += ["--config", str(own / "config.toml"), "--state", str(own / "state")]
    return _running(name, command, port, SSL_CERT_FILE=str(roots))


def _mitmdump(folder: Path, roots: Path) -> contextlib.AbstractAsyncContextManager[Proxy]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    command = [str(Path(sys.executable).with_name("mitmdump")), "--quiet", "--listen-host", "127.0.0.1"]
    for option in (f"confdir={folder / 'mitm'}", f"ssl_verify_upstream_trusted_ca={roots}", "stream_large_bodies=3m"):
        command += ["--set", option]
    return _running("mitmdump", [*command, "--listen-port", str(port)], lambda: port)


async def _measure(arguments: argparse.Namespace, folder: Path, origin: int, roots: Path) -> None:
    names = ("tunnel", "inspect", "mitmdump")
    seen: dict[str, list[tuple[float, ...]]] = {name: [] for name in names}
    for number in range(arguments.rounds):
        own = folder / str(number)
        for name in names:
            inspected = "IP-CIDR,127.0.0.1/32,DIRECT,INSPECT\n" if name == "inspect" else ""
            made = _mitmdump(own, roots) if name == "mitmdump" else _byway(name, own, roots, inspected)
            async with made as proxy:
                rate, waited, cpu = await _requests(proxy, origin, arguments.clients, arguments.seconds)
                alone = await _alone(proxy, origin)
                fresh = await _connections(proxy, origin, arguments.seconds)
                small_mb = proxy.most_mb()
                speed = await _download(proxy, origin, arguments.megabytes)
                seen[name].append((rate, waited, cpu, alone, fresh, small_mb, speed, proxy.most_mb()))
    titles = ("requests/s", "ms", "CPU ms", "ms alone", "new/s", "MB", "MB/s", "MB after")
    print(f"{'':10}" + "".join(f"{title:>11}" for title in titles))
    for name in names:
        medians = [statistics.median(column) for column in zip(*seen[name], strict=True)]
        print(f"{name:10}" + "".join(f"{value:>11,.2f}" for value in medians))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--megabytes", type=int, default=200)
    arguments = parser.parse_args()
    authority = Authority()
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        folder = Path(name)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does not see that this one is TCP
        origin = _FORK.Process(target=_serve, args=(listener, authority.server("127.0.0.1")), daemon=True)
        origin.start()
        try:
            port: int = listener.getsockname()[1]
            asyncio.run(_measure(arguments, folder, port, authority.write(folder)))
        finally:
            origin.terminate()
            origin.join()


if __name__ == "__main__":
    main()
