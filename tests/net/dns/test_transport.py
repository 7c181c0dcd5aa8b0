from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from proxy.model import Destination, Stage, Symptom
from proxy.model.errors import ConfigError, DialError
from proxy.net.dialers.socks import Socks5Dialer
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.dns import transport as dns_channel
from proxy.net.dns.transport import HTTP1_CONNECTIONS, DnsTransport, make_transport
from proxy.net.poller import Poller
from proxy.net.stream import Stream
from proxy.net.tasks import cancel_all, spawn
from proxy.wire import dns
from proxy.wire.dns import RecordType
from proxy.wire.dns_url import DnsProtocol, SecureServer
from proxy.wire.relay_url import parse
from tests.support.authority import Authority
from tests.support.late import TLS_LATE_S, stall, stalling
from tests.support.name_servers import (
    LOOPBACK,
    Asked,
    Http2Peer,
    NameServer,
    Speaks,
    page,
    reply,
    saying,
    silent,
    tls_server,
)
from tests.support.programs import require
from tests.support.programs_running import free_port, running
from tests.support.relay import Relay
from tests.support.waiting import until, until_read

ADDRESS = "192.0.2.7"
AUTHORITY = Authority()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(AUTHORITY.write(tmp_path_factory.mktemp("ca")))


@pytest.fixture(params=list(Speaks), ids=[speaks.name for speaks in Speaks])
def speaks(request: pytest.FixtureRequest) -> Speaks:
    found: Speaks = request.param
    return found


@pytest.fixture
def kind(speaks: Speaks) -> DnsProtocol:
    return DnsProtocol.DOT if speaks is Speaks.DOT else DnsProtocol.DOH


@pytest.fixture
async def server(home: None, best_poller: Poller, speaks: Speaks) -> AsyncIterator[NameServer]:
    """Whatever a test leaves under way is ended before its server is."""
    async with tls_server(saying(ADDRESS), AUTHORITY.server(LOOPBACK, "dns.test"), speaks) as made:
        yield made
        await cancel_all()


only = partial(pytest.mark.parametrize, "speaks", indirect=True)
"""For tests of one protocol, or two."""

Made = tuple[NameServer, DnsTransport]


@pytest.fixture
def channel(server: NameServer, kind: DnsProtocol, ca: str, to_relays: TcpDialer) -> DnsTransport:
    return make_transport(where(server, kind, ca), to_relays, timeout_s=10)


def where(server: NameServer, kind: DnsProtocol, ca: str | None, sni: str | None = None) -> SecureServer:
    return SecureServer(kind, Destination(LOOPBACK, server.port), "/dns-query", sni, ca)


async def ask(channel: DnsTransport, name: str = "a.test", kind: RecordType = RecordType.A) -> list[str]:
    answer = dns.read_answer(await channel.exchange(dns.query(name, kind, padded=True)), name, kind)
    return [str(address) for address in answer.addresses]


async def failing(channel: DnsTransport, name: str = "a.test") -> DialError:
    with pytest.raises(DialError) as caught:
        await ask(channel, name)
    assert caught.value.stage is Stage.RESOLVE
    assert str(channel.server) in str(caught.value)
    return caught.value


async def test_questions_share_a_connection(server: NameServer, channel: DnsTransport) -> None:
    for _ in range(3):
        assert await ask(channel) == [ADDRESS]
    assert {asked.connection for asked in server.asked} == {1}


async def test_D13_questions_are_padded_and_name_no_subnet(server: NameServer, channel: DnsTransport) -> None:
    for name in ("a.test", "a-much-longer-name-than-the-other.example.test"):
        await ask(channel, name)
    assert {asked.size for asked in server.asked} == {128}
    options = [option.otype for asked in server.asked for option in asked.message.options]
    assert options == [12, 12]  # padding, and nothing else


@only([Speaks.HTTP1, Speaks.HTTP2])
async def test_over_HTTPS_a_question_has_no_number(server: NameServer, channel: DnsTransport) -> None:
    await ask(channel)
    assert [asked.message.id for asked in server.asked] == [0]
    (head,) = server.heads
    assert f"127.0.0.1:{server.port}\r\n" in head
    assert "user-agent" not in head.lower()


