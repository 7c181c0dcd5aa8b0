from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Literal

import pytest

from tests.lab.router import Router

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

ADDRESSES = {
    "client": ["192.0.2.10/24", "2001:db8:1::10/64"],
    "isp": ["198.51.100.2/28", "2001:db8:2::10/64"],
    "net": ["198.51.100.18/28", "2001:db8:3::10/64"],
    "relay": ["198.51.100.34/28", "2001:db8:4::10/64"],
}
ORIGINS = ["203.0.113.0/24", "2001:db8:80::/48"]


@pytest.fixture(params=["tap", "veth"])
async def router(request: pytest.FixtureRequest) -> AsyncIterator[Router]:
    wires: Literal["tap", "veth"] = request.param
    async with Router(wires=wires) as router:
        try:
            for name, addresses in ADDRESSES.items():
                router.add_space(name, addresses, prefixes=ORIGINS if name == "net" else ())
        except PermissionError:
            assert wires == "tap"
            pytest.skip("not run: /dev/net/tun is not ours to open")
        yield router


async def fetch(router: Router, address: str, port: int = 80, *, source: str = "client") -> bytes:
    async with asyncio.timeout(10):
        reader, writer = await router.ports[source].space.open_connection(address, port)
        try:
            writer.write(b"hello")
            writer.write_eof()
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    data = await reader.read()
    writer.write(data + b" from " + writer.get_extra_info("sockname")[0].encode())
    writer.close()


async def test_a_space_is_a_network_of_its_own(router: Router) -> None:
    spaces = [port.space for port in router.ports.values()]
    networks = {space.run(lambda: os.readlink("/proc/thread-self/ns/net")) for space in spaces}
    assert len(networks | {os.readlink("/proc/self/ns/net")}) == len(spaces) + 1


@pytest.mark.parametrize("address", ["203.0.113.5", "2001:db8:80::5"])
@pytest.mark.parametrize("source", ["client", "isp", "relay"])
async def test_what_is_sent_arrives(router: Router, source: str, address: str) -> None:
    net = router.ports["net"].space
    async with await asyncio.start_server(echo, sock=net.create_server((address, 80))):
        assert await fetch(router, address, source=source) == b"hello from " + address.encode()


async def test_a_space_that_is_unplugged_has_no_network(router: Router) -> None:
    net = router.ports["net"].space
    async with await asyncio.start_server(echo, sock=net.create_server(("203.0.113.5", 80))):
        router.ports["client"].unplug()
        with pytest.raises(OSError, match="unreachable"):
            await fetch(router, "203.0.113.5")
        router.ports["client"].plug_in()
        assert await fetch(router, "203.0.113.5")
