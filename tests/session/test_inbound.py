"""What clients say first, over real sockets: which of three values it becomes, or with which words it is refused."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
from collections.abc import AsyncIterator, Coroutine

import pytest

from proxy.config.schema import Limits
from proxy.model import Destination, Inbound, Symptom
from proxy.model.errors import PeerError
from proxy.net.poller import make_poller
from proxy.net.stream import SocketStream
from proxy.session import client as session
from proxy.session.inbound import (
    Credentials,
    ForwardRequest,
    InboundHandshake,
    InboundRequest,
    InnerTunnel,
    OwnPageRequest,
    TunnelRequest,
    http_redirect,
    http_refusal,
)
from proxy.session.recent_clients import RecentClients
from tests.support.calls import counting
from tests.support.rows import each_row

SHORT = Limits(head_timeout_s=0.2, keep_alive_s=0.2)
ALICE = Credentials("alice", "s:cret")
EXAMPLE = Destination("example.org", 443)


def is_ours(host: str) -> bool:
    return host == "127.0.0.1:8119"


class Client:
    """The far end of one accepted connection, and our front before it."""

    def __init__(self, credentials: Credentials | None = None, limits: Limits | None = None) -> None:
        self.sock, ours = socket.socketpair()
        self.sock.setblocking(False)
        ours.setblocking(False)
        self._poller = make_poller(asyncio.get_running_loop())
        self.stream = SocketStream(ours, self._poller, "127.0.0.1:50000")
        self.recent = RecentClients()
        self.front = InboundHandshake(limits or Limits(), credentials, is_ours, self.recent)
        self.asking = session.Client(self.stream)
        self.reader = self.asking.reader

    async def says(self, *pieces: bytes) -> InboundRequest | None:
        """What the front makes of `pieces`, each sent when the one before was read."""
        greeting = asyncio.get_running_loop().create_task(self.front.read(self.asking))
        for piece in pieces:
            await asyncio.get_running_loop().sock_sendall(self.sock, piece)
            await asyncio.sleep(0)
        return await greeting

    def heard(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            return self.sock.recv(65536)
        return b""

    @property
    def unread(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            return self.stream.lowest_socket.recv(1, socket.MSG_PEEK)
        return b""

    def close(self) -> None:
        self.asking.close()
        self.sock.close()
        self._poller.close()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    it = Client()
    yield it
    it.close()


@pytest.fixture
async def guarded() -> AsyncIterator[Client]:
    it = Client(ALICE)
    yield it
    it.close()


@pytest.fixture
async def hasty() -> AsyncIterator[Client]:
    it = Client(limits=SHORT)
    yield it
    it.close()


def basic(user: str, password: str) -> bytes:
    return b"Proxy-Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()) + b"\r\n"


CONNECT = b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n%s\r\n"
SOCKS5_EXAMPLE = b"\x05\x01\x00\x03\x0bexample.org\x01\xbb"


async def test_connect(client: Client) -> None:
    assert await client.says(CONNECT % b"") == TunnelRequest(EXAMPLE, Inbound.CONNECT)


async def test_absolute_form(client: Client) -> None:
    opening = await client.says(b"GET http://example.org/a HTTP/1.1\r\nHost: example.org\r\n\r\n")
    assert isinstance(opening, ForwardRequest)
    assert opening.destination == Destination("example.org", 80)
    assert opening.head.target == "/a"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"\x04\x01\x01\xbb\xc6\x33\x64\x07me\0", TunnelRequest(Destination("198.51.100.7", 443), Inbound.SOCKS4)),
        (b"\x04\x01\x01\xbb\0\0\0\x01me\0example.org\0", TunnelRequest(EXAMPLE, Inbound.SOCKS4A)),
    ],
)
async def test_socks4(client: Client, sent: bytes, expected: TunnelRequest) -> None:
    assert await client.says(sent) == expected


async def test_socks5_whole_and_bytewise(client: Client) -> None:
    conversation = b"\x05\x01\x00" + SOCKS5_EXAMPLE
    assert await client.says(*(bytes((byte,)) for byte in conversation)) == TunnelRequest(EXAMPLE, Inbound.SOCKS5)
    assert client.heard() == b"\x05\x00"


GET = b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n"


@pytest.mark.parametrize("sent", [CONNECT % b"", GET, b"\x04\x01\x01\xbb\0\0\0\x01me\0example.org\0"])
async def test_a_request_is_the_same_wherever_it_is_cut(client: Client, sent: bytes) -> None:
    async def cut_at(place: int, asks: Coroutine[None, None, InboundRequest | None]) -> InboundRequest | None:
        asked = asyncio.get_running_loop().create_task(asks)
        for piece in (sent[:place], sent[place:]):
            client.sock.sendall(piece)
            while client.unread and not asked.done():  # noqa: ASYNC110  # nobody tells that it was read
                await asyncio.sleep(0)
        return await asked

    whole = await client.says(sent)
    for place in range(1, len(sent)):
        assert await cut_at(place, client.front.read(client.asking)) == whole, place
        if sent == GET:
            assert await cut_at(place, client.front.next_request(client.asking)) == whole, place


async def test_a_connect_that_is_remembered_is_the_same_request(client: Client) -> None:
    """Also in one piece with what follows, and in two pieces: only the whole head is known."""
    head = CONNECT % b"User-Agent: some browser\r\n"
    first = await client.says(head)
    assert first == TunnelRequest(EXAMPLE, Inbound.CONNECT)
    client.recent = client.front._recent_clients = RecentClients()
    with counting() as calls:
        assert await client.says(head) is first
    assert not any("http1" in name for name in calls)
    assert client.recent.has_used("some browser")
    assert not client.reader
    assert await client.says(head + b"flight") == first
    assert client.reader.rest() == b"flight"
    client.reader.receive_data(head[:20])
    assert await client.says(head[20:]) == first
    other = head.replace(b"example.org", b"example.com")
    assert await client.says(other) == TunnelRequest(Destination("example.com", 443), Inbound.CONNECT)


async def test_of_a_connect_in_the_usual_form_only_the_target_is_parsed(client: Client) -> None:
    head = CONNECT % b"Proxy-Connection: keep-alive\r\nUser-Agent: some browser\r\n"
    await client.says(head)
    client.recent = client.front._recent_clients = RecentClients()
    other = head.replace(b"example.org:443", b"Example.COM:8443")
    with counting() as calls:
        assert await client.says(other) == TunnelRequest(Destination("example.com", 8443), Inbound.CONNECT)
    assert not any("http1" in name for name in calls)
    assert client.recent.has_used("some browser")
    assert not client.reader
    assert await client.says(other + b"flight") == TunnelRequest(Destination("example.com", 8443), Inbound.CONNECT)
    assert client.reader.rest() == b"flight"


_ODD_TARGETS = [
    *(b"[2001:db8::1]:443", b"192.0.2.7:80", b"0x7f.1:443", b"localhost:22", b"byway.internal:443", b"h:1", b"T:1"),
    *(b"", b"example.com", b"example.com:", b"example.com:0", b"example.com:99999", b"user@h:1", b"h:1,i:2", b"a b:1"),
    *(b"\0", b"\0:443", b"h\0:443", b"h:443\0", "bücher.example:443".encode(), b"\xff:443", b"\xc4:443", b"h\r\n:1"),
    *(b"h:1\r\nHost: evil.example:1\r\nX: h:1", b"http://h/", b"/", b"*", b"HTTP/1.1", b"Host:", b":443"),
]


@each_row("named", [b"%s", b"evil.example:1", b"", b"\0", b"%s%s"], ids=repr)
@each_row("target", _ODD_TARGETS, ids=repr)
async def test_a_connect_in_the_usual_form_is_what_the_parser_makes_of_it(
    client: Client, target: bytes, named: bytes
) -> None:
    """The next client's request is never taken for more than it is by what an earlier one said."""
    fields = b"Host: %s\r\nUser-Agent: some browser\r\n\r\n"
    named = named.replace(b"%s", target)
    head = b"CONNECT " + target + b" HTTP/1.1\r\n" + fields % named

    async def made_of(head: bytes) -> object:
        try:
            return await client.says(head)
        except PeerError as error:
            return error.reply
        finally:
            client.reader.clear()

    expected = await made_of(head)
    client.front = InboundHandshake(Limits(), None, is_ours, client.recent)
    for usual in (b"example.org:443", b"HTTP:1", b"t:1", b"e:44"):
        await made_of(b"CONNECT " + usual + b" HTTP/1.1\r\n" + fields % usual)
    assert client.front._connect_forms
    assert await made_of(head) == expected


