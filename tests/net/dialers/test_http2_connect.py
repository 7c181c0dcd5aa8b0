"""Tunnels through an https relay that speaks HTTP/2, and through those that do not. By a real server on loopback."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from proxy.config.relays import Relay
from proxy.model import Destination, Route, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers import http2_connection
from proxy.net.dialers.registry import Registry
from proxy.net.dialers.road import RoadToRelays, SharedRelays, WayBeliefs
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.dialers.tls import TlsStream
from proxy.net.stream import Stream
from proxy.net.tasks import spawn
from tests.lab.authorities import Authority
from tests.support.http2_relay import Http2Relay, Link
from tests.support.relay import Relay as PlainRelay
from tests.support.sockets import descriptors
from tests.support.streams import listening
from tests.support.waiting import until

HOSTS = [f"host-{number}.test" for number in range(30)]
NAME = "relay.test"
OPENING = "open a connection to a relay"
LONG = os.urandom(3 << 20)


@pytest.fixture(scope="module")
def ca(public: Authority, tmp_path_factory: pytest.TempPathFactory) -> str:
    file: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    file.write_text(public.pem)
    return str(file)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen connection is found soon. No test is about the time."""
    monkeypatch.setattr(http2_connection, "QUIET_S", 0.1)
    monkeypatch.setattr(http2_connection, "PING_S", 3.0)


@dataclass
class Scene:
    """A relay, a site behind it, and a client's registries."""

    relay: Http2Relay
    site: asyncio.Server
    ca: str
    to_relays: TcpDialer
    shared: SharedRelays = field(default_factory=SharedRelays)
    registries: list[Registry] = field(default_factory=list)

    def url(self, userinfo: str = "", options: str = "") -> str:
        return f"https://{userinfo}{self.relay.address}:{self.relay.port}?ca={self.ca}&sni={NAME}{options}"

    def registry(self, *relays: Relay, road: RoadToRelays | None = None) -> Registry:
        made = Registry(
            relays or (Relay.parse("vps", self.url()),),
            direct=self.to_relays,
            to_relays=self.to_relays,
            road=road,
            shared=self.shared,
        )
        self.registries.append(made)
        return made

    async def dial(self, host: str = HOSTS[0], *, registry: Registry | None = None, name: str = "vps") -> Stream:
        made = registry or (self.registries or [self.registry()])[0]
        return await made.dialer(Route((name,))).dial(Destination(host, self.port))

    @property
    def port(self) -> int:
        number: int = self.site.sockets[0].getsockname()[1]
        return number

    @property
    def link(self) -> Link:
        return self.relay.links[-1]

    async def failure(self, **options: str) -> tuple[Symptom, str]:
        with pytest.raises(DialError) as caught:
            await self.dial(**options)  # type: ignore[arg-type]
        assert caught.value.stage is Stage.RELAY
        assert "evil" not in str(caught.value)
        return caught.value.symptom, str(caught.value)


