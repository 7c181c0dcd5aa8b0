"""A client that speaks HTTP/2 inside an inspected tunnel: a request that would be read as two when it is written as
HTTP/1 is refused, and nothing of it reaches the origin.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence

import h2.config
import h2.connection
import h2.events
import hpack
import hyperframe.frame
import pytest
import pytest_asyncio

from tests.features.inspection.mitm.inspecting import Inspecting, listening, tunnel
from tests.support.authority import Authority

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Origin:
    """Answers each request over HTTP/2, whatever is in it, and keeps its fields."""

    def __init__(self) -> None:
        self.heard: list[list[tuple[bytes, bytes]]] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        how = h2.config.H2Configuration(client_side=False, header_encoding=None, validate_inbound_headers=False)
        talk = h2.connection.H2Connection(how)
        talk.initiate_connection()
        with contextlib.suppress(OSError):
            writer.write(talk.data_to_send())
            while data := await reader.read(65536):
                for event in talk.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived | h2.events.TrailersReceived):
                        self.heard.append([(bytes(name), bytes(value)) for name, value in event.headers or ()])
                    if isinstance(event, h2.events.StreamEnded):
                        talk.send_headers(event.stream_id, [(b":status", b"200")], end_stream=True)
                writer.write(talk.data_to_send())
                await writer.drain()
        writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(authority: Authority) -> AsyncIterator[Origin]:
    context = authority.server("www.inside.test")
    context.set_alpn_protocols(["h2"])
    async with listening(Origin(), context) as origin:
        yield origin


H2: list[tuple[bytes, bytes]] = [
    (b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"www.inside.test"), (b":path", b"/"),
]  # fmt: skip
BAD_H2: dict[str, list[tuple[bytes, bytes]]] = {
    "a line end in a value": [*H2, (b"x-a", b"1\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x")],
    "LF in a value": [*H2, (b"x-a", b"1\nX-B: 2")],
    "NUL in a value": [*H2, (b"x-a", b"1\x002")],
    "a line end in a name": [*H2, (b"x-a\r\nx-b", b"1")],
    "a colon in a name": [*H2, (b"x-a: 1\r\nx-b", b"1")],
    "capitals in a name": [*H2, (b"X-A", b"1")],
    "no name": [*H2, (b"", b"1")],
    "a line end in the path": [*H2[:3], (b":path", b"/ HTTP/1.1\r\nX-A: 1\r\n\r\nGET /smuggled")],
    "a blank in the path": [*H2[:3], (b":path", b"/ HTTP/1.1 /smuggled")],
    "no path": [*H2[:3], (b":path", b"")],
    "an address for a path": [*H2[:3], (b":path", b"http://other.test/")],
    "a line end in the method": [(b":method", b"GET / HTTP/1.1\r\nX: 1\r\n\r\nGET"), *H2[1:]],
    "a blank in the method": [(b":method", b"GET /smuggled"), *H2[1:]],
    "trace": [(b":method", b"TRACE"), *H2[1:]],
    "a line end in the authority": [*H2[:2], (b":authority", b"www.inside.test\r\nX-A: 1"), H2[3]],
    "user information": [*H2[:2], (b":authority", b"user@www.inside.test"), H2[3]],
    "two authorities": [*H2, (b":authority", b"other.test")],
    "another host": [*H2, (b"host", b"other.test")],
    "two hosts": [*H2, (b"host", b"www.inside.test"), (b"host", b"www.inside.test")],
    "no host": [*H2[:2], H2[3]],
    "an odd scheme": [H2[0], (b":scheme", b"ftp"), *H2[2:]],
    "a pseudo-header that there is not": [*H2, (b":x", b"1")],
    "a coding": [*H2, (b"transfer-encoding", b"chunked")],
    "a coding among other words": [*H2, (b"transfer-encoding", b"gzip, chunked")],
    "a connection": [*H2, (b"connection", b"close")],
    "an upgrade": [*H2, (b"upgrade", b"websocket")],
    "two lengths": [(b":method", b"POST"), *H2[1:], (b"content-length", b"0"), (b"content-length", b"5")],
    "an odd length": [(b":method", b"POST"), *H2[1:], (b"content-length", b"+0")],
    "a length and nothing": [(b":method", b"POST"), *H2[1:], (b"content-length", b"9")],
}


async def ask_h2(
    byway: Inspecting, port: int, fields: Sequence[tuple[bytes, bytes]], trailers: Sequence[tuple[bytes, bytes]] = ()
) -> list[h2.events.Event]:
    """All that comes until the answer is there or the connection closed."""
    how = h2.config.H2Configuration(
        header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
    )
    talk = h2.connection.H2Connection(how)
    happened: list[h2.events.Event] = []
    async with tunnel(byway, port, ("h2",)) as (reader, writer):
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        talk.initiate_connection()
        block = hpack.Encoder().encode(fields)
        flags = ["END_HEADERS"] if trailers else ["END_HEADERS", "END_STREAM"]
        frames = [hyperframe.frame.HeadersFrame(1, block, flags=flags)]
        if trailers:
            frames.append(
                hyperframe.frame.HeadersFrame(1, hpack.Encoder().encode(trailers), flags=["END_HEADERS", "END_STREAM"])
            )
        writer.write(talk.data_to_send() + b"".join(frame.serialize() for frame in frames))
        talk.send_headers(1, H2, end_stream=True)  # it has to know the stream; what it would send is not sent
        talk.data_to_send()
        while data := await reader.read(65536):
            happened += talk.receive_data(data)
            if any(isinstance(one, h2.events.StreamEnded | h2.events.ConnectionTerminated) for one in happened):
                break
    return happened


@pytest.mark.parametrize("name", BAD_H2)
async def test_an_http2_request_that_would_be_two_in_http1_is_refused(
    byway: Inspecting, origin: Origin, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    happened = await ask_h2(byway, origin.port, BAD_H2[name])
    assert origin.heard == []
    assert any(isinstance(one, h2.events.ConnectionTerminated) for one in happened), happened
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "more",
    [
        [],
        [(b"host", b"www.inside.test")],
        [(b"te", b"trailers"), (b"priority", b"u=1, i"), (b"x-name", "grüße".encode()), (b"empty", b"")],
        [(b"cookie", b"a=%d" % number) for number in range(150)],
    ],
    ids=["plain", "host", "unusual", "cookies"],
)
async def test_a_good_http2_request_passes(byway: Inspecting, origin: Origin, more: list[tuple[bytes, bytes]]) -> None:
    """The control."""
    happened = await ask_h2(byway, origin.port, [*H2, *more])
    (answer,) = [one for one in happened if isinstance(one, h2.events.ResponseReceived)]
    assert (b":status", b"200") in [(bytes(name), bytes(value)) for name, value in answer.headers or ()]
    assert origin.heard[0][: len(H2)] == H2 or set(H2) <= set(origin.heard[0])


async def test_A12_trailers_of_http2_do_not_go_on(
    byway: Inspecting, origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    fields = [(b":method", b"POST"), *H2[1:]]
    happened = await ask_h2(byway, origin.port, fields, [(b"x-sum", b"1")])
    assert any(isinstance(one, h2.events.ResponseReceived) for one in happened), happened
    assert [(b":path", b"/") in fields for fields in origin.heard] == [True]
    origin.heard.clear()
    happened = await ask_h2(byway, origin.port, fields, [(b"x-sum", b"1\r\n\r\nGET /smuggled HTTP/1.1")])
    assert any(isinstance(one, h2.events.ConnectionTerminated) for one in happened), happened
    assert origin.heard == []
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