@pytest.mark.parametrize("offer", [b"\x05\x01\x00", b"\x05\x02\x00\x01", b"\x05\x03\x00\x01\x02", b"\x05\x02\x00\x80"])
async def test_a_socks5_greeting_is_the_same_alone_and_with_the_request_behind_it(client: Client, offer: bytes) -> None:
    """Usual ones that come alone are not parsed; the last one is."""
    expected = TunnelRequest(EXAMPLE, Inbound.SOCKS5)
    assert await client.says(offer + SOCKS5_EXAMPLE) == expected
    assert client.heard() == b"\x05\x00"
    with counting() as calls:
        assert await client.says(offer, SOCKS5_EXAMPLE) == expected
    assert client.heard() == b"\x05\x00"
    assert any("read_socks5_methods" in name for name in calls) is (offer[-1] == 0x80)


async def test_a_socks5_request_that_is_remembered_is_the_same_request(client: Client) -> None:
    """Only a whole one is: a piece of it is the beginning of many."""
    expected, hello = TunnelRequest(EXAMPLE, Inbound.SOCKS5), b"\x05\x01\x00"
    client.reader.receive_data(hello + SOCKS5_EXAMPLE[:9])
    assert await client.says(SOCKS5_EXAMPLE[9:]) == expected
    assert not client.front._socks5_requests
    first = await client.says(hello, SOCKS5_EXAMPLE)
    assert first == expected
    with counting() as calls:
        assert await client.says(hello, SOCKS5_EXAMPLE) is first
    assert not any("read_socks5_request" in name for name in calls)
    assert not client.reader
    assert await client.says(hello, SOCKS5_EXAMPLE + b"flight") == expected
    assert client.reader.rest() == b"flight"
    other = SOCKS5_EXAMPLE.replace(b".org", b".com")
    client.reader.receive_data(hello + other[:9])
    assert await client.says(other[9:]) == TunnelRequest(Destination("example.com", 443), Inbound.SOCKS5)


