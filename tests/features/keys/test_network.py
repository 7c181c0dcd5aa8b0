"""The engine sends to Byway alone, and for keys over UDP to their servers. Its system calls show it: they contain all
that a capture would, and what goes to this computer."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from tests.features.keys.test_engine import _pid, page, world
from tests.support import programs
from tests.support.key_server import TCP, UDP
from tests.support.waiting import until

pytestmark = [pytest.mark.needs("mihomo"), pytest.mark.needs("strace")]

_ADDRESS = re.compile(r"sin6?_port=htons\((\d+)\).*?(?:inet_addr\(\"([^\"]+)\"|inet_pton\(AF_INET6, \"([^\"]+)\")")
CALLS = "connect,sendto,sendmsg,sendmmsg,bind"


def addressed(trace: str) -> set[tuple[str, int]]:
    """Returns the addresses of all calls, without those that ask the kernel for a port or a route."""
    found = {(four or six.removeprefix("::ffff:"), int(port)) for port, four, six in _ADDRESS.findall(trace)}
    return {(host, port) for host, port in found if port}


async def test_the_engine_asks_no_dns_and_reaches_byway_and_the_servers_of_its_udp_keys_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        dialers = [here.dialer(here.server.links[name], name) for name in (*TCP, *UDP)]
        for dialer in dialers:
            assert await page(dialer, here.site.destination) == b"hello"
        traced = tmp_path / "trace.txt"
        strace = [programs.require("strace"), "-f", "-e", f"trace={CALLS}", "-o", str(traced), "-p", str(_pid(here))]
        with subprocess.Popen(strace, stderr=subprocess.PIPE) as tracer:  # noqa: ASYNC220
            try:
                assert tracer.stderr is not None
                said = await asyncio.to_thread(tracer.stderr.readline)
                if b"attach:" in said and b"not permitted" in said:
                    pytest.fail("strace may not trace a child of this process")
                for _ in range(5):
                    for dialer in dialers:
                        assert await page(dialer, here.site.destination) == b"hello"
                await until(lambda: traced.exists())
            finally:
                tracer.terminate()
        assert here.engine._outward is not None
        byway = {("127.0.0.1", here.engine._outward.port)}
        udp = {("127.0.0.1", here.server.ports[name]) for name in UDP}
        reached = addressed(traced.read_text())
        assert byway <= reached
        assert reached <= byway | udp