async def site(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echoes each line; `get` brings much, `hash` all that follows to the end."""
    while line := await reader.readline():
        if line == b"get\n":
            writer.write(LONG)
        elif line == b"hash\n":
            writer.write(hashlib.sha256(await reader.read()).digest())
            return
        else:
            writer.write(line)
        await writer.drain()


@pytest.fixture
async def scene(public: Authority, ca: str, to_relays: TcpDialer) -> AsyncIterator[Scene]:
    gc.collect()
    before = descriptors()
    names = dict.fromkeys((*HOSTS, NAME), "127.0.0.1")
    relay = Http2Relay(names, secure=public.server(NAME, itself=True))
    async with listening(site, "127.0.0.1", 0) as server, relay:
        made = Scene(relay, server, ca, to_relays)
        yield made
        made.shared.network_changed(lambda _: True)
    await until(lambda: descriptors() == before)


async def echo(stream: Stream, text: bytes = b"hello\n") -> bool:
    await stream.send(text)
    return await exactly(stream, len(text)) == text


async def exactly(stream: Stream, count: int) -> bytes:
    received = b""
    while len(received) < count and (data := await stream.receive()):
        received += data
    return received


async def test_thirty_hosts_make_one_hello(scene: Scene) -> None:
    streams = await asyncio.gather(*map(scene.dial, HOSTS))
    assert all(await asyncio.gather(*(echo(stream, f"{n}\n".encode()) for n, stream in enumerate(streams))))
    assert scene.relay.selected == ["h2"]
    assert sorted(scene.relay.asked) == sorted(f"{host}:{scene.port}" for host in HOSTS)
    assert all(stream.is_shared for stream in streams)
    assert len({stream.lowest_socket for stream in streams}) == 1
    assert scene.registries[0].protocol("vps") == "HTTP/2"
    for stream in streams:
        stream.close()


async def test_each_direction_ends_by_itself_and_all_bytes_arrive(scene: Scene) -> None:
    up, down, quiet = [await scene.dial(host) for host in HOSTS[:3]]
    upload = spawn(up.send(b"hash\n" + LONG), name="upload")
    await down.send(b"get\n")
    assert await exactly(down, len(LONG)) == LONG
    await upload
    up.send_eof()
    assert await exactly(up, 32) == hashlib.sha256(LONG).digest()
    assert await up.receive() == b""
    assert await echo(quiet)
    down.send_eof()
    assert await down.receive() == b""
    for stream in (up, down, quiet):
        stream.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        down.receive_nowait()
    assert scene.relay.connections == 1


async def test_a_stream_that_its_reader_stalls_holds_no_other_back(scene: Scene) -> None:
    stalled = [await scene.dial() for _ in range(20)]
    for stream in stalled:
        await stream.send(b"get\n")
    other = await scene.dial()
    for _ in range(3):
        await other.send(b"get\n")
        assert await exactly(other, len(LONG)) == LONG
    for stream in stalled:
        assert await exactly(stream, len(LONG)) == LONG, "all of it waits"
        stream.close()
    other.abort()
    await until(lambda: scene.link.resets != [])


async def test_a_reset_goes_both_ways(scene: Scene) -> None:
    ours, theirs, other = [await scene.dial() for _ in range(3)]
    ours.abort()
    await until(lambda: len(scene.link.resets) == 1)
    assert await echo(theirs)
    scene.link.http2.reset_stream(3, ErrorCodes.CONNECT_ERROR)
    scene.link.flush()
    with pytest.raises(ConnectionResetError):
        await theirs.receive()
    assert theirs.unread_error() != 0
    with pytest.raises(ConnectionResetError):
        await theirs.send(b"x")
    assert await echo(other)
    for stream in (theirs, other):
        stream.close()


# -- which protocol ----------------------------------------------------------------------------------------------------


async def test_a_relay_that_selects_http1_is_used_so_and_no_connection_is_wasted(scene: Scene) -> None:
    scene.relay.alpn = ("http/1.1",)
    assert scene.relay.secure is not None
    scene.relay.secure.set_alpn_protocols(["http/1.1"])
    for streams in [await asyncio.gather(*map(scene.dial, HOSTS[:5])) for _ in range(2)]:
        for stream in streams:
            assert await echo(stream)
            stream.close()
    assert scene.relay.selected == ["http/1.1"] * 10
    assert scene.registries[0].protocol("vps") == "HTTP/1.1"


async def test_http2_can_be_opted_out_of(scene: Scene) -> None:
    scene.registry(Relay.parse("vps", scene.url(options="&alpn=http/1.1")))
    stream = await scene.dial()
    assert await echo(stream)
    stream.close()
    assert scene.relay.selected == ["http/1.1"]
    assert scene.registries[0].protocol("vps") == "HTTP/1.1"


REFUSALS: dict[str, tuple[str | ErrorCodes, int]] = {
    # what: (the answer to every CONNECT, the connections by HTTP/2 in two visits)
    "405": ("405", 1),
    "501": ("501", 1),
    "400": ("400", 1),
    "a reset": (ErrorCodes.PROTOCOL_ERROR, 1),
    "HTTP/1.1 is required": (ErrorCodes.HTTP_1_1_REQUIRED, 1),
}


@pytest.mark.parametrize(("answer", "by_http2"), REFUSALS.values(), ids=REFUSALS)
async def test_a_relay_that_opens_no_connect_in_http2_is_used_by_http1_at_once(
    scene: Scene, answer: str | ErrorCodes, by_http2: int
) -> None:
    scene.relay.answers = lambda _: answer
    for _ in range(2):
        streams = await asyncio.gather(*map(scene.dial, HOSTS[:3]))
        for stream in streams:
            assert await echo(stream)
            stream.close()
    assert scene.relay.selected.count("h2") == by_http2
    assert scene.relay.selected.count("http/1.1") == 6
    assert scene.registries[0].protocol("vps") == "HTTP/1.1"


async def test_a_relay_that_closes_at_a_connect_is_used_by_http1_for_this_visit(scene: Scene) -> None:
    def close(_: str) -> None:
        scene.link.go_away(1, ErrorCodes.PROTOCOL_ERROR)
        asyncio.get_running_loop().call_soon(scene.link.cut)

    scene.relay.answers = close
    stream = await scene.dial()
    assert await echo(stream)
    stream.close()
    assert scene.relay.selected == ["h2", "http/1.1"]


async def test_a_destination_that_is_reset_says_nothing_about_the_protocol(scene: Scene) -> None:
    scene.relay.answers = lambda target: ErrorCodes.CONNECT_ERROR if target.startswith(HOSTS[1]) else "200"
    first = await scene.dial()
    assert await scene.failure(host=HOSTS[1]) == (
        Symptom.RELAY_REFUSED,
        "relay vps refuses the connection (CONNECT_ERROR)",
    )
    refused = Symptom.RELAY_REFUSED, "relay vps refuses the connection (502)"
    assert await scene.failure(host="unknown.test") == refused
    assert await echo(first)
    first.close()
    assert scene.relay.selected == ["h2"]


async def test_a_password_is_asked_for_in_the_words_of_http1(scene: Scene) -> None:
    scene.relay.user, scene.relay.password = "me", "secret"
    users = (("none", ""), ("bad", "me:x@"), ("good", "me:secret@"))
    scene.registry(*(Relay.parse(name, scene.url(userinfo)) for name, userinfo in users))
    assert await scene.failure(name="none") == (
        Symptom.RELAY_AUTH,
        "relay none requires a user and password (407)",
    )
    assert await scene.failure(name="bad") == (
        Symptom.RELAY_AUTH,
        "relay bad rejects the user and password, or wants another method than Basic, such as NTLM (407)",
    )
    stream = await scene.dial(name="good")
    assert await echo(stream)
    stream.close()
    assert scene.relay.selected == ["h2"] * 3, "each user has a connection"


# -- more than one connection ------------------------------------------------------------------------------------------


async def test_after_goaway_tunnels_go_on_and_later_ones_take_another_connection(scene: Scene) -> None:
    first = await scene.dial()
    await first.send(b"get\n")
    scene.link.go_away(1)
    await until(lambda: not scene.link.is_frozen and _is_ending(first))
    second = await scene.dial()
    assert await echo(second)
    assert await exactly(first, len(LONG)) == LONG
    assert await echo(first)
    first.close()
    await until(lambda: scene.relay.links[0].was_told_end)
    assert scene.relay.selected == ["h2", "h2"]
    second.close()


def _is_ending(stream: Stream) -> bool:
    return _connection_of(stream).is_ending


def _connection_of(stream: Stream) -> http2_connection.Http2Connection:
    assert isinstance(stream, http2_connection.ConnectStream)
    return stream._connection


async def test_a_connect_that_a_goaway_refuses_is_sent_again(scene: Scene) -> None:
    first = await scene.dial()

    def answer(_: str) -> str | None:
        if len(scene.relay.links) > 1:
            return "200"
        scene.link.go_away(1)
        return None

    scene.relay.answers = answer
    second = await scene.dial()
    assert await echo(second)
    assert await echo(first)
    assert scene.relay.selected == ["h2", "h2"]
    for stream in (first, second):
        stream.close()


async def test_a_connect_is_sent_again_when_its_connection_is_lost(scene: Scene) -> None:
    first = await scene.dial()

    def answer(_: str) -> str | None:
        if len(scene.relay.links) > 1:
            return "200"
        scene.link.cut()
        return None

    scene.relay.answers = answer
    second = await scene.dial()
    assert await echo(second)
    with pytest.raises(ConnectionError):
        await first.receive()
    first.close()
    second.close()


async def test_a_relay_that_is_lost_each_time_is_down(scene: Scene) -> None:
    (await scene.dial()).close()

    def answer(_: str) -> None:
        scene.link.cut()

    scene.relay.answers = answer
    assert await scene.failure() == (Symptom.RELAY_DOWN, "relay vps closed the connection during the handshake")
    assert len(scene.relay.links) <= 4


async def test_a_frozen_connection_is_replaced_and_a_slow_destination_is_waited_for(scene: Scene) -> None:
    first = await scene.dial()
    scene.relay.answers = lambda target: None if target.startswith(HOSTS[1]) else "200"
    slow = spawn(scene.dial(HOSTS[1]), name="slow")
    await until(lambda: scene.link.pings > 1)
    assert not slow.done()
    assert scene.relay.connections == 1
    scene.link.is_frozen = True
    second = await scene.dial()
    assert await echo(second)
    assert scene.relay.selected == ["h2", "h2"]
    slow.cancel()
    for stream in (first, second):
        stream.close()


async def test_no_more_tunnels_than_the_relay_allows_and_the_others_take_http1(scene: Scene) -> None:
    scene.relay.settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 2}
    streams = []
    for host in HOSTS[:6]:
        streams.append(await scene.dial(host))
        assert await echo(streams[-1])
    assert scene.relay.selected == ["h2", "h2", "http/1.1", "http/1.1"]
    for stream in streams:
        stream.close()


async def test_a_relay_whose_settings_come_late_refuses_and_is_asked_again(scene: Scene) -> None:
    scene.relay.settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 4}
    streams = await asyncio.gather(*map(scene.dial, HOSTS))
    assert all(await asyncio.gather(*map(echo, streams)))
    assert scene.relay.selected.count("h2") in (1, 2)
    for stream in streams:
        stream.close()


async def test_later_tunnels_leave_the_connection_of_a_long_transfer(scene: Scene) -> None:
    long, short = await scene.dial(), await scene.dial()
    await long.send(b"get\n")
    await exactly(long, len(LONG))
    third = await scene.dial()  # opens the second connection for others
    await until(lambda: len(scene.relay.selected) == 2)
    await asyncio.sleep(0.05)
    fourth = await scene.dial()
    assert third.lowest_socket is long.lowest_socket
    assert fourth.lowest_socket is not long.lowest_socket
    long.close()
    await until(lambda: not _connection_of(short).bulk_streams)
    assert (await scene.dial()).lowest_socket is short.lowest_socket
    assert scene.relay.selected == ["h2", "h2"]


async def test_a_second_host_costs_one_round_trip(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    first, send = await scene.dial(), TlsStream.send_nowait
    assert await echo(first)

    def note(stream: TlsStream, data: bytes | memoryview) -> int:
        sent.append(bytes(data))
        return send(stream, data)

    monkeypatch.setattr(TlsStream, "send_nowait", note)
    second = await scene.dial(HOSTS[1])
    (request,) = sent
    assert int.from_bytes(request[:3], "big") + 9 == len(request), "one frame"
    assert request[3] == 1, "HEADERS"
    assert scene.relay.connections == 1
    first.close()
    second.close()


async def test_where_packets_are_lost_few_tunnels_share_a_connection(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [await scene.dial()]
    shared = _connection_of(streams[0])
    monkeypatch.setattr(http2_connection, "segments_received", lambda sock: (shared.segments, 0))
    shared.losses, shared.segments = 1, 60
    streams += await asyncio.gather(*map(scene.dial, HOSTS[:4]))
    assert scene.relay.selected == ["h2", "http/1.1", "http/1.1"], "the first is at rest"
    monkeypatch.setattr(http2_connection, "ACTIVE_S", 0.0)
    streams.append(await scene.dial())
    assert len(scene.relay.selected) == 3, "all are at rest"
    monkeypatch.setattr(http2_connection, "ACTIVE_S", 60.0)
    assert all(await asyncio.gather(*map(echo, streams)))
    own = 2  # tunnels by HTTP/1.1
    for network_changes, losses, segments, shares in (
        (False, 1, 201, True),  # few
        (False, 0, 60, True),  # the one loss was not remembered
        (False, 2, 60, False),
        (False, 0, 499, False),  # those are, until
        (False, 0, 500, True),  # so many came without
        (False, 0, 60, True),
        (False, 4, 600, False),
        (False, 0, 60, False),
        (True, 0, 60, True),
    ):
        if network_changes:
            scene.shared.network_changed(lambda sock: False)
        shared.losses, shared.segments = losses, segments
        streams.append(await scene.dial())
        own += not shares
        assert scene.relay.selected.count("http/1.1") == own, (losses, segments)
    assert scene.relay.selected.count("h2") == 1
    for stream in streams:
        stream.close()


async def test_a_loss_counts_once_however_much_came_behind_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = await scene.dial()
    shared = _connection_of(stream)
    assert await echo(stream)
    assert shared.segments > 0
    for behind_gaps, losses in ((0, 0), (9, 1), (9, 1), (10, 2)):
        monkeypatch.setattr(http2_connection, "segments_received", lambda sock, behind=behind_gaps: (70, behind))
        assert await echo(stream)
        assert (shared.segments, shared.losses) == (70, losses)
    stream.close()


async def test_a_relay_that_reads_nothing_is_not_answered_without_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its PINGs come between the bytes of a tunnel, so they are not too many."""
    limit, data, ping = 1000, b"\0\0\x64\0\0\0\0\0\x01" + bytes(100), b"\0\0\x08\x06\0\0\0\0\0" + bytes(8)
    monkeypatch.setattr(http2_connection, "_UNSENT_LIMIT", limit)
    stream = await scene.dial()
    shared = _connection_of(stream)
    with monkeypatch.context() as while_nothing_is_taken:
        while_nothing_is_taken.setattr(TlsStream, "send_nowait", lambda self, data: 0)
        read = 0
        for _ in range(50):
            scene.link.raw(4 * ping + data)
            await until(lambda before=read: stream._size > before or shared.unsent > limit)  # type: ignore[attr-defined, misc]
            read = stream._size  # type: ignore[attr-defined]
        await asyncio.sleep(0.05)
        assert limit < shared.unsent <= limit + 4 * len(ping)
    shared.stream._wake(receiver=True, sender=True)
    assert await exactly(stream, 5000) == bytes(5000)
    stream.close()


# -- its life ----------------------------------------------------------------------------------------------------------


async def test_an_idle_connection_sends_nothing_and_is_closed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2_connection, "IDLE_S", 0.3)
    for _ in range(2):
        stream = await scene.dial()
        assert await echo(stream)
        await asyncio.sleep(0.5)
        assert await echo(stream), "it is not idle"
        stream.send_eof()
        assert await stream.receive() == b""
        stream.close()
    await until(lambda: scene.link.was_told_end)
    assert scene.link.pings == 0
    assert scene.relay.connections == 1
    (await scene.dial()).close()
    assert scene.relay.connections == 2


