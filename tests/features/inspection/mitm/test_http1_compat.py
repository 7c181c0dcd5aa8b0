"""Answers of an origin that HTTP/1.1 allows, or that no bound was set to, as clients of an inspected connection get
them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.features.inspection.http1_compat import HEAD_LIMIT
from tests.features.inspection.mitm.inspecting import inspecting
from tests.features.inspection.mitm.site import Site
from tests.support.authority import Authority

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"


@contextlib.asynccontextmanager
async def saying(authority: Authority, *parts: bytes) -> AsyncIterator[int]:
    """A site that says these parts to each request, and keeps the connection. Its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=authority.server("www.inside.test"))
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.needs("curl")
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize(
    "parts",
    [
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n", LENGTH),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early", b" Hints\r\nLink: </a>\r\n\r\n" + LENGTH),
        (CHUNKS,),
        tuple(bytes([byte]) for byte in b"HTTP/1.1 100\r\n\r\n" + CHUNKS),
    ],
    ids=["103", "100 and 103, cut", "trailers", "byte by byte"],
)
async def test_interim_answers_and_trailers_keep_nobody_waiting(
    tmp_path: Path, version: str, parts: tuple[bytes, ...]
) -> None:
    authority = Authority()
    async with saying(authority, *parts) as port, inspecting(tmp_path, authority) as byway:
        url = f"https://www.inside.test:{port}/"
        done = await byway.curl(version, url, url, timeout_s=20)
        assert done.stdout == b"hello" * 2, done.stderr


@pytest.mark.needs("curl")
@pytest.mark.parametrize(
    "line", [b"5;" + b"x" * HEAD_LIMIT * 2, b"0\r\n" + b"X-More: 1\r\n" * HEAD_LIMIT], ids=["size", "trailers"]
)
async def test_A11_a_line_between_chunks_that_never_ends_is_refused(tmp_path: Path, line: bytes) -> None:
    authority = Authority()
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + line
    async with saying(authority, endless) as port, inspecting(tmp_path, authority) as byway:
        done = await byway.curl(f"https://www.inside.test:{port}/", timeout_s=20)
        assert b"of more than 64 KiB" in done.stdout, done.stderr


@pytest.mark.needs("curl")
async def test_A39_a_head_that_never_ends_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority()
    endless = b"HTTP/1.1 200 OK\r\n" + b"X-More: 0123456789\r\n" * (HEAD_LIMIT // 16)
    async with saying(authority, endless) as port, inspecting(tmp_path, authority) as byway:
        done = await byway.curl(f"https://www.inside.test:{port}/", timeout_s=20)
        assert b"a head of more than 64 KiB" in done.stdout, done.stderr
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.needs("curl")
async def test_an_upload_with_trailers_arrives(tmp_path: Path) -> None:
    authority = Authority()
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway:
        reader, writer = await asyncio.open_connection(*byway.proxy)
        where = f"www.inside.test:{site.port}"
        writer.write(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await writer.start_tls(byway.trust(), server_hostname="www.inside.test")
        head = f"POST /upload HTTP/1.1\r\nHost: {where}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
        assert b"\r\n3 ba7816bf" in (await reader.read()).replace(b"\r\n\r\n", b"\r\n")
        writer.close()
