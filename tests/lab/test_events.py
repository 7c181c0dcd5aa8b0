from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import dns.message
import pytest

from tests.lab.events import Kind
from tests.lab.router import Router
from tests.lab.rules import DnsDrop, SniDrop
from tests.lab.test_messages import client_hello
from tests.support.waiting import until

pytestmark = [pytest.mark.namespaces, pytest.mark.slow]

SITE, RELAY, RESOLVER = "203.0.113.5", "198.51.100.34", "203.0.113.53"
HELLO = client_hello("blog.test")
REQUEST = b"GET / HTTP/1.1\r\nHost: blog.test\r\n\r\n"


@pytest.fixture
async def router() -> AsyncIterator[Router]:
    async with Router() as router, contextlib.AsyncExitStack() as stack:
        router.add_space("client", ["192.0.2.10/24"])
        net = router.add_space("net", ["198.51.100.18/28"], prefixes=["203.0.113.0/24"])
        relay = router.add_space("relay", [f"{RELAY}/28"])
        for server in (
            net.create_server((SITE, 443)),
            net.create_server((SITE, 80)),
            relay.create_server((RELAY, 1080)),
        ):
            stack.enter_context(server)
        stack.enter_context(net.create_udp((RESOLVER, 53)))
        yield router


async def say(router: Router, data: bytes, to: tuple[str, int], *, source: str = "client") -> None:
    async with asyncio.timeout(10):
        _, writer = await router.ports[source].space.open_connection(*to)
    writer.write(data)
    await until(lambda: bool(router.events.packets(*to, sender=source)))
    writer.close()
    await writer.wait_closed()


def ask(router: Router, name: str) -> None:
    with router.ports["client"].space.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(dns.message.make_query(name, "A").to_wire(), (RESOLVER, 53))


async def test_names_are_seen_on_the_links_that_they_cross(router: Router) -> None:
    events = router.events
    await say(router, HELLO, (SITE, 443))
    await say(router, REQUEST, (SITE, 80))
    ask(router, "Blog.Test")
    await until(lambda: len(events.names_on("net")) == 3)
    seen = {(name.kind, name.name, name.target, name.port) for name in events.names_on("client")}
    assert seen == {
        (Kind.SNI, "blog.test", SITE, 443),
        (Kind.HOST, "blog.test", SITE, 80),
        (Kind.DNS, "blog.test", RESOLVER, 53),
    }
    assert len(events.crossed("blog.test", "client")) == 3
    assert events.names_on("relay") == []
    assert events.connections(port=443) == 1
    events.clear()
    assert events.names_on("client") == []


async def test_a_name_that_the_rules_keep_does_not_get_out(router: Router) -> None:
    router.rules.set([DnsDrop("blog.test"), SniDrop("blog.test")])
    ask(router, "blog.test")
    await say(router, HELLO, (SITE, 443))
    await until(lambda: len(router.events.names_on("client")) >= 2)
    assert router.events.names_on("net") == []


async def test_a_name_within_a_tunnel_and_one_that_the_relay_says(router: Router) -> None:
    events = router.events
    events.watch("blog.test")
    await say(router, b"\5\1\0", (RELAY, 1080))
    await say(router, HELLO, (SITE, 443), source="relay")
    await until(lambda: bool(events.names_on("net")))
    assert events.names_on("net", sender="client") == []
    assert [(seen.sender, seen.link) for seen in events.names] == [("relay", "relay"), ("relay", "net")]
    assert events.holding("blog.test", sender="client") == []
    assert len(events.holding("blog.test")) == 1
    await say(router, b"\5\1\0\3\x09blog.test\1\xbb", (RELAY, 1080))
    await until(lambda: bool(events.holding("blog.test", sender="client")))
    ask(router, "a.blog.test")
    await until(lambda: len(events.holding("blog.test", sender="client")) == 2)
