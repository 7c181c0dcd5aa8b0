from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import dns.message
import pytest

from tests.lab import packets
from tests.lab.events import Events, Kind
from tests.lab.packets import SYN
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

    def seen_on(link: str) -> set[tuple[Kind, str, str, int]]:
        return {(name.kind, name.name, name.target, name.port) for name in events.names_on(link)}

    sent = {
        (Kind.SNI, "blog.test", SITE, 443),
        (Kind.HOST, "blog.test", SITE, 80),
        (Kind.DNS, "blog.test", RESOLVER, 53),
    }
    await until(lambda: seen_on("net") >= sent)
    assert seen_on("client") == seen_on("net") == sent
    assert {name.kind for name in events.crossed("blog.test", "client")} == {Kind.SNI, Kind.HOST, Kind.DNS}
    assert events.names_on("relay") == []
    assert events.connections(port=443) == 1
    events.clear()
    assert events.names_on("client") == []


def test_a_syn_that_is_sent_again_begins_nothing() -> None:
    events = Events(lambda: 0.0)
    syn = packets.tcp(b"\1" * 4, 4000, b"\2" * 4, 443, seq=7, ack=0, flags=SYN)
    for at in (1.0, 2.0):
        events.record(at, "client", "net", syn)
    assert (events.connections(port=443), events.connections(port=443, since=1.5)) == (1, 0)


async def test_a_name_that_the_rules_keep_does_not_get_out(router: Router) -> None:
    router.rules.set([DnsDrop("blog.test"), SniDrop("blog.test")])
    ask(router, "blog.test")
    await say(router, HELLO, (SITE, 443))
    await until(lambda: {name.kind for name in router.events.names_on("client")} == {Kind.DNS, Kind.SNI})
    assert router.events.names_on("net") == []


async def test_a_name_within_a_tunnel_and_one_that_the_relay_says(router: Router) -> None:
    events = router.events
    events.watch("blog.test")
    await say(router, b"\5\1\0", (RELAY, 1080))
    await say(router, HELLO, (SITE, 443), source="relay")
    await until(lambda: bool(events.names_on("net")))
    assert events.names_on("net", sender="client") == []
    assert list(dict.fromkeys((seen.sender, seen.link) for seen in events.names)) == [
        ("relay", "relay"),
        ("relay", "net"),
    ]
    assert events.holding("blog.test", sender="client") == []
    assert len({seen.packet.seq for seen in events.holding("blog.test")}) == 1
    await say(router, b"\5\1\0\3\x09blog.test\1\xbb", (RELAY, 1080))
    await until(lambda: bool(events.holding("blog.test", sender="client")))
    ask(router, "a.blog.test")
    await until(lambda: {seen.packet.dport for seen in events.holding("blog.test", sender="client")} == {1080, 53})