async def test_B3_what_follows_the_request_stays_for_the_tunnel(client: Client) -> None:
    await client.says(CONNECT % b"" + b"\x16\x03\x01 early")
    assert client.reader.rest() == b"\x16\x03\x01 early"


async def test_our_own_page_goes_to_the_control_server_whole(client: Client) -> None:
    request = b"GET /x?y HTTP/1.1\r\nHost: 127.0.0.1:8119\r\nAccept: */*\r\n\r\n"
    assert await client.says(request) == OwnPageRequest(request)


async def test_our_name_through_the_proxy_is_our_own_page(client: Client) -> None:
    opening = await client.says(b"GET http://byway.internal/x HTTP/1.1\r\nHost: byway.internal\r\n\r\n")
    assert opening == OwnPageRequest(b"GET /x HTTP/1.1\r\nHost: byway.internal\r\n\r\n")


@each_row("path", ["/", "/proxy.pac", "/strict.pac", "/wpad.dat", "/sign-in", "/s/0/", "/other"])
async def test_another_sites_page_gets_what_a_wrong_host_gets(client: Client, path: str) -> None:
    answers = []
    for fields in (b"Host: evil.test", b"Host: 127.0.0.1:8119\r\nSec-Fetch-Site: cross-site"):
        client.front = InboundHandshake(Limits(), None, is_ours, client.recent)
        with pytest.raises(PeerError) as refused:
            await client.says(b"GET %s HTTP/1.1\r\n%s\r\n\r\n" % (path.encode(), fields))
        answers.append(refused.value.reply)
    assert answers[0] == answers[1]
    assert answers[0].startswith(b"HTTP/1.1 421 ")


