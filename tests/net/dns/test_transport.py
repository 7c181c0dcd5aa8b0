from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from proxy.model import Destination, Stage, Symptom
from proxy.model.errors import ConfigError, DialError
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.dns import transport as dns_channel
from proxy.net.dns.transport import CONNECTIONS, DnsTransport, make_transport
from proxy.net.poller import Poller
from proxy.net.stream import Stream
from proxy.net.tasks import cancel_all, spawn
from proxy.wire import dns
from proxy.wire.dns import RecordType
from proxy.wire.dns_url import DnsProtocol, SecureServer
from tests.support.authority import Authority
from tests.support.late import TLS_LATE_S, stall, stalling
from tests.support.name_servers import LOOPBACK, Asked, NameServer, page, reply, saying, silent, tls_server
from tests.support.waiting import until

ADDRESS = "192.0.2.7"
AUTHORITY = Authority()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(AUTHORITY.write(tmp_path_factory.mktemp("ca")))


@pytest.fixture(params=[DnsProtocol.DOH, DnsProtocol.DOT])
def kind(request: pytest.FixtureRequest) -> DnsProtocol:
    found: DnsProtocol = request.param
    return found


@pytest.fixture
async def server(home: None, best_poller: Poller, kind: DnsProtocol) -> AsyncIterator[NameServer]:
    """Whatever a test leaves under way is ended before its server is."""
    async with tls_server(
        saying(ADDRESS), AUTHORITY.server(LOOPBACK, "dns.test"), http=kind is DnsProtocol.DOH
    ) as made:
        yield made
        await cancel_all()


Made = tuple[NameServer, DnsTransport]


@pytest.fixture
def channel(server: NameServer, kind: DnsProtocol, ca: str, to_relays: TcpDialer) -> DnsTransport:
    return make_transport(where(server, kind, ca), to_relays, timeout_s=10)


def where(server: NameServer, kind: DnsProtocol, ca: str | None, sni: str | None = None) -> SecureServer:
    return SecureServer(kind, Destination(LOOPBACK, server.port), "/dns-query", sni, ca)


async def ask(channel: DnsTransport, name: str = "a.test", kind: RecordType = RecordType.A) -> list[str]:
    answer = dns.read_answer(await channel.exchange(dns.query(name, kind, padded=True)), name, kind)
    return [str(address) for address in answer.addresses]


async def failing(channel: DnsTransport) -> DialError:
    with pytest.raises(DialError) as caught:
        await ask(channel)
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


@pytest.mark.parametrize("kind", [DnsProtocol.DOH], indirect=True)
async def test_over_HTTPS_a_question_has_no_number(server: NameServer, channel: DnsTransport) -> None:
    await ask(channel)
    assert [asked.message.id for asked in server.asked] == [0]
    (head,) = server.heads
    assert head.startswith(f"POST /dns-query HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n")
    assert "User-Agent" not in head


@pytest.mark.parametrize("kind", [DnsProtocol.DOT], indirect=True)
async def test_over_TLS_many_questions_travel_at_once(server: NameServer, channel: DnsTransport) -> None:
    server.say = silent
    asking = [spawn(ask(channel, f"n{number}.test"), name="ask") for number in range(200)]
    await until(lambda: len(server.asked) == 200)
    assert server.connections == 1
    server.say = lambda asked: [reply(held, ADDRESS) for held in reversed(server.asked)]  # in another order
    await ask(channel, "last.test")
    assert await asyncio.gather(*asking) == [[ADDRESS]] * 200


@pytest.mark.parametrize("kind", [DnsProtocol.DOH], indirect=True)
async def test_over_HTTPS_there_are_so_many_connections(server: NameServer, channel: DnsTransport) -> None:
    asking = [spawn(ask(channel, f"n{number}.test"), name="ask") for number in range(50)]
    assert await asyncio.gather(*asking) == [[ADDRESS]] * 50
    assert server.connections <= CONNECTIONS


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


async def test_silence_is_waited_for_so_long(
    server: NameServer, kind: DnsProtocol, ca: str, to_relays: TcpDialer
) -> None:
    server.say = silent
    channel = make_transport(where(server, kind, ca), to_relays, timeout_s=0.3)
    assert "no answer within 0.3 s" in str(await failing(channel))
    await until(lambda: not channel._running)  # what carries nothing is not kept
    server.say = saying(ADDRESS)
    assert await ask(channel) == [ADDRESS]


async def test_an_idle_connection_is_closed(
    server: NameServer, kind: DnsProtocol, ca: str, to_relays: TcpDialer
) -> None:
    channel = make_transport(where(server, kind, ca), to_relays, timeout_s=10, idle_s=0.01)
    await ask(channel)
    await until(lambda: not channel._running)
    assert await ask(channel) == [ADDRESS]
    assert server.connections == 2


@pytest.mark.parametrize("kind", [DnsProtocol.DOT], indirect=True)
async def test_who_leaves_takes_nobody_along(server: NameServer, channel: DnsTransport) -> None:
    server.say = silent
    leaving, staying = (spawn(ask(channel, name), name="ask") for name in ("a.test", "b.test"))
    await until(lambda: len(server.asked) == 2)
    leaving.cancel()
    await asyncio.wait([leaving])
    server.say = lambda _: [reply(asked, ADDRESS) for asked in server.asked]
    assert await ask(channel, "c.test") == await staying == [ADDRESS]
    assert server.connections == 1


@pytest.mark.parametrize("kind", [DnsProtocol.DOH], indirect=True)
async def test_a_question_whose_asker_left_before_its_turn_is_not_asked(
    server: NameServer, channel: DnsTransport
) -> None:
    server.say = silent
    for number in range(CONNECTIONS):
        spawn(ask(channel, f"n{number}.test"), name="ask")
    await until(lambda: len(server.asked) == CONNECTIONS)
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


@pytest.mark.parametrize("kind", [DnsProtocol.DOH], indirect=True)
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


@pytest.mark.parametrize("kind", [DnsProtocol.DOH], indirect=True)
async def test_what_follows_an_answer_is_no_answer_to_the_next(server: NameServer, channel: DnsTransport) -> None:
    forged = page(b"forged")

    def say(asked: object) -> list[bytes]:
        server.pages = [page(reply(server.asked[-1], ADDRESS)) + forged]
        return [b""]

    server.say = say
    assert await ask(channel) == [ADDRESS]
    assert await ask(channel) == [ADDRESS]
    assert [asked.connection for asked in server.asked] == [1, 2]


@pytest.mark.parametrize("kind", [DnsProtocol.DOT], indirect=True)
@pytest.mark.parametrize("answer", [b"", b"x" * 11, b"x" * (dns.MESSAGE_LIMIT + 1)])
async def test_D4_a_message_of_an_impossible_length_ends_the_connection(
    server: NameServer, channel: DnsTransport, answer: bytes
) -> None:
    server.say = lambda _: [answer]
    assert f"its answer is {len(answer)} bytes long" in str(await failing(channel))


@pytest.mark.parametrize("kind", [DnsProtocol.DOT], indirect=True)
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
    home: None, best_poller: Poller, to_relays: TcpDialer, kind: DnsProtocol, ca: str
) -> None:
    context = stalling(AUTHORITY.server(LOOPBACK, "dns.test"), TLS_LATE_S)
    async with tls_server(saying(ADDRESS), context, http=kind is DnsProtocol.DOH) as server:
        channel = make_transport(where(server, kind, ca), to_relays, timeout_s=10)
        assert await ask(channel) == [ADDRESS]
        await cancel_all()
