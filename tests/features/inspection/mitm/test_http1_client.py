"""A client inside an inspected tunnel is read as strictly as one outside: an ambiguous request is refused, its
connection is closed, and not a byte of it reaches the origin.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from tests.features.inspection.mitm.inspecting import Inspecting, inspecting, listening, tunnel
from tests.support.authority import Authority
from tests.support.rows import each_row
from tests.support.waiting import until
from tests.wire.bad_heads import BAD_CHUNKS, BAD_HEADS, HOST, TOO_LARGE

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = b"GET /good HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


class Origin:
    """Takes what comes over TLS, and answers each request head that it makes out."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.port = 0

    def has_heard(self, words: bytes) -> bool:
        return bytes(self.heard) == words

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.heard += data
                if self.heard.endswith(b"\r\n\r\n"):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    await writer.drain()
        writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(authority: Authority) -> AsyncIterator[Origin]:
    async with listening(Origin(), authority.server("www.inside.test")) as origin:
        yield origin


async def ask(
    byway: Inspecting, port: int, pieces: Sequence[bytes], alpn: Sequence[str] = (), *, tls: bool = True
) -> bytes:
    """All that comes until the connection is closed."""
    async with tunnel(byway, port, alpn, tls=tls) as (reader, writer):
        answer = bytearray()
        with contextlib.suppress(OSError, ssl.SSLError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                if len(pieces) > 1:
                    await asyncio.sleep(0.005)  # each in a record and a read of its own
        with contextlib.suppress(OSError, ssl.SSLError):
            while data := await reader.read(65536):
                answer += data
        return bytes(answer)


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d{3}) ", answer)]


WAYS: dict[str, tuple[Sequence[str], Callable[[bytes], list[bytes]]]] = {
    "whole": ((), lambda data: [data]),
    "in two": ((), lambda data: [data[:1], data[1:]]),
    "by ALPN": (("http/1.1",), lambda data: [data]),
}


IN_PARTS = pytest.param("in two", marks=pytest.mark.slow)


@pytest.mark.parametrize("way", ["whole", IN_PARTS, pytest.param("by ALPN", marks=pytest.mark.slow)])
@each_row("name", BAD_HEADS)
async def test_A1_to_A31_an_ambiguous_head_in_the_tunnel_is_refused(
    byway: Inspecting, origin: Origin, name: str, way: str
) -> None:
    origin.heard.clear()
    alpn, cut = WAYS[way]
    answer = await ask(byway, origin.port, cut(BAD_HEADS[name] + SMUGGLED), alpn)
    assert origin.heard == b""
    assert len(statuses(answer)) == 1, answer
    assert statuses(answer)[0] in (400, 417, 501, 505), answer
    assert b"Connection: close\r\n" in answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bare_site() -> AsyncIterator[Origin]:
    """The same without TLS."""
    async with listening(Origin(), None) as origin:
        yield origin


ODD_LINES = {
    **BAD_HEADS,
    "a version on a line of its own": b"GET /\nHTTP/1.1\r\n" + HOST + b"\r\n",
    "two blanks": b"POST /  HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2 in parts": b"PRI / HTTP/2.0\r\n" + HOST + b"\r\n",
    "a blank first": b" GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "no version": b"GET /\r\n" + HOST + b"\r\n",
    "small letters": b"get / http/1.1\r\n" + HOST + b"\r\n",
    "a tab": b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "a blank at the end": b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n",
    "HTTP/3": b"GET / HTTP/3.0\r\n" + HOST + b"\r\n",
}


@pytest.mark.parametrize("way", ["whole", IN_PARTS])
@each_row("name", ODD_LINES)
async def test_an_ambiguous_head_in_a_plain_tunnel_is_refused(
    byway: Inspecting, bare_site: Origin, name: str, way: str
) -> None:
    bare_site.heard.clear()
    _, cut = WAYS[way]
    answer = await ask(byway, bare_site.port, cut(ODD_LINES[name] + SMUGGLED), tls=False)
    assert bytes(bare_site.heard[:1]) in (b"", b"\x16"), "nothing, or Byway's own question whether TLS is spoken there"
    assert bare_site.heard.find(HOST) < 0
    assert b" 200 " not in answer