async def test_another_sites_page_asks_for_a_name_that_nobody_has_in_place_of_ours(client: Client) -> None:
    head = b"GET http://byway.internal/proxy.pac HTTP/1.1\r\nHost: byway.internal\r\nSec-Fetch-Site: cross-site\r\n\r\n"
    asked = await client.says(head)
    assert isinstance(asked, ForwardRequest)
    assert asked.destination == asked.head.destination
    assert asked.destination.host != "byway.internal"
    assert b"byway" not in asked.head.forwarded


@pytest.mark.parametrize("host", ["127.0.0.1:8119", "evil.test", "byway.internal:81"])
async def test_url_and_host_agree_where_the_page_is_ours(client: Client, host: str) -> None:
    with pytest.raises(PeerError) as refused:
        await client.says(f"GET http://byway.internal/s/0/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert refused.value.reply.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("request_", "is_noted"),
    [
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\nUser-Agent: Fox/1\r\n\r\n", True),
        (b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\nuser-agent: Fox/1\r\n\r\n", True),
        (b"GET http://byway.internal/ HTTP/1.1\r\nHost: byway.internal\r\nUser-Agent: Fox/1\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8119\r\nUser-Agent: Fox/1\r\n\r\n", False),
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n", False),
    ],
)
async def test_a_browser_that_uses_the_proxy_is_noted(client: Client, request_: bytes, is_noted: bool) -> None:
    await client.says(request_)
    assert client.recent.has_used("Fox/1") == is_noted


@pytest.mark.parametrize("host", [b"example.org", b"127.0.0.1:8120", b"127.0.0.1.example.org:8119"])
async def test_A29_any_other_origin_form_gets_a_bare_421(client: Client, host: bytes) -> None:
    with pytest.raises(PeerError) as refused:
        await client.says(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert refused.value.reply == b"HTTP/1.1 421 Misdirected Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"SSH-2.0-9\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\xff\0\xff",
        b"\x06\x01\x00",
    ],
)
async def test_B12_what_is_no_request_is_refused(client: Client, sent: bytes) -> None:
    with pytest.raises(PeerError):
        await client.says(sent, b"\r\n\r\n")


async def test_A16_a_slow_head_gets_408(hasty: Client) -> None:
    with pytest.raises(PeerError) as refused:
        await hasty.says(b"GET http://example.org/ HT")
    assert refused.value.reply.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("sent", [b"", b"\x05", b"\x04", b"\x05\x01\x00\x05\x01"])
async def test_A18_B12_silence_and_half_a_greeting_end_in_silence(hasty: Client, sent: bytes) -> None:
    assert await hasty.says(*(sent and [sent])) is None
    assert hasty.heard() in (b"", b"\x05\x00")


async def test_A19_half_a_head_and_then_the_end(client: Client) -> None:
    client.sock.sendall(b"GET http://exa")
    client.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(PeerError) as refused:
        await client.says()
    assert refused.value.reply == b""


