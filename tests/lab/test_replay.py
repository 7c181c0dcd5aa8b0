"""What may be sent twice and what may not, counted on the wire: at the censor, at the relay, and at the origin.

A real Byway in the country, with one relay; each test has names of its own, so that nothing is known of them. Only a
failure starts the relay, and no delay: a busy machine may answer late, and then a GET would go there rightly. A request
that cannot be sent twice reaches the world exactly once, whatever becomes of it, and a flight that can is delivered
whole, however oddly it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import itertools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.lab import places, rules
from tests.lab.country import NO_HEDGE, RELAY, Country, Running, Site
from tests.lab.ear import Answer, Ear, say_nothing
from tests.lab.links import PERFECT
from tests.lab.name_servers import Addresses
from tests.lab.name_servers import Answer as Led
from tests.lab.test_rescue import AT_ONCE, Row, settings
from tests.support import client
from tests.support.streams import close, reset
from tests.support.waiting import until, until_read
from tests.wire import hellos

pytestmark = [pytest.mark.namespaces, pytest.mark.asyncio(loop_scope="module")]

SECRET, REFUSED = "secret.test", "refused.test"
RULES = f"DOMAIN,{SECRET},RELAY\nDOMAIN,{REFUSED},BLOCK\nMATCH,AUTO\n"
RELAYED = places.SOCKS_RELAY
BEYOND = "198.19.250.9"
"""Where the relay is led for names that an ear of the test's answers for."""
PAUSE_S = 0.02
"""Between pieces, so that each comes by itself. It is part of what is sent, and nothing is waited for."""

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Censorship = Callable[[Site], rules.Rule]


def resets(site: Site) -> rules.Rule:
    return rules.HttpReset(site.name, in_path=True)


def resets_hellos(site: Site) -> rules.Rule:
    return rules.SniReset(site.name, in_path=True)


def hangs_up(site: Site) -> rules.Rule:
    return rules.HttpEof(site.name)


def silences(site: Site) -> rules.Rule:
    return rules.HttpSilence(site.name)


def silences_hellos(site: Site) -> rules.Rule:
    return rules.SniSilence(site.name)


def refuses(site: Site) -> rules.Rule:
    return rules.SynReset(site.address)


@dataclass
class Censor:
    """What stands on the way to one site."""

    country: Country
    site: Site
    rule: rules.Rule | None
    port: int
    tap: rules.Wiretap

    @property
    def address(self) -> str:
        return self.site.address

    @property
    def flights(self) -> list[bytes]:
        return self.tap.flights

    @property
    def connections(self) -> int:
        return self.tap.connections

    def lift(self) -> None:
        assert self.rule is not None
        self.country.rules.remove(self.rule)


@dataclass
class World:
    country: Country
    byway: Running
    sockets: int  # that Byway has when nobody uses it
    leads: dict[str, str] = field(default_factory=dict)  # where the relay goes for a name
    unreached: set[str] = field(default_factory=set)  # what the relay cannot reach
    made: int = 0

    def __post_init__(self) -> None:
        self.country.relay.view = self._led
        self.country.relay.refuses = lambda host: host in self.unreached

    def _led(self, host: str) -> Led:
        return Addresses((self.leads[host],)) if host in self.leads else self.country.zone.truth(host)

    async def row(self, name: str) -> Row:
        """The one row of the log about `name`."""
        (row,) = await self.byway.rows(name, 1)
        return row

    def asked(self, name: str) -> int:
        """How often the relay was asked for `name`."""
        return sum(asked.rpartition(":")[0] == name for asked in self.country.relay.asked)

    def heard(self) -> list[str]:
        """The hosts whose servers were asked for something, but for Byway's own control pages."""
        return [asked.host for asked in self.country.origins.asked if asked.host not in places.CONTROLS]

    def new_site(self) -> Site:
        """A site that nothing is known of."""
        self.made += 1
        return self.country.add_site(f"n{self.made}.test")

    def censored(self, rule: Censorship | None = resets, *, port: int = 80) -> tuple[str, Censor]:
        """Such a site, and the censor on the way to it; without a rule it only listens."""
        site = self.new_site()
        censor = Censor(self.country, site, rule(site) if rule else None, port, rules.Wiretap(site.address))
        self.country.rules.add(censor.tap, *([censor.rule] if censor.rule else []))
        return site.name, censor

    def ear(self, address: str, answer: Answer = say_nothing, *, port: int = 0) -> Ear:
        return Ear(self.country.net.socket, (address, port), answer)

    def heard_by(self, name: str, ear: Ear) -> str:
        """Leads the relay to `ear` for `name`."""
        self.leads[name] = ear.address
        return f"{name}:{ear.port}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("replay")
    async with Country(folder, link=PERFECT) as country:
        for name in (SECRET, REFUSED):
            country.add_site(name)
        config = settings(country, f"{AT_ONCE}{NO_HEDGE}")
        async with country.byway(folder / "byway", config=config, rules=RULES) as byway:
            await byway.ask("/v1/status")  # its connection stays
            world = World(country, byway, sockets(byway.pid))
            # All sites are in one /16, of which most refuse or reset. While one works direct, it is not suspect itself.
            assert (await byway.get(world.new_site().url(secure=False))).status == 200
            yield world


