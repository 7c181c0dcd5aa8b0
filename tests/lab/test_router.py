from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

from tests.lab.links import Link
from tests.lab.router import Router
from tests.support.waiting import until

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

ADDRESSES = {
    "client": ["192.0.2.10/24", "2001:db8:1::10/64"],
    "isp": ["198.51.100.2/28", "2001:db8:2::10/64"],
    "net": ["198.51.100.18/28", "2001:db8:3::10/64"],
    "relay": ["198.51.100.34/28", "2001:db8:4::10/64"],
}
RESOLVERS = Path("/etc/resolv.conf")
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


@pytest.mark.parametrize("address", ["203.0.113.5", "2001:db8:80::5"])
@pytest.mark.parametrize("source", ["client", "isp", "relay"])
async def test_what_is_sent_arrives(router: Router, source: str, address: str) -> None:
    net = router.ports["net"].space
    async with await asyncio.start_server(echo, sock=net.create_server((address, 80))):
        assert await fetch(router, address, source=source) == b"hello from " + address.encode()


async def test_a_program_in_a_space_is_in_its_network(router: Router) -> None:
    net, client = router.ports["net"].space, router.ports["client"].space
    client.put_file(RESOLVERS, b"nameserver 192.0.2.53\n")
    script = (
        "import socket, sys; s = socket.create_connection(('203.0.113.7', 80)); s.shutdown(1);"
        "sys.stdout.buffer.write(s.recv(99) + open('/etc/resolv.conf', 'rb').read())"
    )
    async with await asyncio.start_server(echo, sock=net.create_server(("203.0.113.7", 80))):
        program = client.popen([sys.executable, "-I", "-S", "-c", script], stdout=-1)
        out, _ = await asyncio.to_thread(program.communicate, timeout=20)
    assert out == b" from 203.0.113.7nameserver 192.0.2.53\n"
    assert await asyncio.to_thread(RESOLVERS.read_bytes) != b"nameserver 192.0.2.53\n"


async def test_a_large_answer_comes_whole_over_a_slow_and_lossy_link(router: Router) -> None:
    body = bytes(range(256)) * 1024

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.write(body)
        writer.close()

    router.ports["client"].set_link(Link(delay_s=0.005, loss=0.02, rate=4e6))
    async with await asyncio.start_server(serve, sock=router.ports["net"].space.create_server(("203.0.113.5", 80))):
        assert await fetch(router, "203.0.113.5") == body


async def test_a_space_that_is_unplugged_has_no_network(router: Router) -> None:
    net = router.ports["net"].space
    async with await asyncio.start_server(echo, sock=net.create_server(("203.0.113.5", 80))):
        router.ports["client"].unplug()
        with pytest.raises(OSError, match="unreachable"):
            await fetch(router, "203.0.113.5")
        router.ports["client"].plug_in()
        assert await fetch(router, "203.0.113.5")


async def test_a_space_moves_to_another_network(router: Router) -> None:
    net = router.ports["net"].space

    async def who(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.write(writer.get_extra_info("peername")[0].encode())
        writer.close()

    async with await asyncio.start_server(who, sock=net.create_server(("203.0.113.5", 80))):
        assert await fetch(router, "203.0.113.5") == b"192.0.2.10"
        router.settle("client", ["192.0.2.130/25"], gateway_hardware=b"\x02\0\0\0\x77\x01")
        assert await fetch(router, "203.0.113.5") == b"192.0.2.130"


async def test_what_goes_to_nobody_is_lost(router: Router) -> None:
    with router.ports["client"].space.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"anybody?", ("198.18.0.9", 9))
        await until(lambda: router.strays == 1)
