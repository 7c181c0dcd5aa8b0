from __future__ import annotations

import itertools

import pytest

from tests.lab import packets
from tests.lab.packets import ACK, PSH, Packet
from tests.lab.test_messages import client_hello, cut_records
from tests.lab.views import Names, Said, View, requested_host, server_name

NAME = "blog.test"
HELLO = client_hello(NAME)
INSIDE = HELLO.index(NAME.encode()) + 4
RECORDS = cut_records(HELLO, INSIDE - 5)
REQUEST = b"GET / HTTP/1.1\r\nHost: blog.test\r\n\r\n"
CASE = REQUEST.replace(b"Host", b"hOSt")

STRONG = {View.TCP, View.RECORDS}
ALL = {View.PACKET, View.PACKET_RECORDS, *STRONG}
IN_RECORDS = {View.PACKET_RECORDS, View.RECORDS}


def seen_by(segments: list[tuple[int, bytes]]) -> set[View]:
    """Returns the views, except STRING, that learn the name from these segments (position, bytes)."""
    said, seen = Said(), set()
    said.begin(1000)
    for at, payload in segments:
        data = packets.tcp(b"\1" * 4, 1, b"\2" * 4, 443, seq=1000 + at, ack=1, flags=PSH | ACK, payload=payload)
        said.feed(1000 + at, payload)
        for view in ALL:
            if NAME in (server_name(view, Packet(data), said), requested_host(view, Packet(data), said)):
                seen.add(view)
    return seen


def split(data: bytes, *cuts: int) -> list[tuple[int, bytes]]:
    return [(begin, data[begin:end]) for begin, end in itertools.pairwise((0, *cuts, len(data)))]


@pytest.mark.parametrize(
    ("segments", "seen"),
    [
        (split(HELLO), ALL),
        (split(HELLO, len(HELLO) - 20), ALL if len(HELLO) > INSIDE + 20 else STRONG),
        (split(HELLO, 1, INSIDE), STRONG),
        (list(reversed(split(HELLO, 1, INSIDE))), STRONG),
        (split(HELLO, 1, 40, INSIDE)[::-1] + split(HELLO), ALL),
        (split(RECORDS), IN_RECORDS),
        (split(RECORDS, 1, INSIDE + 5), {View.RECORDS}),
        (split(RECORDS, *range(1, len(RECORDS))), {View.RECORDS}),
        (split(REQUEST), ALL),
        (split(REQUEST, 25), STRONG),
        (split(CASE), STRONG),
        ([*split(REQUEST.replace(b"blog", b"news")), (len(REQUEST), REQUEST)], ALL),
        (split(b"\5\1\0" + HELLO, 3), ALL),
        (split(HELLO.replace(b"blog", b"news")), set()),
    ],
)
def test_what_each_view_sees(segments: list[tuple[int, bytes]], seen: set[View]) -> None:
    assert seen_by(segments) == seen


def test_names_stand_for_those_below_them() -> None:
    names = Names("blog.test", "Example.org.")
    assert "blog.test" in names
    assert "a.blog.test" in names
    assert "example.org" in names
    assert "myblog.test" not in names
    assert None not in names
    assert "anything" in Names("*")
    assert names.within(b"...A.BLOG.Test...")
    assert not names.within(b"blog_test")