@pytest.mark.parametrize("way", ["whole", "in two"])
async def test_what_is_no_request_passes_a_plain_tunnel_and_a_good_request_too(
    byway: Inspecting, bare_site: Origin, way: str
) -> None:
    """The control."""
    _, cut = WAYS[way]
    for told in (b"EHLO mail.test\r\n\r\n", b"NICK zoya\r\n\r\n", b"\x00\x01binary\r\n\r\n"):
        bare_site.heard.clear()
        async with tunnel(byway, bare_site.port, tls=False) as (reader, writer):
            for piece in cut(told):
                writer.write(piece)
                await writer.drain()
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        assert bare_site.has_heard(told)
    bare_site.heard.clear()
    assert statuses(await ask(byway, bare_site.port, cut(GOOD), tls=False)) == [200]
    assert b"GET /good HTTP/1.1\r\n" in bare_site.heard


@pytest.mark.parametrize("name", TOO_LARGE)
async def test_A14_A15_a_head_that_is_too_large_is_refused(byway: Inspecting, origin: Origin, name: str) -> None:
    answer = await ask(byway, origin.port, [TOO_LARGE[name]])
    assert origin.heard == b""
    assert statuses(answer) in ([414], [431])


@each_row("cut", ["whole", "head first"])
@each_row("name", BAD_CHUNKS)
async def test_A11_A12_bad_chunks_in_the_tunnel_end_both_sides(
    byway: Inspecting, origin: Origin, name: str, cut: str
) -> None:
    origin.heard.clear()
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    pieces = [head + BAD_CHUNKS[name]] if cut == "whole" else [head, BAD_CHUNKS[name]]
    answer = await ask(byway, origin.port, [*pieces[:-1], pieces[-1] + SMUGGLED])
    assert b"smuggled" not in origin.heard
    assert statuses(answer) in ([], [400]), answer


@pytest.mark.parametrize("way", [*WAYS, "byte by byte"])
async def test_a_good_head_passes_the_same_way(
    byway: Inspecting, origin: Origin, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The control of the tests above."""
    alpn, cut = WAYS.get(way, ((), lambda data: [bytes([byte]) for byte in data]))
    good = b"GET /first HTTP/1.1\r\n" + HOST + b"\r\n" + b"\r\n" + GOOD  # an empty line between is forgiven
    assert statuses(await ask(byway, origin.port, cut(good), alpn)) == [200, 200]
    assert origin.heard.startswith(b"GET /first HTTP/1.1\r\n")
    assert b"GET /good HTTP/1.1\r\n" in origin.heard
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_A11_good_chunks_pass_and_what_follows_is_the_next_request(byway: Inspecting, origin: Origin) -> None:
    body = b"5;ext=1\r\nhello\r\n" + b"1\r\nx\r\n" * 50 + b"0\r\nX-Sum: 1\r\nContent-Length: 7\r\n\r\n"
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = await ask(byway, origin.port, [head, body[:30], body[30:] + GOOD])
    assert statuses(answer) == [200, 200]
    assert b"X-Sum" not in origin.heard
    assert b"ext=1" not in origin.heard
    assert b"GET /good HTTP/1.1\r\n" in origin.heard


@pytest.mark.parametrize("pieces", [[b"GET / HT"], [b"GET /good HTTP/1.1\r\n" + HOST + b"\r\n", b"GET / HT"]])
async def test_A16_a_head_that_does_not_end_is_answered_with_408(
    tmp_path: Path, authority: Authority, origin: Origin, pieces: list[bytes]
) -> None:
    hasty = "[limits]\nhead_timeout_s = 0.3\n"
    async with inspecting(tmp_path, authority, config=hasty) as byway:
        answer = await ask(byway, origin.port, pieces)
    assert statuses(answer) == [200] * (len(pieces) - 1) + [408]
    assert origin.heard.count(b"HTTP/1.1") == len(pieces) - 1


async def test_what_is_no_http_goes_through_as_it_is(byway: Inspecting, origin: Origin) -> None:
    for words in (
        b"\x10\x0c\x00\x04MQTT\x05\x02",
        b"NICK somebody\r\n",
        b"a1 CAPABILITY\r\n",
        b"<?xml version='1.0'?>",
    ):
        origin.heard.clear()
        async with tunnel(byway, origin.port, ()) as (_, writer):
            writer.write(words)
            await until(functools.partial(origin.has_heard, words))
