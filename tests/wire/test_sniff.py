"""The first byte decides, and every byte has an answer."""

from __future__ import annotations

import pytest

from proxy.model.errors import PeerError
from proxy.wire.sniff import Family, may_be_http, sniff
from tests.support.rows import each_row
from tests.wire.bad_heads import BAD_HEADS


@each_row(
    ("data", "family"),
    [
        (b"\x04\x01\x00\x50", Family.SOCKS4),
        (b"\x05\x01\x00", Family.SOCKS5),
        (b"CONNECT a:1 HTTP/1.1\r\n", Family.HTTP),
        (b"get / HTTP/1.1\r\n", Family.HTTP),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Family.HTTP),
        (b"PRI * HTTP/2.0\r\n", Family.HTTP),
    ],
)
def test_families(data: bytes, family: Family) -> None:
    assert sniff(data[0]) is family


@each_row(
    ("data", "words"),
    [
        (b"\x16\x03\x01\x02\x00\x01", "TLS ClientHello"),
        (b"\x80\x2e\x01", "received SSL"),
        (b"\x00", "binary"),
        (b"\xff", "0xff"),
        (b"\r\n", "0x0d"),
        (b"<html>", "0x3c"),
    ],
)
def test_B12_strangers_are_met_with_silence(data: bytes, words: str) -> None:
    with pytest.raises(PeerError, match=words) as caught:
        sniff(data[0])
    assert caught.value.reply == b""


def test_B12_every_byte_is_decided() -> None:
    families = []
    for first in range(256):
        try:
            families.append(sniff(first))
        except PeerError:
            continue
    assert len(families) == 2 + 52


@each_row("data", [head for head in BAD_HEADS.values() if not head.startswith(b"\n")])
def test_what_a_lenient_server_may_take_for_http_is_http_however_it_is_cut(data: bytes) -> None:
    line = data.lstrip(b"\r\n").find(b"\n") + 3
    assert may_be_http(data) is True
    for cut in range(min(line, 40)):
        assert may_be_http(data[:cut]) is not False, data[:cut]


@each_row(
    "data",
    [
        b"\x10\x0c\x00\x04MQTT", b"AMQP\x00\x00\x09\x01", b"NICK somebody\r\n", b"a1 CAPABILITY\r\n", b"<?xml ",
        b"SSH-2.0-OpenSSH_9.6\r\n", b"PING\r\n", b'{"method": "x"}', b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"word" * 3000,
    ],
)  # fmt: skip
def test_other_protocols_are_not(data: bytes) -> None:
    assert may_be_http(data) is False


@each_row("data", [b"", b"\r\n", b"G", b"GET", b"GET ", b"GET w", b"GET\r", b"\r\n P"])
def test_what_may_still_become_http_is_waited_for(data: bytes) -> None:
    assert may_be_http(data) is None
