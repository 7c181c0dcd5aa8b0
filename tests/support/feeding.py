"""Ways to feed a parser: whole, byte by byte, with a tail, and cut at random places (h11's habit).

A parser is a generator over a Reader, as everywhere in `wire`. Its result must not depend on the pieces in which bytes
come. It must leave later bytes in the reader, and must not wait for more bytes than it needs.
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
    """The parser needed more bytes than it got, and the peer had not ended."""


def feed(make: Callable[[Reader], Parser[T]], pieces: Iterable[bytes], *, ended: bool = False) -> tuple[T, bytes]:
    """Feeds the parser with the pieces, then with the end if `ended`. Returns its value and the bytes that it left,
    with pieces that it did not wait for. Raises the parser's exceptions, or Unfinished."""
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
    """Returns the data cut at `places`, without empty pieces."""
    edges = sorted({0, len(data), *(place for place in places if 0 < place < len(data))})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def random_splits(data: bytes, *, seed: int = 0, times: int = 20) -> list[list[bytes]]:
    """Returns the data cut at random in `times` ways, the same for the same seed."""
    source = random.Random(seed)
    return [cut(data, (source.randrange(len(data) + 1) for _ in range(source.randint(1, 8)))) for _ in range(times)]


def every_way(data: bytes, *, seed: int = 0) -> list[Sequence[bytes]]:
    """Returns the data whole, byte by byte, and cut at random."""
    return [[data], bytewise(data), *random_splits(data, seed=seed)]


def parse(make: Callable[[Reader], Parser[T]], data: bytes, *, tail: bytes = TAIL) -> T:
    """Returns the value of a sample with exactly one message. It must be the same for every way of feeding, and with a
    tail, which must be left."""
    value, left = feed(make, [data])
    assert left == b"", f"left over of one message: {left!r}"
    for pieces in every_way(data):
        assert feed(make, pieces) == (value, b"")
    assert feed(make, [data + tail]) == (value, tail)
    assert feed(make, bytewise(data + tail)) == (value, tail)
    return value


def refuse(make: Callable[[Reader], Parser[T]], data: bytes, *, ended: bool = False) -> PeerError:
    """Returns the PeerError of a sample. Every way of feeding must raise it, with the same reply."""
    refusals = [_refusal(make, pieces, ended=ended) for pieces in every_way(data)]
    assert len({refusal.reply for refusal in refusals}) == 1, [refusal.reply for refusal in refusals]
    return refusals[0]


def _refusal(make: Callable[[Reader], Parser[T]], pieces: Sequence[bytes], *, ended: bool) -> PeerError:
    try:
        value, _ = feed(make, pieces, ended=ended)
    except PeerError as refusal:
        return refusal
    raise AssertionError(f"taken as {value!r}")