def routes(row: Row) -> list[tuple[str, str, str]]:
    return [(tried["route"], tried["stage"], tried["symptom"]) for tried in row["attempts"]]


RESCUED = [("direct", "first_byte", "reset"), (RELAY, "done", "")]

# -- sent once -----------------------------------------------------------------------------------------------------

BODY = b"amount=1"
ONCE = {
    "POST": ("POST", [f"Content-Length: {len(BODY)}"], BODY),
    "PUT": ("PUT", [f"Content-Length: {len(BODY)}"], BODY),
    "POST-empty": ("POST", ["Content-Length: 0"], b""),
    "POST-chunked": ("POST", ["Transfer-Encoding: chunked"], b"8\r\namount=1\r\n0\r\n\r\n"),
    "POST-expecting": ("POST", [f"Content-Length: {len(BODY)}", "Expect: 100-continue"], BODY),
    "DELETE": ("DELETE", [], b""),
    "GET-with-body": ("GET", [f"Content-Length: {len(BODY)}"], BODY),
    "GET-of-20-KiB": ("GET", [f"X-Long: {20 * 1024 * 'x'}"], b""),
}


def request(kind: str, authority: str, *, absolute: bool) -> bytes:
    method, fields, body = ONCE[kind]
    target = f"http://{authority}/form" if absolute else "/form"
    head = [f"{method} {target} HTTP/1.1", f"Host: {authority}", "Connection: close", *fields]
    return "\r\n".join((*head, "", "")).encode() + body


def tunnel(authority: str, byway: Running) -> AbstractAsyncContextManager[Connection]:
    return client.tunnel(authority, byway.proxy, dial=byway.dial)


