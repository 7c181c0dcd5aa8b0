"""The lab's servers by themselves, on loopback: without spaces, the tests make the sockets here."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.lab.authorities import Authority
from tests.lab.name_servers import Addresses, Answer, Provider, Said, Zone
from tests.lab.origins import Conduct, Origins
from tests.lab.portal import BLOCK_PAGE
from tests.lab.relays import PAGE, Manner, Relay
from tests.lab.sockets import Address, connect
from tests.lab.visitor import Visit

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
    assert b"blog.test says hello" in await get(address, "", "GET / HTTP/1.1", "Host: blog.test"), "an empty line first"


async def test_a_site_may_want_its_hello_whole_or_refuse_every_one(origins: Origins, authority: Authority) -> None:
    origins.conducts = {"alert.test": Conduct(alert=True), "old.test": Conduct(highest=ssl.TLSVersion.TLSv1_2)}
    (address,) = await origins.listen([("127.0.0.1", 0)])
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        await get(address, "GET / HTTP/1.1", "Host: alert.test", secure=(authority.client(), "alert.test"))
    context = authority.client()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with pytest.raises(ssl.SSLError):
        await get(address, "GET / HTTP/1.1", "Host: old.test", secure=(context, "old.test"))


async def test_a_site_may_be_dead_at_an_address_or_for_its_first_seconds(
    origins: Origins, authority: Authority
) -> None:
    origins.conducts = {
        "dead.test": Conduct(is_dead=True),
        "restarts.test": Conduct(restarts_s=0.3),
        "dead-here.test": Conduct(dead_at="127.0.0.1"),
        "dead-there.test": Conduct(dead_at="127.0.0.2"),
    }
    (address,) = await origins.listen([("127.0.0.1", 0)])

    async def answers(name: str, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                return bool(await get(address, "GET / HTTP/1.1", f"Host: {name}", secure=(authority.client(), name)))
        except TimeoutError:
            return False

    assert not await answers("dead.test", 0.4)
    assert not await answers("restarts.test", 0.4)
    assert await answers("restarts.test", 5)
    assert not await answers("dead.test", 0.4)
    assert not await answers("dead-here.test", 0.4)
    assert await answers("dead-there.test", 5)


# -- names -------------------------------------------------------------------------------------------------------------


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


# -- relays ------------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("host", [b"\x7f\0\0\1user\0", b"\0\0\0\1user\0blog.test\0"], ids=["4", "4a"])
async def test_a_relay_speaks_socks4(host: bytes, origins: Origins) -> None:
    (web,) = await origins.listen([("127.0.0.1", 0)])
    async with Relay(socket.socket, Zone(dict(TRUTH)).truth, ("127.0.0.1", 0)) as relay:
        reader, writer = await connect(socket.socket, relay.address)
        with contextlib.closing(writer):
            writer.write(b"\x04\x01" + web[1].to_bytes(2, "big") + host)
            assert await reader.readexactly(8) == b"\0\x5a\0\0\0\0\0\0"
            writer.write(b"GET / HTTP/1.1\r\nHost: blog.test\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
        assert relay.asked == [f"{'blog.test' if b'blog' in host else '127.0.0.1'}:{web[1]}"]


# -- a visitor ---------------------------------------------------------------------------------------------------------


def test_a_page_of_somebody_elses_is_not_genuine() -> None:
    assert not Visit("http://blog.test/", 200, BLOCK_PAGE).genuine
    assert not Visit("http://blog.test/", 403, b"blog.test says hello").genuine