@only([Speaks.DOT, Speaks.HTTP2])
async def test_many_questions_travel_at_once_and_are_answered_in_any_order(
    server: NameServer, channel: DnsTransport
) -> None:
    server.say = silent
    asking = [spawn(ask(channel, f"n{number}.test"), name="ask") for number in range(80)]
    await until(lambda: len(server.asked) == 80)
    assert server.connections == 1
    server.say = lambda asked: [reply(held, ADDRESS) for held in reversed(server.asked)]  # in another order
    await ask(channel, "last.test")
    assert await asyncio.gather(*asking) == [[ADDRESS]] * 80


@only([Speaks.HTTP1])
async def test_over_HTTP_1_there_are_so_many_connections(server: NameServer, channel: DnsTransport) -> None:
    server.say = silent
    asking = [spawn(ask(channel, f"n{number}.test"), name="ask") for number in range(50)]
    await until(lambda: len(server.asked) == HTTP1_CONNECTIONS)
    server.say = saying(ADDRESS)
    for task in asking[:HTTP1_CONNECTIONS]:
        task.cancel()
    await asyncio.wait(asking[:HTTP1_CONNECTIONS])
    server.drop_connections()
    assert await asyncio.gather(*asking[HTTP1_CONNECTIONS:]) == [[ADDRESS]] * (50 - HTTP1_CONNECTIONS)


async def test_a_server_that_selects_no_protocol_speaks_HTTP_1(
    home: None, best_poller: Poller, ca: str, to_relays: TcpDialer
) -> None:
    server = NameServer(saying(ADDRESS))
    listener = await asyncio.start_server(server.http, LOOPBACK, 0, ssl=AUTHORITY.server(LOOPBACK))
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        assert await ask(make_transport(where(server, DnsProtocol.DOH, ca), to_relays, timeout_s=10)) == [ADDRESS]
        await cancel_all()
        server.drop_connections()


async def test_a_certificate_for_the_name_given_is_enough(
    server: NameServer, kind: DnsProtocol, ca: str, to_relays: TcpDialer
) -> None:
    assert await ask(make_transport(where(server, kind, ca, "dns.test"), to_relays, timeout_s=10)) == [ADDRESS]


@pytest.mark.parametrize(("trusted", "sni"), [(True, "other.test"), (False, None)])
async def test_D1_a_certificate_that_is_not_good_is_refused_before_anything_is_asked(
    server: NameServer, kind: DnsProtocol, ca: str, to_relays: TcpDialer, trusted: bool, sni: str | None
) -> None:
    channel = make_transport(where(server, kind, ca if trusted else None, sni), to_relays, timeout_s=10)
    assert (await failing(channel)).symptom is Symptom.CERTIFICATE
    assert server.asked == []


def test_a_file_without_certificates_is_told_at_start(kind: DnsProtocol, to_relays: TcpDialer, tmp_path: Path) -> None:
    server = SecureServer(kind, Destination(LOOPBACK, 1), ca=str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match="no certificates"):
        make_transport(server, to_relays, timeout_s=1)


async def test_a_connection_that_was_closed_meanwhile_is_replaced(server: NameServer, channel: DnsTransport) -> None:
    server.close_after = 1
    for _ in range(3):
        assert await ask(channel) == [ADDRESS]
    assert [asked.connection for asked in server.asked] == [1, 2, 3]


async def test_a_question_lost_with_a_kept_connection_is_asked_once_more(
    server: NameServer, channel: DnsTransport
) -> None:
    await ask(channel)
    server.say = silent
    asking = spawn(ask(channel), name="ask")
    await until(lambda: len(server.asked) == 2)
    server.say = saying(ADDRESS)
    server.drop_connections()
    assert await asking == [ADDRESS]
    assert [asked.connection for asked in server.asked] == [1, 1, 2]


async def test_a_question_lost_with_a_new_connection_has_failed(server: NameServer, channel: DnsTransport) -> None:
    server.say = silent
    asking = spawn(failing(channel), name="ask")
    await until(lambda: len(server.asked) == 1)
    server.drop_connections()
    assert (await asking).symptom is Symptom.RESOLVE_FAILED
    assert len(server.asked) == 1


@only([Speaks.DOT, Speaks.HTTP1])
async def test_silence_is_waited_for_so_long(
    server: NameServer, kind: DnsProtocol, ca: str, to_relays: TcpDialer
) -> None:
    server.say = silent
    channel = make_transport(where(server, kind, ca), to_relays, timeout_s=0.3)
    assert "no answer within 0.3 s" in str(await failing(channel))
    await until(lambda: not channel._running)  # what carries nothing is not kept
    server.say = saying(ADDRESS)

    async def is_answered() -> bool:
        with contextlib.suppress(DialError):  # a busy machine takes longer for a handshake
            return await ask(channel) == [ADDRESS]
        return False

    await until_read(is_answered)


