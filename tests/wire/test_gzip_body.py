"""gzip within a limit."""

from __future__ import annotations

import gzip
import random

import pytest

from proxy.wire.gzip_body import gunzip
from tests.support.rows import each_row


def test_content_comes_back() -> None:
    content = random.Random(1).randbytes(700_000) + bytes(700_000)
    assert gunzip(gzip.compress(content, mtime=0), limit=len(content)) == content
    assert gunzip(gzip.compress(b"", mtime=0), limit=0) == b""


def test_a_bomb_stops_at_the_limit() -> None:
    bomb = gzip.compress(bytes(200_000_000), 1)
    assert len(bomb) < 1_000_000
    with pytest.raises(ValueError, match="decompresses to more than 1,000 bytes"):
        gunzip(bomb, limit=1000)


@each_row(
    ("data", "says"),
    [
        (b"", "is cut short"),
        (b"plain text", "is not the gzip"),
        (gzip.compress(b"x" * 5000, mtime=0)[:-9], "is cut short"),
        (gzip.compress(b"x", mtime=0) + b"more", "goes on after the end"),
        (gzip.compress(b"x", mtime=0) * 2, "goes on after the end"),
    ],
)
def test_what_is_no_whole_gzip(data: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        gunzip(data, limit=1_000_000)


def test_every_cut_and_every_changed_byte_is_told_or_read() -> None:
    data = gzip.compress(b"blocked.test\n" * 50, mtime=0)
    for end in range(len(data)):
        with pytest.raises(ValueError, match="cut short"):
            gunzip(data[:end], limit=10_000)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0xFF
        try:
            assert len(gunzip(bytes(changed), limit=10_000)) <= 10_000
        except ValueError:
            continue
