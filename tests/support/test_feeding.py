from __future__ import annotations

import pytest

from proxy.model.errors import PeerError
from proxy.wire.reader import Parser, Reader
from tests.support.feeding import Unfinished, cut, every_way, feed, parse, refuse


def line(reader: Reader) -> Parser[bytes]:
    """A correct parser."""
    return (yield from reader.until(b"\n", limit=20, overlong=PeerError("too long", reply=b"no\n")))


def greedy(reader: Reader) -> Parser[bytes]:
    """A parser that takes bytes that are not its own."""
    yield from reader.until(b"\n", limit=20, overlong=PeerError("too long"))
    return reader.rest()


def impatient(reader: Reader) -> Parser[bytes]:
    """A parser that takes the first bytes for the whole input."""
    return (yield from reader.some(20))


def test_a_right_parser_passes_every_way() -> None:
    assert parse(line, b"hello\n") == b"hello\n"
    assert refuse(line, b"x" * 30).reply == b"no\n"


@pytest.mark.parametrize("wrong", [greedy, impatient])
def test_a_wrong_parser_does_not(wrong: object) -> None:
    with pytest.raises(AssertionError):
        parse(wrong, b"hello\n")  # type: ignore[arg-type]  # parametrize says object


def test_what_is_accepted_is_no_refusal() -> None:
    with pytest.raises(AssertionError, match="taken as"):
        refuse(line, b"hello\n")


def test_too_little_is_said_and_an_end_is_heard() -> None:
    with pytest.raises(Unfinished, match="3 bytes"):
        feed(line, [b"hel"])
    with pytest.raises(PeerError, match="closed in the middle"):
        feed(line, [b"hel"], ended=True)
    assert feed(line, [b"a\nb", b"c"]) == (b"a\n", b"bc")


def test_cuts_lose_nothing_and_repeat() -> None:
    data = bytes(range(50))
    assert all(b"".join(pieces) == data and b"" not in pieces for pieces in every_way(data))
    assert every_way(data, seed=1) == every_way(data, seed=1)
    assert cut(b"abc", [0, 1, 1, 3]) == [b"a", b"bc"]