async def test_an_idle_connection_is_closed(
    server: NameServer, kind: DnsProtocol, ca: str, to_relays: TcpDialer
) -> None:
    channel = make_transport(where(server, kind, ca), to_relays, timeout_s=10, idle_s=0.01)
    await ask(channel)
    await until(lambda: not channel._running)
    assert await ask(channel) == [ADDRESS]
    assert server.connections == 2


@only([Speaks.DOT, Speaks.HTTP2])
async def test_who_leaves_takes_nobody_along(server: NameServer, channel: DnsTransport) -> None:
    server.say = silent
    leaving, staying = (spawn(ask(channel, name), name="ask") for name in ("a.test", "b.test"))
    await until(lambda: len(server.asked) == 2)
    leaving.cancel()
    await asyncio.wait([leaving])
    server.say = lambda _: [reply(asked, ADDRESS) for asked in server.asked]
    assert await ask(channel, "c.test") == await staying == [ADDRESS]
    assert server.connections == 1


@only([Speaks.HTTP1])
async def test_a_question_whose_asker_left_before_its_turn_is_not_asked(
    server: NameServer, channel: DnsTransport
) -> None:
    server.say = silent
    for number in range(HTTP1_CONNECTIONS):
        spawn(ask(channel, f"n{number}.test"), name="ask")
    await until(lambda: len(server.asked) == HTTP1_CONNECTIONS)
    late = spawn(ask(channel, "late.test"), name="ask")
    await asyncio.sleep(0)
    late.cancel()
    await asyncio.wait([late])
    server.say = saying(ADDRESS)
    server.drop_connections()
    assert await ask(channel) == [ADDRESS]
    assert "late.test" not in server.names()


async def test_no_more_than_so_many_wait(
    server: NameServer, channel: DnsTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_channel, "WAITING_LIMIT", 2)
    server.say = silent
    asking = [spawn(ask(channel, name), name="ask") for name in ("a.test", "b.test")]
    await asyncio.sleep(0)
    assert (await failing(channel)).symptom is Symptom.LOCAL
    for task in asking:
        task.cancel()
    await asyncio.wait(asking)
    server.say = saying(ADDRESS)
    server.drop_connections()
    assert await ask(channel) == [ADDRESS]


async def test_nobody_listens(home: None, kind: DnsProtocol, ca: str, to_relays: TcpDialer) -> None:
    channel = make_transport(SecureServer(kind, Destination(LOOPBACK, 1), ca=ca), to_relays, timeout_s=10)
    assert (await failing(channel)).symptom is Symptom.RESOLVE_FAILED


async def test_our_own_troubles_stay_ours(kind: DnsProtocol, ca: str) -> None:
    class Offline:
        async def dial(self, destination: Destination) -> Stream:
            raise DialError("no route", stage=Stage.CONNECT, symptom=Symptom.OFFLINE)

    channel = make_transport(SecureServer(kind, Destination(LOOPBACK, 1), ca=ca), Offline(), timeout_s=10)
    assert (await failing(channel)).symptom is Symptom.OFFLINE


@only([Speaks.HTTP1])
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (page(b"<html>log in", kind="text/html; charset=utf-8"), "'text/html; charset=utf-8', which is no DNS message"),
        (page(b"", status="403 Forbidden"), "HTTP status 403"),
        (page(b"", status="302 Found", more="Location: http://portal.test/\r\n"), "HTTP status 302"),
        (page(b"x" * (dns.MESSAGE_LIMIT + 1)), "exceeds 16384 bytes"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not proper HTTP"),
        (page(b"").replace(b": 0", b": 7") + b"xx", None),
    ],
)
async def test_D3_D4_an_answer_that_is_none_is_refused(
    server: NameServer, channel: DnsTransport, answer: bytes, says: str | None
) -> None:
    server.pages = [answer]
    server.close_after = 1
    error = await failing(channel)
    assert says is None or says in str(error)
    assert len(server.asked) == 1
    server.close_after = 0
    assert await ask(channel) == [ADDRESS]


