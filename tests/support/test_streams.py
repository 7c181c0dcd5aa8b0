from __future__ import annotations

import asyncio

from tests.support.streams import listening


async def test_the_end_of_a_server_closes_what_a_client_never_took() -> None:
    """A connection of that kind outlived its loop, and the test that ran next in that process was blamed."""
    written = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(bytes(64 * 1024 * 1024))
        written.set()

    async with listening(serve, "127.0.0.1", 0) as server:
        _reader, client = await asyncio.open_connection(*server.sockets[0].getsockname())
        client.transport.pause_reading()  # type: ignore[attr-defined]
        await written.wait()
        await asyncio.sleep(0.1)  # the server waits for it
        assert writers[0].transport.get_write_buffer_size()
    assert writers[0].get_extra_info("socket").fileno() == -1
    client.transport.abort()