async def test_a_dial_that_is_cancelled_takes_nothing_from_those_that_wait_with_it(scene: Scene) -> None:
    dials = [spawn(scene.dial(host), name=host) for host in HOSTS[:4]]
    await asyncio.sleep(0)
    dials[0].cancel()
    streams = [await dial for dial in dials[1:]]
    assert all(await asyncio.gather(*map(echo, streams)))
    assert scene.relay.connections == 1
    for stream in streams:
        stream.close()


async def test_nothing_is_left_open_when_all_dials_are_cancelled(scene: Scene) -> None:
    for pause_s in (0.0, 0.002, 0.01):
        dials = [spawn(scene.dial(host), name=host) for host in HOSTS[:4]]
        await asyncio.sleep(pause_s)
        for dial in dials:
            dial.cancel()
        await asyncio.wait(dials)
        await until(lambda: not any(task.get_name() == OPENING for task in asyncio.all_tasks()))
        if not pause_s:
            assert scene.relay.selected == [], "nobody waited for it"


async def test_all_that_wait_hear_of_one_attempt_that_failed(scene: Scene) -> None:
    await scene.relay.stop()
    results = await asyncio.gather(*map(scene.dial, HOSTS[:8]), return_exceptions=True)
    assert {(type(each), str(each).partition(":")[0]) for each in results} == {
        (DialError, "relay vps cannot be reached")
    }
    await scene.relay.revive()
    stream = await scene.dial()
    assert await echo(stream)
    stream.close()


