"""The buffer that every parser takes from: nothing lost, nothing kept beyond a limit, an early end told."""

from __future__ import annotations

import pytest

from proxy.model.errors import PeerError
from proxy.wire.reader import Parser, Reader
from tests.support.feeding import bytewise, feed, parse
from tests.support.rows import each_row

OVERLONG = PeerError("too long", reply=b"no")


def line(reader: Reader) -> Parser[bytes]:
    return reader.until(b"\r\n", limit=10, overlong=OVERLONG)


def test_exactly() -> None:
    assert parse(lambda reader: reader.exactly(5), b"hello") == b"hello"
    assert feed(lambda reader: reader.exactly(0), [b"x"]) == (b"", b"x")


def test_until() -> None:
    assert parse(line, b"\r\n") == b"\r\n"
    assert parse(line, b"a\rb\nc\r\n") == b"a\rb\nc\r\n"


def test_A15_until_at_its_limit() -> None:
    assert parse(line, b"12345678\r\n") == b"12345678\r\n"
    for data in (b"123456789\r\n", b"1234567890", b"1" * 100_000):
        for pieces in ([data], bytewise(data[:10])):
            with pytest.raises(PeerError) as caught:
                feed(line, pieces)
            assert caught.value is OVERLONG


@pytest.mark.parametrize("data", [b"", b"h", b"hell"])
def test_A19_an_end_in_the_middle(data: bytes) -> None:
    for make in (line, lambda reader: reader.exactly(5)):
        with pytest.raises(PeerError, match="closed in the middle") as caught:
            feed(make, [data] if data else [], ended=True)
        assert caught.value.reply == b""


def test_some_takes_what_has_come() -> None:
    assert feed(lambda reader: reader.some(4), [b"abcdef"]) == (b"abcd", b"ef")
    assert feed(lambda reader: reader.some(100), [b"abc", b"def"]) == (b"abc", b"def")
    assert feed(lambda reader: reader.some(4), [], ended=True) == (b"", b"")


def test_the_first_byte_is_seen_and_left() -> None:
    reader = Reader(b"abc")
    assert (bool(Reader()), bool(reader), reader[0]) == (False, True, ord("a"))
    assert [reader.take(2), reader.take(2), reader.take(2)] == [b"ab", b"c", b""]


def test_repr_tells_no_byte_of_it() -> None:
    reader = Reader(b"secret")
    reader.receive_data(b"")
    assert repr(reader) == "<Reader 6 bytes ended>"


def test_what_is_said_of_itself() -> None:
    reader = Reader(b"abc")
    before = (len(reader), reader.ended)
    reader.receive_data(b"")
    assert [before, (len(reader), reader.ended)] == [(3, False), (3, True)]
    assert reader.rest() == b"abc"
    assert len(reader) == 0


def test_a_search_begins_anew_after_a_take() -> None:
    reader = Reader(b"1234567\r")
    parser = line(reader)
    next(parser)
    reader.receive_data(b"\nab\r\n")
    with pytest.raises(StopIteration):
        next(parser)
    assert list(line(reader)) == []
    assert reader.rest() == b""


@each_row(
    ("head", "rest"),
    [
        (b"a\r\n\r\n", b"b\n\n"),
        (b"a\n\n", b"b\r\n\r\n"),
        (b"\n\r\n", b"b\n\n"),  # also where the empty line is the first
        (b"\n\n", b"b\r\n\r\n"),
    ],
)
def test_a_head_ends_with_its_first_empty_line(head: bytes, rest: bytes) -> None:
    reader = Reader(head + rest)
    assert reader.take_head(100) == head
    assert reader.rest() == rest
