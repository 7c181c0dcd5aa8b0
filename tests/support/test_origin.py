from __future__ import annotations

import asyncio
import hashlib

import pytest

from tests.support import client
from tests.support.client import fetch
from tests.support.origin import PICTURE, Origin, pattern
from tests.support.waiting import until


async def test_both_families_and_both_schemes_on_the_same_ports() -> None:
    async with Origin(addresses=("127.0.0.1", "::1")) as origin:
        trust = origin.authority.client()
        for address in ("127.0.0.1", "[::1]"):
            plain = await fetch(f"http://{address}:{origin.http_port}/hello")
            secure = await fetch(f"https://{address}:{origin.https_port}/hello", trust=trust)
            assert (plain.status, plain.body) == (200, f"{address}:{origin.http_port} says hello\n".encode())
            assert (secure.status, secure.body) == (200, f"{address}:{origin.https_port} says hello\n".encode())
        assert [request.peer for request in origin.requests] == ["127.0.0.1", "127.0.0.1", "::1", "::1"]
        assert [request.secure for request in origin.requests] == [False, True, False, True]
        assert origin.connections == 4


async def test_shows_a_certificate_for_the_name_that_is_asked() -> None:
    async with Origin() as origin:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", origin.https_port, ssl=origin.authority.client(), server_hostname="user.blog.test"
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: user.blog.test\r\nConnection: close\r\n\r\n")
        assert b"user.blog.test says hello\n" in await reader.read()
        writer.close()
        await writer.wait_closed()
        assert origin.server_names == ["user.blog.test"]


@pytest.mark.parametrize("path", ["bytes", "chunked", "eof"])
async def test_bytes_come_in_each_framing(path: str) -> None:
    async with Origin() as origin:
        answer = await fetch(f"http://127.0.0.1:{origin.http_port}/{path}/70000")
        assert answer.body == pattern(70_000)


async def test_a_post_is_counted_and_its_body_is_named() -> None:
    async with Origin() as origin:
        answer = await fetch(f"http://127.0.0.1:{origin.http_port}/form", method="POST", body=b"a=1")
        assert answer.body == f"3 bytes {hashlib.sha256(b'a=1').hexdigest()}\n".encode()
        assert origin.posts == 1


async def test_a_page_spreads_its_pictures_over_hosts() -> None:
    async with Origin() as origin:
        answer = await fetch(f"http://127.0.0.1:{origin.http_port}/page/3?hosts=a.test:1,b.test:2")
        assert answer.body.count(b"<img") == 3
        assert b'<img src="//a.test:1/part/0"><img src="//b.test:2/part/1"><img src="//a.test:1/part/2">' in answer.body
        assert (await fetch(f"http://127.0.0.1:{origin.http_port}/part/0")).body == PICTURE


async def test_a_connection_is_kept_and_a_held_answer_waits() -> None:
    async with Origin() as origin:
        reader, writer = await asyncio.open_connection("127.0.0.1", origin.http_port)
        writer.write(b"GET /part/1 HTTP/1.1\r\nHost: a.test\r\n\r\nGET /hold HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert PICTURE in await reader.readuntil(PICTURE)
        await until(lambda: len(origin.requests) == 2)
        assert not reader.at_eof()
        origin.release.set()
        assert b"a.test says hello\n" in await reader.readuntil(b"hello\n")
        assert origin.connections == 1
        writer.close()
        await writer.wait_closed()


async def test_a_client_gives_up_a_handshake_that_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_LIMIT_S", 0.05)
    async with Origin() as origin:  # plain HTTP waits for the end of a head, and a ClientHello has none
        with pytest.raises(TimeoutError):
            await fetch(f"https://127.0.0.1:{origin.http_port}/", trust=origin.authority.client())
