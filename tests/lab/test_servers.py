"""The lab's servers by themselves, on loopback: without spaces, the tests make the sockets here."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from tests.lab.authorities import STATE_ROOT, Authority
from tests.lab.name_servers import Addresses, Answer, NameServer, Provider, Said, Zone
from tests.lab.origins import BIG, Conduct, Origins
from tests.lab.portal import BLOCK_PAGE, PageServer, Says
from tests.lab.relays import PAGE, Manner, Relay
from tests.lab.sockets import Address, connect
from tests.lab.visitor import Visit, Visitor
from tests.support.programs import require

TRUTH: dict[str, Answer] = {"blog.test": Addresses(("127.0.0.1",), ("::1",)), "four.test": Addresses(("192.0.2.9",))}


@pytest.fixture
def authority() -> Iterator[Authority]:
    with Authority("Test Root") as made:
        yield made


@pytest.fixture
async def origins(authority: Authority) -> AsyncIterator[Origins]:
    async with Origins(socket.socket, authority) as made:
        yield made


async def get(address: Address, *lines: str, secure: tuple[ssl.SSLContext, str] | None = None) -> bytes:
    """Returns the whole answer to one request."""
    reader, writer = await connect(socket.socket, address)
    with contextlib.closing(writer):
        if secure:
            await writer.start_tls(secure[0], server_hostname=secure[1])
        writer.write("".join(f"{line}\r\n" for line in (*lines, "Connection: close", "")).encode())
        async with asyncio.timeout(10):
            return await reader.read()


# -- sites -------------------------------------------------------------------------------------------------------------


async def test_one_port_serves_every_name_plain_and_secure(origins: Origins, authority: Authority) -> None:
    (address,) = await origins.listen([("127.0.0.1", 0)])
    plain = await get(address, "GET / HTTP/1.1", "Host: a.test")
    secure = await get(address, "GET /big HTTP/1.1", "Host: b.test", secure=(authority.client(), "b.test"))
    assert b"a.test says hello to 127.0.0.1" in plain
    assert len(secure.partition(b"\r\n\r\n")[2]) == BIG
    assert [(asked.host, asked.target, asked.secure, asked.hello_records) for asked in origins.asked] == [
        ("a.test", "/", False, 0),
        ("b.test", "/big", True, 1),
    ]


async def test_a_site_behaves_as_it_is_told(origins: Origins) -> None:
    origins.conducts = {
        "refuses.test": Conduct(refuses=451),
        "relays.test": Conduct(refuses=403, refuses_relays_only=True),
        "moved.test": Conduct(moved_to="https://www.moved.test/"),
    }
    (address,) = await origins.listen([("127.0.0.1", 0)])
    assert (await get(address, "GET / HTTP/1.1", "Host: refuses.test")).startswith(b"HTTP/1.1 451")
    assert (await get(address, "GET / HTTP/1.1", "Host: relays.test")).startswith(b"HTTP/1.1 200")
    assert b"Location: https://www.moved.test/" in await get(address, "GET / HTTP/1.1", "Host: moved.test")


async def test_a_site_may_want_its_hello_whole_or_refuse_every_one(origins: Origins, authority: Authority) -> None:
    origins.conducts = {"alert.test": Conduct(alert=True), "old.test": Conduct(highest=ssl.TLSVersion.TLSv1_2)}
    (address,) = await origins.listen([("127.0.0.1", 0)])
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        await get(address, "GET / HTTP/1.1", "Host: alert.test", secure=(authority.client(), "alert.test"))
    context = authority.client()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with pytest.raises(ssl.SSLError):
        await get(address, "GET / HTTP/1.1", "Host: old.test", secure=(context, "old.test"))


def test_a_state_shows_a_root_that_is_known_at_the_end_of_its_chain() -> None:
    with Authority("State", shown=(STATE_ROOT,)) as state:
        server, client = state.server(), ssl.create_default_context()
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        near = client.wrap_bio(down, up, server_hostname="blog.test")
        far = server.wrap_bio(up, down, server_side=True)
        for side in (near, far, near, far):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
        chain = near._sslobj.get_unverified_chain()  # type: ignore[attr-defined]  # public from 3.13 on
        assert len(chain) == 3
        assert "Information Security Certification Authority" in str(chain[-1].get_info())


# -- names -------------------------------------------------------------------------------------------------------------


async def test_a_name_is_told_over_udp_tcp_tls_and_https(authority: Authority) -> None:
    zone = Zone(dict(TRUTH))
    query = dns.message.make_query("www.blog.test", "A")
    async with NameServer(socket.socket, zone.truth) as server:
        host, port = await server.udp(("127.0.0.1", 0))
        answers = [await dns.asyncquery.udp(query, host, port=port, timeout=5)]
        host, port = await server.tcp(("127.0.0.1", 0))
        answers.append(await dns.asyncquery.tcp(query, host, port=port, timeout=5))
        host, port = await server.tls(("127.0.0.1", 0), authority.server("127.0.0.1"))
        answers.append(await dns.asyncquery.tls(query, host, port=port, timeout=5, ssl_context=authority.client()))
        address = await server.https(("127.0.0.1", 0), authority.server("127.0.0.1"))
        wire = query.to_wire()
        text = base64.urlsafe_b64encode(wire).decode().rstrip("=")
        reply = await get(address, f"GET /dns-query?dns={text} HTTP/1.1", secure=(authority.client(), "127.0.0.1"))
        answers.append(dns.message.from_wire(reply.partition(b"\r\n\r\n")[2]))
        assert [str(answer.answer[0][0]) for answer in answers] == ["127.0.0.1"] * 4
        assert [question.over for question in server.asked] == ["udp", "tcp", "tls", "https"]
        assert server.names("udp") == {"www.blog.test"}


@pytest.mark.needs("curl")
@pytest.mark.parametrize("only_http2", [False, True])
async def test_a_name_is_told_over_http2_and_perhaps_over_that_alone(
    authority: Authority, tmp_path: Path, only_http2: bool
) -> None:
    query, trust = tmp_path / "query", tmp_path / "trust.pem"
    query.write_bytes(dns.message.make_query("www.blog.test", "A").to_wire())
    trust.write_text(authority.pem)
    async with NameServer(socket.socket, Zone(dict(TRUTH)).truth) as server:
        host, port = await server.https(("127.0.0.1", 0), authority.server("127.0.0.1"), only_http2=only_http2)
        said: dict[str, bytes] = {}
        for version in ("--http2", "--http1.1"):
            curl = await asyncio.create_subprocess_exec(
                *(require("curl"), "--silent", version, "--cacert", str(trust), "--data-binary", f"@{query}"),
                f"https://{host}:{port}/dns-query",
                stdout=asyncio.subprocess.PIPE,
            )
            said[version], _ = await curl.communicate()
        assert [question.over for question in server.asked] == (["h2"] if only_http2 else ["h2", "https"])
    answer = dns.message.from_wire(said["--http2"])
    assert str(answer.answer[0][0]) == "127.0.0.1"
    assert said["--http1.1"] == (b"" if only_http2 else said["--http2"])


@pytest.mark.parametrize(
    ("view", "name", "said"),
    [
        (Provider(Zone(TRUTH)), "blog.test", Addresses(("127.0.0.1",), ("::1",))),
        (Provider(Zone(TRUTH)), "nowhere.test", Said.NO_SUCH_NAME),
        (Provider(Zone(TRUTH), {"blog.test": Said.NOTHING}), "www.blog.test", Said.NOTHING),
        (Provider(Zone(TRUTH), {"blog.test": Said.NO_SUCH_NAME}), "www.blog.test", Said.NO_SUCH_NAME),
        (Provider(Zone(TRUTH), everything=Addresses(("192.0.2.10",))), "nowhere.test", Addresses(("192.0.2.10",))),
        (
            Provider(Zone(TRUTH), six_from_four=True),
            "four.test",
            Addresses(("192.0.2.9",), ("64:ff9b::c000:209",)),
        ),
        (Provider(Zone(TRUTH, {"blog.test": Addresses(("192.0.2.7",))})), "blog.test", Addresses(("192.0.2.7",))),
    ],
)
def test_a_provider_tells_the_truth_but_for_its_lies(view: Provider, name: str, said: Answer) -> None:
    assert view(name) == said


def test_another_proxys_dns_gives_each_name_an_address_of_its_own() -> None:
    view = Provider(Zone(TRUTH), fake="198.18.0.0/16")
    found = [view(name) for name in ("blog.test", "www.blog.test", "blog.test")]
    assert found[0] == found[2] != found[1]
    assert all(isinstance(answer, Addresses) and answer.four[0].startswith("198.18.") for answer in found)


async def test_a_lie_reaches_who_asks() -> None:
    view = Provider(Zone(dict(TRUTH)), {"blog.test": Said.REFUSED})
    async with NameServer(socket.socket, view) as server:
        host, port = await server.udp(("127.0.0.1", 0))
        answer = await dns.asyncquery.udp(dns.message.make_query("blog.test", "AAAA"), host, port=port, timeout=5)
    assert answer.rcode() == dns.rcode.REFUSED


# -- relays ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
async def test_a_relay_carries_to_where_the_name_truly_leads(
    origins: Origins, authority: Authority, secure: bool
) -> None:
    (_, port), zone = (await origins.listen([("127.0.0.1", 0)]))[0], Zone(dict(TRUTH))
    context = authority.server("127.0.0.1") if secure else None
    async with Relay(socket.socket, zone.truth, ("127.0.0.1", 0), source="127.0.0.5", secure=context) as relay:
        reader, writer = await connect(socket.socket, relay.address)
        with contextlib.closing(writer):
            if secure:
                await writer.start_tls(authority.client(), server_hostname="127.0.0.1")
                writer.write(f"CONNECT blog.test:{port} HTTP/1.1\r\n\r\n".encode())
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            else:
                writer.write(b"\x05\x01\x00\x05\x01\x00\x03\x09blog.test" + port.to_bytes(2))
                assert await reader.readexactly(12) == b"\x05\x00\x05\x00\x00\x01" + bytes(6)
            writer.write(b"GET /big HTTP/1.1\r\nHost: blog.test\r\nConnection: close\r\n\r\n")
            assert len((await reader.read()).partition(b"\r\n\r\n")[2]) == BIG
        assert relay.asked == [f"blog.test:{port}"]
    assert origins.peers("blog.test") == ["127.0.0.5"]


async def test_a_relay_that_cannot_says_so_and_a_lying_one_shows_its_own_page() -> None:
    zone = Zone(dict(TRUTH))
    async with Relay(socket.socket, zone.truth, ("127.0.0.1", 0)) as relay:
        answer = await get(relay.address, "CONNECT nowhere.test:443 HTTP/1.1")
        assert answer.startswith(b"HTTP/1.1 502")
        relay.manner = Manner.BLOCK_PAGE
        reader, writer = await connect(socket.socket, relay.address)
        with contextlib.closing(writer):
            writer.write(b"CONNECT blog.test:80 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: blog.test\r\n\r\n")
            assert (await reader.read()).endswith(PAGE)


# -- pages of the provider's -------------------------------------------------------------------------------------------


async def test_a_portal_sends_everybody_to_its_page_and_shows_it_there(authority: Authority) -> None:
    location = "http://portal.test/"
    async with PageServer(socket.socket, (("127.0.0.1", 0),), b"sign in", Says.COME_HERE, location) as portal:
        elsewhere = await get(portal.bound[0], "GET / HTTP/1.1", "Host: blog.test")
        here = await get(portal.bound[0], "GET / HTTP/1.1", "Host: portal.test")
    assert b"302 Found\r\nLocation: http://portal.test/" in elsewhere
    assert here.endswith(b"sign in")
    assert portal.asked == ["blog.test", "portal.test"]


async def test_a_block_page_is_what_it_is() -> None:
    async with PageServer(socket.socket, (("127.0.0.1", 0),), BLOCK_PAGE) as server:
        assert (await get(server.bound[0], "GET / HTTP/1.1", "Host: blog.test")).endswith(BLOCK_PAGE)


# -- a visitor ---------------------------------------------------------------------------------------------------------


async def test_a_visit_keeps_what_was_seen(origins: Origins, authority: Authority) -> None:
    ((host, port),) = await origins.listen([("127.0.0.1", 0)])
    visitor = Visitor(socket.socket, authority.client())
    seen = await visitor.visit(f"http://{host}:{port}/")
    assert (seen.status, seen.genuine, seen.error) == (200, True, "")
    failed = await visitor.visit("http://127.0.0.1:9/")
    assert failed.status == 0
    assert failed.error.startswith("ConnectionRefusedError")


def test_a_page_of_somebody_elses_is_not_genuine() -> None:
    assert not Visit("http://blog.test/", 200, BLOCK_PAGE).genuine
    assert not Visit("http://blog.test/", 403, b"blog.test says hello").genuine