async def test_a_reload_keeps_the_connection_and_another_password_gets_another(scene: Scene) -> None:
    first = await scene.dial()
    scene.registries.clear()
    second = await scene.dial(registry=scene.registry())
    assert second.lowest_socket is first.lowest_socket
    other = scene.registry(Relay.parse("vps", scene.url("me:secret@")))
    third = await scene.dial(registry=other)
    assert third.lowest_socket is not first.lowest_socket
    assert await echo(first)
    for stream in (first, second, third):
        stream.close()


async def test_a_change_of_the_ca_file_gets_another_connection(scene: Scene, public: Authority, tmp_path: Path) -> None:
    copy, text = tmp_path / "ca.pem", public.pem
    copy.write_text(text)
    scene.ca = str(copy)
    first = await scene.dial()
    copy.write_text(text + "\n")
    second = await scene.dial(registry=scene.registry())
    assert second.lowest_socket is not first.lowest_socket
    for stream in (first, second):
        stream.close()


async def test_when_the_network_is_gone_so_are_the_tunnels(scene: Scene) -> None:
    first = await scene.dial()
    scene.shared.network_changed(lambda sock: sock is first.lowest_socket)
    with pytest.raises(ConnectionError):
        await first.receive()
    first.close()
    second = await scene.dial()
    scene.shared.retire_all()
    third = await scene.dial()
    assert await echo(second)
    assert await echo(third)
    assert scene.relay.connections == 3
    for stream in (second, third):
        stream.close()