@only([Speaks.HTTP1])
async def test_what_follows_an_answer_is_no_answer_to_the_next(server: NameServer, channel: DnsTransport) -> None:
    forged = page(b"forged")

    def say(asked: object) -> list[bytes]:
        server.pages = [page(reply(server.asked[-1], ADDRESS)) + forged]
        return [b""]

    server.say = say
    assert await ask(channel) == [ADDRESS]
    assert await ask(channel) == [ADDRESS]
    assert [asked.connection for asked in server.asked] == [1, 2]


@only([Speaks.DOT])
@pytest.mark.parametrize("answer", [b"", b"x" * 11, b"x" * (dns.MESSAGE_LIMIT + 1)])
async def test_D4_a_message_of_an_impossible_length_ends_the_connection(
    server: NameServer, channel: DnsTransport, answer: bytes
) -> None:
    server.say = lambda _: [answer]
    assert f"its answer is {len(answer)} bytes long" in str(await failing(channel))


@only([Speaks.DOT])
async def test_an_answer_to_nothing_is_passed_over(server: NameServer, channel: DnsTransport) -> None:
    server.say = lambda asked: [reply(asked, "203.0.113.1", number=asked.message.id ^ 1), reply(asked, ADDRESS)]
    assert await ask(channel) == [ADDRESS]


async def test_an_answer_that_came_while_the_loop_was_late_is_in_time(
    server: NameServer, channel: DnsTransport
) -> None:
    def say_late(asked: Asked) -> Sequence[bytes]:
        stall(1000)
        return [reply(asked, ADDRESS)]

    server.say = say_late
    assert await ask(channel) == [ADDRESS]


async def test_a_handshake_that_was_answered_while_the_loop_was_late_is_in_time(
    home: None, best_poller: Poller, to_relays: TcpDialer, speaks: Speaks, kind: DnsProtocol, ca: str
) -> None:
    context = stalling(AUTHORITY.server(LOOPBACK, "dns.test"), TLS_LATE_S)
    async with tls_server(saying(ADDRESS), context, speaks) as server:
        channel = make_transport(where(server, kind, ca), to_relays, timeout_s=10)
        assert await ask(channel) == [ADDRESS]
        await cancel_all()


# -- HTTP/2 ------------------------------------------------------------------------------------------------------------

http2 = only([Speaks.HTTP2])


@http2
async def test_one_query_that_times_out_takes_no_other_along(server: NameServer, ca: str, to_relays: TcpDialer) -> None:
    channel = make_transport(where(server, DnsProtocol.DOH, ca), to_relays, timeout_s=1)
    server.say = lambda asked: [] if asked.name == "slow.test" else [reply(asked, ADDRESS)]
    slow = spawn(failing(channel, "slow.test"), name="ask")
    await until(lambda: len(server.asked) == 1)
    assert await ask(channel) == [ADDRESS]
    assert "no answer within 1 s" in str(await slow)
    assert await ask(channel) == [ADDRESS]
    await until(lambda: server.peers[0].resets == [1])
    assert server.connections == 1
    assert server.pings  # it was asked whether it is there


@http2
async def test_a_connection_that_is_dead_is_not_kept(server: NameServer, ca: str, to_relays: TcpDialer) -> None:
    channel = make_transport(where(server, DnsProtocol.DOH, ca), to_relays, timeout_s=1)
    assert await ask(channel) == [ADDRESS]
    server.reads.clear()
    dead = set(channel._running)
    assert "no answer within 1 s" in str(await failing(channel))
    await until(lambda: dead.isdisjoint(channel._running))
    server.reads.set()
    assert await ask(channel) == [ADDRESS]
    assert server.connections == 2


@http2
async def test_a_server_that_closes_answers_what_it_took_and_the_rest_is_asked_on_a_new_connection(
    server: NameServer, channel: DnsTransport
) -> None:
    server.say = silent
    taken = spawn(ask(channel, "taken.test"), name="ask")
    await until(lambda: len(server.asked) == 1)

    def close_down(peer: Http2Peer, stream: int, _: Sequence[bytes]) -> None:
        server.act = Http2Peer.answer_questions
        server.say = saying(ADDRESS)
        #           length          type    flags   stream     last stream                          NO_ERROR
        peer.send(bytes((0, 0, 8)) + b"\x07" + b"\0" + bytes(4) + (stream - 2).to_bytes(4, "big") + bytes(4))

    server.act = close_down
    assert await ask(channel, "refused.test") == [ADDRESS]
    assert [(asked.name, asked.connection) for asked in server.asked] == [
        ("taken.test", 1),
        ("refused.test", 1),
        ("refused.test", 2),
    ]
    server.peers[0].answer(1, reply(server.asked[0], ADDRESS))
    server.peers[0].send()
    assert await taken == [ADDRESS]
    assert await ask(channel) == [ADDRESS]
    assert server.asked[-1].connection == 2