@pytest.mark.parametrize(
    ("sent", "limit"),
    [
        (CONNECT % b"Proxy-Connection: keep-alive\r\n", 11),
        (b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\nProxy-Connection: keep-alive\r\n\r\n", 11),
        (b"\x05\x01\x00" + SOCKS5_EXAMPLE, 7),
    ],
)
async def test_how_many_calls_a_first_request_costs(client: Client, sent: bytes, limit: int) -> None:
    """Of a client whose bytes have come; what reading from it costs is left out."""
    for _ in range(2):  # the first time, the name and the port are new
        client.reader.receive_data(sent)
        with counting() as calls:
            assert await client.front.read(client.asking)
    of_reading = ("proxy.net.", "proxy.session.client.", "asyncio.")
    ours = {name: count for name, count in calls.items() if not name.startswith(of_reading)}
    assert sum(ours.values()) <= limit, ours


GET = b"GET http://example.org/%s HTTP/1.1\r\nHost: example.org\r\nUser-Agent: Firefox\r\n%s\r\n"


class TestRemembered:
    """A request in absolute form, in the same bytes as one before."""

    async def test_it_is_the_same_request_on_a_new_connection_and_on_a_kept_one(self, client: Client) -> None:
        first = await client.says(GET % (b"again", b""))
        assert await client.says(GET % (b"again", b"")) is first
        client.sock.sendall(GET % (b"again", b""))
        assert await client.front.next_request(client.asking) is first
        assert not client.reader

    async def test_its_browser_is_noted_each_time(self, client: Client) -> None:
        await client.says(GET % (b"noted", b""))
        client.recent._noted.clear()
        await client.says(GET % (b"noted", b""))
        assert client.recent.has_used("Firefox")

    async def test_what_follows_it_is_not_lost(self, client: Client) -> None:
        await client.says(GET % (b"alone", b""))
        for behind in (b"G", GET % (b"other", b"")):
            asked = await client.says(GET % (b"alone", b"") + behind)
            assert isinstance(asked, ForwardRequest)
            assert asked.head.target == "/alone"
            assert bytes(client.reader) == behind
            client.reader.clear()

    async def test_one_with_a_body_is_read_anew(self, client: Client) -> None:
        posted = b"POST" + (GET % (b"form", b"Content-Length: 4\r\n")).removeprefix(b"GET")
        first, second = await client.says(posted), await client.says(posted)
        assert first == second
        assert first is not second

    async def test_credentials_are_asked_for_each_time(self, client: Client, guarded: Client) -> None:
        assert isinstance(await client.says(GET % (b"secret", b"")), ForwardRequest)
        for _ in range(2):
            with pytest.raises(PeerError) as refused:
                await guarded.says(GET % (b"secret", b""))
            assert refused.value.reply.startswith(b"HTTP/1.1 407 ")
        signed = GET % (b"secret", basic("alice", "s:cret"))
        assert await guarded.says(signed) is not await guarded.says(signed)

    async def test_one_that_is_refused_is_refused_again(self, client: Client) -> None:
        for _ in range(2):
            with pytest.raises(PeerError) as refused:
                await client.says(GET % (b"two", b"Host: example.net\r\n"))
            assert refused.value.reply.startswith(b"HTTP/1.1 400 ")

    async def test_our_own_page_is_none(self, client: Client) -> None:
        own = b"GET http://byway.internal/ HTTP/1.1\r\nHost: byway.internal\r\n\r\n"
        for _ in range(2):
            assert isinstance(await client.says(own), OwnPageRequest)


class TestKeepAlive:
    async def test_the_next_request(self, client: Client) -> None:
        request = b"GET http://example.org/%d HTTP/1.1\r\nHost: example.org\r\n\r\n"
        await client.says(request % 1 + request % 2)
        opening = await client.front.next_request(client.asking)
        assert isinstance(opening, ForwardRequest)
        assert opening.head.target == "/2"

    async def test_an_idle_client_is_sent_away_in_silence(self, hasty: Client) -> None:
        assert await hasty.front.next_request(hasty.asking) is None

    async def test_a_client_that_leaves(self, client: Client) -> None:
        client.sock.close()
        assert await client.front.next_request(client.asking) is None


class TestCredentials:
    async def test_right_ones(self, guarded: Client) -> None:
        assert await guarded.says(CONNECT % basic("alice", "s:cret")) == TunnelRequest(EXAMPLE, Inbound.CONNECT)

    async def test_a_connect_with_the_right_ones_is_not_remembered(self, guarded: Client) -> None:
        head = CONNECT % basic("alice", "s:cret")
        first = await guarded.says(head)
        assert await guarded.says(head) == first
        assert not guarded.front._connects

    @pytest.mark.parametrize(
        "field",
        [
            b"",
            basic("alice", "wrong"),
            basic("bob", "s:cret"),
            basic("", ""),
            b"Proxy-Authorization: Basic !!!\r\n",
            b"Proxy-Authorization: Basic\r\n",
            b"Proxy-Authorization: Bearer YWxpY2U6czpjcmV0\r\n",
            b"Authorization: Basic YWxpY2U6czpjcmV0\r\n",
        ],
    )
    async def test_others_get_407(self, guarded: Client, field: bytes) -> None:
        with pytest.raises(PeerError) as refused:
            await guarded.says(CONNECT % field)
        assert refused.value.reply.startswith(b"HTTP/1.1 407 ")
        assert b"Proxy-Authenticate: Basic " in refused.value.reply

    async def test_socks5_with_the_right_ones(self, guarded: Client) -> None:
        sent = b"\x05\x01\x02" + b"\x01\x05alice\x06s:cret" + SOCKS5_EXAMPLE
        assert await guarded.says(sent) == TunnelRequest(EXAMPLE, Inbound.SOCKS5)
        assert guarded.heard() == b"\x05\x02\x01\x00"

    @pytest.mark.parametrize("password", [b"\x01\x05alice\x05wrong", b"\x01\x00\x06s:cret", b"\x01\x05alice\x00"])
    async def test_B10_socks5_with_wrong_or_empty_ones(self, guarded: Client, password: bytes) -> None:
        with pytest.raises(PeerError) as refused:
            await guarded.says(b"\x05\x01\x02" + password)
        assert refused.value.reply[:1] == b"\x01"
        assert refused.value.reply[1:] != b"\x00"

    async def test_B10_no_auth_is_refused_also_after_a_good_login(self, guarded: Client) -> None:
        await guarded.says(b"\x05\x01\x02" + b"\x01\x05alice\x06s:cret" + SOCKS5_EXAMPLE)
        again = Client(ALICE)
        try:
            with pytest.raises(PeerError) as refused:
                await again.says(b"\x05\x01\x00")
            assert refused.value.reply == b"\x05\xff"
        finally:
            again.close()

    async def test_socks4_cannot_sign_in(self, guarded: Client) -> None:
        with pytest.raises(PeerError) as refused:
            await guarded.says(b"\x04\x01\x01\xbb\xc6\x33\x64\x07alice\0")
        assert refused.value.reply[:2] == b"\x00\x5b"

    def test_the_password_is_not_shown(self) -> None:
        assert "s:cret" not in repr(ALICE)


class TestAnswers:
    def test_accepted(self) -> None:
        assert TunnelRequest(EXAMPLE, Inbound.CONNECT).accepted == b"HTTP/1.1 200 Connection established\r\n\r\n"
        assert TunnelRequest(EXAMPLE, Inbound.SOCKS5).accepted[:2] == b"\x05\x00"
        assert TunnelRequest(EXAMPLE, Inbound.SOCKS4A).accepted[:2] == b"\x00\x5a"

    @pytest.mark.parametrize(
        ("symptom", "status", "reply"),
        [(Symptom.FORBIDDEN, 403, 2), (Symptom.REFUSED, 502, 5), (Symptom.TIMEOUT, 504, 6), (Symptom.NO_NAME, 502, 4)],
    )
    def test_refused(self, symptom: Symptom, status: int, reply: int) -> None:
        assert TunnelRequest(EXAMPLE, Inbound.CONNECT).refused(symptom, "why").startswith(b"HTTP/1.1 %d " % status)
        assert TunnelRequest(EXAMPLE, Inbound.SOCKS5).refused(symptom, "why")[:2] == bytes((5, reply))
        assert TunnelRequest(EXAMPLE, Inbound.SOCKS4).refused(symptom, "why")[:2] == b"\x00\x5b"
        assert b"why" in http_refusal(symptom, "why")


def test_a_redirect_ends_the_connection_and_is_not_kept() -> None:
    head, _, body = http_redirect("https://mirror.test/a?b").partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 302 Found",
        b"Content-Length: 0",
        b"Connection: close",
        b"Location: https://mirror.test/a?b",
        b"Cache-Control: no-store",
    ]
    assert body == b""


def test_an_inner_tunnel_is_told_in_one_byte_and_hears_no_reason() -> None:
    tunnel = InnerTunnel(EXAMPLE, Inbound.SOCKS5)
    assert (tunnel.accepted, tunnel.refused(Symptom.RESET, "the relay tor is down")) == (b"+", b"-")
    assert TunnelRequest(EXAMPLE, Inbound.CONNECT).accepted.startswith(b"HTTP/1.1 200 "), "the control"
