"""Each rule with real sockets through the router: its effects on the client and the site."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

import dns.message
import pytest

from tests.lab import messages
from tests.lab.links import Link
from tests.lab.router import Router
from tests.lab.rules import (
    AddressDrop,
    AllowList,
    DnsDrop,
    DnsNxdomain,
    DnsRace,
    DnsReplace,
    DohBlock,
    During,
    Freeze,
    HttpDrop,
    HttpPage,
    HttpRedirect,
    HttpReset,
    IcmpUnreachable,
    Intercept,
    Loss,
    Outage,
    PortDrop,
    Residual,
    RttRise,
    Rule,
    SniAnswer,
    SniDrop,
    SniReset,
    SynReset,
    Throttle,
    UdpDrop,
)
from tests.lab.test_messages import client_hello, cut_records
from tests.lab.views import View
from tests.support.streams import listening
from tests.support.waiting import until

pytestmark = [pytest.mark.namespaces, pytest.mark.slow]

SITE, SITE6, OTHER, RESOLVER = "203.0.113.5", "2001:db8:80::5", "203.0.113.6", "203.0.113.53"
TRUE_ADDRESS, FORGED = "203.0.113.5", "198.18.0.66"
NAME = "blog.test"
ANSWER = b"answered"
BIG = 64 * 1024
RESET, REFUSED = ConnectionResetError, ConnectionRefusedError
_SILENT_S = 0.25  # nothing comes for so long; what has been dropped never does
_PATIENCE_S = 10.0
_IP_RECVERR, _IP_TRANSPARENT = 11, 19  # linux/in.h


@dataclass
class Place:
    """A client, one origin at all addresses, and a resolver."""

    router: Router
    heard: list[bytes] = field(default_factory=list)  # what the origin was told first on each connection
    resets: int = 0
    asked: int = 0

    async def say(self, data: bytes | list[bytes], *, to: str = SITE, port: int = 443, at_least: int = 1) -> bytes:
        """Returns the answer to these bytes, each in a segment of its own. Raises OSError."""
        async with asyncio.timeout(_PATIENCE_S):
            return await self._say(data, to, port, at_least)

    async def unanswered(
        self, data: bytes | list[bytes], *, to: str = SITE, port: int = 443, at_least: int = 1
    ) -> bool:
        """Returns whether the same bytes meet with silence."""
        try:
            async with asyncio.timeout(_SILENT_S):
                await self._say(data, to, port, at_least)
        except TimeoutError:
            return True
        return False

    async def connects(self, to: str = SITE, port: int = 443) -> bool:
        async with asyncio.timeout(_PATIENCE_S):
            _, writer = await self.router.ports["client"].space.open_connection(to, port)
        writer.transport.abort()
        return True

    async def unreachable(self, to: str = SITE, port: int = 443) -> bool:
        """Returns whether a SYN meets with silence."""
        try:
            async with asyncio.timeout(_SILENT_S):
                return not await self.connects(to, port)
        except TimeoutError:
            return True

    async def ask(self, name: str = NAME, kind: str = "A", *, count: int = 1) -> list[list[str] | str]:
        """Returns the answers to one query, in order: addresses, or the response code's name. Waits long for `count` of
        them, and a little for more."""
        sock = self.router.ports["client"].space.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        answers: list[list[str] | str] = []
        with sock, contextlib.suppress(TimeoutError):
            sock.connect((RESOLVER, 53))
            sock.send(dns.message.make_query(name, kind).to_wire())
            while True:
                patience_s = _PATIENCE_S if len(answers) < count else _SILENT_S
                answer = dns.message.from_wire(await asyncio.wait_for(loop.sock_recv(sock, 4096), patience_s))
                found = [str(record) for group in answer.answer for record in group]
                answers.append(found or answer.rcode().name)
        return answers

    async def _say(self, data: bytes | list[bytes], to: str, port: int, at_least: int) -> bytes:
        reader, writer = await self.router.ports["client"].space.open_connection(to, port)
        try:
            sock = cast("socket.socket", writer.get_extra_info("socket"))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for part in [data] if isinstance(data, bytes) else data:
                writer.write(part)
            return await (reader.readexactly(at_least) if at_least > 1 else reader.read(4096))
        finally:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            said = await reader.read(4096)
            self.heard.append(said)
            if b"/big" in said:
                writer.write(bytes(BIG))
            elif said:
                writer.write(ANSWER)
            await reader.read()
        except ConnectionResetError:
            self.resets += 1
        finally:
            writer.transport.abort()

    def resolve(self, sock: socket.socket) -> None:
        query, sender = sock.recvfrom(4096)
        self.asked += 1
        asked = messages.question(query)
        assert asked is not None
        sock.sendto(asked.answer([TRUE_ADDRESS]), sender)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    loop = asyncio.get_running_loop()
    async with Router() as router, contextlib.AsyncExitStack() as stack:
        router.add_space("client", ["192.0.2.10/24", "2001:db8:1::10/64"])
        router.add_space("isp", ["198.51.100.2/28"])
        router.ports["isp"].take_all()
        net = router.add_space(
            "net", ["198.51.100.18/28", "2001:db8:3::10/64"], prefixes=["203.0.113.0/24", "2001:db8:80::/48"]
        )
        place = Place(router)
        for address, port in itertools.product(("0.0.0.0", "::"), (80, 443, 853)):
            await stack.enter_async_context(listening(place.serve, sock=net.create_server((address, port))))
        resolver = stack.enter_context(net.create_udp((RESOLVER, 53)))
        loop.add_reader(resolver, place.resolve, resolver)
        stack.callback(loop.remove_reader, resolver)
        yield place


def request(name: str = NAME, path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()


HELLO, INNOCENT = client_hello(NAME), client_hello("news.test")


async def test_without_rules_everything_passes(place: Place) -> None:
    assert await place.say(HELLO) == ANSWER
    assert await place.say(HELLO, to=SITE6) == ANSWER
    assert await place.say(request(), port=80) == ANSWER
    assert await place.ask() == [[TRUE_ADDRESS]]


@pytest.mark.parametrize("to", [SITE, SITE6])
async def test_a_name_in_the_hello_is_reset(place: Place, to: str) -> None:
    place.router.rules.set([rule := SniReset(NAME)])
    with pytest.raises(RESET):
        await place.say(HELLO, to=to)
    await until(lambda: place.resets == 1)
    assert await place.say(INNOCENT, to=to) == ANSWER
    assert [flow.server_port for flow in rule.acts] == [443]
    place.router.rules.clear()
    assert await place.say(HELLO, to=to) == ANSWER


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 403 Forbidden\r\n\r\n"])
async def test_a_name_in_the_hello_is_answered_by_somebody_else(place: Place, answer: bytes) -> None:
    place.router.rules.set([SniAnswer(NAME, answer=answer)])
    assert await place.say(HELLO) == answer
    assert place.heard == []
    assert await place.say(INNOCENT) == ANSWER


async def test_a_reset_in_the_path_keeps_the_hello(place: Place) -> None:
    place.router.rules.set([SniReset(NAME, in_path=True)])
    with pytest.raises(RESET):
        await place.say(HELLO)
    await until(lambda: place.resets == 1)
    assert place.heard == []


async def test_a_reset_to_the_client_alone_lets_the_site_hear_the_hello(place: Place) -> None:
    place.router.rules.set([SniReset(NAME, to="client")])
    with pytest.raises(RESET):
        await place.say(HELLO)
    await until(lambda: place.heard == [HELLO])


async def test_a_hello_is_dropped_and_nothing_of_its_flow_passes_any_more(place: Place) -> None:
    place.router.rules.set([SniDrop(NAME)])
    assert await place.unanswered([HELLO, b"more"])
    assert place.heard == []


async def test_only_the_segment_with_the_name_is_dropped(place: Place) -> None:
    place.router.rules.set([SniDrop(NAME, whole_flow=False, view=View.TCP)])
    inside = HELLO.index(NAME.encode()) + 4
    assert await place.say([HELLO[:inside], HELLO[inside:]]) == ANSWER  # the site hears the first half
    assert place.heard == [HELLO[:inside]]


_INSIDE = HELLO.index(NAME.encode()) + 4
_RECORDS = cut_records(HELLO, _INSIDE - 5)
WAYS = {
    "plain": [HELLO],
    "split": [HELLO[:1], HELLO[1:_INSIDE], HELLO[_INSIDE:]],
    "tlsrec": [_RECORDS],
    "tlsrec|split": [_RECORDS[:1], _RECORDS[1 : _INSIDE + 5], _RECORDS[_INSIDE + 5 :]],
}
SEEN = {
    View.STRING: {"plain"},
    View.PACKET: {"plain"},
    View.PACKET_RECORDS: {"plain", "tlsrec"},
    View.TCP: {"plain", "split"},
    View.RECORDS: set(WAYS),
}


@pytest.mark.parametrize("view", View)
@pytest.mark.parametrize("way", WAYS)
async def test_the_evasion_matrix(place: Place, view: View, way: str) -> None:
    place.router.rules.set([SniReset(NAME, view=view)])
    if way in SEEN[view]:
        with pytest.raises(RESET):
            await place.say(WAYS[way])
    else:
        assert await place.say(WAYS[way]) == ANSWER


@pytest.mark.parametrize("at", ["syn", "flight"])
async def test_what_comes_after_a_strike_is_struck_for_a_while(place: Place, at: str) -> None:
    place.router.rules.set([SniDrop(NAME, residual=Residual(60, "syn" if at == "syn" else "flight"))])
    assert await place.say(INNOCENT) == ANSWER
    assert await place.unanswered(HELLO)
    if at == "syn":
        assert await place.unreachable()
    else:
        assert await place.connects()
        assert await place.unanswered(INNOCENT)
    assert await place.say(INNOCENT, to=OTHER) == ANSWER
    assert await place.say(request("news.test"), port=80) == ANSWER


async def test_residual_blocking_ends(place: Place) -> None:
    place.router.rules.set([SniReset(NAME, residual=Residual(0.1))])
    with pytest.raises(RESET):
        await place.say(HELLO)
    loop = asyncio.get_running_loop()
    ends = loop.time() + 0.1
    await until(lambda: loop.time() > ends)
    assert await place.say(INNOCENT) == ANSWER


async def test_http_by_its_host(place: Place) -> None:
    rules = place.router.rules
    rules.set([HttpReset(NAME)])
    with pytest.raises(RESET):
        await place.say(request(), port=80)
    rules.set([HttpDrop(NAME)])
    assert await place.unanswered(request(), port=80)
    rules.set([HttpRedirect(NAME, to="http://blocked.example/")])
    answer = await place.say(request(), port=80, at_least=4)
    assert answer == b"HTTP"
    rules.set([HttpReset(NAME, view=View.PACKET)])
    assert await place.say(request().replace(b"Host", b"hOSt"), port=80) == ANSWER
    assert await place.say(request("news.test"), port=80) == ANSWER


async def test_a_page_of_the_censors_comes_whole_and_the_site_hears_nothing(place: Place) -> None:
    body = b"<title>Blocked</title>" + b"x" * 5000
    place.router.rules.set([HttpPage(NAME, body=body, status="403 Forbidden")])
    reader, writer = await place.router.ports["client"].space.open_connection(SITE, 80)
    writer.write(request())
    answer = await asyncio.wait_for(reader.read(), 10)  # up to the end of the connection
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert answer.endswith(b"\r\n\r\n" + body)
    await until(lambda: place.resets == 1)
    assert place.heard == []


@pytest.mark.parametrize(
    ("rule", "answers", "asked"),
    [
        (DnsRace(NAME, forged=[FORGED]), [[FORGED], [TRUE_ADDRESS]], 1),
        (DnsRace(NAME, forged=[FORGED], delay_s=0.1), [[TRUE_ADDRESS], [FORGED]], 1),
        (DnsReplace(NAME, forged=[FORGED]), [[FORGED]], 0),
        (DnsReplace(NAME), ["NOERROR"], 0),
        (DnsNxdomain(NAME), ["NXDOMAIN"], 0),
        (DnsNxdomain(NAME, rcode=messages.REFUSED), ["REFUSED"], 0),
        (DnsDrop(NAME), [], 0),
        (DnsDrop(NAME, resolvers=["198.51.100.53"]), [[TRUE_ADDRESS]], 1),
        (DnsDrop("other.test"), [[TRUE_ADDRESS]], 1),
    ],
)
async def test_dns(place: Place, rule: Rule, answers: list[list[str] | str], asked: int) -> None:
    place.router.rules.set([rule])
    assert await place.ask(count=len(answers)) == answers
    assert place.asked == asked


async def test_an_address_is_dropped_both_families(place: Place) -> None:
    place.router.rules.set([AddressDrop(SITE), AddressDrop("2001:db8:80::/64", ports=[443])])
    assert await place.unreachable(SITE)
    assert await place.unreachable(SITE, 80)
    assert await place.unreachable(SITE6)
    assert await place.connects(SITE6, 80)
    assert await place.connects(OTHER)


@pytest.mark.parametrize(("to", "v"), [(SITE, 4), (SITE6, 6)])
async def test_a_syn_is_refused_or_answered_by_icmp(place: Place, to: str, v: int) -> None:
    place.router.rules.set([SynReset(to, ports=[443])])
    with pytest.raises(REFUSED):
        await place.connects(to)
    assert await place.connects(to, 80)
    wanted = {
        "host": {errno.EHOSTUNREACH},
        "port": {errno.ECONNREFUSED},
        "prohibited": {errno.EHOSTUNREACH, errno.EACCES},
    }
    for code, numbers in wanted.items():
        place.router.rules.set([IcmpUnreachable(to, code=code)])
        with pytest.raises(OSError, match="Errno") as failed:
            await place.connects(to)
        assert failed.value.errno in numbers


async def test_one_port_only(place: Place) -> None:
    place.router.rules.set([PortDrop(853), UdpDrop(443)])
    assert await place.unreachable(port=853)
    assert await place.connects(port=443)
    with place.router.ports["net"].space.create_udp((SITE, 443)) as there:
        there.setblocking(False)
        with place.router.ports["client"].space.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
            here.sendto(b"quic", (SITE, 443))
            assert await place.ask() == [[TRUE_ADDRESS]]
            with pytest.raises(BlockingIOError):
                there.recv(100)
            place.router.rules.clear()
            here.sendto(b"quic", (SITE, 443))
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(there, 100), 10) == b"quic"


async def test_a_flow_freezes_after_so_many_bytes(place: Place) -> None:
    place.router.rules.set([Freeze(addresses=[SITE], after_bytes=16 * 1024)])
    assert await place.say(request(path="/big"), port=80, at_least=8 * 1024)
    assert await place.unanswered(request(path="/big"), port=80, at_least=20 * 1024)
    place.router.rules.set([Freeze(NAME, after_bytes=16 * 1024)])
    assert await place.say([HELLO], at_least=len(ANSWER)) == ANSWER
    place.router.rules.clear()
    assert await place.say(request(path="/big"), port=80, at_least=BIG)


@pytest.mark.parametrize("how", ["police", "shape"])
async def test_a_flow_is_throttled(place: Place, how: str) -> None:
    place.router.rules.set([Throttle(addresses=[SITE], rate=30_000, how="police" if how == "police" else "shape")])
    assert await place.unanswered(request(path="/big"), port=80, at_least=BIG)
    assert await place.say(request(path="/big"), port=80, at_least=1500)
    assert await place.say(request(path="/big"), to=OTHER, port=80, at_least=BIG)


async def test_a_connection_is_turned_aside_and_the_answer_comes_in_the_sites_name(place: Place) -> None:
    isp = place.router.ports["isp"].space
    seen: list[tuple[str, int]] = []

    async def intercept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("sockname")[:2])
        reader, upstream = await isp.open_connection(*seen[-1])  # whoever sits there reaches the true site
        upstream.write(b"carried on")
        writer.write(b"read by us, " + await reader.readexactly(len(ANSWER)))
        upstream.transport.abort()
        writer.close()

    sock = isp.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
    sock.bind(("0.0.0.0", 443))
    sock.listen()
    async with await asyncio.start_server(intercept, sock=sock):
        place.router.rules.set([Intercept()])
        answer = await place.say(HELLO)
        assert answer == b"read by us, " + ANSWER
        assert await place.say(request(), port=80) == ANSWER
    assert seen == [(SITE, 443)]
    assert place.heard == [b"carried on", request()]


async def test_a_share_of_connections_the_same_ones_every_time(place: Place) -> None:
    async def failures(seed: int) -> list[int]:
        place.router.rules.set([SniReset(NAME, share=0.3, seed=seed)])
        failed = []
        for number in range(40):
            try:
                await place.say(HELLO)
            except RESET:
                failed.append(number)
        return failed

    first = await failures(1)
    assert 4 <= len(first) <= 20
    assert await failures(1) == first
    assert await failures(2) != first


async def test_only_what_is_allowed_passes(place: Place) -> None:
    place.router.rules.set([AllowList("news.test", addresses=[RESOLVER])])
    assert await place.say(INNOCENT) == ANSWER
    assert await place.unanswered(HELLO)
    assert await place.say(request("news.test"), port=80) == ANSWER
    assert await place.unreachable(port=853)
    assert await place.ask() == [[TRUE_ADDRESS]]
    place.router.rules.set([AllowList(addresses=[OTHER])])
    assert await place.unreachable(SITE)
    assert await place.connects(OTHER)


async def test_secure_dns_is_blocked_by_address_and_by_name(place: Place) -> None:
    place.router.rules.set([DohBlock(NAME, addresses=[OTHER])])
    assert await place.unreachable(OTHER, 443)
    assert await place.unreachable(OTHER, 853)
    assert await place.connects(OTHER, 80)
    assert await place.unanswered(HELLO, port=853)
    assert await place.ask() == ["NXDOMAIN"]


async def test_an_outage_ends_and_what_was_lost_comes_after_all(place: Place) -> None:
    place.router.rules.set([Outage(0, 0.3)])
    reader, writer = await asyncio.wait_for(place.router.ports["client"].space.open_connection(SITE, 80), 10)
    writer.write(request())
    assert await asyncio.wait_for(reader.read(100), 10) == ANSWER
    writer.transport.abort()


async def test_a_rule_is_in_force_for_its_time_only(place: Place) -> None:
    place.router.rules.set([During(DnsNxdomain(NAME), 3600), During(DnsDrop("news.test"), 0, 3600)])
    assert await place.ask() == [[TRUE_ADDRESS]]
    assert await place.ask("news.test", count=0) == []


async def test_a_way_becomes_longer(place: Place) -> None:
    loop = asyncio.get_running_loop()
    place.router.rules.set([RttRise(0.1)])
    began = loop.time()
    assert await place.say(request(), port=80) == ANSWER
    assert loop.time() - began >= 0.39  # two times there and back; each step may end half a millisecond early


async def test_losses(place: Place) -> None:
    place.router.rules.set([Loss(0.5, seed=3)])
    answers = await asyncio.gather(*(place.ask(count=0) for _ in range(12)))
    assert {bool(answer) for answer in answers} == {True, False}


async def test_what_runs_out_of_hops_does_not_arrive_and_its_sender_is_told(place: Place) -> None:
    with place.router.ports["client"].space.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        sock.connect((RESOLVER, 53))
        for ttl, acts in ((1, 0), (2, 1), (3, 1)):  # the first one runs out before the censor sees it
            place.router.rules.set([seen := DnsRace(NAME, forged=[FORGED])])
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            sock.send(dns.message.make_query(NAME, "A").to_wire())
            await until(lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EHOSTUNREACH)
            assert len(seen.acts) == acts
    assert place.asked == 0


async def test_rules_and_links_at_once(place: Place) -> None:
    place.router.ports["client"].set_link(Link(delay_s=0.02, loss=0.05))
    place.router.rules.set([SniReset(NAME), [AddressDrop(OTHER)]])
    assert len(place.router.rules) == 2
    with pytest.raises(RESET):
        await place.say(HELLO)
    place.router.rules.remove(next(iter(place.router.rules)))
    assert len(place.router.rules) == 1