@http2
async def test_a_query_that_is_refused_is_asked_once_more_and_not_thrice(
    server: NameServer, channel: DnsTransport
) -> None:
    server.act = lambda peer, stream, _: peer.http2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
    assert "REFUSED_STREAM" in str(await failing(channel))
    assert [asked.connection for asked in server.asked] == [1, 2]
    server.act = Http2Peer.answer_questions
    assert await ask(channel) == [ADDRESS]


@http2
async def test_a_query_that_is_broken_off_has_failed_and_the_connection_goes_on(
    server: NameServer, channel: DnsTransport
) -> None:
    server.act = lambda peer, stream, _: peer.http2.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
    assert "INTERNAL_ERROR" in str(await failing(channel))
    server.act = Http2Peer.answer_questions
    assert await ask(channel) == [ADDRESS]
    assert [asked.connection for asked in server.asked] == [1, 1]


@http2
async def test_an_answer_that_is_cut_off_is_none(server: NameServer, channel: DnsTransport) -> None:
    def half(peer: Http2Peer, stream: int, messages: Sequence[bytes]) -> None:
        peer.answer(stream, messages[0][:20], end=False)
        peer.send()
        server.drop_connections()

    server.act = half
    assert (await failing(channel)).symptom is Symptom.RESOLVE_FAILED
    server.act = Http2Peer.answer_questions
    assert await ask(channel) == [ADDRESS]


@http2
@pytest.mark.parametrize(
    ("kind_of", "status", "body", "says"),
    [
        ("text/html", "200", b"<html>log in", "'text/html', which is no DNS message"),
        ("text/html", "403", b"", "HTTP status 403"),
        ("application/dns-message", "200", bytes(dns.MESSAGE_LIMIT + 1), "exceeds 16384 bytes"),
    ],
)
async def test_D3_D4_an_answer_that_is_none_is_refused_over_HTTP_2(
    server: NameServer, channel: DnsTransport, kind_of: str, status: str, body: bytes, says: str
) -> None:
    def answer(peer: Http2Peer, stream: int, _: Sequence[bytes]) -> None:
        peer.http2.send_headers(stream, [(":status", status), ("content-type", kind_of)])
        for at in range(0, len(body), 16_000):
            peer.http2.send_data(stream, body[at : at + 16_000])

    server.act = answer
    assert says in str(await failing(channel))
    server.act = Http2Peer.answer_questions
    assert await ask(channel) == [ADDRESS]
    assert server.connections == 1


_GARBAGE = b"HTTP/1.1 400 Bad Request\r\n\r\n"
_PINGS = (bytes((0, 0, 8)) + b"\x06" + bytes(5) + bytes(8)) * 10_000
_HEADERS = bytes((0, 0x40, 0)) + b"\x01\0" + bytes((0, 0, 0, 1)) + bytes(0x4000)
_MORE_HEADERS = bytes((0, 0x40, 0)) + b"\x09\0" + bytes((0, 0, 0, 1)) + bytes(0x4000)
_DATA = bytes((0, 0x40, 0)) + b"\0\0" + bytes((0, 0, 0, 1)) + bytes(0x4000)


@http2
@pytest.mark.parametrize(
    "flood",
    [_GARBAGE, _PINGS, _HEADERS + 1000 * _MORE_HEADERS, 1000 * _DATA],
    ids=["garbage", "PING", "headers", "DATA"],
)
async def test_a_flood_ends_the_connection_and_is_not_read_to_its_end(
    server: NameServer, channel: DnsTransport, flood: bytes
) -> None:
    def pour(peer: Http2Peer, stream: int, _: Sequence[bytes]) -> None:
        server.act = Http2Peer.answer_questions
        peer.send(flood)

    server.act = pour
    assert (await failing(channel)).symptom is Symptom.RESOLVE_FAILED
    assert await ask(channel) == [ADDRESS]
    assert server.connections == 2


