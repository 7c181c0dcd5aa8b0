"""The first look at a connection, and TLS after it."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from tests.lab.authorities import Authority
from tests.lab.channel import Buffered, Plain, Secure, first_flight, hello_records, server_name


def hello(name: str = "blog.test") -> bytes:
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def cut(data: bytes, at: int) -> bytes:
    """Returns the same hello in two records."""
    head, message = data[:3], data[5:]
    return b"".join(head + len(part).to_bytes(2) + part for part in (message[:at], message[at:]))


def test_a_hello_is_counted_when_it_is_whole() -> None:
    data = hello()
    assert [hello_records(data[:end]) for end in (0, 1, 5, 9, len(data) - 1)] == [None] * 5
    assert hello_records(data) == 1
    assert hello_records(cut(data, 40)) == 2
    assert hello_records(cut(data, 2)) == 2
    assert hello_records(b"GET / HTTP/1.1") == 0


def test_the_name_is_found_in_a_hello_whole_or_cut() -> None:
    assert server_name(hello()) == "blog.test"
    assert server_name(cut(hello(), 100)) == "blog.test"
    assert server_name(b"\x16\x03\x01\x00\x05hello") == ""


async def test_the_first_flight_is_read_to_its_end_and_no_further() -> None:
    data = hello()
    reader = asyncio.StreamReader()
    reader.feed_data(data[:20])
    reading = asyncio.ensure_future(first_flight(reader))  # noqa: TID251  # awaited below
    await asyncio.sleep(0)
    reader.feed_data(data[20:])
    assert await reading == (data, 1)


async def test_a_flight_that_breaks_off_is_told() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(hello()[:30])
    reader.feed_eof()
    with pytest.raises(asyncio.IncompleteReadError):
        await first_flight(reader)


async def test_words_pass_both_ways_in_tls_whose_first_bytes_were_read_before() -> None:
    heard = []

    with Authority("Test") as authority:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            ahead, records = await first_flight(reader)
            channel = Secure(reader, writer, authority.server(), ahead=ahead)
            await channel.handshake()
            heard.append((records, await Buffered(channel).until(b"\n")))
            await channel.send(b"x" * 200_000)
            await channel.end()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=authority.client(), server_hostname="blog.test"
            )
            writer.write(b"hello\n")
            assert await reader.read() == b"x" * 200_000
            writer.close()
    assert heard == [(1, b"hello\n")]


async def test_what_was_read_ahead_comes_first() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"lo\r\n\r\nrest")
    reader.feed_eof()

    class Nowhere:
        """A writer that is never used."""

    data = Buffered(Plain(reader, Nowhere(), b"hel"))  # type: ignore[arg-type]  # reading only
    assert await data.until(b"\r\n\r\n") == b"hello\r\n\r\n"
    assert await data.exactly(2) == b"re"
    assert await data.some() == b"st"
    assert await data.some() == b""