async def test_a_way_that_others_have_left_gets_no_more_tunnels(scene: Scene) -> None:
    left_at = [0.0]

    class Beliefs(WayBeliefs):
        def has_left(self, relay: Destination, peer: str, network: object, since: float) -> bool:
            assert peer == f"{relay.host}:{relay.port}"
            return left_at[0] > since

    registry = scene.registry(Relay.parse("vps", scene.url()), road=RoadToRelays(beliefs=Beliefs()))
    first, second = [await scene.dial(registry=registry) for _ in range(2)]
    assert first.lowest_socket is second.lowest_socket
    left_at[0] = time.time()
    third = await scene.dial(registry=registry)
    assert third.lowest_socket is not first.lowest_socket
    assert await echo(first)
    fourth = await scene.dial(registry=registry)
    assert fourth.lowest_socket is third.lowest_socket
    for stream in (first, second, third, fourth):
        stream.close()


async def test_what_was_found_frozen_gets_no_more_tunnels(scene: Scene) -> None:
    first = await scene.dial()
    first.give_up_connection()
    second = await scene.dial()
    assert await echo(first)
    assert await echo(second)
    assert scene.relay.connections == 2
    for stream in (first, second):
        stream.close()


# -- chains ------------------------------------------------------------------------------------------------------------