@http2
async def test_the_server_limits_the_queries_under_way(server: NameServer, channel: DnsTransport) -> None:
    server.settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 2}
    await ask(channel)
    server.say = silent
    asking = [spawn(ask(channel, f"n{number}.test"), name="ask") for number in range(5)]
    await until(lambda: len(server.asked) == 3)
    server.say = lambda asked: [reply(held, ADDRESS) for held in server.asked]
    server.peers[0].answer_questions(3, [reply(server.asked[1], ADDRESS)])
    server.peers[0].send()
    assert await asyncio.gather(*asking) == [[ADDRESS]] * 5
    assert server.connections == 1


@http2
async def test_what_arrives_before_the_first_connection_is_open_shares_it(
    server: NameServer, channel: DnsTransport
) -> None:
    asking = [ask(channel, f"n{number}.test") for number in range(50)]
    assert await asyncio.gather(*asking) == [[ADDRESS]] * 50
    assert server.connections == 1


@http2
async def test_the_way_may_lead_through_a_relay(
    server: NameServer, best_poller: Poller, ca: str, to_relays: TcpDialer
) -> None:
    async with Relay({}, address=LOOPBACK) as relay:
        dialer = Socks5Dialer(to_relays, parse(f"socks5h://{LOOPBACK}:{relay.port}"))
        channel = make_transport(where(server, DnsProtocol.DOH, ca), dialer, timeout_s=10)
        assert await asyncio.gather(*[ask(channel), ask(channel, "b.test")]) == [[ADDRESS]] * 2
        assert relay.asked == [f"{LOOPBACK}:{server.port}"]
        await cancel_all()


NGINX = """
daemon off; master_process off; pid nginx.pid; error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port} ssl http2; http2_max_concurrent_streams 4; keepalive_requests 10;
        ssl_certificate {chain}; ssl_certificate_key {key};
        location / {{ default_type application/dns-message; return 200 answer; }}
    }}
}}
"""


@pytest.mark.needs("nginx")
async def test_nginx_which_closes_after_ten_queries_answers_all(
    home: None, to_relays: TcpDialer, tmp_path: Path
) -> None:
    chain, key = AUTHORITY.write_server(tmp_path, LOOPBACK)
    port = free_port()
    (tmp_path / "nginx.conf").write_text(NGINX.format(port=port, chain=chain, key=key))
    command = (require("nginx"), "-p", str(tmp_path), "-c", "nginx.conf", "-e", "stderr")
    async with running(*command, port=port, folder=tmp_path):
        where = SecureServer(DnsProtocol.DOH, Destination(LOOPBACK, port), "/", ca=str(AUTHORITY.write(tmp_path)))
        channel = make_transport(where, to_relays, timeout_s=10)
        asking = [channel.exchange(dns.query(f"n{number}.test", RecordType.A)) for number in range(95)]
        assert await asyncio.gather(*asking) == [b"answer"] * 95
        await cancel_all()


UNBOUND = """
server:
    interface: 127.0.0.1@{port}
    https-port: {port}
    tls-service-pem: {chain}
    tls-service-key: {key}
    do-daemonize: no
    use-syslog: no
    username: ""
    chroot: ""
    directory: "{folder}"
    pidfile: ""
    num-threads: 1
    module-config: "iterator"
    pad-responses: yes
    local-zone: "test." static
    local-data: "a.test. A 192.0.2.7"
    local-data: "a.test. AAAA 2001:db8::7"
remote-control:
    control-enable: no
"""


@pytest.mark.needs("unbound")
async def test_unbound_which_speaks_only_HTTP_2_is_asked(home: None, to_relays: TcpDialer, tmp_path: Path) -> None:
    chain, key = AUTHORITY.write_server(tmp_path, LOOPBACK)
    port = free_port()
    config = tmp_path / "unbound.conf"
    config.write_text(UNBOUND.format(port=port, chain=chain, key=key, folder=tmp_path))
    async with running(require("unbound"), "-d", "-p", "-c", str(config), port=port, folder=tmp_path):
        server = SecureServer(
            DnsProtocol.DOH, Destination(LOOPBACK, port), "/dns-query", ca=str(AUTHORITY.write(tmp_path))
        )
        channel = make_transport(server, to_relays, timeout_s=10)
        answers = [ask(channel), ask(channel, kind=RecordType.AAAA), ask(channel, "none.test")]
        assert await asyncio.gather(*answers) == [[ADDRESS], ["2001:db8::7"], []]
        assert len(channel._idle) == 1
        wrong = make_transport(replace(server, path="/other"), to_relays, timeout_s=10)
        assert "HTTP status 404" in str(await failing(wrong))
        await cancel_all()
