"""Ways to feed a parser: whole, byte by byte, with a tail, and cut at random places (h11's habit).

A parser is a generator over a Reader, as everywhere in `wire`. It must do the same however its bytes come, must leave
what is not its own in the reader, and must not wait for more than it needs.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from proxy.model.errors import PeerError
from proxy.wire.reader import Parser, Reader

T = TypeVar("T")
TAIL = b"\x00the tail of another message\r\n\r\n"


class Unfinished(AssertionError):
    """The parser wanted more than it was given, and the peer had not finished sending."""


def feed(make: Callable[[Reader], Parser[T]], pieces: Iterable[bytes], *, ended: bool = False) -> tuple[T, bytes]:
    """Gives the parser piece after piece, then the end if `ended`. Returns its value and what it left over, pieces that
    it did not wait for included. Raises what the parser raises, or Unfinished."""
    reader = Reader()
    parser = make(reader)
    waiting = iter((*pieces, b"") if ended else pieces)
    try:
        next(parser)
        for piece in waiting:
            reader.receive_data(piece)
            next(parser)
    except StopIteration as stop:
        value: T = stop.value
        return value, reader.rest() + b"".join(waiting)
    finally:
        parser.close()
    raise Unfinished(f"{len(reader)} bytes were not enough")


def bytewise(data: bytes) -> list[bytes]:
    return [data[place : place + 1] for place in range(len(data))]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The data in pieces, cut at `places`; no piece is empty."""
    edges = sorted({0, len(data), *(place for place in places if 0 < place < len(data))})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def random_splits(data: bytes, *, seed: int = 0, times: int = 20) -> list[list[bytes]]:
    """`times` ways to cut the data, the same for the same seed."""
    source = random.Random(seed)
    return [cut(data, (source.randrange(len(data) + 1) for _ in range(source.randint(1, 8)))) for _ in range(times)]


def every_way(data: bytes, *, seed: int = 0) -> list[Sequence[bytes]]:
    """The data whole, byte by byte, and cut at random."""
    return [[data], bytewise(data), *random_splits(data, seed=seed)]


def parse(make: Callable[[Reader], Parser[T]], data: bytes, *, tail: bytes = TAIL) -> T:
    """The value of a sample that holds exactly one message, the same in every way and with a tail, which is left."""
    value, left = feed(make, [data])
    assert left == b"", f"left over of one message: {left!r}"
    for pieces in every_way(data):
        assert feed(make, pieces) == (value, b"")
    assert feed(make, [data + tail]) == (value, tail)
    assert feed(make, bytewise(data + tail)) == (value, tail)
    return value


def refuse(make: Callable[[Reader], Parser[T]], data: bytes, *, ended: bool = False) -> PeerError:
    """The PeerError of a sample that no way of feeding makes acceptable; the reply is the same in each."""
    refusals = [_refusal(make, pieces, ended=ended) for pieces in every_way(data)]
    assert len({refusal.reply for refusal in refusals}) == 1, [refusal.reply for refusal in refusals]
    return refusals[0]


def _refusal(make: Callable[[Reader], Parser[T]], pieces: Sequence[bytes], *, ended: bool) -> PeerError:
    try:
        value, _ = feed(make, pieces, ended=ended)
    except PeerError as refusal:
        return refusal
    raise AssertionError(f"taken as {value!r}")
