"""PySocks beside us: what it is asked, what it is not, and a relay that never finishes."""

from __future__ import annotations

import asyncio
import threading

import pytest

from proxy.features.relays import pysocks_check as module
from proxy.features.relays.pysocks_check import NAME_LIMIT, second_opinion
from proxy.model import Destination
from proxy.wire.relay_url import parse
from tests.support import relay as lab
from tests.support.waiting import until


async def closing_server() -> asyncio.Server:
    return await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)


@pytest.mark.parametrize("kind", ["socks5h", "socks4a", "http"])
async def test_a_relay_that_works_and_refuses(kind: str) -> None:
    origin = await closing_server()
    async with origin, lab.Relay({"open.test": "127.0.0.1"}) as relay:
        url = parse(f"{kind}://{relay.address}:{relay.port}")
        port = origin.sockets[0].getsockname()[1]
        good = await second_opinion(url, Destination("open.test", port), may_send_credentials=False)
        bad = await second_opinion(url, Destination("closed.test", port), may_send_credentials=False)
    assert good.asked
    assert good.ok, good.error
    assert (bad.asked, bad.ok) == (True, False)
    assert bad.error
    assert relay.asked == [f"open.test:{port}", f"closed.test:{port}"]  # names go to the relay as names


async def test_credentials_are_sent_to_loopback() -> None:
    origin = await closing_server()
    async with origin, lab.Relay({"open.test": "127.0.0.1"}, user="u", password="p:w") as relay:
        target = Destination("open.test", origin.sockets[0].getsockname()[1])
        for kind in ("socks5h", "http"):
            url = parse(f"{kind}://u:p%3Aw@{relay.address}:{relay.port}")
            assert (await second_opinion(url, target, may_send_credentials=False)).ok
        wrong = parse(f"socks5h://u:no@{relay.address}:{relay.port}")
        told = await second_opinion(wrong, target, may_send_credentials=False)
    assert told.asked
    assert not told.ok


@pytest.mark.parametrize(
    ("url", "host", "why"),
    [
        ("https://127.0.0.1:1", "a.test", "TLS"),
        ("socks5h://127.0.0.1:1", "a" * 60 + "." + "b" * 60 + ".test-test", "127 bytes"),
        ("http://127.0.0.1:1", "2001:db8::1", "IPv6"),
        ("socks4a://127.0.0.1:1", "2001:db8::1", "IPv6"),
        ("socks5://127.0.0.1:1?resolve=local", "a.test", "resolve the name itself"),
        ("socks4://127.0.0.1:1", "a.test", "resolve the name itself"),
        ("socks5h://u:p@relay.example:1", "a.test", "user and password"),
        ("socks5h://u:p@192.0.2.1:1", "a.test", "user and password"),
        ("socks5h://relay.example:1", "a.test", "name servers"),
        ("socks5h://127.0.0.1:1?alt=127.0.0.1:2", "a.test", "alternatives"),
        ("http://localhost:1", "a.test", "name servers"),
    ],
)
async def test_it_is_not_asked_what_it_gets_wrong_or_what_is_unsafe(
    monkeypatch: pytest.MonkeyPatch, url: str, host: str, why: str
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("PySocks was asked")

    monkeypatch.setattr(module, "_connect", forbidden)
    told = await second_opinion(parse(url), Destination(host, 443), may_send_credentials=False)
    assert (told.asked, told.ok) == (False, False)
    assert why in told.error


async def test_a_name_of_127_bytes_is_sent_rightly() -> None:
    host = "a" * 60 + "." + "b" * 61 + ".test"
    assert len(host) == NAME_LIMIT
    async with lab.Relay({}) as relay:
        url = parse(f"socks5h://{relay.address}:{relay.port}")
        told = await second_opinion(url, Destination(host, 443), may_send_credentials=False)
    assert told.asked
    assert relay.asked == [f"{host}:443"]


async def test_credentials_go_where_they_are_allowed_to(monkeypatch: pytest.MonkeyPatch) -> None:
    class Path:
        def close(self) -> None: ...

    monkeypatch.setattr(module, "_connect", lambda relay, destination: Path())
    url = parse("socks5h://u:p@192.0.2.1:1")
    assert (await second_opinion(url, Destination("a.test", 1), may_send_credentials=True)).ok


@pytest.mark.parametrize("answer", [b"", b"\x05", b"\xff" * 300, b"HTTP/1.1 200", b"\x05\x00\x05\x00\x00\x09"])
@pytest.mark.parametrize("kind", ["socks5h", "socks4a", "http"])
async def test_E1_a_lying_relay_is_an_error_and_no_crash(kind: str, answer: bytes) -> None:
    async def lie(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(lie, "127.0.0.1", 0)
    async with server:
        url = parse(f"{kind}://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        told = await second_opinion(url, Destination("a.test", 443), may_send_credentials=False)
    assert (told.asked, told.ok) == (True, False)
    assert told.error
    assert "\n" not in told.error


async def test_a_relay_that_never_finishes_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DEADLINE_S", 0.05)
    finished = asyncio.Event()

    async def linger(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await finished.wait()
        writer.close()

    server = await asyncio.start_server(linger, "127.0.0.1", 0)
    async with server:
        url = parse(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        told = await second_opinion(url, Destination("a.test", 443), may_send_credentials=False)
        assert any(thread.name == "PySocks" and thread.daemon for thread in threading.enumerate())
        finished.set()
        await until(lambda: all(thread.name != "PySocks" for thread in threading.enumerate()))
    assert (told.asked, told.ok) == (True, False)
    assert "no complete answer" in told.error


async def test_of_a_relay_that_an_addon_opens_nobody_else_knows() -> None:
    told = await second_opinion(parse("addon://ways"), Destination("a.test", 443), may_send_credentials=True)
    assert (told.asked, told.error) == (False, "PySocks cannot test a relay of an addon")
