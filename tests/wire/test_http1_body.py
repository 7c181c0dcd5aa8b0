"""Bodies: the content comes whole, in bounded pieces and not a byte further, however it is cut on its way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.errors import PeerError
from proxy.wire.http1_body import (
    CHUNK_LINE_LIMIT,
    CHUNKED,
    LAST_CHUNK,
    NO_BODY,
    PIECE,
    TRAILER_LIMIT,
    UNTIL_EOF,
    BodyKind,
    Framing,
    encode_chunk,
    read_body,
)
from proxy.wire.reader import Reader
from tests.support.feeding import TAIL, bytewise, cut, every_way
from tests.support.rows import each_row


def read(framing: Framing, pieces: Iterable[bytes], *, ended: bool = False) -> tuple[list[bytes], bytes]:
    """The pieces of content, and what was left. Raises what the parser raises; AssertionError when it wants more."""
    reader = Reader()
    coming = iter((*pieces, b"") if ended else pieces)
    content: list[bytes] = []
    for piece in read_body(reader, framing):
        if piece is not None:
            assert 0 < len(piece) <= PIECE
            content.append(piece)
            continue
        more = next(coming, None)
        assert more is not None, "the body wants more than it was given"
        reader.receive_data(more)
    return content, reader.rest() + b"".join(coming)


def content_of(framing: Framing, data: bytes) -> bytes:
    """The content of a sample that holds one body: the same in every way, and with a tail, which is left."""
    content, left = read(framing, [data] if data else [])
    assert left == b""
    for pieces in every_way(data) if data else []:
        again, left = read(framing, pieces)
        assert (b"".join(again), left) == (b"".join(content), b"")
    for tailed in ([data + TAIL], bytewise(data + TAIL)):
        again, left = read(framing, tailed)
        assert (b"".join(again), left) == (b"".join(content), TAIL)
    return b"".join(content)


def refused(data: bytes, *, framing: Framing = CHUNKED) -> None:
    for pieces in every_way(data):
        with pytest.raises(PeerError) as fault:
            read(framing, pieces)
        assert fault.value.reply == b""


def test_no_body() -> None:
    assert content_of(NO_BODY, b"") == b""
    assert content_of(Framing(BodyKind.LENGTH, 0), b"") == b""


def test_a_counted_body() -> None:
    assert content_of(Framing(BodyKind.LENGTH, 5), b"hello") == b"hello"


def test_a_body_until_the_end() -> None:
    for pieces in every_way(b"hello"):
        content, left = read(UNTIL_EOF, pieces, ended=True)
        assert (b"".join(content), left) == (b"hello", b"")


@each_row(
    "data",
    [
        b"5\r\nhello\r\n0\r\n\r\n",
        b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"00005\r\nhello\r\n0\r\n\r\n",
        b"5;name=value\r\nhello\r\n0;last\r\n\r\n",
        b'5 ; name="\xff"\r\nhello\r\n0\r\n\r\n',
    ],
)
def test_a_chunked_body(data: bytes) -> None:
    assert content_of(CHUNKED, data) == b"hello"


def test_large_bodies_come_in_bounded_pieces() -> None:
    data = bytes(300_000)
    chunk = encode_chunk(data) + LAST_CHUNK
    for framing, sent in ((Framing(BodyKind.LENGTH, len(data)), data), (CHUNKED, chunk)):
        content, left = read(framing, cut(sent, range(0, len(sent), 40_000)))
        assert (b"".join(content), left) == (data, b"")
    content, _ = read(UNTIL_EOF, [data], ended=True)
    assert b"".join(content) == data


@each_row("size", range(5))
def test_a_counted_body_that_ends_too_early(size: int) -> None:
    with pytest.raises(PeerError):
        read(Framing(BodyKind.LENGTH, 5), [b"hello"[:size]] if size else [], ended=True)


def test_a_chunked_body_that_ends_too_early() -> None:
    data = b"5\r\nhello\r\n0\r\nX: 1\r\n\r\n"
    for size in range(1, len(data)):
        with pytest.raises(PeerError):
            read(CHUNKED, [data[:size]], ended=True)


# -- A: the catalogue ------------------------------------------------------------------------------------------------


@each_row(
    "line",
    [
        *(
            b"5;ext\n",
            b"5\n",
            b"5_0\r\n",
            b"-0x0\r\n",
            b"0x5\r\n",
            b"+5\r\n",
            b"-1\r\n",
            b"10000000000000000\r\n",
            b"\r\n",
        ),
        *(
            b" 5\r\n",
            b"5 \r\n",
            b"5 5\r\n",
            b"5\t\r\n",
            b"5\x0b\r\n",
            b"5;\x00\r\n",
            b"5;a\rb\r\n",
            b"g\r\n",
            b";ext\r\n",
        ),
        *("٥\r\n".encode(), b"5\r\r\n", b"5.0\r\n", b"5,\r\n"),
    ],
)
def test_A11_chunk_lines(line: bytes) -> None:
    refused(line + b"hello\r\n0\r\n\r\n")


@each_row("after", [b"", b"\n", b"x", b"\r0", b"xx\r\n"])
def test_A11_a_chunk_ends_where_its_size_says(after: bytes) -> None:
    refused(b"5\r\nhello" + after + b"0\r\n\r\n")


def test_A11_a_long_extension_is_not_read() -> None:
    refused(b"5;" + b"e" * 300 + b"\r\nhello\r\n0\r\n\r\n")
    with pytest.raises(PeerError):
        read(CHUNKED, [b"5;" + b"e" * (CHUNK_LINE_LIMIT - 2)])  # refused when the limit is reached, not later
    with pytest.raises(PeerError):
        read(CHUNKED, cut(b"5;" + b"e" * 1_000_000 + b"\r\n", range(0, 1_000_000, 65_536)))


def test_A11_very_many_very_small_chunks_come_together() -> None:
    data = b"1\r\nx\r\n" * 100_000 + LAST_CHUNK
    for pieces in (cut(data, range(0, len(data), 65_536)), [data]):
        content, left = read(CHUNKED, pieces)
        assert (b"".join(content), left) == (b"x" * 100_000, b"")
        assert len(content) < 20


def test_small_and_large_chunks_stay_in_order() -> None:
    chunks = [bytes([number]) * size for number, size in enumerate((1, 40_000, 20_000, 60_000, 5, 32_768, 32_769, 9))]
    content, left = read(CHUNKED, [b"".join(map(encode_chunk, chunks)) + LAST_CHUNK])
    assert (b"".join(content), left) == (b"".join(chunks), b"")


def test_A12_trailers_are_dropped() -> None:
    trailers = b"Content-Length: 5\r\nHost: evil.example\r\nX-Sum: 1\r\n"
    assert content_of(CHUNKED, b"5\r\nhello\r\n0\r\n" + trailers + b"\r\n") == b"hello"


def test_A12_trailers_are_bounded_and_end_in_crlf() -> None:
    refused(b"0\r\nX: 1\n\r\n")
    for endless in (
        b"X: " + b"a" * TRAILER_LIMIT,
        b"X: 1\r\n" * TRAILER_LIMIT,
        b"X" * (TRAILER_LIMIT - 2) + b"\r\nY\r\n",
    ):
        with pytest.raises(PeerError):
            read(CHUNKED, [b"0\r\n", *cut(endless, range(0, len(endless), 1000))])


# -- our own chunks --------------------------------------------------------------------------------------------------


def test_h11_reads_our_chunks() -> None:
    judge = h11.Connection(h11.SERVER)
    judge.receive_data(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    judge.receive_data(encode_chunk(b"hello") + encode_chunk(bytes(70_000)) + LAST_CHUNK)
    content = b""
    while not isinstance(event := judge.next_event(), h11.EndOfMessage):
        content += bytes(event.data) if isinstance(event, h11.Data) else b""
    assert content == b"hello" + bytes(70_000)
    assert list(event.headers) == []


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20), st.lists(st.integers(0, 6000), max_size=8))
def test_what_we_encode_we_read(chunks: Sequence[bytes], places: list[int]) -> None:
    data = b"".join(encode_chunk(chunk) for chunk in chunks) + LAST_CHUNK
    content, left = read(CHUNKED, [*cut(data, places), TAIL])
    assert (b"".join(content), left) == (b"".join(chunks), TAIL)


_PARTS = st.sampled_from(
    [b"5\r\nhello\r\n", b"1\r\nx\r\n", b"0\r\n", b"\r\n", b"\n", b"\r", b"5;a=b\r\n", b"X: 1\r\n", b" "]
)


@given(st.one_of(st.binary(max_size=100), st.lists(_PARTS, max_size=10).map(b"".join)), st.lists(st.integers(0, 99)))
def test_any_chunked_body_is_read_or_refused_however_it_comes(data: bytes, places: list[int]) -> None:
    seen = {outcome(pieces) for pieces in ((data,), tuple(bytewise(data)), tuple(cut(data, places))) if data}
    assert len(seen) <= 1, seen


def outcome(pieces: tuple[bytes, ...]) -> tuple[bytes, bytes] | None:
    """Content and rest; None: refused."""
    try:
        content, left = read(CHUNKED, pieces, ended=True)
    except PeerError:
        return None
    return b"".join(content), left