@contextlib.asynccontextmanager
async def plain(_: str, byway: Running) -> AsyncIterator[Connection]:
    """A connection to the proxy for plain HTTP."""
    async with asyncio.timeout(30):
        reader, writer = await byway.dial(*byway.proxy)
        try:
            yield reader, writer
        finally:
            await close(writer)


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end, whether that is an end or a reset."""
    heard = b""
    with contextlib.suppress(ConnectionResetError):
        while data := await reader.read(65536):
            heard += data
    return heard


@pytest.mark.parametrize("kind", ONCE)
@pytest.mark.parametrize("later", [False, True], ids=["at-once", "body-later"])
@pytest.mark.parametrize("way", ["plain", "tunnel"])
async def test_a_request_that_cannot_be_sent_twice_is_sent_once(world: World, kind: str, way: str, later: bool) -> None:
    """It is lost when the censor resets it, and the client is told; no other route ever sees it."""
    name, censor = world.censored()
    authority = f"{name}:{censor.port}"
    door = plain if way == "plain" else tunnel
    async with door(authority, world.byway) as (reader, writer):
        head, end, body = request(kind, authority, absolute=way == "plain").partition(b"\r\n\r\n")
        writer.write(head + end if later else head + end + body)
        if later:
            await until(lambda: len(censor.flights) == 1)
            writer.write(body)
        answer = await all_of(reader)
    assert answer.startswith(b"HTTP/1.1 502 ") if way == "plain" else answer == b""
    assert [flight.partition(b" ")[0] for flight in censor.flights] == [kind.partition("-")[0].encode()]
    assert (world.asked(name), world.country.origins.peers(name)) == (0, [])
    row = await world.row(name)
    assert (row["winner"], routes(row)) == (None, [("direct", "first_byte", "reset")])


@pytest.mark.parametrize("way", ["plain", "tunnel"])
async def test_control_what_can_be_sent_twice_is(world: World, way: str) -> None:
    name, censor = world.censored()
    scheme = "http" if way == "plain" else "tunnel"
    assert (await world.byway.get(f"{scheme}://{name}:{censor.port}/")).status == 200
    assert len(censor.flights) == 1
    assert (world.asked(name), world.country.origins.peers(name)) == (1, [RELAYED])
    assert routes(await world.row(name)) == RESCUED


@pytest.mark.parametrize("second", ["GET", "POST"])
async def test_requests_in_one_flight_go_together_or_not_at_all(world: World, second: str) -> None:
    """Two GETs may be sent again; what a POST stands behind may not."""
    name, censor = world.censored()
    host = f"{name}:{censor.port}"
    both = f"GET /part/1 HTTP/1.1\r\nHost: {host}\r\n\r\n{second} /close HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    async with tunnel(host, world.byway) as (reader, writer):
        writer.write(both)
        answer = await all_of(reader)
    arrived = [(r.method, r.target, r.peer) for r in world.country.origins.asked if r.host == name]
    assert censor.flights == [both]
    if second == "GET":
        assert answer.count(b"HTTP/1.1 200 ") == 2
        assert arrived == [("GET", "/part/1", RELAYED), ("GET", "/close", RELAYED)]
    else:
        assert (answer, arrived, world.asked(name)) == (b"", [], 0)


@pytest.mark.parametrize("kind", ONCE)
@pytest.mark.parametrize("way", ["plain", "tunnel"])
async def test_it_is_sent_over_the_relay_when_nothing_was_sent_before(world: World, kind: str, way: str) -> None:
    """A refused connection has taken no byte of it."""
    name, censor = world.censored(refuses)
    authority = f"{name}:{censor.port}"
    door = plain if way == "plain" else tunnel
    async with door(authority, world.byway) as (reader, writer):
        writer.write(request(kind, authority, absolute=way == "plain"))
        answer = await all_of(reader)
    assert answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    (arrived,) = [r for r in world.country.origins.asked if r.host == name]
    assert (arrived.method, arrived.peer) == (kind.partition("-")[0], RELAYED)
    assert arrived.body == (BODY if ONCE[kind][2] else b"")
    assert routes(await world.row(name)) == [("direct", "connect", "refused"), (RELAY, "done", "")]


@pytest.mark.parametrize("way", ["plain", "tunnel"])
async def test_a_post_to_a_host_that_is_known_blocked_arrives_once(world: World, way: str) -> None:
    name, censor = world.censored()
    authority = f"{name}:{censor.port}"
    assert (await world.byway.get(f"http://{authority}/")).status == 200
    door = plain if way == "plain" else tunnel
    async with door(authority, world.byway) as (reader, writer):
        writer.write(request("POST", authority, absolute=way == "plain"))
        assert (await all_of(reader)).startswith(b"HTTP/1.1 200 ")
    posts = [r for r in world.country.origins.asked if r.host == name and r.method == "POST"]
    assert [(post.peer, post.body) for post in posts] == [(RELAYED, BODY)]
    assert [flight.partition(b" ")[0] for flight in censor.flights] == [b"GET"]


async def posted(byway: Running, authority: str, number: int) -> bytes:
    """One POST on a connection of its own, with a body of its own; the answer."""
    body = f"amount={number}".encode()
    head = f"POST http://{authority}/form HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n"
    async with plain(authority, byway) as (reader, writer):
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return await all_of(reader)


def arrivals(world: World, name: str, censor: Censor) -> list[tuple[bytes, str]]:
    """What was posted, and where it arrived: at the censor or, through the relay, at the origin."""
    there = [(flight.partition(b"\r\n\r\n")[2], "censor") for flight in censor.flights if flight.startswith(b"POST")]
    return there + [(r.body, r.peer) for r in world.country.origins.asked if r.host == name and r.body]


@pytest.mark.parametrize("rule", [resets, hangs_up], ids=["reset", "closed"])
async def test_a_site_that_is_only_posted_to_is_rescued_from_the_second_request_on(
    world: World, rule: Censorship
) -> None:
    """No race can compare routes with a POST: the first one goes direct and is lost, the second one takes another
    route, and the two together teach what one GET does."""
    name, censor = world.censored(rule)
    authority = f"{name}:{censor.port}"
    answers = [await posted(world.byway, authority, number) for number in range(4)]
    assert [answer[9:12] for answer in answers] == [b"502", b"200", b"200", b"200"]
    assert arrivals(world, name, censor) == [
        (b"amount=0", "censor"), (b"amount=1", RELAYED), (b"amount=2", RELAYED), (b"amount=3", RELAYED),
    ]  # fmt: skip
    await world.byway.until_counted(name)
    held = await world.byway.belief(name)
    assert (held["state"], held["cause"], held["last_good"]) == ("suspect", "http_host", RELAY)


async def test_control_a_site_that_hung_up_once_is_not_called_blocked(world: World) -> None:
    """A healthy site's lost POST costs it a detour, and no more: the first answer that comes direct ends that."""
    name, censor = world.censored(hangs_up)
    authority = f"{name}:{censor.port}"
    assert (await posted(world.byway, authority, 0))[9:12] == b"502"
    censor.lift()
    assert (await world.byway.get(f"http://{authority}/")).status == 200  # a GET: direct goes first
    assert (await posted(world.byway, authority, 1))[9:12] == b"200"
    assert world.asked(name) == 0
    assert [r.body for r in world.country.origins.asked if r.host == name and r.body] == [b"amount=1"]
    assert (await world.byway.belief(name))["state"] == "works"


