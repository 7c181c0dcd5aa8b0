from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import dns.message
import pytest

from tests.lab import packets
from tests.lab.events import Events, Heard, Kind, Log
from tests.lab.flows import KEPT, Flows
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


async def test_what_is_sent_again_can_be_told_from_another_hello(router: Router) -> None:
    events = router.events
    router.rules.set([SniDrop("blog.test")])

    async def say_until_said_again() -> None:
        async with asyncio.timeout(10):
            _, writer = await router.ports["client"].space.open_connection(SITE, 443)
        before = len(events.names_on("client"))
        writer.write(HELLO)
        await until(lambda: len(events.names_on("client")) >= before + 2)
        writer.transport.abort()

    await say_until_said_again()
    assert len({(seen.source_port, seen.seq) for seen in events.names_on("client")}) == 1
    await say_until_said_again()
    assert len({(seen.source_port, seen.seq) for seen in events.names_on("client")}) == 2


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


async def test_a_link_is_written_down(router: Router, tmp_path: Path) -> None:
    router.ports["client"].record(tmp_path / "client.pcap")
    await say(router, REQUEST, (SITE, 80))
    router.close()
    data = await asyncio.to_thread((tmp_path / "client.pcap").read_bytes)
    assert struct.unpack_from("=IHHiIII", data) == (0xA1B2C3D4, 2, 4, 0, 0, 65536, 101)
    position, found = 24, []
    while position < len(data):
        _, _, size, whole = struct.unpack_from("=IIII", data, position)
        assert size == whole
        found.append(packets.Packet(data[position + 16 : position + 16 + size]))
        position += 16 + size
    assert position == len(data)
    assert found[0].opens
    assert any(packet.payload == REQUEST for packet in found)
    assert any(packet.source == SITE for packet in found)


class Row(NamedTuple):
    at: float
    keys: tuple[str, ...]


def test_a_log_drops_the_oldest_row_under_each_of_its_keys() -> None:
    log: Log[Row] = Log(3, lambda row: row.keys)
    for number in range(5):
        log.append(Row(number, ("every", "odd" if number % 2 else "even")))
    assert [row.at for row in log.since(0.0)] == [2, 3, 4]
    assert [row.at for row in log.since(0.0, "even")] == [2, 4]
    assert [row.at for row in log.since(3.0, "every", "odd")] == [3]
    assert log.since(0.0, "every", "none") == []
    log.append(Row(5, ("every",)))
    log.append(Row(6, ("every",)))
    assert [row.at for row in log.since(0.0, "odd")] == []
    log.clear()
    assert log.since(0.0) == log.since(0.0, "every") == []


def test_a_question_reads_only_the_packets_that_it_is_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds whatever else crossed the links: the lab answers no request during a question."""
    events = Events(lambda: 1.0)
    client, site, other = b"\xc0\x00\x02\x0a", b"\xcb\x00\x71\x05", b"\xcb\x00\x71\x06"
    for number in range(2000):
        target, port = (site, 443) if number % 500 == 0 else (other, 80)
        events.record(1.0, "client", "net", packets.tcp(client, 5000, target, port, seq=number, ack=0, flags=SYN))
    read: list[bytes] = []

    class Counted(packets.Packet):
        def __init__(self, data: bytes, *, outward: bool = True) -> None:
            super().__init__(data, outward=outward)
            read.append(data)

    monkeypatch.setattr("tests.lab.events.Packet", Counted)
    for found in (events.packets(SITE), events.packets(port=443), events.packets(SITE, 443, sender=None)):
        assert [seen.packet.seq for seen in found] == [0, 500, 1000, 1500]
    assert events.packets(SITE, 80) == events.packets(SITE, sender="relay") == events.packets(SITE, since=2.0) == []
    assert len(read) == 12
    assert events.connections(SITE) == 4


def test_names_are_asked_for_with_those_below_them() -> None:
    events, packet = Events(lambda: 1.0), packets.Packet(packets.udp(b"\1" * 4, 5, b"\2" * 4, 53, b""))
    for name in ("blog.test", "a.b.blog.test", "myblog.test", "test"):
        events.note(1.0, "client", "client", [Heard(Kind.DNS, name)], packet)
    assert [seen.name for seen in events.names_on("client", below="blog.test")] == ["blog.test", "a.b.blog.test"]
    assert [seen.name for seen in events.crossed("blog.test", "client")] == ["blog.test"]
    assert len(events.names_on("client", below="test")) == 4


def test_the_table_of_flows_is_bounded_and_knows_both_ways() -> None:
    flows = Flows()
    here, there = b"\1" * 4, b"\2" * 4
    for port in range(KEPT + 10):
        syn = packets.tcp(here, port, there, 443, seq=5, ack=0, flags=SYN)
        flow, outward = flows.find(syn, from_client=True, to_client=False)
        assert outward
    assert len(flows) <= KEPT
    back = packets.tcp(there, 443, here, port, seq=9, ack=6, flags=SYN | packets.ACK)
    assert flows.find(back, from_client=False, to_client=True) == (flow, False)
    assert flows.find(syn, from_client=True, to_client=False) == (flow, True)
    again = packets.tcp(here, port, there, 443, seq=77, ack=0, flags=SYN)
    assert flows.find(again, from_client=True, to_client=False)[0] is not flow
