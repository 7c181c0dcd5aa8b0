"""What a tunnel costs through the whole of Byway: without addons, with one that no request needs, with one that plans.

    python -m tests.bench.sessions [--seconds 3] [--rounds 3] [--clients 4] [--old FOLDER]

`--old` names the root of another checkout, which is measured in the same rounds. The CPU time of Byway's own process
for each tunnel is the number: clients and origin share the cores with it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.bench.machine import cpu_s
from tests.support.byway import Byway

_QUESTION = b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + bytes(1024)

ADDONS = {
    "none": "",
    "told": "def outcome(outcome):\n    pass\n",
    "plan": "def plan(request, plan):\n    return None\n",
    "async plan": "async def plan(request, plan):\n    return None\n",
}


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(_ANSWER)
    writer.close()


async def _ask(proxy: tuple[str, int], port: int, until: float) -> int:
    """One tunnel after the other; how many brought a whole answer."""
    whole = 0
    loop = asyncio.get_running_loop()
    while loop.time() < until:
        reader, writer = await asyncio.open_connection(*proxy)
        writer.write(f"CONNECT site.test:{port} HTTP/1.1\r\nHost: site.test\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_QUESTION)
        whole += len(await reader.read(-1)) == len(_ANSWER)
        writer.close()
    return whole


async def _measure(addon: str, old: str, seconds: float, clients: int) -> float:
    """µs of Byway's CPU for each tunnel."""
    environment: Mapping[str, str] = {"PYTHONPATH": old} if old else {}
    with tempfile.TemporaryDirectory() as folder:
        byway = Byway(Path(folder), config='[dns.hosts]\n"site.test" = "127.0.0.1"\n', environment=environment)
        if addon:
            (byway.config.parent / "addons").mkdir(mode=0o700)
            (byway.config.parent / "addons" / "some.py").write_text(addon)
        async with await asyncio.start_server(_answer, "127.0.0.1", 0, backlog=1024) as server, byway:
            port = server.sockets[0].getsockname()[1]
            await _ask(byway.proxy, port, asyncio.get_running_loop().time() + 0.5)  # the first of everything
            before = cpu_s(byway.pid)
            until = asyncio.get_running_loop().time() + seconds
            done = sum(await asyncio.gather(*(_ask(byway.proxy, port, until) for _ in range(clients))))
            return 1e6 * (cpu_s(byway.pid) - before) / max(1, done)


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU of a tunnel through Byway, with and without addons")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--old", default="", help="root of another checkout")
    asked = parser.parse_args()
    cases = {name: (addon, "") for name, addon in ADDONS.items()}
    if asked.old:
        cases["old"] = ("", asked.old)
    costs: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(asked.rounds):
        for name in random.sample(list(cases), len(cases)):
            costs[name].append(asyncio.run(_measure(*cases[name], asked.seconds, asked.clients)))
    print(f"{'addons':12}{'µs CPU each':>12}")
    for name, measured in costs.items():
        print(f"{name:12}{statistics.median(measured):12,.0f}   {' '.join(f'{cost:,.0f}' for cost in measured)}")


if __name__ == "__main__":
    main()