async def test_direct_is_tried_again_beside_a_post_too(world: World, tmp_path: Path) -> None:
    """Once the block is over, posts go direct again; those that the user waited for all arrive."""
    soon = f"{AT_ONCE}{NO_HEDGE}retest_suspect_s = 0.1\nretest_jitter = 0\nretest_per_hour = 10000\n"
    country = world.country
    name, censor = world.censored()
    async with country.byway(tmp_path / "byway", config=settings(country, soon)) as byway:
        authority = f"{name}:{censor.port}"
        assert [(await posted(byway, authority, number))[9:12] for number in range(2)] == [b"502", b"200"]
        censor.lift()
        answers: list[bytes] = []

        async def is_over() -> bool:
            answers.append((await posted(byway, authority, 2 + len(answers)))[9:12])
            return bool((await byway.belief(name))["state"] == "works")

        await until_read(is_over)
        assert (await posted(byway, authority, 2 + len(answers)))[9:12] == b"200"
        arrived = [r for r in country.origins.asked if r.host == name and r.body]
    assert set(answers) == {b"200"}
    assert [r.body for r in arrived] == [f"amount={number}".encode() for number in range(1, len(answers) + 3)]
    assert arrived[-1].peer == places.CLIENT


# -- a connection that was kept ------------------------------------------------------------------------------------


async def once_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers one request and hangs up on the second."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await reader.read(65536) or b"\r\n\r\n"
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")
    await reader.read(65536)