async def test_a_chain_has_connections_of_its_own(scene: Scene) -> None:
    url = f"https://{NAME}:{scene.relay.port}?ca={scene.ca}"
    async with PlainRelay({NAME: scene.relay.address}) as before:
        registry = scene.registry(
            Relay.parse("vps", scene.url()),
            Relay.parse("by-socks", f"socks5h://{before.address}:{before.port}>{url}"),
            Relay.parse("twice", f"{scene.url()}>{url}"),
        )
        scene.relay.names = {**scene.relay.names, NAME: scene.relay.address}
        for name, links in (("vps", 1), ("by-socks", 2), ("twice", 3)):
            streams = await asyncio.gather(*(scene.dial(host, registry=registry, name=name) for host in HOSTS[:5]))
            assert all(await asyncio.gather(*map(echo, streams)))
            await streams[0].send(b"get\n")
            assert await exactly(streams[0], len(LONG)) == LONG
            assert len(scene.relay.links) == links, name
            for stream in streams:
                stream.send_eof()
                assert await stream.receive() == b""
                stream.close()
        assert before.asked == [f"{NAME}:{scene.relay.port}"]


async def test_a_tls_layer_within_a_tunnel_leaves_the_bytes_of_others_alone(scene: Scene) -> None:
    """It empties its socket when it closes: but here the socket is that of all tunnels."""
    url = f"https://{NAME}:{scene.relay.port}?ca={scene.ca}&alpn=http/1.1"
    registry = scene.registry(Relay.parse("vps", scene.url()), Relay.parse("twice", f"{scene.url()}>{url}"))
    scene.relay.names = {**scene.relay.names, NAME: scene.relay.address}
    outer = await scene.dial(registry=registry)
    await outer.send(b"get\n")
    for _ in range(20):
        inner = await scene.dial(registry=registry, name="twice")
        assert inner.lowest_socket is outer.lowest_socket
        await inner.send(b"get\n")
        inner.close()
    assert await exactly(outer, len(LONG)) == LONG
    outer.close()


