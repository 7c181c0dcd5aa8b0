"""What a lookup may cost that the machine's name server answers: calls of Python functions, and objects that only the
garbage collector frees. Each first visit has one. Calls of asyncio, which differ by loop, are not counted."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.net.dns.resolver import Resolver
from proxy.net.dns.stub_resolver import StubResolver
from proxy.net.poller import make_poller
from tests.support.calls import counting
from tests.support.name_servers import NameServer, machine_files, plain_server, saying

NAMES = 20
CALLS = 96
"""On Linux, with both families answered, of which one has an address. Two leave the queries to the end of a pass, which
takes less CPU time than it costs."""

pytestmark = pytest.mark.usefixtures("home")


@contextlib.asynccontextmanager
async def warm_resolver(folder: Path) -> AsyncIterator[tuple[Resolver, NameServer]]:
    """A resolver that has looked up one name, and the server that it asks."""
    async with plain_server(saying("192.0.2.7")) as server:
        machine_files(folder, "127.0.0.1")
        with contextlib.closing(make_poller(asyncio.get_running_loop())) as poller:
            system = StubResolver(poller=poller, folder=folder, port=server.port, second_answer_s=0)
            resolver = Resolver(system=system)
            await resolver.resolve("warm.test")
            yield resolver, server


async def test_a_lookup_stays_within_its_calls(tmp_path: Path) -> None:
    async with warm_resolver(tmp_path) as (resolver, server):
        with counting() as calls:
            for number in range(NAMES):
                assert len(await resolver.resolve(f"n{number}.test")) == 1
    ours = Counter({name: count for name, count in calls.items() if name.startswith("proxy.")})
    assert len(server.asked) == 2 * (NAMES + 1)
    assert ours.total() / NAMES <= CALLS, ours.most_common(20)


async def test_a_lookup_leaves_nothing_to_the_garbage_collector(tmp_path: Path) -> None:
    async with warm_resolver(tmp_path) as (resolver, _):
        with counting():  # the collector is off meanwhile
            for number in range(NAMES):
                await resolver.resolve(f"n{number}.test")
            await asyncio.sleep(0.1)  # each lookup ends after its answer was taken
        left = gc.collect()
    assert left < NAMES