@pytest.mark.parametrize("second", ["GET", "POST"])
async def test_a_kept_connection_that_breaks_repeats_a_get_and_no_post(world: World, second: str) -> None:
    site = world.new_site()
    name = site.name
    async with world.ear(site.address, once_each) as ear:
        authority = f"{name}:{ear.port}"
        async with plain(authority, world.byway) as (reader, writer):
            writer.write(f"GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
            assert (await reader.readuntil(b"yes")).startswith(b"HTTP/1.1 200 ")
            body = BODY if second == "POST" else b""
            length = f"Content-Length: {len(body)}\r\n" if body else ""
            head = (
                f"{second} http://{authority}/again HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{length}\r\n"
            )
            writer.write(head.encode() + body)
            answer = await all_of(reader)
    again = [heard for heard in ear.heard if f"{second} /again".encode() in heard]
    if second == "GET":
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert (ear.connections, len(again)) == (2, 2)
    else:
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert (ear.connections, len(again)) == (1, 1)
    assert world.asked(name) == 0
    assert (await world.byway.belief(name))["state"] == "works"


# -- a ClientHello, however it comes -------------------------------------------------------------------------------

Send = Callable[[bytes], Awaitable[None]]


async def https(connection: Connection, name: str, trust: ssl.SSLContext, send_hello: Callable[[bytes], Any]) -> bytes:
    """A page over TLS on an open connection; `send_hello` sends the ClientHello. That the handshake ends well says that
    the hello arrived as it was: both sides have signed it."""
    reader, writer = connection
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trust.wrap_bio(incoming, outgoing, server_hostname=name)
    send: Callable[[bytes], Any] = send_hello
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            await send(outgoing.read())
            send = writer_of(writer)
            incoming.write(await _some(reader))
    tls.write(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    writer.write(outgoing.read())
    page = b""
    while b" says hello to " not in page:
        try:
            page += tls.read(65536)
        except ssl.SSLWantReadError:
            incoming.write(await _some(reader))
    return page


def writer_of(writer: asyncio.StreamWriter) -> Send:
    async def send(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    return send


async def _some(reader: asyncio.StreamReader) -> bytes:
    data = await reader.read(65536)
    if not data:
        raise ConnectionError("closed in the middle of the handshake")
    return data


def in_pieces(writer: asyncio.StreamWriter, pieces: Callable[[bytes], list[bytes]]) -> Send:
    async def send(hello: bytes) -> None:
        for piece in pieces(hello):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(PAUSE_S)

    return send


def five(hello: bytes) -> list[bytes]:
    """The first one ends within the record's header, the second within the handshake's."""
    cuts = [0, 3, 8, len(hello) // 3, len(hello) - 1, len(hello)]
    return [hello[a:b] for a, b in itertools.pairwise(cuts)]


def over_records(hello: bytes) -> list[bytes]:
    """The same message over three records, each by itself."""
    split = hellos.split(hello, 40, 60)
    return [split[:45], split[45:110], split[110:]]


@pytest.mark.parametrize("pieces", [five, over_records])
async def test_a_hello_in_pieces_is_delivered_whole_and_rescued(
    world: World, pieces: Callable[[bytes], list[bytes]]
) -> None:
    name, censor = world.censored(resets_hellos, port=443)
    trust = world.country.public.client()
    sent: list[bytes] = []

    def kept(hello: bytes) -> list[bytes]:
        sent.extend(pieces(hello))
        return sent

    async with tunnel(f"{name}:{censor.port}", world.byway) as (reader, writer):
        page = await https((reader, writer), name, trust, in_pieces(writer, kept))
    assert page.startswith(b"HTTP/1.1 200 ")
    assert len(sent) in (3, 5)
    assert censor.flights == [b"".join(sent)]
    assert world.country.origins.peers(name) == [RELAYED]
    assert world.country.origins.server_names.count(name) == 1
    assert routes(await world.row(name)) == RESCUED


EARLY = b"\x17\x03\x03\x00\x20" + 32 * b"E"


def resuming(name: str) -> bytes:
    """A ClientHello that says early data follow, and the early data."""
    return hellos.by_hand(
        hellos.sni(name.encode()), hellos.SUPPORTED_VERSIONS, hellos.KEY_SHARE, hellos.EARLY_DATA,
        hellos.PSK_MODES, hellos.PRE_SHARED_KEY,
    ) + EARLY  # fmt: skip


async def test_a_hello_with_early_data_is_sent_once(world: World) -> None:
    """Early data may be a POST; the client, which may repeat them itself, is told by a closed connection."""
    name, censor = world.censored(resets_hellos, port=443)
    async with tunnel(f"{name}:{censor.port}", world.byway) as (reader, writer):
        writer.write(resuming(name))
        assert await all_of(reader) == b""
    assert censor.flights == [resuming(name)]
    assert (world.asked(name), world.country.origins.server_names.count(name)) == (0, 0)
    row = await world.row(name)
    assert (row["winner"], routes(row)) == (None, [("direct", "first_byte", "reset")])


async def test_control_the_same_hello_without_early_data_is_repeated(world: World) -> None:
    name, censor = world.censored(resets_hellos, port=443)
    hello = hellos.by_hand(hellos.sni(name.encode()), hellos.SUPPORTED_VERSIONS, hellos.KEY_SHARE)
    async with (
        world.ear(BEYOND, port=censor.port) as ear,
        tunnel(world.heard_by(name, ear), world.byway) as (_, writer),
    ):
        writer.write(hello)
        await until_heard(ear)
    assert (censor.flights, ear.heard) == ([hello], [hello])


async def test_early_data_to_a_host_that_is_known_blocked_go_over_the_relay_once(world: World) -> None:
    name, censor = world.censored(resets_hellos, port=443)
    assert (await world.byway.get(f"https://{name}:{censor.port}/")).status == 200
    async with (
        world.ear(BEYOND, port=censor.port) as ear,
        tunnel(world.heard_by(name, ear), world.byway) as (_, writer),
    ):
        writer.write(resuming(name))
        await until_heard(ear, len(resuming(name)))
    assert ear.heard == [resuming(name)]
    assert len(censor.flights) == 1


# -- late, or not at all -------------------------------------------------------------------------------------------


async def test_a_late_flight_is_rescued(world: World) -> None:
    """The tunnel is open, and its path too, long before the client says what it wants."""
    name, censor = world.censored(resets_hellos, port=443)
    trust = world.country.public.client()
    async with tunnel(f"{name}:{censor.port}", world.byway) as (reader, writer):
        await until(lambda: censor.connections == 1)
        await asyncio.sleep(PAUSE_S)
        page = await https((reader, writer), name, trust, writer_of(writer))
    assert page.startswith(b"HTTP/1.1 200 ")
    assert world.country.origins.peers(name) == [RELAYED]
    assert routes(await world.row(name)) == RESCUED


YES = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes"


async def hang_up_once(seen: list[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Closes the first connection before a word was said; answers the later ones."""
    seen.append(None)
    if len(seen) > 1:
        await reader.read(65536)
        writer.write(YES)


@pytest.mark.parametrize("refused_later", [False, True], ids=["direct", "then-refused"])
async def test_a_path_that_closed_before_the_flight_is_made_anew(world: World, refused_later: bool) -> None:
    """A server that does not wait for browsers which open tunnels ahead of need: no sign of anything."""
    site = world.new_site()
    name = site.name
    async with (
        world.ear(site.address, partial(hang_up_once, [])) as ear,
        world.ear(BEYOND, partial(hang_up_once, [None]), port=ear.port) as beyond,
        tunnel(world.heard_by(name, beyond), world.byway) as (reader, writer),
    ):
        await until(lambda: ear.connections == 1 and not world.byway.is_connected_to(site.address))
        if refused_later:
            await ear.refuse()
        writer.write(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
        assert await all_of(reader) == YES
    row = await world.row(name)
    if refused_later:
        assert (ear.heard, len(beyond.heard)) == ([], 1)
        assert routes(row) == [("direct", "connect", "refused"), (RELAY, "done", "")]
    else:
        assert (len(ear.heard), beyond.heard) == (1, [])
        assert routes(row) == [("direct", "done", "")]


async def reset_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def test_a_path_that_is_reset_as_soon_as_it_opens_is_rescued(world: World) -> None:
    """Whether the flight or the reset is first is up to the machine."""
    site = world.new_site()
    name = site.name
    world.leads[name] = BEYOND
    async with world.ear(site.address, reset_at_once, port=443):
        answer = await world.byway.get(site.url())
    assert (answer.status, world.country.origins.peers(name)) == (200, [RELAYED])
    direct, relay = routes(await world.row(name))
    assert direct in (("direct", "first_byte", "reset"), ("direct", "connect", "refused"))
    assert relay == (RELAY, "done", "")


BANNER = b"SSH-2.0-OpenSSH_9.2\r\n"


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks first, then repeats what it is told."""
    writer.write(BANNER)
    while data := await reader.read(65536):
        writer.write(data)


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "rescued"])
async def test_a_server_may_speak_first(world: World, direct: bool) -> None:
    site = world.new_site()
    name = site.name
    async with (
        world.ear(site.address if direct else BEYOND, greet) as ear,
        tunnel(world.heard_by(name, ear), world.byway) as (reader, writer),
    ):
        assert await reader.readexactly(len(BANNER)) == BANNER
        writer.write(b"SSH-2.0-client\r\n")
        assert await reader.readexactly(16) == b"SSH-2.0-client\r\n"
    assert ear.heard == [b"SSH-2.0-client\r\n"]
    row = await world.row(name)
    assert row["winner"] == ("direct" if direct else RELAY)
    assert (row["bytes_up"], row["bytes_down"]) == (16, len(BANNER) + 16)


# -- ends ----------------------------------------------------------------------------------------------------------


async def digest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says what it heard once the other side has finished, and not before."""
    told = hashlib.sha256()
    while data := await reader.read(65536):
        told.update(data)
    writer.write(told.hexdigest().encode())


async def half_closed_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Finishes at the first word, and listens on."""
    await reader.read(65536)
    writer.write(b"that is all")
    writer.write_eof()
    while await reader.read(65536):
        pass


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "rescued"])
@pytest.mark.parametrize("size", [1, 300_000])
async def test_a_client_that_finishes_first_is_answered(world: World, direct: bool, size: int) -> None:
    site = world.new_site()
    name = site.name
    said = b"!" * size
    async with (
        world.ear(site.address if direct else BEYOND, digest) as ear,
        tunnel(world.heard_by(name, ear), world.byway) as (reader, writer),
    ):
        writer.write(said)
        writer.write_eof()
        assert await all_of(reader) == hashlib.sha256(said).hexdigest().encode()
    assert ear.heard == [said]
    row = await world.row(name)
    assert (row["winner"], row["bytes_up"], row["bytes_down"]) == ("direct" if direct else RELAY, size, 64)


async def test_a_server_that_finishes_first_hears_the_rest(world: World) -> None:
    site = world.new_site()
    name = site.name
    async with (
        world.ear(site.address, half_closed_first) as ear,
        tunnel(world.heard_by(name, ear), world.byway) as (reader, writer),
    ):
        writer.write(b"first")
        assert await all_of(reader) == b"that is all"
        writer.write(b" and the rest")
        await until_heard(ear, 18)
    assert ear.heard == [b"first and the rest"]


async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An HTTP server that wants to know that nothing follows."""
    while await reader.read(65536):
        pass
    writer.write(YES)


async def test_a_request_whose_client_has_finished_is_rescued(world: World) -> None:
    """As `nc -N` asks: the end of what the client says goes where the flight goes, on each route."""
    name, censor = world.censored()
    asked = f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()
    async with (
        world.ear(BEYOND, answer_at_the_end, port=censor.port) as ear,
        tunnel(world.heard_by(name, ear), world.byway) as (reader, writer),
    ):
        writer.write(asked)
        writer.write_eof()
        assert await all_of(reader) == YES
    assert (censor.flights, ear.heard) == ([asked], [asked])
    assert routes(await world.row(name)) == RESCUED


# -- a literal address and the name in its flight ------------------------------------------------------------------


@contextlib.asynccontextmanager
async def socks5(address: str, port: int, byway: Running) -> AsyncIterator[Connection]:
    """A tunnel to an IPv4 address, as a client asks that resolves names by itself."""
    async with plain("", byway) as (reader, writer):
        where = ipaddress.IPv4Address(address).packed + port.to_bytes(2, "big")
        writer.write(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + where)
        assert await reader.readexactly(2) == b"\x05\x00"
        assert (await reader.readexactly(10))[:2] == b"\x05\x00"
        yield reader, writer


async def flown(world: World, flight: str, address: str, name: str, censor: Censor) -> bytes:
    """What a client hears that asks for a literal, and names `name` in its flight once the path is open."""
    trust = world.country.public.client()
    async with socks5(address, censor.port, world.byway) as (reader, writer):
        await until(lambda: censor.connections == 1)
        if flight == "http":
            writer.write(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            return await all_of(reader)
        try:
            return await https((reader, writer), name, trust, writer_of(writer))
        except ConnectionError:
            return b""


@pytest.mark.parametrize("flight", ["tls", "http"])
async def test_a_literal_whose_flight_names_a_relay_only_host_leaves_the_open_path(world: World, flight: str) -> None:
    _, censor = world.censored(None, port=443 if flight == "tls" else 80)
    before = len(world.country.origins.peers(SECRET))
    page = await flown(world, flight, censor.address, SECRET, censor)
    assert page.endswith(f"says hello to {RELAYED}\n".encode())
    assert (censor.connections, b"".join(censor.flights)) == (1, b"")
    assert world.asked(censor.address) == 1
    assert world.country.origins.peers(SECRET)[before:] == [RELAYED]
    row = (await world.byway.rows(SECRET, before + 1))[-1]
    assert (row["host"], row["action"], routes(row)) == (SECRET, "RELAY", [(RELAY, "done", "")])
    assert "DOMAIN,secret.test,RELAY" in row["why"]


@pytest.mark.parametrize("flight", ["tls", "http"])
@pytest.mark.parametrize("name", [SECRET, REFUSED])
async def test_with_no_way_left_not_a_byte_goes_out(world: World, flight: str, name: str) -> None:
    """A relay-only name whose relay cannot, and a name that is blocked by rule."""
    _, censor = world.censored(None, port=443 if flight == "tls" else 80)
    world.unreached.add(censor.address)
    before = world.heard()
    assert await flown(world, flight, censor.address, name, censor) == b""
    assert (censor.connections, b"".join(censor.flights)) == (1, b"")
    assert world.asked(censor.address) == (1 if name == SECRET else 0)
    assert world.heard() == before


async def until_heard(ear: Ear, size: int = 1) -> None:
    await until(lambda: sum(map(len, ear.heard)) >= size)


@pytest.mark.parametrize(
    ("way", "leave"),
    [("plain", "reset"), ("tunnel", "reset"), ("hello", "reset"), ("early", "reset"), ("hello", "end")],
)
async def test_a_client_that_leaves_while_it_waits_takes_everything_with_it(world: World, way: str, leave: str) -> None:
    """Nobody is blamed for what was not waited for. An end alone says it of TLS only: others may have said all."""
    secure = way in ("hello", "early")
    name, censor = world.censored(silences_hellos, port=443) if secure else world.censored(silences)
    authority = f"{name}:{censor.port}"
    target = f"http://{authority}/" if way == "plain" else "/"
    flight = resuming(name) if secure else f"GET {target} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode()
    if way == "hello":
        flight = hellos.by_hand(hellos.sni(name.encode()), hellos.SUPPORTED_VERSIONS, hellos.KEY_SHARE)
    async with (plain if way == "plain" else tunnel)(authority, world.byway) as (_, writer):
        writer.write(flight)
        await until(lambda: len(censor.flights) == 1)
        if leave == "reset":
            reset(writer)
    row = await world.row(name)
    assert (row["winner"], row["closed_by"], world.asked(name)) == (None, "client", 0)
    assert [tried["symptom"] for tried in row["attempts"]] == ["abandoned"]
    assert (await world.byway.belief(name))["state"] == "unknown"


async def test_nothing_is_left_behind(world: World) -> None:
    """After all of the above, told by Byway and by the kernel."""

    async def alone() -> bool:
        live = (await world.byway.ask("/v1/status"))["live"]
        return (live["sessions"], live["tunnels"]) == (0, 0)

    await until_read(alone, within_s=15)
    await until(lambda: sockets(world.byway.pid) <= world.sockets)


def sockets(pid: int) -> int:
    """How many a process has open."""
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            count += descriptor.readlink().name.startswith("socket:")
    return count