Misbehave = Callable[[Link], None]
HOSTILE: dict[str, Misbehave] = {
    "garbage": lambda link: link.raw(b"HTTP/1.1 400 Bad Request\r\nX: evil\r\n\r\n"),
    "PING for ever": lambda link: link.raw((b"\0\0\x08\x06\0\0\0\0\0" + bytes(8)) * 5000),
    "headers in pieces for ever": lambda link: link.raw(
        b"\0\0\0\x01\0\0\0\0\x01" + b"\0\0\x40\x09\0\0\0\0\x01" + bytes(64)
        + (b"\0\0\x40\x09\0\0\0\0\x01" + bytes(64)) * 200
    ),
    "an empty GOAWAY": lambda link: link.raw(b"\0\0\0\x07\0\0\0\0\0"),
}  # fmt: skip


@pytest.mark.parametrize("misbehave", HOSTILE.values(), ids=HOSTILE)
async def test_a_relay_that_breaks_the_protocol_is_garbage_and_others_are_told(
    scene: Scene, misbehave: Misbehave
) -> None:
    first = await scene.dial()

    def answer(_: str) -> None:
        misbehave(scene.link)

    scene.relay.answers = answer
    symptom, text = await scene.failure()
    assert symptom is Symptom.RELAY_GARBAGE
    assert text.startswith("relay vps ")
    with pytest.raises(ConnectionError):
        await first.receive()
    first.close()


async def test_a_loop_of_tasks_ends_with_nothing_open(scene: Scene) -> None:
    """As a command does: its run ends with a connection that is idle."""

    async def connections() -> list[asyncio.Task[object]]:
        return [task for task in asyncio.all_tasks() if task.get_name() == "connection to a relay"]

    stream = await scene.dial()
    (task,) = await connections()
    task.cancel()
    await asyncio.wait({task})
    with pytest.raises(ConnectionError):
        await stream.receive()
    stream.close()


def test_h2_is_imported_only_once_a_relay_has_selected_it() -> None:
    code = (
        "import sys\n"
        "from proxy.config.relays import Relay\n"
        "from proxy.net.dialers.registry import Registry\n"
        "from proxy.model import Route\n"
        "made = Registry([Relay.parse('vps', 'https://relay.test')], direct=None, to_relays=None)\n"
        "made.dialer(Route(('vps',)))\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('h2', 'hpack', 'hyperframe')])\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
