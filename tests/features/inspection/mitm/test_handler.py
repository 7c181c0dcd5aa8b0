"""mitmproxy's protocol stack over our sockets: streams that bear a name, and upstreams that do not open."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.features.inspection import handler
from proxy.features.inspection.handler import close_writer, connect_streams
from tests.features.inspection.mitm.inspecting import inspecting
from tests.features.inspection.mitm.site import Site
from tests.support.authority import Authority


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


async def test_streams_bear_the_name_of_who_stands_behind_them_and_begin_with_what_came_before() -> None:
    ours, theirs = pair()
    reader, writer = await connect_streams(ours, ("192.0.2.1", 443), b"before ")
    await asyncio.get_running_loop().sock_sendall(theirs, b"and after")
    theirs.shutdown(socket.SHUT_WR)
    assert await reader.read() == b"before and after"
    assert writer.get_extra_info("peername") == ("192.0.2.1", 443)
    assert isinstance(writer.get_extra_info("socket").fileno(), int)
    await close_writer(writer)
    theirs.close()


async def test_a_socket_that_cannot_be_used_is_closed() -> None:
    datagrams, other = socket.socketpair(type=socket.SOCK_DGRAM)
    datagrams.setblocking(False)
    with pytest.raises(ValueError, match="Stream Socket"):
        await connect_streams(datagrams, ("192.0.2.1", 443))
    assert datagrams.fileno() == -1
    other.close()


async def test_a_peer_that_takes_nothing_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "LINGER_S", 0.05)
    ours, theirs = pair()
    _, writer = await connect_streams(ours, ("192.0.2.1", 443))
    writer.write(bytes(4_000_000))
    async with asyncio.timeout(10):
        await close_writer(writer)
    theirs.close()


@pytest.mark.parametrize("way", ["killed", "elsewhere", "udp"])
async def test_an_upstream_that_an_addon_forbids_is_not_opened(way: str, tmp_path: Path) -> None:
    class Forbids:
        def server_connect(self, data: Any) -> None:
            if way == "killed":
                data.server.error = "not today"
            elif way == "udp":
                data.server.transport_protocol = "udp"
            else:
                data.server.address = ("no name at all", 443)

    authority = Authority()
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway, aiohttp.ClientSession() as client:
        byway.add("forbids", Forbids())
        with pytest.raises(aiohttp.ClientError):
            async with client.get(f"{site.url}/", proxy=byway.url, ssl=byway.trust()):
                pass
        assert not site.asked
